"""Stacks laid end to end in lanes of equal length.

XLA compiles for fixed shapes, and a sweep over depths has as many shapes as depths.
To pad every stack to the deepest would do three times the work that is asked for in
the default sweep; end to end, its 21 stacks fill seven lanes of 152 layers almost
without a gap. Where stacks meet, masks (`Arrays.starts`, `Arrays.ends`) keep them
apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vgkeras.logs import KINDS, LAYER_COLUMNS
from vgkeras.sweeps.layers import Recipe

_LENGTHS = (8, 32, 152)  # lane lengths that are compiled for; beyond: multiples of 64
# Lanes in one call of the program. More of them share the overhead of a loop; one
# signal of all their layers should fit the memory that a processor has for itself.
_LANES = (1, 2, 4, 8, 16, 32, 64, 128)
_SIGNAL_BYTES = 2**20

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


def empty_statistics(stacks: Sequence[Stack], logged: int) -> np.ndarray:
    """Room for the statistics of all stacks, one after the other: `(7, rows)`.

    They are decoded into one array because it becomes the columns of a log as it is:
    a wide sweep has millions of rows, and to join arrays would copy them all.
    """
    depths = sum(len(stack.kernels) for stack in stacks)
    return np.empty((len(COLUMNS), logged * len(KINDS) * depths))


def statistics_views(
    statistics: np.ndarray, stacks: Sequence[Stack], logged: int
) -> list[np.ndarray]:
    """The part of each stack in `empty_statistics`, `(7, logged, kinds, depth)`."""
    depths = [len(stack.kernels) for stack in stacks]
    ends = logged * len(KINDS) * np.cumsum(depths)
    parts = np.split(statistics, ends[:-1], axis=1)
    return [
        part.reshape(len(COLUMNS), logged, len(KINDS), depth)
        for part, depth in zip(parts, depths, strict=True)
    ]


@dataclass(frozen=True)
class Block:
    """Lanes that run together: `places[stack] = (lane, first layer)`."""

    length: int
    lanes: int
    places: dict[int, tuple[int, int]]


class Part(NamedTuple):
    """The stacks of one block and their training: all that a worker has to know.

    `logged` tells of each of the steps 0 to `steps` whether its layers are logged.
    """

    stacks: list[Stack]
    block: Block
    steps: int
    logged: np.ndarray
    dtype: str
    recipe: Recipe


def parts_of(
    stacks: Sequence[Stack],
    steps: int,
    logged_steps: Sequence[int],
    dtype: str,
    recipe: Recipe,
) -> list[Part]:
    """Divides the work on some stacks."""
    logged = np.zeros(steps + 1, bool)
    logged[list(logged_steps)] = True
    return [
        Part([stacks[i] for i in block.places], block, steps, logged, dtype, recipe)
        for block in packed_blocks(stacks)
    ]


def in_given_order(
    parts: Sequence[Part], traces: Sequence[Sequence[Trace]]
) -> list[Trace]:
    """The traces of all parts in the order in which their stacks came."""
    by_stack: dict[int, Trace] = {}
    for part, its_traces in zip(parts, traces, strict=True):
        by_stack.update(zip(part.block.places, its_traces, strict=True))
    return [by_stack[index] for index in range(len(by_stack))]


class Arrays(NamedTuple):
    """The inputs of the program.

    Where a stack starts it takes in `x`, not what leaves the stack before it in the
    lane; where it ends, its output is held against `y`. Layers that no stack fills are
    each a stack of their own, start and end at once: their kernel and their learning
    rate are 0, so that they stay 0 and disturb nobody.
    """

    kernels: tf.Tensor  # (length, lanes, width, width)
    x: tf.Tensor  # (lanes, width, samples), as `y`
    y: tf.Tensor
    starts: tf.Tensor  # (length, lanes, 1, 1), as `ends` and `rates`
    ends: tf.Tensor
    rates: tf.Tensor
    shares: tf.Tensor  # of an output in a sample's mean, of a sample in the loss


def packed_blocks(stacks: Sequence[Stack]) -> list[Block]:
    """Lays the stacks into lanes, and the lanes into blocks of one width."""
    length = _length(max(len(stack.kernels) for stack in stacks))
    lanes = _filled_lanes(stacks, length)
    fitting = _SIGNAL_BYTES // (4 * length * stacks[0].x.size)
    most = max((w for w in _LANES if w <= fitting), default=_LANES[0])
    return _blocks(lanes, length, min(most, _enough_lanes(len(lanes))))


def _filled_lanes(stacks: Sequence[Stack], length: int) -> list[dict[int, int]]:
    """Of each lane its stacks and their first layer; a lane has one data set.

    First fit, longest first: a stack goes into the first lane that has room for it.
    """
    lanes: list[dict[int, int]] = []
    ends: list[int] = []  # of each lane: how many of its layers are taken
    unfilled: dict[tuple[int, int], list[int]] = {}  # lanes by their data
    for index in sorted(range(len(stacks)), key=lambda i: -len(stacks[i].kernels)):
        stack, depth = stacks[index], len(stacks[index].kernels)
        candidates = unfilled.setdefault((id(stack.x), id(stack.y)), [])
        lane = next((i for i in candidates if ends[i] + depth <= length), None)
        if lane is None:
            lane = len(lanes)
            lanes.append({})
            ends.append(0)
            candidates.append(lane)
        lanes[lane][index] = ends[lane]
        ends[lane] += depth
        if ends[lane] == length:
            candidates.remove(lane)
    return lanes


def _blocks(lanes: list[dict[int, int]], length: int, width: int) -> list[Block]:
    """Cuts the lanes into blocks of one width: they share a program."""
    blocks = []
    for first in range(0, len(lanes), width):
        mine = lanes[first : first + width]
        places = {i: (k, at) for k, lane in enumerate(mine) for i, at in lane.items()}
        blocks.append(Block(length, width, places))
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


def lane_arrays(part: Part) -> Arrays:
    """Lays kernels and data out.

    A Keras optimizer keeps its learning rate in float32, whatever the model's
    format; so do the lanes.
    """
    stacks, block, dtype = part.stacks, part.block, part.dtype
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
    return Arrays(
        kernels=tf.cast(kernels, dtype),
        x=tf.cast(x, dtype),
        y=tf.cast(y, dtype),
        starts=tf.constant(starts),
        ends=tf.constant(ends),
        rates=tf.cast(rates, dtype),
        shares=tf.constant([1.0 / outputs, 1.0 / samples], tf.float64),
    )
