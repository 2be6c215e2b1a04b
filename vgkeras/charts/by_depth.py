"""Charts by depth of the stack."""

import math

import numpy as np
import pandas as pd

from vgkeras import logs, theory
from vgkeras._text import counted, decades, listed
from vgkeras.charts.edge_bands import LOSS_VIEW, NORM_VIEW
from vgkeras.charts.points import Level, points_over_lines
from vgkeras.charts.rows import (
    largest_variable,
    log10_of,
    origin_of,
    rows_of_kind,
    rows_of_step,
    rows_with_runs,
    series_names,
)
from vgkeras.charts.style import (
    HEIGHT,
    Chart,
    axes_height,
    depth_axis,
    every_depth,
    sized,
    titled,
)
from vgkeras.charts.words import (
    at_ends,
    in_order,
    is_number,
    legend_line,
    series_rows,
    spoken,
)

# A gradient is c^(L-1) times the error, and that holds c^L where c is above 1.
_LAWS = {1: "cᴸ⁻¹", 2: "c²ᴸ⁻¹"}


def final_loss_by_depth(log: logs.GradientLog, *, height: int = HEIGHT) -> Chart:
    """Draws the loss after the last step against the depth of the stack.

    How to read it: points below the lower grey line trained, unless they began there;
    points near the upper one answer no better than a network that always says 0; marks
    in the band above the axis diverged. How to
    misread it: it shows one number of steps. A stalled stack may train later, often
    very much later. Theory is drawn at every depth, measured or not.

    Args:
        log: Measured, predicted or both.
        height: Of the whole chart, in pixels.

    Returns:
        A chart of log10 final loss by depth.

    Raises:
        ValueError: If `log` holds no run.
    """
    rows = rows_with_runs(log, "losses")
    rows = rows[rows["step"] == rows.groupby("run")["step"].transform("max")]
    lines = _with_curves(rows, log)
    x = depth_axis(rows["depth"].tolist())
    y, levels = "loss after the last step", _levels(log.runs["loss_zero"])
    chart = titled(
        points_over_lines(
            lines, x, y=y, view=LOSS_VIEW, levels=levels, height=axes_height(height)
        ),
        f"Deepest that trains: {_deepest_words(log.runs)}",
        legend_line(rows, f"After {_steps_words(log.runs)}."),
        f"Loss after the last step. {at_ends(series_rows(rows), 'depth')}.",
    )
    return sized(chart, height)


def _steps_words(runs: pd.DataFrame) -> str:
    """Updates made: of a `fit`, one more than its last logged loss has seen."""
    *most, last = runs["steps"].unique().tolist()
    return listed([*(f"{steps:,}" for steps in most), counted(last, "step")])


def gradient_by_depth(log: logs.GradientLog, step: int | None = None) -> Chart:
    """Draws the weight gradient of layer 1 against the depth of the stack.

    How to read it: a line that bends away ever more is a norm that changes by the same
    factor with every added layer, that is, exponentially: on this axis of depth, twice
    as deep is the square of the factor. How to misread it: the horizontal axis
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
    rows, largest_words = largest_variable(rows_of_kind(rows, "weight_gradient"))
    lowest = rows.groupby(["origin", "run"])["layer"].transform("min")
    first = rows[rows["layer"] == lowest]
    lines = _with_curves(first, log, step)
    x = depth_axis(first["depth"].tolist())
    where = "layer 1" if (first["layer"] == 1).all() else "the lowest logged layer"
    spread = _layer_spread(rows)
    subtitle = f"{where.capitalize()}, step {step}; {spread}."
    law = _law_words(first) if step == 0 else ""
    chart = titled(
        points_over_lines(lines, x, y="norm of ∂L/∂W", view=NORM_VIEW),
        _gradient_title(first, step, where),
        legend_line(first, subtitle, law, largest_words),
        f"Norm of the weight gradient of {where} at step {step}. "
        f"{at_ends(series_rows(first), 'depth')}. In each stack {spread}. "
        f"{law}".rstrip(),
    )
    return sized(chart, HEIGHT)


def _with_curves(
    rows: pd.DataFrame, log: logs.GradientLog, step: int | None = None
) -> pd.DataFrame:
    """Adds theory between the depths of a log; where none is, nothing is joined."""
    rows = rows.assign(line=rows["run"].astype(str), between=False)
    if origin_of(log) != "theory" and log.theory is None:
        return rows
    curves = theory.curves_by_depth(log, every_depth(rows["depth"].tolist()), step)
    if curves.empty:
        return rows
    curves["log10"] = curves["log10_gradient"]
    if "loss" in rows:
        curves["log10"] = log10_of(curves["loss"])
    curves["series"] = [f"{scale:g}" for scale in curves["scale"]]
    curves = curves.assign(line=_starts(curves), own=False, origin="theory")
    runs = log.runs.assign(series=series_names(log.runs)).set_index("run")
    starts = rows["run"].map(_starts(runs))
    known = (rows["origin"] == "theory") & starts.isin(curves["line"])
    rows["line"] = rows["line"].mask(known, starts)
    at = pd.MultiIndex.from_frame(rows.loc[known, ["line", "depth"]])
    between = ~pd.MultiIndex.from_frame(curves[["line", "depth"]]).isin(at)
    columns = [name for name in curves if name in rows]
    curves = curves.loc[between, columns].assign(between=True)
    return pd.concat([rows, curves], ignore_index=True)


def _starts(rows: pd.DataFrame) -> pd.Series:
    return rows["series"] + " " + rows["seed"].astype(str)


def _levels(losses: pd.Series) -> list[Level]:
    """The loss of answering 0, and what of it a run that trains may have left.

    None, if it is not a number and the same for all runs.
    """
    zero = np.log10(losses[(losses > 0) & (losses < np.inf)].astype("float64"))
    if not len(zero) or zero.max() - zero.min() > 1e-3:
        return []
    of_it = float(zero.iloc[0]) + math.log10(theory.LEARNED)
    return [
        Level(float(zero.iloc[0]), "loss of answering 0"),
        Level(of_it, f"{theory.LEARNED:.0%} of it", at_end=True, below=True),
    ]


def _deepest_words(runs: pd.DataFrame) -> str:
    training = runs[runs["outcome"] == "trains"]
    deepest = dict(training.groupby(series_names(training))["depth"].max())
    names = in_order(series_names(runs))
    words = [f"{deepest[c]} layers at {spoken([c])}" for c in names if c in deepest]
    others = [name for name in names if name not in deepest]
    return ", ".join([*words, *([f"none at {spoken(others)}"] if others else [])])


def _gradient_title(first: pd.DataFrame, step: int, where: str) -> str:
    if step or first["depth"].nunique() == 1:
        return f"Weight gradient of {where} at step {step}, by depth"
    changes: dict[str, list[str]] = {}
    for name, part in series_rows(first):
        part = part.sort_values("depth")["log10"].fillna(np.inf)
        changes.setdefault(_change(part.iloc[0], part.iloc[-1]), []).append(name)
    words = [f"{change} at {spoken(names)}" for change, names in changes.items()]
    return f"Weight gradient: {'; '.join(words)}"


def _law_words(first: pd.DataFrame) -> str:
    """The power of c that the two deepest gradients of each scale differ by."""
    laws: dict[str, list[str]] = {}
    for name, part in series_rows(first):
        part = part[np.isfinite(part["log10"])]
        ends = part.drop_duplicates("depth").sort_values("depth").iloc[-2:]
        depths, norms = ends["depth"].to_numpy(), ends["log10"].to_numpy()
        factor = abs(float(name)) if is_number(name) else 1.0
        if len(ends) < 2 or factor in (0, 1):
            continue
        share = np.diff(norms)[0] / np.diff(depths)[0] / math.log10(factor)
        law = next((law for p, law in _LAWS.items() if abs(share - p) < 0.02), "")
        laws.setdefault(law, []).append(name)
    laws.pop("", None)
    words = [f"like {law} at {spoken(names)}" for law, names in laws.items()]
    return f"It goes {', '.join(words)}." if words else ""


def _change(first: float, last: float) -> str:
    if first == last == -np.inf:
        return "is exactly 0"
    if first == last or abs(last - first) < math.log10(2):
        return "keeps its norm"
    return "vanishes" if last < first else "explodes"


def _layer_spread(rows: pd.DataFrame) -> str:
    """Whether the layers of a stack have equal weight gradients, in words."""
    norms = rows.groupby(["origin", "run"])["log10_norm"]
    low, high = norms.min(), norms.max()
    differ = (high - low).where(high != low, 0.0).abs().max()
    if math.isnan(differ):
        return "no layer has a gradient"
    if differ < 1e-3:
        return "it is equal in all layers"
    return f"layers differ by up to {decades(differ)}"
