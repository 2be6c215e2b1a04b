"""One mode of a stack of scaled identities under gradient descent, step by step."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgkeras import _checks


def trajectory(
    scale: ArrayLike,
    depth: ArrayLike,
    *,
    rate: ArrayLike,
    steps: int,
    target: ArrayLike = 1.0,
) -> np.ndarray:
    """Returns the exact path of one mode under gradient descent.

    All layers stay equal, and each eigenvalue `s` of their kernels goes its own way:
    `s <- s - rate * conj(s)**(depth - 1) * (s**depth - target)`.

    Args:
        scale: Initial value, any shape.
        depth: Number of layers; broadcast against `scale`.
        rate: `learning_rate * (2 / output_units) * eigenvalue`; broadcast.
        steps: Number of updates.
        target: What `s**depth` has to reach, real or complex; broadcast.

    Returns:
        Shape `(..., steps + 1)`: entry `t` is `s` after `t` updates, complex if
        `target` is. A path beyond float64 ends in `inf` and `nan`.

    Raises:
        TypeError: If `steps` is not an integer.
        ValueError: If an argument is out of range or the shapes do not broadcast.

    Example:
        >>> trajectory(0.5, 2, rate=0.1, steps=2)
        array([0.5       , 0.5375    , 0.57572129])
    """
    depth = _check_depths(depth)
    steps = _checks.check_non_negative_int("steps", steps)
    scale, rate = check_array("scale", scale), check_array("rate", rate)
    target = check_array("target", target)
    s, depth, rate, target = _broadcast(scale, depth, rate, target)
    path = np.empty((steps + 1, *s.shape), np.result_type(s, target, float))
    path[0] = s
    with np.errstate(all="ignore"):
        for step in range(steps):
            path[step + 1] = path[step] + update(path[step], depth, rate, target)
    return np.moveaxis(path, 0, -1)


def update(s: Any, depth: Any, rate: Any, target: Any) -> Any:
    """What a step adds to a mode."""
    power = s.conj() ** (depth - 1)
    return -rate * power * (power.conj() * s - target)


def log_gap(s: ArrayLike, depth: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Returns how far a mode is from its target, `ln |s**depth - target|`.

    Where both nearly cancel, the difference of their logarithms keeps the digits
    that the difference of the powers has lost; far out, no power overflows.

    Args:
        s: Values of a mode, any shape, real or complex.
        depth: Number of layers; broadcast against `s`.
        target: What `s**depth` has to reach, real or complex; broadcast.

    Returns:
        Natural logarithms, `-inf` at the target, of the broadcast shape.

    Example:
        >>> log_gap([1.0, 0.5], 2000, 1.0)
        array([-inf,   0.])
    """
    s, depth, target = np.asarray(s), np.asarray(depth), np.asarray(target)
    with np.errstate(all="ignore"):
        value, log_target = log_power(s, depth), np.log(np.abs(target))
        turn = _direction(s) ** depth * np.conj(_direction(target))
        distance = np.clip(value - log_target, -800, 700)
        ratio = np.expm1(distance) * turn + (turn - 1)
        gap = log_target + np.log(np.abs(ratio))
        gap = np.where(value - log_target > 700, value, gap)
    return np.where(target == 0, value, gap)


def log_power(s: Any, exponent: Any) -> np.ndarray:
    """`ln |s**exponent|` without overflow, with `0**0 = 1`."""
    with np.errstate(all="ignore"):
        return np.where(np.equal(exponent, 0), 0.0, exponent * np.log(np.abs(s)))


def _direction(value: np.ndarray) -> np.ndarray:
    """`value / |value|`, 1 for 0: -1 and 1 are exact, as are their powers."""
    return np.where(value == 0, 1, np.sign(value))


def mirror(s: float, depth: int, m: float) -> tuple[float, float]:
    """Turns a mode into the same one with `s >= 0`: the recursion is symmetric."""
    if s >= 0:
        return s, m
    return -s, m if depth % 2 == 0 else -m


def float_power(s: float, exponent: int) -> float:
    """`s**exponent`, infinite where Python would raise."""
    with np.errstate(all="ignore"):
        return float(np.float64(s) ** exponent)


def signed_gap(s: float, depth: int, m: float) -> float:
    """`s**depth - m`, without the cancellation near the target."""
    if s <= 0 or m <= 0:
        return float_power(s, depth) - m
    exponent = depth * math.log(s) - math.log(m)
    return m * math.expm1(exponent) if exponent < 700 else float_power(s, depth)


def _pull(s: float, depth: int, rate: float, m: float) -> float:
    """The `x` of the step `s <- s * (1 - x)`, for `depth >= 2`."""
    with np.errstate(all="ignore"):
        slope = np.float64(rate) * float_power(s, depth - 2)
        return float(slope * signed_gap(s, depth, m))


def escapes(s: float, depth: int, rate: float, m: float) -> bool:
    """Whether a mode above its target is thrown further out than it was."""
    pull = _pull(s, depth, rate, m)
    if depth % 2 == 0 or pull <= 1:
        return pull > 2
    # Odd depths: the far side is steeper. There and back it must come out further.
    return (pull - 1) * (_pull(s * (1 - pull), depth, rate, m) - 1) > 1


def check_array(name: str, value: ArrayLike) -> np.ndarray:
    """Returns an array of finite numbers, or raises."""
    array = np.asarray(value)
    if array.dtype.kind not in "iufc" or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be a finite number or an array of them. "
            f"Received: {name}={value!r}."
        )
    return array if array.dtype.kind in "fc" else array.astype(float)


def _check_depths(value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(
            "`depth` must be a positive integer or an array of them. "
            f"Received: depth={value!r}."
        )
    return array


def _broadcast(*arrays: np.ndarray) -> list[np.ndarray]:
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            "`scale`, `depth`, `rate` and `target` must broadcast. "
            f"Received: shapes {shapes}."
        ) from error
