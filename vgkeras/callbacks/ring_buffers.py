"""Small rings of variables in which a training step leaves what it has measured.

Numbers that a step returned, Python would have to wait for and to store between any two
steps. So a step writes into variables, whose order the graph keeps by itself, and the
host reads up to 128 steps at a time. A slot is NaN until it is written: this shows
which steps have measured a site, for a branch of a step may have passed it by.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vgkeras.callbacks.intercept import outside
from vgkeras.callbacks.step_statistics import COLUMNS, MEASURES, SIZE, measures

_SLOTS = 128
_BYTES = 2**18
_MOST_STEPS = 4096
_MOST_ELEMENTS = 2**20
MOST_ROUNDS = 32  # of a loop within a step, whose updates are told apart
_SIZE = MEASURES.index("size")


class Label(NamedTuple):
    """Says which row of a log a tensor fills."""

    layer: int
    name: str
    kind: str
    update: int = 0
    optimizer: str = ""
    time: int = 0  # of a recurrent layer, from 1; 0 if it is of no one time step
    call: int = 0  # of a layer, from 1; 0 of a variable


class Place:
    """What a site measures once a step: its rows, and no two of one step.

    `keys` tell variables apart, 0 if one has no gradient. An optimizer that scales the
    loss may skip a step for gradients that are not finite.
    """

    def __init__(self, labels: list[Label], keys: list[int], may_skip: bool) -> None:
        self.labels, self.keys, self.may_skip = labels, keys, may_skip


class Site:
    """A place in a training step where tensors are measured, and its ring.

    Args:
        labels: Names the rows.
        sizes: Elements of each row's tensor; 0 where that differs by step.
        present: The numbers of the rows that exist: a variable that the loss does
            not depend on has no gradient.
        least: Slots that are needed between two calls of `read`.
        rounds: How often one step may pass here: more than once if in a loop. Each
            has a place of its own; what comes later overwrites the last.
        keys: Tell the variables apart whose gradients these are.
        may_skip: Whether their optimizer may skip a step.
    """

    def __init__(
        self,
        labels: list[Label],
        sizes: list[int],
        present: list[int],
        least: int,
        rounds: int = 1,
        keys: Sequence[int] = (),
        may_skip: bool = False,
    ) -> None:
        more = [key * (i in present) for i, key in enumerate(keys)], may_skip
        self.places = [
            Place([one._replace(update=one.update + n) for one in labels], *more)
            for n in range(rounds)
        ]
        self.slots = least
        self._round: Any = None
        self._sizes, self._present = sizes, present
        self.ring: Any = None

    @property
    def is_small(self) -> bool:
        """Whether all that is measured here may stay in memory at the same time."""
        present = [self._sizes[i] for i in self._present]
        return all(present) and sum(present) <= _MOST_ELEMENTS

    def write(self, index: tf.Tensor, table: tf.Tensor) -> None:
        """Puts the rows that exist, `(COLUMNS, rows)`, into a slot, in the graph."""
        if self.ring is None:
            self.ring = self._make_ring(table.dtype)
        slot = index % self.slots * len(self.places)
        if self._round is not None:
            slot += tf.minimum(self._round, len(self.places) - 1)
        rows = tf.expand_dims(tf.cast(table, self.ring.dtype), 0)
        self.ring.scatter_update(tf.IndexedSlices(rows, tf.expand_dims(slot, 0)))
        if self._round is not None:
            self._round.assign_add(1)

    def end_step(self) -> None:
        """Begins the rounds of a loop anew, in the graph."""
        if self._round is not None:
            self._round.assign(0)

    def read(self, indices: np.ndarray) -> list[tuple[Place, np.ndarray, np.ndarray]]:
        """Empties the ring of what was written under these numbers.

        Returns:
            For each place which of `indices` were written, and for each of these the
            rows of `MEASURES`, `(.., rows, 10)`; NaN for rows that do not exist.
        """
        if self.ring is None:  # nothing to write, or nothing written yet
            count = 0 if self._present else len(indices)
            empty = np.zeros((count, COLUMNS, len(self._present)), np.float32)
            return [(self.places[0], np.arange(count), self._rows(empty))]
        rounds = len(self.places)
        slots = (indices % self.slots)[:, None] * rounds + np.arange(rounds)
        raw = self.ring.numpy()[slots]
        self.ring.assign(self._blank)
        written = ~np.isnan(raw[:, :, SIZE]).all(axis=2)
        return [
            (place, np.flatnonzero(there), self._rows(one[there]))
            for place, there, one in zip(
                self.places, written.T, np.moveaxis(raw, 1, 0), strict=True
            )
        ]

    def _rows(self, raw: np.ndarray) -> np.ndarray:
        shape = (len(raw), len(self._sizes), len(MEASURES))
        rows = np.full(shape, np.nan, raw.dtype)
        rows[:, :, _SIZE] = self._sizes
        rows[:, self._present] = measures(raw)
        return rows

    def _make_ring(self, dtype: tf.DType) -> tf.Variable:
        rounds = len(self.places)
        fitting = _BYTES // (len(self._present) * COLUMNS * dtype.size * rounds)
        self.slots = max(min(_SLOTS, fitting), self.slots)
        if rounds > 1:
            self._round = outside(lambda: tf.Variable(0, dtype=tf.int64))
        shape = [self.slots * rounds, COLUMNS, len(self._present)]
        self._blank = np.full(shape, np.nan, dtype.as_numpy_dtype)
        return outside(lambda: tf.Variable(self._blank))


class Numbers:
    """A few numbers of each of the latest steps, at least as many as `least`."""

    def __init__(self, width: int, every: int, least: int) -> None:
        self._width = width
        self.slots = max(min(_SLOTS * every, _MOST_STEPS), least)
        self.ring: Any = None

    def write(self, step: tf.Tensor, row: tf.Tensor) -> None:
        """Puts the numbers of a step into its slot, in the graph."""
        if self.ring is None:
            self._blank = np.full((self.slots, self._width), np.nan)
            self.ring = outside(lambda: tf.Variable(self._blank))
        slot = step % self.slots
        self.ring.scatter_update(tf.IndexedSlices(row[None], slot[None]))

    def read(self, steps: np.ndarray) -> np.ndarray | None:
        """The numbers of some steps, `(steps, width)`; `None` if none has any.

        What was not written since the last call is NaN.
        """
        if self.ring is None:
            return None
        rows = self.ring.numpy()[steps % self.slots]
        self.ring.assign(self._blank)
        return rows
