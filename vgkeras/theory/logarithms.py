"""Products and powers as natural logarithms, without overflow."""

from __future__ import annotations

from typing import Any

import numpy as np


def log_of(value: Any) -> Any:
    """`ln(value)`, `-inf` of 0."""
    with np.errstate(divide="ignore"):
        return np.log(value)


def exp_of(value: Any) -> Any:
    """`exp(value)`, `inf` beyond float64."""
    with np.errstate(over="ignore"):
        return np.exp(value)


def sign_of(value: np.ndarray) -> np.ndarray:
    """`value / |value|`, 1 for 0: -1 and 1 are exact, as are their powers."""
    return np.where(value == 0, 1, np.sign(value))


def multiple_of(exponent: Any, logarithm: Any) -> Any:
    """`exponent * logarithm` with `0**0 = 1`."""
    with np.errstate(invalid="ignore"):
        return np.where(np.equal(exponent, 0), 0.0, exponent * logarithm)
