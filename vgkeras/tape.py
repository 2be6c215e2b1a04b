"""One tf.GradientTape pass over any Keras model, and per-layer statistics of it."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras.logs import KINDS, LAYER_COLUMNS

STATISTICS = (
    "log10_norm",
    "log10_max",
    "log10_mean",
    "zero_fraction",
    "nonfinite_fraction",
)
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
        labels=_labels(model, [layer for layer, _ in calls]),
        sizes=[t.shape.num_elements() for t in (*values, *activations, *activations)],
    )


def statistics(tensors: Sequence[tf.Tensor | None]) -> tf.Tensor:
    """Measures each tensor without overflow, underflow or flushed subnormals.

    Tensors of one shape and format are stacked and measured together: 152 equal
    layers cost a dozen operations, not two thousand.

    Args:
        tensors: Floating tensors of any shapes and formats; `None` gives NaN.

    Returns:
        A float64 tensor of shape `(len(tensors), 5)`, in the order of
        `STATISTICS`: base-10 logarithm of the Frobenius norm, of the largest and of
        the mean magnitude (`-inf` if all elements are 0, `+inf` if any is Inf or
        NaN), the share of exact zeros and of Inf or NaN.
    """
    groups: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        key = None if tensor is None else (tensor.dtype, tuple(tensor.shape))
        groups.setdefault(key, []).append(index)
    parts, order = [], []
    for key, members in groups.items():
        if key is None:
            empty = tf.constant(np.nan, tf.float64)
            parts.append(tf.fill([len(members), len(STATISTICS)], empty))
        else:
            rows = tf.stack([tensors[index] for index in members])
            parts.append(_row_statistics(tf.reshape(rows, [len(members), -1])))
        order += members
    if not parts:
        return tf.zeros([0, len(STATISTICS)], tf.float64)
    return tf.gather(tf.concat(parts, axis=0), np.argsort(order))


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


def measured_layers(
    model: keras.Model, *, whole: tuple[type, ...] = ()
) -> list[keras.layers.Layer]:
    """The layers that do the work: those without layers of their own.

    Layers of the classes `whole` count as one, whatever they are made of.
    """
    found: dict[int, keras.layers.Layer] = {}
    rest = deque(model._flatten_layers(include_self=False, recursive=False))
    while rest:
        layer = rest.popleft()
        parts = list(layer._flatten_layers(include_self=False, recursive=False))
        if parts and not isinstance(layer, whole):
            rest.extendleft(parts)
        elif not isinstance(layer, keras.layers.InputLayer):
            found.setdefault(id(layer), layer)
    return list(found.values())


def _labels(
    model: keras.Model, called: list[keras.layers.Layer]
) -> list[tuple[int, str, str]]:
    """Names the rows; layers count from 1 in the order of their first call."""
    order = list(dict.fromkeys([*called, *measured_layers(model)]))
    return [
        *weight_labels(model, order, model.trainable_variables),
        *(
            label
            for kind in KINDS[1:]
            for label in layer_labels(model, order, called, kind)
        ),
    ]


def weight_labels(
    model: keras.Model, order: list[keras.layers.Layer], variables: Iterable[Any]
) -> list[tuple[int, str, str]]:
    """Names the gradients of variables; layer 0 is that of a variable of no layer."""
    owners = {id(v): n for n, la in enumerate(order, start=1) for v in la.variables}
    return [
        (owners.get(id(v), 0), _short(getattr(v, "path", v.name), model), KINDS[0])
        for v in variables
    ]


def layer_labels(
    model: keras.Model,
    order: list[keras.layers.Layer],
    called: list[keras.layers.Layer],
    kind: str,
) -> list[tuple[int, str, str]]:
    """Names what the calls of layers have put out; `order` gives the numbers."""
    numbers = {id(layer): number for number, layer in enumerate(order, start=1)}
    return [(numbers[id(la)], _short(la.path or la.name, model), kind) for la in called]


def _short(path: str, model: keras.Model) -> str:
    """A Keras path without the model's own name in front."""
    return path.removeprefix(f"{model.name}/")


def _dense(gradient: Any) -> tf.Tensor | None:
    """An embedding's sparse gradient as a tensor; `None` stays `None`."""
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _row_statistics(rows: tf.Tensor) -> tf.Tensor:
    """Statistics of each row of a floating matrix, `(rows, 5)`, float64."""
    values, offset, zero, nonfinite = _decoded(rows)
    largest = tf.reduce_max(values, axis=1)
    relative = values / tf.where(largest > 0, largest, 1.0)[:, None]
    spread = tf.sqrt(tf.reduce_sum(relative * relative, axis=1))
    zero_share = tf.reduce_mean(tf.cast(zero, tf.float64), axis=1)
    bad_share = tf.reduce_mean(tf.cast(nonfinite, tf.float64), axis=1)
    infinite = tf.constant(np.inf, tf.float64)
    log10_max = _log10(largest) + offset
    log10_norm = log10_max + _log10(tf.maximum(spread, 1.0))
    log10_mean = log10_max + _log10(tf.reduce_mean(relative, axis=1))
    logarithms = [
        tf.where(bad_share > 0, infinite, values)
        for values in (log10_norm, log10_max, log10_mean)
    ]
    return tf.stack([*logarithms, zero_share, bad_share], axis=1)


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / np.log(10.0)


def _decoded(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Magnitudes as float64, read from the bits.

    TensorFlow treats subnormal operands as zero, so their value is taken from the
    bit pattern as an integer. Rows near the bottom of float64 come multiplied by
    2**100; `offset` is what this takes off their base-10 logarithm.
    """
    if rows.dtype != tf.float64:
        rows = tf.cast(rows, tf.float32)
    wide = rows.dtype == tf.float64
    integer, digits, lowest = (tf.int64, 52, -1074) if wide else (tf.int32, 23, -149)
    sign_off = (1 << (63 if wide else 31)) - 1
    bits = tf.bitwise.bitwise_and(tf.bitcast(rows, integer), sign_off)
    infinity = tf.constant(((1 << (11 if wide else 8)) - 1) << digits, integer)
    nonfinite = bits >= infinity
    smallest_normal = tf.constant(1 << digits, integer)
    normal = tf.cast(tf.abs(tf.where(nonfinite, tf.zeros_like(rows), rows)), tf.float64)
    low = tf.reduce_max(bits, axis=1, keepdims=True) < tf.constant(
        (124 << 52) if wide else 0, integer
    )
    lift = tf.where(low, tf.constant(2.0**100, tf.float64), 1.0)
    mantissa = tf.cast(bits, tf.float64) * 2.0 ** (lowest + 100)
    subnormal = mantissa if wide else mantissa * 2.0**-100
    values = tf.where(bits < smallest_normal, subnormal, normal * lift)
    offset = tf.where(low[:, 0], tf.constant(-100 * np.log10(2.0), tf.float64), 0.0)
    return values, offset, bits == 0, nonfinite
