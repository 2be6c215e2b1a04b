"""Gradients by time step in `fit`: those of one pass, and the same weights."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import vgkeras as vg
from vgkeras.logs import TIME_KINDS

STEPS = 7


def model_and_data():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, STEPS, 3)), rng.normal(size=(8, 1))
    lower = keras.layers.LSTM(4, return_sequences=True, name="lower")
    layers = [lower, keras.layers.GRU(3, name="upper")]
    model = keras.Sequential(
        [keras.Input((STEPS, 3)), *layers, keras.layers.Dense(1)], name="net"
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return model, x.astype("float32"), y.astype("float32")


@pytest.fixture(scope="module")
def fitted():
    model, x, y = model_and_data()
    logger = vg.GradientLogger(kinds=["weight_gradient", *TIME_KINDS])
    before = vg.gradient_through_time(model, x, y)
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[logger])
    return model, before, logger.log


def of_time(log, step):
    rows = log.layers[(log.layers["time"] > 0) & (log.layers["step"] == step)]
    ordered = rows.astype({"name": "str", "kind": "str"})
    return ordered.sort_values(["kind", "name", "time"], ignore_index=True)


def test_fit_logs_the_gradients_of_one_pass_by_time_step(fitted):
    _, before, log = fitted

    rows, there = of_time(log, 0), of_time(before, 0)
    assert len(rows) == STEPS * 5  # h and c, h, and two inputs
    for column in ("layer", "name", "kind", "time", "size"):
        assert_array_equal(rows[column], there[column])
    assert_allclose(rows["log10_norm"], there["log10_norm"], atol=1e-5)
    assert set(log.layers["step"]) == {0, 1, 2}
    assert (log.layers.loc[log.layers["kind"] == "weight_gradient", "time"] == 0).all()


@pytest.mark.slow
def test_weights_stay_the_same_to_the_bit(fitted):
    logged = fitted[0]
    model, x, y = model_and_data()

    model.fit(x, y, batch_size=8, epochs=3, verbose=0)

    for one, other in zip(logged.get_weights(), model.get_weights(), strict=True):
        assert_array_equal(one, other)


def test_such_a_log_is_drawn_saved_and_judged(fitted, tmp_path):
    _, _, log = fitted

    log.save(tmp_path / "fit.parquet")
    loaded = vg.load(tmp_path / "fit.parquet")

    assert_array_equal(loaded.layers["time"], log.layers["time"])
    assert "step 2" in str(vg.charts.gradient_by_time(loaded, name="upper/h").to_dict())
    assert len(vg.diagnose(loaded)) >= 1
