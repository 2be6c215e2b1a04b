"""Models of any in- and outputs, and what Keras takes with them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from vgkeras.tape.calls import replaced
from vgkeras.tape.labels import measured_layers

_MASKS = "_maybe_config_dropout_masks"  # of a recurrent layer


def check_backend() -> None:
    """Raises unless Keras computes with TensorFlow, whose tapes measure gradients."""
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            "vgkeras measures gradients with `tf.GradientTape`, on Keras' TensorFlow "
            f"backend. Received: keras.config.backend()={backend!r}. Set "
            "KERAS_BACKEND=tensorflow in the environment before Keras is imported."
        )


def check_model(model: Any) -> keras.Model:
    """Returns `model`, or raises if it is not a Keras model on TensorFlow."""
    check_backend()
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a Keras model. "
            f"Received: model={model!r}. `vg.build_stack(depth=10)` makes one."
        )
    return model


def check_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    """Returns the optimizer of this name, or an optimizer as it is, or raises."""
    check_backend()
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`optimizer` must be a Keras optimizer or its name. "
            f"Received: optimizer={optimizer!r}."
        ) from error


def as_tensors(values: Any) -> Any:
    """Arrays as tensors: Keras takes either, but no mixture."""
    if values is None:
        return None
    return keras.tree.map_structure(
        lambda v: v if v is None or tf.is_tensor(v) else tf.convert_to_tensor(v), values
    )


def policy_name(model: keras.Model) -> str:
    """The number format, or mixed policy, of the first layer that has weights."""
    trained = (la for la in measured_layers(model) if la.trainable_variables)
    return next(trained, model).dtype_policy.name


def build_model(model: keras.Model, x: Any) -> None:
    """Creates the variables of a model that was never called."""
    if not model.built:
        model(x)


def frozen_layers(model: keras.Model) -> list[str]:
    """Names of the layers that have weights of which none is trained."""
    layers = [la for la in measured_layers(model) if la.weights]
    return [la.name for la in layers if not la.trainable_weights]


def recurrent_layers(model: keras.Model) -> list[keras.layers.RNN]:
    """The recurrent layers of a model, also those inside other layers."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if isinstance(layer, keras.layers.RNN)]


@contextlib.contextmanager
def unrolled(
    layers: list[keras.layers.RNN], but_for: list[Any] | None = None
) -> Iterator[None]:
    """Runs recurrent layers step by step: a loop calls its cell once more, as a try.

    So does Keras before the first step of stacked cells, to learn the shapes of dropout
    masks. What these calls append to `but_for` is taken off again.
    """
    before = [layer.unroll for layer in layers]

    def configure(own: Callable, *args: Any) -> None:
        count = len(but_for or ())
        own(*args)
        del (but_for or [])[count:]

    try:
        with contextlib.ExitStack() as stack:
            for layer in layers:
                layer.unroll = True
                stack.enter_context(replaced(layer, _MASKS, configure))
            yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.unroll = own


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
