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
QUICK_STATISTICS = 2  # the first so many are taken whether one looks closely or not


def batch_statistics(
    model: keras.Model, x: Any, y: Any, y_pred: Any, sample_weight: Any, closely: Any
) -> tf.Tensor:
    """Describes a batch: inputs, targets, outputs, and what the loss owes to them.

    Args:
        model: A compiled model.
        x: Inputs of the step; floating and integer tensors of any structure.
        y: Targets. Of several only whether they are finite is said.
        y_pred: Outputs of the model.
        sample_weight: Weights of the loss, or `None`.
        closely: Whether to take all numbers; a boolean tensor.

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
    inputs, targets = _numeric(x), _numeric(y)
    quick = tf.stack([_nonfinite(inputs), _nonfinite(targets)])
    rest = len(BATCH_STATISTICS) - QUICK_STATISTICS
    unknown = tf.fill([rest], tf.constant(np.nan, tf.float64))
    slow = tf.cond(
        tf.convert_to_tensor(closely),
        lambda: _described(model, inputs, targets, y, y_pred, sample_weight),
        lambda: unknown,
    )
    return tf.concat([quick, slow], axis=0)


def _described(
    model: keras.Model,
    inputs: list[tf.Tensor],
    targets: list[tf.Tensor],
    y: Any,
    y_pred: Any,
    sample_weight: Any,
) -> tf.Tensor:
    outputs = _numeric(y_pred)
    one = len(targets) == len(outputs) == 1
    samples = tf.shape(outputs[0])[0] if outputs else np.nan
    parts = [
        [samples],
        [*_moments(inputs)[:2], _largest(inputs)],
        _of_targets(targets[0]) if one else [np.nan] * 8,
        _of_outputs(outputs[0]) if one else [np.nan] * 5,
        [
            _loss_of_mean(model, y, y_pred, sample_weight) if one else np.nan,
            _sum([tf.cast(loss, tf.float64) for loss in model.losses]),
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


def _nonfinite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The share of Inf and NaN in all tensors together."""
    floating = [tensor for tensor in tensors if tensor.dtype.is_floating]
    if not floating:
        return tf.zeros([], tf.float64)
    bad = [tf.math.logical_not(tf.math.is_finite(tensor)) for tensor in floating]
    count = _sum([tf.reduce_sum(tf.cast(part, tf.float64)) for part in bad])
    return count / tf.maximum(_sum([_size(tensor) for tensor in floating]), 1.0)


def _moments(tensors: Sequence[tf.Tensor]) -> list[Any]:
    """Mean, standard deviation, smallest and largest of all elements together."""
    if not tensors:
        return [np.nan] * 4
    cast = [tf.reshape(tf.cast(tensor, tf.float64), [-1]) for tensor in tensors]
    count = _sum([_size(tensor) for tensor in tensors])
    mean = _sum([tf.reduce_sum(part) for part in cast]) / count
    square = _sum([tf.reduce_sum(tf.square(part - mean)) for part in cast]) / count
    least = tf.reduce_min(tf.stack([tf.reduce_min(part) for part in cast]))
    highest = tf.reduce_max(tf.stack([tf.reduce_max(part) for part in cast]))
    return [mean, tf.sqrt(square), least, highest]


def _largest(tensors: Sequence[tf.Tensor]) -> Any:
    if not tensors:
        return np.nan
    parts = [tf.reduce_max(tf.abs(tf.cast(t, tf.float64))) for t in tensors]
    return tf.reduce_max(tf.stack(parts))


def _of_targets(target: tf.Tensor) -> list[Any]:
    mean, std, least, highest = _moments([target])
    rows = _rows(target)
    width = tf.range(tf.shape(rows)[1])
    code = tf.linalg.matvec(rows, tf.cos(tf.cast(width, tf.float64)))
    return [mean, std, least, highest, *_sums(target), *_moments([code])[:2]]


def _of_outputs(output: tf.Tensor) -> list[Any]:
    _, _, least, highest = _moments([output])
    rows = _rows(output)
    spread = tf.sqrt(tf.reduce_mean(tf.square(rows - tf.reduce_mean(rows, axis=0))))
    return [least, highest, *_sums(output), spread]


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """A row a sample."""
    batch = tf.shape(tensor)[:1]
    return tf.reshape(tf.cast(tensor, tf.float64), tf.concat([batch, [-1]], axis=0))


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


def _sum(values: Sequence[Any]) -> tf.Tensor:
    return tf.add_n(list(values)) if values else tf.zeros([], tf.float64)


def _size(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.size(tensor), tf.float64)
