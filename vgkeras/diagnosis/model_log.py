"""A log, or a model measured once as a log of one run."""

import math
import sys
from typing import Any

import pandas as pd

from vgkeras._checks import check_positive
from vgkeras.floats import computed_in
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


def is_model(value: Any) -> bool:
    """Whether a value is a Keras model; Keras is not loaded to tell."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.Model)


def _check_model(model: Any) -> Any:
    """Returns `model`, or raises; TensorFlow is not loaded for a wrong one."""
    if not is_model(model):
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
        asleep = _asleep(taped.gradients)
        awake = _after_one_step(objective, taped) if asleep else None
    rate = math.nan if rate is None else rate
    values = [variable.value for variable in model.trainable_variables]
    # What a step of plain SGD would do; NaN without a rate.
    step = tape.update_statistics(values, taped.gradients, rate).numpy()
    step = pd.DataFrame(step, columns=list(tape.UPDATE_STATISTICS))
    layers = taped.table().assign(run=0, step=0).join(step)
    if awake is not None:
        smallest = computed_in(tape.policy_name(model)).smallest_normal
        layers = _without_sleepers(layers, awake.table(), math.log10(smallest))
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
        losses=pd.DataFrame(
            {"run": [0], "step": [0], "loss": [float(taped.loss)]}
        ).assign(**_of_targets(objective.batch.y)),
        layers=layers[[*LAYER_COLUMNS, "log10_weight"]],
        metadata={"facts": tape.model_facts(model)},
    )


def _of_targets(y: Any) -> dict[str, float]:
    """How large targets are, of a single array of numbers."""
    import numpy as np

    if y is None or isinstance(y, list | tuple | dict):
        return {}
    numbers = np.asarray(y)
    if numbers.dtype.kind != "f" or not numbers.size:
        return {}
    numbers = numbers.astype(np.float64)
    return {"target_mean": float(numbers.mean()), "target_std": float(numbers.std())}


def _asleep(gradients: list[Any]) -> bool:
    """Whether some gradients are exactly 0 and others are not."""
    import numpy as np

    present = [np.asarray(g) for g in gradients if g is not None]
    zero = [not gradient.any() for gradient in present]
    return any(zero) and not all(zero)


def _after_one_step(objective: Any, taped: Any) -> Any:
    """A second pass after one small update, which opens what only starts closed.

    Factors that start at 0 (ReZero, the zero half of LoRA, a zero gamma) let nothing
    back before their first update.
    """
    from vgkeras import tape

    for variable, gradient in zip(
        objective.model.trainable_variables, taped.gradients, strict=True
    ):
        if gradient is not None:
            largest = float(abs(gradient.numpy()).max())
            if 0 < largest < math.inf:
                variable.assign_sub(gradient * (_NUDGE / largest))
    return tape.tape_pass(objective)


_NUDGE = 1e-3  # largest change of a weight


def _without_sleepers(
    before: pd.DataFrame, after: pd.DataFrame, smallest: float
) -> pd.DataFrame:
    """The rows of the first pass; gradients that were 0 and no longer are, from after.

    `smallest` is the logarithm of the smallest normal number of the format: below it a
    gradient comes and goes by rounding, which is no awakening.

    A branch that wakes has no fault. How large a step woke it is arbitrary, so that
    what it passes on stands for nothing.
    """
    wakes = (before["log10_norm"] == -math.inf) & (after["log10_max"] >= smallest)
    weights = wakes & (before["kind"] == KINDS[0])
    measured = [c for c in after.columns if c.startswith(("log10", "zero", "nonfin"))]
    before = before.copy()
    before.loc[weights, measured] = after.loc[weights, measured]
    before.loc[weights, ["update_ratio", "frozen_fraction"]] = math.nan
    before.loc[wakes & ~weights, measured] = math.nan
    return before
