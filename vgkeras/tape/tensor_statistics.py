"""Statistics of tensors that neither overflow nor underflow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

STATISTICS = (
    "log10_norm",
    "log10_max",
    "log10_mean",
    "zero_fraction",
    "nonfinite_fraction",
)
UPDATE_STATISTICS = ("frozen_fraction", "update_ratio")


def statistics(tensors: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Measures each tensor without overflow, underflow or flushed subnormals.

    Tensors of one shape and format are stacked and measured together: 152 equal
    layers cost a dozen operations, not two thousand.

    Args:
        tensors: Floating tensors of any shapes and formats; `None` gives NaN.

    Returns:
        A float64 tensor of shape `(len(tensors), 5)`, in the order of
        `STATISTICS`: base-10 logarithm of the Frobenius norm, of the largest and of
        the mean magnitude (`-inf` if all elements are 0, `+inf` if any is Inf or
        NaN), the share of exact zeros and of Inf or NaN.
    """
    groups: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        key = None if tensor is None else (tensor.dtype, tuple(tensor.shape))
        groups.setdefault(key, []).append(index)
    parts, order = [], []
    for key, members in groups.items():
        if key is None:
            empty = tf.constant(np.nan, tf.float64)
            parts.append(tf.fill([len(members), len(STATISTICS)], empty))
        else:
            rows = tf.stack([tensors[index] for index in members])
            parts.append(_row_statistics(tf.reshape(rows, [len(members), -1])))
        order += members
    if not parts:
        return tf.zeros([0, len(STATISTICS)], tf.float64)
    return tf.gather(tf.concat(parts, axis=0), np.argsort(order))


def update_statistics(
    weights: Sequence[tf.Tensor], directions: Sequence[tf.Tensor | None], rate: Any
) -> tf.Tensor:
    """Measures what the update `w <- w - rate * direction` does to each weight.

    The norm of a direction is taken before `rate` can make it underflow: the ratio is
    right even where the update rounds away.

    Args:
        weights: The values before the update.
        directions: A tensor per weight; `None` gives NaN.
        rate: Learning rate; NaN gives NaN.

    Returns:
        A float64 tensor of shape `(len(weights), 2)`, in the order of
        `UPDATE_STATISTICS`: share of elements that stay as they are, and
        `||update|| / ||w||`.
    """
    rate = tf.cast(rate, tf.float64)
    pairs = zip(weights, directions, strict=True)
    shares = tf.convert_to_tensor([_frozen(*pair, rate) for pair in pairs], tf.float64)
    exponents = statistics(directions)[:, 0] - statistics(weights)[:, 0]
    ratios = rate * tf.pow(tf.constant(10.0, tf.float64), exponents)
    return tf.stack([tf.where(tf.math.is_nan(rate), rate, shares), ratios], axis=1)


def _frozen(weight: tf.Tensor, direction: Any, rate: tf.Tensor) -> tf.Tensor:
    """The share of elements that an update leaves as they are."""
    if direction is None:
        return tf.constant(np.nan, tf.float64)
    same = tf.equal(weight - tf.cast(rate, direction.dtype) * direction, weight)
    return tf.reduce_mean(tf.cast(same, tf.float64))


def _row_statistics(rows: tf.Tensor) -> tf.Tensor:
    """Statistics of each row of a floating matrix, `(rows, 5)`, float64."""
    values, offset, zero, nonfinite = _decoded(rows)
    largest = tf.reduce_max(values, axis=1)
    relative = values / tf.where(largest > 0, largest, 1.0)[:, None]
    spread = tf.sqrt(tf.reduce_sum(relative * relative, axis=1))
    zero_share = tf.reduce_mean(tf.cast(zero, tf.float64), axis=1)
    bad_share = tf.reduce_mean(tf.cast(nonfinite, tf.float64), axis=1)
    infinite = tf.constant(np.inf, tf.float64)
    log10_max = _log10(largest) + offset
    log10_norm = log10_max + _log10(tf.maximum(spread, 1.0))
    log10_mean = log10_max + _log10(tf.reduce_mean(relative, axis=1))
    logarithms = [
        tf.where(bad_share > 0, infinite, values)
        for values in (log10_norm, log10_max, log10_mean)
    ]
    return tf.stack([*logarithms, zero_share, bad_share], axis=1)


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / np.log(10.0)


def _decoded(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Magnitudes as float64, read from the bits.

    TensorFlow treats subnormal operands as zero, so their value is taken from the
    bit pattern as an integer. Rows near the bottom of float64 come multiplied by
    2**100; `offset` is what this takes off their base-10 logarithm.
    """
    if rows.dtype != tf.float64:
        rows = tf.cast(rows, tf.float32)
    wide = rows.dtype == tf.float64
    integer, digits, lowest = (tf.int64, 52, -1074) if wide else (tf.int32, 23, -149)
    sign_off = (1 << (63 if wide else 31)) - 1
    bits = tf.bitwise.bitwise_and(tf.bitcast(rows, integer), sign_off)
    infinity = tf.constant(((1 << (11 if wide else 8)) - 1) << digits, integer)
    nonfinite = bits >= infinity
    smallest_normal = tf.constant(1 << digits, integer)
    normal = tf.cast(tf.abs(tf.where(nonfinite, tf.zeros_like(rows), rows)), tf.float64)
    low = tf.reduce_max(bits, axis=1, keepdims=True) < tf.constant(
        (124 << 52) if wide else 0, integer
    )
    lift = tf.where(low, tf.constant(2.0**100, tf.float64), 1.0)
    mantissa = tf.cast(bits, tf.float64) * 2.0 ** (lowest + 100)
    subnormal = mantissa if wide else mantissa * 2.0**-100
    values = tf.where(bits < smallest_normal, subnormal, normal * lift)
    offset = tf.where(low[:, 0], tf.constant(-100 * np.log10(2.0), tf.float64), 0.0)
    return values, offset, bits == 0, nonfinite
