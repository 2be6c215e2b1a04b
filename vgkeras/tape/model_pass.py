"""One tf.GradientTape pass over any Keras model."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras.logs import LAYER_COLUMNS
from vgkeras.tape.calls import layer_calls
from vgkeras.tape.labels import measured_layers, tensor_labels
from vgkeras.tape.models import variables_restored
from vgkeras.tape.objective import Objective, objective_of
from vgkeras.tape.tensor_statistics import STATISTICS, statistics


def gradient_norms(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    sample_weight: Any = None,
) -> pd.DataFrame:
    """Measures every gradient and activation of a model in one tape pass.

    The gradients are those that `fit` would see on this batch, regularizers and
    `add_loss` included. Nothing is trained: the model, moving averages and random
    seeds included, stays as it was. The statistics can neither overflow nor underflow:
    each tensor is divided by its largest magnitude before anything is squared.
    (`tf.norm` squares first, and reports 0 or Inf at half the true exponent.)

    Args:
        model: Any Keras model on the TensorFlow backend.
        x: Inputs, batch first: an array or tensor, or a list or dict of them. Without
            `y` also a batch `(x, y)` or `(x, y, sample_weight)`, or a `tf.data.Dataset`
            or `keras.utils.PyDataset`, whose first batch is taken.
        y: Targets, in the structure of the model's outputs.
        loss: A Keras loss, its name, any callable `(y, y_pred)`, or one for each
            output. A name is evaluated in the format of the model's output. Default:
            the loss of `compile()`.
        sample_weight: Weights of the samples, as in `fit`.

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
        ValueError: If `loss` is no Keras loss, or is left out with a model that has
            none; if data are missing or do not match.

    Example:
        >>> model = vg.build_stack(depth=3, scale=0.5)  # doctest: +SKIP
        >>> vg.gradient_norms(model, x, y)["log10_norm"]  # doctest: +SKIP
    """
    objective = objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    with variables_restored(model):
        result = tape_pass(objective)
    frame = result.table().assign(frozen_fraction=np.nan, update_ratio=np.nan)
    return frame[[c for c in LAYER_COLUMNS if c not in ("run", "step")]]


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

    def table(self) -> pd.DataFrame:
        """A row per tensor: its label, its `STATISTICS` and its size; eager only."""
        frame = pd.DataFrame(self.labels, columns=["layer", "name", "kind"])
        frame[list(STATISTICS)] = statistics(self.tensors).numpy()
        return frame.assign(size=self.sizes)


def tape_pass(objective: Objective) -> TapePass:
    """Runs one `tf.GradientTape` over the model's own forward pass."""
    model = objective.model
    calls: list[tuple[keras.layers.Layer, tf.Tensor]] = []

    def see(layer: keras.layers.Layer, outputs: list[tf.Tensor]) -> None:
        calls.extend((layer, output) for output in outputs)

    with tf.GradientTape() as tape, layer_calls(measured_layers(model), see):
        loss = objective.loss(objective.outputs())
    values = [variable.value for variable in model.trainable_variables]
    activations = [output for _, output in calls]
    sources = [*values, *activations]
    gradients = list(map(dense_gradient, tape.gradient(loss, sources), sources))
    return TapePass(
        loss=loss,
        gradients=gradients[: len(values)],
        tensors=[*gradients[: len(values)], *activations, *gradients[len(values) :]],
        labels=tensor_labels(model, [layer for layer, _ in calls]),
        sizes=[t.shape.num_elements() for t in (*sources, *activations)],
    )


def dense_gradient(gradient: Any, source: Any) -> tf.Tensor | None:
    """An embedding's sparse gradient as a tensor; `None` stays `None`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None if gradient is None else tf.convert_to_tensor(gradient)
    rows = source.shape[0]  # the gradient itself may not know
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
