"""Statistics of many tensors, quick enough to be taken at every training step.

They mean the same as those of `tape.statistics`. That one is exact down to the last
subnormal number and works in float64; this one works in the tensors' own precision,
in plain TensorFlow kernels, which pass over a tensor several times faster. Kernels of
TensorFlow flush subnormal numbers to 0 anyway, so a training step makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
_LARGE = 2**14  # elements; smaller tensors are measured together


def quick_statistics(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Measures tensors with a few plain kernels each.

    Each tensor is divided by its largest magnitude before it is squared, so that no
    norm over- or underflows. An element smaller than this by a factor of 1e38 (1e308
    in float64) counts as 0.

    Args:
        tensors: Floating tensors of any shapes.

    Returns:
        A tensor `(len(tensors), 6)`, float64 if one of `tensors` is, else float32:
        the first six of `COLUMNS`.
    """
    dtype = widest(tensors)
    tensors = [tf.cast(tensor, dtype) for tensor in tensors]
    table = _table(tensors)

    # Inf and NaN are rare, and to count them is slow.
    @as_one_node
    def counted(*tensors: tf.Tensor) -> tf.Tensor:
        return tf.stack([_counts(values) for values in tensors])

    counts = tf.cond(
        tf.reduce_all(tf.math.is_finite(table[:, 1])),
        lambda: tf.stack([table[:, 3], tf.zeros(len(tensors), dtype)], axis=1),
        lambda: counted(*tensors),
    )
    return tf.concat([table[:, :3], counts, _sizes(tensors, dtype)[:, None]], axis=1)


def changes(before: Sequence[tf.Tensor], after: Sequence[tf.Tensor]) -> tf.Tensor:
    """Compares weights before and after an update.

    Args:
        before: Flat tensors.
        after: Tensors of the same sizes.

    Returns:
        A tensor `(len(before), 2)`: the share of elements that are the same, and the
        norm of the difference over the norm of `before`.
    """
    dtype = widest(before)
    new = [tf.cast(values, dtype) for values in after]
    shapes = [values.shape for values in new]
    old = [
        tf.reshape(tf.cast(values, dtype), shape)
        for values, shape in zip(before, shapes, strict=True)
    ]
    made = _table([n - o for n, o in zip(new, old, strict=True)])
    weights, sizes = _table(old), _sizes(old, dtype)
    ratio = made[:, 0] / weights[:, 0]
    spread = tf.where(made[:, 0] > 0, made[:, 1] / weights[:, 1], 1)
    spread = tf.where(weights[:, 0] > 0, spread, 1)
    return tf.stack([1 - made[:, 3] / sizes, ratio * tf.sqrt(spread)], axis=1)


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


def _table(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Four numbers of each tensor, as if it were finite: `(len(tensors), 4)`."""
    groups: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        size = tensor.shape.num_elements()
        small = size is not None and size < _LARGE
        groups.setdefault(size if small else f"large {index}", []).append(index)
    parts = []
    for members in groups.values():
        if len(members) == 1:
            parts.append(_large(tensors[members[0]])[None])
        else:
            rows = [tf.reshape(tensors[index], [-1]) for index in members]
            parts.append(_small(tf.stack(rows)))
    order = np.argsort([index for members in groups.values() for index in members])
    return tf.gather(tf.concat(parts, axis=0), order)


def _large(tensor: tf.Tensor) -> tf.Tensor:
    """Each kernel but the first may work in place: none needs new memory."""
    magnitude = tf.abs(tensor)
    largest = tf.reduce_max(magnitude)
    relative = magnitude / tf.maximum(largest, _smallest_normal(tensor))
    squares, total = tf.nn.l2_loss(relative), tf.reduce_sum(relative)
    with tf.control_dependencies([squares, total]):
        signs = tf.sign(relative)  # to compare with 0 and cast takes far longer
    halves = tf.stack([largest, squares, total, tf.nn.l2_loss(signs)])
    return halves * tf.constant([1, 2, 1, 2], tensor.dtype)


def _small(rows: tf.Tensor) -> tf.Tensor:
    """The same for each row of a matrix."""
    magnitude = tf.abs(rows)
    largest = tf.reduce_max(magnitude, axis=1)
    relative = magnitude / tf.maximum(largest, _smallest_normal(rows))[:, None]
    columns = [
        largest,
        tf.reduce_sum(tf.square(relative), axis=1),
        tf.reduce_sum(relative, axis=1),
        tf.reduce_sum(tf.sign(relative), axis=1),
    ]
    return tf.stack(columns, axis=1)


def _sizes(tensors: Sequence[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    known = [tensor.shape.num_elements() for tensor in tensors]
    if None not in known:
        return tf.constant(known, dtype)
    return tf.cast(tf.stack([tf.size(tensor) for tensor in tensors]), dtype)


def _smallest_normal(values: tf.Tensor) -> float:
    return float(np.finfo(values.dtype.as_numpy_dtype).tiny)


def _counts(values: tf.Tensor) -> tf.Tensor:
    """Elements that are not 0, and elements that are Inf or NaN."""
    bad = tf.logical_not(tf.math.is_finite(values))
    return tf.stack(
        [
            tf.reduce_sum(tf.cast(tf.not_equal(values, 0), values.dtype)),
            tf.reduce_sum(tf.cast(bad, values.dtype)),
        ]
    )
