"""One loss of models with any outputs, each of them under any loss of Keras."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def check_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """Returns a function `(y, y_pred) -> scalar`, or raises if `loss` is none.

    A named Keras loss is evaluated in the format of `y_pred`: the class of that
    name would compute in `keras.config.floatx()`, and round a float64 model.
    """
    try:
        function = keras.losses.get(loss)
    except (ValueError, TypeError):
        function = None
    if not callable(function):
        raise ValueError(
            "`loss` must be a Keras loss, its name, or a function of `(y, y_pred)`. "
            f"Received: loss={loss!r}."
        )
    if isinstance(function, keras.losses.Loss):
        return function
    return lambda y, y_pred: keras.ops.mean(function(y, y_pred))


def total_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """A function `(y, y_pred) -> scalar` that adds up the losses of the outputs."""
    single = not isinstance(loss, list | tuple | dict)
    functions = keras.tree.map_structure(check_loss, loss)

    def total(y: Any, y_pred: Any) -> tf.Tensor:
        outputs = _matched("y", y_pred, y_pred)
        targets = _matched("y", y, y_pred)
        if single:
            losses = [functions] * len(outputs)
        else:
            losses = _matched("loss", functions, y_pred)
        parts = [f(t, p) for f, t, p in zip(losses, targets, outputs, strict=True)]
        return tf.add_n([tf.cast(part, parts[0].dtype) for part in parts])

    return total


def _matched(name: str, value: Any, outputs: Any) -> list[Any]:
    """The parts of `value` in the order of the outputs that they belong to."""
    if isinstance(outputs, dict):
        if not isinstance(value, dict) or set(value) != set(outputs):
            raise ValueError(_structure_message(name, value, outputs))
        pairs = [(value[key], output) for key, output in outputs.items()]
    elif isinstance(outputs, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(outputs):
            raise ValueError(_structure_message(name, value, outputs))
        pairs = list(zip(value, outputs, strict=True))
    elif isinstance(value, dict):
        raise ValueError(_structure_message(name, value, outputs))
    else:
        return [value]
    return [part for v, output in pairs for part in _matched(name, v, output)]


def _structure_message(name: str, value: Any, outputs: Any) -> str:
    return (
        f"`{name}` must have the structure of the model's outputs, "
        f"{_structure(outputs)}. Received: {name}={_structure(value)}."
    )


def _structure(value: Any) -> str:
    """`{'a': ., 'b': [., .]}`: the containers of a value, without what they hold."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k!r}: {_structure(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_structure(part) for part in value)}]"
    return "."
