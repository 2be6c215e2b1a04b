"""The outcome of a run, predicted from its start."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vgkeras import _checks
from vgkeras.theory.learning_time import steps_until
from vgkeras.theory.modes import (
    check_array,
    float_power,
    is_settled,
    mirror,
    next_value,
    signed_gap,
    sinks,
    trajectory,
)
from vgkeras.theory.outcomes import LEARNED, OUTCOMES, outcomes_by_loss
from vgkeras.theory.stability import escape_rate

_LONG = 10_000  # steps that `outcome` is willing to simulate one by one


def outcome(
    scale: float,
    depth: int,
    *,
    rate: float | Sequence[float],
    steps: int,
    target: Any = 1.0,
) -> str:
    """Predicts whether a run trains, stalls or diverges.

    The rule: follow the few jumps outside the valley between 0 and the target; from
    inside it, compare the time to learn with the steps that are left; at a rate at
    which the valley's bottom is unstable, follow the path. A run diverges if any of
    its modes does and trains if all of them do.

    Args:
        scale: Initial value of every kernel, `scale * I`.
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        steps: Number of updates.
        target: What `scale**depth` has to reach, or a sequence of that, a value per
            mode; real or complex.

    Returns:
        `"trains"`, `"stalls"` or `"diverges"`: what `outcomes_by_loss` calls the
        simulated run.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> [outcome(c, 50, rate=0.01, steps=200) for c in (0.5, 0.99, 1.5)]
        ['stalls', 'trains', 'diverges']
    """
    scale = _checks.check_finite("scale", scale)
    depth = _checks.check_positive_int("depth", depth)
    rate = _checks.check_positive("rate", rate)
    steps = _checks.check_non_negative_int("steps", steps)
    modes = np.unique(np.atleast_1d(check_array("target", target)))
    words = {_mode_outcome(scale, depth, rate, steps, m) for m in modes}
    return max(words, key=OUTCOMES.index, default="trains")


def _mode_outcome(
    scale: float, depth: int, rate: float, steps: int, target: Any
) -> str:
    """The outcome of one mode; a complex one is simulated, it has no closed form."""
    if np.imag(target) != 0:
        return _simulate(scale, depth, rate, steps, target)
    s, m = mirror(scale, depth, float(np.real(target)))
    first = abs(signed_gap(s, depth, m))
    if depth == 1:
        return _judge(first, first * float_power(abs(1 - rate), steps), m)
    s, left = _settle(s, depth, rate, steps, m)
    if not left or not math.isfinite(s):
        return _judge(first, abs(signed_gap(s, depth, m)), m)
    allowed = math.sqrt(LEARNED) * min(first, abs(m))
    if sinks(s, depth, rate, m) or (
        steps_until(abs(s), depth, rate, m, allowed) > left
    ):
        return "stalls"
    sharpness = rate * depth * m ** (2 - 2 / depth)
    if sharpness >= 1 and steps <= _LONG:
        return _simulate(scale, depth, rate, steps, target)
    if sharpness < 2:
        return "trains"
    return "diverges" if rate > escape_rate(depth, m) else "stalls"


def _settle(
    s: float, depth: int, rate: float, steps: int, m: float
) -> tuple[float, int]:
    """Follows the jumps; returns the value they end in and the steps left then."""
    while steps and math.isfinite(s) and not is_settled(s, depth, rate, m):
        s, steps = next_value(s, depth, rate, m), steps - 1
    return s, steps


def _simulate(
    scale: float, depth: int, rate: float, steps: int, target: complex
) -> str:
    path = trajectory(scale, depth, rate=rate, steps=steps, target=target)
    with np.errstate(all="ignore"):
        first, last = np.abs(path[[0, -1]] ** depth - target)
    return _judge(first, last, abs(target))


def _judge(first: float, last: float, target: float) -> str:
    with np.errstate(over="ignore"):
        losses = np.square([first, last, target], dtype=float)
    return str(outcomes_by_loss(*losses))
