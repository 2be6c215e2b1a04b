"""Memory judged: logs made by hand, and a network that cannot see its first input."""

import math

import keras
import numpy as np
import pandas as pd
import pytest

import vgkeras as vg
from vgkeras.logs import LAYER_COLUMNS, GradientLog, run_table

STEPS = 50


def log_of(losses, **factors):
    """States whose gradient is multiplied by a factor at each time step back."""
    frames = []
    for name, factor in factors.items():
        back = np.arange(STEPS - 1, -1, -1)
        frame = pd.DataFrame(dict.fromkeys(LAYER_COLUMNS, np.nan), index=range(STEPS))
        if name.endswith("backwards"):
            back = back[::-1]
        frames.append(
            frame.assign(
                name=name,
                log10_norm=back * math.log10(factor),
                time=np.arange(1, STEPS + 1),
            )
        )
    layers = pd.concat(frames).assign(
        run=0, step=0, layer=1, kind="state_gradient", size=1
    )
    steps = np.arange(len(losses))
    table = pd.DataFrame({"run": 0, "step": steps, "loss": losses})
    return GradientLog(run_table(dtype="float32"), table, layers)


def regimes(log):
    return [finding.regime for finding in vg.diagnose(log)]


STUCK, FALLS = [1.0] * 30, list(np.geomspace(1, 0.01, 30))


def test_a_memory_that_is_lost_is_found_where_the_loss_does_not_fall():
    findings = vg.diagnose(log_of(STUCK, **{"gru/h": 0.8}))

    finding = next(f for f in findings if f.regime == "vanishing")
    assert finding.measured == pytest.approx(49 * math.log10(0.8))
    assert finding.layer == 1
    assert finding.name == "gru/h"
    assert "keeps a tenth over 10.3 of 50 time steps" in str(finding)
    assert "forget bias" in finding.remedy


def test_a_gradient_that_explodes_in_time_is_found():
    findings = vg.diagnose(log_of(STUCK, **{"rnn/h": 1.2}))

    finding = next(f for f in findings if f.regime == "exploding")
    assert "grows tenfold over 12.6 of 50 time steps" in str(finding)
    assert "clip" in finding.remedy


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_task_that_does_not_need_the_memory_is_healthy(factor):
    assert regimes(log_of(FALLS, **{"gru/h": factor})) == ["healthy"]


def test_one_measurement_without_a_later_loss_judges_no_memory():
    assert "vanishing" not in regimes(log_of([1.0], **{"gru/h": 0.5}))


def test_the_state_that_keeps_most_is_the_memory():
    log = log_of(STUCK, **{"lstm/h": 0.5, "lstm/c": 0.99})

    assert "vanishing" not in regimes(log)


def test_a_layer_that_reads_backwards_loses_its_memory_at_the_end():
    log = log_of(STUCK, **{"gru/h backwards": 0.8})

    assert "vanishing" in regimes(log)
    assert "exploding" not in regimes(log)


def test_steps_that_are_masked_at_the_end_lose_nothing():
    log = log_of(STUCK, **{"gru/h": 0.99})
    padded = log.layers["time"] > 40
    none = log.layers["log10_norm"].mask(padded, -math.inf)
    log = log.replace(layers=log.layers.assign(log10_norm=none))

    assert "vanishing" not in regimes(log)


@pytest.mark.slow
def test_an_lstm_without_forget_bias_is_told_that_it_forgets():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.2, size=(128, 60, 1)).astype("float32")
    y = np.sign(rng.normal(size=(128, 1))).astype("float32")
    x[:, 0] += y
    lstm = keras.layers.LSTM(8, unit_forget_bias=False)
    model = keras.Sequential([keras.Input((60, 1)), lstm, keras.layers.Dense(1)])
    model.compile("adam", "mse", jit_compile=False)
    before = vg.gradient_through_time(model, x, y)
    losses = model.fit(x, y, 32, epochs=12, verbose=0).history["loss"]
    table = pd.DataFrame({"run": 0, "step": range(len(losses)), "loss": losses})

    finding = vg.diagnose(before.replace(losses=table))[0]

    assert finding.regime == "vanishing"
    assert "in time" in finding.rule
