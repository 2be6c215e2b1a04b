"""The outcome of every run of a sweep, in a grid."""

from typing import Any

import altair as alt
import pandas as pd

from vgkeras._text import listed, outcome_verb
from vgkeras.charts.cells import INK, PALE, outcome_cells, outcome_counts
from vgkeras.charts.rows import series_names
from vgkeras.charts.style import sized, titled
from vgkeras.charts.words import in_order, is_number, series_rows, spoken
from vgkeras.logs import GradientLog
from vgkeras.theory.what_trains import map_cells

_MOST_WORDS = 4  # columns in which a word has room beside its shape, on a phone too
_ROW, _REST = 30, 120  # pixels of a row, and of title, axis and legend


def grid_height(depths: int) -> int:
    """Pixels of a grid of so many depths, so that a page can keep the room for it."""
    return _ROW * depths + _REST


def outcome_grid(log: GradientLog, selected: int | None = None) -> alt.LayerChart:
    """Draws the outcome of every run in a grid of scale and depth.

    How to read it: a column is a scale, a row a depth, the deepest on top. Colour and
    shape, and in few columns a word, say what became of the run. How to misread it:
    "stalls" speaks of the steps that were given, not of all time.

    Args:
        log: Runs that differ in scale (or initializer) and depth alone.
        selected: Number of the run whose cell is framed.

    Returns:
        A chart with a cell per run, crossed where theory says otherwise. A click
        selects a run (`SELECTION`).

    Raises:
        ValueError: If `log` holds no run, or several of one scale and depth.
    """
    cells = map_cells(log).assign(series=series_names(log.runs), origin="measured")
    _check_one_each(cells)
    names = in_order(cells["series"])
    title = "scale c" if is_number(names[0]) else "start"
    level = alt.Axis(labelAngle=0)
    place: dict[str, Any] = {
        "x": alt.X("series:N", sort=names, title=title, axis=level),
        "y": alt.Y("depth:O", sort="descending", title="depth (number of layers)"),
    }
    tooltip = [alt.Tooltip("series:N", title=title), alt.Tooltip("depth:Q")]
    named = len(names) <= _MOST_WORDS
    shape = {"size": 70, "xOffset": -28 if named else 0}
    layers = outcome_cells(cells, place, place, tooltip, named=named, **shape)
    if named:
        layers += _words(cells, place)
    layers += _frame(cells[cells["run"] == selected], place)
    chart = sized(alt.LayerChart(layer=layers), grid_height(cells["depth"].nunique()))
    counts = outcome_counts(cells["outcome"])
    return titled(chart, f"Of {len(cells):,} runs {counts}", "", _sentence(cells))


def _words(cells: pd.DataFrame, place: dict[str, Any]) -> list[alt.Chart]:
    text = alt.Chart(cells).encode(**place, text=alt.Text("outcome:N"))
    look: dict[str, Any] = {"align": "left", "dx": -20, "fontSize": 12}
    halo = text.mark_text(**look, stroke=PALE, strokeWidth=3, opacity=0.7)
    return [halo, text.mark_text(**look, fill=INK)]


def _frame(cell: pd.DataFrame, place: dict[str, Any]) -> list[alt.Chart]:
    """Pale around dark: one of them is seen on any page."""
    frame = alt.Chart(cell).encode(**place)
    look: dict[str, Any] = {"filled": False, "aria": False}
    pale = frame.mark_rect(**look, stroke=PALE, strokeWidth=6)
    return [pale, frame.mark_rect(**look, stroke=INK, strokeWidth=3)]


def _check_one_each(cells: pd.DataFrame) -> None:
    if cells.empty:
        raise ValueError("`log` must hold at least one run. Received: a log of no run.")
    again = cells.duplicated(["series", "depth"])
    if again.any():
        first = cells[again].iloc[0]
        raise ValueError(
            "`log` must hold one run of each scale and depth. Received: several of "
            f"{spoken([first['series']])}, L = {first['depth']}. Take some with "
            "`log.select(seed=0)`."
        )


def _sentence(cells: pd.DataFrame) -> str:
    """As in: `By depth: c = 0.5 trains at 2, is slow at 5 and stalls at 10 to 152.`."""
    sentences = []
    for name, column in series_rows(cells):
        column = column.sort_values("depth")
        turn = column["outcome"].ne(column["outcome"].shift()).cumsum()
        parts = []
        for _, part in column.groupby(turn):
            ends = dict.fromkeys(part["depth"].iloc[[0, -1]].astype(str))
            verb = outcome_verb(part["outcome"].iloc[0])
            parts.append(f"{verb} at {' to '.join(ends)}")
        sentences.append(f"{spoken([name])} {listed(parts)}")
    return f"By depth: {'; '.join(sentences)}."
