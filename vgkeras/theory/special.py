"""Special functions that NumPy lacks, exact to a few roundings of float64."""

import numpy as np
from numpy.typing import ArrayLike

_BERNOULLI = np.array([1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66])  # B_2, B_4 ... B_10
_TWICE = 2 * np.arange(1, 6)
_SHIFTS = np.arange(16)  # beyond 16 five terms are exact to less than a rounding


def digamma(x: ArrayLike) -> np.ndarray:
    """The derivative of `ln(gamma(x))`, for `x > 0`.

    Reference:
        [DLMF](https://dlmf.nist.gov/5), eqs. 5.5.2 and 5.11.2.
    """
    x = np.asarray(x, dtype=float)[..., None]
    far = x + len(_SHIFTS)
    series = (_BERNOULLI / _TWICE * far**-_TWICE).sum(-1)
    steps = (1 / (x + _SHIFTS)).sum(-1)
    far = far[..., 0]
    return np.log(far) - 1 / (2 * far) - series - steps


def trigamma(x: ArrayLike) -> np.ndarray:
    """The derivative of `digamma(x)`, for `x > 0`.

    Reference:
        [DLMF](https://dlmf.nist.gov/5), eqs. 5.15.5 and 5.15.8.
    """
    x = np.asarray(x, dtype=float)[..., None]
    far = x + len(_SHIFTS)
    series = (_BERNOULLI * far**-_TWICE).sum(-1)
    steps = (1 / (x + _SHIFTS) ** 2).sum(-1)
    far = far[..., 0]
    return 1 / far + 1 / (2 * far**2) + series / far + steps
