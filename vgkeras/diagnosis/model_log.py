"""A log, or a model measured once as a log of one run."""

import math
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd

from vgkeras._checks import check_positive
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog, run_table


def log_of(
    log_or_model: Any, x: Any, y: Any, loss: Any, learning_rate: float | None
) -> GradientLog:
    """The log itself, or a log of one tape pass over the model; see `diagnose`."""
    if isinstance(log_or_model, GradientLog):
        if x is not None or y is not None:
            raise ValueError(
                "`x` and `y` must be left out with a log: it holds what was measured. "
                "Received: a GradientLog with data."
            )
        return log_or_model
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    model = _check_model(log_or_model)
    _check_data(x, y)
    return _log_of_model(model, x, y, loss, learning_rate)


def _check_model(model: Any) -> Any:
    """Returns `model`, or raises; TensorFlow is not loaded for a wrong one."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise TypeError(
            "`log_or_model` must be a GradientLog or a Keras model. "
            f"Received: log_or_model={model!r}."
        )
    return model


def _check_data(x: Any, y: Any) -> None:
    missing = [name for name, value in (("x", x), ("y", y)) if value is None]
    if missing:
        raise ValueError(
            "`x` and `y` must be given with a model: its gradients depend on them. "
            f"Received: a model without {' and '.join(missing)}."
        )


def _log_of_model(
    model: Any, x: Any, y: Any, loss: Any, rate: float | None
) -> GradientLog:
    """One tape pass over the model as a log of one run without an update."""
    from vgkeras import tape

    x, total = tape.as_tensors(x), tape.total_loss(loss)
    tape.build_model(model, x)
    with tape.variables_restored(model):
        taped = tape.tape_pass(model, x, y, total)
        zero_map = _zero_loss(model(x), y, total)
    rate = math.nan if rate is None else rate
    values = [variable.value for variable in model.trainable_variables]
    # What a step of plain SGD would do; NaN without a rate.
    step = tape.update_statistics(values, taped.gradients, rate).numpy()
    step = pd.DataFrame(step, columns=list(tape.UPDATE_STATISTICS))
    layers = taped.table().assign(run=0, step=0).join(step)
    return GradientLog(
        runs=run_table(
            depth=int(layers.loc[layers["kind"] == KINDS[0], "layer"].nunique()),
            optimizer="sgd",
            learning_rate=rate,
            dtype=tape.policy_name(model),
            loss_zero=zero_map,
        ),
        losses=pd.DataFrame({"run": [0], "step": [0], "loss": [float(taped.loss)]}),
        layers=layers[list(LAYER_COLUMNS)],
    )


def _zero_loss(outputs: Any, y: Any, total: Callable) -> float:
    """The loss of answering 0 to everything; NaN if it has none."""
    import keras

    value = float(total(y, keras.tree.map_structure(keras.ops.zeros_like, outputs)))
    return value if value >= 0 else math.nan
