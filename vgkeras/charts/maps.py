"""Maps of what trains: every cell a run, theory's boundaries drawn over them."""

import altair as alt
import pandas as pd

from vgkeras import theory
from vgkeras.charts.style import GREY, by_outcome, sized, titled
from vgkeras.logs import GradientLog
from vgkeras.theory import agreement, boundaries
from vgkeras.theory.what_trains import HESSIAN, RESTLESS, SLOW, WILD, map_cells

MAP_SCALES = tuple(round(0.5 + 0.025 * k, 3) for k in range(40))
MAP_DEPTHS = (*range(1, 21), *(round(20 * 7.6 ** (k / 20)) for k in range(1, 21)))
MAP_LEARNING_RATES = tuple(float(f"{10 ** (k / 9.75 - 4):.3g}") for k in range(40))

MAP_HEIGHT = 560  # pixels of a map with its title, axes and legends
SELECTION = "cell"  # name of the selection that a click on a cell changes
_TITLES = {"scale": "scale c of every kernel", "learning_rate": "learning rate"}

_DASHES = {SLOW: [6, 3], RESTLESS: [1, 3], WILD: [2, 2], HESSIAN: [8, 3, 2, 3]}


def outcome_by_scale_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by scale and depth, under theory's boundaries.

    How to read it: between the lines stacks train. They close in on c = 1 as depth
    grows: a deeper stack forgives less. How to misread it: the edge on the left is
    one of patience, it moves with the number of steps; the one on the right is not.

    Args:
        log: A map: many scales and depths, one learning rate.

    Returns:
        A chart with a mark per run, its colour and shape the outcome, ringed where
        theory says otherwise. A click selects a run (`SELECTION`).

    Raises:
        ValueError: If `log` holds no run.
    """
    return _map(log, "scale")


def outcome_by_learning_rate_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by learning rate and depth.

    How to read it: as `outcome_by_scale_and_depth`. How to misread it: a larger
    learning rate does not buy depth; the edge where runs diverge comes down as the
    edge where they are too slow goes up, until nothing is left between.

    Args:
        log: A map: many learning rates and depths, one scale.

    Returns:
        A chart with a mark per run.

    Raises:
        ValueError: If `log` holds no run.
    """
    return _map(log, "learning_rate")


def _map(log: GradientLog, by: str) -> alt.LayerChart:
    if log.runs.empty:
        raise ValueError("`log` must hold at least one run. Received: a log of no run.")
    cells = map_cells(log)
    log_scale = alt.Scale(type="log", nice=False, padding=8)
    scale = alt.Scale(zero=False, nice=False, padding=8) if by == "scale" else log_scale
    x = alt.X(f"{by}:Q", title=_TITLES[by], scale=scale)
    y = alt.Y("depth:Q", title="depth (number of layers)", scale=log_scale)
    layers = [_points(cells, x, y), *_lines(boundaries(log, by), cells, by)]
    title, counts = str(agreement(log)), _outcome_counts(cells)
    chart = sized(alt.LayerChart(layer=layers), MAP_HEIGHT)
    return titled(chart, title, counts, f"{counts} {title}")


def _points(cells: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    cell = alt.selection_point(
        name=SELECTION, fields=["run"], toggle=False, nearest=True
    )
    return (
        alt.Chart(cells)
        .mark_point(filled=True, size=46, strokeWidth=1.6)
        .encode(
            x,
            y,
            *by_outcome(_legend("measured")),
            stroke=alt.condition(
                "datum.predicted && datum.predicted != datum.outcome",
                alt.value("#CC79A7"),
                alt.value("transparent"),
            ),
            opacity=alt.condition(cell, alt.value(0.85), alt.value(0.25), empty=True),
            tooltip=["scale", "depth", "learning_rate", "outcome", "predicted"],
        )
        .add_params(cell)
    )


def _lines(edges: pd.DataFrame, cells: pd.DataFrame, by: str) -> list[alt.Chart]:
    """Theory, dashed; only inside the range that was measured."""
    if edges.empty:
        return []
    inside = edges["value"].between(cells[by].min(), cells[by].max())
    scale = alt.Scale(domain=list(_DASHES), range=list(_DASHES.values()))
    line = (
        alt.Chart(edges[inside])
        .mark_line(strokeWidth=2, color=GREY, interpolate="monotone")
        .encode(
            alt.X("value:Q"),
            alt.Y("depth:Q"),
            alt.StrokeDash("boundary:N", scale=scale, legend=_legend("theory")),
            order="depth:Q",
        )
    )
    return [line]


def _legend(title: str) -> alt.Legend:
    return alt.Legend(orient="bottom", columns=1, symbolOpacity=1, title=title)


def _outcome_counts(cells: pd.DataFrame) -> str:
    counts = cells["outcome"].value_counts()
    words = [f"{counts.get(word, 0):,} {word}" for word in theory.OUTCOMES]
    return f"{len(cells):,} runs: {', '.join(words)}."
