"""train(): a short training run of any Keras model, every gradient logged."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras._checks import check_every, check_positive, check_positive_int
from vgkeras.logs import (
    CALL,
    LAYER_COLUMNS,
    GradientLog,
    logged_steps,
    run_table,
    versions,
)
from vgkeras.tape import (
    STATISTICS,
    UPDATE_STATISTICS,
    Batch,
    Objective,
    check_optimizer,
    frozen_layers,
    garbage,
    is_mse,
    objective_of,
    statistics,
    tape_pass,
    update_statistics,
    variables_restored,
)
from vgkeras.theory import predictions, run_outcomes

_MEASURES = (*STATISTICS, *UPDATE_STATISTICS)
# What is inside is called once for each point in time, maybe in a loop.
WHOLE = (keras.layers.RNN, keras.layers.TimeDistributed)


class Step(NamedTuple):
    """A finished step of a run: `step` updates were made, the loss is `loss`."""

    step: int
    loss: float


def train(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
    optimizer: str | keras.optimizers.Optimizer = "sgd",
    loss: Any = None,
    sample_weight: Any = None,
    every: int | None = 1,
) -> GradientLog:
    """Trains a model on one batch and logs every gradient on the way.

    Each step is one `tf.GradientTape` over the model, measured before the update.
    The default is plain gradient descent. The model holds the final weights.
    `Training` is the same run as an iterator, for a progress bar or an early stop.

    Args:
        model: Any Keras model. It is trained in place.
        x: Inputs, shape `(samples, ...)`, or a list or dict of them; or a batch with
            its targets, as `gradient_norms` takes it.
        y: Targets, in the structure of the model's outputs.
        steps: Number of updates.
        learning_rate: Learning rate; ignored if `optimizer` is an object.
        optimizer: A Keras optimizer or its name.
        loss: A Keras loss, its name, any callable `(y, y_pred)`, or one for each
            output. Default: that of `compile()`. Regularizers and `add_loss` are part
            of it either way.
        sample_weight: Weights of the samples, as in `fit`.
        every: Log the layers at steps 0, `every`, 2 `every`, ... and the last.
            `None` logs losses only. The run is the same, whatever is logged.

    Returns:
        A `GradientLog` of one run: losses of steps 0 to `steps`, statistics of
        every weight gradient, activation and activation gradient. For a stack of
        scaled identities `log.theory` holds the closed form.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> model = vg.build_stack(depth=10, scale=0.9)  # doctest: +SKIP
        >>> vg.train(model, x, y, steps=50).losses  # doctest: +SKIP
    """
    training = Training(
        model,
        x,
        y,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        loss=loss,
        sample_weight=sample_weight,
        every=every,
    )
    for _ in training:
        pass
    return training.log()


class Training:
    """A training run as an iterator of its steps.

    Iterating trains: step 0 is the loss before the first update, each further
    step one update. Leave the loop at any time; `log()` holds what was run, and
    a second loop goes on from there.

    The arguments are those of `train`.

    Example:
        >>> training = vg.Training(model, x, y, steps=500)  # doctest: +SKIP
        >>> for step, loss in training:  # doctest: +SKIP
        ...     if loss < 1e-3:
        ...         break
        >>> log = training.log()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        *,
        steps: int = 200,
        learning_rate: float = 0.05,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        loss: Any = None,
        sample_weight: Any = None,
        every: int | None = 1,
    ) -> None:
        objective = objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
        self._model = _trainable(objective.model)
        self._objective = _in_format(objective)
        self._steps = check_positive_int("steps", steps)
        self._every = check_every(every)
        self._logged_steps = frozenset(logged_steps(self._steps, self._every))
        self._optimizer = _optimizer(optimizer, learning_rate)
        self._loss_is_mse = is_mse(self._model.loss if loss is None else loss)
        self._losses: list[float] = []
        self._tables: dict[int, np.ndarray] = {}
        self._labels: list[tuple[int, str, str]] = []
        self._sizes: list[int] = []
        self._calls: list[int] = []
        # One graph for logged and unlogged steps: the gradients cannot differ.
        self._pass = tf.function(self._traced_pass, autograph=False)
        self._update = tf.function(self._traced_update, autograph=False)
        self._statistics = tf.function(statistics, autograph=False)
        self._update_statistics = tf.function(update_statistics, autograph=False)
        self._build()
        self._kernels = linear_kernels(model)

    def __iter__(self) -> Iterator[Step]:
        while len(self._losses) <= self._steps:
            with garbage.paused():  # the first step builds the graphs
                step = self._take_step(len(self._losses))
            yield step

    def log(self) -> GradientLog:
        """Returns the log of the steps run so far.

        Raises:
            RuntimeError: If no step was run yet.
        """
        if not self._losses:
            raise RuntimeError("No step was run yet. Iterate over the training first.")
        losses = pd.DataFrame(
            {"run": 0, "step": np.arange(len(self._losses)), "loss": self._losses}
        )
        log = GradientLog(
            runs=self._run_row(),
            losses=losses,
            layers=self._layer_rows(),
            metadata={"origin": "measured by vgkeras.train", "versions": versions()},
            theory=self._theory(),
        )
        return run_outcomes.with_outcomes(log)

    def _build(self) -> None:
        """Creates all variables now: a traced function may not create any."""
        if not self._optimizer.built:
            self._optimizer.build(self._model.trainable_variables)
        with variables_restored(self._model):
            self._loss_zero = self._objective.zero_loss()

    def _take_step(self, step: int) -> Step:
        loss, gradients, tensors = self._pass()
        if step in self._logged_steps:
            rows = self._statistics(tensors).numpy()
            updates = np.full((len(rows), len(UPDATE_STATISTICS)), np.nan)
            updates[: len(gradients)] = self._make_update(step, gradients)
            self._tables[step] = np.hstack([rows, updates])
        elif step < self._steps:
            self._update(gradients)
        self._losses.append(float(loss))
        return Step(step, self._losses[-1])

    def _make_update(self, step: int, gradients: list[tf.Tensor]) -> np.ndarray:
        """Makes the update; returns the `UPDATE_STATISTICS` of each variable.

        Plain descent says beforehand what it will do, so that its ratio is right even
        where the update rounds away. Other optimizers are read off what they did; what
        they would do after the last step nobody knows.
        """
        variables = self._model.trainable_variables
        before = [tf.identity(v.value) for v in variables]
        if step < self._steps:
            self._update(gradients)
        if _is_plain_descent(self._optimizer):
            rate = tf.cast(self._optimizer.learning_rate, tf.float64)
            return self._update_statistics(before, gradients, rate).numpy()
        if step == self._steps:
            return np.full((len(variables), len(UPDATE_STATISTICS)), np.nan)
        moves = [b - v.value for b, v in zip(before, variables, strict=True)]
        one = tf.constant(1.0, tf.float64)
        return self._update_statistics(before, moves, one).numpy()

    def _traced_pass(self) -> tuple[tf.Tensor, list[Any], list[Any]]:
        result = tape_pass(self._objective, whole=WHOLE)
        self._labels, self._sizes = result.labels, result.sizes
        self._calls = result.calls
        pairs = zip(result.gradients, self._model.trainable_variables, strict=True)
        gradients = [tf.zeros_like(v.value) if g is None else g for g, v in pairs]
        return result.loss, gradients, result.tensors

    def _traced_update(self, gradients: list[tf.Tensor]) -> None:
        self._optimizer.apply(gradients, self._model.trainable_variables)

    def _run_row(self) -> pd.DataFrame:
        scale = identity_scale(self._kernels)
        x, y, _ = self._objective.batch
        return run_table(
            depth=max(layer for layer, _, _ in self._labels),
            units=_units(x),
            output_units=_units(y),
            scale=np.nan if scale is None else _shortest(scale, self._kernels),
            optimizer=type(self._optimizer).__name__.lower(),
            learning_rate=float(self._optimizer.learning_rate),
            steps=len(self._losses) - 1,
            dtype=self._model.trainable_variables[0].dtype,
            samples=int(keras.tree.flatten(x)[0].shape[0]),
            loss_zero=self._loss_zero,
        )

    def _layer_rows(self) -> pd.DataFrame:
        if not self._tables:
            return pd.DataFrame(columns=list(LAYER_COLUMNS))
        labels = pd.DataFrame(self._labels, columns=["layer", "name", "kind"])
        labels = labels.astype({"name": "category", "kind": "category"})
        labels = labels.assign(run=0, size=self._sizes, call=self._calls)
        frame = pd.concat([labels] * len(self._tables), ignore_index=True)
        frame["step"] = np.repeat(list(self._tables), len(labels))
        frame[list(_MEASURES)] = np.concatenate(list(self._tables.values()))
        shared = [CALL] if max(self._calls) > 1 else []
        return frame[[*LAYER_COLUMNS, *shared]]

    def _theory(self) -> GradientLog | None:
        """The closed form, where the model started as a stack of scaled identities."""
        scale = identity_scale(self._kernels)
        x, y, weight = self._objective.batch
        plain = _is_plain_descent(self._optimizer) and self._loss_is_mse
        if scale is None or not plain or weight is not None or x.shape.rank != 2:
            return None
        runs = self._run_row()
        losses, layers = predictions.predict_run(
            scale,
            len(self._kernels),
            x.numpy().astype(np.float64),
            y.numpy().astype(np.float64),
            steps=self._steps,
            learning_rate=float(runs["learning_rate"].iloc[0]),
            every=self._every,
            last_kernel=self._kernels[-1].astype(np.float64),
        )
        log = GradientLog(runs, losses, layers, {"origin": "theory"})
        return run_outcomes.with_outcomes(log) if len(losses) > 1 else log


def _trainable(model: keras.Model) -> keras.Model:
    """Returns `model`, or raises if nothing of it is trained."""
    if not model.trainable_variables:
        raise ValueError(
            "`model` must have a variable that is trained. Received: "
            f"{model.name!r}, of which all is frozen: {frozen_layers(model)}. "
            "Set `layer.trainable = True`."
        )
    return model


def _optimizer(optimizer: Any, learning_rate: Any) -> keras.optimizers.Optimizer:
    rate = check_positive("learning_rate", learning_rate)
    if isinstance(optimizer, keras.optimizers.Optimizer):
        return optimizer
    fresh = check_optimizer(optimizer)
    fresh.learning_rate = rate
    return fresh


def linear_kernels(model: keras.Model) -> list[np.ndarray]:
    """The kernels of a stack of linear Dense layers without bias; else nothing."""
    layers = model.layers
    for layer in layers:
        if type(layer) is not keras.layers.Dense or layer.use_bias:
            return []
        if layer.activation is not keras.activations.linear:
            return []
    return [keras.ops.convert_to_numpy(layer.kernel) for layer in layers]


def identity_scale(kernels: list[np.ndarray]) -> float | None:
    """The `c` of kernels that are all `c * I` but for the last; else `None`."""
    if not kernels:
        return None
    scale = kernels[0].astype(np.float64)[0, 0]
    for kernel in kernels[:-1] or kernels:
        if not np.array_equal(kernel, scale * np.eye(*kernel.shape)):
            return None
    return float(scale)


def _shortest(scale: float, kernels: list[np.ndarray]) -> float:
    """The scale as it was written: 0.9, not the 0.89999998 that float32 holds."""
    return float(str(kernels[0].dtype.type(scale)))


def _is_plain_descent(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the update is exactly `learning_rate * gradient`."""
    altered = ("weight_decay", "clipnorm", "global_clipnorm", "clipvalue")
    return (
        type(optimizer) is keras.optimizers.SGD
        and optimizer.momentum == 0
        and all(getattr(optimizer, name, None) is None for name in altered)
    )


def _in_format(objective: Objective) -> Objective:
    """The same with floating inputs and targets in the format of the model."""
    variables = objective.model.trainable_variables
    if not variables:
        return objective

    def cast(value: Any) -> Any:
        floating = tf.is_tensor(value) and value.dtype.is_floating
        return tf.cast(value, variables[0].dtype) if floating else value

    x, y, weight = objective.batch
    x, y = (
        part if part is None else keras.tree.map_structure(cast, part)
        for part in (x, y)
    )
    return replace(objective, batch=Batch(x, y, weight))


def _units(values: Any) -> int:
    """The width of a single array of at least two axes; else 0, not known."""
    if tf.is_tensor(values) and values.shape.rank > 1:
        return int(values.shape[-1])
    return 0
