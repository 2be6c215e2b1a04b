"""Central differences in float64 along a direction, with an error bar."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[np.ndarray]
_CHANGE = 1e-6  # of the values, relative: between truncation and rounding
_LADDER = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)  # times the first step
_ROUNDINGS = 64.0  # of the values, that may add up in one evaluation
_TRIES = 5  # at a first step


@dataclass(frozen=True)
class Slope:
    """A directional derivative `sum(cotangents * d values / d t)` at `t = 0`.

    Args:
        value: The central difference.
        error: How far it may be off: its change with the step, and rounding.
        kink: How much one-sided differences differ at most; at a smooth point they
            do not.
    """

    value: float
    error: float
    kink: float


class Line:
    """A function of one number, with values that are weighted and added up.

    Args:
        function: Returns arrays for a number `t`.
        cotangents: Weights, in the shapes of the arrays.
        length: A `t` at which the function may change by as much as it is.
        limit: Largest `t` that may be used.
        moves: Whether a function that does not change at all is to be looked at
            farther away.
    """

    def __init__(
        self,
        function: Callable[[float], Values],
        cotangents: Values,
        length: float,
        limit: float,
        moves: bool = True,
    ) -> None:
        self._function = function
        self._cotangents = cotangents
        self._limit = limit
        self._centre = function(0.0)
        self.step = self._first_step(_CHANGE * length, moves)

    def slope(self, factor: float = 1.0) -> Slope:
        """Differences with one step; the error is that of rounding alone.

        Args:
            factor: Multiplies the step.
        """
        step = factor * self.step
        above, below = self._function(step), self._function(-step)
        value = rounding = bends = 0.0
        for u, a, b, c in zip(
            self._cotangents, above, below, self._centre, strict=True
        ):
            value += float(np.sum(u * (a - b)))
            rounding = math.hypot(rounding, norm([u * a]), norm([u * b]))
            bends += float(np.sum(np.abs(u * ((a - c) + (b - c)))))
        error = _ROUNDINGS * float(np.finfo(float).eps) * rounding / step
        return Slope(value / (2 * step), error, bends / (2 * step))

    def best_slope(self) -> Slope:
        """Differences with the steps of a ladder; of these the most certain.

        The change from one step to the next, ten times larger, is an error of both.
        """
        rungs = [f for f in _LADDER if f <= 1 or f * self.step <= self._limit]
        slopes = [self.slope(factor) for factor in rungs]
        moving = [slope for slope in slopes if slope.value != 0]
        if len(moving) < 2:
            return slopes[rungs.index(1.0)]
        kink = min(slope.kink for slope in moving)
        certain = [
            Slope(fine.value, abs(fine.value - coarse.value) + fine.error, kink)
            for fine, coarse in itertools.pairwise(moving)
        ]
        return min(certain, key=_uncertainty)

    def _first_step(self, step: float, moves: bool) -> float:
        """A step that changes the values by about a millionth of themselves."""
        whole = norm(self._centre)
        for _ in range(_TRIES):
            values = self._function(step)
            change = norm([a - c for a, c in zip(values, self._centre, strict=True)])
            relative = change / whole if whole else 0.0
            if (relative == 0 and not moves) or 0.01 <= relative / _CHANGE <= 100:
                break
            if not math.isfinite(relative):
                step *= _CHANGE
            else:
                farther = _CHANGE / relative * step if relative else self._limit
                step = min(farther, self._limit)
        return step


def _uncertainty(slope: Slope) -> float:
    return slope.error if math.isfinite(slope.error) else math.inf


def norm(arrays: Values) -> float:
    """The Frobenius norm of all arrays together, scaled before it is squared."""
    largest = max((float(np.max(np.abs(a), initial=0.0)) for a in arrays), default=0.0)
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(sum(float(np.sum((a / largest) ** 2)) for a in arrays))
