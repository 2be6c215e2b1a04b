"""Where each number format fails."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from vgkeras.charts.style import COLORS, GREY, HEIGHT, paired, sized, titled
from vgkeras.charts.words import spoken
from vgkeras.floats import Limits

_MODE_SHAPES = {
    "frozen": "square",
    "blind": "diamond",
    "subnormal": "triangle-down",
    "zero": "circle",
    "inf": "triangle-up",
}


def failure_by_depth_and_format(limits: Sequence[Limits], depth: int) -> alt.LayerChart:
    """Draws the first depth at which each quantity fails, format by format.

    How to read it: left of the line is what has failed in a stack of `depth` layers.
    How to misread it: as a matter of exponents alone. The digits run out first.

    Args:
        limits: What `vgkeras.floats.limits` returns, once for each number format.
        depth: Number of layers of the stack in question.

    Returns:
        A chart with a mark per format, quantity and mode; a quantity that does not
        fail has none.

    Raises:
        ValueError: If `limits` is empty.
    """
    if not limits:
        raise ValueError("`limits` must not be empty. Received: limits=[].")
    rows = pd.DataFrame(
        [
            (own.dtype, row.quantity.replace("_", " "), row.mode, row.depth)
            for own in limits
            for row in own.rows
            if row.depth is not None
        ],
        columns=["format", "quantity", "mode", "depth"],
    )
    deepest = alt.Scale(type="log", domain=[1, max(own.deepest for own in limits)])
    x = alt.X("depth:Q", title="first depth that fails (log scale)", scale=deepest)
    order = [own.dtype for own in limits]
    colors = dict(zip(_MODE_SHAPES, COLORS, strict=False))
    legend = alt.Legend(orient="bottom", columns=3, title="what happens")
    marks = alt.Chart(rows).mark_point(size=70, strokeWidth=2)
    marks = marks.encode(
        x,
        alt.Y("format:N", title=None, sort=order, scale=alt.Scale(domain=order)),
        alt.YOffset("mode:N", scale=alt.Scale(domain=list(colors))),
        *paired("mode:N", colors, _MODE_SHAPES, legend),
        tooltip=["format", "quantity", "mode", "depth"],
    )
    level = alt.Chart(pd.DataFrame({"depth": [depth]}))
    line = level.mark_rule(color=GREY, strokeWidth=2).encode(x)
    words = [_format_sentence(rows[rows["format"] == dtype], dtype) for dtype in order]
    return titled(
        sized(alt.LayerChart(layer=[line, marks]), HEIGHT),
        f"Scale {limits[0].scale:g}: {_failure_words(rows, depth)}",
        f"The line: depth {depth}.",
        " ".join(words),
    )


def _failure_words(rows: pd.DataFrame, depth: int) -> str:
    failed = rows.loc[rows["depth"] <= depth, "format"].unique().tolist()
    if not failed:
        return f"at depth {depth} no format has failed"
    return f"at depth {depth} something has failed in {spoken(failed)}"


def _format_sentence(rows: pd.DataFrame, dtype: str) -> str:
    if rows.empty:
        return f"In {dtype} nothing fails."
    first = rows.sort_values("depth").iloc[0]
    verbs = {"inf": "overflows", "zero": "is exactly 0", "blind": "is rounded away"}
    verb = verbs.get(first["mode"], f"is {first['mode']}")
    return (
        f"In {dtype} the {first['quantity']} {verb} first, at depth {first['depth']}."
    )
