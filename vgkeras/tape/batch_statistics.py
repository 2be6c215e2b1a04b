"""What a training step is given, and what its model makes of it, in a few numbers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

BATCH_STATISTICS = (
    "input_nonfinite",
    "target_nonfinite",
    "samples",
    "input_mean",
    "input_std",
    "input_max",
    "target_mean",
    "target_std",
    "target_min",
    "target_max",
    "target_sum_min",
    "target_sum_max",
    "target_code",
    "target_code_std",
    "output_min",
    "output_max",
    "output_sum_min",
    "output_sum_max",
    "output_spread",
    "loss_of_mean",
    "penalty",
)


def batch_statistics(
    model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any
) -> tf.Tensor:
    """Describes a batch: inputs, targets, outputs, and what the loss owes to them.

    Args:
        model: A compiled model.
        x: Inputs of the step; floating and integer tensors of any structure.
        y: Targets. Of several only whether they are finite is said.
        y_pred: Outputs of the model.
        sample_weight: Weights of the loss, or `None`.

    Returns:
        A float64 vector of `BATCH_STATISTICS`, NaN where there is no such number:

        - `..._nonfinite`: share of elements that are Inf or NaN.
        - `samples`: how many samples the batch holds.
        - `..._mean, _std, _min, _max`: over all elements; `input_max` is a magnitude.
        - `..._sum_min, _sum_max`: of the sums over the last axis (1 for one-hot
          targets and for probabilities).
        - `target_code, target_code_std`: mean and standard deviation over the batch of
          each sample's target, multiplied with fixed numbers and added up.
        - `output_spread`: root mean square over the batch of what is left of the
          outputs without their mean over the batch.
        - `loss_of_mean`: the loss if the model answered its mean output to every
          sample, and `penalty`, what `model.losses` add to the loss.
    """
    inputs, targets, outputs = map(_numeric, (x, y, y_pred))
    one = len(targets) == len(outputs) == 1
    parts = [
        [_nonfinite(inputs), _nonfinite(targets)],
        [tf.shape(outputs[0])[0] if outputs else np.nan],
        _of_inputs(inputs) if inputs else [np.nan] * 3,
        _of_targets(targets[0]) if one else [np.nan] * 8,
        _of_outputs(outputs[0]) if one else [np.nan] * 5,
        [
            _loss_of_mean(model, y, y_pred, sample_weight) if one else np.nan,
            sum(tf.cast(loss, tf.float64) for loss in model.losses),
        ],
    ]
    return tf.stack([tf.cast(value, tf.float64) for part in parts for value in part])


def _numeric(data: Any) -> list[tf.Tensor]:
    """The dense tensors of numbers in a structure."""
    parts = tf.nest.flatten(data)
    return [
        part
        for part in parts
        if isinstance(part, tf.Tensor)
        and (part.dtype.is_floating or part.dtype.is_integer)
    ]


def _elements(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """All elements in a row."""
    rows = [tf.reshape(tf.cast(tensor, tf.float64), [-1]) for tensor in tensors]
    return tf.concat(rows, axis=0)


def _nonfinite(tensors: Sequence[tf.Tensor]) -> Any:
    """The share of Inf and NaN in all tensors together."""
    floating = [tensor for tensor in tensors if tensor.dtype.is_floating]
    if not floating:
        return 0.0
    bad = tf.math.logical_not(tf.math.is_finite(_elements(floating)))
    return tf.reduce_mean(tf.cast(bad, tf.float64))


def _mean_and_std(values: tf.Tensor) -> list[tf.Tensor]:
    mean = tf.reduce_mean(values)
    return [mean, tf.sqrt(tf.reduce_mean(tf.square(values - mean)))]


def _of_inputs(inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    values = _elements(inputs)
    return [*_mean_and_std(values), tf.reduce_max(tf.abs(values))]


def _of_targets(target: tf.Tensor) -> list[Any]:
    rows = _rows(target)
    width = tf.range(tf.unstack(tf.shape(rows), num=2)[1])
    code = tf.linalg.matvec(rows, tf.cos(tf.cast(width, tf.float64)))
    extremes = [tf.reduce_min(rows), tf.reduce_max(rows)]
    sums = _sums(target)
    return [*_mean_and_std(rows), *extremes, *sums, *_mean_and_std(code)]


def _of_outputs(output: tf.Tensor) -> list[Any]:
    rows = _rows(output)
    apart = rows - tf.reduce_mean(rows, axis=0)
    spread = tf.sqrt(tf.reduce_mean(tf.square(apart)))
    return [tf.reduce_min(rows), tf.reduce_max(rows), *_sums(output), spread]


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """A row a sample."""
    wide = tf.cast(tensor, tf.float64)
    if wide.shape.rank == 2:
        return wide
    batch = tf.shape(wide)[:1]
    return tf.reshape(wide, tf.concat([batch, [-1]], axis=0))


def _sums(tensor: tf.Tensor) -> list[Any]:
    """The smallest and the largest sum over the last axis."""
    if tensor.shape.rank is None or tensor.shape.rank < 2:
        return [np.nan, np.nan]
    sums = tf.reduce_sum(tf.cast(tensor, tf.float64), axis=-1)
    return [tf.reduce_min(sums), tf.reduce_max(sums)]


def _loss_of_mean(model: keras.Model, y: Any, y_pred: Any, weight: Any) -> Any:
    """The compiled loss of the mean output; a loss with metrics of its own has none."""
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None or compiled.metrics:
        return np.nan
    value = compiled(y, mean_outputs(y_pred), weight)
    return np.nan if value is None else value


def mean_outputs(outputs: Any) -> Any:
    """Outputs that answer to every sample what they answer on average."""
    return tf.nest.map_structure(_mean_of_batch, outputs)


def _mean_of_batch(output: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(output, axis=0, keepdims=True)
    return tf.broadcast_to(mean, tf.shape(output))
