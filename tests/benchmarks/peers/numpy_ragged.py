"""NumPy by hand, all runs at once: at each layer a batch of the runs that deep.

Runs stand in the order of falling depth, so that those with a layer `l` come first.
The tensors of layer 1 of all runs, then of layer 2, ... fill one array without gaps:
a row for each layer of each run.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from peers.numpy_common import summary, weight_summary
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    recorder = Recorder(problem)
    with np.errstate(all="ignore"):  # overflow is a result
        descend(problem, recorder)
    return recorder.to_log()


def descend(problem: Problem, recorder: Recorder) -> None:
    scales, depths = np.array(problem.runs).T
    order = np.argsort(-depths, kind="stable")
    exists = np.arange(depths.max())[:, None] < depths[order]
    layer, place = np.nonzero(exists)
    runs, blocks = order[place], rows_by_layer(exists.sum(axis=1))
    top = layer == depths[runs] - 1  # the last layer of each run, shallow ones first
    finals = runs[top]
    below = np.concatenate([np.arange(b.start, b.start + a.stop - a.start)
                            for b, a in pairwise(blocks)])  # fmt: skip

    x, y = (array.T for array in problem.data())  # features first
    rate = np.float32(problem.learning_rate)
    identity = np.eye(problem.units, dtype="float32")
    kernels = scales[runs, None, None].astype("float32") * identity
    signals = np.empty((2, len(runs), *x.shape), "float32")  # activations, gradients
    inputs = np.empty_like(signals[0])
    inputs[blocks[0]] = x
    for step in range(problem.steps + 1):
        forward(kernels, x, signals[0], blocks)
        residual = signals[0, top] - y
        signals[1, top] = residual * np.float32(2 / y.size)
        backward(kernels, signals[1], blocks)
        inputs[blocks[0].stop :] = signals[0, below]
        gradients = inputs @ signals[1].swapaxes(1, 2)
        moved, weights = weight_summary(kernels, gradients, rate)

        recorder.losses[finals, step] = np.mean(residual**2, axis=(1, 2))
        out = recorder.statistics[:, :, :, step]
        out[:, 0, runs, layer] = weights
        out[:5, 1:, runs, layer] = summary(signals)
        kernels = moved


def rows_by_layer(counts: np.ndarray) -> list[slice]:
    ends = np.concatenate([[0], np.cumsum(counts)])
    return [slice(start, stop) for start, stop in pairwise(ends)]


def forward(kernels, x, activations, blocks) -> None:
    transposed = kernels.swapaxes(1, 2)
    first = blocks[0]
    np.matmul(transposed[first], x, out=activations[first])
    for below, block in pairwise(blocks):
        inputs = activations[below][: block.stop - block.start]
        np.matmul(transposed[block], inputs, out=activations[block])


def backward(kernels, deltas, blocks) -> None:
    for block, below in pairwise(reversed(blocks)):
        inputs = deltas[below][: block.stop - block.start]
        np.matmul(kernels[block], deltas[block], out=inputs)
