import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from vgkeras import tape


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    regularizer = keras.regularizers.L2(0.1)
    dense = keras.layers.Dense(3, "softmax", kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((4,)), dense])
    model.compile("sgd", "categorical_crossentropy")
    return model


def _described(model, x, y):
    y_pred = model(x)
    values = tape.batch_statistics(model, tf.constant(x), tf.constant(y), y_pred, None)
    return dict(zip(tape.BATCH_STATISTICS, values.numpy(), strict=True)), y_pred.numpy()


def _batch():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, size=(8, 4)).astype("float32")
    return x, np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]


def test_a_batch_is_described_as_numpy_does(classifier):
    x, y = _batch()

    stats, p = _described(classifier, x, y)

    mean = np.tile(p.mean(0), (8, 1))
    expected = {
        "samples": 8,
        "input_mean": x.mean(),
        "input_std": x.std(),
        "input_max": abs(x).max(),
        "target_mean": 1 / 3,
        "target_sum_min": 1,
        "target_sum_max": 1,
        "target_code": (y @ np.cos(range(3))).mean(),
        "target_code_std": (y @ np.cos(range(3))).std(),
        "output_max": p.max(),
        "output_sum_max": 1,
        "output_spread": np.sqrt(((p - mean) ** 2).mean()),
        "loss_of_mean": -(y * np.log(mean)).sum(1).mean(),
        "penalty": 0.1 * (classifier.layers[0].kernel.numpy() ** 2).sum(),
        "input_nonfinite": 0,
    }
    assert_allclose([stats[key] for key in expected], list(expected.values()), 1e-5)


def test_inf_and_nan_are_counted(classifier):
    x, y = _batch()
    x[1, 2], y[3] = np.inf, np.nan

    stats, _ = _described(classifier, x, y)

    assert stats["input_nonfinite"] == 1 / 32
    assert stats["target_nonfinite"] == 3 / 24
    assert np.isnan(stats["loss_of_mean"])


def test_several_outputs_leave_unknown_what_needs_one():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1)(inputs) for _ in range(2)])
    model.compile("sgd", ["mse", "mae"])
    x = np.ones((2, 4), "float32")

    values = tape.batch_statistics(
        model, tf.constant(x), [tf.constant(x[:, :1])] * 2, model(x), None
    )

    stats = dict(zip(tape.BATCH_STATISTICS, values.numpy(), strict=True))
    assert stats["input_mean"] == 1
    assert np.isnan([stats["target_mean"], stats["loss_of_mean"]]).all()
