"""Charts by training step."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import logs
from vgkeras._text import ordinal, run_label
from vgkeras.charts.edge_bands import LOSS_VIEW, NORM_VIEW, value_texts
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.rows import (
    MOST_LINES,
    MOST_POINTS,
    largest_variable,
    layer_label,
    log10_of,
    only_run,
    panel_values,
    rows_of_kind,
    rows_with_runs,
    series_names,
)
from vgkeras.charts.style import HEIGHT, Chart, counted, panels, sized, titled
from vgkeras.charts.words import in_order, legend_line, series_rows, spoken


def loss_by_step(log: logs.GradientLog) -> Chart:
    """Draws the loss of every run against the training step, a panel per depth.

    How to read it: a curve that falls trains, a flat one stalls, one that jumps to the
    band above the axis diverges. How to misread it: a flat curve is not "converged";
    compare its height with the loss it should reach. At most about 50 steps per run
    are drawn, none averaged; the first, the last and the first one off the axis always
    are. A loss below 0 has no logarithm and is flagged.

    Args:
        log: Measured, predicted or both. At most 12 depths.

    Returns:
        A chart of log10 loss by step; several depths stand in panels side by side.

    Raises:
        ValueError: If `log` holds no run or too many depths for one look.
    """
    rows = rows_with_runs(log, "losses").assign(
        log10=lambda table: log10_of(table["loss"])
    )
    rows = rows.assign(line=rows["run"].astype(str))
    depths = panel_values("depths", rows["depth"])
    runs = log.runs
    return panels([_loss_panel(runs[runs["depth"] == d], rows) for d in depths])


def gradient_by_step(log: logs.GradientLog) -> Chart:
    """Draws the weight gradient of one run against the training step.

    How to read it: up to 6 layers have points of their own; of more layers the
    smallest, the middle and the largest norm at each step are drawn, and the tooltip
    says which layer that is. How to misread it: a gradient that falls together with
    the loss is a network that learns; one that is small while the loss stands still is
    not. At most about 50 logged steps are drawn, none averaged.

    Args:
        log: Exactly one run, measured, predicted or both.

    Returns:
        A chart of log10 Frobenius norm of `dL/dW_l` by step. Of a layer with several
        variables the largest one is drawn.

    Raises:
        ValueError: If `log` does not hold exactly one run, or no weight gradient.
    """
    run = only_run(log)
    rows, chosen = largest_variable(
        rows_of_kind(rows_with_runs(log, "layers"), "weight_gradient")
    )
    drawn, thinned = _logged_steps(rows)
    drawn = _lines_of_layers(drawn)
    x = counted("step:Q", "training step")
    told = titled(
        points_over_lines(drawn, x, y="norm of ∂L/∂W", view=NORM_VIEW, key="layer"),
        f"{run_label(run._asdict())}: weight gradient by step",
        legend_line(drawn, f"{thinned} {chosen}".strip()),
        _steps_sentence(drawn, run),
    )
    return sized(told, HEIGHT)


def _loss_panel(runs: pd.DataFrame, rows: pd.DataFrame) -> alt.LayerChart:
    rows = rows[rows["run"].isin(runs["run"])]
    drawn = _thinned_steps(rows)
    x = counted("step:Q", "training step")
    chart = points_over_lines(drawn, x, y="loss", view=LOSS_VIEW)
    depth = int(runs["depth"].iloc[0])
    every = int(drawn["stride"].max())
    thinned = f"Every {ordinal(every)} step drawn." if every > 1 else ""
    return titled(
        chart,
        f"Depth {depth}: {_by_outcome(runs)}",
        legend_line(rows, thinned),
        _loss_sentence(rows, depth),
    )


def _logged_steps(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of about 50 logged steps, the last among them, and words on it."""
    parts, stride = [], 1
    for _, part in rows.groupby("origin", sort=False):
        steps = sorted(part["step"].unique().tolist())
        every = math.ceil(len(steps) / MOST_POINTS)
        parts.append(part[part["step"].isin({*steps[::every], steps[-1]})])
        stride = max(stride, every)
    told = f"Every {ordinal(stride)} logged step drawn." if stride > 1 else ""
    return pd.concat(parts), told


def _lines_of_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """A series per layer or, of many layers, the smallest, middle and largest norm."""
    layers = rows["layer"].nunique()
    if layers <= MOST_LINES:
        names = [layer_label(row) for row in rows.itertuples()]
        return rows.assign(series=names, line=rows["layer"].astype(str))
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


def _thinned_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """About 50 steps a run: evenly spaced, the last, and those next to trouble."""
    rows = rows.sort_values(["origin", "run", "step"])
    by_run = rows.groupby(["origin", "run"])
    last = by_run["step"].transform("max")
    stride = np.ceil(last / MOST_POINTS).clip(lower=1).astype(int)
    off = ~rows["log10"].between(*LOSS_VIEW)
    first_off = off & (off.groupby([rows["origin"], rows["run"]]).cumsum() == 1)
    before = first_off.groupby([rows["origin"], rows["run"]]).shift(
        -1, fill_value=False
    )
    kept = (rows["step"] % stride == 0) | (rows["step"] == last) | first_off | before
    return rows.assign(stride=stride)[kept]


def _by_outcome(runs: pd.DataFrame) -> str:
    """`c = 0.9 trains; c = 0.5 and 1.5 stall`."""
    told = []
    for outcome in ("trains", "stalls", "diverges"):
        names = in_order(series_names(runs[runs["outcome"] == outcome]))
        if names:
            verb = outcome if len(names) == 1 else outcome[:-1]
            told.append(f"{spoken(names)} {verb}")
    return "; ".join(told) or "loss by step"


def _loss_sentence(rows: pd.DataFrame, depth: int) -> str:
    told = []
    for name, run in series_rows(rows):
        first, last = value_texts(run.sort_values("step").iloc[[0, -1]])
        told.append(f"{spoken([name])} from {first} to {last}")
    steps = int(rows["step"].max())
    what = "networks" if rows["own"].any() else "stacks"
    return f"Loss of {what} of depth {depth} over {steps} steps: {'; '.join(told)}."


def _steps_sentence(rows: pd.DataFrame, run: Any) -> str:
    told = []
    for name, part in series_rows(rows):
        first, last = value_texts(part.sort_values("step").iloc[[0, -1]])
        told.append(f"{name} from {first} to {last}")
    steps = rows["step"]
    return (
        f"{run_label(run._asdict())}, norm of the weight gradient from step "
        f"{steps.min()} to step {steps.max()}: {'; '.join(told)}."
    )
