"""One tf.GradientTape pass over any Keras model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras.logs import LAYER_COLUMNS
from vgkeras.tape.labels import measured_layers, tensor_labels
from vgkeras.tape.tensor_statistics import STATISTICS, statistics

_ROW_LABELS = ("layer", "name", "kind")


def gradient_norms(
    model: keras.Model, x: Any, y: Any, *, loss: Any = "mse"
) -> pd.DataFrame:
    """Measures every gradient and activation of a model in one tape pass.

    Nothing is trained. The statistics can neither overflow nor underflow: each
    tensor is divided by its largest magnitude before anything is squared.
    (`tf.norm` squares first, and reports 0 or Inf at half the true exponent.)

    Args:
        model: Any Keras model on the TensorFlow backend.
        x: Inputs, batch first.
        y: Targets, batch first.
        loss: A Keras loss, its name, or any callable `(y, y_pred)`. A name is
            evaluated in the format of the model's output.

    Returns:
        A frame with a row per trainable variable (`kind="weight_gradient"`), and
        per layer call (`"activation"`, `"activation_gradient"`), in the columns
        `layer, name, kind, log10_norm, log10_max, log10_mean, zero_fraction,
        nonfinite_fraction, frozen_fraction, update_ratio, size` (base-10
        logarithms; `frozen_fraction` and `update_ratio` are NaN: nothing was
        updated). Layer 1 is next to the input.
        A variable without a gradient keeps its row, with NaN.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `loss` is no Keras loss.

    Example:
        >>> model = vg.build_stack(depth=3, scale=0.5)  # doctest: +SKIP
        >>> vg.gradient_norms(model, x, y)["log10_norm"]  # doctest: +SKIP
    """
    loss_function = check_loss(loss)
    check_model(model)
    taped = tape_pass(model, x, y, loss_function)
    frame = pd.DataFrame(statistics(taped.tensors).numpy(), columns=list(STATISTICS))
    labels = pd.DataFrame(taped.labels, columns=list(_ROW_LABELS))
    frame = pd.concat([labels, frame], axis="columns")
    columns = [c for c in LAYER_COLUMNS if c not in ("run", "step")]
    frame = frame.assign(frozen_fraction=np.nan, update_ratio=np.nan, size=taped.sizes)
    return frame[columns]


@dataclass(frozen=True)
class TapePass:
    """What one tape pass over a model has seen; tensors are eager or symbolic.

    `labels` names each entry of `tensors` by `(layer, name, kind)`: first the
    gradient of each trainable variable, then each layer's activation, then the
    gradient with respect to each activation. An entry of `tensors` is `None`
    where the loss does not depend on it; its size is known all the same.
    """

    loss: tf.Tensor
    gradients: list[tf.Tensor | None]
    tensors: list[tf.Tensor | None]
    labels: list[tuple[int, str, str]]
    sizes: list[int]


def tape_pass(model: keras.Model, x: Any, y: Any, loss_function: Callable) -> TapePass:
    """Runs one `tf.GradientTape` over the model's own forward pass."""
    calls: list[tuple[keras.layers.Layer, tf.Tensor]] = []
    with tf.GradientTape() as tape, _recorded(model, calls):
        loss = loss_function(y, model(x, training=True))
    values = [variable.value for variable in model.trainable_variables]
    activations = [output for _, output in calls]
    gradients = tape.gradient(loss, [*values, *activations])
    gradients = [_dense(gradient) for gradient in gradients]
    return TapePass(
        loss=loss,
        gradients=gradients[: len(values)],
        tensors=[*gradients[: len(values)], *activations, *gradients[len(values) :]],
        labels=tensor_labels(model, [layer for layer, _ in calls]),
        sizes=[t.shape.num_elements() for t in (*values, *activations, *activations)],
    )


def check_model(model: Any) -> keras.Model:
    """Returns `model`, or raises if it is not a Keras model."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a Keras model. "
            f"Received: model={model!r}. `vg.build_stack(depth=10)` makes one."
        )
    return model


def check_loss(loss: Any) -> Callable[[Any, Any], tf.Tensor]:
    """Returns a function `(y, y_pred) -> scalar`, or raises if `loss` is none.

    A named Keras loss is evaluated in the format of `y_pred`: the class of that
    name would compute in `keras.config.floatx()`, and round a float64 model.
    """
    try:
        function = keras.losses.get(loss)
    except (ValueError, TypeError) as error:
        raise ValueError(_loss_message(loss)) from error
    if not callable(function):
        raise ValueError(_loss_message(loss))
    if isinstance(function, keras.losses.Loss):
        return function
    return lambda y, y_pred: keras.ops.mean(function(y, y_pred))


def _loss_message(loss: Any) -> str:
    return (
        "`loss` must be a Keras loss, its name, or a function of `(y, y_pred)`. "
        f"Received: loss={loss!r}."
    )


@contextlib.contextmanager
def _recorded(
    model: keras.Model, calls: list[tuple[keras.layers.Layer, tf.Tensor]]
) -> Iterator[None]:
    """Appends each layer's outputs to `calls` while the model is called.

    The instance attribute `call` hides the method of the class for as long as the
    context lasts, whatever way the model reaches its layers.
    """
    layers = measured_layers(model)

    def recorder(layer: keras.layers.Layer) -> Callable:
        original = layer.call

        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            calls.extend(
                (layer, output)
                for output in tf.nest.flatten(outputs)
                if tf.is_tensor(output) and output.dtype.is_floating
            )
            return outputs

        return call

    for layer in layers:
        layer.__dict__["call"] = recorder(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["call"]


def _dense(gradient: Any) -> tf.Tensor | None:
    """An embedding's sparse gradient as a tensor; `None` stays `None`."""
    return None if gradient is None else tf.convert_to_tensor(gradient)
