"""The same argument in time: recurrent networks, whose layers share one matrix.

Rows are samples: `h_t = h_(t-1) W + x_t U`, from `h_0 = 0` over `T` steps. Unrolled, it
is a stack of `T` layers with one kernel `W`, so that a gradient changes by a factor a
step as it does by a factor a layer.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vgkeras import _checks

# The steepest slope of each activation.
SLOPES = {"linear": 1.0, "relu": 1.0, "tanh": 1.0, "sigmoid": 0.25}
_LN10 = math.log(10)


@dataclass(frozen=True, eq=False)
class RecurrentForm:
    """Holds the gradients of a linear recurrent network. Logarithms are to base 10.

    Entry `t - 1` of an array belongs to time step `t = 1..T`. Norms are Frobenius
    norms, batch included, `-inf` where every entry is exactly 0.

    Args:
        log10_loss: Keras' `"mse"` of the last state.
        log10_state: `log10 ||h_t||`, shape `(T,)`.
        log10_state_gradient: `log10 ||dL/dh_t||`, shape `(T,)`.
        log10_input_gradient: `log10 ||dL/dx_t||`, shape `(T,)`.
        log10_share: `log10` of what step `t` adds to the gradient of the recurrent
            kernel, `||h_(t-1)^T dL/dh_t||`, shape `(T,)`.
        log10_recurrent_gradient: `log10 ||dL/dW||`: the norm of the sum of the shares.
        log10_kernel_gradient: `log10 ||dL/dU||`.
    """

    log10_loss: float
    log10_state: np.ndarray
    log10_state_gradient: np.ndarray
    log10_input_gradient: np.ndarray
    log10_share: np.ndarray
    log10_recurrent_gradient: float
    log10_kernel_gradient: float


def recurrent_form(
    scale: float, x: ArrayLike, y: ArrayLike, *, kernel: ArrayLike | None = None
) -> RecurrentForm:
    """Returns all gradients of a linear recurrent network before training, exactly.

    The recurrent kernel is `scale * I`, the loss the mean squared error of the last
    state, and `D` its gradient by that state. Back in time each step multiplies by
    `scale`: `dL/dh_t = scale**(T - t) D`. The one matrix that all steps share gets the
    sum of `scale**(T - t) h_(t-1)^T D` over the steps. If only the first input is not
    0, all `T - 1` terms of the sum are equal: the gradient of a stack of layers, times
    their number.

    Args:
        scale: The factor `c` of the recurrent kernel `c * I`.
        x: Inputs, shape `(samples, steps, features)`.
        y: Targets, shape `(samples, units)`.
        kernel: The kernel `U` of the inputs, shape `(features, units)`. Default
            `eye(features, units)`.

    Returns:
        A `RecurrentForm`. Powers are taken on logarithms, so `0.5**2000` is no zero.

    Raises:
        TypeError: If `scale` is not a number.
        ValueError: If the shapes do not fit, or a number is not finite.

    Example:
        >>> x = np.zeros((1, 50, 1))
        >>> x[:, 0] = 1
        >>> form = recurrent_form(0.5, x, np.ones((1, 1)))
        >>> form.log10_state_gradient[[0, 49]].round(2)
        array([-14.45,   0.3 ])

    Reference:
        [Pascanu, Mikolov & Bengio, 2013](https://arxiv.org/abs/1211.5063), eqs. 4, 5.
    """
    scale = _checks.check_finite("scale", scale)
    x, y, kernel = _check_sequences(x, y, kernel)
    states, exponents = _states(scale, np.einsum("btf,fu->tbu", x, kernel))
    error, log_error = _sum(states[-1], exponents[-1], -y, 0.0)
    log_norm = log_error + _log_norm(error)
    log_rate = math.log(2 / y.size) + log_error
    moments = np.einsum("tbu,bv->tuv", states[:-1], error)  # of each state but h_T
    inputs = np.einsum("btf,bu->tfu", x, error)
    sign = np.sign(scale) ** np.arange(len(states))[::-1]
    back = _LN10 * _powers(_log_scale(scale), len(states))
    shares = np.append(-np.inf, _log_norms(moments) + exponents[:-1]) + back
    recurrent = _log_sum(_times(sign[1:], moments), back[1:] + exponents[:-1])
    by_input = back + log_rate + _log_norm(error @ kernel.T)
    return RecurrentForm(
        log10_loss=(2 * log_norm - math.log(y.size)) / _LN10,
        log10_state=(_log_norms(states) + exponents) / _LN10,
        log10_state_gradient=(back + log_rate + _log_norm(error)) / _LN10,
        log10_input_gradient=by_input / _LN10,
        log10_share=(shares + log_rate) / _LN10,
        log10_recurrent_gradient=(recurrent + log_rate) / _LN10,
        log10_kernel_gradient=(_log_sum(_times(sign, inputs), back) + log_rate) / _LN10,
    )


def recurrent_bound(
    kernel: ArrayLike, steps: int, *, activation: str = "tanh"
) -> np.ndarray:
    """Returns a bound of what is left of a gradient on its way back through time.

    Each step back multiplies by the slopes of the activation and by the recurrent
    kernel, so the gradient by the state at step `t` is at most
    `(largest singular value * steepest slope)**(T - t)` times that by the last state.
    A factor below 1 is enough to vanish; one above 1 is needed to explode, and not
    enough.

    Args:
        kernel: The recurrent kernel, square.
        steps: Number of time steps, `T`.
        activation: One of `SLOPES`.

    Returns:
        Base-10 logarithms of the bound for `t = 1..T`, shape `(steps,)`; the last is 0.

    Raises:
        TypeError: If `steps` is not an integer.
        ValueError: If an argument is out of range.

    Example:
        >>> recurrent_bound(0.5 * np.eye(3), 5, activation="sigmoid").round(2)
        array([-3.61, -2.71, -1.81, -0.9 ,  0.  ])

    Reference:
        [Pascanu, Mikolov & Bengio, 2013](https://arxiv.org/abs/1211.5063), section 2.1.
    """
    steps = _checks.check_positive_int("steps", steps)
    slope = SLOPES[_checks.check_option("activation", activation, tuple(SLOPES))]
    matrix = _numbers("kernel", kernel)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(
            "`kernel` must be a square matrix. "
            f"Received: kernel of shape {matrix.shape}."
        )
    if not np.isfinite(matrix).all():
        raise ValueError("`kernel` must hold finite numbers. Received: Inf or NaN.")
    top = float(np.abs(matrix).max()) or 1.0
    factor = top * float(np.linalg.norm(matrix / top, 2))
    return _powers(_log_scale(factor) + math.log(slope), steps)


def forget_gate_memory(bias: float, steps: int) -> np.ndarray:
    """Returns what a forget gate leaves of an LSTM's gradient along its cell state.

    The cell state is multiplied by the gate at each step, and so is the gradient on
    its way back. At the start the gate is about `sigmoid(bias)`: 0.5 for a bias of 0,
    and 0.73 for Keras' `unit_forget_bias`. Further paths lead through the recurrent
    kernels, so measure as well.

    Args:
        bias: Bias of the forget gate.
        steps: Number of time steps, `T`.

    Returns:
        Base-10 logarithms of `sigmoid(bias)**(T - t)` for `t = 1..T`, `(steps,)`.

    Raises:
        TypeError: If `bias` is not a number or `steps` no integer.
        ValueError: If `bias` is not finite or `steps` not positive.

    Example:
        >>> print(f"{10 ** forget_gate_memory(0.0, 101)[0]:.1e}")
        7.9e-31
        >>> print(f"{10 ** forget_gate_memory(1.0, 101)[0]:.1e}")
        2.5e-14
    """
    bias = _checks.check_finite("bias", bias)
    steps = _checks.check_positive_int("steps", steps)
    return _powers(-float(np.logaddexp(0.0, -bias)), steps)


def memory_steps(log10_by_time: ArrayLike, keeps: float = 0.1) -> float:
    """Returns over how many steps back in time a gradient keeps a share of its size.

    Args:
        log10_by_time: Base-10 logarithms of the gradient at time steps `1..T`.
        keeps: The share, between 0 and 1.

    Returns:
        The steps from the last one back to where the gradient first has less than
        that share of its size at the last step, interpolated on the logarithm; `inf`
        if it never has. The last step is the last that the gradient reaches: what is
        masked has none. NaN if it reaches no step, or if a number is NaN.

    Raises:
        TypeError: If `keeps` is not a number.
        ValueError: If `keeps` is not below 1, or the logarithms are no row of numbers.

    Example:
        >>> round(memory_steps(forget_gate_memory(1.0, 200)), 2)
        7.35
    """
    keeps = _checks.check_positive("keeps", keeps)
    if keeps >= 1:
        raise ValueError(f"`keeps` must be below 1. Received: keeps={keeps!r}.")
    levels = _numbers("log10_by_time", log10_by_time)
    if levels.ndim != 1 or not levels.size:
        raise ValueError(
            "`log10_by_time` must be a row of numbers. "
            f"Received: log10_by_time of shape {levels.shape}."
        )
    reached = np.flatnonzero(np.isfinite(levels))
    if np.isnan(levels).any() or not len(reached):
        return math.nan
    levels = levels[: reached[-1] + 1]
    with np.errstate(invalid="ignore"):
        lost = (levels[-1] - levels[::-1]) + math.log10(keeps)
    beyond = np.flatnonzero(lost > 1e-12)
    if not len(beyond):
        return math.inf
    k = int(beyond[0])
    if not np.isfinite(lost[k]):
        return float(k)
    return float(k - lost[k] / (lost[k] - lost[k - 1]))


def _check_sequences(
    x: ArrayLike, y: ArrayLike, kernel: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sequences = _check_array("x", x, "(samples, steps, features)")
    targets = _check_array("y", y, "(samples, units)")
    if len(sequences) != len(targets):
        raise ValueError(
            "`x` and `y` must have the same number of samples. "
            f"Received: x of shape {sequences.shape}, y of shape {targets.shape}."
        )
    shape = (sequences.shape[2], targets.shape[1])
    matrix = np.eye(*shape) if kernel is None else _numbers("kernel", kernel)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise ValueError(
            f"`kernel` must be a finite matrix of shape {shape}. "
            f"Received: kernel of shape {matrix.shape}."
        )
    return sequences, targets, matrix


def _numbers(name: str, value: ArrayLike) -> np.ndarray:
    try:
        array = np.asarray(value)
        if not np.iscomplexobj(array):
            return array.astype(float)
        received = "complex numbers"
    except (TypeError, ValueError) as error:
        received = f"{value!r:.60} ({error})"
    raise ValueError(f"`{name}` must hold real numbers. Received: {name}={received}.")


def _check_array(name: str, value: ArrayLike, shape: str) -> np.ndarray:
    array = _numbers(name, value)
    wrong = array.ndim != shape.count(",") + 1 or array.size == 0
    if wrong or not np.isfinite(array).all():
        bad = 0 if wrong else np.count_nonzero(~np.isfinite(array))
        raise ValueError(
            f"`{name}` must be a non-empty array of finite numbers, shape {shape}. "
            f"Received: {name} of shape {array.shape}, {bad} of them Inf or NaN."
        )
    return array


def _states(scale: float, drive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states, each over the exponential of its entry in the second array."""
    states, exponents = np.zeros(drive.shape), np.zeros(len(drive))
    state, exponent = np.zeros(drive.shape[1:]), 0.0
    for t, new in enumerate(drive):
        state, exponent = _sum(scale * state, exponent, new, 0.0)
        states[t], exponents[t] = state, exponent
    return states, exponents


def _sum(
    first: np.ndarray, log_first: float, second: np.ndarray, log_second: float
) -> tuple[np.ndarray, float]:
    """The sum of two matrices, each times an exponential: its matrix and logarithm."""
    sizes = _log_norm(first) + log_first, _log_norm(second) + log_second
    top = max(sizes)
    if top == -math.inf:
        return np.zeros_like(second), 0.0
    parts = zip((first, second), sizes, strict=True)
    terms = [math.exp(size - top) * _normed(part) for part, size in parts]
    return terms[0] + terms[1], top


def _times(factors: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    return factors[:, None, None] * matrices


def _log_sum(matrices: np.ndarray, exponents: np.ndarray) -> float:
    """Natural logarithm of the norm of the sum of `exp(exponent) * matrix`."""
    sizes = _log_norms(matrices) + exponents
    top = float(sizes.max(initial=-math.inf))
    if top == -math.inf:
        return -math.inf
    parts = zip(matrices, sizes, strict=True)
    return top + _log_norm(sum(np.exp(size - top) * _normed(m) for m, size in parts))


def _log_norms(matrices: np.ndarray) -> np.ndarray:
    return np.array([_log_norm(matrix) for matrix in matrices])


def _log_norm(matrix: np.ndarray) -> float:
    """Natural logarithm of the Frobenius norm, `-inf` if every entry is 0."""
    top = float(np.max(np.abs(matrix)))
    if top == 0:
        return -math.inf
    return math.log(top) + math.log(float(np.linalg.norm(matrix / top)))


def _normed(matrix: np.ndarray) -> np.ndarray:
    """The matrix over its norm, or zeros."""
    top = float(np.max(np.abs(matrix))) or 1.0
    return matrix / top / (float(np.linalg.norm(matrix / top)) or 1.0)


def _log_scale(scale: float) -> float:
    return math.log(abs(scale)) if scale else -math.inf


def _powers(log_factor: float, steps: int) -> np.ndarray:
    """Base-10 logarithms of a factor to the powers `steps - 1 .. 0`."""
    powers = np.full(steps, 0.0)
    if steps > 1:
        powers[:-1] = log_factor / _LN10 * np.arange(steps - 1, 0, -1)
    return powers
