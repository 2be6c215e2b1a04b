"""Names at the ends of lines, by their places."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from vgkeras import charts, predict
from vgkeras.charts.line_labels import apart
from vgkeras.charts.style import scale_color


def name_axis(chart):
    """The axis on the right, or nothing."""
    axes = [
        layer["encoding"]["y"].get("axis")
        for layer in chart.to_dict()["layer"]
        if "y" in layer["encoding"]
    ]
    return next((a for a in axes if a and a.get("orient") == "right"), None)


def legends(chart):
    layers = chart.to_dict()["layer"]
    return [
        lay["encoding"]["color"]["legend"]
        for lay in layers
        if "color" in lay["encoding"]
    ]


def names_in(axis):
    return dict(re.findall(r'"([-\d.]+)": "(c = [\d.]+).?"', axis["labelExpr"]))


def test_lines_of_scales_are_named_where_they_end():
    log = predict([0.5, 1.5], [2, 20], steps=0)

    axis = name_axis(charts.gradient_by_depth(log))

    names = {name: float(place) for place, name in names_in(axis).items()}
    for c in (0.5, 1.5):  # two units: the norm of the whitened inputs adds a root
        law = 19 * math.log10(c) + math.log10(abs(c**20 - 1)) + math.log10(2) / 2
        assert names[f"c = {c}"] == pytest.approx(law, abs=1e-3)
    ticks = axis["tickColor"]["condition"]
    assert [tick["value"] for tick in ticks] == [scale_color(0.5), scale_color(1.5)]


def test_what_is_named_at_its_line_is_not_in_a_legend():
    log = predict([0.5, 0.9], [2, 20])

    assert legends(charts.gradient_by_depth(log)) == [None] * 2


def test_the_legend_keeps_the_flags():
    names = legends(charts.gradient_by_depth(predict([0.5, 1.0], [2, 20])))

    assert names[0]["values"] == ["exactly 0"]


def test_more_names_than_find_room_stay_in_a_legend():
    log = predict([0.5 + 0.04 * k for k in range(24)], [2, 20], steps=0)

    chart = charts.gradient_by_depth(log)

    assert name_axis(chart) is None
    assert "values" not in legends(chart)[0]


def test_layers_and_kinds_have_no_names_of_scales():
    log = predict([0.5], [3], steps=2)

    assert name_axis(charts.kinds_by_layer(log)) is None
    assert name_axis(charts.gradient_by_step(log)) is None


@given(
    st.lists(st.floats(-60, 60), min_size=1, max_size=20),
    st.floats(0.01, 2),
)
def test_names_are_apart_in_order_and_inside(places, gap):
    high = 60 + 20 * gap

    moved = apart(places, gap, -60, high)

    rows = np.array(moved)[np.argsort(places, kind="stable")]
    assert (np.diff(rows) >= gap * (1 - 1e-9)).all()
    assert rows[0] >= -60 - 1e-9
    assert rows[-1] <= high + 1e-9


def test_names_with_room_stay_where_their_lines_end():
    assert apart([3.0, -2.0, 0.0], 1.0, -5, 5) == [3.0, -2.0, 0.0]
    assert apart([0.0, 0.0], 1.0, -5, 5) == [-0.5, 0.5]


def test_names_do_not_touch_each_other_in_panels():
    log = predict([0.5, 0.52, 0.54, 0.56, 0.58], [50, 60], steps=3)

    panel = charts.loss_by_step(log).concat[0]

    axis, scale = name_axis(panel), panel.to_dict()["layer"][-1]["encoding"]["y"]
    low, high = scale["scale"]["domain"]
    pixels = np.diff(sorted(axis["values"])) * panel.height / (high - low)
    assert pixels.min() > 14


@pytest.mark.parametrize("width", [340, 600])
def test_names_do_not_touch_each_other_on_screen(width):
    spec = charts.final_loss_by_depth(predict([0.5, 0.6, 0.7, 1.0], [2, 152])).to_dict()

    svg = vl_convert.vegalite_to_svg({**spec, "width": width})

    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    heights = [
        float(re.search(r",([-\d.]+)\)", text.get("transform"))[1])
        for text in texts
        if (text.text or "").startswith("c = ")
    ]
    assert len(heights) == 4
    assert np.diff(sorted(heights)).min() > 10  # the size of the letters
