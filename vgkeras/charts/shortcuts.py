"""A network with its shortcuts and without them, layer by layer."""

import altair as alt
import numpy as np
import pandas as pd

from vgkeras._text import power_of_ten
from vgkeras.charts.style import (
    APART,
    GREY,
    HEIGHT,
    count_axis,
    decade_ticks,
    paired,
    sized,
    tick_labels,
    titled,
)
from vgkeras.logs import GradientLog

WITH_SHORTCUTS, WITHOUT_SHORTCUTS = "with shortcuts", "without shortcuts"
_COLORS = {WITH_SHORTCUTS: APART, WITHOUT_SHORTCUTS: GREY}
_SHAPES = {WITH_SHORTCUTS: "circle", WITHOUT_SHORTCUTS: "square"}


def gradient_with_and_without_shortcuts(log: GradientLog) -> alt.LayerChart:
    """Draws the weight gradient of each convolution before the first step.

    How to read it: a line that falls from the input (left) to the output is a gradient
    that grows on its way back, by the same factor in every layer if it is straight.
    How to misread it: batch normalization is in both networks. It keeps the
    activations in bounds, not the gradients.

    Args:
        log: The recording of `python -m vgkeras.record resnet152`, or another of two
            runs whose `initializer` is `WITH_SHORTCUTS` or `WITHOUT_SHORTCUTS`.

    Returns:
        A chart of log10 rms by layer, of norms where the log holds no sizes.

    Raises:
        ValueError: If `log` lacks one of both runs.
    """
    rows = _rows(log)
    low, high = rows["log10"].min(), rows["log10"].max()
    ticks = decade_ticks(low - 1, high + 1, 8)
    axis = alt.Axis(values=list(ticks), labelExpr=tick_labels(ticks))
    color, shape = paired(
        "network:N",
        _COLORS,
        _SHAPES,
        alt.Legend(orient="bottom", title=None, symbolOpacity=1),
    )
    base = alt.Chart(rows).encode(
        x=count_axis("layer:Q", "layer (1 = next to the input)"),
        y=alt.Y("log10:Q", title="rms of ∂L/∂W (log scale)", axis=axis),
        color=color,
        shape=shape,
        tooltip=[
            *(alt.Tooltip(field) for field in ("network:N", "layer:Q", "name:N")),
            alt.Tooltip("value:N", title="rms of ∂L/∂W"),
        ],
    )
    lines = base.mark_line(opacity=0.5, strokeWidth=1.5, tooltip=None)
    marks = base.mark_point(filled=True, size=26, opacity=0.9)
    growth = growth_of_gradient(log)
    helps = growth[WITH_SHORTCUTS] < growth[WITHOUT_SHORTCUTS]
    words = "tame" if helps else "do not tame"
    return titled(
        sized(alt.LayerChart(layer=[lines, marks]), HEIGHT),
        f"Shortcuts {words} the gradient of {rows['layer'].max()} layers",
        "Before the first step, from the same weights.",
        shortcuts_sentence(log),
    )


def growth_of_gradient(log: GradientLog) -> dict[str, float]:
    """Returns how many decades the gradient grows from the last convolution back.

    Args:
        log: See `gradient_with_and_without_shortcuts`.

    Returns:
        Decades by network: log10 of the rms of the first convolution's gradient over
        that of the last convolution, the last but one of the layers.

    Raises:
        ValueError: If `log` lacks one of both runs.
    """
    growth = {}
    for name, own in _rows(log).groupby("network"):
        ends = own.sort_values("layer")["log10"].iloc[[0, -2]]
        growth[str(name)] = float(ends.iloc[0] - ends.iloc[1])
    return growth


def shortcuts_sentence(log: GradientLog) -> str:
    """Says by which factor gradients grow, with shortcuts and without.

    Args:
        log: See `gradient_with_and_without_shortcuts`.

    Returns:
        A sentence with numbers of the log.

    Raises:
        ValueError: If `log` lacks one of both runs.
    """
    growth = growth_of_gradient(log)
    with_, without = (
        power_of_ten(growth[name]) for name in (WITH_SHORTCUTS, WITHOUT_SHORTCUTS)
    )
    layers = _rows(log)["layer"].max()
    return (
        f"In ResNet-{layers} the gradient grows about {with_} times on its way back "
        f"from the last convolution to the first; without the shortcuts, from the same "
        f"weights, {without} times."
    )


def _rows(log: GradientLog) -> pd.DataFrame:
    """The kernels at step 0, numbered from the input."""
    rows = log.layers[(log.layers["step"] == 0)]
    rows = rows.merge(log.runs[["run", "initializer"]], on="run")
    missing = {WITH_SHORTCUTS, WITHOUT_SHORTCUTS} - set(rows["initializer"])
    if missing:
        raise ValueError(
            "`log` must hold a run with shortcuts and one without. "
            f"Received: a log without {' and '.join(sorted(missing))!r}."
        )
    log10 = rows["log10_norm"]
    if "size" in rows:
        log10 = log10 - np.log10(rows["size"]) / 2
    layer = rows.groupby("run").cumcount() + 1
    value = log10.map("{:.1f}".format) + " (log10)"
    frame = rows[["name"]].astype("str")
    return frame.assign(
        network=rows["initializer"], layer=layer, log10=log10, value=value
    )
