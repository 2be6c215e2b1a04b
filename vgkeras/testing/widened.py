"""A Keras model computing in float64 for a while, whatever format it is of."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vgkeras.tape import Objective, garbage

WIDE = "float64"


@contextlib.contextmanager
def widened(model: keras.Model, loss: Any = None) -> Iterator[None]:
    """Lets a built model, and its Keras losses, compute in float64 for a while.

    Every variable holds a copy of its value, every layer has the policy `float64`.
    Afterwards the model has its own variables and policies again: whatever was done
    to the copies, it is unchanged to the last bit. Models need not be cloned for
    this, so subclassed ones do not need a `get_config`.
    """
    floatx = keras.config.floatx()
    before: list[tuple[Any, str, Any]] = []
    try:
        keras.config.set_floatx(WIDE)
        for owner, name, value in _replacements(model, loss):
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        keras.config.set_floatx(floatx)
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def _replacements(model: keras.Model, loss: Any) -> Iterator[tuple[Any, str, Any]]:
    """The attributes that hold a number format or a value, and what replaces them."""
    for layer in model._flatten_layers():
        yield from _of_layer(layer)
    for variable in model.variables:
        yield variable, "_value", _copy(variable)
        if _is_float(variable.dtype):
            yield variable, "_dtype", WIDE
    for part in keras.tree.flatten(loss):
        if isinstance(part, keras.losses.Loss):
            yield part, "_dtype", WIDE


def _of_layer(layer: keras.layers.Layer) -> Iterator[tuple[Any, str, Any]]:
    """Its policy, and the format that a model's inputs are converted to."""
    yield layer, "_dtype_policy", keras.DTypePolicy(WIDE)
    if isinstance(layer, keras.layers.InputLayer) and _is_float(layer.dtype):
        yield layer, "_dtype", WIDE
    graph = getattr(layer, "_functional", layer)  # a Sequential keeps its own
    for tensor in getattr(graph, "_inputs", None) or ():
        if isinstance(tensor, keras.KerasTensor) and _is_float(tensor.dtype):
            yield tensor, "_dtype", WIDE


class WideCall:
    """What a widened model puts out, as a function of its variables alone.

    That is its outputs, and what it adds to its loss. Before each call the variables
    that are not trained, moving averages and random seeds, are put back: a `Dropout`
    drops the same units every time. `outputs` are those at first, in their structure,
    `added` what was added, `variables` the trainable ones in float64.
    """

    def __init__(self, objective: Objective, training: bool) -> None:
        model = objective.model
        self._objective = objective
        self._training = training
        self._state = [
            (variable.value, tf.identity(variable.value))
            for variable in model.non_trainable_variables
        ]
        self.variables = [variable.value for variable in model.trainable_variables]
        self.outputs, self.added = self._evaluate()  # eagerly: errors name the layer
        self._call = self._evaluate
        if not getattr(model, "run_eagerly", False):
            self._call = tf.function(self._evaluate, autograph=False)

    def arrays(self) -> list[np.ndarray]:
        """The outputs, and what is added, of the variables as they are now; float64."""
        with garbage.paused():  # the first call builds the graph
            outputs = self._call()
        return [part.numpy() for part in keras.tree.flatten(outputs)]

    def gradients(self, cotangents: list[np.ndarray]) -> list[np.ndarray]:
        """Gradient of `sum(cotangents * arrays)` by each variable, by the tape."""
        with tf.GradientTape() as tape:
            outputs = keras.tree.flatten(self._evaluate())
        weights = [tf.constant(part) for part in cotangents]
        gradients = tape.gradient(outputs, self.variables, output_gradients=weights)
        return [
            np.zeros(variable.shape)
            if gradient is None
            else tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(self.variables, gradients, strict=True)
        ]

    def _evaluate(self) -> tuple[Any, list[tf.Tensor]]:
        for variable, value in self._state:
            variable.assign(value)
        outputs = self._objective.outputs(training=self._training)
        return wide(outputs), wide(self._objective.added())


def wide(values: Any) -> Any:
    """Arrays in any nesting as tensors, floating ones in float64."""
    return keras.tree.map_structure(_wide, values)


def _wide(value: Any) -> Any:
    if value is None:  # there are no sample weights
        return None
    tensor = tf.convert_to_tensor(value)
    return tf.cast(tensor, WIDE) if tensor.dtype.is_floating else tensor


def _copy(variable: keras.Variable) -> tf.Variable:
    value = tf.convert_to_tensor(variable._value)
    dtype = WIDE if _is_float(variable.dtype) else value.dtype
    return tf.Variable(tf.cast(value, dtype), trainable=variable.trainable)


def _is_float(dtype: str) -> bool:
    return "float" in dtype
