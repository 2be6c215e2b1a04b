"""Maps: counted by hand, boundaries held to simulated trajectories."""

import numpy as np
import pytest

from vgkeras import charts, predict, theory
from vgkeras.charts.style import OUTCOME_COLORS, OUTCOME_SHAPES
from vgkeras.theory import what_trains

RATE, STEPS = 0.01, 200  # units = 2: the rate is the learning rate


def simulated(scale, depth, rate=RATE, steps=STEPS):
    """The outcome of the scalar recursion, written down anew."""
    s = np.float64(scale)
    with np.errstate(all="ignore"):
        first = (s**depth - 1) ** 2
        for _ in range(steps):
            s = s - rate * s ** (depth - 1) * (s**depth - 1)
        last = (s**depth - 1) ** 2
    if not np.isfinite(last) or last > 1000 * max(first, 1):
        return "diverges"
    return "trains" if last <= 0.01 * min(first, 1) else "stalls"


@pytest.fixture(scope="module")
def small():
    log = predict([0.5, 0.9, 1.5], [2, 10, 152], learning_rate=0.01, steps=200)
    return log.replace(theory=log)


def test_agreement_counts_the_runs_theory_got_right(small):
    first, *rest = small.runs["outcome"]
    wrong = small.runs.assign(outcome=["trains", *rest])
    stated = first == "trains"

    agreement = theory.agreement(small.replace(runs=wrong))

    assert agreement == (8 + stated, 9, 8 + stated, 9)
    assert str(agreement).startswith(
        f"Theory names the outcome of {8 + stated} of 9 runs"
    )


def test_runs_whose_solution_is_unstable_are_counted_apart():
    log = predict([0.9], [2, 10, 152], learning_rate=0.1, steps=50)

    agreement = theory.agreement(log.replace(theory=log))

    assert agreement == (3, 3, 2, 2)  # 0.1 * 152 > 2
    assert "of those whose solution is stable, 2 of 2" in str(agreement)


def test_without_theory_nothing_agrees(small):
    assert theory.agreement(small.replace(theory=None)) == (0, 0, 0, 0)
    assert "nothing" in str(theory.agreement(small.replace(theory=None)))


@pytest.mark.parametrize("depth", [10, 50])
def test_runs_turn_at_the_boundaries_of_the_scale(depth):
    log = predict([0.9, 1.1], [depth], learning_rate=RATE, steps=STEPS)

    edges = theory.boundaries(log).set_index("boundary")["value"]

    slow, wild, hessian = edges["too slow"], edges["runs away"], edges["Hessian limit"]
    assert simulated(slow * 0.995, depth) == "stalls"
    assert simulated(slow * 1.005, depth) == "trains"
    assert simulated(wild * 0.999, depth) != "diverges"
    assert simulated(wild * 1.001, depth) == "diverges"
    assert slow < 1 < hessian < wild


@pytest.mark.parametrize(("scale", "depth"), [(0.9, 20), (1.1, 10)])
def test_runs_turn_at_the_boundaries_of_the_learning_rate(scale, depth):
    log = predict([scale], [depth], learning_rate=RATE, steps=STEPS)

    edges = theory.boundaries(log, "learning_rate").set_index("boundary")["value"]

    slow, wild = edges["too slow"], edges["runs away"]
    assert simulated(scale, depth, rate=slow * 0.98) == "stalls"
    assert simulated(scale, depth, rate=slow * 1.02) == "trains"
    if scale > 1:
        assert simulated(scale, depth, rate=wild * 0.999) != "diverges"
        assert simulated(scale, depth, rate=wild * 1.001) == "diverges"


def test_the_hessian_boundary_is_where_its_largest_eigenvalue_allows_no_more():
    log = predict([1.1], [10], learning_rate=RATE, steps=STEPS)
    edges = theory.boundaries(log).set_index("boundary")["value"]

    c, k, depth = edges["Hessian limit"], 1.0, 10
    largest = k * depth * c ** (2 * depth - 2)
    largest += k * (depth - 1) * c ** (depth - 2) * (c**depth - 1)
    assert pytest.approx(2 / largest, rel=1e-6) == RATE


def test_above_the_edge_of_settling_a_solved_stack_comes_apart():
    log = predict([1.0], [20], learning_rate=0.01, steps=10)
    edges = theory.boundaries(log, "learning_rate").set_index("boundary")["value"]

    def strays(rate):
        """Whether `s -> s - rate s^19 (s^20 - 1)` leaves 1, by a scalar loop."""
        s = 1 + 1e-6
        for _ in range(2000):
            s -= rate * s**19 * (s**20 - 1)
        return abs(s - 1) > 1e-4

    edge = edges["never settles"]  # `units=2`: the rate is the learning rate
    assert not strays(0.98 * edge)
    assert strays(1.02 * edge)


def test_targets_without_a_simple_edge_have_no_boundaries():
    log = predict([0.9], [2], target="rotation", steps=10)

    assert theory.boundaries(log).empty
    assert list(theory.boundaries(log).columns) == ["boundary", "depth", "value"]


@pytest.mark.parametrize("by", what_trains.AXES)
def test_a_map_draws_every_run_and_only_boundaries_inside_it(small, by):
    log = small if by == "scale" else small.select(scale=0.9)
    draw = getattr(charts, f"outcome_by_{by}_and_depth")

    spec = draw(log).to_dict()

    points = spec["layer"][0]
    rows = spec["datasets"][points["data"]["name"]]
    assert sorted(row["run"] for row in rows) == sorted(log.runs["run"])
    assert points["encoding"]["y"]["scale"]["type"] == "log"
    assert points["encoding"]["shape"]["field"] == "outcome"
    assert [param["name"] for param in spec["params"]] == [charts.SELECTION]
    for layer in spec["layer"][1:]:
        drawn = [row["value"] for row in spec["datasets"][layer["data"]["name"]]]
        assert all(log.runs[by].min() <= v <= log.runs[by].max() for v in drawn)
    assert "9 runs" in spec["description"] or "3 runs" in spec["description"]


def test_the_default_map_is_forty_by_forty_and_reaches_152():
    assert len(set(charts.MAP_SCALES)) == len(set(charts.MAP_DEPTHS)) == 40
    assert len(set(charts.MAP_LEARNING_RATES)) == 40
    assert charts.MAP_DEPTHS[-1] == 152
    assert {0.5, 0.9} < set(charts.MAP_SCALES)


def test_mixed_settings_and_empty_logs_are_refused_with_the_way_out(small):
    with pytest.raises(ValueError, match="`log` must hold runs of one `scale`"):
        theory.boundaries(small, "learning_rate")
    with pytest.raises(ValueError, match="`by` must be one of 'scale', 'learning_"):
        theory.boundaries(small, "depth")
    with pytest.raises(ValueError, match="`log` must hold at least one run"):
        charts.outcome_by_scale_and_depth(small.select(depth=3))


def test_every_word_of_theory_has_a_colour_and_a_shape():
    assert set(OUTCOME_COLORS) == set(OUTCOME_SHAPES) == set(theory.OUTCOMES)
