"""Charts by training step."""

import math

import altair as alt
import pandas as pd

from vgkeras import logs, theory
from vgkeras._text import counted, outcome_verb, run_label
from vgkeras.charts.bins import bin_words, binned
from vgkeras.charts.edge_bands import LOSS_VIEW, NORM_VIEW
from vgkeras.charts.points import Level, points_over_lines
from vgkeras.charts.rows import (
    MOST_POINTS,
    largest_variable,
    layer_labels,
    only_run,
    panel_values,
    rows_of_kind,
    rows_with_runs,
    series_names,
)
from vgkeras.charts.style import (
    HEIGHT,
    PANEL_HEIGHT,
    Chart,
    axes_height,
    count_axis,
    panels,
    sized,
    titled,
)
from vgkeras.charts.words import from_to, in_order, legend_line, spoken

_MOST_LINES = 6


def loss_by_step(log: logs.GradientLog) -> Chart:
    """Draws the loss of every run against the training step, a panel per depth.

    How to read it: a curve that falls trains, a flat one stalls, one that jumps to the
    band above the axis diverges; of a single run, the losses that decide are drawn. How
    to misread it: a flat curve is not "converged"; compare its height with the loss it
    should reach. More than 100 steps are drawn in 50 bins: of each the middle loss,
    with a bar from the smallest to the largest, and what is off the axis. A loss below
    0 has no logarithm and is flagged.

    Args:
        log: Measured, predicted or both. At most 12 depths.

    Returns:
        A chart of log10 loss by step; several depths stand in panels side by side.

    Raises:
        ValueError: If `log` holds no run or too many depths for one look.
    """
    rows = rows_with_runs(log, "losses")
    rows = rows.assign(line=rows["run"].astype(str))
    depths = panel_values("depths", rows["depth"])
    runs = log.runs
    height = PANEL_HEIGHT if len(depths) > 1 else axes_height(HEIGHT)
    parts = [_loss_panel(runs[runs["depth"] == d], rows, height) for d in depths]
    return panels(parts)


def gradient_by_step(log: logs.GradientLog) -> Chart:
    """Draws the weight gradient of one run against the training step.

    How to read it: up to 6 layers have points of their own; of more layers the
    smallest, the middle and the largest norm at each step are drawn, and the tooltip
    says which layer that is. How to misread it: a gradient that falls together with
    the loss is a network that learns; one that is small while the loss stands still is
    not. More than 100 logged steps are drawn in bins, as in `loss_by_step`.

    Args:
        log: Exactly one run, measured, predicted or both.

    Returns:
        A chart of log10 Frobenius norm of `dL/dW_l` by step. Of a layer with several
        variables the largest one is drawn.

    Raises:
        ValueError: If `log` does not hold exactly one run, or no weight gradient.
    """
    label = run_label(only_run(log))
    rows = rows_of_kind(rows_with_runs(log, "layers"), "weight_gradient")
    rows, largest_words = largest_variable(rows)
    rows = _lines_of_layers(rows)
    within = ["origin", "series", "line"]
    few, width = binned(rows, "step", within, MOST_POINTS, NORM_VIEW)
    x = count_axis("step:Q", "training step")
    chart = titled(
        points_over_lines(few, x, y="norm of ∂L/∂W", view=NORM_VIEW, key="layer"),
        f"{label}: weight gradient by step",
        legend_line(rows, bin_words(width, "logged steps"), largest_words),
        f"{label}, norm of the weight gradient from step {rows['step'].min()} to step "
        f"{rows['step'].max()}: {from_to(rows, 'step')}.",
    )
    return sized(chart, HEIGHT)


def _loss_panel(runs: pd.DataFrame, rows: pd.DataFrame, height: int) -> alt.LayerChart:
    rows = rows[rows["run"].isin(runs["run"])]
    few, width = binned(rows, "step", ["origin", "run"], MOST_POINTS, LOSS_VIEW)
    x = count_axis("step:Q", "training step")
    chart = points_over_lines(
        few, x, y="loss", view=LOSS_VIEW, levels=_levels(runs, rows), height=height
    )
    depth, steps = int(runs["depth"].iloc[0]), int(runs["steps"].max())
    what = "networks" if rows["own"].any() else "stacks"
    return titled(
        chart,
        f"Depth {depth}: {_outcome_words(runs)}",
        legend_line(rows, bin_words(width, "steps")),
        f"Loss of {what} of depth {depth} over {counted(steps, 'step')}: "
        f"{from_to(rows, 'step')}.",
    )


def _levels(runs: pd.DataFrame, rows: pd.DataFrame) -> list[Level]:
    """The losses that decide about the outcome of a single run."""
    zero, first = runs["loss_zero"].iloc[0], rows.loc[rows["step"] == 0, "loss"]
    if len(runs) > 1 or math.isnan(zero) or first.empty:
        return []
    edges = theory.outcome_edges(first.iloc[0], zero)
    trains, stalls = (math.log10(e or math.inf) for e in (edges.trains, edges.stalls))
    levels = [
        Level(trains, "trains below", at_end=True, below=True),
        Level(stalls, "stalls above", at_end=True, below=True),
    ]
    return [level for level in levels if LOSS_VIEW[0] < level.log10 < LOSS_VIEW[1]]


def _lines_of_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """A series per layer or, of many layers, the smallest, middle and largest norm."""
    layers = rows["layer"].nunique()
    if layers <= _MOST_LINES:
        names = layer_labels(rows)
        return rows.assign(
            series=rows["layer"].map(names), line=rows["layer"].astype(str)
        )
    rows = rows[rows["log10"].notna()].sort_values("log10", kind="stable")
    by_step = rows.groupby(["origin", "step"])
    place, last = by_step.cumcount(), by_step["log10"].transform("size") - 1
    picks = {
        "smallest": place == 0,
        "middle": place == last // 2,
        "largest": place == last,
    }
    parts = [rows[at].assign(series=name, line=name) for name, at in picks.items()]
    return pd.concat(parts)


def _outcome_words(runs: pd.DataFrame) -> str:
    """`c = 0.9 trains; c = 0.5 and 1.5 stall`."""
    words = []
    for outcome in theory.OUTCOMES:
        names = in_order(series_names(runs[runs["outcome"] == outcome]))
        if names:
            words.append(f"{spoken(names)} {outcome_verb(outcome, len(names))}")
    return "; ".join(words) or "loss by step"
