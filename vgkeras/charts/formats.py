"""Where each number format fails."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from vgkeras._text import listed
from vgkeras.charts.style import GREY, HEIGHT, scale_color, sized, titled
from vgkeras.floats import MODES, Limits

# In the order in which they mostly fail, and what a mark is called.
_NAMES = {
    "update": "update",
    "loss": "loss",
    "activation_gradient": "∂L/∂a",
    "gradient_norm": "tf.norm(∂L/∂W)",
    "weight_gradient": "∂L/∂W",
    "activation": "output",
}
_ENDINGS = {"subnormal": "subnormal", "zero": "exactly 0", "inf": "Inf"}
_CLAUSES = {"frozen": "diagonal frozen", "blind": "loss blind to output"}
_SOLVED = "starts at its target: nothing to learn"


def failure_by_depth_and_format(limits: Sequence[Limits], depth: int) -> alt.LayerChart:
    """Draws the first depth at which each quantity fails, format by format.

    How to read it: filled marks have failed in a stack of `depth` layers, hollow ones
    fail in a deeper one. `frozen` is said of the weights on the diagonal, `blind` of a
    loss that is, to the last digit, that of a network that answers 0. How to misread
    it: as a matter of exponents alone. The digits run out first.

    Args:
        limits: What `vgkeras.floats.limits` returns, once for each number format.
        depth: Number of layers of the stack in question.

    Returns:
        A chart with a mark per format and quantity, at its first failure and called
        by it; the tooltip has the later ones. A quantity that does not fail has none.

    Raises:
        ValueError: If `limits` is empty.
    """
    if not limits:
        raise ValueError("`limits` must not be empty. Received: limits=[].")
    rows = pd.concat([_rows(own, depth) for own in limits], ignore_index=True)
    deepest = max(own.deepest for own in limits)
    x = _depth_axis(deepest)
    names = [own.dtype for own in limits]
    base = alt.Chart(rows).encode(
        x=x,
        y=_lanes(names),
        tooltip=[alt.Tooltip(f) for f in ("format:N", "quantity:N", "failures:N")],
    )
    chart = alt.LayerChart()
    chart.layer = [*_shade(depth, x), *_marks(base, limits[0].scale, deepest)]
    return titled(
        sized(chart, HEIGHT),
        f"c = {limits[0].scale:g}, L = {depth}: {_title_words(rows)}",
        "Filled: has failed at this depth. Hollow: fails in deeper networks.",
        " ".join(_format_sentence(rows, name, depth) for name in names),
    )


def _rows(own: Limits, depth: int) -> pd.DataFrame:
    """A row per quantity that fails: its first failure."""
    if own.is_solved:
        failures = [(own.dtype, "", _SOLVED, _SOLVED, 1, False, 0)]
    else:
        failures = [
            (own.dtype, *_row(own, quantity, depth), place)
            for place, quantity in enumerate(_NAMES)
            if any(row.depth for row in own.rows if row.quantity == quantity)
        ]
    columns = ["format", "quantity", "label", "failures", "depth", "failed", "place"]
    rows = pd.DataFrame(failures, columns=columns)
    return rows.assign(lane=[f"{own.dtype} {place}" for place in rows["place"]])


def _row(own: Limits, quantity: str, depth: int) -> tuple[str, str, str, int, bool]:
    """Quantity, label, all failures in words, first depth, whether that is reached."""
    depths = {mode: own.depth(quantity, mode) for mode in MODES}
    failures = sorted((d, mode) for mode, d in depths.items() if d is not None)
    first, mode = failures[0]
    all_words = ", ".join(f"{_ENDINGS.get(m, m)} from L = {d} on" for d, m in failures)
    name = _NAMES[quantity]
    words = _CLAUSES.get(mode) or f"{name} {_ENDINGS[mode]}"
    return name, f"{words} · {first}", all_words, first, first <= depth


def _depth_axis(deepest: int) -> alt.X:
    scale = alt.Scale(type="log", domain=[1, deepest], nice=False)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)]
    axis = alt.Axis(values=[t for t in ticks if t <= deepest], format="d", grid=False)
    title = "first depth L that fails (log scale)"
    return alt.X("depth:Q", title=title, scale=scale, axis=axis)


def _lanes(names: list[str]) -> alt.Y:
    """Six lanes a format, so that no two marks meet, and an empty one below."""
    domain = [f"{name} {place}" for name in names for place in range(len(_NAMES) + 1)]
    show = "split(datum.value, ' ')[1] == '2' ? split(datum.value, ' ')[0] : ''"
    axis = alt.Axis(labelExpr=show, ticks=False, domain=False, labelLimit=90)
    return alt.Y("lane:N", title=None, scale=alt.Scale(domain=domain[:-1]), axis=axis)


def _shade(depth: int, x: alt.X) -> list[alt.Chart]:
    """The depths up to the one that is set, with its name: names of marks cross it."""
    ends = pd.DataFrame({"first": [1], "depth": [depth], "label": [f"L = {depth}"]})
    base = alt.Chart(ends).encode(x=x)
    name = base.mark_text(color=GREY, baseline="bottom", dy=-4, fontWeight="bold")
    shade = base.mark_rect(color=GREY, opacity=0.15).encode(x2=alt.X2("first:Q"))
    return [shade, name.encode(y=alt.YValue(0), text=alt.Text("label:N"))]


def _marks(base: alt.Chart, scale: float, deepest: int) -> list[alt.Chart]:
    """Points, and their names on the side that has more room."""
    room = f"datum.depth * datum.depth <= {deepest}"
    look: dict[str, Any] = {"color": GREY, "fontSize": 11}
    points = base.transform_filter(f"datum.label != {_SOLVED!r}")
    names = [
        base.transform_filter(room).mark_text(align="left", dx=8, **look),
        base.transform_filter(f"!({room})").mark_text(align="right", dx=-8, **look),
    ]
    return [
        points.transform_filter("datum.failed").mark_point(
            filled=True, size=70, color=scale_color(scale), opacity=1
        ),
        points.transform_filter("!datum.failed").mark_point(size=60, color=GREY),
        *(name.encode(text=alt.Text("label:N")) for name in names),
    ]


def _title_words(rows: pd.DataFrame) -> str:
    failed = rows.loc[rows["failed"], "format"].unique().tolist()
    return f"failures in {listed(failed)}" if failed else "no format fails"


def _format_sentence(rows: pd.DataFrame, name: str, depth: int) -> str:
    own = rows[rows["format"] == name]
    if (own["label"] == _SOLVED).any():
        return f"In {name} the stack {_SOLVED}."
    labels = [label.split(" · ")[0] for label in own.loc[own["failed"], "label"]]
    return f"In {name}, at L = {depth}: {listed(labels) if labels else 'no failure'}."
