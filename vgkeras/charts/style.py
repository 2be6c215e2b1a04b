"""What all charts have in common: colours, shapes, titles and words.

A series, an outcome and a number without a logarithm look the same wherever they are
drawn. What only one module draws stays there.
"""

import json
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import altair as alt

from vgkeras._text import power_of_ten

# Okabe & Ito's colour-blind-safe colours that show on white and on black; a shape for
# each, not colour alone.
COLORS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-right")
GREY = "#7A8088"
COUNTS = alt.Axis(format="d", tickMinStep=1)
OUTCOME_COLORS = {"trains": "#009E73", "stalls": "#0072B2", "diverges": "#D55E00"}
OUTCOME_SHAPES = {"trains": "circle", "stalls": "square", "diverges": "triangle-up"}


def by_outcome(legend: alt.Legend) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of each outcome."""
    return paired("outcome:N", OUTCOME_COLORS, OUTCOME_SHAPES, legend)


def paired(
    field: str, colors: Mapping[str, str], shapes: Mapping[str, str], legend: alt.Legend
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
    unbroken = title.replace(" = ", "\u00a0=\u00a0")
    chart.title = alt.TitleParams(
        textwrap.wrap(unbroken, 44),
        subtitle=textwrap.wrap(subtitle, 62),
        subtitleColor=GREY,
        anchor="start",
    )
    chart.description = sentence
    return chart


def sized(chart: alt.LayerChart, height: int | alt.Step) -> alt.LayerChart:
    """Fixes the outer size, so that a page can keep the room before it is drawn."""
    chart.width, chart.height = 560, height
    chart.autosize = alt.AutoSizeParams(type="fit", contains="padding")
    return chart


Chart = alt.LayerChart | alt.ConcatChart

HEIGHT = 520  # pixels of a chart with its title, axes and legend


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
    small = [chart.properties(width=260, height=180) for chart in charts]
    chart = alt.concat(*small, columns=3).properties(description=sentences)
    return chart.resolve_scale(color="independent", shape="independent")


def tick_labels(names: dict[Any, str]) -> str:
    """A Vega expression that looks a tick's label up."""
    # As JSON: a name out of somebody's file must stay a text in the expression.
    labels = {f"{tick:g}": name for tick, name in names.items()}
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value]"
