"""Outcomes as cells: colour and shape, crossed where theory says otherwise."""

from typing import Any

import altair as alt
import pandas as pd

from vgkeras import theory
from vgkeras._text import listed, outcome_verb
from vgkeras.charts.style import CROSS, OUTCOME_COLORS, OUTCOME_SHAPES, paired

SELECTION = "cell"  # name of the selection that a click on a cell changes
OTHERWISE = "theory says otherwise"
# Dark on pale, whatever the page behind: no grey is read over coloured cells.
INK, PALE = "#111111", "#FFFFFF"
_MARK = "#CC79A7"


def outcome_cells(
    cells: pd.DataFrame,
    area: dict[str, Any],
    middle: dict[str, Any],
    tooltip: list[alt.Tooltip],
    *,
    named: bool = False,
    **shape: Any,
) -> list[alt.Chart]:
    """A cell a run, its outcome as colour and as a shape in its middle.

    A click on a cell selects its run (`SELECTION`). Cells whose column `predicted`
    names another outcome are crossed. `area` and `middle` are channels, `shape` is
    more of the look of the shapes; `named` cells need no legend, unless crossed.
    """
    words = {"outcome": "measured", "predicted": "in theory"}
    tooltip = [*tooltip, *(alt.Tooltip(f"{n}:N", title=t) for n, t in words.items())]
    cell = alt.selection_point(name=SELECTION, fields=["run"], toggle=False)
    inked = alt.condition(cell, alt.value(INK), alt.value(None), empty=False)
    crossed = cells[_differs(cells)].assign(outcome=OTHERWISE)
    color, symbol = _looks(len(crossed) > 0, named)
    base = alt.Chart(cells).encode(color=color, tooltip=tooltip)
    # A screen reader hears the chart's description, not a thousand cells.
    rects = base.mark_rect(opacity=0.5, strokeWidth=2, aria=False)
    rects = rects.encode(**area, stroke=alt.StrokeValue(**inked)).add_params(cell)
    shapes = _shapes(base.encode(**middle, shape=symbol), crossed, shape)
    return [rects, *shapes]


def _shapes(
    base: alt.Chart, crossed: pd.DataFrame, shape: dict[str, Any]
) -> list[alt.Chart]:
    """The shapes of the outcomes, and crosses, as far from the middle on its right."""
    look: dict[str, Any] = {"filled": True, "opacity": 1}
    aside: dict[str, Any] = {"xOffset": -shape.get("xOffset", 0), "size": 130}
    aside["aria"] = not crossed.empty  # a group of nothing has no name
    crosses = base.mark_point(**look, **aside, stroke=PALE, strokeWidth=1)
    crosses.data = crossed
    return [base.mark_point(**look, **shape, aria=False), crosses]


def outcome_counts(outcomes: pd.Series) -> str:
    """`483 train, 1 is slow and 524 diverge`, from good to bad."""
    counts = outcomes.value_counts()
    return listed(
        f"{counts[word]:,} {outcome_verb(word, counts[word])}"
        for word in theory.OUTCOMES
        if word in counts
    )


def _differs(cells: pd.DataFrame) -> pd.Series:
    """Where theory names an outcome, and another one."""
    said = cells["predicted"].notna() & cells["predicted"].ne("")
    return said & cells["predicted"].ne(cells["outcome"])


def _looks(crossed: bool, named: bool) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape of the outcomes, and of the cross where there is one."""
    colors, shapes = dict(OUTCOME_COLORS), dict(OUTCOME_SHAPES)
    if crossed:
        colors[OTHERWISE], shapes[OTHERWISE] = _MARK, CROSS
    legend = None
    if crossed or not named:
        columns = 2 if crossed else 4
        legend = alt.Legend(
            orient="bottom", columns=columns, title=None, symbolOpacity=1
        )
    return paired("outcome:N", colors, shapes, legend)
