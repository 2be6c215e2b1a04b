"""Gradients through time: by the state and the input at every step, in one pass."""

import functools
import math
from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras.logs import KINDS, LAYER_COLUMNS, TIME, GradientLog, run_table, versions
from vgkeras.tape.calls import layer_calls
from vgkeras.tape.labels import measured_layers, short_path, weight_labels
from vgkeras.tape.losses import is_mse
from vgkeras.tape.model_pass import dense_gradient
from vgkeras.tape.models import (
    check_model,
    policy_name,
    recurrent_layers,
    variables_restored,
)
from vgkeras.tape.objective import Batch, Objective, objective_of
from vgkeras.tape.tensor_statistics import STATISTICS, statistics
from vgkeras.tape.time_steps import TimeSteps, anchor, time_steps
from vgkeras.theory import recurrent_form

TimeLabel = tuple[int, str, str, int]  # layer, name, kind, time step


def gradient_through_time(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    sample_weight: Any = None,
) -> GradientLog:
    """Measures the gradient by the state and the input at every time step.

    One `tf.GradientTape` over the model's own forward pass, whatever its recurrent
    layers are: `SimpleRNN`, `LSTM`, `GRU`, bidirectional, stacked, of cells of your
    own; with masks, and whether they return sequences or not. Nothing is trained, and
    every variable is left as it was. How a gradient fades on its way back to the first
    step says how far the model's memory reaches before it has learned anything.

    Args:
        model: A Keras model with a recurrent layer.
        x: Inputs, batch first: an array, or a list or dict of them. Without `y` also
            a batch or a dataset, as `gradient_norms` takes them.
        y: Targets, in the structure of the model's outputs.
        loss: A Keras loss, its name, a callable `(y, y_pred)`, or one for each output.
            Default: the loss of `compile()`.
        sample_weight: Weights of the samples, as in `fit`.

    Returns:
        A `GradientLog` of one run at step 0. Its `layers` have a column `time`. A row
        of kind `"state_gradient"` is the gradient by the state that a layer hands on
        at time step 1, 2, ... of its input, all ways to the loss counted; its name
        ends in `h`, of an LSTM's cell state in `c`, and in `backwards` where a layer
        reads its input from the end. One of kind `"input_gradient"` is
        that by what the layer receives there. Samples whose step is masked have none.
        `"weight_gradient"` rows are those of the whole pass, with `time` 0.
        `log10_norm` is the base-10 logarithm of the Frobenius norm over the batch.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If `model` has no recurrent layer; if `loss` is no Keras loss, or
            is left out with a model that has none; if data are missing or do not match.

    Example:
        >>> log = vg.gradient_through_time(model, x, y)  # doctest: +SKIP
        >>> vg.charts.gradient_by_time(log)  # doctest: +SKIP
    """
    if not recurrent_layers(check_model(model)):
        raise ValueError(
            "`model` must have a recurrent layer (a `keras.layers.RNN`, such as LSTM). "
            f"Received: {model.name!r} without one. `vg.gradient_norms` measures it."
        )
    objective = objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    with variables_restored(model):
        result = through_time_pass(objective, anchor())
    layers = result.table()
    squared = is_mse(model.loss if loss is None else loss)
    exact = _theory(model, objective.batch, layers) if squared else None
    return GradientLog(
        runs=run_table(
            depth=layers.loc[layers["kind"] == KINDS[0], "layer"].nunique(),
            scale=math.nan if exact is None else exact.runs["scale"],
            dtype=policy_name(model),
        ),
        losses=pd.DataFrame({"run": [0], "step": [0], "loss": [float(result.loss)]}),
        layers=layers,
        metadata={
            "origin": "measured by vgkeras.gradient_through_time",
            "versions": versions(),
            "model": model.name,
        },
        theory=exact,
    )


def _theory(
    model: keras.Model, batch: Batch, layers: pd.DataFrame
) -> GradientLog | None:
    """The same rows in closed form, of a linear layer with the kernel `c * I` alone."""
    recurrence = linear_recurrence(model)
    if recurrence is None or batch.sample_weight is not None:
        return None
    scale, kernel = recurrence
    x, y = np.asarray(batch.x), np.asarray(batch.y)
    form = recurrent_form(scale, x, y, kernel=kernel)
    exact = [
        *(form.log10_kernel_gradient, form.log10_recurrent_gradient),
        *form.log10_input_gradient,
        *form.log10_state_gradient,
    ]
    rows = layers.assign(log10_norm=exact)
    rows[["log10_max", "log10_mean", "zero_fraction", "nonfinite_fraction"]] = np.nan
    loss = pd.DataFrame({"run": [0], "step": [0], "loss": [10**form.log10_loss]})
    runs = run_table(depth=1, scale=scale)
    return GradientLog(runs, loss, rows, {"origin": "theory"})


def linear_recurrence(model: keras.Model) -> tuple[float, np.ndarray] | None:
    """The `c` and the input kernel of a model that is one linear layer, else `None`.

    The layer is a `SimpleRNN` without activation and bias that puts out its last
    state, its recurrent kernel `c * I`.
    """
    if type(model) is not keras.Sequential or len(model.layers) != 1:
        return None
    (layer,) = model.layers
    if type(layer) is not keras.layers.SimpleRNN or not _is_plain(layer):
        return None
    convert = keras.ops.convert_to_numpy
    kernel, recurrent = convert(layer.cell.kernel), convert(layer.cell.recurrent_kernel)
    scale = recurrent[0, 0]
    if not np.array_equal(recurrent, scale * np.eye(len(recurrent))):
        return None
    return float(scale), kernel


def _is_plain(layer: Any) -> bool:
    others = (
        *(layer.use_bias, layer.return_sequences, layer.return_state),
        *(layer.go_backwards, layer.stateful, layer.dropout, layer.recurrent_dropout),
    )
    return layer.activation is keras.activations.linear and not any(others)


class ThroughTimePass(NamedTuple):
    """What one pass has measured; tensors are eager or symbolic."""

    loss: tf.Tensor
    statistics: tf.Tensor  # a row a label, in the columns of `STATISTICS`
    labels: list[TimeLabel]
    sizes: list[int]

    def table(self) -> pd.DataFrame:
        """The rows as those of a log; eager only."""
        frame = pd.DataFrame(self.labels, columns=["layer", "name", "kind", TIME])
        frame[list(STATISTICS)] = self.statistics.numpy()
        frame = frame.assign(run=0, step=0, size=self.sizes)
        frame = frame.assign(frozen_fraction=np.nan, update_ratio=np.nan)
        return frame[[*LAYER_COLUMNS, TIME]]


def through_time_pass(objective: Objective, watched: tf.Variable) -> ThroughTimePass:
    """Runs one tape over the model and measures it, also inside a `tf.function`.

    Args:
        objective: A model with a recurrent layer, data and loss.
        watched: What `anchor` returns.
    """
    model = objective.model
    parts: list[TimeSteps] = []
    calls: list[keras.layers.Layer] = []
    layers = measured_layers(model, whole=(keras.layers.RNN,))
    see_call = functools.partial(_append_layer, calls)
    with (
        tf.GradientTape() as tape,
        time_steps(model, watched, parts.append),
        layer_calls(layers, see_call),
    ):
        loss = objective.loss(objective.outputs())
    values = [variable.value for variable in model.trainable_variables]
    parts = [part for part in parts if is_in(part, _graph(loss))]
    sources = [part.source for part in parts]
    slopes, by_time = tape.gradient(loss, [values, sources])
    slopes = list(map(dense_gradient, slopes, values))
    tables = [_statistics_by_step(*pair) for pair in zip(by_time, sources, strict=True)]
    order = list(dict.fromkeys([*calls, *layers]))
    weights = weight_labels(model, order, model.trainable_variables)
    return ThroughTimePass(
        loss=loss,
        statistics=tf.concat([statistics(slopes), *tables], axis=0),
        labels=[(*label, 0) for label in weights] + time_labels(model, order, parts),
        sizes=[*map(_size, values), *(n for s in sources for n in _sizes(s))],
    )


def by_step(gradient: Any, source: Any) -> tf.Tensor | None:
    """All numbers of a time step in a row; `None` where the loss depends on none."""
    steps = count_of_steps(source)
    if not isinstance(source, list):
        if gradient is None:
            return None
        axes = [1, 0, *range(2, source.shape.rank)]
        return tf.reshape(tf.transpose(gradient, axes), [steps, -1])
    if all(part is None for part in gradient):
        return None
    pairs = zip(gradient, source, strict=True)
    parts = [tf.zeros_like(state) if g is None else g for g, state in pairs]
    return tf.stack([tf.reshape(part, [-1]) for part in parts])


def _statistics_by_step(gradient: Any, source: Any) -> tf.Tensor:
    """Statistics of the gradient at each time step, float64, `(steps, 5)`.

    In the tensors' own precision: a loop's kernels flush subnormal numbers, so that
    there are none to decode.
    """
    rows = by_step(gradient, source)
    if rows is None:
        nothing = tf.constant(np.nan, tf.float64)
        return tf.fill([count_of_steps(source), len(STATISTICS)], nothing)
    finite = tf.math.is_finite(rows)
    magnitudes = tf.abs(tf.where(finite, rows, tf.zeros_like(rows)))
    largest = tf.reduce_max(magnitudes, axis=1)
    relative = magnitudes / tf.where(largest > 0, largest, 1)[:, None]
    columns = [
        tf.sqrt(tf.reduce_sum(relative * relative, axis=1)),
        largest,
        tf.reduce_mean(relative, axis=1),
        tf.reduce_mean(tf.cast(tf.equal(rows, 0), rows.dtype), axis=1),
        1 - tf.reduce_mean(tf.cast(finite, rows.dtype), axis=1),
    ]
    norm, largest, mean, zero, bad = (tf.cast(each, tf.float64) for each in columns)
    top, infinite = _log10(largest), tf.constant(np.inf, tf.float64)
    logarithms = [
        tf.where(bad > 0, infinite, tf.where(largest > 0, each, -infinite))
        for each in (top + _log10(norm), top, top + _log10(mean))
    ]
    return tf.stack([*logarithms, zero, bad], axis=1)


def _log10(values: tf.Tensor) -> tf.Tensor:
    return tf.math.log(values) / math.log(10)


def time_labels(
    model: keras.Model, order: list[keras.layers.Layer], parts: list[TimeSteps]
) -> list[TimeLabel]:
    """Names the rows of `by_step` of each part; `order` numbers the layers.

    Each call of a layer has a time of its own, and from the second on its number.
    """
    numbers = {id(layer): number for number, layer in enumerate(order, start=1)}
    labels: list[TimeLabel] = []
    calls: Counter[tuple[int, str, str]] = Counter()
    for layer, name, kind, source in parts:
        calls[id(layer), name, kind] += 1
        call = calls[id(layer), name, kind]
        path = short_path(layer.path or layer.name, model)
        path = f"{path} (call {call})" if call > 1 else path
        number = numbers.get(id(layer), 0)
        steps = range(1, count_of_steps(source) + 1)
        labels += [(number, f"{path}/{name}", kind, step) for step in steps]
    return labels


def count_of_steps(source: Any) -> int:
    """The number of time steps."""
    steps = len(source) if isinstance(source, list) else source.shape[1]
    if steps is None:
        raise ValueError(
            "`x` must have a fixed number of time steps. Received: a model traced for "
            "any number. Give its `keras.Input` a number of steps, or pad to one."
        )
    return int(steps)


def _append_layer(
    calls: list[keras.layers.Layer], layer: keras.layers.Layer, outputs: list[tf.Tensor]
) -> None:
    calls.append(layer)


def is_in(part: TimeSteps, graph: Any) -> bool:
    """Whether it was computed in that graph (`None`: eagerly), not in a loop of it."""
    return _graph(keras.tree.flatten(part.source)[0]) is graph


def _graph(tensor: Any) -> Any:
    return None if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.graph


def _sizes(source: Any) -> list[int]:
    """Elements of each time step."""
    if isinstance(source, list):
        return list(map(_size, source))
    steps = count_of_steps(source)
    return [_size(source) // steps] * steps


def _size(tensor: tf.Tensor) -> int:
    return math.prod(size or 0 for size in tensor.shape)
