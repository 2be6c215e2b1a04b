"""Alerts on a fit that goes wrong at a known step."""

import warnings

import keras
import numpy as np
import pytest

from vgkeras.callbacks import GradientLogger


def exploding(steps=12, bad=4):
    """A model and data whose loss is no number from step `bad` on."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(steps, 4)).astype("float32")
    x[bad] = np.inf
    return model, x


def fit(model, x, logger):
    arguments = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x, x[:, :2], epochs=2, callbacks=[logger], **arguments)


@pytest.mark.slow
def test_a_fit_is_stopped_at_the_first_look_after_it_broke():
    model, x = exploding()
    logger = GradientLogger(alerts={"non-finite": "stop"}, alert_steps=3)

    with pytest.warns(UserWarning, match=r"GradientLogger: Non-finite.*Training stops"):
        fit(model, x, logger)

    assert logger.log.runs["steps"].tolist() == [6]  # looks after 3, 6, 9 steps


@pytest.mark.slow
def test_a_warning_is_given_once():
    model, x = exploding()
    logger = GradientLogger(alerts={"non-finite": "warn"}, alert_steps=3)

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        fit(model, x, logger)

    texts = [str(one.message) for one in given if "Non-finite" in str(one.message)]
    assert len(texts) == 1
    assert "stops" not in texts[0]
    assert logger.log.runs["steps"].tolist() == [24]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alerts": {"healthy": "warn"}}, "`alerts` must be one of 'non-finite'"),
        ({"alerts": {"zero": "shout"}}, "`alerts` must be one of 'warn', 'stop'"),
        ({"alert_steps": 0}, "`alert_steps` must be a positive integer"),
    ],
)
def test_bad_alerts_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientLogger(**arguments)
