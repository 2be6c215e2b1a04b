"""The one search for a root: by halves."""

from collections.abc import Callable


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
