"""Charts by depth of the stack."""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import logs
from vgkeras._text import listed
from vgkeras.charts.edge_bands import LOSS_VIEW, NORM_VIEW, value_texts
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.rows import (
    largest_variable,
    log10_of,
    rows_of_kind,
    rows_of_step,
    rows_with_runs,
    series_names,
)
from vgkeras.charts.style import HEIGHT, Chart, counted, sized, titled
from vgkeras.charts.words import in_order, legend_line, series_rows, spoken


def final_loss_by_depth(log: logs.GradientLog) -> Chart:
    """Draws the loss after the last step against the depth of the stack.

    How to read it: low points trained; points near the grey line answer no better than
    a network that always says 0; marks in the band above the axis diverged. How to
    misread it: it shows one number of steps. A stalled stack may train later, often
    very much later. The depth axis is logarithmic, to keep shallow stacks apart.

    Args:
        log: Measured, predicted or both.

    Returns:
        A chart of log10 final loss by depth.

    Raises:
        ValueError: If `log` holds no run.
    """
    rows = rows_with_runs(log, "losses").assign(
        log10=lambda table: log10_of(table["loss"])
    )
    rows = rows[rows["step"] == rows.groupby("run")["step"].transform("max")]
    rows = rows.assign(line=rows["series"] + " " + rows["seed"].astype(str))
    depths = sorted(rows["depth"].unique().tolist())
    x = alt.X(
        "depth:Q",
        title="depth (number of layers)",
        scale=alt.Scale(
            type="log" if depths[0] > 0 else "linear", nice=False, padding=14
        ),
        axis=alt.Axis(values=depths, format="d", labelOverlap=True),
    )
    zero = log10_of(log.runs["loss_zero"]).replace([np.inf, -np.inf], np.nan).dropna()
    reference = (
        (float(zero.iloc[0]), "loss of answering 0")
        if len(zero) and zero.max() - zero.min() < 1e-3
        else None
    )
    chart = points_over_lines(
        rows, x, y="loss after the last step", view=LOSS_VIEW, reference=reference
    )
    told = titled(
        chart,
        f"Deepest stack that trains: {_deepest_trained(log.runs)}",
        legend_line(rows, f"After {listed(rows['step'].unique())} steps."),
        _final_loss_sentence(rows),
    )
    return sized(told, HEIGHT)


def gradient_by_depth(log: logs.GradientLog, step: int | None = None) -> Chart:
    """Draws the weight gradient of layer 1 against the depth of the stack.

    How to read it: a straight line is a size that changes by the same factor with
    every added layer, that is, exponentially. How to misread it: the horizontal axis
    is the depth of the whole stack, not the place of a layer in it; the subtitle says
    how far the layers of one stack differ. After training, a small gradient may also
    mean a stack that has learned.

    Args:
        log: Measured, predicted or both.
        step: The logged step to draw. Step 0 is before the first update. `None` for
            the first one in the log.

    Returns:
        A chart of log10 Frobenius norm of `dL/dW_1` by depth. Where layer 1 was not
        logged, the lowest layer that was stands for it.

    Raises:
        ValueError: If `log` holds no run or no weight gradient, or did not log `step`.
    """
    rows, step = rows_of_step(log, step)
    rows, chosen = largest_variable(rows_of_kind(rows, "weight_gradient"))
    lowest = rows.groupby(["origin", "run"])["layer"].transform("min")
    first = rows[rows["layer"] == lowest]
    first = first.assign(line=first["series"] + " " + first["seed"].astype(str))
    x = counted("depth:Q", "depth (number of layers)", padding=14)
    chart = points_over_lines(first, x, y="norm of ∂L/∂W", view=NORM_VIEW)
    spread = _layer_spread(rows)
    told = titled(
        chart,
        _gradient_title(first, step),
        legend_line(first, f"{_lowest(first)}, step {step}; {spread}. {chosen}"),
        _gradient_sentence(first, spread, step),
    )
    return sized(told, HEIGHT)


def _deepest_trained(runs: pd.DataFrame) -> str:
    trained = runs[runs["outcome"] == "trains"]
    deepest = (
        trained.groupby(series_names(trained))["depth"].max() if len(trained) else {}
    )
    return ", ".join(
        f"{f'L = {deepest[name]}' if name in deepest else 'none'} at {spoken([name])}"
        for name in in_order(series_names(runs))
    )


def _final_loss_sentence(rows: pd.DataFrame) -> str:
    return f"Loss after the last step. {_shallowest_and_deepest(rows)}."


def _gradient_sentence(first: pd.DataFrame, spread: str, step: int) -> str:
    where = _lowest(first)
    return (
        f"Norm of the weight gradient of {where[0].lower()}{where[1:]} at step {step}. "
        f"{_shallowest_and_deepest(first)}. In each stack {spread}."
    )


def _lowest(first: pd.DataFrame) -> str:
    if (first["layer"] == 1).all():
        return "Layer 1"
    return "The lowest logged layer"


def _shallowest_and_deepest(rows: pd.DataFrame) -> str:
    told = []
    for name, part in series_rows(rows):
        part = part.sort_values("depth").iloc[:: len(part) - 1 or 1]
        pairs = zip(value_texts(part), part["depth"], strict=True)
        ends = [f"{value} at depth {depth}" for value, depth in pairs]
        told.append(f"{spoken([name])}: {' and '.join(ends)}")
    return "; ".join(told)


def _gradient_title(first: pd.DataFrame, step: int) -> str:
    if step or first["depth"].nunique() == 1:
        where = _lowest(first)
        return (
            f"Weight gradient of {where[0].lower()}{where[1:]} at step {step}, by depth"
        )
    found: dict[str, list[str]] = {}
    for name, part in series_rows(first):
        part = part.sort_values("depth")["log10"].fillna(np.inf)
        found.setdefault(_change(part.iloc[0], part.iloc[-1]), []).append(name)
    told = [f"{change} at {spoken(names)}" for change, names in found.items()]
    return f"With depth the weight gradient {'; '.join(told)}"


def _change(first: float, last: float) -> str:
    if first == last == -np.inf:
        return "is exactly 0"
    if first == last or abs(last - first) < math.log10(2):
        return "keeps its size"
    return "vanishes" if last < first else "explodes"


def _layer_spread(rows: pd.DataFrame) -> str:
    """Says whether the layers of a stack have equal weight gradients, as found."""
    norms = rows.groupby(["origin", "run"])["log10_norm"]
    low, high = norms.min(), norms.max()
    differ = (high - low).where(high != low, 0.0).abs().max()
    if differ < 1e-3:
        return "it is equal in all layers"
    size = "Inf" if not math.isfinite(differ) else f"{differ:.2g}"
    return f"layers differ by up to {size} decades"
