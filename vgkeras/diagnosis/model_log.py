"""A log, or a model measured once as a log of one run."""

import math
import sys
from typing import Any

import pandas as pd

from vgkeras._checks import check_positive
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog, run_table


def log_of(
    log_or_model: Any,
    x: Any,
    y: Any,
    loss: Any,
    learning_rate: float | None,
    sample_weight: Any = None,
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
    return _log_of_model(model, x, y, loss, learning_rate, sample_weight)


def _check_model(model: Any) -> Any:
    """Returns `model`, or raises; TensorFlow is not loaded for a wrong one."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise TypeError(
            "`log_or_model` must be a GradientLog or a Keras model. "
            f"Received: log_or_model={model!r}."
        )
    return model


def _log_of_model(
    model: Any, x: Any, y: Any, loss: Any, rate: float | None, sample_weight: Any
) -> GradientLog:
    """One tape pass over the model as a log of one run without an update."""
    from vgkeras import tape

    objective = tape.objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    with tape.variables_restored(model):
        taped = tape.tape_pass(objective)
        zero_map = objective.zero_loss()
    rate = math.nan if rate is None else rate
    values = [variable.value for variable in model.trainable_variables]
    # What a step of plain SGD would do; NaN without a rate.
    step = tape.update_statistics(values, taped.gradients, rate).numpy()
    step = pd.DataFrame(step, columns=list(tape.UPDATE_STATISTICS))
    layers = taped.table().assign(run=0, step=0).join(step)
    norms = tape.statistics(values).numpy()[:, 0]
    layers["log10_weight"] = pd.Series(norms, layers.index[: len(norms)])
    return GradientLog(
        runs=run_table(
            depth=int(layers.loc[layers["kind"] == KINDS[0], "layer"].nunique()),
            optimizer="sgd",
            learning_rate=rate,
            dtype=tape.policy_name(model),
            loss_zero=zero_map,
        ),
        losses=pd.DataFrame({"run": [0], "step": [0], "loss": [float(taped.loss)]}),
        layers=layers[[*LAYER_COLUMNS, "log10_weight"]],
        metadata={"facts": tape.model_facts(model)},
    )
