"""One tf.GradientTape pass over any Keras model."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras.logs import CALL, LAYER_COLUMNS
from vgkeras.tape.calls import layer_calls
from vgkeras.tape.labels import Call, measured_layers, tensor_labels
from vgkeras.tape.models import recurrent_layers, unrolled, variables_restored
from vgkeras.tape.objective import Objective, gradients_by_outputs, objective_of
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
        `layer, name, call, kind, log10_norm, log10_max, log10_mean, zero_fraction,
        nonfinite_fraction, frozen_fraction, update_ratio, size` (base-10
        logarithms; `frozen_fraction` and `update_ratio` are NaN: nothing was
        updated). Layer 1 is next to the input. `call` counts from 1 the calls of a
        layer that is shared, or of a recurrent cell, whose calls are its time steps
        in the order in which it takes them; the gradient walks them backward. It is 0
        for variables. A variable without a gradient keeps its row, with NaN.
        `vgkeras.tape.layer_of` returns the layer of a row.

        The gradient with respect to a last softmax or sigmoid is that of the loss as a
        function of probabilities, though Keras computes it from logits.

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
        result = _with_gradients_by_outputs(objective, tape_pass(objective))
    frame = result.table().assign(frozen_fraction=np.nan, update_ratio=np.nan)
    columns = [c for c in LAYER_COLUMNS if c not in ("run", "step", "layer", "name")]
    return frame[["layer", "name", CALL, *columns]]


@dataclass(frozen=True)
class TapePass:
    """What one tape pass over a model has seen; tensors are eager or symbolic.

    `labels` names each entry of `tensors` by `(layer, name, kind)`: first the
    gradient of each trainable variable, then each layer's activation, then the
    gradient with respect to each activation; `calls` says of which call of its layer
    it is, from 1, or 0. An entry of `tensors` is `None` where the loss does not depend
    on it; its size is known all the same.
    """

    loss: tf.Tensor
    outputs: Any
    gradients: list[tf.Tensor | None]
    tensors: list[tf.Tensor | None]
    labels: list[tuple[int, str, str]]
    calls: list[int]
    sizes: list[int]

    def table(self) -> pd.DataFrame:
        """A row per tensor: its label, its `STATISTICS` and its size; eager only."""
        frame = pd.DataFrame(self.labels, columns=["layer", "name", "kind"])
        frame[list(STATISTICS)] = statistics(self.tensors).numpy()
        return frame.assign(size=self.sizes, call=self.calls)


def tape_pass(objective: Objective, *, whole: tuple[type, ...] = ()) -> TapePass:
    """Runs one `tf.GradientTape` over the model's own forward pass.

    Args:
        objective: Model, data and loss.
        whole: Classes of layers that count as one, whatever they are made of.
    """
    model = objective.model
    layers = measured_layers(model, whole=whole)
    seen: list[tuple[keras.layers.Layer, list[tf.Tensor]]] = []

    def see(layer: keras.layers.Layer, outputs: list[tf.Tensor]) -> None:
        seen.append((layer, outputs))

    recurrent = [la for la in recurrent_layers(model) if not isinstance(la, whole)]
    unroll = unrolled(recurrent, but_for=seen)
    with tf.GradientTape() as tape, layer_calls(layers, see), unroll:
        outputs = objective.outputs()
        loss = objective.loss(outputs)
    calls = _numbered(seen)
    values = [variable.value for variable in model.trainable_variables]
    activations = [call.output for call in calls]
    sources = [*values, *activations]
    gradients = list(map(dense_gradient, tape.gradient(loss, sources), sources))
    return TapePass(
        loss=loss,
        outputs=outputs,
        gradients=gradients[: len(values)],
        tensors=[*gradients[: len(values)], *activations, *gradients[len(values) :]],
        labels=tensor_labels(model, calls, layers),
        calls=[0] * len(values) + 2 * [call.number for call in calls],
        sizes=[t.shape.num_elements() for t in (*sources, *activations)],
    )


def _numbered(seen: list[tuple[keras.layers.Layer, list[tf.Tensor]]]) -> list[Call]:
    """All outputs, and of which call of their layer each is."""
    counts: Counter[int] = Counter()
    calls = []
    for layer, outputs in seen:
        counts[id(layer)] += 1
        calls += [
            Call(layer, counts[id(layer)], number, output)
            for number, output in enumerate(outputs, start=1)
        ]
    return calls


def _with_gradients_by_outputs(objective: Objective, taped: TapePass) -> TapePass:
    """The same with gradients by the outputs that a loss has gone around."""
    if objective.by_outputs is None:
        return taped
    own = gradients_by_outputs(objective.by_outputs, objective.batch, taped.outputs)
    count = len(taped.tensors) - len(taped.gradients)
    activations = taped.tensors[len(taped.gradients) :][: count // 2]
    by_activation = [
        own.get(id(activation)) if gradient is None else gradient
        for activation, gradient in zip(
            activations, taped.tensors[-(count // 2) :], strict=False
        )
    ]
    return replace(taped, tensors=[*taped.gradients, *activations, *by_activation])


def dense_gradient(gradient: Any, source: Any) -> tf.Tensor | None:
    """An embedding's sparse gradient as a tensor; `None` stays `None`."""
    if not isinstance(gradient, tf.IndexedSlices):
        return None if gradient is None else tf.convert_to_tensor(gradient)
    rows = source.shape[0]  # the gradient itself may not know
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
