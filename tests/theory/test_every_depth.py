"""Theory between the depths of a log, from recursions and gradients worked out here."""

import numpy as np
import pytest
from hand_backprop import backward
from numpy.testing import assert_allclose

from vgkeras import make_data, predict
from vgkeras.theory import curves_by_depth

DEPTHS = [1, 2, 3, 7, 20, 43, 50]


def at(curves, scale):
    rows = curves[curves["scale"] == scale]
    assert rows["depth"].tolist() == DEPTHS
    return rows


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.05])
def test_last_losses_are_those_of_the_recursion_of_one_number(scale):
    log = predict([0.5, 0.9, 1.05], [2, 152], steps=60, learning_rate=0.02)

    losses = at(curves_by_depth(log, DEPTHS), scale)["loss"]

    expected = []
    for depth in DEPTHS:
        s = np.float64(scale)
        with np.errstate(all="ignore"):
            for _ in range(60):
                s -= 0.02 * s ** (depth - 1) * (s**depth - 1)  # two outputs: 2 / 2 = 1
            expected.append((s**depth - 1) ** 2)
    expected = np.nan_to_num(expected, nan=np.inf, posinf=np.inf)
    assert_allclose(losses, expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("target", ["identity", "negative", "rotation", "teacher"])
def test_first_gradients_are_those_of_back_propagation_by_hand(target):
    log = predict([0.5, 1.5], [2, 50], units=3, target=target, samples=5, seed=3)

    gradients = at(curves_by_depth(log, DEPTHS, step=0), 1.5)["log10_gradient"]

    x, y = make_data(target, units=3, samples=5, seed=3)
    norms = [
        np.linalg.norm(backward([1.5 * np.eye(3)] * depth, x, y)["weight_gradient"][0])
        for depth in DEPTHS
    ]
    assert_allclose(gradients, np.log10(norms), atol=1e-9)


def test_noisy_targets_are_known_before_the_first_step_alone():
    log = predict([0.9], [2, 50], noise=0.5, samples=8)

    first, last = curves_by_depth(log, DEPTHS, step=0), curves_by_depth(log, DEPTHS)

    x, y = make_data(noise=0.5, samples=8)
    expected = [np.mean((0.9**depth * x - y) ** 2) for depth in DEPTHS]
    assert_allclose(at(first, 0.9)["loss"], expected)
    assert last.empty


def test_a_log_says_the_settings_that_its_theory_does_not_hold():
    theory = predict([0.9], [2, 50], target="scaled")
    bare = theory.replace(runs=theory.runs.assign(target="", seed=-1), metadata={})
    log = theory.replace(metadata={"origin": "measured"}, theory=bare)

    losses = curves_by_depth(log, DEPTHS, step=0)["loss"]

    assert_allclose(losses, [(0.9**depth - 0.5) ** 2 for depth in DEPTHS])
    assert curves_by_depth(bare, DEPTHS).empty


def test_nothing_is_said_of_data_that_is_not_the_targets():
    log = predict([0.9], [2, 50])
    log.losses["loss"] *= 1.001

    assert curves_by_depth(log, DEPTHS).empty


def test_nothing_is_said_where_the_learning_rate_goes_with_the_depth():
    log = predict([0.9], [2, 50])
    log.runs["learning_rate"] = [0.02, 0.01]

    assert curves_by_depth(log, DEPTHS).empty


def test_what_overflows_is_infinite():
    curves = curves_by_depth(predict([1.5], [2, 152]), DEPTHS)

    assert np.isinf(curves["loss"].to_numpy()[-3:]).all()
    assert np.isfinite(curves["loss"].to_numpy()[:3]).all()


def test_a_scale_of_1_is_exactly_right_at_every_depth():
    curves = curves_by_depth(predict([1.0], [2, 152]), DEPTHS, step=0)

    assert (curves["loss"] == 0).all()
    assert (curves["log10_gradient"] == -np.inf).all()
