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
are extreme does a branch within it divide each tensor by its largest element first. A
branch that is not taken must cost nothing, so each is one node of the graph.
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
_LARGE = 2**14  # elements; to put such tensors together would cost more than it saves


def quick_statistics(
    tensors: Sequence[tf.Tensor], closely: Any, *, xla: bool = False
) -> tf.Tensor:
    """Measures tensors with a few plain kernels each.

    No norm over- or underflows: where the magnitudes call for it, which is rare, each
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
    groups = _Groups(tensors, widest(tensors), xla)
    brief = groups.briefly()
    ordinary = _are_ordinary(brief)
    table = tf.concat([brief, groups.unknown()], axis=0)

    def closer(table: tf.Tensor, *members: tf.Tensor) -> tf.Tensor:
        return groups.apply(_close_statistics, members, table[:3])

    suffices = ordinary & tf.logical_not(closely)
    table = _table_if(suffices, table, closer, groups.members, xla=xla)
    sizes = tf.expand_dims(groups.sizes(table.dtype), 0)
    return groups.in_order(tf.concat([table, sizes], axis=0))


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
        before: Flat tensors.
        after: Tensors of the same sizes.
        gradients: Tensors of the same sizes, maybe multiplied by a number.
        xla: Whether XLA compiles the step.

    Returns:
        A tensor `(4, len(before))`: the share of elements that are the same, the norm
        of the difference over the norm of `before`, the base-10 logarithm of the
        latter, and the cosine of the angle between gradient and difference (-1 where
        an update goes straight downhill; NaN where one of them is 0 or not finite).
    """
    dtype = widest(before)
    new, old, slopes = (_Groups(t, dtype, xla) for t in (after, before, gradients))
    members = zip(old.members, new.members, slopes.members, strict=True)
    tables = [
        _shared(_row_changes, xla)(*(_rows(one, count) for one in three))
        for three, count in zip(members, new.counts, strict=True)
    ]
    return new.in_order(tf.concat(tables, axis=1))


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
    """Tensors, those of one size in the rows of one matrix: the `members`.

    Large ones are put together for XLA only, which compiles a kernel for each pass over
    each group; otherwise to copy them costs more than it saves.
    """

    def __init__(self, tensors: Sequence[Any], dtype: tf.DType, xla: bool) -> None:
        self._xla, self._dtype = xla, dtype
        large = math.inf if xla else _LARGE
        together: dict[Any, list[int]] = {}
        for index, tensor in enumerate(tensors):
            size = tensor.shape.num_elements()
            small = size is not None and size < large
            together.setdefault(size if small else f"tensor {index}", []).append(index)
        listed = sorted(together.values(), key=lambda indices: len(indices) > 1)
        self._order = [index for indices in listed for index in indices]
        cast = [tf.cast(tensor, dtype) for tensor in tensors]
        self.members = [
            tf.stack([tf.reshape(cast[index], [-1]) for index in indices])
            if len(indices) > 1
            else cast[indices[0]]
            for indices in listed
        ]
        self.counts = [len(indices) for indices in listed]  # of tensors in each
        self._tensors = [tensors[index] for index in self._order]

    def in_order(self, table: tf.Tensor) -> tf.Tensor:
        """Columns as the tensors came, of a table in the order of the groups."""
        return tf.gather(table, np.argsort(self._order), axis=1)

    def briefly(self) -> tf.Tensor:
        """The first three of `COLUMNS`, nothing divided."""
        pairs = list(zip(self.members, self.counts, strict=True))
        single = [member for member, count in pairs if count == 1]
        tables = [
            tf.stack([one(member, 1) for one in _BRIEF])
            for member, count in pairs
            if count > 1
        ]
        if single:
            numbers = [one(member, None) for one in _BRIEF for member in single]
            shape = [len(_BRIEF), len(single)]
            tables.insert(0, tf.reshape(tf.stack(numbers), shape))
        return tf.concat(tables, axis=1)

    def unknown(self) -> tf.Tensor:
        """The next four of `COLUMNS`, of tensors that were looked at briefly."""
        rest = np.ones((4, len(self._order))) * [[1], [np.nan], [np.nan], [0]]
        return tf.constant(rest, self._dtype)

    def apply(
        self, function: Callable, members: Sequence[tf.Tensor], table: tf.Tensor
    ) -> tf.Tensor:
        """What a function says of the rows of each group and its part of a table."""
        one = _shared(function, self._xla)
        parts = tf.split(table, self.counts, axis=1)
        triples = zip(members, self.counts, parts, strict=True)
        return tf.concat([one(_rows(m, n), part) for m, n, part in triples], axis=1)

    def sizes(self, dtype: tf.DType) -> tf.Tensor:
        """Elements of each tensor."""
        counts = [tensor.shape.num_elements() for tensor in self._tensors]
        if None not in counts:
            return tf.constant(counts, dtype)
        return tf.cast(tf.stack([tf.size(tensor) for tensor in self._tensors]), dtype)


def _rows(member: tf.Tensor, count: int) -> tf.Tensor:
    return member if count > 1 else tf.reshape(member, [1, -1])


def _shared(function: Callable[..., tf.Tensor], xla: bool) -> Callable[..., tf.Tensor]:
    """A function of matrices, traced once for those of all shapes and all graphs.

    To trace it for each tensor of a large network would take seconds.
    """
    if xla or tf.executing_eagerly():
        return function

    def call(*matrices: tf.Tensor) -> tf.Tensor:
        dtype = matrices[0].dtype
        traced = _traced(function, len(matrices), dtype)
        (output,) = tf.raw_ops.PartitionedCall(args=matrices, Tout=[dtype], f=traced)
        output.set_shape([None, matrices[0].shape[0]])
        return output

    return call


@functools.cache
def _traced(function: Callable[..., tf.Tensor], count: int, dtype: tf.DType) -> Any:
    specs = [tf.TensorSpec([None, None], dtype, f"matrix_{n}") for n in range(count)]
    attributes = {"_noinline": True}
    node = tf.function(function, autograph=False, experimental_attributes=attributes)
    return outside(lambda: node.get_concrete_function(*specs))


def _table_if(
    condition: tf.Tensor,
    table: tf.Tensor,
    otherwise: Callable[..., tf.Tensor],
    inputs: Sequence[tf.Tensor],
    *,
    xla: bool,
) -> tf.Tensor:
    """`table` if a condition holds, else `otherwise(table, *inputs)`, as large.

    `tf.cond` would spread its branches over the graph, with a switch for each input;
    a step of many small kernels feels that. XLA is handed what it knows.
    """
    if xla or tf.executing_eagerly():
        return tf.cond(condition, lambda: table, lambda: otherwise(table, *inputs))
    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, f"input_{number}")
        for number, tensor in enumerate([table, *inputs])
    ]
    branches = [
        tf.function(branch, autograph=False).get_concrete_function(*specs)
        for branch in (lambda table, *_: table, otherwise)
    ]
    (output,) = tf.raw_ops.StatelessIf(
        cond=condition,
        input=[table, *inputs],
        Tout=[table.dtype],
        then_branch=branches[0],
        else_branch=branches[1],
    )
    output.set_shape(table.shape)
    return output


def _half_squares(values: tf.Tensor, axis: int | None) -> tf.Tensor:
    """Half the sum of squares."""
    if axis is None:
        return tf.nn.l2_loss(values)  # one kernel
    return tf.reduce_sum(tf.square(values), axis) / 2


_BRIEF = (tf.reduce_max, tf.reduce_min, _half_squares)


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / math.log(10.0)


def _are_ordinary(brief: tf.Tensor) -> tf.Tensor:
    """Whether all halves of sums of squares are right; not if one is NaN.

    Those of zeros are, whose largest and smallest element is 0.
    """
    highest, least, squares = tf.unstack(brief, num=3)
    right = tf.equal(tf.clip_by_value(squares, _LEAST, _MOST), squares)
    zero = tf.equal(squares + tf.maximum(highest, -least), 0)
    return tf.reduce_all(right | zero)


def _close_statistics(rows: tf.Tensor, brief: tf.Tensor) -> tf.Tensor:
    """The first seven of `COLUMNS` for each row of a matrix, of any magnitudes."""

    def plain() -> tf.Tensor:
        count = _half_squares(tf.sign(rows), 1)
        total = tf.reduce_sum(tf.abs(rows), axis=1)
        one = tf.ones_like(count)
        return tf.concat([brief, tf.stack([one, count, total, 0 * one])], axis=0)

    return tf.cond(_are_ordinary(brief), plain, lambda: _unit_statistics(rows))


def _unit_statistics(rows: tf.Tensor) -> tf.Tensor:
    """The same, of rows that are divided by their largest magnitudes first."""
    relative, unit, largest = _divided(rows)
    bad = tf.logical_not(tf.math.is_finite(rows))
    not_zero = tf.cast(tf.not_equal(rows, 0), rows.dtype)  # nor is NaN
    return tf.stack(
        [
            largest,
            -largest,
            _half_squares(relative, 1),
            unit,
            tf.reduce_sum(not_zero, axis=1) / 2,
            tf.reduce_sum(tf.abs(relative), axis=1),
            tf.reduce_sum(tf.cast(bad, rows.dtype), axis=1),
        ]
    )


def _row_changes(old: tf.Tensor, new: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """What `changes` says of the rows of matrices."""
    update = new - old
    frozen = tf.reduce_mean(tf.cast(tf.equal(update, 0), old.dtype), axis=1)
    (moves, move, _), (weights, weight, _), (slopes, *_) = map(
        _divided, (update, old, gradient)
    )
    moves_norm, weights_norm, slopes_norm = (
        tf.sqrt(2 * _half_squares(each, 1)) for each in (moves, weights, slopes)
    )
    ratio = move / weight * (moves_norm / weights_norm)
    log10_weight = _log10(weight) + _log10(weights_norm)
    cosine = tf.reduce_sum(moves * slopes, axis=1) / (moves_norm * slopes_norm)
    return tf.stack([frozen, ratio, log10_weight, cosine])


def _divided(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Rows divided by units, these, and the largest magnitudes, which are the units.

    Of a row of zeros the unit is the smallest normal number.
    """
    largest = tf.reduce_max(tf.abs(rows), axis=1)
    unit = tf.maximum(largest, np.finfo(rows.dtype.as_numpy_dtype).tiny)
    return rows / unit[:, None], unit, largest
