"""Exact theory of deep linear stacks whose kernels start as scaled identities.

Every function is about a stack of `depth` linear layers without bias, kernels
`scale * I`, under full-batch gradient descent on Keras' `"mse"`. Two kinds of rate
occur: `learning_rate` is the optimizer's; `rate` is the rate of one mode,
`learning_rate * (2 / output_units) * eigenvalue`, where `eigenvalue` belongs to
`x.T @ x / samples` (1 for the whitened data of `vgkeras.make_data`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vgkeras import _checks, _special

VERDICTS = ("trains", "stalls", "diverges")
LEARNED = 0.01  # share of the loss that may be left in a run that "trains"
EXPLODED = 1000.0  # factor on the loss beyond which a finite run "diverges"

_TERMS = np.arange(1, 61)  # of the power series; they are used up to 1/2, 2**-60
_LONG = 10_000  # steps that `verdict` is willing to simulate one by one


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
    log_scale = _log(abs(scale))
    seen = x @ last
    error, log_error = _residual(scale, power, seen, y, np.eye(len(x)))
    moment, log_moment = _residual(scale, power, seen, y, x.T)
    error_norm, moment_norm = _log_norm(error), _log_norm(moment)
    log_loss = 2 * (log_error + error_norm) - math.log(y.size)
    layer = np.arange(1, depth)
    forward = _times(layer, log_scale) + _log_norm(x)
    backward = _times(power - layer, log_scale) + _log_norm(error @ last.T) + log_error
    weight = _times(power - 1, log_scale) + _log_norm(moment @ last.T) + log_moment
    last_weight = _times(depth - 1, log_scale) + moment_norm + log_moment
    rate = math.log(2 / y.size)
    return ClosedForm(
        loss=float(_exp(2 * log_error) * np.mean(error**2)),
        log10_loss=float(log_loss / math.log(10)),
        outputs=_scaled(scale, power, seen),
        log10_activation=_base10(forward, _times(power, log_scale) + _log_norm(seen)),
        log10_activation_gradient=_base10(
            rate + backward, rate + log_error + error_norm
        ),
        log10_weight_gradient=_base10(
            np.full(depth - 1, rate + weight), rate + last_weight
        ),
    )


def trajectory(
    scale: ArrayLike,
    depth: ArrayLike,
    *,
    rate: ArrayLike,
    steps: int,
    target: ArrayLike = 1.0,
) -> np.ndarray:
    """Returns the exact path of one mode under gradient descent.

    All layers stay equal, and each eigenvalue `s` of their kernels goes its own way:
    `s <- s - rate * conj(s)**(depth - 1) * (s**depth - target)`.

    Args:
        scale: Initial value, any shape.
        depth: Number of layers; broadcast against `scale`.
        rate: `learning_rate * (2 / output_units) * eigenvalue`; broadcast.
        steps: Number of updates.
        target: What `s**depth` has to reach, real or complex; broadcast.

    Returns:
        Shape `(..., steps + 1)`: entry `t` is `s` after `t` updates, complex if
        `target` is. A path beyond float64 ends in `inf` and `nan`.

    Raises:
        TypeError: If `steps` is not an integer.
        ValueError: If an argument is out of range or the shapes do not broadcast.

    Example:
        >>> trajectory(0.5, 2, rate=0.1, steps=2)
        array([0.5       , 0.5375    , 0.57572129])
    """
    depth = _check_depths(depth)
    steps = _checks.check_non_negative_int("steps", steps)
    scale, rate = _check_array("scale", scale), _check_array("rate", rate)
    target = _check_array("target", target)
    s, depth, rate, target = _broadcast(scale, depth, rate, target)
    path = np.empty((steps + 1, *s.shape), np.result_type(s, target, float))
    path[0] = s
    with np.errstate(all="ignore"):
        for step in range(steps):
            power = path[step].conj() ** (depth - 1)
            error = power.conj() * path[step] - target
            path[step + 1] = path[step] - rate * power * error
    return np.moveaxis(path, 0, -1)


def log_gap(s: ArrayLike, depth: ArrayLike, target: ArrayLike) -> np.ndarray:
    """Returns how far a mode is from its target, `ln |s**depth - target|`.

    Where both nearly cancel, the difference of their logarithms keeps the digits
    that the difference of the powers has lost; far out, no power overflows.

    Args:
        s: Values of a mode, any shape, real or complex.
        depth: Number of layers; broadcast against `s`.
        target: What `s**depth` has to reach, real or complex; broadcast.

    Returns:
        Natural logarithms, `-inf` at the target, of the broadcast shape.

    Example:
        >>> log_gap([1.0, 0.5], 2000, 1.0)
        array([-inf,   0.])
    """
    s, depth, target = np.asarray(s), np.asarray(depth), np.asarray(target)
    with np.errstate(all="ignore"):
        log_power = _times(depth, np.log(np.abs(s)))
        log_target = np.log(np.abs(target))
        turn = _sign(s) ** depth * np.conj(_sign(target))
        distance = np.clip(log_power - log_target, -800, 700)
        ratio = np.expm1(distance) * turn + (turn - 1)
        gap = log_target + np.log(np.abs(ratio))
        gap = np.where(log_power - log_target > 700, log_power, gap)
    return np.where(target == 0, log_power, gap)


def steps_to_learn(
    scale: float,
    depth: int,
    *,
    rate: float,
    target: float = 1.0,
    fraction: float = LEARNED,
) -> float:
    """Returns how many updates a mode needs to learn its target.

    Learned means: its loss is at most `fraction` of the smaller of its first loss and
    the loss of the zero map. (From above, a stack that collapses to 0 would otherwise
    count as trained.) The time of gradient flow is a hypergeometric integral; half a
    logarithm corrects it for discrete steps. The number is real and within a step of
    a simulation as long as the steps are small, `rate * depth << 1`.

    Args:
        scale: Initial value of every kernel, `scale * I`.
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        target: What `scale**depth` has to reach.
        fraction: Share of the loss that may be left, between 0 and 1.

    Returns:
        Number of updates; 0 if it starts at the target; `inf` if it never learns:
        from `scale` 0, for a target of the sign that the stack cannot reach, or if
        the first step throws it out.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> print(f"{steps_to_learn(0.5, 50, rate=0.01):.1e}")
        5.9e+14
    """
    depth = _checks.check_positive_int("depth", depth)
    rate = _checks.check_positive("rate", rate)
    fraction = _check_fraction(fraction)
    scale = _checks.check_finite("scale", scale)
    s, m = _mirrored(scale, depth, _checks.check_finite("target", target))
    if depth > 1 and _gap(s, depth, m) > 0 and _thrown_out(s, depth, rate, m):
        return math.inf
    allowed = math.sqrt(fraction) * min(abs(_gap(s, depth, m)), abs(m))
    return _steps_until(s, depth, rate, m, allowed)


def verdict(
    scale: float,
    depth: int,
    *,
    rate: float | Sequence[float],
    steps: int,
    target: Any = 1.0,
) -> str:
    """Predicts whether a run trains, stalls or diverges.

    The rule: follow the few jumps outside the valley between 0 and the target; from
    inside it, compare the time to learn with the steps that are left; at a rate at
    which the valley's bottom is unstable, follow the path. A run diverges if any of
    its modes does and trains if all of them do.

    Args:
        scale: Initial value of every kernel, `scale * I`.
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        steps: Number of updates.
        target: What `scale**depth` has to reach, or a sequence of that, a value per
            mode; real or complex.

    Returns:
        `"trains"`, `"stalls"` or `"diverges"`: what `judge` calls the simulated run.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> [verdict(c, 50, rate=0.01, steps=200) for c in (0.5, 0.99, 1.5)]
        ['stalls', 'trains', 'diverges']
    """
    scale = _checks.check_finite("scale", scale)
    depth = _checks.check_positive_int("depth", depth)
    rate = _checks.check_positive("rate", rate)
    steps = _checks.check_non_negative_int("steps", steps)
    modes = np.unique(np.atleast_1d(_check_array("target", target)))
    found = {_mode_verdict(scale, depth, rate, steps, m) for m in modes}
    if "diverges" in found:
        return "diverges"
    return "stalls" if "stalls" in found else "trains"


def judge(first_loss: Any, last_loss: Any, loss_zero: Any) -> np.ndarray:
    """Names runs by their first and last loss.

    `"diverges"`: a loss is not finite, or the last one is more than 1000 times the
    larger of the first and `loss_zero`. `"trains"`: the last one is at most 1% of the
    smaller of the two. `"stalls"`: everything else. A run whose first loss already is
    not finite diverges: its very first gradient is lost.

    Args:
        first_loss: Loss before the first update, any shape.
        last_loss: Loss after the last update; broadcast.
        loss_zero: Loss of the zero map, `mean(y**2)`; broadcast.

    Returns:
        Array of the words, of the broadcast shape.

    Example:
        >>> judge([1.0, 1.0, 1.0], [1e-3, 0.5, np.nan], 1.0).tolist()
        ['trains', 'stalls', 'diverges']
    """
    first, last, zero = np.broadcast_arrays(
        *(np.asarray(v, dtype=float) for v in (first_loss, last_loss, loss_zero))
    )
    with np.errstate(invalid="ignore", over="ignore"):
        lost = ~np.isfinite(first) | ~np.isfinite(last)
        exploded = lost | (last > EXPLODED * np.maximum(first, zero))
        trained = last <= LEARNED * np.minimum(first, zero)
    trains, stalls, diverges = VERDICTS
    return np.where(exploded, diverges, np.where(trained, trains, stalls))


def critical_learning_rate(
    scale: float,
    depth: int,
    *,
    units: int,
    target: float = 1.0,
    eigenvalue: float = 1.0,
) -> float:
    """Returns the textbook limit `2 / lambda_max` of the Hessian at `scale * I`.

    Above it the loss need not fall at the first step. It does not yet diverge: see
    `divergence_learning_rate`, up to `2 * depth - 1` times larger.

    Args:
        scale: The factor of every kernel, positive.
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`.
        eigenvalue: The eigenvalue of `x.T @ x / samples`, the same in all directions.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`); `inf` where the Hessian is
        zero to float64.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(critical_learning_rate(1.0, 50, units=2), 6)
        0.04
    """
    c, m, k = _check_landscape(scale, depth, units, target, eigenvalue)
    c = np.float64(c)  # its powers overflow to Inf, they do not raise
    with np.errstate(all="ignore"):
        own = depth * c ** (2 * depth - 2)
        mixed = (depth - 1) * c ** (depth - 2.0) * (c**depth - m)
        # One unit has no antisymmetric direction; only differences between layers
        # bend upwards below the target.
        single = max(own + mixed, -mixed / max(depth - 1, 1))
        curvature = k * (single if units == 1 else own + abs(mixed))
        return float(2 / curvature)


def divergence_learning_rate(
    scale: float,
    depth: int,
    *,
    units: int,
    target: float = 1.0,
    eigenvalue: float = 1.0,
) -> float:
    """Returns the learning rate beyond which gradient descent runs away.

    From above the target, the first step must throw the mode further out than it
    was: `rate * scale**(depth - 2) * (scale**depth - target) > 2`. (For odd depths
    the far side is steeper, and two steps must; the limit is a hair lower.) Between
    the Hessian's limit and this one a run is thrown, but lands inside.

    From anywhere, a step that leaps over the valley's bottom may land beyond that
    same edge; such a run diverges sooner or later, not at once.

    Args:
        scale: The factor of every kernel, positive.
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`, positive.
        eigenvalue: The eigenvalue of `x.T @ x / samples`, the same in all directions.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`).

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(divergence_learning_rate(1.5, 10, units=2), 6)
        0.001377
    """
    c, m, k = _check_landscape(scale, depth, units, target, eigenvalue)
    _checks.check_positive("target", target)
    edge = _escape_rate(depth, m)
    if depth * math.log(c) > math.log(m):  # the power itself may overflow
        edge = min(edge, _bisected(lambda rate: _thrown_out(c, depth, rate, m)))
    return edge / k


def stable_learning_rate(
    depth: int, *, units: int, target: float = 1.0, eigenvalue: float = 1.0
) -> float:
    """Returns the learning rate up to which a trained stack stays trained.

    At the bottom of the valley the sharpness is
    `(2 / units) * eigenvalue * depth * target**(2 - 2 / depth)`: a deeper stack needs
    a smaller learning rate. Above 2 over it the loss oscillates and never settles.

    Args:
        depth: Number of layers.
        units: Width of every layer, inputs and outputs included.
        target: The factor of `y = target * x`, positive.
        eigenvalue: The eigenvalue of `x.T @ x / samples`.

    Returns:
        A `learning_rate` of the optimizer (not a `rate`).

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(stable_learning_rate(50, units=2), 6)
        0.04
    """
    _, m, k = _check_landscape(1.0, depth, units, target, eigenvalue)
    _checks.check_positive("target", target)
    return 2 / (k * depth * m ** (2 - 2 / depth))


def min_trainable_scale(
    depth: int, *, rate: float, steps: int, target: float = 1.0
) -> float:
    """Returns the smallest scale from which a mode learns its target in time.

    Args:
        depth: Number of layers.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        steps: Number of updates.
        target: What `scale**depth` has to reach, positive.

    Returns:
        A scale between 0 and `target**(1 / depth)`; the latter if no scale below it
        is near enough.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(min_trainable_scale(50, rate=0.01, steps=1000), 3)
        0.88
    """
    depth = _checks.check_positive_int("depth", depth)
    steps = _checks.check_positive_int("steps", steps)
    low, high = 0.0, _checks.check_positive("target", target) ** (1 / depth)
    for _ in range(60):
        middle = (low + high) / 2
        if steps_to_learn(middle, depth, rate=rate, target=target) > steps:
            low = middle
        else:
            high = middle
    return high


def divergence_scale(depth: int, *, rate: float, target: float = 1.0) -> float:
    """Returns the scale beyond which gradient descent runs away at once.

    The inverse of `divergence_learning_rate`, above the target.

    Args:
        depth: Number of layers, at least 2: a single layer's start decides nothing.
        rate: `learning_rate * (2 / output_units) * eigenvalue`.
        target: What `scale**depth` has to reach, positive.

    Returns:
        A scale above `target**(1 / depth)`.

    Raises:
        TypeError: If an argument is not a number of the kind asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> round(divergence_scale(10, rate=0.01), 4)
        1.3462
    """
    depth = _checks.check_positive_int("depth", depth)
    if depth == 1:
        raise ValueError(
            "`depth` must be at least 2. Received: depth=1. One layer is convex."
        )
    rate = _checks.check_positive("rate", rate)
    m = _checks.check_positive("target", target)
    low, high = 0.0, 700.0 / depth  # logarithms over the target's own scale
    for _ in range(60):
        middle = (low + high) / 2
        s = m ** (1 / depth) * math.exp(middle)
        low, high = (low, middle) if _thrown_out(s, depth, rate, m) else (middle, high)
    return m ** (1 / depth) * math.exp(high)


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
    mean = (float(_special.digamma(half)) + math.log(gain / half)) / 2
    return mean, float(_special.trigamma(half)) / 4


def _mode_verdict(
    scale: float, depth: int, rate: float, steps: int, target: Any
) -> str:
    """The verdict of one mode; a complex one is simulated, it has no closed form."""
    if np.imag(target) != 0:
        return _simulated(scale, depth, rate, steps, target)
    s, m = _mirrored(scale, depth, float(np.real(target)))
    first = abs(_gap(s, depth, m))
    if depth == 1:
        return _judged(first, first * _power(abs(1 - rate), steps), m)
    s, left = _settle(s, depth, rate, steps, m)
    if not left or not math.isfinite(s):
        return _judged(first, abs(_gap(s, depth, m)), m)
    allowed = math.sqrt(LEARNED) * min(first, abs(m))
    if _sinks(s, depth, rate, m) or (
        _steps_until(abs(s), depth, rate, m, allowed) > left
    ):
        return "stalls"
    sharpness = rate * depth * m ** (2 - 2 / depth)
    if sharpness >= 1 and steps <= _LONG:
        return _simulated(scale, depth, rate, steps, target)
    if sharpness < 2:
        return "trains"
    return "diverges" if rate > _escape_rate(depth, m) else "stalls"


def _settle(
    s: float, depth: int, rate: float, steps: int, m: float
) -> tuple[float, int]:
    """Follows the jumps; returns the value they end in and the steps left then."""
    while steps and math.isfinite(s) and not _settled(s, depth, rate, m):
        s, steps = _next(s, depth, rate, m), steps - 1
    return s, steps


def _simulated(
    scale: float, depth: int, rate: float, steps: int, target: complex
) -> str:
    path = trajectory(scale, depth, rate=rate, steps=steps, target=target)
    with np.errstate(all="ignore"):
        first, last = np.abs(path[[0, -1]] ** depth - target)
    return _judged(first, last, abs(target))


def _judged(first: float, last: float, target: float) -> str:
    with np.errstate(over="ignore"):
        losses = np.square([first, last, target], dtype=float)
    return str(judge(*losses))


def _mirrored(s: float, depth: int, m: float) -> tuple[float, float]:
    """The same mode with `s >= 0`: the recursion is symmetric under the flip."""
    if s >= 0:
        return s, m
    return -s, m if depth % 2 == 0 else -m


def _power(s: float, exponent: int) -> float:
    """`s**exponent`, infinite where Python would raise."""
    with np.errstate(all="ignore"):
        return float(np.float64(s) ** exponent)


def _gap(s: float, depth: int, m: float) -> float:
    """`s**depth - m`, without the cancellation near the target."""
    if s <= 0 or m <= 0:
        return _power(s, depth) - m
    exponent = depth * math.log(s) - math.log(m)
    return m * math.expm1(exponent) if exponent < 700 else _power(s, depth)


def _pull(s: float, depth: int, rate: float, m: float) -> float:
    """The `x` of the step `s <- s * (1 - x)`, for `depth >= 2`."""
    with np.errstate(all="ignore"):
        return float(np.float64(rate) * _power(s, depth - 2) * _gap(s, depth, m))


def _next(s: float, depth: int, rate: float, m: float) -> float:
    return s - s * _pull(s, depth, rate, m)


def _settled(s: float, depth: int, rate: float, m: float) -> bool:
    """Whether the closed forms tell the rest of the way."""
    return (
        _inside(s, depth, m) or _sinks(s, depth, rate, m) or _slides(s, depth, rate, m)
    )


def _inside(s: float, depth: int, m: float) -> bool:
    """Whether `s` lies on the slope from 0 up to the target (by symmetry, either)."""
    if s < 0 and depth % 2:
        return False
    return s != 0 and m > 0 and _gap(abs(s), depth, m) <= 0


def _sinks(s: float, depth: int, rate: float, m: float) -> bool:
    """Whether `s` creeps to 0 for ever, on the side the target is not on."""
    if s == 0:
        return True
    wrong_side = m <= 0 if s > 0 or depth % 2 == 0 else m >= 0
    return wrong_side and _pull(s, depth, rate, m) < 1


def _slides(s: float, depth: int, rate: float, m: float) -> bool:
    """Whether `s` comes down to the target smoothly, as gradient flow does."""
    small = 0.1 / depth
    return m > 0 and (s > 0 or depth % 2 == 0) and _pull(s, depth, rate, m) < small


def _thrown_out(s: float, depth: int, rate: float, m: float) -> bool:
    """Whether a mode above its target is thrown further out than it was."""
    pull = _pull(s, depth, rate, m)
    if depth % 2 == 0 or pull <= 1:
        return pull > 2
    # Odd depths: the far side is steeper. There and back it must come out further.
    return (pull - 1) * (_pull(s * (1 - pull), depth, rate, m) - 1) > 1


def _escape_rate(depth: int, m: float) -> float:
    """The `rate` beyond which a leap from inside the valley lands out of it."""
    if depth == 1:
        return 2.0
    inside = np.linspace(0, 1, 2001)[1:] ** (1 / depth) * m ** (1 / depth)

    def leaps_out(rate: float) -> bool:
        pulls = rate * inside ** (depth - 2) * (m - inside**depth)
        return _thrown_out(float(np.max(inside * (1 + pulls))), depth, rate, m)

    return _bisected(leaps_out)


def _bisected(holds: Any) -> float:
    """The positive number beyond which `holds`, by bisection of its logarithm."""
    low, high = -700.0, 700.0
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _steps_until(s: float, depth: int, rate: float, m: float, allowed: float) -> float:
    """Steps from `s >= 0` until `|s**depth - m| <= allowed`."""
    gap = abs(_gap(s, depth, m))
    if gap <= allowed:
        return 0.0
    if depth == 1:
        return _steps_of_one_layer(gap, allowed, rate)
    if s == 0 or m <= 0 or allowed == 0:
        return math.inf
    with np.errstate(over="ignore"):
        flow = _flow_time(s, depth, m, allowed / m) / rate
    side = 1 if _gap(s, depth, m) > 0 else -1
    log_end = (math.log(m) + math.log1p(side * allowed / m)) / depth
    slowed = (depth - 1) * (log_end - math.log(s)) + math.log(allowed / gap)
    return float(max(flow + slowed / 2, 0.0))


def _steps_of_one_layer(gap: float, allowed: float, rate: float) -> float:
    """One layer is linear: every step multiplies the gap by `1 - rate`."""
    if allowed == 0 or rate >= 2:
        return math.inf
    return math.log(gap / allowed) / -math.log(abs(1 - rate)) if rate != 1 else 1.0


def _flow_time(s: float, depth: int, m: float, left: float) -> float:
    """`rate` times the time of gradient flow until `|s**depth / m - 1| = left`."""
    exponent = depth * math.log(s) - math.log(m)  # ln u, u = s**depth / m
    unit = np.float64(m) ** (2 / depth - 2)
    if exponent > 0:
        b = 2 - 2 / depth
        near = _partial_beta(b, 1 / (1 + left), left / (1 + left))
        return unit / depth * (near - _partial_beta(b, *_complements(-exponent)))
    b = 2 / depth
    first, last = exponent / depth, math.log1p(-left) / depth  # ln(u**(1 / depth))
    near = _partial_beta(b, 1 - left, left)
    smooth = (near - _partial_beta(b, *_complements(exponent))) / depth
    if depth == 2:
        return unit * (last - first + smooth)
    plateau = (np.exp(-(depth - 2) * first) - np.exp(-(depth - 2) * last)) / (depth - 2)
    return unit * (plateau + smooth)


def _complements(log_z: float) -> tuple[float, float]:
    return math.exp(log_z), -math.expm1(log_z)


def _partial_beta(b: float, z: float, rest: float) -> float:
    """The integral of `t**(b - 1) / (1 - t)` from 0 to `z`, with `rest = 1 - z`.

    It is `z**b / b * 2F1(1, b; b + 1; z)`. Two power series, around 0 and around 1.
    """
    if z <= 0.5:
        series = 1 / b + np.sum(z**_TERMS / (_TERMS + b))
        return float(z**b * series)
    coefficients = np.cumprod((_TERMS - b) / _TERMS) / _TERMS
    series = np.sum(coefficients * rest**_TERMS)
    return float(-np.euler_gamma - _special.digamma(b) - math.log(rest) - series)


def _residual(
    scale: float, power: int, seen: np.ndarray, y: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, float]:
    """`left @ (scale**power * seen - y)` as a matrix and the logarithm of its factor.

    The part of `y` along each column of `seen` is split off: the difference of the
    two factors is then exact however close they are (and 0 if they are equal), and
    keeps its size when `scale**power` is beyond float64.
    """
    with np.errstate(all="ignore"):
        along = np.nan_to_num((seen * y).sum(0) / (seen**2).sum(0))
    sign, log_factor = _power_minus(scale, power, along)
    gain, rest = left @ seen, left @ (y - along * seen)
    top = max(np.max(log_factor), 0.0 if rest.any() else -np.inf)
    if top == -np.inf:
        return np.zeros_like(rest), 0.0
    rest = math.exp(-top) * rest if rest.any() else rest
    return sign * _exp(log_factor - top) * gain - rest, float(top)


def _power_minus(
    scale: float, power: int, m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sign and natural logarithm of `scale**power - m`."""
    difference = log_gap(scale, power, m)
    sign = np.float64(np.sign(scale)) ** power
    log_power, log_m = _times(power, _log(abs(scale))), _log(np.abs(m))
    return np.where(log_power > log_m, sign, -np.sign(m)), difference


def _scaled(scale: float, power: int, seen: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(seen == 0, 0.0, np.float64(scale) ** power * seen)


def _log_norm(matrix: np.ndarray) -> float:
    """Natural logarithm of the Frobenius norm, `-inf` if every entry is 0."""
    top = float(np.max(np.abs(matrix)))
    if top == 0:
        return -math.inf
    return math.log(top) + math.log(float(np.linalg.norm(matrix / top)))


def _log(value: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(value)


def _exp(value: Any) -> Any:
    with np.errstate(over="ignore"):
        return np.exp(value)


def _sign(value: np.ndarray) -> np.ndarray:
    """`value / |value|`, 1 for 0: -1 and 1 are exact, as are their powers."""
    return np.where(value == 0, 1, np.sign(value))


def _times(exponent: Any, logarithm: Any) -> Any:
    """`exponent * logarithm` with `0**0 = 1`."""
    with np.errstate(invalid="ignore"):
        return np.where(np.equal(exponent, 0), 0.0, exponent * logarithm)


def _base10(inner: np.ndarray, last: float) -> np.ndarray:
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


def _check_array(name: str, value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iufc" or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be a finite number or an array of them. "
            f"Received: {name}={value!r}."
        )
    return array if array.dtype.kind in "fc" else array.astype(float)


def _check_depths(value: ArrayLike) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(
            "`depth` must be a positive integer or an array of them. "
            f"Received: depth={value!r}."
        )
    return array


def _check_fraction(value: Any) -> float:
    fraction = _checks.check_positive("fraction", value)
    if fraction >= 1:
        raise ValueError(f"`fraction` must be below 1. Received: fraction={value!r}.")
    return fraction


def _check_landscape(
    scale: Any, depth: Any, units: Any, target: Any, eigenvalue: Any
) -> tuple[float, float, float]:
    """Checks the common arguments; returns scale, target and `k * eigenvalue`."""
    _checks.check_positive_int("depth", depth)
    units = _checks.check_positive_int("units", units)
    rate = 2 / units * _checks.check_positive("eigenvalue", eigenvalue)
    m = _checks.check_finite("target", target)
    return _checks.check_positive("scale", scale), m, rate


def _broadcast(*arrays: np.ndarray) -> list[np.ndarray]:
    try:
        return list(np.broadcast_arrays(*arrays))
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(
            "`scale`, `depth`, `rate` and `target` must broadcast. "
            f"Received: shapes {shapes}."
        ) from error
