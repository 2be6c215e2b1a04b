"""The statistics of the two NumPy peers."""

from __future__ import annotations

import numpy as np


def weight_summary(
    kernels: np.ndarray, gradients: np.ndarray, rate: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """The kernels after the step, and the six statistics of weight gradients."""
    updates = rate * gradients
    moved = kernels - updates
    frozen = np.mean(moved == kernels, axis=(-2, -1))
    ratio = 10 ** (log_norm(updates) - log_norm(kernels))
    return moved, np.stack([*summary(gradients), frozen, ratio])


def summary(tensors: np.ndarray) -> np.ndarray:
    """Four statistics of each tensor, `(..., units, n)` -> `(4, ...)`."""
    flat = np.abs(tensors).reshape(*tensors.shape[:-2], -1)
    largest = flat.max(axis=-1)  # NaN wherever there is one
    log_max = np.log10(largest)
    broken = np.zeros_like(largest)
    bad = ~np.isfinite(largest)
    if bad.any():
        broken[bad] = np.mean(~np.isfinite(flat[bad]), axis=-1)
        log_max[bad] = np.inf
    zeros = np.mean(flat == 0, axis=-1)
    return np.stack([log_max + log_spread(flat, largest), log_max, zeros, broken])


def log_norm(tensors: np.ndarray) -> np.ndarray:
    flat = np.abs(tensors).reshape(*tensors.shape[:-2], -1)
    largest = flat.max(axis=-1)
    return np.log10(largest) + log_spread(flat, largest)


def log_spread(flat: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Base-10 log of the norm over the largest element; 0 where that is 0 or Inf."""
    plain = (largest > 0) & np.isfinite(largest)
    ratio = flat / np.where(plain, largest, 1)[..., None]
    return np.where(plain, np.log10(np.vecdot(ratio, ratio)) / 2, 0)
