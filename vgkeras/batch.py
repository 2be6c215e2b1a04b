"""run_stacks(): many stacks trained side by side by one compiled program.

The stacks lie end to end in *lanes* of equal length, so that a sweep over depths
wastes little work: three scales of depths 2 to 152 fill seven lanes of 152 layers.
A lane is a tensor axis; the samples are the contiguous one. Some lanes make a *block*.
One XLA program walks all lanes of a block at once, forward and then backward. In
between and afterwards it treats all layers together: the losses, the weight gradients,
the updates and the statistics. Blocks run in threads: XLA could share out the tensors
of one block as well, but to wake a thread for each costs more than it saves. All
derivatives are taken by `tf.GradientTape`. Scales, learning rates, data and the number
of steps are inputs of the program, so one compilation serves every sweep of the same
padded shape. What a layer and an update are is told by a `vgkeras.recipes.Recipe`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vgkeras import _garbage
from vgkeras._threads import side_by_side
from vgkeras.logs import KINDS, LAYER_COLUMNS
from vgkeras.recipes import Recipe, layer, slots, slots_of, update

LINEAR = Recipe()  # the lecture: linear layers, plain gradient descent
_LENGTHS = (8, 32, 152)  # lane lengths that are compiled for; beyond: multiples of 64
# Lanes in one call of the program. More of them share the overhead of a loop; one
# signal of all their layers should fit the memory that a processor has for itself.
_LANES = (1, 2, 4, 8, 16, 32, 64, 128)
_SIGNAL_BYTES = 2**20
_LOG_BYTES = 16 * 2**20  # room for the statistics of one call of the program
_MOST_STEPS = 64  # steps in one call of the program at most
_MORE = 6  # statistics of a layer beside those of its tensors: see `_statistics`
_ONE_AT_A_TIME = threading.Lock()
COLUMNS = LAYER_COLUMNS[5:-1]  # log10_norm ... update_ratio


class Stack(NamedTuple):
    """One stack to train: its kernels, its data and its learning rate.

    `kernels` are `depth` arrays, `(units, units)` and at last `(units, outputs)`;
    `x` has the shape `(samples, units)`, `y` `(samples, outputs)`. Stacks that
    share their data hold the very same arrays.
    """

    kernels: Sequence[np.ndarray]
    x: np.ndarray
    y: np.ndarray
    learning_rate: float


class Trace(NamedTuple):
    """What one stack did.

    Args:
        losses: Shape `(steps + 1,)`.
        statistics: Shape `(7, logged steps, kinds, depth)`: the columns `log10_norm`
            to `update_ratio` of a log, by the order of `vgkeras.logs.KINDS`; the
            activation is what leaves the layer, after its shortcut.
        kernels: The kernels after the last step.
    """

    losses: np.ndarray
    statistics: np.ndarray
    kernels: list[np.ndarray]


def run_stacks(
    stacks: Sequence[Stack],
    *,
    steps: int,
    logged_steps: Sequence[int],
    dtype: str = "float32",
    recipe: Recipe = LINEAR,
    progress: Callable[[int, int], Any] | None = None,
) -> list[Trace]:
    """Trains all stacks on the mean squared error of their one batch.

    Args:
        stacks: The stacks, of any depths but one `units`, output width and number
            of samples.
        steps: Number of updates.
        logged_steps: The steps, 0 to `steps`, whose layer statistics are kept.
            Without any, none are computed.
        dtype: Format of weights and arithmetic.
        recipe: What the hidden layers and the optimizer are.
        progress: Called as `progress(done, total)` after calls of the program,
            counted in steps. An exception it raises stops all runs where they are.

    Returns:
        A `Trace` per stack, in the order given.
    """
    keep = _kept(steps, logged_steps)
    blocks = _packed(stacks)
    total = len(blocks) * (steps + 1)
    room = _room(stacks, keep)

    def run(block: _Block, told: Callable[[int], None]) -> list[Trace]:
        mine = [stacks[index] for index in block.places]
        into = [room[index] for index in block.places]
        return _run_block(mine, block, steps, keep, dtype, recipe, told, into)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total)

    found = side_by_side([functools.partial(run, block) for block in blocks], tell)
    return _in_order(blocks, found)


def joined(traces: Sequence[Trace]) -> np.ndarray:
    """The statistics of all runs, one after the other.

    Args:
        traces: At least one trace.

    Returns:
        Shape `(7, rows)`, the rows of a trace by step, kind and layer. No copy is
        made of what `run_stacks` returns: there the traces lie in it already.
    """
    whole = traces[0].statistics.base
    parts = [trace.statistics.reshape(len(COLUMNS), -1) for trace in traces]
    rows = sum(part.shape[1] for part in parts)
    # what comes from a worker lies in bytes
    whole = whole if isinstance(whole, np.ndarray) else None
    shared = all(trace.statistics.base is whole for trace in traces)
    if whole is not None and shared and whole.shape == (len(COLUMNS), rows):
        return whole
    return np.concatenate(parts, axis=1)


def _kept(steps: int, logged_steps: Sequence[int]) -> np.ndarray:
    """Whether each of the steps 0 to `steps` is logged."""
    keep = np.zeros(steps + 1, bool)
    keep[list(logged_steps)] = True
    return keep


def _in_order(blocks: Sequence[_Block], found: Sequence[list[Trace]]) -> list[Trace]:
    """The traces of all blocks in the order in which their stacks came."""
    traces: dict[int, Trace] = {}
    for block, its_traces in zip(blocks, found, strict=True):
        traces.update(zip(block.places, its_traces, strict=True))
    return [traces[index] for index in range(len(traces))]


def _room(stacks: Sequence[Stack], keep: np.ndarray) -> list[np.ndarray]:
    """Where the statistics of each stack go: views of one array, see `joined`."""
    shapes = [(keep.sum(), len(KINDS), len(stack.kernels)) for stack in stacks]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    whole = np.empty((len(COLUMNS), ends[-1]))
    parts = np.split(whole, ends[:-1], axis=1)
    return [
        part.reshape(len(COLUMNS), *shape)
        for part, shape in zip(parts, shapes, strict=True)
    ]


@dataclass(frozen=True)
class _Block:
    """Lanes that run together: `places[stack] = (lane, first layer)`."""

    length: int
    lanes: int
    places: dict[int, tuple[int, int]]


def _run_block(
    stacks: Sequence[Stack],
    block: _Block,
    steps: int,
    keep: np.ndarray,
    dtype: str,
    recipe: Recipe,
    told: Callable[[int], None],
    into: Sequence[np.ndarray],
) -> list[Trace]:
    """Trains the stacks of one block, some steps in each call of the program.

    The statistics of each stack are written `into` an array of its own.
    """
    arrays = _lane_arrays(stacks, block, dtype)
    units = stacks[0].x.shape[1]
    plan = _plan(arrays, units, bool(keep.any()), dtype, recipe)
    capacity = plan.capacity
    with _ONE_AT_A_TIME:  # else two threads would compile the same
        program = _program(plan)
    total = steps + 1  # the last pass measures what the last update left
    state, logged, losses = _start(arrays, recipe), [], []
    for first in range(0, total, capacity):
        live = min(capacity, total - first)
        counts = [live, min(live, steps - first), first]
        with _garbage.paused():  # the first call builds the graph
            state, rows = program(arrays, state, tf.constant(counts))
        rows = rows.numpy()[:live]
        losses.append(rows[:, -1])
        kept = keep[first : first + live]
        logged.append(rows if kept.all() else rows[kept])
        told(live)
    together = logged[0] if len(logged) == 1 else np.concatenate(logged)
    kernels = state[0].numpy()
    return _traces(stacks, block, plan, together, np.concatenate(losses), kernels, into)


class _Arrays(NamedTuple):
    """The inputs of the program."""

    kernels: tf.Tensor  # (length, lanes, width, width)
    x: tf.Tensor  # (lanes, width, samples), as `y`
    y: tf.Tensor
    starts: tf.Tensor  # (length, lanes, 1, 1), as `ends` and `rates`
    ends: tf.Tensor
    rates: tf.Tensor
    shares: tf.Tensor  # of an output in a sample's mean, of a sample in the loss


def _start(arrays: _Arrays, recipe: Recipe) -> list[tf.Tensor]:
    """Parameters and what the optimizer keeps of each, before the first step."""
    parameters = [arrays.kernels]
    if recipe.residual == "zero":
        parameters.append(tf.zeros_like(arrays.rates))
    return [*parameters, *slots(recipe.rule, parameters)]


def _packed(stacks: Sequence[Stack]) -> list[_Block]:
    """Lays the stacks into lanes, longest first; a lane has one data set."""
    length = _length(max(len(stack.kernels) for stack in stacks))
    lanes: list[dict[int, int]] = []  # of each lane: its stacks and their first layer
    ends: list[int] = []
    unfilled: dict[tuple[int, int], list[int]] = {}
    for index in sorted(range(len(stacks)), key=lambda i: -len(stacks[i].kernels)):
        stack, depth = stacks[index], len(stacks[index].kernels)
        mine = unfilled.setdefault((id(stack.x), id(stack.y)), [])
        lane = next((i for i in mine if ends[i] + depth <= length), None)
        if lane is None:
            lane = len(lanes)
            lanes.append({})
            ends.append(0)
            mine.append(lane)
        lanes[lane][index] = ends[lane]
        ends[lane] += depth
        if ends[lane] == length:
            mine.remove(lane)
    fitting = _SIGNAL_BYTES // (4 * length * stacks[0].x.size)
    most = max((w for w in _LANES if w <= fitting), default=_LANES[0])
    return _blocks(lanes, length, min(most, _enough_lanes(len(lanes))))


def _blocks(lanes: list[dict[int, int]], length: int, width: int) -> list[_Block]:
    """Cuts the lanes into blocks of one width: they share a program."""
    blocks = []
    for first in range(0, len(lanes), width):
        mine = lanes[first : first + width]
        places = {i: (k, at) for k, lane in enumerate(mine) for i, at in lane.items()}
        blocks.append(_Block(length, width, places))
    return blocks


def _enough_lanes(count: int) -> int:
    """The width of two blocks that hold so many lanes.

    No less than the lecture's sweep needs: its program serves all that are smaller.
    """
    half = max(4, -(-count // 2))
    return next((w for w in _LANES if half <= w), _LANES[-1])


def _length(deepest: int) -> int:
    for length in _LENGTHS:
        if deepest <= length:
            return length
    return -(-deepest // 64) * 64


def _lane_arrays(stacks: Sequence[Stack], block: _Block, dtype: str) -> _Arrays:
    """Lays kernels and data out.

    A Keras optimizer keeps its learning rate in float32, whatever the model's
    format; so do the lanes.
    """
    samples, units = stacks[0].x.shape
    outputs = stacks[0].y.shape[1]
    width = max(units, outputs)
    kernels = np.zeros((block.length, block.lanes, width, width))
    x, y = np.zeros((2, block.lanes, width, samples))
    starts, ends = np.ones((2, block.length, block.lanes, 1, 1), bool)
    rates = np.zeros((block.length, block.lanes, 1, 1))
    for stack, (lane, first) in zip(stacks, block.places.values(), strict=True):
        last = first + len(stack.kernels) - 1
        if last > first:
            kernels[first:last, lane, :units, :units] = stack.kernels[:-1]
        kernels[last, lane, :units, :outputs] = stack.kernels[-1]
        x[lane, :units], y[lane, :outputs] = stack.x.T, stack.y.T
        starts[first + 1 : last + 1, lane] = False
        ends[first:last, lane] = False
        rates[first : last + 1, lane] = np.float32(stack.learning_rate)
    return _Arrays(
        kernels=tf.cast(kernels, dtype),
        x=tf.cast(x, dtype),
        y=tf.cast(y, dtype),
        starts=tf.constant(starts),
        ends=tf.constant(ends),
        rates=tf.cast(rates, dtype),
        shares=tf.constant([1.0 / outputs, 1.0 / samples], tf.float64),
    )


class _Plan(NamedTuple):
    """What a program is compiled for."""

    capacity: int  # steps in one call
    logs: bool  # whether statistics are taken, or the loss alone
    length: int
    lanes: int
    width: int
    samples: int
    units: int
    dtype: str
    recipe: Recipe

    @property
    def wide(self) -> tf.DType:
        """Format of sums and statistics."""
        return tf.float64 if self.dtype == "float64" else tf.float32

    @property
    def several(self) -> int | None:
        """A number above all counts of elements; see `_counts`.

        `None` if the format of statistics does not hold two counts in one number.
        """
        size = self.width * max(self.width, self.samples)
        several = 2 ** size.bit_length()
        precision = np.finfo(self.wide.as_numpy_dtype).eps
        return several if several * (size + 1) * precision <= 1 else None

    @property
    def rows(self) -> int:
        """Statistics of a layer."""
        each = 5 if self.several is None else 4  # of a tensor: see `_raw`
        return each * len(KINDS) + _MORE if self.logs else 1

    @property
    def trained(self) -> int:
        """Number of parameters of a layer: the kernel, and the factor of a branch."""
        return 2 if self.recipe.residual == "zero" else 1

    def layer(self, signal: Any, last: Any, weights: Sequence[Any]) -> tf.Tensor:
        return layer(self.recipe, self.units, self.wide, signal, last, *weights)

    def signals(self) -> tf.TensorArray:
        """Room for one signal of every layer."""
        shape = [self.lanes, self.width, self.samples]
        return tf.TensorArray(self.dtype, self.length, element_shape=shape)

    def table(self) -> tf.TensorArray:
        """Room for the statistics of every step."""
        shape = [self.rows, self.length, self.lanes]
        return tf.TensorArray(self.wide, self.capacity, element_shape=shape)


def _plan(arrays: _Arrays, units: int, logs: bool, dtype: str, recipe: Recipe) -> _Plan:
    """What the program for some lanes has to be."""
    length, lanes, width, _ = arrays.kernels.shape
    samples = arrays.x.shape[-1]
    plan = _Plan(1, logs, length, lanes, width, samples, units, dtype, recipe)
    fitting = _LOG_BYTES // (4 * length * lanes * plan.rows)
    return plan._replace(capacity=min(_MOST_STEPS, max(1, fitting)))


@functools.lru_cache(maxsize=48)
def _program(
    plan: _Plan,
) -> Callable[[_Arrays, list[tf.Tensor], tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]:
    """Compiles the training loop for one padded shape.

    The returned function maps the lane arrays, the state of `_start` and three counts
    (passes, updates among them, and steps before) to the new state and the statistics
    of every pass, `(capacity, rows, length, lanes)`.
    """

    @tf.function(jit_compile=True, autograph=False)
    def program(arrays: _Arrays, state: list[Any], counts: Any) -> tuple[Any, Any]:
        live, updates, before = tf.unstack(counts)

        def body(t: Any, *carried: Any) -> tuple[Any, ...]:
            *state, table = carried
            moved, new = _one_pass(plan, arrays, state, before + t + 1)
            pairs = zip(moved, state, strict=True)
            state = [tf.where(t < updates, new, old) for new, old in pairs]
            return (t + 1, *state, table.write(t, new))

        start = [0, *state, plan.table()]
        _, *state, table = _loop(live, body, start, most=plan.capacity)
        return state, table.stack()

    return program


def _one_pass(
    plan: _Plan, arrays: _Arrays, state: list[tf.Tensor], step: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The updated state, and the statistics of every layer."""
    weights = state[: plan.trained]
    inputs = _inputs(plan, arrays, weights)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        outputs = plan.layer(inputs, arrays.ends, weights)
        tape.watch(outputs)
        residuals = tf.where(arrays.ends, outputs - arrays.y, 0)
        squares = tf.cast(tf.square(residuals), plan.wide)
        # Samples are averaged last, as Keras does: sums overflow where its sums do.
        share, of_sample = tf.unstack(tf.cast(arrays.shares, plan.wide))
        losses = tf.reduce_sum(squares * share, [2, 3]) * of_sample
    errors = tape.gradient(losses, outputs)
    gradients = _output_gradients(plan, arrays, weights, inputs, errors)
    slopes = tape.gradient(outputs, weights, output_gradients=gradients)
    moved, changes = _updated(plan, arrays, state, slopes, step)
    if not plan.logs:
        return moved, losses[None]
    change = slopes[0] if plan.recipe.rule.plain else changes[0]
    of_weights = (slopes[0], weights[0], moved[0], change)
    return moved, _statistics(plan, outputs, gradients, *of_weights, losses)


def _inputs(plan: _Plan, arrays: _Arrays, weights: list[tf.Tensor]) -> tf.Tensor:
    """Forward: what enters each layer."""

    def body(p: Any, signal: Any, inputs: Any) -> tuple[Any, ...]:
        signal = tf.where(arrays.starts[p], arrays.x, signal)
        leaving = plan.layer(signal, arrays.ends[p], [weight[p] for weight in weights])
        return p + 1, leaving, inputs.write(p, signal)

    return _loop(plan.length, body, [0, arrays.x, plan.signals()])[2].stack()


def _output_gradients(
    plan: _Plan, arrays: _Arrays, weights: list[tf.Tensor], inputs: Any, errors: Any
) -> tf.Tensor:
    """Backward: the gradient of the loss by what leaves each layer."""

    def body(i: Any, gradient: Any, gradients: Any) -> tuple[Any, ...]:
        p = plan.length - 1 - i
        gradient = tf.where(arrays.ends[p], errors[p], gradient)
        with tf.GradientTape() as tape:
            signal = inputs[p]
            tape.watch(signal)
            mine = [weight[p] for weight in weights]
            output = plan.layer(signal, arrays.ends[p], mine)
        entering = tape.gradient(output, signal, output_gradients=gradient)
        return i + 1, entering, gradients.write(p, gradient)

    start = [0, tf.zeros_like(arrays.x), plan.signals()]
    return _loop(plan.length, body, start)[2].stack()


def _updated(
    plan: _Plan, arrays: _Arrays, state: list[tf.Tensor], slopes: Any, step: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The state after an update, and what was subtracted from each parameter."""
    rule = plan.recipe.rule
    kept = slots_of(rule)
    moved, remembered, changes = [], [], []
    for number, slope in enumerate(slopes):
        first = plan.trained + kept * number
        own = state[first : first + kept]
        change, own = update(rule, slope, own, arrays.rates, step)
        moved.append(state[number] - change)
        remembered += own
        changes.append(change)
    return [*moved, *remembered], changes


def _loop(count: Any, body: Callable, state: list[Any], most: Any = None) -> Any:
    """`body` from index 0 to `count`; XLA wants to know a bound."""
    most = count if most is None else most
    return tf.while_loop(lambda i, *_: i < count, body, state, maximum_iterations=most)


def _statistics(
    plan: _Plan,
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


def _traces(
    stacks: Sequence[Stack],
    block: _Block,
    plan: _Plan,
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


def _decode(rows: np.ndarray, stack: Stack, plan: _Plan, columns: np.ndarray) -> None:
    """Writes the columns of a log from the raw statistics of one stack.

    `rows` has the shape `(logged steps, plan.rows, depth)`. One stack at a time: that
    stays in the processor's cache.
    """
    steps, _, depth = rows.shape
    if not steps:
        return
    raw = rows[:, :-_MORE].reshape(steps, len(KINDS), -1, depth)
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
