"""How many steps a mode needs to learn its target."""

import math
from typing import Any

import numpy as np

from vgkeras import _checks
from vgkeras.theory.modes import escapes, mirror, signed_gap
from vgkeras.theory.outcomes import LEARNED
from vgkeras.theory.search import turning_point
from vgkeras.theory.special import digamma

_TERMS = np.arange(1, 61)  # of the power series; they are used up to 1/2, 2**-60


def steps_to_learn(
    scale: float,
    depth: int,
    *,
    rate: float,
    target: float = 1.0,
    fraction: float = LEARNED,
) -> float:
    """Returns how many updates a mode needs to learn its target.

    Learned means: its loss is at most `fraction` of the smaller of its first loss and
    the loss of the zero map. (From above, a stack that collapses to 0 would otherwise
    count as trained.) The time of gradient flow is a hypergeometric integral; half a
    logarithm corrects it for discrete steps. The number is real and within a step of
    a simulation as long as the steps are small, `rate * depth << 1`.

    Args:
        scale: Initial value of every kernel, `scale * I`.
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        target: What `scale**depth` has to reach.
        fraction: Share of the loss that may be left, between 0 and 1.

    Returns:
        Number of updates; 0 if it starts at the target; `inf` if it never learns:
        from `scale` 0, for a target of the sign that the stack cannot reach, or if
        the first step throws it out.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> print(f"{steps_to_learn(0.5, 50, rate=0.01):.1e}")
        5.9e+14
    """
    depth = _checks.check_positive_int("depth", depth)
    rate = _checks.check_positive("rate", rate)
    fraction = _check_fraction(fraction)
    scale = _checks.check_finite("scale", scale)
    s, m = mirror(scale, depth, _checks.check_finite("target", target))
    if depth > 1 and signed_gap(s, depth, m) > 0 and escapes(s, depth, rate, m):
        return math.inf
    allowed = math.sqrt(fraction) * min(abs(signed_gap(s, depth, m)), abs(m))
    return steps_until(s, depth, rate, m, allowed)


def min_trainable_scale(
    depth: int, *, rate: float, steps: int, target: float = 1.0
) -> float:
    """Returns the smallest scale from which a mode learns its target in time.

    Args:
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        steps: Number of updates.
        target: What `scale**depth` has to reach, positive.

    Returns:
        A scale between 0 and `target**(1 / depth)`; the latter if no scale below it
        is near enough.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(min_trainable_scale(50, rate=0.01, steps=1000), 3)
        0.88
    """
    depth = _checks.check_positive_int("depth", depth)
    steps = _checks.check_positive_int("steps", steps)
    goal = _checks.check_positive("target", target) ** (1 / depth)

    def in_time(scale: float) -> bool:
        return steps_to_learn(scale, depth, rate=rate, target=target) <= steps

    return turning_point(in_time, 0.0, goal)


def steps_until(s: float, depth: int, rate: float, m: float, allowed: float) -> float:
    """Steps from `s >= 0` until `|s**depth - m| <= allowed`."""
    gap = abs(signed_gap(s, depth, m))
    if gap <= allowed:
        return 0.0
    if depth == 1:
        return _steps_of_one_layer(gap, allowed, rate)
    if s == 0 or m <= 0 or allowed == 0:
        return math.inf
    with np.errstate(over="ignore"):
        flow = _flow_time(s, depth, m, allowed / m) / rate
    side = 1 if signed_gap(s, depth, m) > 0 else -1
    log_end = (math.log(m) + math.log1p(side * allowed / m)) / depth
    slowed = (depth - 1) * (log_end - math.log(s)) + math.log(allowed / gap)
    return float(max(flow + slowed / 2, 0.0))


def _steps_of_one_layer(gap: float, allowed: float, rate: float) -> float:
    """One layer is linear: every step multiplies the gap by `1 - rate`."""
    if allowed == 0 or rate >= 2:
        return math.inf
    return math.log(gap / allowed) / -math.log(abs(1 - rate)) if rate != 1 else 1.0


def _flow_time(s: float, depth: int, m: float, left: float) -> float:
    """`rate` times the time of gradient flow until `|s**depth / m - 1| = left`."""
    exponent = depth * math.log(s) - math.log(m)  # ln u, u = s**depth / m
    unit = np.float64(m) ** (2 / depth - 2)
    if exponent > 0:
        b = 2 - 2 / depth
        near = _partial_beta(b, 1 / (1 + left), left / (1 + left))
        return unit / depth * (near - _partial_beta(b, *_complements(-exponent)))
    b = 2 / depth
    first, last = exponent / depth, math.log1p(-left) / depth  # ln(u**(1 / depth))
    near = _partial_beta(b, 1 - left, left)
    smooth = (near - _partial_beta(b, *_complements(exponent))) / depth
    if depth == 2:
        return unit * (last - first + smooth)
    plateau = (np.exp(-(depth - 2) * first) - np.exp(-(depth - 2) * last)) / (depth - 2)
    return unit * (plateau + smooth)


def _complements(log_z: float) -> tuple[float, float]:
    return math.exp(log_z), -math.expm1(log_z)


def _partial_beta(b: float, z: float, rest: float) -> float:
    """The integral of `t**(b - 1) / (1 - t)` from 0 to `z`, with `rest = 1 - z`.

    It is `z**b / b * 2F1(1, b; b + 1; z)`. Two power series, around 0 and around 1.
    """
    if z <= 0.5:
        series = 1 / b + np.sum(z**_TERMS / (_TERMS + b))
        return float(z**b * series)
    coefficients = np.cumprod((_TERMS - b) / _TERMS) / _TERMS
    series = np.sum(coefficients * rest**_TERMS)
    return float(-np.euler_gamma - digamma(b) - math.log(rest) - series)


def _check_fraction(value: Any) -> float:
    fraction = _checks.check_positive("fraction", value)
    if fraction >= 1:
        raise ValueError(f"`fraction` must be below 1. Received: fraction={value!r}.")
    return fraction
