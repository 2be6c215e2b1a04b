"""Maps of what trains: every cell a run, theory's edges drawn over them."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import pandas as pd

from vgkeras.charts.cell_axis import CellAxis
from vgkeras.charts.cells import INK, PALE, outcome_cells, outcome_counts
from vgkeras.charts.line_names import Side, line_names
from vgkeras.charts.style import sized, titled
from vgkeras.logs import GradientLog
from vgkeras.theory import agreement, boundaries
from vgkeras.theory.what_trains import map_cells

MAP_SCALES = tuple(round(0.5 + 0.025 * k, 3) for k in range(45))
MAP_DEPTHS = (*range(1, 10), *(round(10 ** (k / 20)) for k in range(20, 44)), 152)
MAP_LEARNING_RATES = tuple(float(f"{10 ** (k / 10 - 4):.3g}") for k in range(41))

MAP_HEIGHT = 560  # pixels of a map with its title, axes and legend
_TITLES = {"scale": "scale c of every kernel", "learning_rate": "learning rate"}
_DEPTH = "depth (number of layers)"
_RATES = [1e-4, 1e-3, 0.01, 0.1, 1]
_DEPTHS = [1, 2, 5, 10, 20, 50, 100, 152]  # on the axis


def outcome_by_scale_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by scale and depth, under theory's edges.

    How to read it: a cell is a run, its colour and shape the outcome. Between the line
    "1% left" and c = 1 stacks train; the band narrows as depth grows: a deeper stack
    forgives less. How to misread it: the edges on the left are of patience, they move
    with the number of steps; "runs away", on the right, does not.

    Args:
        log: A map: many scales and depths, one learning rate.

    Returns:
        A chart with a cell per run, crossed where theory says otherwise. A click
        selects a run (`SELECTION`).

    Raises:
        ValueError: If `log` holds no run.
    """
    return _map(log, "scale")


def outcome_by_learning_rate_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by learning rate and depth.

    How to read it: as `outcome_by_scale_and_depth`. How to misread it: a larger
    learning rate does not buy depth; the edge beyond which no run settles comes down
    as those where they are too slow go up, until nothing is left between.

    Args:
        log: A map: many learning rates and depths, one scale.

    Returns:
        A chart with a cell per run.

    Raises:
        ValueError: If `log` holds no run.
    """
    return _map(log, "learning_rate")


def _map(log: GradientLog, by: str) -> alt.LayerChart:
    if log.runs.empty:
        raise ValueError("`log` must hold at least one run. Received: a log of no run.")
    cells = map_cells(log)
    log_x = {"log": True, "values": _RATES} if by == "learning_rate" else {"log": False}
    across = CellAxis.over(cells[by], _TITLES[by], format="~g", **log_x)
    up = CellAxis.over(cells["depth"], _DEPTH, log=True, format="d", values=_DEPTHS)
    layers = [*_cells(cells, across, up), *_lines(boundaries(log, by), across, up)]
    title, counts, why = _words(log, cells)
    chart = sized(alt.LayerChart(layer=layers), MAP_HEIGHT)
    # Streamlit would draw so many marks as pixels, which nobody can save as SVG.
    chart.usermeta = {"embedOptions": {"renderer": "svg"}}
    sentence = " ".join(filter(None, [counts, title, why]))
    return titled(chart, title, counts, sentence)


def _cells(cells: pd.DataFrame, across: CellAxis, up: CellAxis) -> list[alt.Chart]:
    cells = up.with_ends(across.with_ends(cells, "left", "right"), "low", "high")
    area = {
        "x": across.channel(alt.X, "left"),
        "x2": alt.X2("right:Q"),
        "y": up.channel(alt.Y, "low"),
        "y2": alt.Y2("high:Q"),
    }
    middle = {
        "x": across.channel(alt.X, across.field),
        "y": up.channel(alt.Y, up.field),
    }
    tooltip = [axis.tooltip() for axis in (across, up)]
    return outcome_cells(cells, area, middle, tooltip, size=18)


def _lines(edges: pd.DataFrame, across: CellAxis, up: CellAxis) -> Iterator[alt.Chart]:
    """Theory, dashed, each line with its name at it."""
    lines = edges.rename(columns={"boundary": "name"})
    chart = alt.Chart(lines).encode(
        x=across.channel(alt.X, "value"),
        y=up.channel(alt.Y, "depth"),
        detail=alt.Detail("name:N"),
        order=alt.Order("depth:Q"),
    )
    yield chart.mark_line(clip=True, color=PALE, strokeWidth=4, opacity=0.7)
    yield chart.mark_line(clip=True, color=INK, strokeWidth=1.6, strokeDash=[6, 3])
    shares = lines.assign(x=across.share(lines["value"]), y=up.share(lines["depth"]))
    names = alt.Chart(line_names(shares)).encode(
        x=across.channel(alt.X, "value"),
        y=up.channel(alt.Y, "depth"),
        text=alt.Text("name:N"),
    )
    places: dict[str, Any] = {n: alt.ExprRef(f"datum.{n}") for n in Side._fields}
    places |= {"fontSize": 12, "fontWeight": 600}
    yield names.mark_text(**places, stroke=PALE, strokeWidth=4, opacity=0.85)
    yield names.mark_text(**places, fill=INK)


def _words(log: GradientLog, cells: pd.DataFrame) -> tuple[str, str, str]:
    """Title, counts, and why theory and measurement differ."""
    match, counts = agreement(log), outcome_counts(cells["outcome"])
    if not match.runs:
        return counts, f"{len(cells):,} runs.", ""
    return str(match), f"{len(cells):,} runs: {counts}.", match.why()
