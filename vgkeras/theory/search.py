"""The search for a root: by halves, of one number or of many side by side."""

from collections.abc import Callable

import numpy as np


def turning_point(
    holds: Callable[[float], bool], low: float, high: float, halvings: int = 60
) -> float:
    """Where `holds` turns true between two numbers; `high` if it does nowhere before.

    For a factor that spans many decades, search its logarithm.

    Example:
        >>> round(turning_point(lambda x: x * x >= 2, 0, 2), 12)
        1.414213562373
    """
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def turning_points(
    holds: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    halvings: int = 24,
) -> np.ndarray:
    """The same for each place of arrays; NaN where it does not hold at `high` either.

    Example:
        >>> zeros, squares = np.zeros(3), np.array([2, 9, 99])
        >>> turning_points(lambda x: x * x >= squares, zeros, zeros + 4).round(3)
        array([1.414, 3.   ,   nan])
    """
    ends = np.where(holds(high), high, np.nan)
    for _ in range(halvings):
        middle = (low + high) / 2
        true = holds(middle)
        low, high = np.where(true, low, middle), np.where(true, middle, high)
    return high + 0 * ends
