"""Loss, outputs and all gradients of a stack of scaled identities before training."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vgkeras import _checks
from vgkeras.theory.modes import log_gap, log_power


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """Holds the state of a stack at initialisation. Logarithms are to base 10.

    Args:
        loss: Keras' `"mse"`, the mean over all entries; `inf` beyond float64.
        log10_loss: The same as a logarithm, finite for every non-zero loss.
        outputs: The network's outputs, shape `(samples, output_units)`.
        log10_activation: `log10 ||a_l||` for layers `l = 1..L`, shape `(depth,)`.
        log10_activation_gradient: `log10 ||dL/da_l||`, shape `(depth,)`.
        log10_weight_gradient: `log10 ||dL/dW_l||`, shape `(depth,)`.
    """

    loss: float
    log10_loss: float
    outputs: np.ndarray
    log10_activation: np.ndarray
    log10_activation_gradient: np.ndarray
    log10_weight_gradient: np.ndarray


def closed_form(
    scale: float,
    depth: int,
    x: ArrayLike,
    y: ArrayLike,
    *,
    last_kernel: ArrayLike | None = None,
) -> ClosedForm:
    """Returns loss, outputs and all gradient norms at initialisation, exactly.

    The forward factor `scale**(l - 1)` and the backward factor `scale**(L - l)` of a
    weight gradient multiply to `scale**(L - 1)`: it is the same in every layer and
    vanishes with depth, not with layer. Activations and their gradients do slope.
    Everything is computed on logarithms, so `0.5**2000` is no zero.

    Args:
        scale: The factor `c` of every kernel `c * I`.
        depth: Number of layers, `L`.
        x: Inputs, shape `(samples, units)`.
        y: Targets, shape `(samples, output_units)`.
        last_kernel: Kernel of the last layer, shape `(units, output_units)`.
            Default `scale * eye(units, output_units)`.

    Returns:
        A `ClosedForm`; its norms are Frobenius norms, batch included, in base-10
        logarithms, `-inf` where every entry is exactly 0.

    Raises:
        TypeError: If `scale` or `depth` is not a number of the kind asked for.
        ValueError: If a number is out of range or the shapes do not fit.

    Example:
        >>> form = closed_form(0.5, 50, np.eye(2), np.eye(2))
        >>> print(f"{form.loss:.3f}", form.log10_weight_gradient[[0, 49]].round(2))
        0.500 [-14.9 -14.9]
    """
    scale = _checks.check_finite("scale", scale)
    depth = _checks.check_positive_int("depth", depth)
    x, y = _check_table("x", x), _check_table("y", y)
    if len(x) != len(y):
        raise ValueError(
            "`x` and `y` must have the same number of rows. "
            f"Received: x of shape {x.shape}, y of shape {y.shape}."
        )
    if last_kernel is None:
        return _closed_form(scale, depth, x, y, np.eye(x.shape[1], y.shape[1]), depth)
    last = _check_last_kernel(last_kernel, x, y)
    return _closed_form(scale, depth, x, y, last, depth - 1)


def _closed_form(
    scale: float,
    depth: int,
    x: np.ndarray,
    y: np.ndarray,
    last: np.ndarray,
    power: int,
) -> ClosedForm:
    """The algebra, for outputs `scale**power * x @ last`."""
    signal = x @ last
    error, log_error = _residual(scale, power, signal, y, np.eye(len(x)))
    moment, log_moment = _residual(scale, power, signal, y, x.T)
    layer, rate = np.arange(1, depth), math.log(2 / y.size)
    with np.errstate(all="ignore"):
        error_norm = _log_norm(error)
        backward = log_power(scale, power - layer) + _log_norm(error @ last.T)
        weight = log_power(scale, power - 1) + _log_norm(moment @ last.T) + log_moment
        last_weight = log_power(scale, depth - 1) + _log_norm(moment) + log_moment
        log_loss = 2 * (log_error + error_norm) - math.log(y.size)
        return ClosedForm(
            loss=float(np.exp(2 * log_error) * np.mean(error**2)),
            log10_loss=float(log_loss / math.log(10)),
            outputs=np.where(signal == 0, 0.0, np.float64(scale) ** power * signal),
            log10_activation=_base10(
                log_power(scale, layer) + _log_norm(x),
                log_power(scale, power) + _log_norm(signal),
            ),
            log10_activation_gradient=_base10(
                rate + (backward + log_error), rate + log_error + error_norm
            ),
            log10_weight_gradient=_base10(
                np.full(depth - 1, rate + weight), rate + last_weight
            ),
        )


def _residual(
    scale: float, power: int, signal: np.ndarray, y: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, float]:
    """`left @ (scale**power * signal - y)`: a matrix and the logarithm of its factor.

    The part of `y` along each column of `signal` is split off: the difference of the
    two factors is then exact however close they are (and 0 if they are equal), and
    stays finite when `scale**power` is beyond float64.
    """
    with np.errstate(all="ignore"):
        along = np.nan_to_num((signal * y).sum(0) / (signal**2).sum(0))
        log_factor = log_gap(scale, power, along)
        above = log_power(scale, power) > np.log(np.abs(along))
        sign = np.where(above, np.float64(np.sign(scale)) ** power, -np.sign(along))
        gain, rest = left @ signal, left @ (y - along * signal)
        top = max(np.max(log_factor), 0.0 if rest.any() else -np.inf)
        if top == -np.inf:
            return np.zeros_like(rest), 0.0
        rest = math.exp(-top) * rest if rest.any() else rest
        return sign * np.exp(log_factor - top) * gain - rest, float(top)


def _log_norm(matrix: np.ndarray) -> float:
    """Natural logarithm of the Frobenius norm, `-inf` if every entry is 0."""
    top = float(np.max(np.abs(matrix)))
    if top == 0:
        return -math.inf
    return math.log(top) + math.log(float(np.linalg.norm(matrix / top)))


def _base10(inner: np.ndarray, last: ArrayLike) -> np.ndarray:
    """All layers, the last of which stands apart, from natural logarithms."""
    return np.append(inner, last) / math.log(10)


def _check_table(name: str, value: ArrayLike) -> np.ndarray:
    table = np.asarray(value, dtype=float)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(
            f"`{name}` must be a non-empty table of finite numbers, shape "
            f"(samples, features). Received: {name} of shape {table.shape}."
        )
    return table


def _check_last_kernel(value: ArrayLike, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel = _check_table("last_kernel", value)
    if kernel.shape != (x.shape[1], y.shape[1]):
        raise ValueError(
            f"`last_kernel` must have the shape {(x.shape[1], y.shape[1])}. "
            f"Received: last_kernel of shape {kernel.shape}."
        )
    return kernel
