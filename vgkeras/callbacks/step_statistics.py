"""Statistics of many tensors, quick enough to be taken at every training step.

They mean the same as those of `tape.statistics`. That one is exact down to the last
subnormal number and works in float64; this one works in the tensors' own precision,
in plain TensorFlow kernels, which pass over a tensor several times faster. Kernels of
TensorFlow flush subnormal numbers to 0 anyway, so a training step makes none.

It is part of the step's own graph, where the gradients are still in the cache: no
second forward pass, no copy to the host, no further call from Python. Three passes over
a tensor are taken always (largest, smallest, sum of squares). They are right unless a
square has over- or underflowed, and the sums of squares show whether one has; then,
and where somebody looks closely, a branch takes the dearer passes. Only if magnitudes
are extreme does a branch within it divide each tensor by its largest element first.

All this is one function, traced once for tensors of any shape, and one node of the
graph for each tensor, or for all small ones of one size: in a large network, to trace
it for each would take seconds, and to wait for the last gradient would keep them all in
memory, where the step itself has one take the place of another.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vgkeras.callbacks.intercept import outside
from vgkeras.tape import STATISTICS, UPDATE_STATISTICS

# Of a tensor g: max, min, half the sum of (g / unit)^2, the unit, half the number of
# elements that are not 0 and the sum of |g| / unit (both NaN where they were not
# taken), number of Inf and NaN, size; then the scale of the loss, and what the update
# did: share of weights left as they were, ||update|| / ||w||, log10 ||w||, and the
# cosine of the angle between gradient and update.
COLUMNS = 13
CHANGES = 4  # of these, what `changes` says
SIZE = 7  # the column that is a number whenever one was written
# What a log holds of a tensor.
MEASURES = (*STATISTICS, *UPDATE_STATISTICS, "size", "log10_weight", "cosine")
# Between these, half a sum of squares has lost nothing in float32.
_LEAST, _MOST = 1e-24, 1e30
# To rewrite a function for speed takes TensorFlow longer than one of these ever runs,
# and it would do so again for every model.
_AS_IT_IS = tf.compat.v1.ConfigProto()
_AS_IT_IS.graph_options.rewrite_options.disable_meta_optimizer = True
_LARGE = 2**14  # elements; to put such tensors together would cost more than it saves


def quick_statistics(
    tensors: Sequence[tf.Tensor], closely: Any, *, xla: bool = False
) -> tf.Tensor:
    """Measures tensors with a few plain kernels each.

    No norm over- or underflows: where the magnitudes call for it, which is rare, a
    tensor is divided by its largest magnitude before it is squared.

    Args:
        tensors: Floating tensors of any shapes.
        closely: Whether to take the numbers of zeros and the sums of magnitudes as
            well, which cost more than all the rest; a boolean tensor.
        xla: Whether XLA compiles the step. It compiles a kernel for each pass over
            each tensor, so that tensors of one size had better be taken together.

    Returns:
        A tensor `(8, len(tensors))`, float64 if one of `tensors` is, else float32:
        the first eight of `COLUMNS`.
    """
    tables, groups = _of_groups(_row_statistics, tensors, closely, xla=xla)
    return _in_order(tables, groups)


def statistics_and_matrices(
    tensors: Sequence[tf.Tensor], closely: Any, keep: tf.Tensor, like: Sequence[Any]
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Does what `quick_statistics` does, and returns the tensors `in_matrices`.

    In a graph only. Matrices are empty unless `keep` says so: others have let go of
    each tensor as soon as it is measured.
    """
    options = closely, keep
    pairs, groups = _of_groups(_statistics_and_rows, tensors, *options, like=like)
    tables, matrices = zip(*pairs, strict=True)
    return _in_order(tables, groups), list(matrices)


def in_matrices(
    tensors: Sequence[tf.Tensor], like: Sequence[Any], *, xla: bool = False
) -> list[tf.Tensor]:
    """Puts tensors of one size together, one a row; a large one stays alone, uncopied.

    Shapes are those of `like`: of a gradient's, the graph may know nothing.
    """
    return _matrices(tensors, _groups(like, xla), widest(like))


def changes(
    before: Sequence[tf.Tensor],
    after: Sequence[tf.Tensor],
    gradients: Sequence[tf.Tensor],
    *,
    xla: bool = False,
) -> tf.Tensor:
    """Compares weights before and after an update.

    `tape.update_statistics` says the same, from a direction and a rate. But it decodes
    every number into float64: too slow for a step of `fit`.

    Args:
        before: Weights `in_matrices`.
        after: Weights, of any shapes.
        gradients: Of these, maybe multiplied by a number, `in_matrices`.
        xla: Whether XLA compiles the step.

    Returns:
        A tensor `(4, len(after))`: the share of elements that are the same, the norm
        of the difference over the norm of `before`, the base-10 logarithm of the
        latter, and the cosine of the angle between gradient and difference (-1 where
        an update goes straight downhill; NaN where one of them is 0 or not finite).
    """
    dtype, groups = widest(after), _groups(after, xla)
    one = _shared(_row_changes, xla)
    matrices = before, _matrices(after, groups, dtype), gradients
    tables = []
    for *parts, group in zip(*matrices, groups, strict=True):
        shape = [len(group), tf.TensorShape(after[group[0]].shape).num_elements()]
        tables.append(one(*(tf.reshape(tf.cast(p, dtype), shape) for p in parts)))
    return _in_order(tables, groups)


def measures(raw: np.ndarray) -> np.ndarray:
    """Turns rows of a ring into rows of a log.

    Args:
        raw: Array `(..., 13, rows)` of `COLUMNS`.

    Returns:
        Array `(..., rows, 10)` of `MEASURES` with base-10 logarithms, in the dtype of
        `raw`.
    """
    columns = np.moveaxis(raw.astype(np.float64), -2, 0)
    highest, least, squares, unit, count, total, bad, size, scale = columns[:9]
    frozen, ratio, log10_weight, cosine = columns[9:]
    count = np.where((highest == 0) & (least == 0) & (bad == 0), 0, count)
    with np.errstate(all="ignore"):
        logarithms = np.stack(
            [
                np.log10(unit) + np.log10(2 * squares) / 2,
                np.log10(np.maximum(highest, -least)),
                np.log10(unit) + np.log10(total / size),
            ]
        ) - np.log10(scale)
        zero, frozen = np.clip([1 - 2 * count / size, frozen], 0, 1)
        logarithms[:, bad > 0] = np.inf
        shares = [zero, bad / size, frozen]
        update = [ratio, size, log10_weight, np.clip(cosine, -1, 1)]
        rows = np.stack([*logarithms, *shares, *update], axis=-1)
    return rows.astype(raw.dtype)


def widest(tensors: Sequence[Any]) -> tf.DType:
    """The format to measure in: float64 if a tensor has it, else float32."""
    return tf.float64 if any(t.dtype == "float64" for t in tensors) else tf.float32


def _flat(tensor: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """The elements in a row; `vector` is `[-1]`, one for all.

    Most variables of a large network are vectors.
    """
    return tensor if tensor.shape.rank == 1 else tf.reshape(tensor, vector)


def as_one_node(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Keeps a branch of a graph that is rarely taken in one piece.

    Spread over the graph, its many operations would each be skipped one by one.
    """
    if tf.executing_eagerly():
        return function

    def call() -> tf.Tensor:
        traced = _one_node(function).get_concrete_function()
        return _called(traced, traced.captured_inputs)[0]

    return call


def one_branch(
    due: tf.Tensor,
    then: Callable[[], list[tf.Tensor]],
    otherwise: Callable[[], list[tf.Tensor]],
) -> list[tf.Tensor]:
    """`tf.cond` as one node of the graph, with one function a branch.

    What `tf.cond` makes is spread over the graph, unless each branch calls a function
    of its own; then all that a branch reads is passed on twice. In a large network that
    is thousands of operations. `otherwise` reads nothing from outside.
    """
    if tf.executing_eagerly():
        return tf.cond(due, then, otherwise)
    taken = tf.function(then, autograph=False).get_concrete_function()
    inputs = taken.captured_inputs
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in inputs]
    other = tf.function(lambda *inputs: otherwise(), autograph=False)
    passed = other.get_concrete_function(*specs)
    types = [one.dtype for one in taken.outputs]
    outputs = tf.raw_ops.If(
        cond=due, input=inputs, Tout=types, then_branch=taken, else_branch=passed
    )
    for output, one, two in zip(outputs, taken.outputs, passed.outputs, strict=True):
        output.set_shape(one.shape.most_specific_compatible_shape(two.shape))
    return outputs


def _one_node(function: Callable[..., tf.Tensor]) -> Any:
    attributes = {"_noinline": True}
    return tf.function(function, autograph=False, experimental_attributes=attributes)


def _called(traced: Any, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """What a function makes of its inputs, as a node of the graph."""
    is_stateful = traced.function_def.signature.is_stateful
    call = "StatefulPartitionedCall" if is_stateful else "PartitionedCall"
    outputs = getattr(tf.raw_ops, call)(
        args=inputs,
        Tout=[output.dtype for output in traced.outputs],
        f=traced,
        config_proto=_AS_IT_IS.SerializeToString(),
    )
    for output, made in zip(outputs, traced.outputs, strict=True):
        output.set_shape(made.shape)
    return outputs


def _groups(tensors: Sequence[Any], xla: bool) -> list[list[int]]:
    """Which tensors share a matrix: those of one size.

    Large ones do so for XLA only, which compiles a kernel for each pass over each
    matrix; otherwise to copy them costs more than it saves.
    """
    large = math.inf if xla else _LARGE
    together: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        size = tf.TensorShape(tensor.shape).num_elements()
        small = size is not None and size < large
        together.setdefault(size if small else f"tensor {index}", []).append(index)
    return list(together.values())


def _matrices(
    tensors: Sequence[Any], groups: list[list[int]], dtype: tf.DType
) -> list[tf.Tensor]:
    """The tensors of each group, one a row."""
    vector, row = tf.constant([-1]), tf.constant([1, -1])
    cast = [tf.cast(tensor, dtype) for tensor in tensors]
    return [
        tf.stack([_flat(cast[index], vector) for index in group])
        if len(group) > 1
        else tf.reshape(cast[group[0]], row)
        for group in groups
    ]


def _of_groups(
    function: Callable[..., Any],
    tensors: Sequence[tf.Tensor],
    *options: Any,
    xla: bool = False,
    like: Sequence[Any] = (),
) -> tuple[list[Any], list[list[int]]]:
    """What a function of a matrix says of each group, and the groups."""
    groups, one = _groups(like or tensors, xla), _shared(function, xla)
    options = tuple(map(tf.convert_to_tensor, options))
    matrices = _matrices(tensors, groups, widest(tensors))
    return [one(matrix, *options) for matrix in matrices], groups


def _in_order(tables: Sequence[tf.Tensor], groups: list[list[int]]) -> tf.Tensor:
    """One table, a column a tensor, in the order of the tensors."""
    order = np.argsort([index for group in groups for index in group])
    return tf.gather(tf.concat(tables, axis=1), order, axis=1)


def _shared(function: Callable[..., Any], xla: bool) -> Callable[..., Any]:
    """A function of matrices that is traced once for all shapes and graphs."""
    if xla or tf.executing_eagerly():
        return function

    def call(*inputs: tf.Tensor) -> Any:
        traced = _traced(function, tuple(map(_any_width, inputs)))
        outputs = _called(traced, inputs)
        outputs[0].set_shape([None, inputs[0].shape[0]])
        return outputs if len(outputs) > 1 else outputs[0]

    return call


def _any_width(tensor: tf.Tensor) -> tf.TensorSpec:
    """Any number of rows of any width, or one long one; a scalar is a scalar.

    Only of a long row do the sums of squares gain by a kernel of their own.
    """
    shape = tensor.shape
    is_long = shape.rank == 2 and shape[0] == 1 and (shape[1] or _LARGE) >= _LARGE
    return tf.TensorSpec([1 if is_long else None, None][: shape.rank], tensor.dtype)


@functools.cache
def _traced(function: Callable[..., tf.Tensor], specs: tuple[tf.TensorSpec]) -> Any:
    return outside(lambda: _one_node(function).get_concrete_function(*specs))


def _row_statistics(rows: tf.Tensor, closely: tf.Tensor) -> tf.Tensor:
    """The first eight of `COLUMNS` for each row of a matrix."""
    highest, least = tf.reduce_max(rows, axis=1), tf.reduce_min(rows, axis=1)
    squares = _half_squares(rows)
    one = tf.ones_like(squares)
    ordinary = _are_ordinary(highest, least, squares)

    def closer() -> tf.Tensor:
        return tf.cond(ordinary, plain, lambda: _unit_statistics(rows))

    def plain() -> tf.Tensor:
        total = tf.reduce_sum(tf.abs(rows), axis=1)
        count = _half_squares(tf.sign(rows))
        return tf.stack([highest, least, squares, one, count, total, 0 * one])

    def brief() -> tf.Tensor:
        unknown = np.nan * one
        return tf.stack([highest, least, squares, one, unknown, unknown, 0 * one])

    table = tf.cond(ordinary & tf.logical_not(closely), brief, as_one_node(closer))
    size = tf.cast(tf.unstack(tf.shape(rows), num=2)[1], rows.dtype) * one
    return tf.concat([table, tf.expand_dims(size, 0)], axis=0)


def _statistics_and_rows(
    rows: tf.Tensor, closely: tf.Tensor, keep: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The statistics of a matrix, and the matrix or nothing."""
    matrix = tf.cond(
        keep, lambda: tf.identity(rows), lambda: tf.zeros([0, 0], rows.dtype)
    )
    return _row_statistics(rows, closely), matrix


def _half_squares(rows: tf.Tensor) -> tf.Tensor:
    """Half the sum of squares of each row."""
    if rows.shape[0] == 1:
        return tf.nn.l2_loss(rows)[None]  # one kernel
    return tf.reduce_sum(tf.square(rows), axis=1) / 2


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / math.log(10.0)


def _are_ordinary(
    highest: tf.Tensor, least: tf.Tensor, squares: tf.Tensor
) -> tf.Tensor:
    """Whether all halves of sums of squares are right; not if one is NaN.

    Those of zeros are, whose largest and smallest element is 0.
    """
    right = tf.equal(tf.clip_by_value(squares, _LEAST, _MOST), squares)
    zero = tf.equal(squares + tf.maximum(highest, -least), 0)
    return tf.reduce_all(right | zero)


def _unit_statistics(rows: tf.Tensor) -> tf.Tensor:
    """The first seven of `COLUMNS`, of rows divided before they are squared."""
    relative, unit, largest = _divided(rows)
    bad = tf.logical_not(tf.math.is_finite(rows))
    not_zero = tf.cast(tf.not_equal(rows, 0), rows.dtype)  # nor is NaN
    return tf.stack(
        [
            largest,
            -largest,
            _half_squares(relative),
            unit,
            tf.reduce_sum(not_zero, axis=1) / 2,
            tf.reduce_sum(tf.abs(relative), axis=1),
            tf.reduce_sum(tf.cast(bad, rows.dtype), axis=1),
        ]
    )


def _row_changes(old: tf.Tensor, new: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """What `changes` says of the rows of matrices."""
    three = new - old, old, gradient
    frozen = tf.reduce_mean(tf.cast(tf.equal(three[0], 0), old.dtype), axis=1)
    squares = tf.stack([_half_squares(rows) for rows in three])
    one = tf.ones_like(squares)
    ordinary = tf.reduce_all((squares > _LEAST) & (squares < _MOST))

    def divided() -> tf.Tensor:
        rows, units, _ = zip(*map(_divided, three), strict=True)
        return _compared(rows, tf.stack(units), tf.stack([*map(_half_squares, rows)]))

    changed = tf.cond(ordinary, lambda: _compared(three, one, squares), divided)
    return tf.concat([tf.expand_dims(frozen, 0), changed], axis=0)


def _compared(
    three: Sequence[tf.Tensor], units: tf.Tensor, squares: tf.Tensor
) -> tf.Tensor:
    """Compares updates, weights and gradients, each divided by its unit."""
    move, weight, slope = tf.unstack(tf.sqrt(2 * squares), num=3)
    move_unit, weight_unit, _ = tf.unstack(units, num=3)
    ratio = move_unit / weight_unit * (move / weight)
    log10_weight = _log10(weight_unit) + _log10(weight)
    cosine = tf.reduce_sum(three[0] * three[2], axis=1) / move / slope
    return tf.stack([ratio, log10_weight, cosine])


def _divided(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Rows divided by units, these, and the largest magnitudes, which are the units.

    Of a row of zeros the unit is the smallest normal number.
    """
    largest = tf.reduce_max(tf.abs(rows), axis=1)
    unit = tf.maximum(largest, np.finfo(rows.dtype.as_numpy_dtype).tiny)
    return rows / tf.expand_dims(unit, 1), unit, largest
