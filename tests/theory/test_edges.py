"""Edges between outcomes, held to a loop on both sides; agreement counted by hand."""

import numpy as np
import pytest

from vgkeras import predict, theory
from vgkeras.theory import edges

RATE, STEPS = 0.01, 200  # units = 2: the rate is the learning rate


def simulated(scale, depth, rate=RATE, steps=STEPS, target=1.0):
    """The outcome of the scalar recursion, written down anew."""
    s = np.float64(scale)
    with np.errstate(all="ignore"):
        first = (s**depth - target) ** 2
        for _ in range(steps):
            s = s - rate * s ** (depth - 1) * (s**depth - target)
        last = (s**depth - target) ** 2
    if not np.isfinite(last) or last > 1000 * max(first, target**2):
        return "diverges"
    if last <= 0.01 * min(first, target**2):
        return "trains"
    return "stalls" if last >= 0.9 * first else "slow"


def edges_of(scales, depth, by="scale", **options):
    log = predict(scales, [depth], **{"learning_rate": RATE, "steps": STEPS, **options})
    return theory.boundaries(log, by).set_index("boundary")["value"]


@pytest.mark.parametrize("depth", [4, 10, 50])
@pytest.mark.parametrize(("target", "factor"), [("identity", 1.0), ("scaled", 0.5)])
def test_runs_turn_at_the_edges_of_the_scale(depth, target, factor):
    edges = edges_of([0.9, 1.1], depth, target=target)

    still, slow, wild = (edges[name] for name in ("90% left", "1% left", "runs away"))
    for edge, below, above in ((still, "stalls", "slow"), (slow, "slow", "trains")):
        assert simulated(edge * (1 - 1e-6), depth, target=factor) == below
        assert simulated(edge * (1 + 1e-6), depth, target=factor) == above
    assert simulated(wild * 0.999, depth, target=factor) != "diverges"
    assert simulated(wild * 1.001, depth, target=factor) == "diverges"
    assert still < slow < factor ** (1 / depth) < edges["Hessian limit"] < wild


@pytest.mark.parametrize(
    ("scale", "depth"), [(0.9, 20), (0.9, 50), (1.1, 10), (0.5, 4)]
)
def test_runs_turn_at_the_edges_of_the_learning_rate(scale, depth):
    edges = edges_of([scale], depth, "learning_rate")

    still, slow, wild = (edges[name] for name in ("90% left", "1% left", "runs away"))
    for edge, below, above in ((still, "stalls", "slow"), (slow, "slow", "trains")):
        assert simulated(scale, depth, rate=edge * (1 - 1e-5)) == below
        assert simulated(scale, depth, rate=edge * (1 + 1e-5)) == above
    if scale > 1:
        assert simulated(scale, depth, rate=wild * 0.999) != "diverges"
        assert simulated(scale, depth, rate=wild * 1.001) == "diverges"


def test_where_no_learning_rate_is_both_stable_and_in_time_there_is_no_edge():
    edges = edges_of([0.9], 100, "learning_rate")

    rates = np.geomspace(1e-5, edges["never settles"], 60)
    assert "1% left" not in edges
    assert all(simulated(0.9, 100, rate=rate) != "trains" for rate in rates)


def test_one_layer_is_convex_and_its_start_decides_nothing():
    edges = edges_of([0.5, 1.5], 1)

    assert set(edges.index) <= {"Hessian limit", "never settles"}
    assert {simulated(c, 1) for c in (0.01, 0.5, 0.99)} == {"slow"}


def test_the_hessian_limit_is_where_its_largest_eigenvalue_allows_no_more():
    c, k, depth = edges_of([1.1], 10)["Hessian limit"], 1.0, 10
    largest = k * depth * c ** (2 * depth - 2)
    largest += k * (depth - 1) * c ** (depth - 2) * (c**depth - 1)
    assert pytest.approx(2 / largest, rel=1e-6) == RATE


def strays(rate, depth):
    """Whether `s -> s - rate s^(L-1) (s^L - 1)` leaves 1, by a scalar loop."""
    s = 1 + 1e-6
    for _ in range(2000):
        s -= rate * s ** (depth - 1) * (s**depth - 1)
    return abs(s - 1) > 1e-4


def test_above_the_edge_of_settling_a_solved_stack_comes_apart():
    edge = edges_of([1.0], 20, "learning_rate", steps=10)["never settles"]

    assert not strays(0.98 * edge, 20)
    assert strays(1.02 * edge, 20)


def test_by_scale_the_edge_of_settling_is_one_depth_from_end_to_end():
    log = predict([0.5, 1.5], [2, 50, 152], learning_rate=0.03, steps=10)
    lines = theory.boundaries(log)

    rows = lines[lines["boundary"] == "never settles"]
    assert rows["value"].tolist() == [0.5, 1.5]
    (depth,) = set(rows["depth"].round(9))
    assert not strays(0.03, int(depth - 1))
    assert strays(0.03, int(depth + 2))
    assert lines.loc[lines["boundary"] == "1% left", "depth"].max() < depth


def test_targets_without_a_simple_edge_have_no_boundaries():
    log = predict([0.9], [2], target="rotation", steps=10)

    assert theory.boundaries(log).empty
    assert list(theory.boundaries(log).columns) == ["boundary", "depth", "value"]


def test_mixed_settings_are_refused_with_the_way_out():
    log = predict([0.5, 0.9], [2], steps=1)

    with pytest.raises(ValueError, match="`log` must hold runs of one `scale`"):
        theory.boundaries(log, "learning_rate")
    with pytest.raises(ValueError, match="`by` must be one of 'scale', 'learning_"):
        theory.boundaries(log, "depth")
    assert set(edges.AXES) == {"scale", "learning_rate"}


# Agreement


def compared(measured, predicted, **options):
    """A log whose runs came out as `measured`, in theory as `predicted`."""
    log = predict([0.9], [2, 10, 152], steps=1, **options)
    runs = log.runs.assign(outcome=predicted)
    return log.replace(
        runs=log.runs.assign(outcome=measured), theory=log.replace(runs=runs)
    )


def test_agreement_counts_the_runs_theory_got_right():
    log = compared(["trains", "slow", "stalls"], ["trains", "slow", "slow"])

    agreement = theory.agreement(log)

    assert agreement == (2, 3, 2, 3)  # 0.01 * 152 < 2
    assert str(agreement) == "Theory names the outcome of 2 of 3 runs."
    assert agreement.why().startswith("Theory differs in 1 stable run, by the number")


def test_runs_whose_solution_is_unstable_are_counted_apart():
    words = ["trains", "slow", "stalls"]
    wrong = compared(words, ["trains", "slow", "slow"], learning_rate=0.1)

    agreement = theory.agreement(wrong)

    assert agreement == (2, 3, 2, 2)  # 0.1 * 152 > 2
    assert agreement.why().startswith("Theory differs in 1 run where the bottom of")
    assert "number format" not in agreement.why()
    assert theory.agreement(compared(words, words, learning_rate=0.1)).why() == ""


def test_stability_asks_for_the_target():
    """At the solution of y = x / 2 the sharpness is about a quarter of that."""
    words = ["trains"] * 3
    both = [
        theory.agreement(compared(words, words, learning_rate=0.03, target=target))
        for target in ("identity", "scaled")
    ]

    assert [edges.stable_runs for edges in both] == [2, 3]  # 0.03 * 152 > 2 > .. / 4


def test_without_theory_or_without_its_outcome_nothing_agrees():
    log = compared(["trains"] * 3, ["", "", ""])

    assert theory.agreement(log) == (0, 0, 0, 0)
    assert theory.agreement(log.replace(theory=None)) == (0, 0, 0, 0)
    assert "nothing" in str(theory.agreement(log))
