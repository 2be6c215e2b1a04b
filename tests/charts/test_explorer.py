"""The network to play with: its marks against the powers of c, slider by slider."""

import math
import re

import numpy as np
import pytest
import vl_convert

import vgkeras as vg
from vgkeras.charts.expressions import typeset

LANES = ("activation", "activation_gradient", "weight_gradient")


@pytest.fixture(scope="module")
def log():
    """Theory in the place of measurement: its numbers are known to all digits."""
    theory = vg.predict([0.5, 0.9, 1.5], [2, 5, 20], steps=40, target="scaled")
    return theory.replace(metadata={"origin": "measured"}, theory=theory)


def picture(chart, **values):
    """The chart as SVG, with its sliders moved."""
    spec = chart.to_dict()
    for param in spec["params"]:
        param["value"] = values.get(param["name"], param.get("value"))
        if param["value"] is None:
            del param["value"]
    return vl_convert.vegalite_to_svg(spec)


def shares(svg):
    """Heights of the bars as shares of their lane, lane by lane."""
    unit = 0.66 / 3.45 * float(re.search(r'd="M0.5,0.5h\d+v(\d+)h', svg)[1])
    return dict(
        zip(LANES, (bars(svg, place) / unit for place in range(3)), strict=True)
    )


def bars(svg, place):
    """Heights in pixels. One path goes up and down each bar, then back below them."""
    path = re.findall(r"[ML][\d.e-]+,([\d.e-]+)", marks(svg, "area", place))
    y = np.array(path[: len(path) // 2], dtype=float).reshape(-1, 4)
    assert (y[:, 1] == y[:, 2]).all()  # flat on top
    assert (y[:, [0, 3]] == y[0, 0]).all()  # and each stands on the base
    return y[:, 0] - y[:, 1]


def marks(svg, kind, place):
    """The part of the SVG that holds the marks of one layer of the chart."""
    parts = svg.split(f'<g class="mark-{kind} role-mark layer_{place}_marks')
    return parts[1].split("</g>")[0] if len(parts) > 1 else ""


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.slow
@pytest.mark.parametrize(("c", "depth"), [(0.5, 7), (0.9, 50), (1.0, 3), (1.5, 12)])
def test_the_bars_are_the_powers_of_c_wherever_the_sliders_stand(log, c, depth):
    chart = vg.charts.network(log.select(scale=0.9, depth=5))

    bars = shares(picture(chart, c=c, L=depth))

    layers = np.arange(1, depth + 1)
    error = math.log10(abs(c**depth - 0.5) / 0.5)
    decades = {
        "activation": layers * math.log10(c),
        "activation_gradient": (depth - layers) * math.log10(c),
        "weight_gradient": np.full(depth, (depth - 1) * math.log10(c) + error),
    }
    for kind, expected in decades.items():
        share = np.clip((expected + 3) / 6, 0.02, 1)
        np.testing.assert_allclose(bars[kind], share, atol=0.006, err_msg=kind)


def test_the_bars_of_a_step_are_those_of_the_trained_scale(log):
    chart = vg.charts.network(log.select(scale=0.9, depth=5))

    bars = shares(picture(chart, step=30))

    s = 0.9
    for _ in range(30):
        s -= 0.01 * s**4 * (s**5 - 0.5)
    expected = (np.arange(1, 6) * math.log10(s) + 3) / 6
    np.testing.assert_allclose(bars["activation"], expected, atol=0.006)
    assert not np.allclose(expected, (np.arange(1, 6) * math.log10(0.9) + 3) / 6, 1e-3)


def test_a_moved_slider_leaves_the_run_and_its_step(log):
    chart = vg.charts.network(log.select(scale=0.9, depth=5))

    moved, start = shares(picture(chart, step=30, c=0.8)), shares(picture(chart, c=0.8))
    for kind in LANES:
        np.testing.assert_allclose(moved[kind], start[kind], atol=1e-6)


def test_points_are_measured_factors_and_only_there_where_they_were_measured(log):
    chart = vg.charts.network(log.select(scale=0.9, depth=5))

    at_run, elsewhere = picture(chart, step=10), picture(chart, step=10, L=6)

    assert marks(at_run, "symbol", 3).count("<path") == 15  # 5 layers of 3 kinds
    assert marks(elsewhere, "symbol", 3).count("<path") == 0
    rows = next(iter(chart.to_dict()["datasets"].values()))
    first = [row["y"] for row in rows if row["step"] == 0 and row["y"] >= 2]
    expected = [2 + 0.66 * (n * math.log10(0.9) + 3) / 6 for n in range(1, 6)]
    np.testing.assert_allclose(first, expected, atol=1e-3)


@pytest.mark.slow
def test_the_deepest_network_has_no_more_points_than_a_notebook_draws():
    theory = vg.predict([0.9], [152], steps=40, target="scaled")
    run = theory.replace(metadata={"origin": "measured"}, theory=theory)

    chart = vg.charts.network(run)

    for step in (0, 39, 40):  # the points of the last step that has some
        points = marks(picture(chart, step=step), "symbol", 3)
        assert points.count("<path") == 3 * 152


def test_theory_alone_shows_no_points():
    run = vg.predict([0.9], [5], steps=4, target="scaled")

    assert marks(picture(vg.charts.network(run)), "symbol", 3).count("<path") == 0


@pytest.mark.parametrize(
    ("c", "depth", "words"),
    [
        (0.9, 50, "0.9⁵⁰ = 5·10⁻³ of the input reaches the output"),
        (1.5, 10, "1.5¹⁰ = 58 times the input reaches the output"),
        (1, 152, "1¹⁵² = 1: all of the input reaches the output"),
        (0.5, 152, "0.5¹⁵² = 2·10⁻⁴⁶ of the input reaches the output"),
    ],
)
def test_the_number_is_said_in_words(log, c, depth, words):
    chart = vg.charts.network(log.select(scale=0.9, depth=5))

    assert words in texts(picture(chart, c=c, L=depth))


def test_a_diverged_run_says_that_there_is_no_number():
    run = vg.predict([1.5], [20], steps=4, target="scaled")

    svg = picture(vg.charts.network(run), step=4)

    assert "Inf or NaN: no number is left" in texts(svg)
    assert "NaN" not in svg.replace("Inf or NaN", "")
    assert "Infinity" not in svg


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, "1"),
        (0.123, "0.12"),
        (0.01, "0.01"),
        (0.0094, "9·10⁻³"),
        (0.0096, "1·10⁻²"),
        (999.0, "1000"),
        (1234.0, "1·10³"),
        (9.7e45, "1·10⁴⁶"),
        (4.4e-137, "4·10⁻¹³⁷"),
    ],
)
def test_the_browser_typesets_numbers(value, expected):
    text = {"type": "text"}
    spec = {
        "data": {"values": [{}]},
        "transform": [{"calculate": typeset(str(math.log10(value))), "as": "text"}],
        "mark": text,
        "encoding": {"text": {"field": "text"}},
    }

    assert texts(vl_convert.vegalite_to_svg(spec)) == [expected]


def test_a_target_of_several_numbers_is_refused():
    run = vg.predict([0.9], [5], steps=4, target="negative")

    with pytest.raises(ValueError, match="`run` must be one of the target 'identity'"):
        vg.charts.network(run)


def test_more_than_a_run_is_refused(log):
    with pytest.raises(ValueError, match="must hold exactly one run"):
        vg.charts.network(log)


@pytest.mark.slow
def test_the_explorer_has_each_slider_once_and_says_what_it_shows(log):
    chart = vg.charts.explorer(log, scale=0.9, depth=5)

    spec = chart.to_dict()

    sliders = [param["name"] for param in spec["params"] if "bind" in param]
    assert sorted(sliders) == ["L", "c", "step"]
    assert "5 layers" in vg.charts.description(chart)
    assert "<svg" in vl_convert.vegalite_to_svg(spec)
