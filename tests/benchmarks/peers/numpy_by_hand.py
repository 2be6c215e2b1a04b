"""NumPy by hand: the chain rule written out, all runs of one depth in one batch."""

from __future__ import annotations

import numpy as np
from peers.numpy_common import summary, weight_summary
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    recorder = Recorder(problem)
    with np.errstate(all="ignore"):  # overflow is a result
        for index, depth in enumerate(problem.depths):
            runs = slice(index, None, len(problem.depths))
            descend(problem, depth, recorder, runs)
    return recorder.to_log()


def descend(problem: Problem, depth: int, recorder: Recorder, runs: slice) -> None:
    x, y = (array.T for array in problem.data())  # features first
    rate = np.float32(problem.learning_rate)
    scales = np.array(problem.scales, "float32")[:, None, None]
    kernels = np.tile(scales * np.eye(problem.units, dtype="float32"), (depth, 1, 1, 1))
    # Inputs of every layer and the outputs; gradients of every layer's outputs.
    signals = np.empty((depth + 1, len(scales), *x.shape), "float32")
    deltas = np.empty_like(signals[1:])
    signals[0] = x
    for step in range(problem.steps + 1):
        forward(kernels, signals)
        residual = signals[-1] - y
        np.multiply(residual, np.float32(2 / y.size), out=deltas[-1])
        backward(kernels, deltas)
        gradients = signals[:-1] @ deltas.swapaxes(2, 3)
        moved, weights = weight_summary(kernels, gradients, rate)

        recorder.losses[runs, step] = np.mean(residual**2, axis=(1, 2))
        out = recorder.statistics[:, :, runs, step, :depth]
        out[:, 0] = weights.swapaxes(1, 2)
        out[:5, 1] = summary(signals[1:]).swapaxes(1, 2)
        out[:5, 2] = summary(deltas).swapaxes(1, 2)
        kernels = moved


def forward(kernels: np.ndarray, signals: np.ndarray) -> None:
    for layer, kernel in enumerate(kernels.swapaxes(2, 3)):
        np.matmul(kernel, signals[layer], out=signals[layer + 1])


def backward(kernels: np.ndarray, deltas: np.ndarray) -> None:
    for layer in range(len(kernels) - 1, 0, -1):
        np.matmul(kernels[layer], deltas[layer], out=deltas[layer - 1])
