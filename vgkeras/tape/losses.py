"""One loss of models with any outputs, each of them under any loss of Keras."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

LossFunction = Callable[[Any, Any, Any], tf.Tensor]
_MEAN_SQUARES = ("mse", "mean_squared_error", "MeanSquaredError")


def check_loss(loss: Any) -> LossFunction:
    """Returns a function `(y, y_pred, sample_weight) -> scalar`, or raises.

    A name is evaluated in the format of `y_pred`: the class of that name would compute
    in `keras.config.floatx()`, and round a float64 model. Integer labels have no place
    in a narrow format; with them it is at least `floatx()`, as for other functions.
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
    return functools.partial(_mean_loss, function, isinstance(loss, str))


def _mean_loss(
    function: Callable, by_name: bool, y: Any, y_pred: Any, weight: Any = None
) -> tf.Tensor:
    """The mean that Keras takes of a function: by rank, mask and sample weight."""
    dtype = keras.backend.standardize_dtype(y_pred.dtype)
    if not (by_name and tf.convert_to_tensor(y).dtype.is_floating):
        dtype = keras.backend.result_type(dtype, keras.config.floatx())
    loss = keras.losses.MeanSquaredError(dtype=dtype)
    loss.fn = function  # Keras exports its wrapper of functions only with one in it
    if weight is None and getattr(y_pred, "_keras_mask", None) is None:
        # Keras divides a sum, which in a narrow format overflows long before the mean.
        loss.reduction = None
        return keras.ops.mean(loss(y, y_pred))
    return loss(y, y_pred, weight)


def total_loss(loss: Any) -> LossFunction:
    """As `check_loss`, adding up the losses of a model with several outputs."""
    single = not isinstance(loss, list | tuple | dict)
    functions = keras.tree.map_structure(check_loss, loss)

    def total(y: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        outputs = _matched("y", y_pred, y_pred)
        targets = _matched("y", y, y_pred)
        losses = [functions] * len(outputs)
        if not single:
            losses = _matched("loss", functions, y_pred)
        weights = [weight] * len(outputs)
        if isinstance(weight, list | tuple | dict):
            weights = _matched("sample_weight", weight, y_pred)
        rows = zip(losses, targets, outputs, weights, strict=True)
        return total_of([f(*row) for f, *row in rows])

    return total


def is_mse(loss: Any) -> bool:
    """Whether a loss, or its name, is the mean squared error."""
    name = loss if isinstance(loss, str) else type(loss).__name__
    return name in _MEAN_SQUARES


def total_of(parts: list[tf.Tensor]) -> tf.Tensor:
    """The sum of parts of a loss, in the format of the first."""
    return tf.add_n([tf.cast(part, parts[0].dtype) for part in parts])


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
