"""Maps and grids of outcomes: marks, positions and words of the specification."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from vgkeras import charts, predict, theory
from vgkeras.charts.line_names import line_names
from vgkeras.charts.style import OUTCOME_COLORS, OUTCOME_SHAPES
from vgkeras.theory.edges import AXES

LECTURE = (2, 5, 10, 20, 50, 100, 152)


@pytest.fixture(scope="module")
def small():
    log = predict([0.5, 0.9, 1.5], [2, 10, 152], learning_rate=0.01, steps=200)
    return log.replace(theory=log)


def by_rate(scale):
    """A map by learning rate, in theory."""
    logs = [
        predict([scale], LECTURE, learning_rate=rate, every=None).runs
        for rate in (1e-4, 1e-3, 0.01, 0.1, 1.0)
    ]
    runs = pd.concat(logs, ignore_index=True)
    return predict([scale], LECTURE, every=None).replace(
        runs=runs.assign(run=range(len(runs)))
    )


def rows_of(spec, mark):
    """The rows of each layer drawn with this mark."""
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]
    return [spec["datasets"][layer["data"]["name"]] for layer in layers]


@pytest.mark.parametrize("by", AXES)
def test_cells_fill_the_map_without_gaps_each_around_its_own_run(small, by):
    log = small if by == "scale" else by_rate(0.9)

    spec = getattr(charts, f"outcome_by_{by}_and_depth")(log).to_dict()

    (cells,) = rows_of(spec, "rect")
    assert sorted(cell["run"] for cell in cells) == sorted(log.runs["run"])
    area = spec["layer"][0]["encoding"]
    for field, low, high, axis in (
        (by, "left", "right", "x"),
        ("depth", "low", "high", "y"),
    ):
        ends = sorted({(cell[low], cell[high]) for cell in cells})
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
        assert area[axis]["scale"]["domain"] == [ends[0][0], ends[-1][1]]
        assert all(cell[low] < cell[field] < cell[high] for cell in cells)
    assert area["y"]["scale"]["type"] == "log"
    assert (area["x"]["scale"]["type"] == "log") is (by == "learning_rate")


def test_colour_is_not_alone(small):
    spec = charts.outcome_by_scale_and_depth(small).to_dict()

    looks = [layer["encoding"] for layer in spec["layer"][:2]]
    assert looks[0]["color"]["field"] == looks[1]["shape"]["field"] == "outcome"
    assert [param["name"] for param in spec["params"]] == [charts.SELECTION]
    assert set(OUTCOME_COLORS) == set(OUTCOME_SHAPES) == set(theory.OUTCOMES)
    assert len(set(OUTCOME_SHAPES.values())) == 4


def test_only_runs_that_theory_calls_otherwise_are_crossed_and_the_legend_says_so(
    small,
):
    first, *rest = small.runs["outcome"]
    wrong = small.replace(runs=small.runs.assign(outcome=["diverges", *rest]))

    spec, same = (
        charts.outcome_by_scale_and_depth(log).to_dict() for log in (wrong, small)
    )

    crossed = rows_of(spec, "point")[1]
    assert first != "diverges"
    assert [row["run"] for row in crossed] == [0]
    names = [
        s["layer"][1]["encoding"]["shape"]["scale"]["domain"] for s in (spec, same)
    ]
    assert names == [[*theory.OUTCOMES, "theory says otherwise"], list(theory.OUTCOMES)]
    assert rows_of(same, "point")[1] == []
    alone = charts.outcome_by_scale_and_depth(small.replace(theory=None)).to_dict()
    assert rows_of(alone, "point")[1] == []


def test_the_text_says_how_many_agree_and_why_the_others_do_not(small):
    restless = predict([0.9], [152], learning_rate=0.1, steps=10)
    other = restless.runs.assign(outcome="diverges")
    log = restless.replace(theory=restless.replace(runs=other))

    text = charts.description(charts.outcome_by_scale_and_depth(log))

    assert "outcome of 0 of 1 runs. Theory differs in 1 run where the bottom" in text
    good = charts.description(charts.outcome_by_scale_and_depth(small))
    assert good.startswith("9 runs: 4 train, 3 stall and 2 diverge.")
    assert good.endswith("Theory names the outcome of 9 of 9 runs.")


def pixels(axis, scale, size):
    """Where a linear or logarithmic scale of Vega puts a value."""
    warp = math.log if scale["type"] == "log" else float
    low, high = map(warp, scale["domain"])
    return size * (warp(axis) - low) / (high - low)


def named_boxes(spec, width, height):
    """Where the name of each line stands, from its letters: left, right, low, high."""
    area = spec["layer"][0]["encoding"]
    for row in rows_of(spec, "text")[0]:
        x = pixels(row["value"], area["x"]["scale"], width) + row["dx"]
        y = pixels(row["depth"], area["y"]["scale"], height) - row["dy"]
        letters = 6 * len(row["name"])
        left = x - letters * {"left": 0, "center": 0.5, "right": 1}[row["align"]]
        yield row["name"], (left, left + letters, y - 6, y + 6)


@pytest.mark.parametrize(
    ("by", "setting", "names"),
    [
        ("scale", 0.01, 4),
        ("scale", 0.1, 5),
        ("scale", 0.001, 4),
        ("learning_rate", 0.5, 5),
        ("learning_rate", 0.9, 5),
        ("learning_rate", 1.1, 5),
    ],
)
def test_every_line_has_its_name_at_it_and_no_two_meet(by, setting, names):
    log = by_rate(setting)
    if by == "scale":
        scales, depths = charts.MAP_SCALES, charts.MAP_DEPTHS
        options = {"learning_rate": setting, "every": None, "target": "scaled"}
        log = predict(scales, depths, **options)

    spec = getattr(charts, f"outcome_by_{by}_and_depth")(log).to_dict()

    for width, height in ((285, 340), (1050, 285)):  # a phone, and beside it
        boxes = dict(named_boxes(spec, width, height))
        assert len(boxes) == names
        for a, b in itertools.combinations(boxes.values(), 2):
            apart = a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2]
            assert apart, boxes
        for left, right, low, high in boxes.values():
            assert min(left, low) > -2
            assert right < width + 2
            assert high < height + 2
    assert not any("strokeDash" in layer["encoding"] for layer in spec["layer"])


def test_a_name_avoids_a_line_that_runs_beside_its_own():
    up = np.linspace(0, 1, 21)
    one, two = (
        pd.DataFrame({"name": n, "x": x, "y": up})
        for n, x in (("a line", 0.4), ("b line", 0.46))
    )

    names = line_names(pd.concat([one, two], ignore_index=True)).set_index("name")

    assert names["align"].to_dict() == {"a line": "right", "b line": "left"}
    outside = pd.DataFrame({"name": "far", "x": [1.5, 2.0], "y": [0.2, 0.3]})
    assert line_names(outside).empty


def test_the_default_map_holds_the_scales_and_depths_that_are_spoken_of():
    assert {0.5, 0.9, 1.0, 1.5, 1.6} < set(charts.MAP_SCALES)
    assert {1, *LECTURE} < set(charts.MAP_DEPTHS)
    assert list(charts.MAP_DEPTHS) == sorted(set(charts.MAP_DEPTHS))
    assert {0.0001, 0.001, 0.01, 0.1, 1.0} < set(charts.MAP_LEARNING_RATES)


def test_an_empty_log_is_no_map(small):
    for draw in (charts.outcome_by_scale_and_depth, charts.outcome_grid):
        with pytest.raises(ValueError, match="`log` must hold at least one run"):
            draw(small.select(depth=3))


# The grid of a sweep


def test_a_grid_has_a_cell_a_run_the_deepest_on_top(small):
    spec = charts.outcome_grid(small).to_dict()

    cells = rows_of(spec, "rect")[0]
    assert [(c["series"], c["depth"], c["outcome"]) for c in cells] == [
        (f"{run.scale:g}", run.depth, run.outcome) for run in small.runs.itertuples()
    ]
    place = spec["layer"][0]["encoding"]
    assert place["x"]["sort"] == ["0.5", "0.9", "1.5"]
    assert place["y"]["sort"] == "descending"
    assert place["y"]["type"] == "ordinal"


def test_few_columns_have_words_and_many_a_legend(small):
    few = charts.outcome_grid(small).to_dict()
    many = charts.outcome_grid(predict([0.5, 0.7, 0.9, 1.1, 1.5], [2])).to_dict()

    for spec, named in ((few, True), (many, False)):
        legend = spec["layer"][0]["encoding"]["color"]["legend"]
        assert bool(rows_of(spec, "text")) is named
        assert (legend is None) is named


def test_the_cell_of_the_chosen_run_is_framed(small):
    framed = charts.outcome_grid(small, selected=4).to_dict()
    plain = charts.outcome_grid(small).to_dict()

    assert [row["run"] for row in rows_of(framed, "rect")[-1]] == [4]
    assert len(rows_of(framed, "rect")) == 3  # dark in pale, for any page
    assert rows_of(plain, "rect")[-1] == []


def test_a_grid_is_told_column_by_column():
    log = predict([0.5, 1.5], [2, 5, 10, 20])

    assert charts.description(charts.outcome_grid(log)) == (
        "By depth: c = 0.5 trains at 2, is slow at 5 and stalls at 10 to 20; c = 1.5 "
        "trains at 2 to 5 and diverges at 10 to 20."
    )


def test_a_grid_of_several_seeds_is_refused_with_the_way_out():
    log = predict([0.5], [2, 5], seed=[0, 1])

    with pytest.raises(ValueError, match=r"several of c = 0.5, L = 2. Take some with"):
        charts.outcome_grid(log)
    assert len(charts.outcome_grid(log.select(seed=1)).layer[0].data) == 2
