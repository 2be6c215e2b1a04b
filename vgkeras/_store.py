"""What a long run has logged, in bounded memory or on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_BYTES_PER_STEP = 8  # the number of the step itself


class Series:
    """Arrays of one shape, one a step; thinned when they outgrow their memory.

    The newest half of the memory holds every step that was added. The other half
    holds the whole course before it: every second step, and when that is too much,
    every fourth, and so on. The first step is always among them.

    Args:
        every: Steps between the arrays that are added.
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._stride = 1
        self._old: tuple[np.ndarray, np.ndarray] | None = None
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Takes the arrays `values`, shape `(len(steps), ...)`, of these steps."""
        if len(steps):
            self._new.append((steps, values))

    @property
    def nbytes(self) -> int:
        """Bytes of memory taken."""
        return sum(steps.nbytes + values.nbytes for steps, values in self._parts())

    def arrays(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps, in order, and their values; `None` before the first."""
        parts = list(self._parts())
        return _joined(parts) if parts else None

    def pop(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns what `arrays` does, and forgets it."""
        found = self.arrays()
        self._old, self._new = None, []
        return found

    def shrink(self, most_bytes: int) -> None:
        """Thins out until `nbytes` is `most_bytes` or less; a few steps always stay."""
        if self.nbytes <= most_bytes:
            return
        steps, values = _joined(list(self._parts()))
        most = max(most_bytes // (values[0].nbytes + _BYTES_PER_STEP), 4)
        place = np.arange(len(steps))
        while True:
            whole = (steps // self._every) % self._stride == 0
            keep = np.flatnonzero(whole | (place >= len(steps) - most // 2))
            if len(keep) <= most - most // 4:
                break
            self._stride *= 2
        self._old, self._new = (steps[keep], values[keep]), []

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._old is not None:
            yield self._old
        yield from self._new


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a new or empty folder, or raises if it holds something."""
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            "`path` must be a new or empty folder. "
            f"Received: path={str(path)!r}. Give each run a folder of its own."
        )
    return folder


def _joined(
    parts: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    steps, values = zip(*parts, strict=True)
    return np.concatenate(steps), np.concatenate(values)
