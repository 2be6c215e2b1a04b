"""The updates of Keras' optimizers, for all layers of all lanes at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

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
