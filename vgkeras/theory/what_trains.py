"""Where theory changes its outcome, and in how many runs it agrees with measurement."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras._checks import check_option
from vgkeras.logs import GradientLog
from vgkeras.theory.learning_time import min_trainable_scale, steps_to_learn
from vgkeras.theory.search import turning_point
from vgkeras.theory.stability import (
    critical_learning_rate,
    divergence_learning_rate,
    divergence_scale,
    stable_learning_rate,
)

AXES = ("scale", "learning_rate")

SLOW, WILD, HESSIAN = "too slow", "runs away", "Hessian limit"
RESTLESS = "never settles"
_FACTORS = {"identity": 1.0, "scaled": 0.5}  # `m` of the targets `y = m x`


class Agreement(NamedTuple):
    """In how many runs theory names the outcome that was measured.

    Args:
        same: Runs whose predicted outcome is the measured one.
        runs: Runs that theory speaks of.
        stable_same: Of `same`, those below.
        stable_runs: Runs with `learning_rate * (2 / outputs) * depth < 2`: their
            solution is stable, and the outcome does not hang on the last step.
    """

    same: int
    runs: int
    stable_same: int
    stable_runs: int

    def __str__(self) -> str:
        if not self.runs:
            return "Theory says nothing about these runs."
        sentence = f"Theory names the outcome of {self.same:,} of {self.runs:,} runs"
        if self.stable_runs == self.runs:
            return f"{sentence}."
        return (
            f"{sentence}; of those whose solution is stable, {self.stable_same:,} of "
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
    cells = map_cells(log).dropna(subset="predicted")
    same = cells["outcome"] == cells["predicted"]
    sharpness = cells["learning_rate"] * 2 / cells["output_units"] * cells["depth"]
    stable = sharpness < 2
    return Agreement(
        int(same.sum()), len(cells), int((same & stable).sum()), int(stable.sum())
    )


def boundaries(log: GradientLog, by: str = "scale") -> pd.DataFrame:
    """Computes where theory changes its outcome, for the runs of a map.

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
    if not runs["target"].isin(list(_FACTORS)).all() or runs.empty:
        return pd.DataFrame(columns=["boundary", "depth", "value"])
    other = "learning_rate" if by == "scale" else "scale"
    names = (other, "units", "output_units", "steps", "target")
    value, _, outputs, steps, target = (_only(runs, name) for name in names)
    fixed = (value, outputs, steps, _FACTORS[target])
    edges = _by_scale if by == "scale" else _by_learning_rate
    rows = [
        {"boundary": boundary, "depth": depth, "value": edge}
        for depth in sorted(runs["depth"].unique())
        for boundary, edge in edges(int(depth), *fixed).items()
    ]
    return pd.DataFrame(rows).dropna(ignore_index=True)


def map_cells(log: GradientLog) -> pd.DataFrame:
    """The runs, with what theory predicts for each (NaN where it says nothing)."""
    columns = ["run", "scale", "depth", "learning_rate", "output_units", "outcome"]
    cells = log.runs[columns].copy()
    predicted = pd.Series(dtype="object")
    if log.theory is not None:
        predicted = log.theory.runs.set_index("run")["outcome"]
    return cells.assign(predicted=cells["run"].map(predicted))


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
    depth: int, learning_rate: float, outputs: int, steps: int, m: float
) -> dict[str, float]:
    if depth == 1:  # one layer is convex: its start decides nothing
        return {}
    rate = learning_rate * 2 / outputs
    return {
        SLOW: min_trainable_scale(depth, rate=rate, steps=steps, target=m),
        WILD: divergence_scale(depth, rate=rate, target=m),
        HESSIAN: _critical_scale(depth, learning_rate, outputs, m),
    }


def _critical_scale(depth: int, learning_rate: float, units: int, m: float) -> float:
    """The scale above the target at which `critical_learning_rate` is that one."""

    def beyond(scale: float) -> bool:
        limit = critical_learning_rate(scale, depth, units=units, target=m)
        return limit < learning_rate

    low, high = m ** (1 / depth) * (1 + 1e-9), 1e3
    if beyond(low) or not beyond(high):
        return np.nan
    return turning_point(beyond, low, high, 70)


def _by_learning_rate(
    depth: int, scale: float, outputs: int, steps: int, m: float
) -> dict[str, float]:
    landscape: dict[str, Any] = {"units": outputs, "target": m}
    return {
        SLOW: _slowest(scale, depth, steps, m) / (2 / outputs),
        RESTLESS: stable_learning_rate(depth, **landscape),
        WILD: divergence_learning_rate(scale, depth, **landscape),
        HESSIAN: critical_learning_rate(scale, depth, **landscape),
    }


def _slowest(scale: float, depth: int, steps: int, m: float) -> float:
    """The smallest rate that learns in time: the time is `a / rate + b`."""
    rates = np.array([1e-6, 2e-6])
    times = [steps_to_learn(scale, depth, rate=r, target=m) for r in rates]
    if not np.isfinite(times).all():
        return np.nan
    a, b = np.polyfit(1 / rates, times, 1)
    return float(a / max(steps - b, 1))
