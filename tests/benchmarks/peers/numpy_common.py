"""The statistics of the two NumPy peers."""

from __future__ import annotations

import numpy as np


def weight_summary(
    kernels: np.ndarray, gradients: np.ndarray, rate: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """The kernels after the step, and the seven statistics of weight gradients."""
    updates = rate * gradients
    moved = kernels - updates
    frozen = np.mean(moved == kernels, axis=(-2, -1))
    ratio = 10 ** (log_norm(updates) - log_norm(kernels))
    return moved, np.stack([*summary(gradients), frozen, ratio])


def summary(tensors: np.ndarray) -> np.ndarray:
    """Five statistics of each tensor, `(..., units, n)` -> `(5, ...)`."""
    flat, largest, plain, ratio = scaled(tensors)
    log_max = np.log10(largest)
    broken = np.zeros_like(largest)
    bad = ~np.isfinite(largest)
    if bad.any():
        broken[bad] = np.mean(~np.isfinite(flat[bad]), axis=-1)
        log_max[bad] = np.inf
    log_norm = log_max + log_spread(plain, ratio)
    log_mean = log_max + np.where(plain, np.log10(ratio.mean(axis=-1)), 0)
    return np.stack([log_norm, log_max, log_mean, np.mean(flat == 0, axis=-1), broken])


def log_norm(tensors: np.ndarray) -> np.ndarray:
    _, largest, plain, ratio = scaled(tensors)
    return np.log10(largest) + log_spread(plain, ratio)


def scaled(tensors: np.ndarray) -> tuple[np.ndarray, ...]:
    """Magnitudes, the largest, whether it is a usable number, magnitudes over it."""
    flat = np.abs(tensors).reshape(*tensors.shape[:-2], -1)
    largest = flat.max(axis=-1)  # NaN wherever there is one
    plain = (largest > 0) & np.isfinite(largest)
    return flat, largest, plain, flat / np.where(plain, largest, 1)[..., None]


def log_spread(plain: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Base-10 log of the norm over the largest element; 0 where that is 0 or Inf."""
    return np.where(plain, np.log10(np.vecdot(ratio, ratio)) / 2, 0)
