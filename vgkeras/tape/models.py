"""Models of any in- and outputs, and what Keras takes with them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from vgkeras.tape.labels import measured_layers


def check_model(model: Any) -> keras.Model:
    """Returns `model`, or raises if it is not a Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a Keras model. "
            f"Received: model={model!r}. `vg.build_stack(depth=10)` makes one."
        )
    return model


def check_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer of this name, or an optimizer as it is, or raises."""
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`optimizer` must be a Keras optimizer or its name. "
            f"Received: optimizer={optimizer!r}."
        ) from error


def as_tensors(x: Any) -> Any:
    """Several inputs as tensors: Keras takes arrays or tensors, but no mixture."""
    if not isinstance(x, list | tuple | dict):
        return x
    return keras.tree.map_structure(tf.convert_to_tensor, x)


def policy_name(model: keras.Model) -> str:
    """The number format, or mixed policy, of the first layer that has weights."""
    trained = (la for la in measured_layers(model) if la.trainable_variables)
    return next(trained, model).dtype_policy.name


def build_model(model: keras.Model, x: Any) -> None:
    """Creates the variables of a model that was never called."""
    if not model.built:
        model(x)


def recurrent_layers(model: keras.Model) -> list[keras.layers.RNN]:
    """The recurrent layers of a model, also those inside other layers."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if isinstance(layer, keras.layers.RNN)]


@contextlib.contextmanager
def variables_restored(model: keras.Model) -> Iterator[None]:
    """Puts back every variable afterwards: averages, seeds, states, weights."""
    states = keras.tree.flatten([la.states or [] for la in recurrent_layers(model)])
    variables = [*model.variables, *states, *model.metrics_variables]
    saved = [(variable, tf.identity(variable.value)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in saved:
            variable.assign(value)
