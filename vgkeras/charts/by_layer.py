"""Charts by layer."""

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _checks, logs
from vgkeras._text import (
    NONFINITE,
    ZERO,
    counted,
    number_of,
    run_label,
    shortened,
    typeset,
)
from vgkeras.charts.bins import bin_words, binned, middle_rows
from vgkeras.charts.edge_bands import NO_GRADIENT, NORM_VIEW, value_texts, with_flags
from vgkeras.charts.points import points_over_lines, with_names
from vgkeras.charts.rows import (
    KIND_LABELS,
    MOST_POINTS,
    largest_variable,
    layer_labels,
    only_run,
    origin_of,
    panel_values,
    rows_named,
    rows_of_kind,
    rows_of_step,
    rows_with_runs,
    variable_roles,
)
from vgkeras.charts.style import (
    HEIGHT,
    Chart,
    count_axis,
    decade_ticks,
    panels,
    sized,
    tick_labels,
    titled,
)
from vgkeras.charts.words import from_to, in_order, legend_line

_MOST_CELLS, _MOST_ROLES, _MOST_NAMES = 4000, 5, 20
# Seams between cells, and a grid that shows in them, would look like data.
_SEAMLESS: dict[str, Any] = {"x2Offset": 1, "y2Offset": -1, "clip": True}
_NO_GRID = alt.Axis(format="d", tickMinStep=1, grid=False)
_LAYER = "layer (1 = next to the input)"


def kinds_by_layer(log: logs.GradientLog, step: int | None = None) -> Chart:
    """Draws weight gradients, activations and their gradients, layer by layer.

    How to read it: follow one kind from layer 1 (next to the input) to the last layer.
    In a stack of equal square layers the weight gradient is flat, while activations
    and their gradients slope, in opposite directions. How to misread it: by the slope
    of the activations you cannot tell which layer's *weights* learn slowly. More than
    100 layers are drawn in 50 bins: of each the middle norm, with a bar from the
    smallest to the largest; the dashed theory has all layers. Where layers have
    kernels, biases and more, each has a colour and shape of its own.

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
    _checks.check_option("kind", kind, logs.KINDS)
    label = run_label(only_run(log))
    rows = rows_with_runs(log, "layers")
    rows = rows_of_kind(rows[rows["origin"] == origin_of(log)], kind)
    if variable is not None:
        rows = rows_named(rows, variable)
    rows, largest_words = largest_variable(rows)
    cells, cell_words = _cells(rows)
    what = KIND_LABELS[kind] + (f" ({variable})" if variable else "")
    chart = titled(
        _heat_map(with_flags(cells, NORM_VIEW)),
        f"{label}: {what} by layer and step",
        f"{cell_words} {largest_words}".strip(),
        f"{label}, norm of the {what}, {_ends_words(rows)}.",
    )
    return sized(chart, HEIGHT)


def _kinds_panel(run: dict[str, Any], rows: pd.DataFrame, step: int) -> alt.LayerChart:
    rows = rows[rows["run"] == run["run"]]
    rows = rows.assign(series=_kind_series(rows))
    first, last = rows["layer"].min(), rows["layer"].max()
    measured, line = (rows[rows["origin"] == o] for o in ("measured", "theory"))
    few, width = rows, 1
    if len(measured):
        within = ["series", "line"]
        few, width = binned(measured, "layer", within, MOST_POINTS, NORM_VIEW)
        few = pd.concat([few, line])  # theory is drawn at every layer
    x = count_axis("layer:Q", _LAYER)
    chart = points_over_lines(few, x, y="norm", view=NORM_VIEW, key="kind")
    label, when = run_label(run), f"step {step}"
    if run["samples"]:  # a norm of a batch grows with it
        when += f", norms over {run['samples']} samples"
    return titled(
        chart,
        f"{label}: {_kinds_title(rows)}",
        legend_line(rows, f"{when.capitalize()}.", bin_words(width, "layers")),
        f"{label}, {when}, from layer {first} to layer {last}: "
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
    names = {role: shortened(role) for role in frequent[:_MOST_ROLES]}
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


def _cells(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """At most 4,000 cells with their edges, and words on what is in one."""
    counts = rows["step"].nunique(), rows["layer"].nunique()
    excess = max(counts[0] * counts[1] / _MOST_CELLS, 1)
    steps = min(math.ceil(excess), math.ceil(counts[0] / 50))
    layers = math.ceil(counts[1] / (_MOST_CELLS // math.ceil(counts[0] / steps)))
    step, left, right = _spans(rows["step"], steps)
    layer, bottom, top = _spans(rows["layer"], layers)
    rows = rows.assign(left=left, step_end=right, bottom=bottom - 0.5, top=top - 0.5)
    lost = rows["log10"] == np.inf
    seen = lost | ~lost.groupby([step, layer]).transform("any")
    cells = middle_rows(rows[seen], [step[seen], layer[seen]])
    cells = cells.sort_values(["step", "layer"])
    if steps == layers == 1:
        return cells, f"{counted(counts[0], 'step')}, {counted(counts[1], 'layer')}."
    ends = (value_texts(cells.assign(log10=cells[end])) for end in ("low", "high"))
    cells = cells.assign(range=[" to ".join(pair) for pair in zip(*ends, strict=True)])
    size = f"{counted(steps, 'logged step')} and {counted(layers, 'layer')}"
    return cells, f"A cell: the middle norm of {size}."


def _spans(values: pd.Series, width: int) -> list[pd.Series]:
    """The number of the span of `width` values that each is in, its start and end."""
    unique = np.unique(values)
    starts = unique[::width]
    last = unique[-1] + (unique[-1] - unique[-2] if len(unique) > 1 else 1)
    ends = np.append(starts[1:], last)
    at = np.searchsorted(starts, values, side="right") - 1
    return [pd.Series(column, values.index) for column in (at, starts[at], ends[at])]


def _heat_map(cells: pd.DataFrame) -> alt.LayerChart:
    """Cells on the colour scale, and flagged cells in colours outside of it."""
    cells, names = with_names(cells, "layer")
    names += ["range"] if "range" in cells else []
    edges = ["left", "step_end", "bottom", "top"]
    fields = ["step", *edges, "layer", "log10", "flag", "value"]
    on, off = cells["flag"] == "", cells["flag"] != ""
    bottom, top = cells["bottom"].min(), cells["top"].max()
    steps = sorted(cells["left"].unique().tolist())
    ticks = alt.Axis(values=steps, labelOverlap=True, grid=False)
    axis = ticks if len(steps) <= 50 else _NO_GRID
    numbers = cells[[*fields, *names]].assign(log10=cells["log10"].where(on))
    base = alt.Chart(numbers).encode(
        alt.X("left:Q", title="training step", scale=alt.Scale(nice=False), axis=axis),
        alt.Y(
            "bottom:Q",
            title=_LAYER,
            scale=alt.Scale(domain=[bottom, top], nice=False, zero=False),
            axis=_layer_axis(cells),
        ),
        x2=alt.X2("step_end:Q"),
        y2=alt.Y2("top:Q"),
        tooltip=[
            *(alt.Tooltip(field) for field in ("step:Q", "layer:Q")),
            *(alt.Tooltip(f"{name}:N") for name in names),
            alt.Tooltip("value:N", title="norm"),
        ],
    )
    layers = [_cells_on_scale(base, cells[on])] if on.any() else []
    layers += [_cells_off_scale(base, cells[off])] if off.any() else []
    scales = alt.ScaleResolveMap(color="independent")
    return alt.LayerChart(layer=layers, resolve=alt.Resolve(scale=scales))


def _layer_axis(cells: pd.DataFrame) -> alt.Axis:
    """Numbers; with names, where there are few layers of a model of one's own."""
    rows = cells.drop_duplicates("layer")
    if len(rows) > _MOST_NAMES or not rows["own"].all():
        return _NO_GRID
    names = layer_labels(rows, most=14)
    show = tick_labels(names)
    return alt.Axis(values=sorted(names), labelExpr=show, labelLimit=120, grid=False)


def _cells_on_scale(base: alt.Chart, cells: pd.DataFrame) -> alt.Chart:
    """A legend of at least a decade: rounding noise must not look like change."""
    low, high = float(cells["log10"].min()), float(cells["log10"].max())
    slack = max(1.0 - (high - low), 0.0) / 2
    low, high = math.floor(10 * (low - slack)) / 10, math.ceil(10 * (high + slack)) / 10
    names = decade_ticks(low, high, 5)
    if len(names) < 2:
        names = {at: typeset(number_of(at)) for at in (low, high)}
    legend = alt.Legend(
        orient="bottom",
        title="norm (log scale)",
        gradientLength=180,
        values=list(names),
        labelExpr=tick_labels(names),
    )
    scale = alt.Scale(scheme="viridis", domain=[low, high])
    color = alt.Color("log10:Q", scale=scale, legend=legend)
    marks = base.mark_rect(**_SEAMLESS).encode(color=color)
    return marks.transform_filter("datum.flag == ''")


def _cells_off_scale(base: alt.Chart, cells: pd.DataFrame) -> alt.Chart:
    """Colours that viridis does not contain."""
    colors = {ZERO: "#9E9E9E", NONFINITE: "#D55E00", NO_GRADIENT: "#56B4E9"}
    flags = in_order(cells["flag"])
    scale = alt.Scale(domain=flags, range=[colors.get(f, "#CC79A7") for f in flags])
    legend = alt.Legend(orient="bottom", columns=1, title=None)
    color = alt.Color("flag:N", scale=scale, legend=legend)
    marks = base.mark_rect(**_SEAMLESS).encode(color=color)
    return marks.transform_filter("datum.flag != ''")


def _ends_words(rows: pd.DataFrame) -> str:
    """The norms at the first and the last step."""
    words = []
    for step in dict.fromkeys([rows["step"].min(), rows["step"].max()]):
        at = rows[rows["step"] == step].sort_values("log10", kind="stable")
        words.append(f"at step {step}: {_range_words(at)}")
    return "; ".join(words)


def _range_words(rows: pd.DataFrame) -> str:
    """Smallest and largest of sorted rows, and how many have no gradient."""
    there = rows[rows["log10"].notna()]
    missing = rows.loc[rows["log10"].isna(), "layer"].nunique()
    if there.empty:
        return f"{NO_GRADIENT} in any layer"
    low, high = value_texts(there.iloc[[0, -1]])
    words = f"{low} in every layer" if low == high else f"{low} to {high} over layers"
    if missing:
        words += f", {NO_GRADIENT} in {missing} {'layer' if missing == 1 else 'layers'}"
    return words
