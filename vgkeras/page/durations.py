"""How long runs take, from those that were made."""

import statistics
from collections import defaultdict, deque
from collections.abc import Callable

FIRST = 2.0  # seconds, while nothing is known
_MANY = 8  # runs that are remembered of each kind


class Durations:
    """The seconds of the last runs, by the function that made them."""

    def __init__(self) -> None:
        self._seconds: dict[Callable | None, deque[float]] = defaultdict(
            lambda: deque(maxlen=_MANY)
        )

    def note(self, make: Callable | None, seconds: float) -> None:
        self._seconds[make].append(seconds)

    def expected(self, make: Callable | None) -> float:
        """Seconds that a run takes: the middle of the last ones."""
        return statistics.median(self._seconds.get(make) or [FIRST])

    def left(self, make: Callable | None, gone: float, share: float) -> float:
        """Seconds that are left of a run, of which a share is done."""
        if share > 0:
            return gone * (1 - share) / share
        return max(0.0, self.expected(make) - gone)
