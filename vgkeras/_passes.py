"""One tape pass that leaves the model as it was, for models of any in- and outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from vgkeras import tape


def tensors(x: Any) -> Any:
    """Several inputs as tensors: Keras takes arrays or tensors, but no mixture."""
    if not isinstance(x, list | tuple | dict):
        return x
    return keras.tree.map_structure(tf.convert_to_tensor, x)


def dtype(model: keras.Model) -> str:
    """The number format, or mixed policy, that the model computes in."""
    for layer in model._flatten_layers(include_self=False):
        if layer.trainable_variables and not list(
            layer._flatten_layers(include_self=False)
        ):
            return layer.dtype_policy.name
    return model.dtype_policy.name


def build(model: keras.Model, x: Any) -> None:
    """Creates the variables of a model that was never called."""
    if not model.built:
        model(x)


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Puts back every variable afterwards: moving averages, seeds, weights."""
    saved = [(variable, tf.identity(variable.value)) for variable in model.variables]
    try:
        yield
    finally:
        for variable, value in saved:
            variable.assign(value)


def total_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """A function `(y, y_pred) -> scalar` that adds up the losses of the outputs."""
    single = not isinstance(loss, list | tuple | dict)
    functions = tape.check_loss(loss) if single else _each(tape.check_loss, loss)

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


def _each(function: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _each(function, value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_each(function, value) for value in values]
    return function(values)


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
