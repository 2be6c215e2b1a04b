"""What all charts have in common: colours, shapes, titles and words.

A series, an outcome and a number without a logarithm look the same wherever they are
drawn. What only one module draws stays there.
"""

import itertools
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from vgkeras import _checks
from vgkeras._text import power_of_ten, typeset

# Okabe & Ito's colour-blind-safe colours that show on white and on black; a shape for
# each, not colour alone.
COLORS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-right")
# 4.5:1 on white; the page gives text of this colour its own, on dark and on white.
CROSS = (
    "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4L-0.6,1L-1,0.6"
    "L-0.4,0Z"
)
APART = "#B5499B"  # the colour of no scale and of no outcome
GREY = "#70767E"
# What a chart 340 pixels wide has room for, in the letters of the page.
_TITLE_LETTERS, _SUBTITLE_LETTERS = 46, 64

# Colour belongs to c: blue below 1, grey at 1, orange above, and in between in equal
# steps of log c. A chart does not know the theme of its page, so each tone holds 3:1
# against white and against the dark pages alike.
SCALE_STOPS = {
    0.5: "#0072B2",
    0.9: "#3F93C9",
    1.0: "#85888C",
    1.1: "#C4822F",
    1.5: "#D55E00",
}
# The least scale of each shape: some with corners below 1, triangles and a star above.
_SCALE_SHAPES = {
    0.0: "triangle-left",
    0.5: "square",
    0.7: "cross",
    0.85: "diamond",
    1.0: "circle",
    math.nextafter(1, 2): "triangle-right",
    1.35: "triangle-up",
    math.nextafter(1.5, 2): "M0,-1L0.25,-0.3H1L0.4,0.15L0.6,0.9L0,0.45L-0.6,0.9"
    "L-0.4,0.15L-1,-0.3H-0.25Z",
}
_BY_SIZE = list(_SCALE_SHAPES.items())[::-1]
_MOST_DEPTHS = 400
PANEL_HEIGHT = 180  # pixels of the axes of one of several charts side by side
_LABEL_WIDTH = 28  # pixels of a depth of three digits, and the space beside it
COUNTS = alt.Axis(format="d", tickMinStep=1)
OUTCOME_COLORS = {
    "trains": "#009E73",
    "slow": "#A88B00",
    "stalls": "#7E57C2",
    "diverges": "#D0274E",
}
OUTCOME_SHAPES = {
    "trains": "circle",
    "slow": "diamond",
    "stalls": "square",
    "diverges": "triangle-up",
}


def scale_color(scale: float) -> str:
    """Returns the colour of a scale c, the same in every chart.

    Args:
        scale: The factor of the kernels `scale * I`. Its sign plays no part, and
            below 0.5 and above 1.5 the colour stays that of the end.

    Returns:
        A hexadecimal colour: blue below 1, grey at 1, orange above.

    Raises:
        ValueError: If `scale` is not finite.

    Example:
        >>> scale_color(0.5), scale_color(1), scale_color(2)
        ('#0072B2', '#85888C', '#D55E00')
    """
    stops, channels = _stops()
    size = abs(_checks.check_finite("scale", scale))
    at = math.log10(size) if size else stops[0]
    return "#" + "".join(f"{round(np.interp(at, stops, c)):02X}" for c in channels)


def scale_tone(log10: str) -> str:
    """`scale_color` as a Vega expression, of an expression of the logarithm of c."""
    stops, channels = _stops()
    pairs = itertools.pairwise(stops)
    shares = [f"clamp(({log10} - {a}) / {b - a}, 0, 1)" for a, b in pairs]
    mixed = []
    for tones in channels:
        steps = zip(np.diff(tones), shares, strict=True)
        mixed.append(" + ".join([str(tones[0]), *(f"{d} * {s}" for d, s in steps)]))
    return f"rgb({', '.join(mixed)})"


def _stops() -> tuple[list[float], list[tuple[int, ...]]]:
    """Where c has a colour of its own, as logarithms, and its red, green and blue."""
    tones = (bytes.fromhex(tone[1:]) for tone in SCALE_STOPS.values())
    return [math.log10(c) for c in SCALE_STOPS], list(zip(*tones, strict=True))


def scale_shape(scale: float) -> str:
    """The shape that doubles the colour of a scale c."""
    size = abs(scale)
    return next(shape for least, shape in _BY_SIZE if size >= least)


def by_outcome(legend: alt.Legend) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of each outcome."""
    return paired("outcome:N", OUTCOME_COLORS, OUTCOME_SHAPES, legend)


def paired(
    field: str,
    colors: Mapping[str, str],
    shapes: Mapping[str, str],
    legend: alt.Legend | None,
) -> tuple[alt.Color, alt.Shape]:
    """One legend: Vega-Lite merges two channels of the same domain."""
    scales = [
        alt.Scale(domain=list(looks), range=list(looks.values()))
        for looks in (colors, shapes)
    ]
    color = alt.Color(field, scale=scales[0], legend=legend)
    return color, alt.Shape(field, scale=scales[1], legend=legend)


def count_axis(field: str, title: str, padding: int = 8) -> alt.X:
    """A horizontal axis of whole numbers, with room for the marks at its ends."""
    scale = alt.Scale(nice=False, padding=padding)
    return alt.X(field, title=title, scale=scale, axis=COUNTS)


def depth_axis(depths: Sequence[int], channel: Any = alt.X) -> Any:
    """The axis of depth, the same in every chart: logarithmic.

    On a linear one `c**L` would be a straight line, but the first ten layers, in which
    1.5 diverges, would share a fifteenth of it. Here they are in sight together with
    the fifty after which 0.9 stalls, and exponential change bends ever more: twice the
    depth is the square of the factor.
    """
    low, high = depth_range(depths)
    scale = alt.Scale(
        type="log" if low > 0 else "linear",  # depth 0: a log that does not know it
        domain=[low, high],
        nice=False,
        padding=14,
    )
    title = "depth L (number of layers)"
    return channel("depth:Q", title=title, scale=scale, axis=_depth_ticks(low, high))


def _depth_ticks(low: int, high: int) -> alt.Axis:
    """1, 2, 5, 10, ... and both ends, which keep their labels in a narrow chart."""
    round_ones = (k * 10**n for n in range(6) for k in (1, 2, 5))
    inside = [depth for depth in round_ones if low < depth < high]
    room = {}  # the least width of axes in which a label is clear of those of the ends
    for tick in inside if low else []:
        apart = min(tick / low, high / tick)
        room[tick] = round(_LABEL_WIDTH * math.log(high / low) / math.log(apart))
    show = f"width < {json.dumps(room)}[datum.value] ? '' : datum.label"
    return alt.Axis(values=[low, *inside, high], format="d", labelExpr=show)


def depth_range(depths: Sequence[int]) -> tuple[int, int]:
    """The ends of the axis of depth: those drawn, or a factor of 2 about a single."""
    low, high = min(depths), max(depths)
    return (low, high) if low < high else (low // 2 or low, max(2 * high, 1))


def every_depth(depths: Sequence[int]) -> list[int]:
    """The depths at which a line of theory is worked out: all, up to about 400."""
    low, high = depth_range(depths)
    if high - low <= _MOST_DEPTHS:
        return list(range(max(low, 1), high + 1))
    spread = np.geomspace(max(low, 1), high, _MOST_DEPTHS).round().astype(int)
    return sorted({*spread.tolist(), *depths} - {0})


def decade_ticks(low: float, high: float, most: int) -> dict[float, str]:
    """About `most` whole decades from `low` to `high`, and what they are called."""
    width = next((w for w in (1, 2, 5, 10, 20, 50) if (high - low) / w <= most), 100)
    ticks = range(math.ceil(low / width) * width, math.floor(high) + 1, width)
    return {tick: power_of_ten(tick) for tick in ticks}


def titled(
    chart: alt.LayerChart, title: str, subtitle: str, sentence: str
) -> alt.LayerChart:
    """Adds the title, wrapped for a phone, and the sentence that says what is seen."""
    # Attributes, not `properties()`: that would copy the whole chart each time.
    unbroken = typeset(title).replace(" = ", "\u00a0=\u00a0")
    chart.title = alt.TitleParams(
        textwrap.wrap(unbroken, _TITLE_LETTERS),
        subtitle=textwrap.wrap(typeset(subtitle), _SUBTITLE_LETTERS),
        subtitleColor=GREY,
        anchor="start",
    )
    chart.description = typeset(sentence)
    return chart


def sized(chart: alt.LayerChart, height: int | alt.Step) -> alt.LayerChart:
    """Fixes the outer size, so that a page can keep the room before it is drawn."""
    chart.width, chart.height = 560, height
    chart.autosize = alt.AutoSizeParams(type="fit", contains="padding")
    return chart


Chart = alt.LayerChart | alt.ConcatChart

HEIGHT = 520  # pixels of a chart with its title, axes and legend


def axes_height(height: int) -> int:
    """About what is left for the axes of a chart of that height."""
    return height * 3 // 5


def description(chart: Chart) -> str:
    """Returns the sentence, with numbers, that says what a chart of ours shows.

    Use it as the text alternative: `st.altair_chart(chart, alt=description(chart))`.

    Args:
        chart: A chart from this module.

    Returns:
        The chart's Vega-Lite `description`.

    Raises:
        ValueError: If the chart has none.
    """
    if not isinstance(chart.description, str):
        raise ValueError(
            "`chart` must carry a description. "
            f"Received: {type(chart).__name__} without one. "
            "Use a chart from `vgkeras.charts`."
        )
    return chart.description


def panels(charts: list[alt.LayerChart]) -> Chart:
    """One chart as it is; several side by side, described in one breath."""
    if len(charts) == 1:
        return sized(charts[0], HEIGHT)
    sentences = " ".join(description(chart) for chart in charts)
    small = [chart.properties(width=260, height=PANEL_HEIGHT) for chart in charts]
    chart = alt.concat(*small, columns=3).properties(description=sentences)
    return chart.resolve_scale(color="independent", shape="independent")


def tick_labels(names: dict[Any, str]) -> str:
    """A Vega expression that looks a tick's label up."""
    # As JSON: a name out of somebody's file must stay a text in the expression.
    labels = {f"{tick:g}": name for tick, name in names.items()}
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value]"
