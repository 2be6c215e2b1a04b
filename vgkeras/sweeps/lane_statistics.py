"""Statistics of all layers of all lanes: taken in the program, decoded on the host.

The program reduces each tensor to four or five numbers that hold in any format, and to
no more than that: they are what is copied out of it, at every step. Its sums are of
elements *relative to the largest one*. A plain sum of squares of a tensor around 1e-30
is 0 in float32, and a norm of 1e25 would be infinite: so the norm is the largest
element times the root of a sum between 1 and the element count, and logarithms are
taken here, in float64.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vgkeras.logs import KINDS
from vgkeras.sweeps.lanes import Part, Stack, Trace
from vgkeras.sweeps.plan import MORE_ROWS, Plan


def layer_statistics(
    plan: Plan,
    outputs: tf.Tensor,
    output_gradients: tf.Tensor,
    kernels: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
    losses: tf.Tensor,
) -> tf.Tensor:
    """Statistics of every layer in every lane, `(plan.rows, length, lanes)`.

    They stand in this order, and `_decode` reads them so: all of `_reduced` for each of
    `KINDS`; then, the `MORE_ROWS`, its first two of the kernels and its first two of
    their change, how many weights change, and the loss.

    `kernels` are those before and after the update, their gradients, and what was
    subtracted. In plain descent that is the gradient times the learning rate, which
    `_decode` multiplies in: the gradients' own statistics serve twice.
    """
    before, after, gradients, changes = kernels

    def reduced(values: tf.Tensor) -> list[tf.Tensor]:
        return _reduced(tf.cast(values, plan.wide), plan.count_base)

    # One reduction for two tensors of one shape: XLA is asked half as often.
    weights = reduced(tf.stack([gradients, before]))
    of_gradients = [both[0] for both in weights]
    plain = plan.recipe.optimizer.plain
    rows = [
        *of_gradients,
        *reduced(outputs),
        *reduced(output_gradients),
        *(both[1] for both in weights[:2]),
        *(of_gradients if plain else reduced(changes))[:2],
    ]
    changed = tf.cast(tf.not_equal(after, before), plan.wide)
    return tf.stack([*rows, tf.reduce_sum(changed, [2, 3]), losses])


def _reduced(values: tf.Tensor, count_base: int | None) -> list[tf.Tensor]:
    """Largest absolute value, relative to it the sum of squares and the sum, counts.

    Each is taken over the last two axes; zeros of the padding change none of them.
    The counts are those of non-zero and of non-finite elements, see `_counts`. If any
    element is infinite or no number, the others mean nothing.
    """
    *others, inputs, outputs = values.shape
    absolute = tf.abs(tf.reshape(values, [*others, inputs * outputs]))
    largest = tf.reduce_max(_folded(tf.maximum, absolute), -1)
    relative = absolute / tf.where(largest > 0, largest, 1)[..., None]
    counts = _counts(absolute, count_base)
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


def _counts(absolute: tf.Tensor, count_base: int | None) -> list[tf.Tensor]:
    """How many elements are not 0, and how many are infinite or no number.

    Both in one number, and one reduction, where the format holds it: its digits to
    `count_base` are the latter and the former.
    """
    dtype = absolute.dtype
    nonzero = tf.cast(absolute > 0, dtype)
    nonfinite = tf.cast(tf.logical_not(absolute <= dtype.max), dtype)
    if count_base is None:
        return [_sum(nonzero), _sum(nonfinite)]
    return [_sum(nonzero + count_base * nonfinite)]


def block_traces(
    part: Part,
    plan: Plan,
    rows: np.ndarray,
    losses: np.ndarray,
    kernels: np.ndarray,
    views: Sequence[np.ndarray],
) -> list[Trace]:
    """Cuts the lanes into the stacks that lie in them; decodes their statistics."""
    traces = []
    places = part.block.places.values()
    for stack, (lane, first), view in zip(part.stacks, places, views, strict=True):
        layers = slice(first, first + len(stack.kernels))
        _decode(rows[:, :, layers, lane], stack, plan, view)
        traces.append(
            Trace(
                losses=losses[:, layers.stop - 1, lane].astype(np.float64),
                statistics=view,
                kernels=_without_padding(kernels[layers, lane], stack.kernels),
            )
        )
    return traces


def _decode(rows: np.ndarray, stack: Stack, plan: Plan, columns: np.ndarray) -> None:
    """Writes the columns of a log from the statistics of one stack.

    `rows` has the shape `(logged steps, plan.rows, depth)`. One stack at a time: that
    stays in the processor's cache. And in place: temporary arrays would cost as much
    time as the logarithms.
    """
    if not len(rows):
        return
    with np.errstate(all="ignore"):
        _decode_tensors(rows, stack, plan, columns[:5])
        _decode_updates(rows, stack, plan, columns[5:])


def _decode_tensors(
    rows: np.ndarray, stack: Stack, plan: Plan, columns: np.ndarray
) -> None:
    steps, _, depth = rows.shape
    tensors = rows[:, :-MORE_ROWS].reshape(steps, len(KINDS), -1, depth)
    largest, squares, sums, *counts = np.moveaxis(tensors, 2, 0)
    largest, squares, sums = _with_infinities(largest, squares, sums)
    nonzero, nonfinite = _separate_counts(counts, plan.count_base)
    elements = _element_counts(stack)
    norm, peak, mean, zero, broken = columns
    np.log10(largest, out=peak, dtype=np.float64)
    np.log10(np.maximum(squares, 1), out=norm, dtype=np.float64)
    np.log10(sums / elements, out=mean)
    norm *= 0.5
    norm += peak
    mean += peak
    np.divide(nonzero, elements, out=zero)
    np.subtract(1, zero, out=zero)
    np.divide(nonfinite, elements, out=broken)


def _decode_updates(
    rows: np.ndarray, stack: Stack, plan: Plan, columns: np.ndarray
) -> None:
    # The third way to an update ratio, beside `diagnosis` and `callbacks`: of a lane's
    # kernels nothing has left the program but these reductions.
    frozen, ratio = columns
    frozen[:, 1:] = ratio[:, 1:] = np.nan  # only weights have an update
    frozen[:, 0] = 1 - rows[:, -2] / _element_counts(stack)[0]
    weight, weight_squares = _with_infinities(*np.moveaxis(rows[:, -6:-4], 1, 0))
    change, change_squares = _with_infinities(*np.moveaxis(rows[:, -4:-2], 1, 0))
    # a Keras optimizer keeps its learning rate in float32
    plain = plan.recipe.optimizer.plain
    rate = np.float32(stack.learning_rate) if plain else 1.0
    ratio[:, 0] = change / weight.astype(np.float64) * rate
    ratio[:, 0] *= np.sqrt(change_squares / weight_squares)


def _separate_counts(
    counts: Sequence[np.ndarray], count_base: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The two counts that `_counts` took."""
    if count_base is None:
        nonzero, nonfinite = counts
        return nonzero, nonfinite
    nonfinite = np.floor(counts[0] / count_base)
    return counts[0] - count_base * nonfinite, nonfinite


def _with_infinities(
    largest: np.ndarray, squares: np.ndarray, *sums: np.ndarray
) -> list[np.ndarray]:
    """An infinite largest element where any is infinite or no number."""
    finite = np.isfinite(squares)
    relative = (np.where(finite, values, 1) for values in (squares, *sums))
    return [np.where(finite, largest, np.inf), *relative]


def _element_counts(stack: Stack) -> np.ndarray:
    """How many elements each tensor has, `(kinds, depth)`."""
    samples, units = stack.x.shape
    outputs = [kernel.shape[1] for kernel in stack.kernels]
    inputs = [[units if kind == "weight_gradient" else samples] for kind in KINDS]
    return np.multiply(inputs, outputs)


def _without_padding(
    padded: np.ndarray, kernels: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The corner that each kernel fills."""
    shapes = (kernel.shape for kernel in kernels)
    return [
        kernel[:inputs, :outputs]
        for kernel, (inputs, outputs) in zip(padded, shapes, strict=True)
    ]
