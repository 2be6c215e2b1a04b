"""Statistics of all layers of all lanes: taken in the program, decoded on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vgkeras.logs import KINDS
from vgkeras.sweeps.lanes import Block, Stack, Trace
from vgkeras.sweeps.plan import MORE_ROWS, Plan


def layer_statistics(
    plan: Plan,
    outputs: tf.Tensor,
    output_gradients: tf.Tensor,
    kernel_gradients: tf.Tensor,
    kernels: tf.Tensor,
    moved: tf.Tensor,
    change: tf.Tensor,
    losses: tf.Tensor,
) -> tf.Tensor:
    """Statistics of every layer in every lane, `(plan.rows, length, lanes)`.

    Those of `_raw` of each of `KINDS`; then `_MORE`: two of the kernels, two of their
    change (over the learning rate, if that is all there is to it), how many weights
    change, the loss.
    """

    def raw(values: tf.Tensor) -> list[tf.Tensor]:
        return _raw(tf.cast(values, plan.wide), plan.several)

    weights = raw(tf.stack([kernel_gradients, kernels]))
    plain = change is kernel_gradients
    changes = [both[0] for both in weights] if plain else raw(change)
    rows = [
        *(both[0] for both in weights),
        *raw(outputs),
        *raw(output_gradients),
        *(both[1] for both in weights[:2]),
        *changes[:2],
    ]
    changed = tf.cast(tf.not_equal(moved, kernels), plan.wide)
    return tf.stack([*rows, tf.reduce_sum(changed, [2, 3]), losses])


def _raw(values: tf.Tensor, several: int | None) -> list[tf.Tensor]:
    """Largest magnitude, relative to it the sum of squares and the sum, and counts.

    Each is taken over the last two axes; zeros of the padding change none of them.
    The counts are those of non-zero and of non-finite elements, see `_counts`. If any
    element is infinite or no number, the others mean nothing.
    """
    *others, inputs, outputs = values.shape
    magnitudes = tf.abs(tf.reshape(values, [*others, inputs * outputs]))
    largest = tf.reduce_max(_folded(tf.maximum, magnitudes), -1)
    relative = magnitudes / tf.where(largest > 0, largest, 1)[..., None]
    counts = _counts(magnitudes, several)
    return [largest, _sum(tf.square(relative)), _sum(relative), *counts]


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(_folded(tf.add, values), -1)


def _folded(join: Callable, values: tf.Tensor) -> tf.Tensor:
    """The last axis laid upon itself, if it is even.

    XLA reduces an axis one element after the other, each waiting for the one before;
    two halves it joins many elements at a time.
    """
    if values.shape[-1] % 2:
        return values
    return join(*tf.split(values, 2, axis=-1))


def _counts(magnitudes: tf.Tensor, several: int | None) -> list[tf.Tensor]:
    """How many elements are not 0, and how many are infinite or no number.

    Both in one number, the latter times `several`, if that is given.
    """
    dtype = magnitudes.dtype
    nonzero = tf.cast(magnitudes > 0, dtype)
    nonfinite = tf.cast(tf.logical_not(magnitudes <= dtype.max), dtype)
    if several is None:
        return [_sum(nonzero), _sum(nonfinite)]
    return [_sum(nonzero + several * nonfinite)]


def block_traces(
    stacks: Sequence[Stack],
    block: Block,
    plan: Plan,
    rows: np.ndarray,
    losses: np.ndarray,
    kernels: np.ndarray,
    into: Sequence[np.ndarray],
) -> list[Trace]:
    """Cuts the lanes into the stacks that lie in them; decodes their statistics."""
    traces = []
    for stack, (lane, first), columns in zip(
        stacks, block.places.values(), into, strict=True
    ):
        place = slice(first, first + len(stack.kernels))
        _decode(rows[:, :, place, lane], stack, plan, columns)
        traces.append(
            Trace(
                losses=losses[:, place.stop - 1, lane].astype(np.float64),
                statistics=columns,
                kernels=_cut(kernels[place, lane], stack.kernels),
            )
        )
    return traces


def _decode(rows: np.ndarray, stack: Stack, plan: Plan, columns: np.ndarray) -> None:
    """Writes the columns of a log from the raw statistics of one stack.

    `rows` has the shape `(logged steps, plan.rows, depth)`. One stack at a time: that
    stays in the processor's cache.
    """
    steps, _, depth = rows.shape
    if not steps:
        return
    raw = rows[:, :-MORE_ROWS].reshape(steps, len(KINDS), -1, depth)
    largest, squares, sums, *counts = np.moveaxis(raw, 2, 0)
    largest, squares, sums = _whole(largest, squares, sums)
    nonzero, nonfinite = _counted(counts, plan.several)
    sizes = _sizes(stack)
    norm, peak, mean, zero, broken, frozen, ratio = columns
    with np.errstate(all="ignore"):
        np.log10(largest, out=peak, dtype=np.float64)
        np.log10(np.maximum(squares, 1), out=norm, dtype=np.float64)
        np.log10(sums / sizes, out=mean)
        norm *= 0.5
        norm += peak
        mean += peak
        np.divide(nonzero, sizes, out=zero)
        np.subtract(1, zero, out=zero)
        np.divide(nonfinite, sizes, out=broken)
        frozen[:, 1:] = ratio[:, 1:] = np.nan  # only weights have an update
        frozen[:, 0] = 1 - rows[:, -2] / sizes[0]
        weight, weight_squares = _whole(*np.moveaxis(rows[:, -6:-4], 1, 0))
        change, change_squares = _whole(*np.moveaxis(rows[:, -4:-2], 1, 0))
        # a Keras optimizer keeps its learning rate in float32
        rule = plan.recipe.rule
        rate = np.float32(stack.learning_rate) if rule.plain else 1.0
        ratio[:, 0] = change / weight.astype(np.float64) * rate
        ratio[:, 0] *= np.sqrt(change_squares / weight_squares)


def _counted(
    counts: Sequence[np.ndarray], several: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The two counts that `_counts` left."""
    if several is None:
        nonzero, nonfinite = counts
        return nonzero, nonfinite
    nonfinite = np.floor(counts[0] / several)
    return counts[0] - several * nonfinite, nonfinite


def _whole(
    largest: np.ndarray, squares: np.ndarray, *sums: np.ndarray
) -> list[np.ndarray]:
    """An infinite size for tensors with elements that are infinite or no number."""
    finite = np.isfinite(squares)
    relative = (np.where(finite, values, 1) for values in (squares, *sums))
    return [np.where(finite, largest, np.inf), *relative]


def _sizes(stack: Stack) -> np.ndarray:
    """How many elements each tensor has, `(kinds, depth)`."""
    samples, units = stack.x.shape
    outputs = [kernel.shape[1] for kernel in stack.kernels]
    inputs = [[units if kind == "weight_gradient" else samples] for kind in KINDS]
    return np.multiply(inputs, outputs)


def _cut(padded: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        kernel[: shape[0], : shape[1]]
        for kernel, shape in zip(padded, (k.shape for k in like), strict=True)
    ]
