"""The pictures of published results: a line or points for each series."""

from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _checks
from vgkeras._text import number, typeset
from vgkeras.charts.style import COLORS, GREY, SHAPES, decade_ticks, paired, tick_labels
from vgkeras.charts.words import in_order

PICTURE_HEIGHT = 260  # pixels
_MOST_POINTS = 24  # of a series that have a mark
_THEORY = "theory"


class _Axes(NamedTuple):
    """What a picture shows, by what; logarithmic where it says so."""

    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    line: bool = True


_PICTURES = {
    "learning_time": _Axes(
        "A long plateau, then a sudden fall", "training step", "loss, of its start"
    ),
    "negative_eigenvalue": _Axes(
        "None gets below the floor of 1; rounding frees two layers",
        "training step",
        "loss, of the floor",
        log_x=True,
    ),
    "he_against_xavier": _Axes(
        "30 ReLU layers: what is left of the loss",
        "seed",
        "share of loss left",
        log_y=True,
        line=False,
    ),
    "depth_scale": _Axes(
        "Gradients vanish below the critical variance 1 and explode above",
        "variance of the kernels, times the width",
        "factor a layer back",
    ),
    "orthogonal_against_gaussian": _Axes(
        "The width that is needed grows with depth, for Gaussian kernels",
        "width",
        "runs that train",
        log_x=True,
    ),
    "ten_thousand_layers": _Axes(
        "10,000 orthogonal layers keep every norm",
        "layer",
        "millionths of the norm",
    ),
    "post_norm_gradients": _Axes(
        "Near the output post-norm has the larger gradients",
        "block",
        "gradient of its kernel",
        log_y=True,
    ),
    "residual_growth": _Axes(
        "Unscaled branches double the squared length in each block",
        "block",
        "squared length",
        log_y=True,
    ),
    "rezero_depth": _Axes(
        "100 ReLU layers with Adam",
        "training step",
        "share of loss left",
        log_y=True,
    ),
    "batch_norm_explosion": _Axes(
        "Batch normalization: the gradient explodes at every variance",
        "layers back from the output",
        "squared gradient",
        log_y=True,
    ),
}


def published_picture(name: str, points: dict[str, list[Any]]) -> alt.LayerChart:
    """Draws what was measured of a published result.

    How to read it: a colour and a shape for each series; theory is dashed. How to
    misread it: look at the axes, some are logarithmic.

    Args:
        name: One of `vgkeras.published.NAMES`.
        points: `points` of the `Result`: columns `series`, `x` and `y`.

    Returns:
        A chart of `y` by `x`.

    Raises:
        ValueError: If there is no picture of that name.
    """
    axes = _PICTURES[_checks.check_option("name", name, tuple(_PICTURES))]
    rows = pd.DataFrame(points)
    rows = rows.assign(value=[typeset(number(y)) for y in rows["y"]])
    lost = ~np.isfinite(rows["y"]) | (axes.log_y & (rows["y"] <= 0))
    rows = rows[~lost]
    x = _axis(alt.X, "x", axes.x, axes.log_x, rows["x"])
    y = _axis(alt.Y, "place", axes.y, False, rows["y"])
    if axes.log_y:
        rows = rows.assign(place=np.log10(rows["y"]))
        ticks = decade_ticks(rows["place"].min() - 1, rows["place"].max() + 1, 6)
        axis = alt.Axis(values=list(ticks), labelExpr=tick_labels(ticks))
        y = alt.Y("place:Q", title=axes.y, axis=axis)
    else:
        rows = rows.assign(place=rows["y"])
    color, shape = _looks(rows["series"])
    theory = rows["series"] == _THEORY
    base = alt.Chart(rows[~theory]).encode(x=x, y=y, color=color)
    dashes = alt.Chart(rows[theory]).mark_line(strokeDash=[6, 4], tooltip=None)
    chart = alt.LayerChart()
    chart.layer = [dashes.encode(x=x, y=y, color=color)]
    if axes.line:
        chart.layer.append(base.mark_line(strokeWidth=1.5, tooltip=None))
    marked = alt.Chart(_thinned(rows[~theory])).mark_point(size=36, opacity=1)
    tooltip = ["series:N", alt.Tooltip("x:Q", title=axes.x), "value:N"]
    chart.layer.append(
        marked.encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip)
    )
    chart.width, chart.height = 560, PICTURE_HEIGHT
    chart.autosize = alt.AutoSizeParams(type="fit", contains="padding")
    chart.title = alt.TitleParams(axes.title, anchor="start", fontSize=14)
    chart.description = _sentence(axes, rows)
    return chart


def _axis(channel: Any, field: str, title: str, log: bool, values: pd.Series) -> Any:
    name: Any = "log" if log else "linear"
    scale = alt.Scale(type=name, zero=False, nice=False, padding=10)
    if not log:
        return channel(f"{field}:Q", title=title, scale=scale)
    ends = np.unique(values)
    ticks = ends.tolist() if len(ends) < 8 else alt.Undefined
    axis = alt.Axis(values=ticks, format="~s")
    return channel(f"{field}:Q", title=title, scale=scale, axis=axis)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    """A few points of each series: the line has the others."""
    place = rows.groupby("series").cumcount()
    count = rows.groupby("series")["x"].transform("size")
    return rows[place % np.ceil(count / _MOST_POINTS) == 0]


def _looks(series: pd.Series) -> tuple[alt.Color, alt.Shape]:
    names = [name for name in in_order(series) if name != _THEORY]
    colors = dict(zip(names, COLORS, strict=False)) | {_THEORY: GREY}
    shapes = dict(zip(names, SHAPES, strict=False)) | {_THEORY: "stroke"}
    if not (series == _THEORY).any():
        del colors[_THEORY], shapes[_THEORY]
    legend = alt.Legend(orient="bottom", columns=3, title=None, symbolOpacity=1)
    return paired("series:N", colors, shapes, legend)


def _sentence(axes: _Axes, rows: pd.DataFrame) -> str:
    parts = []
    for name, own in rows.groupby("series", sort=False):
        ends = own.sort_values("x", kind="stable").iloc[[0, -1]]
        first, last = ends["value"]
        low, high = ends["x"].map("{:g}".format)
        parts.append(f"{name}: {first} at {axes.x} {low}, {last} at {high}")
    return f"{axes.title}. {axes.y.capitalize()}: {'; '.join(parts)}."
