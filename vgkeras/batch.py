"""run_stacks(): many linear stacks trained side by side in one compiled program.

The stacks lie end to end in *lanes* of equal length, so that a sweep over depths
wastes little work: three scales of depths 2 to 152 fill seven lanes of 152 layers.
A lane is a tensor axis. One XLA program walks all lanes at once, forward and then
backward; each layer, and the loss at the end of each stack, is differentiated by
`tf.GradientTape`. Scales, learning rates, data and the number of steps are inputs
of the program, so one compilation serves every sweep of the same padded shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

_LENGTHS = (8, 32, 152)  # lane lengths that are compiled for; beyond: multiples of 64
_WIDEST_ELEMENTWISE = 16  # up to this width multiply-and-add beats a matrix product
_LOG_BYTES = 32 * 2**20  # room for the statistics of one call of the program
_MOST_STEPS = 64  # steps in one call of the program at most
_GROUPS = ("activation", "activation_gradient", "weight_gradient")
_ROWS = 4 * len(_GROUPS) + 4  # statistics of a layer: see `_layer_row`


class Stack(NamedTuple):
    """One linear stack to train: its kernels, its data and its learning rate.

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
        statistics: Per kind a float64 array `(logged steps, depth, 4)` in the
            order of `vgkeras.tape.STATISTICS`.
        frozen_fraction: Shape `(logged steps, depth)`.
        update_ratio: Shape `(logged steps, depth)`.
        kernels: The kernels after the last step.
    """

    losses: np.ndarray
    statistics: dict[str, np.ndarray]
    frozen_fraction: np.ndarray
    update_ratio: np.ndarray
    kernels: list[np.ndarray]


def run_stacks(
    stacks: Sequence[Stack],
    *,
    steps: int,
    logged_steps: Sequence[int],
    dtype: str = "float32",
    progress: Callable[[int, int], Any] | None = None,
) -> list[Trace]:
    """Trains all stacks by plain gradient descent on the mean squared error.

    Args:
        stacks: The stacks, of any depths but one `units`, output width and number
            of samples.
        steps: Number of updates.
        logged_steps: The steps, 0 to `steps`, whose layer statistics are kept.
        dtype: Format of weights and arithmetic.
        progress: Called as `progress(done, total)` between calls of the program,
            counted in steps. An exception it raises stops the run there.

    Returns:
        A `Trace` per stack, in the order given.
    """
    lanes = _packed(stacks)
    arrays = _lane_arrays(stacks, lanes, dtype)
    total = steps + 1  # the last pass measures what the last update left
    capacity = _capacity(lanes)
    program = _program(capacity, *_shape(lanes, arrays), dtype)
    keep = np.zeros(total, bool)
    keep[list(logged_steps)] = True
    kernels, logged, losses = arrays.kernels, [], []
    for first in range(0, total, capacity):
        live = min(capacity, total - first)
        updates = min(live, steps - first)
        kernels, rows = program(
            kernels,
            arrays.x,
            arrays.y,
            arrays.starts,
            arrays.ends,
            arrays.rates,
            arrays.weight,
            np.int32(live),
            np.int32(updates),
        )
        rows = rows.numpy()[:live]
        losses.append(rows[:, :, -1])
        logged.append(rows[keep[first : first + live]])
        if progress is not None:
            progress(first + live, total)
    return _traces(
        stacks,
        lanes,
        np.concatenate(logged),
        np.concatenate(losses),
        np.asarray(kernels),
    )


@dataclass(frozen=True)
class _Lanes:
    """Where each stack lies: `places[i] = (lane, first layer)`."""

    length: int
    count: int
    places: list[tuple[int, int]]


class _Arrays(NamedTuple):
    kernels: Any
    x: Any
    y: Any
    starts: Any
    ends: Any
    rates: Any
    weight: Any


def _packed(stacks: Sequence[Stack]) -> _Lanes:
    """Lays the stacks into lanes, longest first; a lane has one data set."""
    length = _length(max(len(stack.kernels) for stack in stacks))
    room: list[tuple[tuple[int, int], int]] = []  # per lane: its data, its free end
    places: list[tuple[int, int]] = [(0, 0)] * len(stacks)
    order = sorted(range(len(stacks)), key=lambda i: -len(stacks[i].kernels))
    open_lanes: dict[tuple[int, int], list[int]] = {}
    for index in order:
        stack, depth = stacks[index], len(stacks[index].kernels)
        data = (id(stack.x), id(stack.y))
        mine = open_lanes.setdefault(data, [])
        lane = next((i for i in mine if room[i][1] + depth <= length), None)
        if lane is None:
            lane = len(room)
            room.append((data, 0))
            mine.append(lane)
        places[index] = (lane, room[lane][1])
        room[lane] = (data, room[lane][1] + depth)
        if room[lane][1] == length:
            mine.remove(lane)
    block = 8 if len(room) <= 64 else 64
    return _Lanes(length, -(-len(room) // block) * block, places)


def _length(deepest: int) -> int:
    for length in _LENGTHS:
        if deepest <= length:
            return length
    return -(-deepest // 64) * 64


def _lane_arrays(stacks: Sequence[Stack], lanes: _Lanes, dtype: str) -> _Arrays:
    """The inputs of the program; the lane is the last, contiguous axis.

    A Keras optimizer keeps its learning rate in float32, whatever the model's
    format; so do the lanes.
    """
    samples, units = stacks[0].x.shape
    outputs = stacks[0].y.shape[1]
    width = max(units, outputs)
    kernels = np.zeros((lanes.length, width, width, lanes.count))
    x = np.zeros((samples, width, lanes.count))
    y = np.zeros((samples, width, lanes.count))
    starts = np.ones((lanes.length, 1, 1, lanes.count), bool)
    ends = np.ones((lanes.length, 1, 1, lanes.count), bool)
    rates = np.zeros((lanes.length, 1, 1, lanes.count))
    for stack, (lane, first) in zip(stacks, lanes.places, strict=True):
        depth = len(stack.kernels)
        square = slice(first, first + depth - 1)
        if depth > 1:
            kernels[square, :units, :units, lane] = stack.kernels[:-1]
        kernels[first + depth - 1, :units, :outputs, lane] = stack.kernels[-1]
        x[:, :units, lane], y[:, :outputs, lane] = stack.x, stack.y
        starts[first + 1 : first + depth, ..., lane] = False
        ends[square, ..., lane] = False
        rates[first : first + depth, ..., lane] = np.float32(stack.learning_rate)
    weight = 1.0 / (samples * outputs)
    floats = [tf.cast(values, dtype) for values in (kernels, x, y, rates)]
    kernels, x, y, rates = floats
    return _Arrays(
        kernels, x, y, tf.constant(starts), tf.constant(ends), rates, np.float64(weight)
    )


def _capacity(lanes: _Lanes) -> int:
    """Steps in one call of the program: as many as the memory bound allows."""
    step = lanes.length * lanes.count * _ROWS * 4
    return int(min(_MOST_STEPS, max(1, _LOG_BYTES // step)))


def _shape(lanes: _Lanes, arrays: _Arrays) -> tuple[int, int, int, int]:
    samples, width = arrays.x.shape[:2]
    return lanes.length, lanes.count, int(samples), int(width)


@functools.lru_cache(maxsize=16)
def _program(
    capacity: int, length: int, lanes: int, samples: int, width: int, dtype: str
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """Compiles the training loop for one padded shape.

    The returned function maps the lane arrays, the number of passes and of updates
    (at most `capacity`) to the new kernels and the statistics of every pass,
    `(capacity, length, _ROWS, lanes)`.
    """
    floating = tf.dtypes.as_dtype(dtype)
    wide = tf.float64 if dtype == "float64" else tf.float32
    layer = _elementwise if width <= _WIDEST_ELEMENTWISE else _matmul

    def forward(kernels: Any, x: Any, starts: Any) -> tf.Tensor:
        """The input of every layer, `(length, samples, width, lanes)`."""

        def body(p: Any, signal: Any, inputs: Any) -> tuple[Any, ...]:
            signal = tf.where(starts[p], x, signal)
            return p + 1, layer(signal, kernels[p], wide), _put(inputs, p, signal)

        empty = tf.zeros([length, samples, width, lanes], floating)
        return tf.while_loop(
            lambda p, *_: p < length, body, [0, x, empty], maximum_iterations=length
        )[2]

    def one_pass(arrays: _Arrays, kernels: Any, update: Any) -> tuple[Any, Any]:
        """Back through all layers, updating each; its statistics on the way."""
        inputs = forward(kernels, arrays.x, arrays.starts)

        def body(i: Any, upstream: Any, kernels: Any, rows: Any) -> tuple[Any, ...]:
            p = length - 1 - i
            signal, kernel, end = inputs[p], kernels[p], arrays.ends[p]
            with tf.GradientTape() as tape:
                tape.watch([signal, kernel])
                output = layer(signal, kernel, wide)
                tape.watch(output)
                residual = tf.where(end, output - arrays.y, tf.zeros_like(output))
                squares = tf.cast(tf.square(residual), wide)
                loss = tf.reduce_sum(squares, [0, 1]) * tf.cast(arrays.weight, wide)
            downstream, kernel_gradient, output_gradient = tape.gradient(
                [output, loss],
                [signal, kernel, output],
                output_gradients=[
                    tf.where(end, tf.zeros_like(upstream), upstream),
                    tf.ones_like(loss),
                ],
            )
            moved = kernel - arrays.rates[p] * kernel_gradient
            row = _layer_row(
                output, output_gradient, kernel_gradient, kernel, moved, loss, wide
            )
            kernels = _put(kernels, p, tf.where(update, moved, kernel))
            return i + 1, downstream, kernels, _put(rows, p, row)

        state = [
            0,
            tf.zeros([samples, width, lanes], floating),
            kernels,
            tf.zeros([length, _ROWS, lanes], wide),
        ]
        _, _, kernels, rows = tf.while_loop(
            lambda i, *_: i < length, body, state, maximum_iterations=length
        )
        return kernels, rows

    @tf.function(jit_compile=True, autograph=False)
    def program(*inputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        arrays, (live, updates) = _Arrays(*inputs[:7]), inputs[7:]

        def body(t: Any, kernels: Any, rows: Any) -> tuple[Any, ...]:
            kernels, new = one_pass(arrays, kernels, t < updates)
            return t + 1, kernels, _put(rows, t, new)

        empty = tf.zeros([capacity, length, _ROWS, lanes], wide)
        _, kernels, rows = tf.while_loop(
            lambda t, *_: t < live,
            body,
            [0, arrays.kernels, empty],
            maximum_iterations=capacity,
        )
        return kernels, rows

    return program


def _elementwise(signal: tf.Tensor, kernel: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """`signal @ kernel` in every lane, as multiply-and-add; sums in `wide`."""
    products = tf.cast(signal, wide)[:, :, None, :] * tf.cast(kernel, wide)[None]
    return tf.cast(tf.reduce_sum(products, axis=1), signal.dtype)


def _matmul(signal: tf.Tensor, kernel: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """`signal @ kernel` in every lane, as a batched matrix product."""
    product = tf.einsum("bir,ijr->bjr", tf.cast(signal, wide), tf.cast(kernel, wide))
    return tf.cast(product, signal.dtype)


def _put(buffer: tf.Tensor, index: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """`buffer` with `value` at `index`; XLA writes it in place."""
    return tf.tensor_scatter_nd_update(buffer, tf.reshape(index, [1, 1]), value[None])


def _layer_row(
    output: tf.Tensor,
    output_gradient: tf.Tensor,
    kernel_gradient: tf.Tensor,
    kernel: tf.Tensor,
    moved: tf.Tensor,
    loss: tf.Tensor,
    wide: tf.DType,
) -> tf.Tensor:
    """Statistics of one layer in every lane, `(_ROWS, lanes)`; see `_decoded`."""
    tensors = (output, output_gradient, kernel_gradient)
    measured = [row for tensor in tensors for row in _raw(tensor, wide)]
    largest, squares, *_ = _raw(kernel, wide)
    changed = tf.reduce_sum(tf.cast(tf.not_equal(moved, kernel), wide), [0, 1])
    return tf.stack([*measured, largest, squares, changed, loss])


def _raw(tensor: tf.Tensor, wide: tf.DType) -> list[tf.Tensor]:
    """Per lane: the largest magnitude, the sum of squares relative to it, counts.

    Zeros of the padding change none of the four.
    """
    values = tf.cast(tensor, wide)
    largest = tf.reduce_max(tf.abs(values), [0, 1])
    relative = values / tf.where(largest > 0, largest, tf.ones_like(largest))
    nonzero = tf.cast(tf.not_equal(values, 0), wide)
    nonfinite = tf.cast(tf.logical_not(tf.math.is_finite(values)), wide)
    counts = [tf.reduce_sum(flags, [0, 1]) for flags in (nonzero, nonfinite)]
    return [largest, tf.reduce_sum(tf.square(relative), [0, 1]), *counts]


def _traces(
    stacks: Sequence[Stack],
    lanes: _Lanes,
    rows: np.ndarray,
    losses: np.ndarray,
    kernels: np.ndarray,
) -> list[Trace]:
    """Cuts the lanes into the stacks that lie in them."""
    samples, units = stacks[0].x.shape
    outputs = stacks[0].y.shape[1]
    traces = []
    for stack, (lane, first) in zip(stacks, lanes.places, strict=True):
        depth = len(stack.kernels)
        place = slice(first, first + depth)
        widths = np.full(depth, units)
        widths[-1] = outputs
        own = rows[:, place, :, lane].astype(np.float64)
        traces.append(
            Trace(
                losses[:, first + depth - 1, lane].astype(np.float64),
                *_decoded(own, samples * widths, units * widths, stack.learning_rate),
                _cut(kernels[place, :, :, lane], stack.kernels),
            )
        )
    return traces


def _decoded(
    rows: np.ndarray, signal_sizes: np.ndarray, kernel_sizes: np.ndarray, rate: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Raw statistics `(steps, depth, _ROWS)` as logarithms and shares."""
    sizes = dict(zip(_GROUPS, (signal_sizes, signal_sizes, kernel_sizes), strict=True))
    measured = {}
    for number, group in enumerate(_GROUPS):
        raw = rows[..., 4 * number : 4 * number + 4]
        measured[group] = _logarithms(raw, sizes[group])
    weights = _logarithms(rows[..., 12:14], kernel_sizes)
    frozen = 1.0 - rows[..., 14] / kernel_sizes
    with np.errstate(all="ignore"):
        norms = measured["weight_gradient"][..., 0] - weights[..., 0]
        ratio = rate * 10.0**norms
    return measured, frozen, ratio


def _logarithms(raw: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`(..., 4)` of log10 norm, log10 max, zero share, non-finite share."""
    with np.errstate(all="ignore"):
        log10_max = np.log10(raw[..., 0])
        log10_norm = log10_max + 0.5 * np.log10(np.maximum(raw[..., 1], 1.0))
    if raw.shape[-1] == 2:
        return np.stack([log10_norm, log10_max], axis=-1)
    zero_share = 1.0 - raw[..., 2] / sizes
    bad_share = raw[..., 3] / sizes
    broken = bad_share > 0
    return np.stack(
        [
            np.where(broken, np.inf, log10_norm),
            np.where(broken, np.inf, log10_max),
            zero_share,
            bad_share,
        ],
        axis=-1,
    )


def _cut(padded: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        kernel[: shape[0], : shape[1]]
        for kernel, shape in zip(padded, (k.shape for k in like), strict=True)
    ]
