"""Scalars in Keras' `logs`, against the log and against numbers known beforehand."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from vgkeras.callbacks import GradientLogger


def line(optimizer="sgd"):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="out")])
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model, samples, logger, **arguments):
    x = np.random.default_rng(0).normal(size=(samples, 4)).astype("float32")
    arguments = {"shuffle": False, "verbose": 0, "callbacks": [logger], **arguments}
    return model.fit(x, x[:, :1], batch_size=1, **arguments).history


@pytest.mark.slow
def test_every_list_of_a_history_has_the_same_length_whatever_every_is():
    logger = GradientLogger(every=5, updates=None)

    history = fit(line(), 3, logger, epochs=4)

    norms = 10 ** logger.log.layers.set_index("step")["log10_norm"]
    joint = {step: np.linalg.norm(rows) for step, rows in norms.groupby("step")}
    expected = [joint[0], joint[5], np.nan, joint[10]]
    assert_allclose(history["l2_norm/grad/global"], expected, rtol=1e-5)
    assert len(pd.DataFrame(history)) == 4


class Towers(keras.Model):
    """Two copies of a block, names and all."""

    def __init__(self):
        super().__init__(name="towers")
        self.parts = [
            keras.Sequential(
                [
                    keras.Input((4,)),
                    keras.layers.Dense(1, use_bias=False, name="out"),
                ],
                name="tower",
            )
            for _ in range(2)
        ]

    def call(self, x):
        return 100 * self.parts[0](x) + self.parts[1](x)


def test_two_variables_of_one_path_have_a_scalar_each():
    model = Towers()
    model.compile("sgd", lambda y, p: tf.reduce_mean(p - y), jit_compile=False)
    x, logger = np.full((8, 4), 0.5, "float32"), GradientLogger(updates=None)

    history = model.fit(x, x[:, :1], verbose=0, callbacks=[logger]).history

    assert_allclose(history["l2_norm/grad/tower/out/kernel"], [100], rtol=1e-5)
    assert_allclose(history["l2_norm/grad/tower/out/kernel_1"], [1], rtol=1e-5)


@pytest.mark.slow
def test_a_step_that_the_loss_scale_skips_makes_no_epoch_infinite():
    inner = keras.optimizers.SGD(0.0)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    logger = GradientLogger(updates=None)

    history = fit(line(optimizer), 4, logger, epochs=2)

    rows = logger.log.layers
    skipped = rows[rows["nonfinite_fraction"] > 0]["step"].unique()
    assert 0 < len(skipped) < 8
    norms = 10 ** rows[~rows["step"].isin(skipped)].set_index("step")["log10_norm"]
    joint = norms.groupby("step").agg(np.linalg.norm)
    expected = [joint[joint.index < 4].mean(), joint[joint.index >= 4].mean()]
    assert_allclose(history["l2_norm/grad/global"], expected, rtol=1e-5)


class Batches(keras.callbacks.Callback):
    """What a tracker sees after each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(dict(logs))


@pytest.mark.slow
@pytest.mark.parametrize("verbose", [0, 2])
def test_trackers_see_other_columns_and_single_batches(verbose, capsys):
    tracker = Batches()
    logger = GradientLogger(
        updates=1,
        scalar_steps=2,
        scalar_columns=("log10_norm", "update_ratio", "zero_fraction"),
    )

    history = fit(
        line(), 5, logger, epochs=1, callbacks=[logger, tracker], verbose=verbose
    )

    ratios = logger.log.layers.pivot(index="step", columns="name")["update_ratio"]
    key = "update_ratio/out/kernel"
    assert [key in seen for seen in tracker.seen] == [False, True, False, True, False]
    means = [ratios["out/kernel"][:2].mean(), ratios["out/kernel"][2:4].mean()]
    assert_allclose([tracker.seen[1][key], tracker.seen[3][key]], means, rtol=1e-5)
    assert_allclose(history[key], [ratios["out/kernel"].mean()], rtol=1e-5)
    assert history["zero_fraction/grad/out/bias"] == [0]
    assert "update_ratio" not in capsys.readouterr().out


def test_unknown_columns_of_scalars_are_refused():
    with pytest.raises(ValueError, match="`scalar_columns` must be one of 'log10_"):
        GradientLogger(scalar_columns=["size"])
    with pytest.raises(ValueError, match="`scalar_steps` must be a positive integer"):
        GradientLogger(scalar_steps=0)
