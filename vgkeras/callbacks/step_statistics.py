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

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

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
    table = groups.measured(closely)
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
    new = [tf.cast(tensor, dtype) for tensor in after]
    old = [
        tf.reshape(tf.cast(tensor, dtype), other.shape)
        for tensor, other in zip(before, new, strict=True)
    ]
    update = _Groups([n - o for n, o in zip(new, old, strict=True)], dtype, xla)
    squares, unit, count = tf.unstack(update.squares())
    weight_squares, weight_unit, _ = tf.unstack(_Groups(old, dtype, xla).squares())
    frozen = 1 - 2 * count / update.sizes(dtype)
    ratio = unit / weight_unit * (tf.sqrt(squares) / tf.sqrt(weight_squares))
    log10_weight = _log10(weight_unit) + _log10(2 * weight_squares) / 2
    cosine = update.cosines(_Groups(gradients, dtype, xla))
    return update.in_order(tf.stack([frozen, ratio, log10_weight, cosine]))


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
    """Tensors, those of one size in the rows of one matrix.

    Large ones are put together for XLA only, which compiles a kernel for each pass over
    each group; otherwise to copy them costs more than it saves.
    """

    def __init__(self, tensors: Sequence[Any], dtype: tf.DType, xla: bool) -> None:
        self._xla = xla
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
        """Columns as the tensors came, of a table in the order of the groups."""
        return tf.gather(table, np.argsort(self._order), axis=1)

    def measured(self, closely: Any) -> tf.Tensor:
        """The first seven of `COLUMNS`, `(7, tensors)`."""
        brief = self.each(self._groups, tf.reduce_max, tf.reduce_min, _half_squares)
        highest, least, squares = tf.unstack(brief)
        ordinary = _are_ordinary(squares, tf.maximum(highest, -least))
        suffices = ordinary & tf.logical_not(closely)
        rest = np.ones((4, sum(self._rows))) * [[1], [np.nan], [np.nan], [0]]
        table = tf.concat([brief, tf.constant(rest, brief.dtype)], axis=0)
        inputs = [table, ordinary, *self._groups]
        return _table_if(suffices, table, self._close, inputs, xla=self._xla)

    def _close(self, table: tf.Tensor, ordinary: Any, *groups: tf.Tensor) -> tf.Tensor:
        """The table with all its columns, of tensors of any magnitudes."""
        more = self.each(groups, _half_count, _sum_of_magnitudes)
        table = tf.concat([table[:4], more, table[6:]], axis=0)
        return _table_if(ordinary, table, self._by_unit, groups, xla=self._xla)

    def _by_unit(self, *groups: tf.Tensor) -> tf.Tensor:
        """The table of tensors of any magnitudes."""
        pairs = zip(groups, self._rows, strict=True)
        tables = [_unit_statistics(tf.reshape(rows, [n, -1])) for rows, n in pairs]
        return tf.concat(tables, axis=1)

    def squares(self) -> tf.Tensor:
        """Half the sum of (g / unit)^2, the unit, half the number of elements not 0.

        Two passes over each tensor, where `measured` would take five.
        """
        squares, count = tf.unstack(self.each(self._groups, _half_squares, _half_count))
        table = tf.stack([squares, tf.ones_like(squares), count])
        return _table_if(
            _are_ordinary(squares, count),
            table,
            lambda *groups: self._by_unit(*groups)[2:5],
            self._groups,
            xla=self._xla,
        )

    def cosines(self, others: "_Groups") -> tf.Tensor:
        """The cosine of the angle between each tensor and that of `others`."""
        triples = zip(self._groups, others._groups, self._rows, strict=True)
        return tf.concat([_cosines(*triple) for triple in triples], axis=0)

    def each(self, groups: Sequence[tf.Tensor], *passes: Callable) -> tf.Tensor:
        """What passes over each tensor, nothing divided, find: `(passes, tensors)`."""
        pairs = list(zip(groups, self._rows, strict=True))
        single = [group for group, rows in pairs if rows == 1]
        tables = [
            tf.stack([one(group, 1) for one in passes])
            for group, rows in pairs
            if rows > 1
        ]
        if single:
            numbers = [one(group, None) for one in passes for group in single]
            shape = [len(passes), len(single)]
            tables.insert(0, tf.reshape(tf.stack(numbers), shape))
        return tf.concat(tables, axis=1)

    def sizes(self, dtype: tf.DType) -> tf.Tensor:
        """Elements of each tensor."""
        counts = [tensor.shape.num_elements() for tensor in self._tensors]
        if None not in counts:
            return tf.constant(counts, dtype)
        return tf.cast(tf.stack([tf.size(tensor) for tensor in self._tensors]), dtype)


def _table_if(
    condition: tf.Tensor,
    table: tf.Tensor,
    otherwise: Callable[..., tf.Tensor],
    inputs: Sequence[tf.Tensor],
    *,
    xla: bool,
) -> tf.Tensor:
    """`table` if a condition holds, else `otherwise(*inputs)`, which is as large.

    `tf.cond` would spread its branches over the graph, with a switch for each input;
    a step of many small kernels feels that. XLA is handed what it knows.
    """
    if xla or tf.executing_eagerly():
        return tf.cond(condition, lambda: table, lambda: otherwise(*inputs))
    specs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, f"input_{number}")
        for number, tensor in enumerate([table, *inputs])
    ]
    branches = [
        tf.function(branch, autograph=False).get_concrete_function(*specs)
        for branch in (lambda table, *_: table, lambda _, *inputs: otherwise(*inputs))
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


def _half_count(values: tf.Tensor, axis: int | None) -> tf.Tensor:
    """Half the number of elements not 0; NaN where an element is."""
    return _half_squares(tf.sign(values), axis)


def _sum_of_magnitudes(values: tf.Tensor, axis: int | None) -> tf.Tensor:
    return tf.reduce_sum(tf.abs(values), axis)


def _cosines(ones: tf.Tensor, others: tf.Tensor, rows: int) -> tf.Tensor:
    """The cosine of the angle between the rows of one matrix and of another."""
    one, other = (
        matrix / tf.reduce_max(tf.abs(matrix), axis=1, keepdims=True)
        for matrix in (tf.reshape(ones, [rows, -1]), tf.reshape(others, [rows, -1]))
    )
    squares = tf.sqrt(_half_squares(one, 1)) * tf.sqrt(_half_squares(other, 1))
    return tf.reduce_sum(one * other, axis=1) / (2 * squares)


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / math.log(10.0)


def _are_ordinary(squares: tf.Tensor, evidence: tf.Tensor) -> tf.Tensor:
    """Whether all halves of sums of squares are right; not if one is NaN.

    Those of zeros are; `evidence` is 0 for a tensor of zeros, and positive for others.
    """
    right = tf.equal(tf.clip_by_value(squares, _LEAST, _MOST), squares)
    return tf.reduce_all(right | tf.equal(squares + evidence, 0))


def _unit_statistics(rows: tf.Tensor) -> tf.Tensor:
    """The first seven of `COLUMNS` for each row of a matrix."""
    magnitudes = tf.abs(rows)
    largest = tf.reduce_max(magnitudes, axis=1)
    unit = tf.maximum(largest, np.finfo(rows.dtype.as_numpy_dtype).tiny)  # normal
    bad = tf.logical_not(tf.math.is_finite(rows))
    not_zero = tf.cast(tf.not_equal(rows, 0), rows.dtype)  # nor is NaN
    return tf.stack(
        [
            largest,
            -largest,
            tf.reduce_sum(tf.square(rows / unit[:, None]), axis=1) / 2,
            unit,
            tf.reduce_sum(not_zero, axis=1) / 2,
            tf.reduce_sum(magnitudes / unit[:, None], axis=1),
            tf.reduce_sum(tf.cast(bad, rows.dtype), axis=1),
        ]
    )
