"""Statistics of many tensors, quick enough to be taken at every training step.

They mean the same as those of `tape.statistics`. That one is exact down to the last
subnormal number and works in float64; this one works in the tensors' own precision,
in plain TensorFlow kernels, which pass over a tensor several times faster. Kernels of
TensorFlow flush subnormal numbers to 0 anyway, so a training step makes none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vgkeras.tape import STATISTICS

# Of a tensor g: max |g|, sum of (g / max)^2, sum of |g| / max, number of elements that
# are not 0, number of Inf and NaN, size; then the scale of the loss, and what the
# update did: share of weights left as they were, ||update|| / ||w||.
COLUMNS = 9
SIZE = 5  # the column that is a number whenever a row was written
# What a log holds of a tensor.
MEASURES = (*STATISTICS, "frozen_fraction", "update_ratio", "size")
# Between these magnitudes no square, and no sum of squares, leaves float32.
_LEAST, _MOST = 1e-12, 1e14
_LARGE = 2**14  # elements; to put such tensors together would cost more than it saves


def quick_statistics(tensors: Sequence[tf.Tensor], *, xla: bool = False) -> tf.Tensor:
    """Measures tensors with a few plain kernels each.

    No norm over- or underflows: where the magnitudes call for it, which is rare, each
    tensor is divided by its largest magnitude before it is squared.

    Args:
        tensors: Floating tensors of any shapes.
        xla: Whether XLA compiles the step. It compiles a kernel for each pass over
            each tensor, so that tensors of one size had better be taken together.

    Returns:
        A tensor `(len(tensors), 6)`, float64 if one of `tensors` is, else float32:
        the first six of `COLUMNS`.
    """
    groups = _Groups(tensors, widest(tensors), xla)
    columns = groups.measured()
    columns.append(groups.sizes(columns[0].dtype))
    return groups.in_order(tf.stack(columns, axis=1))


def changes(
    before: Sequence[tf.Tensor], after: Sequence[tf.Tensor], *, xla: bool = False
) -> tf.Tensor:
    """Compares weights before and after an update.

    Args:
        before: Flat tensors.
        after: Tensors of the same sizes.
        xla: Whether XLA compiles the step.

    Returns:
        A tensor `(len(before), 2)`: the share of elements that are the same, and the
        norm of the difference over the norm of `before`.
    """
    dtype = widest(before)
    new = [tf.cast(tensor, dtype) for tensor in after]
    old = [
        tf.reshape(tf.cast(tensor, dtype), other.shape)
        for tensor, other in zip(before, new, strict=True)
    ]
    made = _Groups([n - o for n, o in zip(new, old, strict=True)], dtype, xla)
    largest, squares, _, nonzero, _ = made.measured()
    largest_weight, weight_squares = _Groups(old, dtype, xla).measured()[:2]
    # Where one of the two is 0 throughout, so is its sum of squares.
    both = (largest > 0) & (largest_weight > 0)
    spread = tf.sqrt(tf.where(both, squares / weight_squares, 1))
    ratio = largest / largest_weight * spread
    frozen = 1 - nonzero / made.sizes(dtype)
    return made.in_order(tf.stack([frozen, ratio], axis=1))


def measures(raw: np.ndarray) -> np.ndarray:
    """Turns rows of a ring into rows of a log.

    Args:
        raw: Array `(..., 9)` of `COLUMNS`.

    Returns:
        Array `(..., 8)` of `MEASURES` with base-10 logarithms, in the dtype of `raw`.
    """
    columns = np.moveaxis(raw.astype(np.float64), -1, 0)
    largest, squares, magnitudes, nonzero, bad, size, scale, frozen, ratio = columns
    with np.errstate(all="ignore"):
        log10_max = np.log10(largest) - np.log10(scale)
        logarithms = np.stack(
            [
                log10_max + np.log10(squares) / 2,
                log10_max,
                log10_max + np.log10(magnitudes / size),
            ]
        )
        zero, frozen = np.clip([1 - nonzero / size, frozen], 0, 1)
        logarithms[:, bad > 0] = np.inf
        rows = np.stack([*logarithms, zero, bad / size, frozen, ratio, size], axis=-1)
    return rows.astype(raw.dtype)


def widest(tensors: Sequence[tf.Tensor]) -> tf.DType:
    """The format to measure in: float64 if a tensor has it, else float32."""
    return tf.float64 if any(t.dtype == tf.float64 for t in tensors) else tf.float32


def as_one_node(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Keeps a branch of a graph that is rarely taken in one piece.

    Spread over the graph, its many operations would each be skipped one by one.
    """
    if tf.executing_eagerly():
        return function
    attributes = {"_noinline": True}
    return tf.function(function, autograph=False, experimental_attributes=attributes)


class _Groups:
    """Tensors, those of one size in the rows of one matrix.

    Args:
        tensors: Tensors of any shapes.
        dtype: The format to measure them in.
        xla: Whether large tensors are put together as well. XLA compiles a kernel for
            each pass over each group; otherwise to copy them costs more than it saves.
    """

    def __init__(
        self, tensors: Sequence[tf.Tensor], dtype: tf.DType, xla: bool
    ) -> None:
        large = math.inf if xla else _LARGE
        members: dict[Any, list[int]] = {}
        for index, tensor in enumerate(tensors):
            size = tensor.shape.num_elements()
            small = size is not None and size < large
            members.setdefault(size if small else f"tensor {index}", []).append(index)
        listed = sorted(members.values(), key=lambda indices: len(indices) > 1)
        self._order = [index for indices in listed for index in indices]
        cast = [tf.cast(tensor, dtype) for tensor in tensors]
        self._groups = [
            tf.stack([tf.reshape(cast[index], [-1]) for index in indices])
            if len(indices) > 1
            else cast[indices[0]]
            for indices in listed
        ]
        self._rows = [len(indices) for indices in listed]
        self._tensors = [tensors[index] for index in self._order]

    def in_order(self, table: tf.Tensor) -> tf.Tensor:
        """Rows as the tensors came, of a table in the order of the groups."""
        return tf.gather(table, np.argsort(self._order))

    def measured(self) -> list[tf.Tensor]:
        """The first five of `COLUMNS`."""
        largest, squares, total, nonzero = self.columns()
        ordinary = (largest == 0) | ((largest > _LEAST) & (largest < _MOST))
        divisor = tf.maximum(largest, _smallest_normal(largest))

        def plainly() -> tf.Tensor:
            least = tf.maximum(largest, _LEAST)  # its square is no 0
            sums = [squares / tf.square(least), total / least]
            return tf.stack([*sums, nonzero, tf.zeros_like(nonzero)])

        @as_one_node
        def carefully() -> tf.Tensor:
            return tf.concat([self.relative(divisor), self.counts()], axis=0)

        rest = tf.cond(tf.reduce_all(ordinary), plainly, carefully)
        return [largest, *tf.unstack(rest)]

    def columns(self) -> list[tf.Tensor]:
        """Of each tensor: max |g|, sum g^2, sum |g|, number of elements not 0."""
        found = self._each(
            _numbers_of_one(group) if rows == 1 else _numbers(group)
            for group, rows in zip(self._groups, self._rows, strict=True)
        )
        largest, half_squares, total, half_nonzero = found
        return [largest, 2 * half_squares, total, 2 * half_nonzero]

    def relative(self, divisor: tf.Tensor) -> tf.Tensor:
        """Sum (g / divisor)^2 and sum |g / divisor| of each tensor, `(2, tensors)`."""
        parts = zip(self._matrices(), tf.split(divisor, self._rows), strict=True)
        return tf.stack(self._each(_relative(matrix, part) for matrix, part in parts))

    def counts(self) -> tf.Tensor:
        """Elements that are not 0, and elements that are Inf or NaN, `(2, tensors)`."""
        return tf.stack(self._each(_counts(matrix) for matrix in self._matrices()))

    def sizes(self, dtype: tf.DType) -> tf.Tensor:
        """Elements of each tensor."""
        known = [tensor.shape.num_elements() for tensor in self._tensors]
        if None not in known:
            return tf.constant(known, dtype)
        return tf.cast(tf.stack([tf.size(tensor) for tensor in self._tensors]), dtype)

    def _matrices(self) -> list[tf.Tensor]:
        pairs = zip(self._groups, self._rows, strict=True)
        return [tf.reshape(group, [rows, -1]) for group, rows in pairs]

    @staticmethod
    def _each(columns: Iterable[list[tf.Tensor]]) -> list[tf.Tensor]:
        """Columns of all groups, one below the other."""
        return [_below(column) for column in zip(*columns, strict=True)]


def _below(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Numbers, which come first, and vectors as one vector."""
    numbers = [part for part in parts if part.shape.rank == 0]
    vectors = list(parts[len(numbers) :])
    return tf.concat([tf.stack(numbers), *vectors] if numbers else vectors, axis=0)


def _numbers_of_one(tensor: tf.Tensor) -> list[tf.Tensor]:
    """Max, half the sum of squares, sum, half the count: all but one pass in place."""
    magnitude = tf.abs(tensor)
    squares, total = tf.nn.l2_loss(magnitude), tf.reduce_sum(magnitude)
    largest = tf.reduce_max(magnitude)
    with tf.control_dependencies([squares, total, largest]):
        signs = tf.sign(magnitude)  # to compare with 0 and cast takes far longer
    return [largest, squares, total, tf.nn.l2_loss(signs)]


def _numbers(rows: tf.Tensor) -> list[tf.Tensor]:
    """The same for each row of a matrix."""
    magnitude = tf.abs(rows)
    return [
        tf.reduce_max(magnitude, axis=1),
        tf.reduce_sum(tf.square(rows), axis=1) / 2,
        tf.reduce_sum(magnitude, axis=1),
        tf.reduce_sum(tf.sign(magnitude), axis=1) / 2,
    ]


def _relative(rows: tf.Tensor, divisor: tf.Tensor) -> list[tf.Tensor]:
    relative = tf.abs(rows) / divisor[:, None]
    return [
        tf.reduce_sum(tf.square(relative), axis=1),
        tf.reduce_sum(relative, axis=1),
    ]


def _counts(rows: tf.Tensor) -> list[tf.Tensor]:
    bad = tf.logical_not(tf.math.is_finite(rows))
    return [
        tf.reduce_sum(tf.cast(tf.not_equal(rows, 0), rows.dtype), axis=1),
        tf.reduce_sum(tf.cast(bad, rows.dtype), axis=1),
    ]


def _smallest_normal(values: tf.Tensor) -> float:
    return float(np.finfo(values.dtype.as_numpy_dtype).tiny)
