"""Maps of what trains: every cell a run, theory's boundaries drawn over them.

A map is a log of many short runs, for instance
`vg.sweep(vg.maps.SCALES, vg.maps.DEPTHS, steps=100, every=None, samples=4)`. Here its
cells are counted and drawn; nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _looks, theory
from vgkeras._checks import check_option
from vgkeras.logs import GradientLog

SCALES = tuple(round(0.5 + 0.025 * k, 3) for k in range(40))
DEPTHS = (*range(1, 21), *(round(20 * 7.6 ** (k / 20)) for k in range(1, 21)))
LEARNING_RATES = tuple(float(f"{10 ** (k / 9.75 - 4):.3g}") for k in range(40))
AXES = ("scale", "learning_rate")
HEIGHT = 560  # pixels of a map with its title, axes and legends
SELECTION = "cell"  # name of the selection that a click on a cell changes
_TITLES = {"scale": "scale c of every kernel", "learning_rate": "learning rate"}
_LEGEND = alt.Legend(orient="bottom", columns=1, symbolOpacity=1)
_SLOW, _WILD, _HESSIAN = "too slow", "runs away", "Hessian limit"
_RESTLESS = "never settles"
_DASHES = {_SLOW: [6, 3], _RESTLESS: [1, 3], _WILD: [2, 2], _HESSIAN: [8, 3, 2, 3]}


class Agreement(NamedTuple):
    """In how many runs theory names the outcome that was measured.

    Args:
        same: Runs whose predicted verdict is the measured one.
        runs: Runs that theory speaks of.
        stable_same: Of `same`, those below.
        stable_runs: Runs with `learning_rate * (2 / outputs) * depth < 2`: their
            solution is stable, and the verdict does not hang on the last step.
    """

    same: int
    runs: int
    stable_same: int
    stable_runs: int

    def __str__(self) -> str:
        if not self.runs:
            return "Theory says nothing about these runs."
        told = f"Theory names the outcome of {self.same:,} of {self.runs:,} runs"
        if self.stable_runs == self.runs:
            return f"{told}."
        return (
            f"{told}; of those whose solution is stable, {self.stable_same:,} of "
            f"{self.stable_runs:,}."
        )


def agreement(log: GradientLog) -> Agreement:
    """Counts the runs in which theory and measurement agree.

    Args:
        log: A measured log with its theory, as `sweep` returns it.

    Returns:
        The four counts; all 0 if there is no theory.

    Example:
        >>> from vgkeras import predict
        >>> log = predict([0.5, 1.5], [2, 50], steps=100)
        >>> agreement(log.replace(theory=log))
        Agreement(same=4, runs=4, stable_same=4, stable_runs=4)
    """
    if log.theory is None:
        return Agreement(0, 0, 0, 0)
    cells = _cells(log).dropna(subset="predicted")
    same = cells["verdict"] == cells["predicted"]
    sharpness = cells["learning_rate"] * 2 / cells["output_units"] * cells["depth"]
    stable = sharpness < 2
    return Agreement(
        int(same.sum()), len(cells), int((same & stable).sum()), int(stable.sum())
    )


def boundaries(log: GradientLog, by: str = "scale") -> pd.DataFrame:
    """Computes where theory changes its verdict, for the runs of a map.

    Args:
        log: Runs of one number of steps, of the target `identity` or `scaled`; by
            `"scale"` of one learning rate, by `"learning_rate"` of one scale.
        by: The axis beside depth: `"scale"` or `"learning_rate"`.

    Returns:
        A frame `boundary, depth, value`: for each depth of the log, below which
        value a run is `"too slow"` (the time to learn exceeds the steps), above
        which it `"runs away"`, and where the textbook `"Hessian limit"`
        `2 / lambda_max` at the start would put that edge. Above the learning rate
        `"never settles"` the solution itself is unstable: a run that gets there
        oscillates. Empty for other targets.

    Raises:
        ValueError: If `by` is unknown or the log mixes values of the other setting.

    Reference:
        [Saxe et al., 2013](https://arxiv.org/abs/1312.6120) (time to learn).
    """
    check_option("by", by, AXES)
    runs = log.runs
    if not runs["target"].isin(["identity", "scaled"]).all() or runs.empty:
        return pd.DataFrame(columns=["boundary", "depth", "value"])
    fixed = {name: _only(runs, name) for name in _fixed(by)}
    edges = _by_scale if by == "scale" else _by_learning_rate
    rows = [
        {"boundary": boundary, "depth": depth, "value": value}
        for depth in sorted(runs["depth"].unique())
        for boundary, value in edges(int(depth), **fixed).items()
    ]
    return pd.DataFrame(rows).dropna(ignore_index=True)


def verdict_by_scale_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by scale and depth, under theory's boundaries.

    How to read it: between the lines stacks train. They close in on c = 1 as depth
    grows: a deeper stack forgives less. How to misread it: the edge on the left is
    one of patience, it moves with the number of steps; the one on the right is not.

    Args:
        log: A map: many scales and depths, one learning rate.

    Returns:
        A chart with a mark per run, its colour and shape the verdict, ringed where
        theory says otherwise. A click selects a run (`SELECTION`).

    Raises:
        ValueError: If `log` holds no run.
    """
    return _map(log, "scale")


def verdict_by_learning_rate_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of every run, by learning rate and depth.

    How to read it: as `verdict_by_scale_and_depth`. How to misread it: a larger
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
    cells = _cells(log)
    log_scale = alt.Scale(type="log", nice=False, padding=8)
    scale = alt.Scale(zero=False, nice=False, padding=8) if by == "scale" else log_scale
    x = alt.X(f"{by}:Q", title=_TITLES[by], scale=scale)
    y = alt.Y("depth:Q", title="depth (number of layers)", scale=log_scale)
    layers = [_points(cells, x, y), *_lines(boundaries(log, by), cells, by)]
    agreed, counted = str(agreement(log)), _counted(cells)
    chart = _looks.sized(alt.LayerChart(layer=layers), HEIGHT)
    return _looks.titled(chart, agreed, counted, f"{counted} {agreed}")


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
            *_looks.by_verdict(_LEGEND, title="measured"),
            stroke=alt.condition(
                "datum.predicted && datum.predicted != datum.verdict",
                alt.value("#CC79A7"),
                alt.value("transparent"),
            ),
            opacity=alt.condition(cell, alt.value(0.85), alt.value(0.25), empty=True),
            tooltip=["scale", "depth", "learning_rate", "verdict", "predicted"],
        )
        .add_params(cell)
    )


def _lines(edges: pd.DataFrame, cells: pd.DataFrame, by: str) -> list[alt.Chart]:
    """Theory, dashed; only inside the range that was measured."""
    if edges.empty:
        return []
    inside = edges["value"].between(cells[by].min(), cells[by].max())
    dashes = alt.Scale(domain=list(_DASHES), range=list(_DASHES.values()))
    line = (
        alt.Chart(edges[inside])
        .mark_line(strokeWidth=2, color=_looks.GREY, interpolate="monotone")
        .encode(
            alt.X("value:Q"),
            alt.Y("depth:Q"),
            alt.StrokeDash("boundary:N", title="theory", scale=dashes, legend=_LEGEND),
            order="depth:Q",
        )
    )
    return [line]


def _cells(log: GradientLog) -> pd.DataFrame:
    """The runs, with what theory predicts for each (NaN where it says nothing)."""
    columns = ["run", "scale", "depth", "learning_rate", "output_units", "verdict"]
    cells = log.runs[columns].copy()
    predicted = pd.Series(dtype="object")
    if log.theory is not None:
        predicted = log.theory.runs.set_index("run")["verdict"]
    return cells.assign(predicted=cells["run"].map(predicted))


def _counted(cells: pd.DataFrame) -> str:
    counts = cells["verdict"].value_counts()
    told = [f"{counts.get(word, 0):,} {word}" for word in theory.VERDICTS]
    return f"{len(cells):,} runs: {', '.join(told)}."


def _fixed(by: str) -> tuple[str, ...]:
    other = "learning_rate" if by == "scale" else "scale"
    return (other, "units", "output_units", "steps", "target")


def _only(runs: pd.DataFrame, name: str) -> Any:
    values = runs[name].unique()
    if len(values) != 1:
        shown = ", ".join(map(str, values[:4]))
        raise ValueError(
            f"`log` must hold runs of one `{name}`. Received: {name} in {shown}."
            f" Take one with `log.select({name}=...)`."
        )
    return values[0].item() if isinstance(values[0], np.generic) else values[0]


def _by_scale(
    depth: int,
    learning_rate: float,
    units: int,
    output_units: int,
    steps: int,
    target: str,
) -> dict[str, float]:
    if depth == 1:  # one layer is convex: its start decides nothing
        return {}
    m, rate = _factor(target), learning_rate * 2 / output_units

    def beyond_the_hessian(c: float) -> bool:
        limit = theory.critical_learning_rate(c, depth, units=output_units, target=m)
        return limit < learning_rate

    return {
        _SLOW: theory.min_trainable_scale(depth, rate=rate, steps=steps, target=m),
        _WILD: theory.divergence_scale(depth, rate=rate, target=m),
        _HESSIAN: _solved(beyond_the_hessian, m ** (1 / depth) * (1 + 1e-9)),
    }


def _by_learning_rate(
    depth: int, scale: float, units: int, output_units: int, steps: int, target: str
) -> dict[str, float]:
    m, k = _factor(target), 2 / output_units

    def limit(function: Callable[..., float]) -> float:
        return function(scale, depth, units=output_units, target=m)

    return {
        _SLOW: _slowest(scale, depth, steps, m) / k,
        _RESTLESS: theory.stable_learning_rate(depth, units=output_units, target=m),
        _WILD: limit(theory.divergence_learning_rate),
        _HESSIAN: limit(theory.critical_learning_rate),
    }


def _slowest(scale: float, depth: int, steps: int, m: float) -> float:
    """The smallest rate that learns in time: the time is `a / rate + b`."""
    rates = np.array([1e-6, 2e-6])
    times = [theory.steps_to_learn(scale, depth, rate=r, target=m) for r in rates]
    if not np.isfinite(times).all():
        return np.nan
    a, b = np.polyfit(1 / rates, times, 1)
    return float(a / max(steps - b, 1))


def _solved(holds: Callable[[float], bool], low: float, high: float = 1e3) -> float:
    """Where `holds` turns from false to true between two positive numbers."""
    if holds(low) or not holds(high):
        return np.nan
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _factor(target: str) -> float:
    """The factor `m` of `y = m x`."""
    return {"identity": 1.0, "scaled": 0.5}[target]
