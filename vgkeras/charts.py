"""Charts of a gradient log, each named what by what; no TensorFlow.

One grammar for all: points are measured, dashed lines are theory, and every size is
drawn as its base-10 logarithm. A value that has no place on such an axis (exactly 0,
Inf, NaN, or far outside the drawn range) becomes a flagged mark in a band at the edge,
and so does a variable that has no gradient. Where a layer has several variables, kernel
and bias are never mixed: either they differ in colour and shape, or the largest one of
each layer is drawn, and the subtitle says so. Every chart carries a sentence with its
numbers: `description(chart)`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _looks, logs
from vgkeras._checks import check_option
from vgkeras.floats import Limits

Chart = alt.LayerChart | alt.ConcatChart

HEIGHT = 520  # pixels of a chart with its title, axes and legend
KIND_LABELS = {
    "weight_gradient": "weight gradient ∂L/∂W",
    "activation": "activation a",
    "activation_gradient": "activation gradient ∂L/∂a",
}
_NONE, _NEGATIVE = "no gradient", "negative"
_FLAG_SHAPES = {
    _looks.ZERO: "triangle-down",
    _NONE: "M-1,-0.25H1V0.25H-1Z",
    _NEGATIVE: "M-1,-0.8H1L0,0.2ZM-1,0.5H1V0.9H-1Z",
    _looks.NONFINITE: "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4"
    "L-0.6,1L-1,0.6L-0.4,0Z",
    "above": "M0,-1L0.9,0.1H0.3V1H-0.3V0.1H-0.9Z",
    "below": "M0,1L0.9,-0.1H0.3V-1H-0.3V-0.1H-0.9Z",
}
_MODE_SHAPES = {
    "frozen": "square",
    "blind": "diamond",
    "subnormal": "triangle-down",
    "zero": "circle",
    "inf": "triangle-up",
}
# Decades that are drawn; one diverging run at 1e150 must not flatten the others.
_LOSS_VIEW = (-12.0, 12.0)
_NORM_VIEW = (-60.0, 60.0)
_MOST_POINTS, _MOST_CELLS, _MOST_PANELS = 50, 4000, 12
_MOST_LINES, _MOST_ROLES, _MOST_NAMED = 6, 5, 20
_MOST_LETTERS = 40  # of a name


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
    rows = _rows(log, "losses").assign(log10=lambda table: _log10(table["loss"]))
    rows = rows.assign(line=rows["run"].astype(str))
    depths = _panel_values("depths", rows["depth"])
    runs = log.runs
    return _panels([_loss_panel(runs[runs["depth"] == d], rows) for d in depths])


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
    rows = _rows(log, "losses").assign(log10=lambda table: _log10(table["loss"]))
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
    zero = _log10(log.runs["loss_zero"]).replace([np.inf, -np.inf], np.nan).dropna()
    reference = (
        (float(zero.iloc[0]), "loss of answering 0")
        if len(zero) and zero.max() - zero.min() < 1e-3
        else None
    )
    chart = _points_over_lines(
        rows, x, y="loss after the last step", view=_LOSS_VIEW, reference=reference
    )
    told = _looks.titled(
        chart,
        f"Deepest stack that trains: {_deepest_trained(log.runs)}",
        _legend_line(rows, f"After {_listed(rows['step'].unique())} steps."),
        _final_loss_sentence(rows),
    )
    return _looks.sized(told, HEIGHT)


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
    rows, step = _layer_rows(log, step)
    rows, chosen = _largest(_of_kind(rows, "weight_gradient"))
    lowest = rows.groupby(["origin", "run"])["layer"].transform("min")
    first = rows[rows["layer"] == lowest]
    first = first.assign(line=first["series"] + " " + first["seed"].astype(str))
    x = _looks.counted("depth:Q", "depth (number of layers)", padding=14)
    chart = _points_over_lines(first, x, y="norm of ∂L/∂W", view=_NORM_VIEW)
    spread = _layer_spread(rows)
    told = _looks.titled(
        chart,
        _gradient_title(first, step),
        _legend_line(first, f"{_lowest(first)}, step {step}; {spread}. {chosen}"),
        _gradient_sentence(first, spread, step),
    )
    return _looks.sized(told, HEIGHT)


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
    _panel_values("runs", log.runs["run"])
    rows, step = _layer_rows(log, step)
    rows = rows.assign(line=rows["kind"].astype(str))
    runs = log.runs[log.runs["run"].isin(rows["run"])]
    return _panels([_kinds_panel(run, rows, step) for run in runs.itertuples()])


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
    run = _only_run(log)
    rows, chosen = _largest(_of_kind(_rows(log, "layers"), "weight_gradient"))
    drawn, thinned = _logged_steps(rows)
    drawn = _lines_of_layers(drawn)
    x = _looks.counted("step:Q", "training step")
    told = _looks.titled(
        _points_over_lines(drawn, x, y="norm of ∂L/∂W", view=_NORM_VIEW, key="layer"),
        f"{_run_label(run)}: weight gradient by step",
        _legend_line(drawn, f"{thinned} {chosen}".strip()),
        _steps_sentence(drawn, run),
    )
    return _looks.sized(told, HEIGHT)


def gradient_by_layer_and_step(
    log: logs.GradientLog, kind: str = "weight_gradient", variable: str | None = None
) -> Chart:
    """Draws one run as a heat map: every layer at every logged step.

    How to read it: columns of one colour mean that all layers agree; change from left
    to right is training. How to misread it: the colours span many decades, so a small
    change of colour is a large factor. Steps and layers are thinned to at most 4,000
    cells; cells are picked, never averaged, and the subtitle says which.

    Args:
        log: Exactly one run: `log.select(scale=0.9, depth=20)`.
        kind: One of `vgkeras.logs.KINDS`.
        variable: Draw the variables whose path ends in this name, e.g. `"bias"`.
            `None` draws the largest variable of each layer.

    Returns:
        A chart of log10 Frobenius norm (colour) by layer and step. Zeros, non-finite
        values and missing gradients have colours of their own, outside the scale.

    Raises:
        ValueError: If `log` does not hold exactly one run, `kind` is unknown or was
            not logged, or no `variable` has that name.
    """
    check_option("kind", kind, logs.KINDS)
    run = _only_run(log)
    rows = _rows(log, "layers")
    rows = _of_kind(rows[rows["origin"] == _origin(log)], kind)
    if variable is not None:
        rows = _named(rows, variable)
    rows, chosen = _largest(rows)
    cells, thinned = _cells(rows)
    what = KIND_LABELS[kind] + (f" ({variable})" if variable else "")
    told = _looks.titled(
        _heat_map(_flagged(cells, _NORM_VIEW)),
        f"{_run_label(run)}: {what} by layer and step",
        f"{thinned} {chosen}".strip(),
        _heat_sentence(rows, what, run),
    )
    return _looks.sized(told, HEIGHT)


def failure_by_depth_and_format(found: Sequence[Limits], depth: int) -> alt.LayerChart:
    """Draws the first depth at which each quantity fails, format by format.

    How to read it: left of the line is what has failed in a stack of `depth` layers.
    How to misread it: as a matter of exponents alone. The digits run out first.

    Args:
        found: What `vgkeras.floats.limits` returns, once for each number format.
        depth: Number of layers of the stack in question.

    Returns:
        A chart with a mark per format, quantity and mode; a quantity that does not
        fail has none.

    Raises:
        ValueError: If `found` is empty.
    """
    if not found:
        raise ValueError("`found` must not be empty. Received: found=[].")
    rows = pd.DataFrame(
        [
            (limits.dtype, row.quantity.replace("_", " "), row.mode, row.depth)
            for limits in found
            for row in limits.rows
            if row.depth is not None
        ],
        columns=["format", "quantity", "mode", "depth"],
    )
    deepest = alt.Scale(type="log", domain=[1, max(limits.deepest for limits in found)])
    x = alt.X("depth:Q", title="first depth that fails (log scale)", scale=deepest)
    order = [limits.dtype for limits in found]
    modes, shapes = list(_MODE_SHAPES), list(_MODE_SHAPES.values())
    legend = alt.Legend(orient="bottom", columns=3, title="what happens")
    colors = _looks.COLORS[: len(modes)]
    marks = alt.Chart(rows).mark_point(size=70, strokeWidth=2)
    marks = marks.encode(
        x,
        alt.Y("format:N", title=None, sort=order, scale=alt.Scale(domain=order)),
        alt.YOffset("mode:N", scale=alt.Scale(domain=modes)),
        *_looks.paired("mode:N", modes, colors, shapes, legend),
        tooltip=["format", "quantity", "mode", "depth"],
    )
    level = alt.Chart(pd.DataFrame({"depth": [depth]}))
    line = level.mark_rule(color=_looks.GREY, strokeWidth=2).encode(x)
    said = [_format_sentence(rows[rows["format"] == dtype], dtype) for dtype in order]
    return _looks.titled(
        _looks.sized(alt.LayerChart(layer=[line, marks]), HEIGHT),
        f"Scale {found[0].scale:g}: {_failed_told(rows, depth)}",
        f"The line: depth {depth}.",
        " ".join(said),
    )


def variables(log: logs.GradientLog) -> list[str]:
    """Returns what the variables of a log are called within their layers.

    Args:
        log: Measured, predicted or both.

    Returns:
        The last parts of the names of all variables with a weight gradient, e.g.
        `["kernel", "bias"]`: the most frequent first, then in the order of the log.
    """
    rows = log.layers[log.layers["kind"] == "weight_gradient"]
    return _roles(rows).value_counts(sort=True).index.tolist() if len(rows) else []


def description(chart: Chart) -> str:
    """Returns the sentence, with numbers, that says what a chart of ours shows.

    Use it as the text alternative: `st.altair_chart(chart, alt=description(chart))`.

    Args:
        chart: A chart from this module.

    Returns:
        The chart's Vega-Lite `description`.

    Raises:
        ValueError: If the chart has none.
    """
    if not isinstance(chart.description, str):
        raise ValueError(
            "`chart` must carry a description. "
            f"Received: {type(chart).__name__} without one. "
            "Use a chart from `vgkeras.charts`."
        )
    return chart.description


# --- Panels ------------------------------------------------------------------------


def _loss_panel(runs: pd.DataFrame, rows: pd.DataFrame) -> alt.LayerChart:
    rows = rows[rows["run"].isin(runs["run"])]
    drawn = _thinned_steps(rows)
    x = _looks.counted("step:Q", "training step")
    chart = _points_over_lines(drawn, x, y="loss", view=_LOSS_VIEW)
    depth = int(runs["depth"].iloc[0])
    every = int(drawn["stride"].max())
    thinned = f"Every {_ordinal(every)} step drawn." if every > 1 else ""
    return _looks.titled(
        chart,
        f"Depth {depth}: {_by_verdict(runs)}",
        _legend_line(rows, thinned),
        _loss_sentence(rows, depth),
    )


def _failed_told(rows: pd.DataFrame, depth: int) -> str:
    failed = rows.loc[rows["depth"] <= depth, "format"].unique().tolist()
    if not failed:
        return f"at depth {depth} no format has failed"
    return f"at depth {depth} something has failed in {_spoken(failed)}"


def _format_sentence(rows: pd.DataFrame, dtype: str) -> str:
    if rows.empty:
        return f"In {dtype} nothing fails."
    first = rows.sort_values("depth").iloc[0]
    told = {"inf": "overflows", "zero": "is exactly 0", "blind": "is rounded away"}
    verb = told.get(first["mode"], f"is {first['mode']}")
    return (
        f"In {dtype} the {first['quantity']} {verb} first, at depth {first['depth']}."
    )


def _kinds_panel(run: Any, rows: pd.DataFrame, step: int) -> alt.LayerChart:
    rows = rows[rows["run"] == run.run]
    rows = rows.assign(series=_kind_series(rows))
    last = rows["layer"].max()
    stride = max(math.ceil(last / _MOST_POINTS), 1)
    kept = (rows["layer"] - 1) % stride == 0
    kept |= (rows["origin"] == "theory") | (rows["layer"] == last)
    x = _looks.counted("layer:Q", "layer (1 = next to the input)")
    chart = _points_over_lines(rows[kept], x, y="norm", view=_NORM_VIEW, key="kind")
    thinned = f"Points: every {_ordinal(stride)} layer." if stride > 1 else ""
    return _looks.titled(
        chart,
        _kinds_title(run, rows),
        _legend_line(rows, f"Step {step}. {thinned}".strip()),
        _kinds_sentence(run, rows, step),
    )


def _panels(charts: list[alt.LayerChart]) -> Chart:
    """One chart as it is; several side by side, told in one breath."""
    if len(charts) == 1:
        return _looks.sized(charts[0], HEIGHT)
    told = " ".join(description(chart) for chart in charts)
    sized = [chart.properties(width=260, height=180) for chart in charts]
    chart = alt.concat(*sized, columns=3).properties(description=told)
    return chart.resolve_scale(color="independent", shape="independent")


# --- Rows to draw ------------------------------------------------------------------


def _rows(log: logs.GradientLog, table: str, step: int | None = None) -> pd.DataFrame:
    """A table of the log, or a step of it, with its runs; measured before theory."""
    if log.runs.empty:
        raise ValueError(
            "`log` must hold at least one run. Received: log=<GradientLog: 0 runs>."
        )
    parts = [_with_runs(log, table, _origin(log), step)]
    if log.theory is not None:
        parts.append(_with_runs(log.theory, table, "theory", step))
    rows = pd.concat(parts, ignore_index=True)
    if rows.empty:
        raise ValueError(f"`log` must hold {table} of its runs. Received: none.")
    if table == "layers":
        rows["log10"] = rows["log10_norm"]
    return rows


def _origin(log: logs.GradientLog) -> str:
    return "theory" if log.metadata.get("origin") == "theory" else "measured"


def _with_runs(
    log: logs.GradientLog, table: str, origin: str, step: int | None
) -> pd.DataFrame:
    rows = getattr(log, table)
    if step is not None:  # before the tables are joined: a log has many steps
        rows = rows[rows["step"] == step]
    runs = log.runs
    at = pd.Index(runs["run"]).get_indexer(rows["run"])
    rows, at = rows[at >= 0], at[at >= 0]
    return rows.assign(
        depth=runs["depth"].to_numpy()[at],
        seed=runs["seed"].to_numpy()[at],
        series=_series(runs).array[at],
        own=runs["scale"].isna().to_numpy()[at],
        origin=origin,
    )


def _series(runs: pd.DataFrame) -> pd.Series:
    """What a colour stands for: the scale, else the initializer, else the run."""
    columns = (runs[name].tolist() for name in ("run", "scale", "initializer"))
    names = [
        _start(run, initializer) if pd.isna(scale) else f"{scale:g}"
        for run, scale, initializer in zip(*columns, strict=True)
    ]
    return pd.Series(names, index=runs.index, dtype="str")


def _start(run: int, initializer: str) -> str:
    """What a run without a scale is called."""
    return _cut(str(initializer)) if initializer else f"run {run}"


def _only_run(log: logs.GradientLog) -> Any:
    if len(log.runs) != 1:
        raise ValueError(
            f"`log` must hold exactly one run. Received: {len(log.runs)} runs. "
            "Choose one, e.g. `log.select(scale=0.9, depth=20)`."
        )
    return next(log.runs.itertuples())


def _layer_rows(log: logs.GradientLog, step: int | None) -> tuple[pd.DataFrame, int]:
    """The rows of one logged step, and which step that is."""
    tables = [log.layers] if log.theory is None else [log.layers, log.theory.layers]
    logged = sorted(set().union(*(table["step"].unique().tolist() for table in tables)))
    if step is None:
        step = logged[0] if logged else 0
    if logged and step not in logged:
        told = ", ".join(map(str, logged[:8])) + (", ..." if len(logged) > 8 else "")
        raise ValueError(
            f"`step` must be a logged step, one of {told}. Received: step={step!r}."
        )
    return _rows(log, "layers", step), step


def _of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    found = rows[rows["kind"] == kind]
    if found.empty:
        raise ValueError(
            f"`log` must hold layers of the kind {kind!r}. "
            f"Received: only {_listed(rows['kind'].unique()) or 'none'}."
        )
    return found


def _roles(rows: pd.DataFrame) -> pd.Series:
    """`kernel` of `dense_1/kernel`: what a variable is to its layer."""
    names = rows["name"].astype("category")
    parts = {name: str(name).rsplit("/", 1)[-1] for name in names.cat.categories}
    return names.astype("str").map(parts)


def _named(rows: pd.DataFrame, variable: str) -> pd.DataFrame:
    found = rows[_roles(rows) == variable]
    if found.empty:
        known = list(dict.fromkeys(_roles(rows)))
        raise ValueError(
            f"`variable` must be one of {_listed(map(repr, known[:8]))}. "
            f"Received: variable={variable!r}."
        )
    return found


def _largest(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A row per layer and step, of its largest variable, and words if others are out.

    The first one of a layer counts as the largest where sizes are not known.
    """
    within = ["origin", "run", "layer"]
    names = rows.drop_duplicates([*within, "name"])
    one_each = not names.duplicated(within).any()
    if one_each and not rows.duplicated([*within, "step"]).any():
        return rows, ""
    if "size" in names:
        names = names.sort_values("size", ascending=False, kind="stable")
    first = names.drop_duplicates(within)[[*within, "name"]]
    kept = rows.merge(first, on=[*within, "name"])
    kept = kept.drop_duplicates([*within, "step"])
    if len(kept) == len(rows):
        return rows, ""
    return kept, "Of several tensors in a layer the largest is drawn."


def _kind_series(rows: pd.DataFrame) -> pd.Series:
    """The kinds by name; weight gradients apart by variable, if there are several."""
    labels = rows["kind"].astype("str").map(KIND_LABELS)
    weights = rows["kind"] == "weight_gradient"
    roles = _roles(rows[weights])
    frequent = roles.value_counts().index.tolist()
    if len(frequent) < 2:
        return labels
    known = set(frequent[:_MOST_ROLES])
    roles = roles.map(lambda role: _cut(role) if role in known else "other variables")
    return labels.where(~weights, KIND_LABELS["weight_gradient"] + ", " + roles)


def _logged_steps(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of about 50 logged steps, the last among them, and words on it."""
    parts, stride = [], 1
    for _, part in rows.groupby("origin", sort=False):
        steps = sorted(part["step"].unique().tolist())
        every = math.ceil(len(steps) / _MOST_POINTS)
        parts.append(part[part["step"].isin({*steps[::every], steps[-1]})])
        stride = max(stride, every)
    told = f"Every {_ordinal(stride)} logged step drawn." if stride > 1 else ""
    return pd.concat(parts), told


def _lines_of_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """A series per layer or, of many layers, the smallest, middle and largest norm."""
    layers = rows["layer"].nunique()
    if layers <= _MOST_LINES:
        names = [_layer_label(row) for row in rows.itertuples()]
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


def _layer_label(row: Any, most: int = _MOST_LETTERS) -> str:
    """`2 dense_1`: the number of a layer and, of a model of one's own, its name."""
    owner = str(row.name).rpartition("/")[0] or str(row.name)
    return f"{row.layer} {_cut(owner, most)}" if row.own else f"layer {row.layer}"


def _panel_values(what: str, values: Iterable[Any]) -> list[Any]:
    unique = sorted(set(values))
    if len(unique) > _MOST_PANELS:
        raise ValueError(
            f"`log` must hold at most {_MOST_PANELS} {what}. "
            f"Received: {len(unique)} {what}. Choose some with `log.select(...)`."
        )
    return unique


def _thinned_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """About 50 steps a run: evenly spaced, the last, and those next to trouble."""
    rows = rows.sort_values(["origin", "run", "step"])
    by_run = rows.groupby(["origin", "run"])
    last = by_run["step"].transform("max")
    stride = np.ceil(last / _MOST_POINTS).clip(lower=1).astype(int)
    off = ~rows["log10"].between(*_LOSS_VIEW)
    first_off = off & (off.groupby([rows["origin"], rows["run"]]).cumsum() == 1)
    before = first_off.groupby([rows["origin"], rows["run"]]).shift(
        -1, fill_value=False
    )
    kept = (rows["step"] % stride == 0) | (rows["step"] == last) | first_off | before
    return rows.assign(stride=stride)[kept]


def _cells(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most 4,000 cells with their edges, and words on what was left out."""
    steps, layers = sorted(rows["step"].unique()), sorted(rows["layer"].unique())
    excess = len(steps) * len(layers) / _MOST_CELLS
    every_step = min(math.ceil(excess), math.ceil(len(steps) / 50)) if excess > 1 else 1
    every_layer = max(math.ceil(excess / every_step), 1)
    steps, layers = steps[::every_step], layers[::every_layer]
    ends = (
        dict(zip(steps, [*steps[1:], 2 * steps[-1] - steps[-2]], strict=True))
        if (len(steps) > 1)
        else {steps[0]: steps[0] + 1}
    )
    kept = rows[rows["step"].isin(steps) & rows["layer"].isin(layers)]
    cells = kept.assign(
        step_end=kept["step"].map(ends),
        bottom=kept["layer"] - 0.5,
        # A little overlap: seams between cells would look like data.
        top=kept["layer"] - 0.5 + 1.05 * every_layer,
    )
    told = [f"{len(steps)} steps", f"{len(layers)} layers"]
    if every_step > 1:
        told[0] = f"every {_ordinal(every_step)} logged step"
    if every_layer > 1:
        told[1] = f"every {_ordinal(every_layer)} layer"
    return cells, f"Drawn: {' and '.join(told)}; nothing averaged."


# --- Values that have no place on a log axis -----------------------------------------


def _log10(values: pd.Series) -> pd.Series:
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(np.log10(values.to_numpy("float64")), index=values.index)


def _flagged(rows: pd.DataFrame, view: tuple[float, float]) -> pd.DataFrame:
    """Adds `flag`: empty for values on the axis, else why they are not; and `value`.

    NaN among losses is a number that got lost; among norms, that there is no tensor:
    the loss does not depend on that variable.
    """
    # A number at a time: for the few rows of a chart, columns of texts take longer.
    sizes = _sizes(rows)
    flag = pd.Series([_flag(*size, view) for size in sizes], rows.index, dtype="str")
    return rows.assign(flag=flag, value=[_value(*size) for size in sizes])


def _sizes(rows: pd.DataFrame) -> list[tuple[float, float | None]]:
    """The logarithm of each row and, of losses, the loss itself."""
    losses = rows["loss"].tolist() if "loss" in rows else [None] * len(rows)
    return list(zip(rows["log10"].tolist(), losses, strict=True))


def _flag(log10: float, loss: float | None, view: tuple[float, float]) -> str:
    low, high = view
    if loss is not None and loss < 0:
        return _NEGATIVE
    if math.isnan(log10):
        return _NONE if loss is None else _looks.NONFINITE
    if math.isinf(log10):
        return _looks.NONFINITE if log10 > 0 else _looks.ZERO
    if low <= log10 <= high:
        return ""
    return f"above {_power(high)}" if log10 > high else f"below {_power(low)}"


def _value(log10: float, loss: float | None) -> str:
    """The size in words: what it is, or why it has no place on the axis."""
    if loss is not None and loss < 0:
        return f"{loss:.3g}"
    return _NONE if loss is None and math.isnan(log10) else _looks.number(log10)


def _values(rows: pd.DataFrame) -> list[str]:
    return [_value(*size) for size in _sizes(rows)]


def _is_above(flag: str) -> bool:
    return flag.startswith(("above", _looks.NONFINITE))


class _Decades:
    """The vertical axis: whole decades, and a band at each edge for flagged marks."""

    def __init__(self, rows: pd.DataFrame, reference: float | None) -> None:
        columns = (rows[name].tolist() for name in ("log10", "flag", "series"))
        marks = list(zip(*columns, strict=True))
        inside = [log10 for log10, flag, _ in marks if not flag]
        inside += [reference] if reference is not None else []
        self.low = math.floor(min(inside, default=-1.0) + 1e-9)
        self.high = max(math.ceil(max(inside, default=0.0) - 1e-9), self.low + 1)
        off = [(flag, series) for _, flag, series in marks if flag]
        self.above = sorted({series for flag, series in off if _is_above(flag)})
        self.below = sorted({series for flag, series in off if not _is_above(flag)})
        self.lane = (self.high - self.low) / 14

    def domain(self) -> list[float]:
        below = (len(self.below) + 0.5) * self.lane if self.below else 0.0
        above = (len(self.above) + 0.5) * self.lane if self.above else 0.0
        return [self.low - below - self.lane / 3, self.high + above + self.lane / 3]

    def place(self, log10: float, flag: str, series: str) -> float:
        """Where a row is drawn: its value, or its series' lane in a band."""
        if not flag:
            return log10
        if _is_above(flag):
            return self.high + (self.above.index(series) + 1) * self.lane
        return self.low - (self.below.index(series) + 1) * self.lane

    def edges(self) -> pd.DataFrame:
        at = [self.high] * bool(self.above) + [self.low] * bool(self.below)
        return pd.DataFrame({"y": at}, dtype="float64")

    def axis(self) -> alt.Axis:
        span = self.high - self.low
        width = next((w for w in (1, 2, 5, 10, 20, 50) if span / w <= 7), 100)
        first = math.ceil(self.low / width) * width
        ticks = list(range(first, self.high + 1, width))
        names = {tick: _power(tick) for tick in ticks}
        return alt.Axis(values=ticks, labelExpr=_labels(names))


# --- Marks ---------------------------------------------------------------------------


def _points_over_lines(
    rows: pd.DataFrame,
    x: alt.X,
    *,
    y: str,
    view: tuple[float, float],
    key: str = "",
    reference: tuple[float, str] | None = None,
) -> alt.LayerChart:
    """Measured points over dashed theory, flagged marks in bands at the edges."""
    rows = _flagged(rows, view)
    decades = _Decades(rows, reference[0] if reference else None)
    drawn = (rows[name].tolist() for name in ("log10", "flag", "series"))
    rows = rows.assign(y=[decades.place(*row) for row in zip(*drawn, strict=True)])
    across = x.shorthand.split(":")[0]
    key = key or ("scale" if any(map(_is_number, rows["series"])) else "run")
    rows, names = _with_names(rows, across)
    rows = rows[[across, "y", "series", "line", "origin", "flag", "value", *names]]
    rows = rows.sort_values(across, kind="stable")
    scale = alt.Scale(domain=decades.domain(), nice=False, zero=False)
    encoding = {
        "x": x,
        "y": alt.Y("y:Q", title=f"{y} (log scale)", scale=scale, axis=decades.axis()),
        "tooltip": [
            alt.Tooltip("series:N", title=key),
            alt.Tooltip(f"{across}:Q"),
            *names,
            alt.Tooltip("value:N"),
            alt.Tooltip("origin:N"),
        ],
        **_appearance(rows, key),
    }
    chart = alt.LayerChart()
    # As an attribute: the constructor would copy each layer twice, in search of data
    # and parameters that all layers share.
    chart.layer = [*_rules(decades, reference), *_marks(rows, encoding)]
    return chart


def _with_names(rows: pd.DataFrame, across: str) -> tuple[pd.DataFrame, list[str]]:
    """Layers and names for the tooltips, where they say more than the series."""
    if "name" not in rows or not rows["own"].any():
        return rows, []
    names = [_cut(str(name), _MOST_LETTERS * 2) for name in rows["name"]]
    fields = [field for field in ("layer", "name") if field != across]
    return rows.assign(name=names), fields


def _marks(rows: pd.DataFrame, encoding: dict[str, Any]) -> Iterator[alt.Chart]:
    theory, on = rows["origin"] == "theory", rows["flag"] == ""
    plain = {name: encoding[name] for name in ("x", "y", "color", "tooltip")}
    # A null breaks the line where a value is off the axis, instead of bridging it.
    lines = rows[theory].assign(y=rows.loc[theory, "y"].where(on[theory]))
    line = alt.Chart(lines).mark_line(strokeDash=[6, 4], strokeWidth=1.8)
    yield line.encode(**plain, detail=alt.Detail("line:N"))
    alone = lines[_isolated(lines)]
    if len(alone):
        dash = alt.Chart(alone).mark_tick(orient="horizontal", size=16, thickness=1.8)
        yield dash.encode(**plain)
    # Open shapes of different outline stay visible where they coincide.
    points = alt.Chart(rows[~theory & on]).mark_point(size=50, strokeWidth=1.8)
    yield points.encode(**encoding)
    for (flag, origin), flagged in rows[~on].groupby(["flag", "origin"]):
        shape = _flag_shape(flag)
        measured = origin == "measured"
        marks = alt.Chart(flagged).mark_point(
            shape=shape, filled=measured, size=70 if measured else 110, opacity=0.8
        )
        yield marks.encode(**plain)


def _isolated(lines: pd.DataFrame) -> pd.Series:
    """Values without a neighbour on their line, which draws nothing of them."""
    on = lines["y"].notna()
    by_line = on.groupby(lines["line"])
    before, after = (by_line.shift(n, fill_value=False) for n in (1, -1))
    return on & ~before & ~after


def _flag_shape(flag: str) -> str:
    return _FLAG_SHAPES.get(flag) or _FLAG_SHAPES[flag.split()[0]]


def _appearance(rows: pd.DataFrame, key: str) -> dict[str, Any]:
    """Colour and shape per series; the flags that occur join the same legend."""
    if key == "kind":
        places = _places_of_kinds(rows["series"])
    else:
        places = {name: i for i, name in enumerate(_in_order(rows["series"]))}
    flags = _in_order(rows.loc[rows["flag"] != "", "flag"])
    # Side by side, long names would be cut off on a phone.
    columns = 1 if max(map(len, places), default=0) > 14 else 3
    title = "scale c" if key == "scale" else key
    legend = alt.Legend(orient="bottom", columns=columns, title=title, symbolOpacity=1)
    legend.labelLimit = 320
    shapes = {flag: _flag_shape(flag) for flag in flags}
    color, shape = _looks.by_series("series:N", places, shapes, legend)
    return {"color": color, "shape": shape}


def _places_of_kinds(series: pd.Series) -> dict[str, int]:
    """The kinds that occur, in order, and the places of their colours and shapes.

    A kind never has the colour of a scale; the further variables of weight gradients
    have colours that no kind has.
    """
    places: dict[str, int] = {}
    further = 2 * len(_looks.COLORS)
    for place, label in enumerate(KIND_LABELS.values(), 3):
        for name in dict.fromkeys(series):
            if name == label or name.startswith(f"{label}, "):
                first = not any(taken.startswith(label) for taken in places)
                places[name] = place if first else further
                further += not first
    return places


def _rules(
    decades: _Decades, reference: tuple[float, str] | None
) -> Iterable[alt.Chart]:
    """Thin lines: where a band begins, and a level to compare with."""
    edges, y = decades.edges(), alt.Y("y:Q")
    if len(edges):
        yield alt.Chart(edges).mark_rule(color=_looks.GREY, opacity=0.6).encode(y=y)
    if reference is not None:
        level = alt.Chart(pd.DataFrame({"y": [reference[0]], "label": [reference[1]]}))
        yield level.mark_rule(color=_looks.GREY, strokeWidth=1.5).encode(y=y)
        yield level.mark_text(color=_looks.GREY, align="left", dx=4, dy=-6).encode(
            x=alt.XValue(0), y=y, text=alt.Text("label:N")
        )


def _heat_map(cells: pd.DataFrame) -> alt.LayerChart:
    """Cells on the colour scale, and flagged cells in colours outside of it."""
    cells, names = _with_names(cells, "layer")
    fields = ["step", "step_end", "bottom", "top", "layer", "log10", "flag", "value"]
    on, off = cells["flag"] == "", cells["flag"] != ""
    bottom, top = cells["bottom"].min(), cells["top"].max()
    drawn = sorted(cells["step"].unique().tolist())
    steps = (
        alt.Axis(values=drawn, labelOverlap=True) if len(drawn) <= 50 else _looks.COUNTS
    )
    numbers = cells[[*fields, *names]].assign(log10=cells["log10"].where(on))
    base = alt.Chart(numbers).encode(
        alt.X("step:Q", title="training step", scale=alt.Scale(nice=False), axis=steps),
        alt.Y(
            "bottom:Q",
            title="layer (1 = next to the input)",
            scale=alt.Scale(domain=[bottom, top], nice=False, zero=False),
            axis=_layer_axis(cells),
        ),
        x2=alt.X2("step_end:Q"),
        y2=alt.Y2("top:Q"),
        tooltip=[alt.Tooltip(f) for f in ("step:Q", "layer:Q", *names, "value:N")],
    )
    layers = [_colored(base, cells[on])] if on.any() else []
    layers += [_colored_apart(base, cells[off])] if off.any() else []
    scales = alt.ScaleResolveMap(color="independent")
    return alt.LayerChart(layer=layers, resolve=alt.Resolve(scale=scales))


def _layer_axis(cells: pd.DataFrame) -> alt.Axis:
    """Numbers; with names, where there are few layers of a model of one's own."""
    rows = cells.drop_duplicates("layer")
    if len(rows) > _MOST_NAMED or not rows["own"].all():
        return _looks.COUNTS
    names = {row.layer: _layer_label(row, most=14) for row in rows.itertuples()}
    return alt.Axis(values=sorted(names), labelExpr=_labels(names), labelLimit=120)


def _colored(base: alt.Chart, cells: pd.DataFrame) -> alt.Chart:
    """A legend of at least a decade: rounding noise must not look like change."""
    low, high = float(cells["log10"].min()), float(cells["log10"].max())
    slack = max(1.0 - (high - low), 0.0) / 2
    low, high = math.floor(10 * (low - slack)) / 10, math.ceil(10 * (high + slack)) / 10
    width = next((w for w in (1, 2, 5, 10, 20) if (high - low) / w <= 5), 50)
    ticks: list[float] = [
        *range(math.ceil(low / width) * width, math.floor(high) + 1, width)
    ]
    names = {tick: _power(tick) for tick in ticks}
    if len(ticks) < 2:
        names = {low: _looks.number(low), high: _looks.number(high)}
    legend = alt.Legend(
        orient="bottom",
        title="norm (log scale)",
        gradientLength=220,
        values=list(names),
        labelExpr=_labels(names),
    )
    scale = alt.Scale(scheme="viridis", domain=[low, high])
    color = alt.Color("log10:Q", scale=scale, legend=legend)
    return base.mark_rect().encode(color=color).transform_filter("datum.flag == ''")


def _colored_apart(base: alt.Chart, cells: pd.DataFrame) -> alt.Chart:
    """Colours that viridis does not contain."""
    known = {_looks.ZERO: "#9E9E9E", _looks.NONFINITE: "#D55E00", _NONE: "#56B4E9"}
    flags = _in_order(cells["flag"])
    scale = alt.Scale(domain=flags, range=[known.get(f, "#CC79A7") for f in flags])
    legend = alt.Legend(orient="bottom", title="not on the scale")
    color = alt.Color("flag:N", scale=scale, legend=legend)
    return base.mark_rect().encode(color=color).transform_filter("datum.flag != ''")


def _labels(names: dict[Any, str]) -> str:
    """A Vega expression that looks a tick's label up."""
    # As JSON: a name out of somebody's file must stay a text in the expression.
    listed = {f"{tick:g}": name for tick, name in names.items()}
    return f"{json.dumps(listed, ensure_ascii=False)}[datum.value]"


# --- Words ---------------------------------------------------------------------------


def _legend_line(rows: pd.DataFrame, extra: str) -> str:
    origins = set(rows["origin"])
    told = {
        "measured": "Points: measured.",
        "theory": "Dashed lines: theory.",
    }
    return " ".join([*(told[o] for o in told if o in origins), extra]).strip()


def _by_verdict(runs: pd.DataFrame) -> str:
    """`c = 0.9 trains; c = 0.5 and 1.5 stall`."""
    told = []
    for verdict in ("trains", "stalls", "diverges"):
        names = _in_order(_series(runs[runs["verdict"] == verdict]))
        if names:
            verb = verdict if len(names) == 1 else verdict[:-1]
            told.append(f"{_spoken(names)} {verb}")
    return "; ".join(told) or "loss by step"


def _deepest_trained(runs: pd.DataFrame) -> str:
    trained = runs[runs["verdict"] == "trains"]
    deepest = trained.groupby(_series(trained))["depth"].max() if len(trained) else {}
    return ", ".join(
        f"{f'L = {deepest[name]}' if name in deepest else 'none'} at {_spoken([name])}"
        for name in _in_order(_series(runs))
    )


def _loss_sentence(rows: pd.DataFrame, depth: int) -> str:
    told = []
    for name, run in _one_origin(rows):
        first, last = _values(run.sort_values("step").iloc[[0, -1]])
        told.append(f"{_spoken([name])} from {first} to {last}")
    steps = int(rows["step"].max())
    what = "networks" if rows["own"].any() else "stacks"
    return f"Loss of {what} of depth {depth} over {steps} steps: {'; '.join(told)}."


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


def _steps_sentence(rows: pd.DataFrame, run: Any) -> str:
    told = []
    for name, part in _one_origin(rows):
        first, last = _values(part.sort_values("step").iloc[[0, -1]])
        told.append(f"{name} from {first} to {last}")
    steps = rows["step"]
    return (
        f"{_run_label(run)}, norm of the weight gradient from step {steps.min()} to "
        f"step {steps.max()}: {'; '.join(told)}."
    )


def _shallowest_and_deepest(rows: pd.DataFrame) -> str:
    told = []
    for name, part in _one_origin(rows):
        part = part.sort_values("depth").iloc[:: len(part) - 1 or 1]
        pairs = zip(_values(part), part["depth"], strict=True)
        ends = [f"{value} at depth {depth}" for value, depth in pairs]
        told.append(f"{_spoken([name])}: {' and '.join(ends)}")
    return "; ".join(told)


def _gradient_title(first: pd.DataFrame, step: int) -> str:
    if step or first["depth"].nunique() == 1:
        where = _lowest(first)
        return (
            f"Weight gradient of {where[0].lower()}{where[1:]} at step {step}, by depth"
        )
    found: dict[str, list[str]] = {}
    for name, part in _one_origin(first):
        part = part.sort_values("depth")["log10"].fillna(np.inf)
        found.setdefault(_change(part.iloc[0], part.iloc[-1]), []).append(name)
    told = [f"{change} at {_spoken(names)}" for change, names in found.items()]
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


def _kinds_title(run: Any, rows: pd.DataFrame) -> str:
    weights = rows[rows["kind"] == "weight_gradient"]
    others = rows[rows["kind"] != "weight_gradient"]
    if _slope(weights) < 1e-3 and _slope(others) > 0.1:
        return f"{_run_label(run)}: weight gradients are flat, the others slope"
    kinds = list(dict.fromkeys(rows["kind"].astype("str")))
    if len(kinds) > 1:
        number = "three" if len(kinds) == 3 else "two"
        return f"{_run_label(run)}: {number} kinds of norm, layer by layer"
    return f"{_run_label(run)}: {KIND_LABELS[kinds[0]]}, layer by layer"


def _slope(rows: pd.DataFrame) -> float:
    """Largest change over the layers of a kind, in decades, among finite values."""
    finite = rows[np.isfinite(rows["log10"])]
    norms = finite.groupby(["origin", "series"])["log10"]
    return float((norms.max() - norms.min()).max()) if len(finite) else 0.0


def _kinds_sentence(run: Any, rows: pd.DataFrame, step: int) -> str:
    told = []
    for name, part in _one_origin(rows):
        first, last = _values(part.sort_values("layer", kind="stable").iloc[[0, -1]])
        told.append(f"{name} from {first} to {last}")
    ends = f"from layer {rows['layer'].min()} to layer {rows['layer'].max()}"
    return f"{_run_label(run)}, step {step}, {ends}: {'; '.join(told)}."


def _heat_sentence(rows: pd.DataFrame, label: str, run: Any) -> str:
    steps = rows["step"]
    parts = []
    for step in dict.fromkeys([steps.min(), steps.max()]):
        found = rows[rows["step"] == step].sort_values("log10", kind="stable")
        parts.append(f"at step {step}: {_range_told(found)}")
    return f"{_run_label(run)}, norm of the {label}, {'; '.join(parts)}."


def _range_told(rows: pd.DataFrame) -> str:
    """Smallest and largest of sorted rows, and how many have no gradient."""
    there = rows[rows["log10"].notna()]
    missing = rows.loc[rows["log10"].isna(), "layer"].nunique()
    if there.empty:
        return f"{_NONE} in any layer"
    low, high = _values(there.iloc[[0, -1]])
    told = f"{low} in every layer" if low == high else f"{low} to {high} over layers"
    if missing:
        told += f", {_NONE} in {missing} {'layer' if missing == 1 else 'layers'}"
    return told


def _one_origin(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Each series by name: measured where there is measurement, else theory."""
    rows = rows[rows["origin"] == rows["origin"].iloc[0]]
    parts = dict(list(rows.groupby("series", sort=False)))
    return [(name, parts[name]) for name in _in_order(parts)]


def _run_label(run: Any) -> str:
    named = (
        _start(run.run, run.initializer) if pd.isna(run.scale) else f"c = {run.scale:g}"
    )
    return f"{named}, depth {run.depth}"


def _spoken(names: list[str]) -> str:
    """`c = 0.5 and 0.9`: a bare number would be taken for a result."""
    return f"c = {_listed(names)}" if _is_number(names[0]) else _listed(names)


def _in_order(names: Iterable[str]) -> list[str]:
    """Unique, numbers by size and before words; `run 2` before `run 10`."""
    return sorted(set(names), key=_place_in_order)


def _place_in_order(name: str) -> tuple[int, float, str]:
    if _is_number(name):
        return 0, float(name), name
    number = re.search(r"\d{1,15}", name)
    return 1, float(number[0]) if number else 0.0, name


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _cut(text: str, most: int = _MOST_LETTERS) -> str:
    """The end of a name, if it is too long: paths differ in their ends."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _listed(values: Iterable[Any]) -> str:
    *most, last = [str(value) for value in values] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def _power(exponent: float) -> str:
    """`10⁻²⁰`."""
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return "10" + str(round(exponent)).translate(digits)
