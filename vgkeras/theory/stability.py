"""Learning rates and scales beyond which gradient descent runs away."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from vgkeras import _checks
from vgkeras.theory.modes import escapes
from vgkeras.theory.search import turning_point


def critical_learning_rate(
    scale: float,
    depth: int,
    *,
    units: int,
    target: float = 1.0,
    eigenvalue: float = 1.0,
) -> float:
    """Returns the textbook limit `2 / lambda_max` of the Hessian at `scale * I`.

    Above it the loss need not fall at the first step. It does not yet diverge: see
    `divergence_learning_rate`, up to `2 * depth - 1` times larger.

    Args:
        scale: The factor of every kernel, positive.
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`.
        eigenvalue: The eigenvalue of `x.T @ x / samples`, the same in all directions.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`); `inf` where the Hessian is
        zero to float64.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(critical_learning_rate(1.0, 50, units=2), 6)
        0.04
    """
    c, m, k = _check_landscape(scale, depth, units, target, eigenvalue)
    c = np.float64(c)  # its powers overflow to Inf, they do not raise
    with np.errstate(all="ignore"):
        own = depth * c ** (2 * depth - 2)
        mixed = (depth - 1) * c ** (depth - 2.0) * (c**depth - m)
        # One unit has no antisymmetric direction; only differences between layers
        # bend upwards below the target.
        single = max(own + mixed, -mixed / max(depth - 1, 1))
        curvature = k * (single if units == 1 else own + abs(mixed))
        return float(2 / curvature)


def divergence_learning_rate(
    scale: float,
    depth: int,
    *,
    units: int,
    target: float = 1.0,
    eigenvalue: float = 1.0,
) -> float:
    """Returns the learning rate beyond which gradient descent runs away.

    From above the target, the first step must throw the mode further out than it
    was: `rate * scale**(depth - 2) * (scale**depth - target) > 2`. (For odd depths
    the far side is steeper, and two steps must; the limit is a hair lower.) Between
    the Hessian's limit and this one a run is thrown, but lands inside.

    From anywhere, a step that leaps over the valley's bottom may land beyond that
    same edge; such a run diverges sooner or later, not at once.

    Args:
        scale: The factor of every kernel, positive.
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`, positive.
        eigenvalue: The eigenvalue of `x.T @ x / samples`, the same in all directions.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`).

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(divergence_learning_rate(1.5, 10, units=2), 6)
        0.001377
    """
    c, m, k = _check_landscape(scale, depth, units, target, eigenvalue)
    _checks.check_positive("target", target)
    edge = escape_rate(depth, m)
    if depth * math.log(c) > math.log(m):  # the power itself may overflow
        edge = min(edge, _edge(lambda rate: escapes(c, depth, rate, m)))
    return edge / k


def stable_learning_rate(
    depth: int, *, units: int, target: float = 1.0, eigenvalue: float = 1.0
) -> float:
    """Returns the learning rate up to which a trained stack stays trained.

    At the bottom of the valley the sharpness is
    `(2 / units) * eigenvalue * depth * target**(2 - 2 / depth)`: a deeper stack needs
    a smaller learning rate. Above 2 over it the loss oscillates and never settles.

    Args:
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`, positive.
        eigenvalue: The eigenvalue of `x.T @ x / samples`.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`).

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(stable_learning_rate(50, units=2), 6)
        0.04
    """
    _, m, k = _check_landscape(1.0, depth, units, target, eigenvalue)
    _checks.check_positive("target", target)
    return 2 / (k * bottom_sharpness(depth, m))


def bottom_sharpness(depth: Any, m: Any) -> Any:
    """The sharpness at the bottom of the valley, of a `rate` of 1; unstable above 2."""
    return depth * m ** (2 - 2 / depth)


def divergence_scale(depth: int, *, rate: float, target: float = 1.0) -> float:
    """Returns the scale beyond which gradient descent runs away at once.

    The inverse of `divergence_learning_rate`, above the target.

    Args:
        depth: Number of layers, at least 2: a single layer's start decides nothing.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        target: What `scale**depth` has to reach, positive.

    Returns:
        A scale above `target**(1 / depth)`.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(divergence_scale(10, rate=0.01), 4)
        1.3462
    """
    depth = _checks.check_positive_int("depth", depth)
    if depth == 1:
        raise ValueError(
            "`depth` must be at least 2. Received: depth=1. One layer is convex."
        )
    rate = _checks.check_positive("rate", rate)
    m = _checks.check_positive("target", target)
    goal = m ** (1 / depth)

    def beyond(log_factor: float) -> bool:
        return escapes(goal * math.exp(log_factor), depth, rate, m)

    return goal * math.exp(turning_point(beyond, 0.0, 700.0 / depth))


def escape_rate(depth: int, m: float) -> float:
    """The `rate` beyond which a leap from inside the valley lands out of it."""
    if depth == 1:
        return 2.0
    inside = np.linspace(0, 1, 2001)[1:] ** (1 / depth) * m ** (1 / depth)
    slopes = inside ** (depth - 1) * (m - inside**depth)

    def leaps_out(rate: float) -> bool:
        return escapes(float(np.max(inside + rate * slopes)), depth, rate, m)

    return _edge(leaps_out)


def _edge(runs_away: Callable[[float], bool]) -> float:
    """The rate from which on a mode runs away, searched over all of float64."""
    log_rate = turning_point(lambda x: runs_away(math.exp(x)), -700.0, 700.0, 70)
    return math.exp(log_rate)


def _check_landscape(
    scale: Any, depth: Any, units: Any, target: Any, eigenvalue: Any
) -> tuple[float, float, float]:
    """Checks the common arguments; returns scale, target and `k * eigenvalue`."""
    _checks.check_positive_int("depth", depth)
    units = _checks.check_positive_int("units", units)
    rate = 2 / units * _checks.check_positive("eigenvalue", eigenvalue)
    m = _checks.check_finite("target", target)
    return _checks.check_positive("scale", scale), m, rate
