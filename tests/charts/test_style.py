"""Colour belongs to c, from the definition of contrast in WCAG 2.2."""

import math
import re

import altair as alt
import numpy as np
import pytest
import vl_convert

from vgkeras.charts import scale_color
from vgkeras.charts.style import GREY, SCALE_STOPS, scale_shape, scale_tone

WHITE, DARK, OUR_DARK = "#FFFFFF", "#0e1117", "#10161C"
SCALES = np.geomspace(0.3, 3, 201)


def luminance(color):
    """Relative luminance of an sRGB colour: WCAG 2.2."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_formula_of_contrast_knows_the_extremes():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("page", [WHITE, DARK, OUR_DARK])
def test_a_mark_of_every_scale_stands_out_3_to_1_from_light_and_dark_pages(page):
    assert min(contrast(scale_color(scale), page) for scale in SCALES) >= 3


def test_the_grey_of_text_is_legible_on_white_and_its_marks_on_dark_pages():
    assert contrast(GREY, WHITE) >= 4.5
    assert contrast(GREY, DARK) >= 3


def test_below_1_is_blue_above_1_is_orange_and_1_is_grey():
    def warmth(scale):
        color = scale_color(scale)
        return int(color[1:3], 16) - int(color[5:], 16)  # red less blue

    steps = np.diff([warmth(scale) for scale in np.geomspace(0.5, 1.5, 99)])

    assert warmth(0.5) < warmth(0.9) < -100 < -10 < warmth(1) < 10
    assert 100 < warmth(1.1) < warmth(1.5)
    assert (steps >= 0).all()


def test_the_colour_is_continuous_and_ends_at_a_half_and_at_one_and_a_half():
    colors = [bytes.fromhex(scale_color(scale)[1:]) for scale in SCALES]
    steps = np.abs(np.diff(np.array([list(color) for color in colors]), axis=0))

    assert steps.max() < 20
    assert scale_color(0) == scale_color(0.1) == scale_color(0.5)
    assert scale_color(1.5) == scale_color(2) == scale_color(1e300)


def test_the_sign_of_a_scale_has_no_colour():
    assert scale_color(-0.9) == scale_color(0.9)


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_scale_that_is_no_number_has_no_colour(scale):
    with pytest.raises(ValueError, match=r"`scale` must be a finite number"):
        scale_color(scale)


def test_a_browser_mixes_the_same_colours():
    scales = [0.4, 0.5, 0.66, 0.9, 0.97, 1.0, 1.05, 1.3, 1.5, 1.9]
    tones = [alt.ExprRef(scale_tone(f"log({scale}) / LN10")) for scale in scales]
    points = alt.Chart(alt.sequence(1, 2))
    chart = alt.layer(*(points.mark_point(filled=True, color=tone) for tone in tones))

    svg = vl_convert.vegalite_to_svg(chart.to_json())

    colours = re.findall(r'fill="(rgb[^"]*)"', svg)
    colours = [list(map(int, re.findall(r"\d+", color))) for color in colours]
    ours = [list(bytes.fromhex(scale_color(scale)[1:])) for scale in scales]
    np.testing.assert_allclose(colours, ours, atol=1)


def test_shapes_tell_below_at_and_above_1_apart():
    below, above = np.geomspace(0.1, 0.999, 99), np.geomspace(1.001, 3, 99)
    shapes = [{scale_shape(scale) for scale in side} for side in (below, [1.0], above)]

    assert [len(side) for side in shapes] == [4, 1, 3]
    assert len(set.union(*shapes)) == 8


def test_the_lessons_scales_differ_in_shape():
    assert len({scale_shape(scale) for scale in SCALE_STOPS}) == 5
