"""Stacks with random initial weights: what theory says before the first step.

All logarithms here are natural. A kernel is drawn with mean 0; its *variance gain* is
`units` times the variance of an entry: 1 for LeCun and for Glorot in a square layer,
2 for He. Exact for Gaussian kernels and one input are `relu_growth` here and
`vgkeras.theory.typical_log_growth` (linear layers); an orthogonal kernel changes no
norm at all. `mean_field` is the limit of infinite width, exact in no finite stack.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vgkeras import _checks
from vgkeras.theory.special import digamma, trigamma


def typical_log_growth(units: int, variance_gain: float = 1.0) -> tuple[float, float]:
    """Returns how a random linear layer changes the log-norm of its signal.

    A square Gaussian layer multiplies the squared norm by `variance_gain / units`
    times a chi-squared number of `units` degrees of freedom. The mean of that factor
    is `variance_gain`, but the typical network follows the mean of its logarithm,
    which is smaller: a stack that keeps the norm on average still vanishes.

    Args:
        units: Width, inputs included.
        variance_gain: `units` times the variance of a kernel entry: 1 for LeCun and
            for Glorot in a square layer, 2 for He.

    Returns:
        Mean and variance of `ln(||a_l|| / ||a_(l - 1)||)`, natural logarithms, per
        layer; over `L` layers both add up to `L` times as much.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> mean, variance = typical_log_growth(2)
        >>> print(f"{mean:.4f} {variance:.4f}")
        -0.2886 0.4112
    """
    units = _checks.check_positive_int("units", units)
    gain = _checks.check_positive("variance_gain", variance_gain)
    half = units / 2
    mean = (float(digamma(half)) + math.log(gain / half)) / 2
    return mean, float(trigamma(half)) / 4


_NODES, _FARTHEST = 100, 10.0  # of the quadrature, on each side of 0
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


class Growth(NamedTuple):
    """What one random ReLU layer does to the norm of its signal.

    Args:
        alive: Probability that not every unit is off, `1 - 2**-units`. Over `L` layers
            a stack is alive with probability `alive**L`.
        mean: Mean of `ln(||a_l|| / ||a_(l - 1)||)` where the layer is alive.
        variance: Variance of that logarithm where the layer is alive.
    """

    alive: float
    mean: float
    variance: float


def relu_growth(units: int, variance_gain: float = 2.0) -> Growth:
    """Returns how a random ReLU layer changes the norm of its signal, exactly.

    Each unit is on with probability 1/2. With `k` units on, the squared norm is
    multiplied by `variance_gain / units` times a chi-squared number of `k` degrees of
    freedom. He's gain of 2 keeps the *mean* of that factor at 1; the typical stack
    follows the mean of its logarithm, which is below 0, and narrow stacks die.

    Args:
        units: Width, inputs included.
        variance_gain: `units` times the variance of a kernel entry.

    Returns:
        `Growth(alive, mean, variance)` per layer, natural logarithms; layers are
        independent, so over `L` of them mean and variance add up to `L` times as much.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> growth = relu_growth(4)
        >>> print(f"{growth.alive**30:.3f} {growth.mean:.3f}")
        0.144 -0.358

    Reference:
        [He et al., 2015](https://arxiv.org/abs/1502.01852);
        [Hanin & Nica, 2018](https://arxiv.org/abs/1812.05994) for large widths.
    """
    units = _checks.check_positive_int("units", units)
    gain = _checks.check_positive("variance_gain", variance_gain)
    alive = -math.expm1(-units * math.log(2))
    share = _binomial(units) / alive
    half = np.arange(1, units + 1) / 2
    means = (digamma(half) + math.log(2 * gain / units)) / 2
    mean = float(share @ means)
    variance = float(share @ (trigamma(half) / 4 + (means - mean) ** 2))
    return Growth(alive, mean, variance)


def tanh_recursion(
    depth: int, variance_gain: float, q0: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `mean_field("tanh", ...)`: signals and gradient factors, layer by layer.

    Args:
        depth: Number of layers.
        variance_gain: `units` times the variance of a kernel entry.
        q0: Mean square of the first layer's sums.

    Returns:
        `q`, shape `(depth + 1,)`, and `chi`, shape `(depth,)`; see `mean_field`.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> q, chi = tanh_recursion(152, variance_gain=1.0)
        >>> print(f"{q[-1]:.5f} {chi.prod():.4f}")
        0.00332 0.0047
    """
    return mean_field("tanh", depth, variance_gain, q0)


def mean_field(
    activation: str, depth: int, variance_gain: float, q0: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean squares and gradient factors of an infinitely wide random stack.

    The sums that enter a layer's activation `g` are Gaussian there, with mean square
    `q`. So `q[l + 1] = variance_gain * E[g(sqrt(q[l]) z)**2]` for a standard normal
    `z`, and back through that layer the mean square of a gradient is multiplied by
    `chi[l] = variance_gain * E[g'(sqrt(q[l]) z)**2]`. The expectations are closed forms
    for linear and ReLU layers and else Gaussian quadrature on either side of 0: a rule
    across the kink of SELU would be wrong by several percent.

    Args:
        activation: `"linear"`, `"relu"`, `"tanh"`, `"sigmoid"`, `"selu"`, `"gelu"`.
        depth: Number of layers.
        variance_gain: `units` times the variance of a kernel entry.
        q0: Mean square of the first layer's sums: `variance_gain` times that of the
            inputs.

    Returns:
        `q`, shape `(depth + 1,)`: entry `l` is `variance_gain` times the mean square
        of the activations of layer `l`, entry 0 is `q0`; and `chi`, shape `(depth,)`:
        the factor of layer `l + 1`. Both dimensionless, not logarithms.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> q, chi = mean_field("relu", depth=3, variance_gain=2.0)
        >>> q.round(6).tolist(), chi.round(6).tolist()
        ([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0])

    Reference:
        [Schoenholz et al., 2017](https://arxiv.org/abs/1611.01232), eqs. 3 and 6.
    """
    _checks.check_option("activation", activation, ACTIVATIONS)
    depth = _checks.check_positive_int("depth", depth)
    gain = _checks.check_positive("variance_gain", variance_gain)
    q = np.full(depth + 1, _checks.check_positive("q0", q0))
    chi = np.empty(depth)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for l in range(depth):  # noqa: E741
            square, slope = _ACTIVATIONS[activation](q[l])
            q[l + 1], chi[l] = gain * square, gain * slope
    return q, chi


def _binomial(units: int) -> np.ndarray:
    """Probabilities of 1 ... `units` units on."""
    logs = [
        math.lgamma(units + 1) - math.lgamma(k + 1) - math.lgamma(units - k + 1)
        for k in range(1, units + 1)
    ]
    return np.exp(np.array(logs) - units * math.log(2))


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of an average over a standard normal number."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = (nodes + 1) * _FARTHEST / 2
    weights = weights * _FARTHEST / 2 * np.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    return np.concatenate([half, -half]), np.concatenate([weights, weights])


def _integrated(
    value: Callable[[np.ndarray], np.ndarray], slope: Callable[[np.ndarray], np.ndarray]
) -> Callable[[float], tuple[float, float]]:
    """The mean squares of a function and of its derivative, by the sums' `q`."""

    def squares(q: float) -> tuple[float, float]:
        nodes, weights = _quadrature()
        sums = math.sqrt(q) * nodes
        return float(weights @ value(sums) ** 2), float(weights @ slope(sums) ** 2)

    return squares


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def _selu(z: np.ndarray) -> np.ndarray:
    below = _SELU_ALPHA * np.expm1(np.minimum(z, 0))
    return _SELU_SCALE * np.where(z > 0, z, below)


def _selu_slope(z: np.ndarray) -> np.ndarray:
    return _SELU_SCALE * np.where(z > 0, 1, _SELU_ALPHA * np.exp(np.minimum(z, 0)))


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    return np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in z])


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    return _normal_cdf(z) + z * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


_ACTIVATIONS: dict[str, Callable[[float], tuple[float, float]]] = {
    "linear": lambda q: (q, 1.0),
    "relu": lambda q: (q / 2, 0.5),
    "tanh": _integrated(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": _integrated(_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z)),
    "selu": _integrated(_selu, _selu_slope),
    "gelu": _integrated(lambda z: z * _normal_cdf(z), _gelu_slope),
}
ACTIVATIONS = tuple(_ACTIVATIONS)
