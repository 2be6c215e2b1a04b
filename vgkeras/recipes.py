"""What a compiled stack is made of: its hidden layers and its optimizer's update.

Each function here is the compiled twin of a Keras class, in the layout of
`vgkeras.batch`: features and samples on the last two axes, layers and lanes before
them. Everything is elementwise over layers and lanes, so one call treats all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

# Multiply-and-add beats a matrix product in narrow layers, and in wider ones as long as
# the products of all inputs, outputs and samples are few: they are held in memory, too.
_NARROW, _FEW_PRODUCTS = 4, 2**13
_EPSILON = 1e-3  # of Keras' normalization layers
_ACTIVATIONS: dict[str, Callable] = {
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "selu": tf.nn.selu,
    "gelu": lambda z: tf.nn.gelu(z, approximate=False),
}
# What Keras' optimizers keep, by class, and the numbers that set them.
_SLOTS = {"SGD": 0, "Momentum": 1, "RMSprop": 1, "Adagrad": 1, "Adam": 2}
_SETTINGS = {
    "SGD": (),
    "Momentum": ("momentum", "nesterov"),
    "RMSprop": ("rho", "epsilon"),
    "Adagrad": ("initial_accumulator_value", "epsilon"),
    "Adam": ("beta_1", "beta_2", "epsilon"),
}


class Rule(NamedTuple):
    """An elementwise optimizer: the class of its update, its settings, its clipping.

    Args:
        name: A key of `_SLOTS`; `"Momentum"` is Keras' `SGD` with momentum.
        settings: The numbers of `_SETTINGS[name]`, in that order.
        clipnorm: Largest Frobenius norm of one kernel's gradient, or `None`.
        clipvalue: Largest magnitude of one element, or `None`.
    """

    name: str = "SGD"
    settings: tuple[float, ...] = ()
    clipnorm: float | None = None
    clipvalue: float | None = None

    @property
    def plain(self) -> bool:
        """Whether the update is exactly `learning_rate * gradient`."""
        return self == Rule()

    def __str__(self) -> str:
        """As the column `optimizer` of a log has it, e.g. `sgd, clipnorm 1`."""
        clips = {"clipnorm": self.clipnorm, "clipvalue": self.clipvalue}
        told = [f"{name} {at:g}" for name, at in clips.items() if at is not None]
        return ", ".join([self.name.lower(), *told])


class Recipe(NamedTuple):
    """How the stacks of one program are built and trained; see `build_stack`."""

    activation: str = "linear"
    normalization: str | None = None
    residual: bool | str = False
    rule: Rule = Rule()

    @property
    def linear(self) -> bool:
        """Whether all layers are alike: kernels and nothing else."""
        return self[:3] == ("linear", None, False)


def rule_of(optimizer: Any) -> Rule:
    """Reads a Keras optimizer.

    Args:
        optimizer: A Keras optimizer, its name, or `"momentum"` for `SGD` with a
            momentum of 0.9. Its learning rate is not looked at.

    Returns:
        The `Rule` with the optimizer's settings.

    Raises:
        ValueError: If it is no optimizer, or one whose update cannot be compiled.
    """
    if isinstance(optimizer, str):
        return _rule_of_name(optimizer)
    return _rule_of(optimizer)


@functools.lru_cache(maxsize=16)
def _rule_of_name(name: str) -> Rule:
    """Once for each name: making an optimizer takes Keras 3 ms."""
    return _rule_of(name)


def _rule_of(optimizer: Any) -> Rule:
    found = _optimizer(optimizer)
    name, config = type(found).__name__, found.get_config()
    if name == "SGD" and config["momentum"]:
        name = "Momentum"
    unknown = [key for key in _UNSUPPORTED if config.get(key)]
    if name not in _SLOTS or config.get("amsgrad") or config.get("centered") or unknown:
        raise ValueError(
            "`optimizer` must be SGD, RMSprop, Adagrad or Adam, without "
            f"{', '.join(_UNSUPPORTED)}, amsgrad or centered. "
            f"Received: optimizer={optimizer!r}. `vg.train` takes any Keras optimizer."
        )
    if name == "RMSprop" and config["momentum"]:
        raise ValueError(
            "`optimizer` must be an RMSprop without momentum. "
            f"Received: optimizer={optimizer!r}. `vg.train` takes any Keras optimizer."
        )
    settings = tuple(float(config[key]) for key in _SETTINGS[name])
    return Rule(name, settings, config["clipnorm"], config["clipvalue"])


_UNSUPPORTED = (
    "weight_decay",
    "global_clipnorm",
    "use_ema",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


def _optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    if isinstance(optimizer, str) and optimizer.lower() == "momentum":
        return keras.optimizers.SGD(momentum=0.9)
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`optimizer` must be a Keras optimizer or its name. "
            f"Received: optimizer={optimizer!r}."
        ) from error


def dense(signal: tf.Tensor, kernel: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """`signal @ kernel` in every lane, for one layer or for all; sums in `wide`.

    Args:
        signal: Shape `(..., lanes, inputs, samples)`.
        kernel: Shape `(..., lanes, inputs, outputs)`.
        wide: Format of the sums; the format of half-precision sums is float32.

    Returns:
        Shape `(..., lanes, outputs, samples)`.
    """
    a, k = tf.cast(signal, wide), tf.cast(kernel, wide)
    width, samples = kernel.shape[-1], signal.shape[-1]
    if width > _NARROW and width * width * samples > _FEW_PRODUCTS:
        product = tf.matmul(k, a, transpose_a=True)
    else:
        product = tf.reduce_sum(k[..., :, :, None] * a[..., :, None, :], axis=-3)
    return tf.cast(product, signal.dtype)


def layer(
    recipe: Recipe,
    units: int,
    wide: tf.DType,
    signal: tf.Tensor,
    last: tf.Tensor,
    kernel: tf.Tensor,
    alpha: tf.Tensor | None = None,
) -> tf.Tensor:
    """What one layer of a stack makes of its input, for one layer or for all.

    Args:
        recipe: What a hidden layer is.
        units: Width of the hidden layers; features beyond it are padding.
        wide: Format of sums and of normalization.
        signal: Shape `(..., lanes, width, samples)`.
        last: Whether it is the last layer, which is linear: `(..., lanes, 1, 1)`.
        kernel: Shape `(..., lanes, width, width)`.
        alpha: Factor of the new part beside a shortcut, `(..., lanes, 1, 1)`.

    Returns:
        The layer's output, in the shape of `signal`.
    """
    product = dense(signal, kernel, wide)
    if recipe.linear:
        return product
    hidden = _hidden(recipe, product[..., :units, :], wide)
    if alpha is not None:
        hidden = alpha * hidden
    if recipe.residual:
        hidden = signal[..., :units, :] + hidden
    padding = product.shape[-2] - units
    if padding:
        edges = [[0, 0]] * (len(product.shape) - 2) + [[0, padding], [0, 0]]
        hidden = tf.pad(hidden, edges)
    return tf.where(last, product, hidden)


def _hidden(recipe: Recipe, product: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """Normalization and activation; Keras normalizes half precision in float32."""
    if recipe.normalization is not None:
        axis = -2 if recipe.normalization == "layer" else -1
        values = tf.cast(product, wide)
        centred = values - tf.reduce_mean(values, axis, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis, keepdims=True)
        product = tf.cast(centred * tf.math.rsqrt(variance + _EPSILON), product.dtype)
    if recipe.activation == "linear":
        return product
    return _ACTIVATIONS[recipe.activation](product)


def slots(rule: Rule, parameters: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """What the optimizer remembers before the first step, parameter by parameter."""
    start = rule.settings[0] if rule.name == "Adagrad" else 0.0
    return [
        tf.fill(p.shape, tf.cast(start, p.dtype))
        for p in parameters
        for _ in range(_SLOTS[rule.name])
    ]


def update(
    rule: Rule,
    gradient: tf.Tensor,
    kept: Sequence[tf.Tensor],
    rate: tf.Tensor,
    step: tf.Tensor,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """One step of the optimizer for one parameter of all layers.

    Args:
        rule: The optimizer.
        gradient: Shape `(length, lanes, ...)`, before clipping.
        kept: What `slots` or the last `update` returned for this parameter.
        rate: Learning rate, broadcast against `gradient`.
        step: Number of this step, from 1.

    Returns:
        What is to be subtracted from the parameter, and what is remembered.
    """
    gradient = _clipped(rule, gradient)
    return _UPDATES[rule.name](rule.settings, gradient, kept, rate, step)


def slots_of(rule: Rule) -> int:
    """How many tensors the optimizer keeps for one parameter."""
    return _SLOTS[rule.name]


def _clipped(rule: Rule, gradient: tf.Tensor) -> tf.Tensor:
    """As Keras clips: by norm, or else by value."""
    if rule.clipnorm is not None:
        limit = tf.cast(rule.clipnorm, gradient.dtype)
        squares = tf.reduce_sum(tf.square(gradient), [-2, -1], keepdims=True)
        norm = tf.where(squares > 0, tf.sqrt(squares), squares)
        return gradient * limit / tf.maximum(norm, limit)
    if rule.clipvalue is not None:
        limit = tf.cast(rule.clipvalue, gradient.dtype)
        return tf.clip_by_value(gradient, -limit, limit)
    return gradient


def _sgd(settings: Any, g: Any, kept: Any, rate: Any, step: Any) -> Any:
    return rate * g, []


def _momentum(settings: Any, g: Any, kept: Any, rate: Any, step: Any) -> Any:
    momentum, nesterov = settings
    velocity = momentum * kept[0] + rate * g  # Keras' with the other sign
    return (momentum * velocity + rate * g if nesterov else velocity), [velocity]


def _rmsprop(settings: Any, g: Any, kept: Any, rate: Any, step: Any) -> Any:
    rho, epsilon = settings
    mean = rho * kept[0] + (1 - rho) * tf.square(g)
    return rate * g * tf.math.rsqrt(mean + epsilon), [mean]


def _adagrad(settings: Any, g: Any, kept: Any, rate: Any, step: Any) -> Any:
    _, epsilon = settings
    total = kept[0] + tf.square(g)
    return rate * g * tf.math.rsqrt(total + epsilon), [total]


def _adam(settings: Any, g: Any, kept: Any, rate: Any, step: Any) -> Any:
    beta_1, beta_2, epsilon = settings
    count = tf.cast(step, g.dtype)
    first = kept[0] + (g - kept[0]) * (1 - beta_1)
    second = kept[1] + (tf.square(g) - kept[1]) * (1 - beta_2)
    one = tf.ones([], g.dtype)
    unbiased = tf.sqrt(1 - tf.pow(beta_2 * one, count))
    rate = rate * unbiased / (1 - tf.pow(beta_1 * one, count))
    return first * rate / (tf.sqrt(second) + epsilon), [first, second]


_UPDATES: dict[str, Callable] = {
    "SGD": _sgd,
    "Momentum": _momentum,
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
    "Adam": _adam,
}
