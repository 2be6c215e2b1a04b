"""Where theory changes its outcome, depth by depth."""

import math
from typing import Any

import numpy as np
import pandas as pd

from vgkeras._checks import check_option
from vgkeras.logs import GradientLog
from vgkeras.theory.modes import trajectory
from vgkeras.theory.outcomes import FLAT, LEARNED
from vgkeras.theory.search import turning_point, turning_points
from vgkeras.theory.stability import (
    bottom_sharpness,
    critical_learning_rate,
    divergence_learning_rate,
    divergence_scale,
    stable_learning_rate,
)

AXES = ("scale", "learning_rate")
STILL, SLOW = f"{FLAT:.0%} left", f"{LEARNED:.0%} left"  # of the loss
WILD, RESTLESS, HESSIAN = "runs away", "never settles", "Hessian limit"
FACTORS = {"identity": 1.0, "scaled": 0.5}  # `m` of the targets `y = m x`


def boundaries(log: GradientLog, by: str = "scale") -> pd.DataFrame:
    """Computes where theory changes its outcome, for the runs of a map.

    Args:
        log: Runs of one number of steps, of the target `identity` or `scaled`; by
            `"scale"` of one learning rate, by `"learning_rate"` of one scale.
        by: The axis beside depth: `"scale"` or `"learning_rate"`.

    Returns:
        A frame `boundary, depth, value`. For each depth of the log: from which value on
        at some step less than `"90% left"` of the first loss is left, and from which
        on the run trains, with `"1% left"` at the last step, both by bisection of the
        exact recursion, and the latter only where the solution is stable; above which
        value a run `"runs away"`, and where the textbook `"Hessian limit"`
        `2 / lambda_max` at the start would put that edge. Beyond `"never settles"` the
        solution itself is unstable, and a run that gets there oscillates: a learning
        rate for each depth or, by scale, one depth. Empty for other targets.

    Raises:
        ValueError: If `by` is unknown or the log mixes values of the other setting.

    Reference:
        [Saxe et al., 2013](https://arxiv.org/abs/1312.6120) (time to learn).
    """
    check_option("by", by, AXES)
    runs = log.runs
    if not runs["target"].isin(list(FACTORS)).all() or runs.empty:
        return pd.DataFrame(columns=["boundary", "depth", "value"])
    other = "learning_rate" if by == "scale" else "scale"
    value, outputs, steps, target = (
        _only(runs, name) for name in (other, "output_units", "steps", "target")
    )
    _only(runs, "units")
    depths = np.array(sorted(runs["depth"].unique()))
    edges = _by_scale if by == "scale" else _by_learning_rate
    lines = edges(depths, value, outputs, steps, FACTORS[target])
    parts = [
        pd.DataFrame({"boundary": name, "depth": depths * 1.0, "value": values})
        for name, values in lines.items()
    ]
    if by == "scale":
        parts.append(_restless_depth(runs, value, outputs, FACTORS[target]))
    return pd.concat(parts).dropna(ignore_index=True)


def _by_scale(
    depths: np.ndarray, learning_rate: float, outputs: int, steps: int, m: float
) -> dict[str, Any]:
    rate, goal = learning_rate * 2 / outputs, m ** (1 / depths)
    several = depths > 1  # one layer is convex: its start decides nothing
    still, slow = turning_points(
        lambda scales: _falls(scales, depths, rate, steps, m),
        np.zeros((2, len(depths))),
        np.stack([goal, goal]) * (1 - 1e-6),
    )
    landscape: dict[str, Any] = {"units": outputs, "target": m}
    return {
        STILL: np.where(several, still, np.nan),
        SLOW: np.where(several, slow, np.nan),
        WILD: [
            divergence_scale(depth, rate=rate, target=m) if depth > 1 else np.nan
            for depth in depths.tolist()
        ],
        HESSIAN: [
            _critical_scale(depth, learning_rate, landscape)
            for depth in depths.tolist()
        ],
    }


def _by_learning_rate(
    depths: np.ndarray, scale: float, outputs: int, steps: int, m: float
) -> dict[str, Any]:
    landscape: dict[str, Any] = {"units": outputs, "target": m}
    limits = {
        RESTLESS: lambda depth: stable_learning_rate(depth, **landscape),
        WILD: lambda depth: divergence_learning_rate(scale, depth, **landscape),
        HESSIAN: lambda depth: critical_learning_rate(scale, depth, **landscape),
    }
    lines = {
        name: np.array([limit(depth) for depth in depths.tolist()])
        for name, limit in limits.items()
    }
    # Up to here a run comes down, if with a leap or two, the lower the larger the rate.
    most = np.log(np.fmin(0.75 * lines[RESTLESS], 0.5 * lines[HESSIAN]))
    start = np.full(depths.shape, scale)
    still, slow = turning_points(
        lambda x: _falls(start, depths, np.exp(x) * 2 / outputs, steps, m),
        np.stack([most, most]) - 50,
        np.stack([most, most]),
    )
    return {STILL: np.exp(still), SLOW: np.exp(slow), **lines}


def _falls(
    scale: np.ndarray, depth: np.ndarray, rate: Any, steps: int, m: float
) -> np.ndarray:
    """Of a pair of rows: does the first one's loss leave 90%, does the second train?"""
    scale, rate = np.broadcast_arrays(scale, rate)
    path = trajectory(scale, depth, rate=rate, steps=steps, target=m)
    with np.errstate(all="ignore"):
        gaps = np.abs(path ** depth[:, None] - m)
    first, lowest, last = gaps[..., 0], np.fmin.reduce(gaps, axis=-1), gaps[..., -1]
    leaves = lowest[0] < math.sqrt(FLAT) * first[0]
    trains = last[-1] <= math.sqrt(LEARNED) * np.minimum(first[-1], m)
    return np.stack([leaves, trains])


def _critical_scale(depth: int, learning_rate: float, landscape: dict) -> float:
    """The scale above the target at which `critical_learning_rate` is that one."""

    def beyond(scale: float) -> bool:
        return critical_learning_rate(scale, depth, **landscape) < learning_rate

    low, high = landscape["target"] ** (1 / depth) * (1 + 1e-9), 1e3
    if beyond(low) or not beyond(high):
        return np.nan
    return turning_point(beyond, low, high, 40)


def _restless_depth(
    runs: pd.DataFrame, learning_rate: float, outputs: int, m: float
) -> pd.DataFrame:
    """The depth, a real number, beyond which no solution is stable; a row per end."""

    def unstable(depth: float) -> bool:
        return learning_rate * 2 / outputs * bottom_sharpness(depth, m) > 2

    depth = turning_point(unstable, 1.0, 1e9)
    ends = [runs["scale"].min(), runs["scale"].max()]
    return pd.DataFrame({"boundary": RESTLESS, "depth": depth, "value": ends})


def _only(runs: pd.DataFrame, name: str) -> Any:
    values = runs[name].unique()
    if len(values) != 1:
        several = ", ".join(map(str, values[:4]))
        raise ValueError(
            f"`log` must hold runs of one `{name}`. Received: {name} in {several}."
            f" Take one with `log.select({name}=...)`."
        )
    return values[0].item() if isinstance(values[0], np.generic) else values[0]
