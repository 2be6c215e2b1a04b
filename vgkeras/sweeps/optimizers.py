"""The updates of Keras' optimizers, for all layers of all lanes at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vgkeras.tape import check_optimizer

_UNSUPPORTED = (
    "weight_decay",
    "global_clipnorm",
    "use_ema",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)


class CompiledOptimizer(NamedTuple):
    """An elementwise optimizer: the class of its update, its settings, its clipping.

    Args:
        name: A key of `_KINDS`; `"Momentum"` is Keras' `SGD` with momentum.
        settings: The numbers of `_KINDS[name].settings`, in that order.
        clipnorm: Largest Frobenius norm of one kernel's gradient, or `None`.
        clipvalue: Largest absolute value of one element, or `None`.
    """

    name: str = "SGD"
    settings: tuple[float, ...] = ()
    clipnorm: float | None = None
    clipvalue: float | None = None

    @property
    def plain(self) -> bool:
        """Whether the update is exactly `learning_rate * gradient`."""
        return self == CompiledOptimizer()

    @property
    def slots(self) -> int:
        """How many tensors it remembers for one parameter."""
        return _KINDS[self.name].slots

    def __str__(self) -> str:
        """As the column `optimizer` of a log has it, e.g. `sgd, clipnorm 1`."""
        clips = {"clipnorm": self.clipnorm, "clipvalue": self.clipvalue}
        words = [f"{name} {at:g}" for name, at in clips.items() if at is not None]
        return ", ".join([self.name.lower(), *words])


def compiled_optimizer(optimizer: Any) -> CompiledOptimizer:
    """Reads a Keras optimizer.

    Args:
        optimizer: A Keras optimizer, its name, or `"momentum"` for `SGD` with a
            momentum of 0.9. Its learning rate is not looked at.

    Returns:
        The `CompiledOptimizer` with the optimizer's settings.

    Raises:
        ValueError: If it is no optimizer, or one whose update cannot be compiled.
    """
    return _of_name(optimizer) if isinstance(optimizer, str) else _of(optimizer)


@functools.lru_cache(maxsize=16)
def _of_name(name: str) -> CompiledOptimizer:
    """Once for each name: making an optimizer takes Keras 3 ms."""
    return _of(name)


def _of(optimizer: Any) -> CompiledOptimizer:
    keras_optimizer = _keras_optimizer(optimizer)
    name, config = type(keras_optimizer).__name__, keras_optimizer.get_config()
    if name == "SGD" and config["momentum"]:
        name = "Momentum"
    if name not in _KINDS or any(
        config.get(key) for key in (*_UNSUPPORTED, "amsgrad", "centered")
    ):
        kinds = f"SGD, RMSprop, Adagrad or Adam, without {', '.join(_UNSUPPORTED)}"
        raise _refusal(f"{kinds}, amsgrad or centered", optimizer)
    if name == "RMSprop" and config["momentum"]:
        raise _refusal("an RMSprop without momentum", optimizer)
    settings = tuple(float(config[key]) for key in _KINDS[name].settings)
    return CompiledOptimizer(name, settings, config["clipnorm"], config["clipvalue"])


def _keras_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    if isinstance(optimizer, str) and optimizer.lower() == "momentum":
        return keras.optimizers.SGD(momentum=0.9)
    return check_optimizer(optimizer)


def _refusal(rule: str, optimizer: Any) -> ValueError:
    return ValueError(
        f"`optimizer` must be {rule}. Received: optimizer={optimizer!r}. "
        "`vg.train` takes any Keras optimizer."
    )


def initial_slots(
    optimizer: CompiledOptimizer, parameters: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """What the optimizer remembers before the first step, parameter by parameter."""
    start = optimizer.settings[0] if optimizer.name == "Adagrad" else 0.0
    return [
        tf.fill(p.shape, tf.cast(start, p.dtype))
        for p in parameters
        for _ in range(optimizer.slots)
    ]


def update(
    optimizer: CompiledOptimizer,
    gradient: tf.Tensor,
    slots: Sequence[tf.Tensor],
    rate: tf.Tensor,
    step: tf.Tensor,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Computes one step of the optimizer for one parameter of all layers.

    Args:
        optimizer: The optimizer.
        gradient: Shape `(length, lanes, ...)`, before clipping.
        slots: What `initial_slots` or the last `update` returned for this parameter.
        rate: Learning rate, broadcast against `gradient`.
        step: Number of this step, from 1.

    Returns:
        What is to be subtracted from the parameter, and the new slots.
    """
    gradient = _clipped(optimizer, gradient)
    change = _KINDS[optimizer.name].change
    return change(optimizer.settings, gradient, slots, rate, step)


def _clipped(optimizer: CompiledOptimizer, gradient: tf.Tensor) -> tf.Tensor:
    """As Keras clips: by norm, or else by value."""
    if optimizer.clipnorm is not None:
        limit = tf.cast(optimizer.clipnorm, gradient.dtype)
        squares = tf.reduce_sum(tf.square(gradient), [-2, -1], keepdims=True)
        norm = tf.where(squares > 0, tf.sqrt(squares), squares)
        return gradient * limit / tf.maximum(norm, limit)
    if optimizer.clipvalue is not None:
        limit = tf.cast(optimizer.clipvalue, gradient.dtype)
        return tf.clip_by_value(gradient, -limit, limit)
    return gradient


def _sgd(settings: Any, g: Any, slots: Any, rate: Any, step: Any) -> Any:
    return rate * g, []


def _momentum(settings: Any, g: Any, slots: Any, rate: Any, step: Any) -> Any:
    momentum, nesterov = settings
    velocity = momentum * slots[0] + rate * g  # Keras' with the other sign
    return (momentum * velocity + rate * g if nesterov else velocity), [velocity]


def _rmsprop(settings: Any, g: Any, slots: Any, rate: Any, step: Any) -> Any:
    rho, epsilon = settings
    mean = rho * slots[0] + (1 - rho) * tf.square(g)
    return rate * g * tf.math.rsqrt(mean + epsilon), [mean]


def _adagrad(settings: Any, g: Any, slots: Any, rate: Any, step: Any) -> Any:
    _, epsilon = settings
    total = slots[0] + tf.square(g)
    return rate * g * tf.math.rsqrt(total + epsilon), [total]


def _adam(settings: Any, g: Any, slots: Any, rate: Any, step: Any) -> Any:
    beta_1, beta_2, epsilon = settings
    count = tf.cast(step, g.dtype)
    first = slots[0] + (g - slots[0]) * (1 - beta_1)
    second = slots[1] + (tf.square(g) - slots[1]) * (1 - beta_2)
    one = tf.ones([], g.dtype)
    unbiased = tf.sqrt(1 - tf.pow(beta_2 * one, count))
    rate = rate * unbiased / (1 - tf.pow(beta_1 * one, count))
    return first * rate / (tf.sqrt(second) + epsilon), [first, second]


class _Kind(NamedTuple):
    """How a class of Keras updates, how much it remembers, and what sets it."""

    change: Callable
    slots: int
    settings: tuple[str, ...]


_KINDS = {
    "SGD": _Kind(_sgd, 0, ()),
    "Momentum": _Kind(_momentum, 1, ("momentum", "nesterov")),
    "RMSprop": _Kind(_rmsprop, 1, ("rho", "epsilon")),
    "Adagrad": _Kind(_adagrad, 1, ("initial_accumulator_value", "epsilon")),
    "Adam": _Kind(_adam, 2, ("beta_1", "beta_2", "epsilon")),
}
