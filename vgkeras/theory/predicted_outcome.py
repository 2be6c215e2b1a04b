"""The outcome of a run, predicted from its start."""

from typing import Any

import numpy as np

from vgkeras import _checks
from vgkeras.theory.modes import check_array, log_gap, update
from vgkeras.theory.outcomes import outcomes_by_loss

_MOST_STEPS = 9_600  # that are taken one by one
_ROUND = 960  # a multiple of the periods 1 to 6, 8, 10, 12, 16, 32 and 64
_FEWEST_AT_ONCE = 16  # steps of a leap; one over fewer would be less exact
_CHANGE = 0.1  # share by which steps may differ within a leap


def outcome(
    scale: float,
    depth: int,
    *,
    rate: float,
    steps: int,
    target: Any = 1.0,
) -> str:
    """Predicts whether a run trains, is slow, stalls or diverges.

    Exact up to 9,600 steps: the recursion of `trajectory`, step by step, whether it
    settles or goes up and down. Longer runs leap over steps that hardly differ, along
    a differential equation that follows them to second order, and arrive within 1 in
    100,000 of their time; one that still goes up and down after 9,600 single steps is
    taken to go round, in a period that divides 960.

    Not in the recursion: above `rate * depth * target**(2 - 2 / depth) = 2` the
    bottom of the valley is unstable. A path may then be chaotic, and hang on the last
    digit of its number format. And a real run rounds: its small updates get lost.

    Args:
        scale: Initial value of every kernel, `scale * I`.
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        steps: Number of updates.
        target: What `scale**depth` has to reach, or a sequence of that, a value per
            mode; real or complex.

    Returns:
        `"trains"`, `"slow"`, `"stalls"` or `"diverges"`: what `outcomes_by_loss` says
        of the sum of the modes' losses.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> [outcome(c, 50, rate=0.01, steps=200) for c in (0.5, 0.91, 0.95, 1.5)]
        ['stalls', 'slow', 'trains', 'diverges']
    """
    scale = _checks.check_finite("scale", scale)
    depth = _checks.check_positive_int("depth", depth)
    rate = _checks.check_positive("rate", rate)
    steps = _checks.check_non_negative_int("steps", steps)
    modes, copies = np.unique(check_array("target", target), return_counts=True)
    start = np.full(modes.shape, scale, np.result_type(modes, float))
    walk = _single_steps if steps <= _MOST_STEPS else _leaps
    with np.errstate(all="ignore"):
        pairs = zip(start, modes, strict=True)
        end = np.array([walk(s, depth, rate, steps, m) for s, m in pairs])
        gaps = log_gap(np.stack([start, end]), depth, modes)
        losses = [*np.exp(2 * gaps), np.abs(modes) ** 2] @ copies
    return str(outcomes_by_loss(*losses))


def _single_steps(s: Any, depth: int, rate: float, steps: int, target: Any) -> Any:
    """The value of a mode after so many steps."""
    for _ in range(steps):
        s = s + update(s, depth, rate, target)
    return s


def _leaps(s: Any, depth: int, rate: float, steps: int, target: Any) -> Any:
    """The same after many steps, most of them taken together."""
    singles = 0
    while steps and np.isfinite(s):
        before, alike = s, min(_alike_steps(s, depth, rate, target), steps)
        if alike >= _FEWEST_AT_ONCE:
            s, steps = _leap(s, depth, rate, alike, target), steps - int(alike)
        else:
            s, steps = s + update(s, depth, rate, target), steps - 1
            singles += 1
        if singles == _MOST_STEPS:
            steps, singles = steps % _ROUND, 0
        if s == before:
            break
    return s


def _alike_steps(s: Any, depth: int, rate: float, target: Any) -> float:
    """How many steps ahead an update is still about the same."""
    gap, own = np.abs(s**depth - target), depth * np.abs(s) ** (2 * depth - 2)
    slope = rate * ((depth - 1) * gap * np.abs(s) ** max(depth - 2, 0) + own)
    return float(np.floor(_CHANGE / slope)) if slope else np.inf


def _leap(s: Any, depth: int, rate: float, steps: float, target: Any) -> Any:
    """`steps` updates at once, by a Runge-Kutta step of fourth order.

    The flow of `u(s) - u'(s) u(s) / 2` passes where updates `u` arrive, up to third
    order; the difference of two updates stands for the derivative.
    """

    def flow(value: Any) -> Any:
        first = update(value, depth, rate, target)
        return 2 * first - update(value + first / 2, depth, rate, target)

    one = flow(s)
    two = flow(s + steps / 2 * one)
    three = flow(s + steps / 2 * two)
    four = flow(s + steps * three)
    return s + steps / 6 * (one + 2 * two + 2 * three + four)
