"""Recorded recurrent networks: how far back their gradients reach, what they solve."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _checks, theory
from vgkeras._text import number_of, power_of_ten, typeset
from vgkeras.charts.explorer import SMALL_HEIGHT
from vgkeras.charts.line_labels import apart, axis_of_texts
from vgkeras.charts.style import (
    COLORS,
    SHAPES,
    decade_ticks,
    paired,
    tick_labels,
)
from vgkeras.logs import TIME, GradientLog

_LOWEST = -20.0  # decades; what is below stands at the edge
_MOST_POINTS = 25
_BIASES = {"LSTM, forget bias 0": 0.0, "LSTM, forget bias 1": 1.0}
_CHANCE = {"latch": 0.5}
_TOP, _GAP = 1.03, 0.11  # of the axis of accuracy; between two names
_PLAIN: dict[str, Any] = {"format": "d", "tickMinStep": 1, "title": None}


def gradient_by_network(
    log: GradientLog, task: str, length: int, *, trained: bool = False
) -> alt.LayerChart:
    """Draws how much each input counts for the loss, network by network.

    How to read it: backward. The gradient by the input at each time step, relative to
    that at the last one: where a line is at 10⁻¹⁰, that input counts ten decades less
    than the last. Dashed is what the forget gate alone would leave, `0.5^(T-t)` and
    `0.73^(T-t)`. How to misread it: before training it says what is easy to learn, not
    what the network can do. Below 10⁻²⁰ points stand at the edge as triangles.

    Args:
        log: The recording of `python -m vgkeras.record recurrent`.
        task: `"latch"` or `"adding"`, one that `log` holds.
        length: Number of time steps, one that `log` holds.
        trained: Draw it after training, not before.

    Returns:
        A chart of the median over seeds, by time step, a colour and shape a network.

    Raises:
        ValueError: If `log` is no such recording, or does not hold these runs.
    """
    runs = _runs(log, task)
    runs = runs[runs["length"] == length]
    if runs.empty:
        raise ValueError(
            f"`length` must be one that `log` holds. Received: length={length!r}."
        )
    rows = _relative(log, runs, trained)
    lines = _gates(runs["network"], length) if not trained else rows[:0]
    low = max(min(rows["y"].min(), lines["y"].min() if len(lines) else 0.0), _LOWEST)
    high = max(1.0, rows["y"].max())
    ticks = decade_ticks(low, high, 5)
    axis = alt.Axis(values=list(ticks), labelExpr=tick_labels(ticks), title=None)
    scale = alt.Scale(domain=[low - 0.5, high + 0.2], nice=False)
    y = alt.Y("y:Q", scale=scale, axis=axis)
    x = alt.X(f"{TIME}:Q", scale=alt.Scale(nice=False), axis=alt.Axis(**_PLAIN))
    color, shape = _looks(runs)
    dashes = alt.Chart(lines[lines["y"] >= low]).mark_line(
        strokeDash=[5, 4], strokeWidth=1.2, tooltip=None
    )
    inside = rows.assign(y=rows["y"].clip(lower=low))
    base = alt.Chart(inside)
    tooltip = [
        alt.Tooltip("network:N"),
        alt.Tooltip(f"{TIME}:Q"),
        alt.Tooltip("value:N"),
    ]
    line = base.mark_line(strokeWidth=1.5, tooltip=None)
    few = base.transform_filter(f"datum.{TIME} % {_stride(length)} == 0")
    points = few.mark_point(size=30, opacity=1)
    when = "after training" if trained else "before training"
    return _small(
        [
            dashes.encode(x=x, y=y, color=color),
            line.encode(x=x, y=y, color=color),
            points.encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip),
        ],
        f"Gradient by the input at step t, {when}",
        _gradient_sentence(rows, task, length, when),
    )


def accuracy_by_length(log: GradientLog, task: str) -> alt.LayerChart:
    """Draws the share of unseen sequences that are read, by number of time steps.

    How to read it: right is harder. Points are medians over seeds, bars go from the
    worst to the best of them; the dotted line is guessing. How to misread it: all
    networks had the same few hundred steps, units and learning rate. With more
    patience each goes further.

    Args:
        log: The recording of `python -m vgkeras.record recurrent`.
        task: `"latch"` or `"adding"`, one that `log` holds.

    Returns:
        A chart of accuracy by length, a colour and shape a network.

    Raises:
        ValueError: If `log` is no such recording, or does not hold the task.
    """
    runs = _runs(log, task)
    shares = runs.groupby(["network", "length"], sort=False)["accuracy"]
    rows = shares.agg(low="min", y="median", high="max").reset_index()
    rows = rows.assign(value=rows["y"].map("{:.0%}".format))
    lengths = sorted(rows["length"].unique().tolist())
    axis = alt.Axis(format="%", values=[0, 0.5, 1], title=None)
    height = alt.Scale(domain=[0, _TOP], nice=False)
    y, plain, low = (
        alt.Y(field, scale=height, axis=one)
        for field, one in (("y:Q", axis), ("y:Q", None), ("low:Q", None))
    )
    x = alt.X(
        "length:Q",
        scale=alt.Scale(type="log", domain=[lengths[0], lengths[-1]], padding=8),
        axis=alt.Axis(values=lengths, **_PLAIN),
    )
    color, shape = _looks(runs)
    base = alt.Chart(rows)
    chance = alt.Chart(pd.DataFrame({"y": [_CHANCE.get(task, 0.0)]}))
    bars = base.mark_rule(tooltip=None)
    tooltip = [
        alt.Tooltip("network:N"),
        alt.Tooltip("length:Q", title="T"),
        alt.Tooltip("value:N"),
    ]
    layers = [
        chance.mark_rule(strokeDash=[2, 3], opacity=0.6, tooltip=None).encode(y=plain),
        bars.encode(x=x, y=low, y2=alt.Y2("high:Q"), color=color),
        base.mark_line(strokeWidth=1.5, tooltip=None).encode(x=x, y=plain, color=color),
        base.mark_point(size=50, opacity=1).encode(
            x=x, y=y, color=color, shape=shape, tooltip=tooltip
        ),
    ]
    ends = rows[rows["length"] == lengths[-1]].set_index("network")["y"]
    right = alt.Y("y:Q", scale=height, axis=_axis_of_names(ends, runs))
    layers.append(base.mark_point(opacity=0, tooltip=None).encode(x=x, y=right))
    chart = _small(layers, "Sequences read, by T", _accuracy_sentence(rows, task))
    chart.resolve = alt.Resolve(axis=alt.AxisResolveMap(y="independent"))
    return chart


def _axis_of_names(ends: pd.Series, runs: pd.DataFrame) -> alt.Axis:
    """The name of each network beside the end of its line, for both charts."""
    names = [n for n in dict.fromkeys(runs["network"]) if n in ends.index]
    places = apart([float(ends[name]) for name in names], _GAP, 1e-3, _TOP - 1e-3)
    at = {round(p, 3) + 0.0: name for p, name in zip(places, names, strict=True)}
    colors = dict(zip(dict.fromkeys(runs["network"]), COLORS, strict=False))
    return axis_of_texts(
        at, {p: colors[name] for p, name in at.items()}, labelLimit=200
    )


def recurrent_tasks(log: GradientLog) -> list[str]:
    """The tasks of a recording, in its order."""
    return list(dict.fromkeys(log.runs["task"]))


def recurrent_lengths(log: GradientLog, task: str) -> list[int]:
    """The numbers of time steps that a recording holds of a task."""
    runs = _runs(log, task)
    return sorted(runs["length"].unique().tolist())


def _runs(log: GradientLog, task: str) -> pd.DataFrame:
    missing = {"task", "length", "network", "accuracy"} - set(log.runs.columns)
    if missing:
        raise ValueError(
            "`log` must be the recording of `python -m vgkeras.record recurrent`. "
            f"Received: a log without {', '.join(sorted(missing))}."
        )
    _checks.check_option("task", task, tuple(recurrent_tasks(log)))
    return log.runs[log.runs["task"] == task]


def _relative(log: GradientLog, runs: pd.DataFrame, trained: bool) -> pd.DataFrame:
    """Decades below the gradient by the last input, the median over seeds."""
    rows = log.layers[log.layers["kind"] == "input_gradient"]
    rows = rows.merge(runs[["run", "network", "steps"]], on="run")
    rows = rows[rows["step"] == (rows["steps"] if trained else 0)]
    last = rows[rows[TIME] == rows[TIME].max()].set_index("run")["log10_norm"]
    rows = rows.assign(y=rows["log10_norm"] - rows["run"].map(last))
    table = rows.groupby(["network", TIME], sort=False)["y"].median().reset_index()
    table = table.assign(value=[typeset(number_of(y)) for y in table["y"]])
    return table.assign(y=table["y"].replace(-np.inf, _LOWEST - 1))


def _gates(networks: pd.Series, length: int) -> pd.DataFrame:
    """What forget gates alone leave, for the LSTMs among these networks."""
    parts = [
        pd.DataFrame(
            {
                "network": network,
                TIME: np.arange(1, length + 1),
                "y": theory.forget_gate_memory(bias, length),
            }
        )
        for network, bias in _BIASES.items()
        if (networks == network).any()
    ]
    return pd.concat(parts) if parts else pd.DataFrame(columns=["network", TIME, "y"])


def _looks(runs: pd.DataFrame) -> tuple[alt.Color, alt.Shape]:
    names = list(dict.fromkeys(runs["network"]))
    colors, shapes = (
        dict(zip(names, looks, strict=False)) for looks in (COLORS, SHAPES)
    )
    return paired("network:N", colors, shapes, None)


def _stride(length: int) -> int:
    return max(length // _MOST_POINTS, 1)


def _small(layers: list[Any], title: str, sentence: str) -> alt.LayerChart:
    chart = alt.LayerChart()
    chart.layer = layers
    chart.width, chart.height = 440, SMALL_HEIGHT
    chart.autosize = alt.AutoSizeParams(type="fit", contains="padding")
    chart.title = alt.TitleParams(title, anchor="start", fontSize=14)
    chart.description = sentence
    return chart


def _gradient_sentence(rows: pd.DataFrame, task: str, length: int, when: str) -> str:
    first = rows[rows[TIME] == 1]
    lowest = f"below {power_of_ten(_LOWEST)}"
    ends = [
        f"{network} {power_of_ten(y) if y >= _LOWEST else lowest}"
        for network, y in zip(first["network"], first["y"], strict=True)
    ]
    return (
        f"{task}, {length} time steps, {when}: how much the first input counts beside "
        f"the last: {'; '.join(ends)}."
    )


def _accuracy_sentence(rows: pd.DataFrame, task: str) -> str:
    parts = []
    for network, own in rows.groupby("network", sort=False):
        shares = [
            f"{value} at T = {length}"
            for length, value in zip(own["length"], own["value"], strict=True)
        ]
        parts.append(f"{network}: {', '.join(shares)}")
    return f"{task}, sequences read: {'; '.join(parts)}."
