"""Statistics of many tensors, quick enough to be taken at every training step.

They mean the same as those of `tape.statistics`. That one is exact down to the last
subnormal number and works in float64; this one works in the tensors' own precision,
in plain TensorFlow kernels, which pass over a tensor several times faster. Kernels of
TensorFlow flush subnormal numbers to 0 anyway, so a training step makes none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vgkeras.tape import STATISTICS

# Of a tensor g: max |g|, sum of (g / max)^2, sum of |g| / max, number of elements that
# are not 0, number of Inf and NaN, size; then the scale of the loss, and what the
# update did: share of weights left as they were, ||update|| / ||w||.
COLUMNS = 9
# What a log holds of a tensor.
MEASURES = (*STATISTICS, "frozen_fraction", "update_ratio", "size")


def quick_statistics(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Measures tensors in one pass of plain kernels each.

    Each tensor is divided by its largest magnitude before it is squared, so that no
    norm over- or underflows.

    Args:
        tensors: Floating tensors of any shapes.

    Returns:
        A tensor `(len(tensors), 6)`, float64 if one of `tensors` is, else float32:
        the first six of `COLUMNS`.
    """
    wide = any(tensor.dtype == tf.float64 for tensor in tensors)
    dtype = tf.float64 if wide else tf.float32
    flat = [tf.reshape(tf.cast(tensor, dtype), [-1]) for tensor in tensors]
    table = tf.stack([_row(values) for values in flat])
    # Inf and NaN are rare, and to count them is slow.
    counts = tf.cond(
        tf.reduce_all(tf.math.is_finite(table[:, 1])),
        lambda: table[:, 3:5],
        lambda: tf.stack([_counts(values) for values in flat]),
    )
    return tf.concat([table[:, :3], counts, table[:, 5:]], axis=1)


def changes(before: Sequence[tf.Tensor], after: Sequence[tf.Tensor]) -> tf.Tensor:
    """Compares weights before and after an update.

    Args:
        before: Flat tensors.
        after: Tensors of the same sizes.

    Returns:
        A tensor `(len(before), 2)`: the share of elements that are the same, and the
        norm of the difference over the norm of `before`.
    """
    dtype = tf.float64 if any(t.dtype == tf.float64 for t in before) else tf.float32
    rows = []
    for old, new in zip(before, after, strict=True):
        new = tf.reshape(new, [-1])
        same = tf.reduce_mean(tf.cast(tf.equal(new, old), dtype))
        change = _row(tf.cast(new, dtype) - tf.cast(old, dtype))
        weight = _row(tf.cast(old, dtype))
        ratio = change[0] / weight[0] * tf.sqrt(change[1] / weight[1])
        ratio = tf.where(change[0] > 0, ratio, change[0] / weight[0])
        rows.append(tf.stack([same, ratio]))
    return tf.stack(rows)


def measures(raw: np.ndarray) -> np.ndarray:
    """Turns rows of a ring into rows of a log.

    Args:
        raw: Array `(..., 9)` of `COLUMNS`.

    Returns:
        Array `(..., 8)` of `MEASURES` with base-10 logarithms, in the dtype of `raw`.
    """
    columns = np.moveaxis(raw.astype(np.float64), -1, 0)
    largest, squares, magnitudes, nonzero, bad, size, scale, *change = columns
    with np.errstate(all="ignore"):
        log10_max = np.log10(largest) - np.log10(scale)
        logarithms = np.stack(
            [
                log10_max + np.log10(squares) / 2,
                log10_max,
                log10_max + np.log10(magnitudes / size),
            ]
        )
        zero = np.clip(1 - nonzero / size, 0, 1)
        logarithms[:, bad > 0] = np.inf
        rows = np.stack([*logarithms, zero, bad / size, *change, size], axis=-1)
    return rows.astype(raw.dtype)


def _row(values: tf.Tensor) -> tf.Tensor:
    """Six numbers of a flat tensor, as if it were finite."""
    magnitude = tf.abs(values)
    largest = tf.maximum(tf.reduce_max(magnitude), 0)
    smallest_normal = values.dtype.as_numpy_dtype(np.finfo(values.dtype.name).tiny)
    relative = magnitude / tf.maximum(largest, smallest_normal)
    return tf.stack(
        [
            largest,
            2 * tf.nn.l2_loss(relative),
            tf.reduce_sum(relative),
            2 * tf.nn.l2_loss(tf.sign(values)),  # counts without a slow cast
            tf.zeros([], values.dtype),
            tf.cast(tf.size(values), values.dtype),
        ]
    )


def _counts(values: tf.Tensor) -> tf.Tensor:
    """Elements that are not 0, and elements that are Inf or NaN."""
    bad = tf.logical_not(tf.math.is_finite(values))
    return tf.stack(
        [
            tf.reduce_sum(tf.cast(tf.not_equal(values, 0), values.dtype)),
            tf.reduce_sum(tf.cast(bad, values.dtype)),
        ]
    )
