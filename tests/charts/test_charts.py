"""Charts, from small logs whose drawing can be worked out in the head."""

import concurrent.futures
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

from vgkeras import charts, floats, predict
from vgkeras.logs import KINDS, GradientLog


def make_log(losses, norms=None, *, scales=None, depths=None, origin="measured"):
    """A log with a run per list of losses; `norms[run]` is constant over layers."""
    count = len(losses)
    scales = scales or [0.5] * count
    depths = depths or [2] * count
    runs = pd.DataFrame(
        {
            "run": range(count),
            "depth": depths,
            "units": 2,
            "output_units": 2,
            "scale": scales,
            "initializer": "identity",
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "steps": [len(loss) - 1 for loss in losses],
            "dtype": "float32",
            "target": "identity",
            "samples": 4,
            "seed": 0,
            "loss_zero": 1.0,
            "outcome": "stalls",
        }
    )
    losses = pd.DataFrame(
        [
            (run, step, float(loss))
            for run, values in enumerate(losses)
            for step, loss in enumerate(values)
        ],
        columns=["run", "step", "loss"],
    )
    layers = [
        layer_row(run, 0, layer, kind, norm)
        for run, norm in enumerate(norms or [0.0] * count)
        for kind in KINDS
        for layer in range(1, depths[run] + 1)
    ]
    return GradientLog(runs, losses, pd.DataFrame(layers), {"origin": origin})


def layer_row(run, step, layer, kind, norm):
    rest = ("log10_max", "zero_fraction", "nonfinite_fraction", "frozen_fraction")
    return {
        "run": run,
        "step": step,
        "layer": layer,
        "name": f"dense_{layer}/kernel",
        "kind": kind,
        "log10_norm": float(norm),
        **dict.fromkeys((*rest, "update_ratio"), 0.0),
    }


def with_theory(log, theory):
    return GradientLog(log.runs, log.losses, log.layers, log.metadata, theory)


def marks(chart):
    """What is drawn: `(mark type, rows)` of each layer of a chart with data."""
    layers = []
    for layer in chart.layer:
        mark = layer.mark if isinstance(layer.mark, str) else layer.mark.type
        layers.append((mark, layer.data))
    return layers


def points(chart):
    """All rows drawn as points, measured and flagged."""
    return pd.concat([rows for mark, rows in marks(chart) if mark == "point"])


def title(chart):
    return " ".join(chart.title.text).replace("\u00a0", " ")


def lines(chart):
    return next(rows for mark, rows in marks(chart) if mark == "line")


def panels(chart):
    return chart.concat if isinstance(chart, alt.ConcatChart) else [chart]


def encoding(chart, mark):
    layers = chart.to_dict()["layer"]
    return next(lay["encoding"] for lay in layers if lay["mark"]["type"] == mark)


@pytest.mark.slow
def test_charts_work_without_tensorflow():
    code = "import sys, vgkeras.charts; print('tensorflow' in sys.modules)"

    words = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert words.stdout.strip() == "False"


def test_loss_is_drawn_as_its_base_10_logarithm():
    chart = charts.loss_by_step(make_log([[1.0, 0.1, 0.001]]))

    assert points(chart)["y"].tolist() == pytest.approx([0, -1, -3])
    assert points(chart)["step"].tolist() == [0, 1, 2]
    assert encoding(chart, "point")["y"]["field"] == "y"
    assert encoding(chart, "point")["y"]["title"] == "loss (log scale)"
    assert encoding(chart, "point")["x"]["title"] == "training step"


def test_ticks_are_named_in_powers_of_ten():
    chart = charts.loss_by_step(make_log([[1.0, 1e-10]]))

    axis = encoding(chart, "point")["y"]["axis"]
    assert axis["values"] == [-10, -8, -6, -4, -2, 0]
    assert '"-10": "10⁻¹⁰"' in axis["labelExpr"]


def test_measurement_is_points_and_theory_is_dashed_lines():
    measured = make_log([[1.0, 0.1]])
    theory = make_log([[1.0, 0.2]], origin="theory")

    chart = charts.loss_by_step(with_theory(measured, theory))

    assert points(chart)["origin"].unique().tolist() == ["measured"]
    assert lines(chart)["y"].tolist() == pytest.approx([0, math.log10(0.2)])
    line = next(
        lay for lay in chart.to_dict()["layer"] if lay["mark"]["type"] == "line"
    )
    assert line["mark"]["strokeDash"] == [6, 4]


def test_a_log_of_theory_alone_is_drawn_dashed():
    chart = charts.loss_by_step(make_log([[1.0, 0.1]], origin="theory"))

    assert points(chart).empty
    assert lines(chart)["y"].tolist() == pytest.approx([0, -1])
    assert chart.title.subtitle == ["Dashed lines: theory."]


@pytest.mark.parametrize(
    "draw", [charts.final_loss_by_depth, charts.gradient_by_depth, charts.loss_by_step]
)
def test_a_chart_with_nothing_on_its_axis_says_what_all_is(draw):
    log = predict([1.0], [20], steps=5)

    texts = [rows for mark, rows in marks(draw(log)) if mark == "text"]

    words = [rows["words"].iloc[0] for rows in texts if "words" in rows]
    assert words == ["Every value: exactly 0."]


def test_a_chart_with_something_on_its_axis_says_nothing_in_its_middle():
    chart = charts.loss_by_step(predict([0.9, 1.0], [20], steps=5))

    assert not [rows for mark, rows in marks(chart) if mark == "text"]


def test_measurement_alone_is_drawn_without_a_line():
    chart = charts.loss_by_step(make_log([[1.0, 0.1]]))

    assert lines(chart).empty
    assert chart.title.subtitle == ["Points: measured."]


def test_every_scale_has_a_colour_and_a_shape_of_its_own():
    log = make_log([[1.0]] * 3, scales=[1.5, 0.5, 0.9])

    point = encoding(charts.loss_by_step(log), "point")

    for channel in ("color", "shape"):
        assert point[channel]["field"] == "series"
        assert point[channel]["scale"]["domain"] == ["0.5", "0.9", "1.5"]
        assert len(set(point[channel]["scale"]["range"])) == 3


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.5])
def test_a_scale_looks_the_same_whatever_else_is_shown(scale):
    alone = make_log([[1.0]], scales=[scale])
    among = make_log([[1.0]] * 6, scales=[0.5, 0.7, 0.9, 1.0, 1.1, 1.5])

    looks = [look_of(f"{scale:g}", charts.loss_by_step(log)) for log in (alone, among)]

    assert looks[0] == looks[1]
    assert looks[0][0] == charts.scale_color(scale)


def look_of(name, chart):
    """Colour and shape of a series."""
    scales = [encoding(chart, "point")[ch]["scale"] for ch in ("color", "shape")]
    return [scale["range"][scale["domain"].index(name)] for scale in scales]


def test_a_run_without_a_scale_is_named_by_its_initializer():
    log = make_log([[1.0]])
    log.runs["scale"] = np.nan
    log.runs["initializer"] = "glorot_uniform"

    point = encoding(charts.loss_by_step(log), "point")

    assert point["color"]["scale"]["domain"] == ["glorot_uniform"]


@pytest.mark.parametrize(
    ("loss", "flag", "edge"),
    [
        (0.0, "exactly 0", "bottom"),
        (1e-20, "below 10⁻¹²", "bottom"),
        (math.inf, "Inf or NaN", "top"),
        (math.nan, "Inf or NaN", "top"),
        (1e150, "above 10¹²", "top"),
    ],
)
def test_a_loss_without_a_place_on_the_axis_is_flagged_at_the_edge(loss, flag, edge):
    chart = charts.loss_by_step(make_log([[1.0, 0.1, loss]]))

    rows = points(chart).set_index("step")
    assert rows.loc[2, "flag"] == flag
    assert rows.loc[[0, 1], "flag"].tolist() == ["", ""]
    assert rows.loc[2, "y"] > 0 if edge == "top" else rows.loc[2, "y"] < -1
    low, high = encoding(chart, "point")["y"]["scale"]["domain"]
    assert low < rows["y"].min() and rows["y"].max() < high  # noqa: PT018
    assert flag in encoding(chart, "point")["shape"]["scale"]["domain"]


def test_a_diverging_run_does_not_flatten_the_others():
    log = make_log([[1.0, 1e150], [1.0, 0.1]], scales=[1.5, 0.9])

    low, high = encoding(charts.loss_by_step(log), "point")["y"]["scale"]["domain"]

    assert high - low < 2


def test_flagged_marks_of_different_scales_do_not_hide_each_other():
    log = make_log([[1.0, math.inf]] * 2, scales=[1.5, 1.8])

    rows = points(charts.loss_by_step(log))

    assert rows.loc[rows["flag"] != "", "y"].nunique() == 2


def test_a_line_breaks_where_theory_is_off_the_axis():
    log = make_log([[1.0, math.inf, 0.1]], origin="theory")

    chart = charts.loss_by_step(log)

    assert lines(chart)["y"].isna().tolist() == [False, True, False]
    assert points(chart)["flag"].tolist() == ["Inf or NaN"]


def test_theory_that_says_nothing_of_other_depths_is_drawn_as_dashes():
    log = make_log([[0.3]] * 2, [-3.0, -4.0], depths=[9, 12], origin="theory")

    chart = charts.gradient_by_depth(log)

    dashes = next(rows for mark, rows in marks(chart) if mark == "tick")
    assert dashes["y"].tolist() == [-3.0, -4.0]
    assert lines(chart)["line"].nunique() == 2


def test_between_the_depths_of_a_log_theory_is_worked_out_not_joined():
    log = predict([0.9], [2, 152])  # between them, 20 layers train

    line = lines(charts.final_loss_by_depth(log)).set_index("depth")["y"]

    assert line.index.tolist() == list(range(2, 153))
    for depth in (3, 6, 43, 60):
        s = 0.9
        for _ in range(200):
            s -= 0.01 * s ** (depth - 1) * (s**depth - 1)
        assert line[depth] == pytest.approx(2 * math.log10(abs(s**depth - 1)))
    assert line[[10, 20, 40]].isna().all()  # below the axis: the line breaks
    assert line[152] == pytest.approx(0, abs=1e-5)


def test_lines_of_gradients_follow_their_law_at_every_depth():
    log = predict([0.5, 1.5], [5, 40], units=2)

    frame = lines(charts.gradient_by_depth(log))

    for scale, rows in frame.groupby("series"):
        c, depth = float(scale), rows["depth"].to_numpy()
        expected = (depth - 1) * np.log10(c) + np.log10(np.abs(c**depth - 1))
        assert depth.tolist() == list(range(5, 41))
        np.testing.assert_allclose(rows["y"], expected + math.log10(2) / 2)


def test_points_of_a_log_stand_on_the_line_of_its_theory():
    theory = predict([0.9], [2, 50], target="scaled")
    bare = theory.replace(runs=theory.runs.assign(target="", seed=-1), metadata={})
    log = theory.replace(metadata={"origin": "measured"}, theory=bare)

    for draw in (charts.final_loss_by_depth, charts.gradient_by_depth):
        rows = lines(draw(log))
        assert rows["line"].nunique() == 1
        assert rows["depth"].tolist() == list(range(2, 51))


def test_a_single_depth_has_theory_around_it():
    log = predict([0.5], [20])

    chart = charts.gradient_by_depth(log)

    assert lines(chart)["depth"].tolist() == list(range(10, 41))
    assert encoding(chart, "point")["x"]["scale"]["domain"] == [10, 40]


def test_between_depths_that_were_measured_nothing_is_flagged():
    log = predict([1.0, 1.5], [5, 152])

    chart = charts.final_loss_by_depth(log)

    flagged = points(chart)
    assert sorted(flagged["depth"].unique()) == [5, 152]
    assert sorted(flagged["flag"]) == ["Inf or NaN", "exactly 0", "exactly 0"]


def test_a_long_range_of_depths_is_drawn_at_a_few_hundred_of_them():
    log = predict([0.99], [1, 3, 5000], steps=0)

    rows = lines(charts.gradient_by_depth(log))

    assert 200 < len(rows) <= 402
    assert {1, 2, 3, 4, 5, 5000} <= set(rows["depth"])


@pytest.mark.parametrize("draw", [charts.final_loss_by_depth, charts.gradient_by_depth])
def test_depth_has_one_axis(draw):
    chart = draw(make_log([[1.0]] * 3, depths=[1, 20, 152]))

    axis = encoding(chart, "point")["x"]
    assert axis["scale"]["type"] == "log"
    assert axis["scale"]["domain"] == [1, 152]
    assert axis["axis"]["values"] == [1, 2, 5, 10, 20, 50, 100, 152]


@pytest.mark.parametrize(("width", "has_100"), [(340, False), (600, True)])
def test_the_ends_of_the_axis_of_depth_keep_their_labels_in_a_narrow_chart(
    width, has_100
):
    spec = charts.gradient_by_depth(make_log([[1.0]] * 2, depths=[1, 152])).to_dict()

    svg = vl_convert.vegalite_to_svg({**spec, "width": width})

    labels = re.findall(r"<text(?![^>]*opacity=.0.)[^>]*>(\d+)</text>", svg)
    assert labels == ["1", "2", "5", "10", "20", "50", *(["100"] * has_100), "152"]


def test_no_value_that_is_not_finite_reaches_the_drawing():
    log = make_log([[0.0, math.inf, math.nan, 1.0]], [-math.inf])

    for chart in (
        charts.loss_by_step(log),
        charts.final_loss_by_depth(log),
        charts.gradient_by_depth(log),
        charts.kinds_by_layer(log),
    ):
        assert np.isfinite(points(chart)["y"]).all()


def test_long_runs_are_drawn_in_bins_and_say_so():
    falling = [10.0**-step for step in np.linspace(0, 1, 202)]

    chart = charts.loss_by_step(make_log([falling]))

    steps = points(chart)["step"].tolist()
    assert steps == [0, *range(3, 199, 5), 201]  # the ends, and middles of 5
    assert "Of 5 steps each: the middle one" in " ".join(chart.title.subtitle)


def waves(steps, epoch=8):
    """Losses that fall through each epoch and jump back: by a factor of 10."""
    return 10.0 ** -((np.arange(steps) % epoch) / (epoch - 1))


@pytest.mark.parametrize("steps", [72, 100, 437, 441, 800, 10_000])
def test_epochs_do_not_alias_into_slow_waves(steps):
    losses = waves(steps)
    rows = points(charts.loss_by_step(make_log([losses.tolist()])))

    assert len(rows) <= 102
    starts = np.append(rows["step"], steps)
    if steps <= 100:  # every step is drawn
        assert starts.tolist() == [*range(steps), steps]
        return
    inner = rows.iloc[1:-1]  # the ends are single steps
    width = math.ceil((steps - 2) / 48)
    first = 1 + width * ((inner["step"] - 1) // width)
    for start, low, high in zip(first, inner["low"], inner["high"], strict=True):
        own = np.log10(losses[start : min(start + width, steps - 1)])
        assert (low, high) == pytest.approx((own.min(), own.max()))
    if width >= 16:  # two epochs: picking every so many would swing by a decade
        assert np.ptp(inner["y"].iloc[:-1]) < 0.3


@pytest.mark.slow
def test_a_heat_map_does_not_alias_epochs_into_bands():
    log = make_log([[1.0]], depths=[40])
    rows = log.layers[log.layers["kind"] == "weight_gradient"]
    norms = np.log10(waves(1600))
    layers = pd.concat(
        [rows.assign(step=step, log10_norm=norm) for step, norm in enumerate(norms)]
    )

    cells = heat_rows(charts.gradient_by_layer_and_step(log.replace(layers=layers)))

    assert 2000 <= len(cells) <= 4000
    columns = cells.groupby("left")["log10"].agg(["min", "max"])
    assert np.ptp(columns["min"]) < 0.3
    assert set(cells["range"]) == {"0.1 to 1"}


def test_a_long_run_that_is_nowhere_on_the_axis_is_drawn_beside_it():
    rows = points(charts.loss_by_step(make_log([[math.inf] * 500])))

    assert set(rows["flag"]) == {"Inf or NaN"}
    assert (rows["step"].min(), rows["step"].max()) == (0, 499)


def test_steps_are_updates_made_wherever_they_are_told():
    """A fit logs the loss before each of its updates: steps 0 to 79 of 80."""
    log = make_log([np.linspace(2.0, 1.0, 80).tolist()])
    log.runs["steps"] = 80

    texts = [
        charts.description(charts.loss_by_step(log)),
        " ".join(charts.final_loss_by_depth(log).title.subtitle),
        *charts.run_sentences(log),
    ]

    assert [re.findall(r"(\d+) steps", words) for words in texts] == [["80"]] * 3


def test_one_overflow_among_many_steps_is_seen():
    losses = np.ones(5000)
    losses[1234] = math.nan

    rows = points(charts.loss_by_step(make_log([losses.tolist()])))

    assert rows.loc[rows["flag"] == "Inf or NaN", "step"].tolist() == [1234]


def test_thinning_keeps_the_step_at_which_a_run_leaves_the_axis():
    losses = [1.0] * 202
    losses[7:] = [math.inf] * 195

    rows = points(charts.loss_by_step(make_log([losses]))).set_index("step")

    assert rows.loc[6, "flag"] == ""
    assert rows.loc[7, "flag"] == "Inf or NaN"


def test_several_depths_stand_in_panels():
    log = make_log([[1.0, 0.5]] * 3, depths=[2, 3, 2], scales=[0.5, 0.5, 0.9])

    chart = charts.loss_by_step(log)

    assert [len(points(panel)) for panel in panels(chart)] == [4, 2]
    assert "depth 2" in charts.description(chart)
    assert "depth 3" in charts.description(chart)


def test_the_title_of_losses_says_which_scales_train():
    log = make_log([[1.0, 0.0]] * 3, scales=[0.5, 0.9, 1.5])
    log.runs["outcome"] = ["stalls", "stalls", "diverges"]

    chart = charts.loss_by_step(log)

    assert title(chart) == "Depth 2: c = 0.5 and 0.9 stall; c = 1.5 diverges"


def test_final_loss_is_the_last_of_each_run():
    log = make_log([[1.0, 0.1], [1.0, 0.5, 0.01]], depths=[2, 10])

    chart = charts.final_loss_by_depth(log)

    rows = points(chart)
    assert rows["depth"].tolist() == [2, 10]
    assert rows["y"].tolist() == pytest.approx([-1, -2])
    assert encoding(chart, "point")["x"]["axis"]["values"] == [2, 5, 10]


def levels(chart):
    """Names and heights of the lines to compare with."""
    texts = [rows for mark, rows in marks(chart) if mark == "text" and "label" in rows]
    return {row.label: row.y for rows in texts for row in rows.itertuples()}


def test_final_loss_is_compared_with_the_loss_of_answering_zero():
    log = make_log([[1.0, 0.1]])
    log.runs["loss_zero"] = 100.0

    rows = levels(charts.final_loss_by_depth(log))

    assert rows == {"loss of answering 0": 2.0, "1% of it": 0.0}


def test_runs_of_different_targets_have_no_loss_in_common_to_compare_with():
    log = make_log([[1.0], [1.0]], depths=[2, 3])
    log.runs["loss_zero"] = [1.0, 2.0]

    assert levels(charts.final_loss_by_depth(log)) == {}


@pytest.mark.parametrize(("zero", "trains"), [(0.5, 0.005), (8.0, 0.02)])
def test_the_losses_that_decide_about_a_run_are_drawn(zero, trains):
    log = make_log([[2.0, 0.1]])
    log.runs["loss_zero"] = zero

    rows = levels(charts.loss_by_step(log))

    assert rows == {
        "trains below": pytest.approx(math.log10(trains)),
        "stalls above": pytest.approx(math.log10(1.8)),
    }


def test_several_runs_have_no_losses_that_decide_in_common():
    assert (
        levels(charts.loss_by_step(make_log([[2.0], [1.0]], scales=[0.5, 0.9]))) == {}
    )


@pytest.mark.parametrize("first", [0.0, 1e30, math.nan])
def test_a_loss_that_decides_and_is_not_on_the_axis_is_not_drawn(first):
    rows = levels(charts.loss_by_step(make_log([[first, 1.0]])))

    assert "stalls above" not in rows
    assert all(map(math.isfinite, rows.values()))


def test_the_title_of_final_losses_names_the_deepest_stack_that_trains():
    log = make_log([[1.0]] * 3, scales=[0.5, 0.5, 0.9], depths=[2, 3, 2])
    log.runs["outcome"] = ["trains", "trains", "stalls"]

    words = title(charts.final_loss_by_depth(log))

    assert words == "Deepest that trains: 3 layers at c = 0.5, none at c = 0.9"


def subtitle(chart):
    return " ".join(chart.title.subtitle).replace("\u00a0", " ")


def test_a_gradient_is_said_to_follow_the_power_that_its_norms_follow():
    scales = [0.5, 0.5, 1.5, 1.5, 2.0, 2.0]
    logs = [math.log10(scale) for scale in scales]
    powers = [1, 1, 2, 2, 1.4, 1.4]
    norms = [d * p * c for d, p, c in zip([10, 50] * 3, powers, logs, strict=True)]
    log = make_log([[1.0]] * 6, norms, scales=scales, depths=[10, 50] * 3)

    words = subtitle(charts.gradient_by_depth(log))

    assert words.endswith("It goes like cᴸ⁻¹ at c = 0.5, like c²ᴸ⁻¹ at c = 1.5.")


def test_theory_has_the_powers_of_the_lecture():
    chart = charts.gradient_by_depth(predict([0.5, 0.9, 0.99, 1.5], [2, 100, 152]))

    expected = "It goes like cᴸ⁻¹ at c = 0.5 and 0.9, like c²ᴸ⁻¹ at c = 1.5."
    assert subtitle(chart).endswith(expected)  # at 0.99, 152 layers are too few
    assert charts.description(chart).endswith(expected)


def test_a_power_is_read_off_the_deepest_gradients_that_are_numbers():
    log10 = [-3.0, -5 * math.log10(2) - 3, -math.inf]
    log = make_log([[1.0]] * 3, log10, depths=[5, 10, 152])

    words = subtitle(charts.gradient_by_depth(log))

    assert words.endswith("It goes like cᴸ⁻¹ at c = 0.5.")


def test_after_training_no_power_is_named():
    chart = charts.gradient_by_depth(predict([0.5], [2, 50], steps=3), step=3)

    assert "It goes" not in subtitle(chart)


def test_gradient_by_depth_draws_layer_1_of_each_run():
    log = make_log([[1.0]] * 2, [-1.0, -20.0], depths=[2, 40])

    chart = charts.gradient_by_depth(log)

    rows = points(chart)
    assert rows[["depth", "y"]].to_numpy().tolist() == [[2, -1.0], [40, -20.0]]
    assert "equal in all layers" in " ".join(chart.title.subtitle)


def test_gradient_by_depth_draws_a_line_per_scale_and_seed():
    chart = charts.gradient_by_depth(predict([0.5, 0.9], [2, 3], seed=[0, 1]))

    assert lines(chart)["line"].nunique() == 4


def test_the_title_of_gradients_says_what_depth_does_to_them():
    log = make_log(
        [[1.0]] * 8,
        [-1.0, -20.0, 0.0, 50.0, -math.inf, -math.inf, 0.0, 0.1],
        scales=[0.5, 0.5, 1.5, 1.5, 1.0, 1.0, 1.1, 1.1],
        depths=[2, 9] * 4,
    )

    words = title(charts.gradient_by_depth(log))

    assert words == (
        "Weight gradient: vanishes at c = 0.5; "
        "is exactly 0 at c = 1; keeps its norm at c = 1.1; explodes at c = 1.5"
    )


def test_gradient_by_depth_says_how_far_layers_differ():
    log = make_log([[1.0]])
    log.layers.loc[log.layers["layer"] == 2, "log10_norm"] = 3.0

    words = charts.description(charts.gradient_by_depth(log))

    assert "layers differ by up to 3 decades" in words


def test_kinds_by_layer_draws_every_kind_in_its_own_shape():
    log = make_log([[1.0]], depths=[4])

    chart = charts.kinds_by_layer(log)

    rows = points(chart)
    assert rows.groupby("series").size().to_dict() == {
        "activation a": 4,
        "activation gradient ∂L/∂a": 4,
        "weight gradient ∂L/∂W": 4,
    }
    assert len(set(encoding(chart, "point")["shape"]["scale"]["range"])) == 3


def test_kinds_by_layer_says_flat_only_where_it_is_flat():
    log = make_log([[1.0]], depths=[3])
    slope = log.layers["kind"] != "weight_gradient"
    flat = charts.kinds_by_layer(log)
    log.layers.loc[slope, "log10_norm"] = -log.layers["layer"].astype(float)

    sloped = charts.kinds_by_layer(log)

    assert "three kinds of norm" in title(flat)
    assert "weight gradients are flat" in title(sloped)


def test_deep_stacks_are_thinned_but_keep_the_last_layer():
    chart = charts.kinds_by_layer(make_log([[1.0]], depths=[152]))

    layers = sorted(points(chart)["layer"].unique())
    assert len(layers) <= 50
    assert (layers[0], layers[-1]) == (1, 152)
    assert "Of 4 layers each" in " ".join(chart.title.subtitle)


def heat_rows(chart):
    return chart.data


def test_heat_map_draws_every_layer_and_step():
    log = make_log([[1.0]], depths=[2])
    later = log.layers.assign(step=10, log10_norm=-3.0)
    layers = pd.concat([log.layers, later], ignore_index=True)

    chart = charts.gradient_by_layer_and_step(
        GradientLog(log.runs, log.losses, layers, {}), kind="activation"
    )

    rows = heat_rows(chart)
    assert rows[["step", "layer", "log10"]].to_numpy().tolist() == [
        [0, 1, 0.0],
        [0, 2, 0.0],
        [10, 1, -3.0],
        [10, 2, -3.0],
    ]
    assert rows["step_end"].tolist() == [10, 10, 20, 20]


def test_heat_map_flags_what_is_not_on_its_scale():
    log = make_log([[1.0]], depths=[3])
    gradients = log.layers["kind"] == "weight_gradient"
    log.layers.loc[gradients, "log10_norm"] = [-math.inf, math.inf, 0.5]

    chart = charts.gradient_by_layer_and_step(log)

    assert heat_rows(chart)["flag"].tolist() == ["exactly 0", "Inf or NaN", ""]
    apart = chart.to_dict()["layer"][1]
    assert apart["encoding"]["color"]["scale"]["domain"] == ["Inf or NaN", "exactly 0"]
    assert apart["encoding"]["color"]["legend"]["columns"] == 1


def test_heat_map_stays_under_4000_cells_and_says_what_it_left_out():
    log = make_log([[1.0]], depths=[152])
    layers = pd.concat([log.layers.assign(step=step) for step in range(201)])

    chart = charts.gradient_by_layer_and_step(
        GradientLog(log.runs, log.losses, layers.reset_index(drop=True), {})
    )

    assert 2000 < len(heat_rows(chart)) <= 4000
    words = "A cell: the middle norm of 5 logged steps and 2 layers."
    assert words in " ".join(chart.title.subtitle)


def test_cells_leave_no_seams():
    chart = charts.gradient_by_layer_and_step(predict([1.5], [40], every=50))

    for layer in chart.to_dict()["layer"]:
        assert layer["mark"]["x2Offset"] >= 1  # pixels, over the next cell
        assert layer["mark"]["y2Offset"] <= -1
        assert layer["mark"]["clip"]
        assert not layer["encoding"]["x"]["axis"]["grid"]
        assert not layer["encoding"]["y"]["axis"]["grid"]


def orange_cells(chart):
    """Top and height of the cells of a heat map that are Inf."""
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    # Three digits wide: no symbol of the legend.
    cell = r'd="M[-\d.]+,([-\d.]+)h\d{3}[\d.]*v([\d.]+)h[^"]*" fill="#D55E00"'
    return [tuple(map(float, edges)) for edges in re.findall(cell, svg)]


def test_a_heat_map_of_inf_has_no_stripes():
    chart = charts.gradient_by_layer_and_step(predict([1.5], [40], every=50))

    cells = orange_cells(chart)

    tops = np.array(sorted({top for top, _ in cells}))
    bottoms = np.array(sorted({top + height for top, height in cells}))
    assert len(tops) == 40
    assert (bottoms[:-1] > tops[1:]).all()


def test_rounding_noise_does_not_look_like_change():
    log = make_log([[1.0]], depths=[2])
    log.layers["log10_norm"] += 1e-6 * log.layers["layer"]

    chart = charts.gradient_by_layer_and_step(log)

    low, high = chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert high - low >= 1


@pytest.mark.parametrize(
    "draw",
    [
        charts.loss_by_step,
        charts.final_loss_by_depth,
        charts.gradient_by_depth,
        charts.kinds_by_layer,
        charts.gradient_by_layer_and_step,
    ],
)
def test_every_chart_tells_its_numbers_in_a_sentence(draw):
    chart = draw(make_log([[1.0, 3e-20]], [math.log10(3e-20)]))

    words = charts.description(chart)
    assert "3·10⁻²⁰" in words
    assert words.endswith(".")
    assert chart.to_dict()["description"] == words


def test_a_vanished_loss_is_told_as_a_power_of_ten():
    words = charts.description(
        charts.loss_by_step(make_log([[9.99e-8, 0.0, math.nan]]))
    )

    assert "from 10⁻⁷ to Inf or NaN" in words
    assert re.search(r"0\.00", words) is None


def test_description_refuses_a_chart_without_one():
    with pytest.raises(ValueError, match=r"`chart` must carry a description\. Rec"):
        charts.description(alt.Chart())


def test_charts_refuse_an_empty_log():
    empty = make_log([[1.0]]).select(scale=7.0)

    with pytest.raises(
        ValueError, match=r"`log` must hold at least one run\. Received"
    ):
        charts.loss_by_step(empty)


def test_charts_refuse_a_step_that_was_not_logged():
    with pytest.raises(
        ValueError, match=r"`step` must be .*one of 0\. Received: step=7"
    ):
        charts.gradient_by_depth(make_log([[1.0]]), step=7)


def test_loss_by_step_refuses_more_depths_than_one_look_can_hold():
    log = make_log([[1.0]] * 13, depths=list(range(1, 14)))

    with pytest.raises(ValueError, match=r"at most 12 depths\. Received: 13 depths"):
        charts.loss_by_step(log)


def test_kinds_by_layer_refuses_more_runs_than_one_look_can_hold():
    with pytest.raises(ValueError, match=r"at most 12 runs\. Received: 13 runs"):
        charts.kinds_by_layer(make_log([[1.0]] * 13))


def test_heat_map_refuses_more_than_one_run():
    with pytest.raises(
        ValueError, match=r"must hold exactly one run\. Received: 2 runs"
    ):
        charts.gradient_by_layer_and_step(make_log([[1.0]] * 2))


def test_heat_map_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match=r"`kind` must be one of .*kind='weights'"):
        charts.gradient_by_layer_and_step(make_log([[1.0]]), kind="weights")


def test_heat_map_refuses_a_kind_that_was_not_logged():
    log = make_log([[1.0]])
    layers = log.layers[log.layers["kind"] != "activation"]

    with pytest.raises(ValueError, match=r"of the kind 'activation'\. Received: only"):
        charts.gradient_by_layer_and_step(
            GradientLog(log.runs, log.losses, layers, {}), kind="activation"
        )


# --- Somebody's own model ------------------------------------------------------------


def own_log(norms=None, *, steps=(0, 1), losses=None, runs=1, kinds=None, sizes=(4, 2)):
    """A log as of a callback in `model.fit`: no scale, kernels and biases.

    `norms` maps a layer to the norms of its kernel and its bias.
    """
    norms = norms or {1: (-2.0, -5.0), 2: (-1.0, -4.0)}
    log = make_log([losses or [1.0] * len(steps)] * runs, depths=[len(norms)] * runs)
    log.runs["scale"] = log.runs["loss_zero"] = np.nan
    log.runs["initializer"] = log.runs["outcome"] = ""
    log.losses["step"] = list(steps) * runs
    rows = []
    for run in range(runs):
        for step in steps:
            for layer, pair in norms.items():
                parts = zip(("kernel", "bias"), pair, sizes, strict=False)
                for part, norm, size in parts:
                    row = layer_row(run, step, layer, "weight_gradient", norm)
                    rows.append({**row, "name": f"block_{layer}/{part}", "size": size})
                for kind in kinds or ():
                    row = layer_row(run, step, layer, kind, 0.5)
                    rows.append({**row, "name": f"block_{layer}", "size": 8})
    return log.replace(layers=pd.DataFrame(rows), metadata={"origin": "measured"})


DRAWN = [
    charts.loss_by_step,
    charts.final_loss_by_depth,
    charts.gradient_by_depth,
    charts.kinds_by_layer,
    charts.gradient_by_step,
    charts.gradient_by_layer_and_step,
]


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize(
    "log",
    [
        own_log(),
        own_log(kinds=("activation", "activation_gradient")),
        own_log({1: (math.nan, math.nan), 2: (math.inf, -math.inf)}),
        own_log({1: (math.nan, math.nan)}, losses=[math.nan, -1.0]),
        own_log({layer: (-1.0, -2.0) for layer in range(1, 61)}),
        own_log(steps=range(7, 2000, 3)),
        own_log({5: (-1.0, -2.0), 9: (-3.0, -2.0)}),
        own_log().replace(layers=own_log().layers.drop(columns="size")),
        own_log().replace(runs=own_log().runs.assign(depth=0)),
        own_log().replace(runs=own_log().runs.assign(outcome="<script>")),
    ],
)
def test_every_chart_draws_every_log_of_a_model_of_ones_own(draw, log):
    chart = draw(log)

    assert "nan" not in charts.description(chart).lower().replace("inf or nan", "")
    assert len(chart.to_dict()["layer"]) > 0
    assert "null" not in json.dumps(chart.to_dict()["title"])


def test_a_run_without_scale_and_initializer_is_called_by_its_number():
    point = encoding(charts.loss_by_step(own_log(runs=2)), "point")

    assert point["color"]["scale"]["domain"] == ["run 0", "run 1"]
    assert point["color"]["legend"]["title"] == "run"
    assert point["tooltip"][0]["title"] == "run"


def test_runs_are_ordered_by_number():
    point = encoding(charts.loss_by_step(own_log(runs=11)), "point")

    assert point["color"]["scale"]["domain"][-2:] == ["run 9", "run 10"]


def test_a_long_initializer_is_cut():
    log = own_log()
    log.runs["initializer"] = "x" * 1000

    point = encoding(charts.loss_by_step(log), "point")

    assert point["color"]["scale"]["domain"] == ["…" + "x" * 39]


def test_kernels_and_biases_differ_in_colour_and_shape():
    chart = charts.kinds_by_layer(own_log(kinds=("activation", "activation_gradient")))

    rows = points(chart)
    kernel, bias = (f"weight gradient ∂L/∂W, {part}" for part in ("kernel", "bias"))
    assert rows.loc[rows["series"] == kernel, "y"].tolist() == [-2.0, -1.0]
    assert rows.loc[rows["series"] == bias, "y"].tolist() == [-5.0, -4.0]
    point = encoding(chart, "point")
    assert point["color"]["scale"]["domain"] == [
        kernel,
        bias,
        "activation a",
        "activation gradient ∂L/∂a",
    ]
    for channel in ("color", "shape"):
        assert len(set(point[channel]["scale"]["range"])) == 4


def test_kernels_alone_keep_the_name_of_their_kind():
    log = own_log({1: (-1.0,), 2: (-2.0,)})

    point = encoding(charts.kinds_by_layer(log), "point")

    assert point["color"]["scale"]["domain"] == ["weight gradient ∂L/∂W"]


def test_many_kinds_of_variables_are_not_all_told_apart():
    log = own_log({layer: (-1.0,) for layer in range(1, 10)})
    names = [f"block/part_{row}" for row in range(len(log.layers))]
    log = log.replace(layers=log.layers.assign(name=names))

    rows = points(charts.kinds_by_layer(log))

    assert rows["series"].nunique() == 6
    assert (rows["series"] == "weight gradient ∂L/∂W, other variables").sum() == 4


def test_the_title_names_the_kinds_that_there_are():
    one, two = own_log(), own_log(kinds=("activation",))

    words = title(charts.kinds_by_layer(one)), title(charts.kinds_by_layer(two))

    assert words[0] == "run 0, L = 2: weight gradient ∂L/∂W, layer by layer"
    assert words[1] == "run 0, L = 2: two kinds of norm, layer by layer"


def test_a_variable_without_gradient_is_flagged_as_such():
    log = own_log({1: (math.nan, -1.0), 2: (-2.0, math.inf)})

    for chart in (charts.kinds_by_layer(log), charts.gradient_by_step(log)):
        rows = points(chart)
        assert "no gradient" in set(rows["flag"])
        assert set(rows.loc[rows["flag"] == "no gradient", "value"]) == {"no gradient"}
        assert "no gradient" in charts.description(chart)
    lost = points(charts.kinds_by_layer(log)).query("flag == 'Inf or NaN'")
    assert lost["y"].item() > -1.0


def test_the_heat_map_says_in_how_many_layers_there_is_no_gradient():
    log = own_log({1: (math.nan, -1.0), 2: (-2.0, -1.0), 3: (math.nan, math.nan)})

    chart = charts.gradient_by_layer_and_step(log)

    assert "0.01 in every layer, no gradient in 2 layers" in charts.description(chart)
    apart = chart.to_dict()["layer"][1]
    assert apart["encoding"]["color"]["scale"]["domain"] == ["no gradient"]


def test_the_heat_map_says_it_if_no_layer_has_a_gradient():
    chart = charts.gradient_by_layer_and_step(own_log({1: (math.nan, math.nan)}))

    assert "at step 1: no gradient in any layer." in charts.description(chart)


def test_the_heat_map_draws_the_largest_variable_of_each_layer_and_says_so():
    chart = charts.gradient_by_layer_and_step(own_log(sizes=(2, 4)))

    assert heat_rows(chart)["log10"].tolist() == [-5.0, -4.0] * 2
    assert "Of several tensors in a layer the largest is drawn." in " ".join(
        chart.title.subtitle
    )


def test_without_sizes_the_first_variable_of_a_layer_is_drawn():
    log = own_log(sizes=(2, 4))

    chart = charts.gradient_by_layer_and_step(
        log.replace(layers=log.layers.drop(columns="size"))
    )

    assert heat_rows(chart)["log10"].tolist() == [-2.0, -1.0] * 2


def test_the_heat_map_draws_a_shared_layer_once():
    log = own_log(kinds=("activation",))
    calls = pd.concat([log.layers, log.layers.assign(log10_norm=7.0)])

    chart = charts.gradient_by_layer_and_step(
        log.replace(layers=calls), kind="activation"
    )

    assert heat_rows(chart)["log10"].tolist() == [0.5] * 4
    assert "the largest is drawn" in " ".join(chart.title.subtitle)


def test_the_heat_map_draws_the_variables_that_are_asked_for():
    chart = charts.gradient_by_layer_and_step(own_log(), variable="bias")

    assert heat_rows(chart)["log10"].tolist() == [-5.0, -4.0] * 2
    assert "weight gradient ∂L/∂W (bias)" in title(chart)
    assert "largest" not in " ".join(chart.title.subtitle)


def test_the_heat_map_refuses_a_variable_that_is_not_there():
    with pytest.raises(
        ValueError,
        match=r"`variable` must be one of 'kernel' and 'bias'\. Received: variable='w'",
    ):
        charts.gradient_by_layer_and_step(own_log(), variable="w")


def test_variables_are_listed_with_the_most_frequent_first():
    more = own_log({1: (-1.0,), 2: (-1.0, -1.0), 3: (-1.0, -1.0)}).layers
    assert charts.variables(own_log()) == ["kernel", "bias"]
    assert charts.variables(own_log().replace(layers=more.iloc[::-1])) == [
        "kernel",
        "bias",
    ]
    assert charts.variables(own_log().replace(layers=more.iloc[:0])) == []


def test_gradient_by_depth_takes_kernels_of_the_lowest_logged_layer():
    log = own_log({3: (-2.0, -9.0), 4: (-1.0, -9.0)})

    chart = charts.gradient_by_depth(log)

    assert points(chart)["y"].tolist() == [-2.0]
    words = " ".join(chart.title.subtitle)
    assert "The lowest logged layer, step 0; layers differ by up to 1 decade." in words
    assert "Norm of the weight gradient of the lowest logged layer" in (
        charts.description(chart)
    )


def test_a_chart_of_one_step_takes_the_first_one_that_was_logged():
    log = own_log(steps=(40, 50))

    for draw in (charts.gradient_by_depth, charts.kinds_by_layer):
        assert "step 40" in " ".join(draw(log).title.subtitle).lower()


def test_gradient_by_step_draws_each_of_few_layers():
    chart = charts.gradient_by_step(own_log())

    rows = points(chart)
    assert rows.groupby("series")["y"].first().to_dict() == {
        "1 block_1": -2.0,
        "2 block_2": -1.0,
    }
    assert rows["step"].tolist() == [0, 0, 1, 1]
    assert encoding(chart, "point")["color"]["legend"]["title"] == "layer"
    assert "1 block_1 from 0.01 to 0.01" in charts.description(chart)


def test_long_names_stand_below_each_other_in_the_legend():
    short, long = own_log(), own_log()
    long.layers["name"] = "long_name_of_a_" + long.layers["name"]

    legends = [
        encoding(charts.gradient_by_step(log), "point")["color"]["legend"]
        for log in (short, long)
    ]

    assert [legend["columns"] for legend in legends] == [3, 1]


def test_names_of_layers_leave_out_the_models_that_are_around_all_of_them():
    log = own_log()
    log.layers["name"] = "resnet/stem/" + log.layers["name"]

    rows = points(charts.gradient_by_step(log))

    own = points(charts.gradient_by_step(own_log()))
    assert set(rows["series"]) == set(own["series"])
    assert rows["name"].str.startswith("resnet/stem/").all()  # the tooltip has it


def test_a_depth_of_zero_stands_on_a_linear_axis():
    log, zero = own_log(), own_log()
    zero.runs["depth"] = 0

    scales = [
        encoding(charts.final_loss_by_depth(one), "point")["x"]["scale"]["type"]
        for one in (log, zero)
    ]

    assert scales == ["log", "linear"]


def test_layers_are_thinned_by_their_own_numbers_not_by_the_depth():
    log = own_log({layer: (-1.0,) for layer in range(1, 201)})
    log.runs["depth"] = 1

    layers = sorted(points(charts.kinds_by_layer(log))["layer"].unique())

    assert len(layers) == 2 + math.ceil(198 / 5)
    assert (layers[0], layers[-1]) == (1, 200)


def test_a_run_that_did_not_log_the_step_has_no_panel():
    log = own_log(runs=2)
    late = log.layers["step"].where(log.layers["run"] == 0, log.layers["step"] + 5)

    chart = charts.kinds_by_layer(log.replace(layers=log.layers.assign(step=late)))

    assert "run 0" in title(chart)
    assert "run 1" not in charts.description(chart)


def test_many_steps_do_not_each_have_a_tick():
    few, many = own_log(steps=range(50)), own_log(steps=range(51))

    axes = [
        encoding(charts.gradient_by_layer_and_step(log), "rect")["x"]["axis"]
        for log in (few, many)
    ]

    assert axes[0]["values"] == [*range(50)]
    assert "values" not in axes[1]


def test_gradient_by_step_draws_smallest_middle_and_largest_of_many_layers():
    norms = {layer: (-float(layer), 9.0) for layer in range(1, 12)}
    norms[4] = (math.nan, 9.0)

    rows = points(charts.gradient_by_step(own_log(norms)))

    second = rows[rows["step"] == 1].set_index("series")
    assert second["y"].to_dict() == {"largest": -1.0, "middle": -7.0, "smallest": -11.0}
    assert second.loc["middle", ["layer", "name"]].tolist() == [7, "block_7/kernel"]


def test_gradient_by_step_is_thinned_and_keeps_the_last_step():
    chart = charts.gradient_by_step(own_log(steps=range(5, 10_005)))

    steps = sorted(points(chart)["step"].unique())
    assert len(steps) <= 60
    assert (steps[0], steps[-1]) == (5, 10_004)
    assert "Of 209 logged steps each" in " ".join(chart.title.subtitle)


def test_gradient_by_step_draws_theory_at_its_own_steps():
    log = make_log([[1.0]], [-1.0])
    log.layers["step"] = 1
    theory = make_log([[1.0]], [-1.5], origin="theory")
    later = [theory.layers.assign(step=step) for step in range(120)]

    chart = charts.gradient_by_step(
        log.replace(theory=theory.replace(layers=pd.concat(later)))
    )

    assert points(chart)["y"].tolist() == [-1.0, -1.0]
    steps = lines(chart)["step"].unique().tolist()
    assert len(steps) <= 50
    assert (steps[0], steps[-1]) == (0, 119)
    assert set(points(chart)["series"]) == {"layer 1", "layer 2"}


def test_gradient_by_step_refuses_more_than_one_run():
    with pytest.raises(
        ValueError, match=r"must hold exactly one run\. Received: 2 runs"
    ):
        charts.gradient_by_step(own_log(runs=2))


def test_tooltips_name_the_layer_of_a_model_of_ones_own():
    fields = {
        draw: [tip["field"] for tip in encoding(draw(own_log()), mark)["tooltip"]]
        for draw, mark in (
            (charts.kinds_by_layer, "point"),
            (charts.gradient_by_step, "point"),
            (charts.gradient_by_layer_and_step, "rect"),
        )
    }

    assert fields[charts.kinds_by_layer][1:3] == ["layer", "name"]
    assert fields[charts.gradient_by_step][1:4] == ["step", "layer", "name"]
    assert fields[charts.gradient_by_layer_and_step][:3] == ["step", "layer", "name"]
    assert "block_1/kernel" in points(charts.kinds_by_layer(own_log()))["name"].tolist()


def test_the_lessons_stacks_keep_their_short_tooltips():
    tooltip = encoding(charts.kinds_by_layer(make_log([[1.0]])), "point")["tooltip"]

    assert [tip["field"] for tip in tooltip] == ["series", "layer", "value", "origin"]


def test_few_layers_are_named_on_the_axis_of_the_heat_map():
    few, many = own_log(), own_log({layer: (-1.0,) for layer in range(1, 22)})

    axes = [
        encoding(charts.gradient_by_layer_and_step(log), "rect")["y"]["axis"]
        for log in (few, many)
    ]

    assert axes[0]["values"] == [1, 2]
    assert axes[0]["labelExpr"] == '{"1": "1 block_1", "2": "2 block_2"}[datum.value]'
    assert "labelExpr" not in axes[1]
    assert axes[1]["tickMinStep"] == 1


def test_a_name_cannot_break_out_of_an_axis():
    log = own_log({1: (-1.0,)})
    bad = '\'"}]; alert(1) \\ {["/kernel'
    log = log.replace(layers=log.layers.assign(name=bad))

    axis = encoding(charts.gradient_by_layer_and_step(log), "rect")["y"]["axis"]

    listed, rest = json.JSONDecoder().raw_decode(axis["labelExpr"])
    assert list(listed) == ["1"]
    assert axis["labelExpr"][rest:] == "[datum.value]"


def test_a_negative_loss_is_flagged_and_told_as_it_is():
    chart = charts.loss_by_step(own_log(losses=[1.0, -0.25]))

    rows = points(chart).set_index("step")
    assert rows.loc[1, ["flag", "value"]].tolist() == ["negative", "-0.25"]
    assert rows.loc[1, "y"] < rows.loc[0, "y"]
    assert "run 0 from 1 to -0.25" in charts.description(chart)


@pytest.mark.parametrize("draw", DRAWN)
def test_charts_refuse_a_log_without_rows(draw):
    log = own_log()
    empty = log.replace(losses=log.losses.iloc[:0], layers=log.layers.iloc[:0])

    with pytest.raises(
        ValueError,
        match=r"`log` must hold (losses|layers) of its runs\. Received: none",
    ):
        draw(empty)


@pytest.mark.slow
def test_a_long_log_is_drawn_with_no_more_than_a_few_thousand_marks():
    one, steps = own_log({n: (-1.0, -2.0) for n in range(1, 21)}, steps=(0,)), 10_000
    rows = one.layers.iloc[np.tile(np.arange(40), steps)]
    losses = one.losses.iloc[np.zeros(steps, int)].assign(step=range(steps))
    log = one.replace(
        losses=losses, layers=rows.assign(step=np.repeat(np.arange(steps), 40))
    )

    sizes = [len(json.dumps(draw(log).to_dict())) for draw in DRAWN]

    assert max(sizes) < 1_500_000


def symbols(chart):
    """Screen positions `{step: (x, y)}` of the point marks, as Vega draws them."""
    vl_convert = pytest.importorskip("vl_convert")
    svg = ElementTree.fromstring(vl_convert.vegalite_to_svg(chart.to_json()))
    places = {}
    for path in svg.iter("{http://www.w3.org/2000/svg}path"):
        label = path.get("aria-label", "")
        place = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", path.get("transform", ""))
        step = re.search(r"step: (\d+)", label)
        if place and step:
            places[int(step[1])] = (float(place[1]), float(place[2]))
    return places


@pytest.mark.slow
def test_equal_factors_are_equal_distances_on_screen():
    places = symbols(charts.loss_by_step(make_log([[1.0, 0.1, 0.01, 0.001]])))

    x, y = zip(*(places[step] for step in range(4)), strict=True)
    assert np.diff(x) == pytest.approx([np.diff(x)[0]] * 3)
    assert np.diff(y) == pytest.approx([np.diff(y)[0]] * 3)
    assert np.diff(y)[0] > 20


@pytest.mark.slow
def test_flagged_values_stand_above_and_below_all_others_on_screen():
    places = symbols(charts.loss_by_step(make_log([[1.0, 0.1, 0.0, math.nan, 1e99]])))

    assert set(places) == {0, 1, 2, 3, 4}
    assert places[3][1] == places[4][1] < places[0][1] < places[1][1] < places[2][1]


def failure_rows(chart):
    """The rows behind the marks of a chart of failures."""
    return next(
        layer.data
        for layer in chart.layer
        if isinstance(layer.data, pd.DataFrame) and "lane" in layer.data
    )


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.5])
def test_a_format_has_one_mark_a_quantity_at_its_first_failure(scale):
    dtypes = ["float16", "bfloat16", "float32", "float64"]
    tables = [floats.limits(scale, dtype, deepest=2000) for dtype in dtypes]

    rows = failure_rows(charts.failure_by_depth_and_format(tables, 20))

    assert not rows.duplicated("lane").any()  # no mark meets another one
    for limits in tables:
        own = rows[rows["format"] == limits.dtype]
        first = {}
        for quantity, _, depth in limits.rows:
            if depth is not None:
                first[quantity] = min(depth, first.get(quantity, depth))
        assert sorted(own["depth"]) == sorted(first.values())
        ends = own["label"].str.split(" · ").str[-1].astype(int)
        assert ends.tolist() == own["depth"].tolist()


def test_failures_are_drawn_at_their_depth_and_told_for_the_depth_that_is_set():
    tables = [floats.limits(0.5, d, deepest=500) for d in ("float16", "float64")]

    chart = charts.failure_by_depth_and_format(tables, 20)

    rows = failure_rows(chart)
    # by hand: half the spacing of float64 below 0.5 exceeds 0.01 * 0.5**(L-1)
    frozen = rows[rows["format"] == "float64"].iloc[0]
    assert (frozen["label"], frozen["failed"]) == ("diagonal frozen · 49", False)
    assert chart.description.startswith("In float16, at L = 20: diagonal frozen, ")
    assert chart.description.endswith(" In float64, at L = 20: no failure.")
    assert "49" not in chart.description
    assert " ".join(chart.title.text).endswith("failures in float16")
    with pytest.raises(ValueError, match="`limits` must not be empty"):
        charts.failure_by_depth_and_format([], 20)


def test_a_format_in_which_nothing_fails_is_told_so():
    tables = [floats.limits(1.0, "float64", deepest=50, target="scaled")]

    chart = charts.failure_by_depth_and_format(tables, 20)

    assert chart.description == "In float64, at L = 20: no failure."
    assert "no format fails" in " ".join(chart.title.text)


def test_a_stack_that_has_nothing_to_learn_has_not_failed():
    tables = [floats.limits(1.0, "float32", deepest=50, target="identity")]

    chart = charts.failure_by_depth_and_format(tables, 20)

    assert "starts at its target: nothing to learn" in chart.description
    assert not failure_rows(chart)["failed"].any()


def kinds_of_charts():
    """Makers of charts whose channels differ, by name."""
    log = make_log([[1.0, 0.1]] * 2, [-1.0, -3.0], depths=[2, 3])
    one = log.select(depth=3)
    return {
        "loss": lambda: charts.loss_by_step(log),
        "final loss": lambda: charts.final_loss_by_depth(log),
        "gradient": lambda: charts.gradient_by_depth(log),
        "kinds": lambda: charts.kinds_by_layer(one),
        "steps": lambda: charts.gradient_by_step(one),
        "heat": lambda: charts.gradient_by_layer_and_step(one),
    }


STREAMLIT = {"mark": {"tooltip": {"content": "encoding"}}}  # what its theme asks for


def tooltips(chart):
    """The words before the values in the tooltips of all marks, as drawn."""
    spec = chart.to_dict()
    vega = vl_convert.vegalite_to_vega({**spec, "config": STREAMLIT})
    signals = re.findall(
        r'"tooltip": \{"signal": "((?:[^"\\]|\\.)*)"', json.dumps(vega)
    )
    names = [re.findall(r'\\"([^"\\]+)\\": ', signal) for signal in signals]
    return [name for some in names for name in some]


@pytest.mark.parametrize(
    "name", ["loss", "final loss", "gradient", "kinds", "steps", "heat"]
)
def test_tooltips_speak_in_words(name):
    words = {
        *("scale c", "kind", "layer", "depth", "step", "by"),
        *("loss", "loss after the last step", "norm of ∂L/∂W", "norm"),
    }

    texts = tooltips(kinds_of_charts()[name]())

    assert len(texts) >= 3
    assert set(texts) <= words


def test_values_in_tooltips_are_powers_of_ten():
    chart = charts.loss_by_step(make_log([[1.0, 5e-3, 1e-46]]))

    assert points(chart)["value"].tolist() == ["1", "5·10⁻³", "10⁻⁴⁶"]


@pytest.mark.parametrize("scales", [[0.9], [0.5, 0.7, 0.9, 1.0, 1.1, 1.5]])
def test_titles_find_room_in_340_pixels(scales):
    log = predict(scales, [2, 50], steps=2)
    one = log.select(scale=scales[0], depth=50)
    pictures = [
        *(charts.final_loss_by_depth(log), charts.gradient_by_depth(log)),
        *(charts.loss_by_step(log.select(depth=2)), charts.kinds_by_layer(one)),
        *(charts.gradient_by_layer_and_step(one), charts.gradient_by_step(one)),
    ]

    for chart in pictures:  # 16 and 12 pixels; so wide are letters of the page's font
        assert max(map(len, chart.title.text)) * 16 * 0.44 <= 340
        assert max(map(len, chart.title.subtitle), default=0) * 12 * 0.44 <= 340


@pytest.mark.slow
def test_charts_made_at_once_in_threads_equal_those_made_alone():
    makers = kinds_of_charts()
    alone = {name: make().to_dict() for name, make in makers.items()}
    before = sys.getswitchinterval()

    sys.setswitchinterval(1e-6)  # threads take turns within every call
    try:
        with concurrent.futures.ThreadPoolExecutor(len(makers)) as pool:
            turns = [(name, pool.submit(makers[name])) for name in [*makers] * 2]
            made = [(name, turn.result()) for name, turn in turns]
    finally:
        sys.setswitchinterval(before)

    for name, chart in made:
        assert chart.to_dict() == alone[name]


@pytest.mark.slow
def test_no_chart_calls_a_method_that_threads_share():
    setter = type(vars(alt.X)["title"]).__call__.__code__  # of `alt.X(...).title(...)`
    called = set()
    measured = predict([0.5, 0.9], [2, 3], steps=3)
    settings = {
        "remedy": "none",
        "normalization": "",
        "residual": "",
        "activation": "linear",
    }
    compared = measured.replace(runs=measured.runs.assign(**settings))
    makers = [
        *kinds_of_charts().values(),
        lambda: charts.failure_by_depth_and_format(
            [floats.limits(0.5, deepest=99)], 20
        ),
        lambda: charts.outcome_by_scale_and_depth(measured.replace(theory=measured)),
        lambda: charts.outcome_by_remedy_and_depth(compared),
        lambda: charts.remedy_gradient_by_depth(compared),
        lambda: charts.activation_by_layer(compared, 3),
    ]

    sys.setprofile(lambda frame, *_: called.add(frame.f_code))
    try:
        for make in makers:
            make()
        ours = set(called)
        alt.X("depth:Q").title("depth")
    finally:
        sys.setprofile(None)

    assert setter in called  # the profile does see it
    assert setter not in ours
