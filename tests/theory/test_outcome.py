"""Predicted outcomes, held to the recursion as a loop of NumPy written down anew."""

import itertools

import numpy as np
import pytest

from vgkeras import theory

DEPTHS = (1, 2, 3, 5, 10, 20, 50, 152)


def losses(scale, depth, rate, steps, target):
    """First and last loss of `s -> s - rate s^(L-1) (s^L - m)`, many runs at once."""
    s = np.array(scale, dtype=np.result_type(np.asarray(target), float))
    with np.errstate(all="ignore"):
        first = np.abs(s**depth - target) ** 2
        for _ in range(steps):
            s = s - rate * np.conj(s) ** (depth - 1) * (s**depth - target)
        return first, np.abs(s**depth - target) ** 2


def words(first, last, target):
    zero = np.abs(target) ** 2
    named = []
    for a, b, z in np.broadcast(first, last, zero):
        if not (np.isfinite(a) and np.isfinite(b)) or b > 1000 * max(a, z):
            named.append("diverges")
        elif b <= 0.01 * min(a, z):
            named.append("trains")
        else:
            named.append("stalls" if b >= 0.9 * a else "slow")
    return named


def predicted(scales, depth, rate, steps, target):
    options = {"rate": rate, "steps": steps, "target": target}
    return [theory.outcome(c, depth, **options) for c in np.asarray(scales).tolist()]


def sharpness(depth, rate, target):
    return rate * depth * abs(target) ** (2 - 2 / depth)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("target", [1.0, 0.5, 3.0, -1.0])
def test_all_four_outcomes_are_those_of_the_recursion(depth, target):
    scales = np.array([-1.3, -0.8, 0.0, 0.3, 0.5, 0.9, 0.95, 0.99, 1.0, 1.02, 1.2, 1.7])
    said = set()
    for rate, steps in itertools.product([1e-3, 0.01, 0.05, 0.3, 2.5], [0, 1, 7, 200]):
        if steps > 50 and sharpness(depth, rate, target) > 2:
            continue  # chaos: a last digit decides

        outcomes = predicted(scales, depth, rate, steps, target)

        case = scales, depth, rate, steps, target
        assert outcomes == words(*losses(*case), target), (rate, steps)
        said |= set(outcomes)
    mirrored = target < 0 and depth % 2 == 0  # out of reach of an even power
    assert said | {"trains"} == set(theory.OUTCOMES) or depth == 1
    assert ("trains" in said) is not mirrored


def test_runs_that_go_up_and_down_are_told_at_the_step_at_which_they_end():
    """A cycle of two, and how far a chaotic path may be followed."""
    scales, depth, rate = np.linspace(0.8, 0.99, 20), 5, 0.42  # sharpness 2.1
    for steps in (300, 301, 8000, 8001):
        first, last = losses(scales, depth, rate, steps, 1.0)
        assert predicted(scales, depth, rate, steps, 1.0) == words(first, last, 1.0)
        assert len(set(last.round(9))) == 2  # all are on the same cycle

    chaotic = {"scale": scales, "depth": 30, "rate": 0.12, "target": 1.0}
    ends = words(*losses(**chaotic, steps=25), 1.0)
    assert predicted(scales, 30, 0.12, 25, 1.0) == ends
    assert "slow" in ends


@pytest.mark.parametrize("depth", [2, 5, 20, 100])
@pytest.mark.parametrize("share", [0.01, 0.9])
def test_outcomes_turn_where_the_last_loss_crosses_an_edge(depth, share):
    rate, steps = 0.01, 200
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        first, last = losses(middle, depth, rate, steps, 1.0)
        low, high = (low, middle) if last < share * first else (middle, high)

    below, above = predicted(
        [low * (1 - 1e-9), high * (1 + 1e-9)], depth, rate, steps, 1.0
    )

    names = ("slow", "trains") if share == 0.01 else ("stalls", "slow")
    assert (below, above) == names


@pytest.mark.parametrize(
    ("depth", "rate", "target"),
    [(3, 1e-3, 1.0), (5, 2e-4, 0.5), (9, 1e-3, -1.0), (20, 5e-3, 1.0), (3, 0.05, 2j)],
)
def test_long_runs_end_where_every_single_step_leads(depth, rate, target):
    steps = 30_000
    scales = np.linspace(0.25, 0.95, 40)

    first, last = losses(scales, depth, rate, steps, target)

    outcomes = predicted(scales, depth, rate, steps, target)
    near = (
        np.abs(np.log(last / first)[:, None] - np.log([0.01, 0.9])).min(axis=1) < 1e-3
    )
    expected = words(first, last, target)
    wrong = [
        c
        for c, a, b, n in zip(scales, outcomes, expected, near, strict=True)
        if a != b and not n
    ]
    assert wrong == []
    assert near.sum() < 3


def test_a_long_run_on_a_cycle_ends_on_the_right_side_of_it():
    scale, depth, rate = 0.967, 5, 0.42  # sharpness 2.1
    all_steps = (11_000, 11_001, 20_000, 20_001)
    ends = [losses(scale, depth, rate, steps, 1.0) for steps in all_steps]

    outcomes = [predicted([scale], depth, rate, steps, 1.0) for steps in all_steps]

    assert outcomes == [words(*end, 1.0) for end in ends]
    assert outcomes[0] != outcomes[1]


def test_a_long_run_trains_from_the_same_step_on_as_the_recursion():
    scale, depth, rate = 0.6, 12, 0.001
    s, learned = scale, 0
    while (s**depth - 1) ** 2 > 0.01 * (scale**depth - 1) ** 2:
        s, learned = s - rate * s ** (depth - 1) * (s**depth - 1), learned + 1
    assert learned > 15_000

    steps = range(learned - 2, learned + 3)
    outcomes = [theory.outcome(scale, depth, rate=rate, steps=n) for n in steps]

    assert outcomes == ["slow", "slow", "trains", "trains", "trains"]
