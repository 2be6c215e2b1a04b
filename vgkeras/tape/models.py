"""One tape pass that leaves the model as it was, for models of any in- and outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf


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
