"""Small rings of variables in which a training step leaves what it has measured.

Numbers that a step returned, Python would have to wait for and to store between any two
steps. So a step writes into variables, whose order the graph keeps by itself, and the
host reads up to 128 steps at a time. A slot is NaN until it is written: this shows
which steps have measured a site, for a branch of a step may have passed it by.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from vgkeras.callbacks.intercept import outside
from vgkeras.callbacks.step_statistics import COLUMNS, MEASURES, SIZE, measures

Label = tuple[int, str, str]  # layer, name, kind
_SLOTS = 128
_BYTES = 2**18
_MOST_LOSSES = 4096


class Site:
    """A place in a training step where tensors are measured, and its ring.

    Args:
        labels: Names the rows.
        sizes: Elements of each row's tensor; 0 where that differs by step.
        present: The numbers of the rows that exist: a variable that the loss does
            not depend on has no gradient.
        least: Slots that are needed between two calls of `read`.
    """

    def __init__(
        self, labels: list[Label], sizes: list[int], present: list[int], least: int
    ) -> None:
        self.labels = labels
        self.slots = least
        self._sizes, self._present = sizes, present
        self._ring: Any = None

    def write(self, index: tf.Tensor, table: tf.Tensor) -> None:
        """Puts the rows that exist, `(COLUMNS, rows)`, into a slot, in the graph."""
        if self._ring is None:
            self._ring = self._make_ring(table.dtype)
        slot = index % self.slots
        rows = tf.expand_dims(tf.cast(table, self._ring.dtype), 0)
        self._ring.scatter_update(tf.IndexedSlices(rows, tf.expand_dims(slot, 0)))

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Empties the ring of what was written under these numbers.

        Returns:
            Which of `indices` were written, and for each the rows of `MEASURES`,
            `(.., rows, 8)`; NaN for rows that do not exist.
        """
        numbers, raw = self._slots_written(indices)
        shape = (len(numbers), len(self.labels), len(MEASURES))
        rows = np.full(shape, np.nan, raw.dtype)
        rows[:, :, -1] = self._sizes
        rows[:, self._present] = measures(raw)
        return numbers, rows

    def _slots_written(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._ring is None:  # nothing to write, or nothing written yet
            count = 0 if self._present else len(indices)
            empty = np.zeros((count, COLUMNS, len(self._present)), np.float32)
            return np.arange(count), empty
        raw = self._ring.numpy()[indices % self.slots]
        self._ring.assign(self._blank)
        numbers = np.flatnonzero(~np.isnan(raw[:, SIZE]).all(axis=1))
        return numbers, raw[numbers]

    def _make_ring(self, dtype: tf.DType) -> tf.Variable:
        fitting = _BYTES // (len(self._present) * COLUMNS * dtype.size)
        self.slots = max(min(_SLOTS, fitting), self.slots)
        shape = [self.slots, COLUMNS, len(self._present)]
        self._blank = np.full(shape, np.nan, dtype.as_numpy_dtype)
        return outside(lambda: tf.Variable(self._blank))


class Losses:
    """The losses of the latest steps, at least as many as `least`."""

    def __init__(self, every: int, least: int) -> None:
        self.slots = max(min(_SLOTS * every, _MOST_LOSSES), least)
        self._ring: Any = None

    def write(self, step: tf.Tensor, loss: tf.Tensor) -> None:
        """Puts the loss of a step into its slot, in the graph."""
        if self._ring is None:
            blank = np.full(self.slots, np.nan)
            self._ring = outside(lambda: tf.Variable(blank))
        losses = tf.IndexedSlices(loss[None], (step % self.slots)[None])
        self._ring.scatter_update(losses)

    def read(self, steps: np.ndarray) -> np.ndarray | None:
        """The losses of some steps; `None` if no step has one."""
        return None if self._ring is None else self._ring.numpy()[steps % self.slots]
