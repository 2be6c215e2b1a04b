"""Charts by layer."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import logs
from vgkeras._text import ordinal, run_label, shortened
from vgkeras.charts.edge_bands import NORM_VIEW
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.rows import (
    KIND_LABELS,
    MOST_POINTS,
    MOST_ROLES,
    panel_values,
    rows_of_step,
    variable_roles,
)
from vgkeras.charts.style import Chart, count_axis, panels, titled
from vgkeras.charts.words import from_to, legend_line


def kinds_by_layer(log: logs.GradientLog, step: int | None = None) -> Chart:
    """Draws weight gradients, activations and their gradients, layer by layer.

    How to read it: follow one kind from layer 1 (next to the input) to the last layer.
    In a stack of equal square layers the weight gradient is flat, while activations
    and their gradients slope, in opposite directions. How to misread it: by the slope
    of the activations you cannot tell which layer's *weights* learn slowly. At most
    about 50 layers per kind are drawn as points; the dashed theory has them all. Where
    layers have kernels, biases and more, each has a colour and shape of its own.

    Args:
        log: One run, or a few (a panel each; at most 12): `log.select(depth=20)`.
        step: The logged step to draw. Step 0 is before the first update. `None` for
            the first one in the log.

    Returns:
        A chart of log10 Frobenius norm by layer, a colour and shape per kind.

    Raises:
        ValueError: If `log` holds no run or too many, or did not log `step`.
    """
    panel_values("runs", log.runs["run"])
    rows, step = rows_of_step(log, step)
    rows = rows.assign(line=rows["kind"].astype(str))
    runs = log.runs[log.runs["run"].isin(rows["run"])]
    return panels([_kinds_panel(run, rows, step) for run in runs.to_dict("records")])


def _kinds_panel(run: dict[str, Any], rows: pd.DataFrame, step: int) -> alt.LayerChart:
    rows = rows[rows["run"] == run["run"]]
    rows = rows.assign(series=_kind_series(rows))
    first, last = rows["layer"].min(), rows["layer"].max()
    stride = max(math.ceil(last / MOST_POINTS), 1)
    few = (rows["layer"] - 1) % stride == 0
    few |= (rows["origin"] == "theory") | (rows["layer"] == last)
    x = count_axis("layer:Q", "layer (1 = next to the input)")
    chart = points_over_lines(rows[few], x, y="norm", view=NORM_VIEW, key="kind")
    stride_words = f"Points: every {ordinal(stride)} layer." if stride > 1 else ""
    label = run_label(run)
    return titled(
        chart,
        f"{label}: {_kinds_title(rows)}",
        legend_line(rows, f"Step {step}.", stride_words),
        f"{label}, step {step}, from layer {first} to layer {last}: "
        f"{from_to(rows, 'layer')}.",
    )


def _kind_series(rows: pd.DataFrame) -> pd.Series:
    """The kinds by name; weight gradients apart by variable, if there are several."""
    labels = rows["kind"].astype("str").map(KIND_LABELS)
    weights = rows["kind"] == "weight_gradient"
    roles = variable_roles(rows[weights])
    frequent = roles.value_counts().index.tolist()
    if len(frequent) < 2:
        return labels
    names = {role: shortened(role) for role in frequent[:MOST_ROLES]}
    roles = roles.map(names).fillna("other variables")
    return labels.where(~weights, KIND_LABELS["weight_gradient"] + ", " + roles)


def _kinds_title(rows: pd.DataFrame) -> str:
    weights = rows[rows["kind"] == "weight_gradient"]
    others = rows[rows["kind"] != "weight_gradient"]
    if _slope(weights) < 1e-3 and _slope(others) > 0.1:
        return "weight gradients are flat, the others slope"
    kinds = list(dict.fromkeys(rows["kind"].astype("str")))
    if len(kinds) > 1:
        number = "three" if len(kinds) == 3 else "two"
        return f"{number} kinds of norm, layer by layer"
    return f"{KIND_LABELS[kinds[0]]}, layer by layer"


def _slope(rows: pd.DataFrame) -> float:
    """Largest change over the layers of a kind, in decades, among finite values."""
    finite = rows[np.isfinite(rows["log10"])]
    norms = finite.groupby(["origin", "series"])["log10"]
    return float((norms.max() - norms.min()).max()) if len(finite) else 0.0
