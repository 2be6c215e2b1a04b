"""What the JAX peers share: the padded start, the statistics, the log."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def start(problem: Problem, runs: slice = slice(None)):
    """Kernels `(runs, layers, units, units)`, which layers exist, and the data."""
    scales, depths = np.array(problem.runs[runs], "float32").T
    active = np.arange(depths.max()) < depths[:, None]
    identity = np.eye(problem.units, dtype="float32")
    kernels = np.einsum("r,rl,ij->rlij", scales, np.ones_like(active), identity)
    x, y = problem.data()
    return kernels.astype("float32"), active, x.T, y.T


def finish(problem: Problem, *results, parts: list[slice] | None = None) -> GradientLog:
    """The log of what `sweep` returned, once or for each part of the runs."""
    recorder = Recorder(problem)
    parts = parts or [slice(None)]
    for runs, result in zip(parts, jax.device_get(results), strict=True):
        loss, *kinds = result
        recorder.losses[runs] = loss
        for kind, rows in enumerate(kinds):
            columns, layers = rows.shape[2:]
            out = recorder.statistics[:columns, kind, runs, :, :layers]
            out[:] = rows.transpose(2, 0, 1, 3)
    return recorder.to_log()


def weight_summary(kernels, gradients, rate):
    """The kernels after the step, and the seven statistics of weight gradients."""
    updates = rate * gradients
    moved = kernels - updates
    frozen = jnp.mean(moved == kernels, axis=(1, 2))
    ratio = 10 ** (summary(updates)[0] - summary(kernels)[0])
    return moved, jnp.stack([*summary(gradients), frozen, ratio])


def summary(tensors):
    """Five statistics of each tensor, `(layers, ...)` -> `(5, layers)`."""
    flat = jnp.abs(tensors).reshape(len(tensors), -1)
    largest = flat.max(axis=1)
    ratio = flat / jnp.where(largest > 0, largest, 1)[:, None]
    square = jnp.square(ratio).sum(axis=1)
    broken = jnp.mean(~jnp.isfinite(flat), axis=1)
    log_max = jnp.where(broken > 0, jnp.inf, jnp.log10(largest))
    plain = (broken == 0) & (largest > 0)
    log_norm = log_max + jnp.where(plain, jnp.log10(square) / 2, 0)
    log_mean = log_max + jnp.where(plain, jnp.log10(ratio.mean(axis=1)), 0)
    zeros = jnp.mean(flat == 0, axis=1)
    return jnp.stack([log_norm, log_max, log_mean, zeros, broken])
