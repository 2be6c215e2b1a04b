"""What theory says of the first pass of a remedy."""

import functools
import math
from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras.logs import GradientLog
from vgkeras.theory import random_stacks


def layers_to_draw(depth: int) -> list[int]:
    """At most about 50 layers, the first and the last among them."""
    return sorted({*range(1, depth + 1, math.ceil(depth / 50)), depth})


class _Typical(NamedTuple):
    """What theory says of the first pass: natural logarithms and their deviations."""

    signal: np.ndarray  # ln(||a_l|| / ||a_0||), shape (depth + 1,)
    signal_deviation: np.ndarray
    gradient: float  # ln ||dL/dW_1||
    gradient_deviation: float


_GAINS = {"lecun": 1.0, "glorot": 1.0, "he": 2.0}


def expected_gradients(log: GradientLog, depths: Iterable[int]) -> pd.DataFrame:
    """The typical gradient of layer 1, by remedy and depth."""
    rows = []
    runs = list(log.runs.drop_duplicates("remedy").itertuples())
    for run, depth in product(runs, depths):
        typical = _typical(run._replace(depth=depth))
        if typical is not None:
            mean, spread = typical.gradient, typical.gradient_deviation
            rows.append((run.remedy, depth, mean, mean - spread, mean + spread))
    return _base10(rows, "depth")


def expected_activations(log: GradientLog) -> pd.DataFrame:
    """The typical activation, by remedy and layer."""
    rows = []
    for run, typical in _typical_runs(log):
        start = math.log(run.samples * run.units) / 2  # inputs of mean square 1
        for layer in layers_to_draw(run.depth):
            mean = start + typical.signal[layer]
            deviation = typical.signal_deviation[layer]
            rows.append((run.remedy, layer, mean, mean - deviation, mean + deviation))
    return _base10(rows, "layer")


def _base10(rows: list[tuple], across: str) -> pd.DataFrame:
    norms = ["log10", "low", "high"]
    frame = pd.DataFrame(rows, columns=["series", across, *norms])
    frame[norms] /= math.log(10)
    return frame


def _typical_runs(log: GradientLog) -> list[tuple[Any, _Typical]]:
    """A run of each remedy and depth that theory speaks of, and what it says."""
    runs = log.runs.drop_duplicates(["remedy", "depth"])
    pairs = [(run, _typical(run)) for run in runs.itertuples()]
    return [(run, typical) for run, typical in pairs if typical is not None]


def _typical(run: Any) -> _Typical | None:
    square = run.units == run.output_units
    if run.target not in ("identity", "scaled") or not square or run.normalization:
        return None
    if run.scale > 0 and run.activation == "linear":
        return _of_scaled_identity(run)
    if run.initializer and not run.residual:
        return _of_random_kernels(run)
    return None


def _of_scaled_identity(run: Any) -> _Typical:
    """Exact: every layer multiplies by one number."""
    last = math.log(run.scale)
    hidden = {"": last, "identity": math.log1p(run.scale), "zero": 0.0}[run.residual]
    growth = [hidden * layer for layer in range(run.depth)]
    signal = np.array([*growth, growth[-1] + last])
    path = 0.0  # from the loss back to layer 1
    if run.depth > 1:
        path = last + (run.depth - 2) * hidden
    if run.residual == "zero" and run.depth > 1:
        path = -math.inf  # its factor is 0
    error = _log(abs(math.expm1(signal[-1] - _log(math.sqrt(run.loss_zero)))))
    error += _log(math.sqrt(run.loss_zero))
    gradient = math.log(2 / math.sqrt(run.units)) + path + error
    return _Typical(signal, np.zeros(run.depth + 1), gradient, 0.0)


def _of_random_kernels(run: Any) -> _Typical | None:
    """The typical stack of orthogonal or of Gaussian kernels."""
    if run.initializer in ("orthogonal", "lsuv"):
        flat = np.zeros(run.depth + 1)
        return _with_gradient(run, flat, flat) if run.activation == "linear" else None
    gain = _GAINS.get(run.initializer.split("_")[0])
    if gain is None:
        return None
    layers = np.arange(run.depth + 1)
    if run.activation == "linear":
        mean, variance = theory.typical_log_growth(run.units, gain)
        return _with_gradient(run, layers * mean, layers * variance, run.depth)
    if run.activation == "relu":
        last, _ = theory.typical_log_growth(run.units, gain)
        _, mean, variance = random_stacks.relu_growth(run.units, gain)
        signal = np.append(layers[:-1] * mean, (run.depth - 1) * mean + last)
        return _with_gradient(run, signal, layers * variance, 2 * run.depth - 1)
    q, chi = _mean_field(run.activation, gain, math.ceil(run.depth / 256) * 256)
    q, chi = q[: run.depth], chi[: run.depth - 1]
    signal = np.log(np.append(q / gain, q[-1])) / 2  # the last layer is linear
    path = float(np.log(chi).sum() / 2)
    return _with_gradient(run, signal, 0.0 * layers, path=path)


@functools.lru_cache(maxsize=32)
def _mean_field(
    activation: str, gain: float, layers: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of so many layers, once: every shallower stack is the beginning of a deep one."""
    return random_stacks.mean_field(activation, layers, gain, gain)


def _with_gradient(
    run: Any,
    signal: np.ndarray,
    varied: np.ndarray,
    spread: float = 1.0,
    path: float | None = None,
) -> _Typical:
    """Adds the gradient of layer 1; the error is the target and the stack's answer.

    `spread` is how much larger the mean square of the answer's gradient is than that
    of a target of equal norm, because the answer came through the same kernels: in the
    limit of large width `depth` for linear layers, `2 * depth - 1` for ReLU. `path` is
    the logarithm from the loss back to layer 1; by default that of the signal.
    """
    path = signal[-2] if path is None else path
    answer = 2 * signal[-1] + math.log(spread)
    error = np.logaddexp(_log(run.loss_zero), answer) / 2
    share = math.exp(answer - 2 * error)  # of the answer in the error
    gradient = math.log(2 / math.sqrt(run.units)) + path + error
    deviation = math.sqrt(varied[-2]) + share * math.sqrt(varied[-1])
    return _Typical(signal, np.sqrt(varied), float(gradient), deviation)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
