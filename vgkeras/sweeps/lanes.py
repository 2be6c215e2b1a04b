"""Stacks laid end to end in lanes of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vgkeras.logs import KINDS, LAYER_COLUMNS

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


def logged_mask(steps: int, logged_steps: Sequence[int]) -> np.ndarray:
    """Whether each of the steps 0 to `steps` is logged."""
    keep = np.zeros(steps + 1, bool)
    keep[list(logged_steps)] = True
    return keep


def in_given_order(
    blocks: Sequence[Block], found: Sequence[list[Trace]]
) -> list[Trace]:
    """The traces of all blocks in the order in which their stacks came."""
    traces: dict[int, Trace] = {}
    for block, its_traces in zip(blocks, found, strict=True):
        traces.update(zip(block.places, its_traces, strict=True))
    return [traces[index] for index in range(len(traces))]


def statistics_views(stacks: Sequence[Stack], keep: np.ndarray) -> list[np.ndarray]:
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
class Block:
    """Lanes that run together: `places[stack] = (lane, first layer)`."""

    length: int
    lanes: int
    places: dict[int, tuple[int, int]]


class Arrays(NamedTuple):
    """The inputs of the program."""

    kernels: tf.Tensor  # (length, lanes, width, width)
    x: tf.Tensor  # (lanes, width, samples), as `y`
    y: tf.Tensor
    starts: tf.Tensor  # (length, lanes, 1, 1), as `ends` and `rates`
    ends: tf.Tensor
    rates: tf.Tensor
    shares: tf.Tensor  # of an output in a sample's mean, of a sample in the loss


def packed_blocks(stacks: Sequence[Stack]) -> list[Block]:
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


def lane_arrays(stacks: Sequence[Stack], block: Block, dtype: str) -> Arrays:
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
    return Arrays(
        kernels=tf.cast(kernels, dtype),
        x=tf.cast(x, dtype),
        y=tf.cast(y, dtype),
        starts=tf.constant(starts),
        ends=tf.constant(ends),
        rates=tf.cast(rates, dtype),
        shares=tf.constant([1.0 / outputs, 1.0 / samples], tf.float64),
    )
