"""What an assertion looks at: the rows of a log, or of one pass over a model."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from vgkeras import _checks, diagnosis
from vgkeras.diagnosis import with_known_zeros
from vgkeras.logs import KINDS, GradientLog


def selected(
    log_or_model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any = "mse",
    kinds: Any = KINDS,
    steps: Any = None,
    exclude: Any = (),
    learning_rate: float = 0.01,
) -> GradientLog:
    """A log of the rows that an assertion looks at.

    Args:
        log_or_model: A log, or a Keras model, which is measured in one tape pass.
        x: Inputs of the model; `None` with a log, as `y`.
        y: Targets of the model.
        loss: Loss of the model, or one for each output.
        kinds: Kinds of rows.
        steps: A step or steps that must be in the log, or `None` for all.
        exclude: Layer numbers, names and patterns of rows to leave out.
        learning_rate: Of the step of plain descent that a model is judged by.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or no row is left.
    """
    kinds = _checks.check_each("kinds", kinds, _check_kind)
    exclude = check_exclude(exclude)
    log = _as_log(log_or_model, x, y, loss, learning_rate)
    layers = with_known_zeros(log.layers)  # before steps are left out
    layers = layers[layers["kind"].isin(kinds)]
    layers = _at_steps(layers, steps)
    layers = layers[~named(layers, exclude)]
    if layers.empty:
        raise ValueError(
            "`log_or_model` must have rows to look at. Received: no row of "
            f"kinds={kinds!r} that exclude={exclude!r} leaves."
        )
    return log.replace(layers=layers.reset_index(drop=True))


def named(
    layers: pd.DataFrame, exclude: list[Any], *, strict: bool = True
) -> pd.Series:
    """Whether each row is of a layer or variable that is to be left out.

    `strict` refuses an entry that is of no row.
    """
    gone = pd.Series(False, index=layers.index)
    for entry in exclude:
        found = _matches(layers, entry)
        if strict and not found.any():
            raise ValueError(
                "`exclude` must name layers or variables that are there. Received: "
                f"{entry!r}, which is none of {list(layers['name'].unique())}."
            )
        gone |= found
    return gone


def check_exclude(value: Any) -> list[Any]:
    """Returns `exclude` as a list of strings and layer numbers."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            "`exclude` must be a list or tuple of names, patterns or layer numbers. "
            f"Received: exclude={value!r}."
        )
    return [
        entry
        if isinstance(entry, str)
        else _checks.check_positive_int("exclude", entry)
        for entry in value
    ]


def check_model(name: str, rule: str, value: Any) -> Any:
    """Returns `value`, or raises if it is not a Keras model."""
    import keras  # loads TensorFlow

    if not isinstance(value, keras.Model):
        raise TypeError(f"`{name}` must be {rule}. Received: {name}={value!r}.")
    return value


def check_bool(name: str, value: Any) -> bool:
    """Returns `value`, or raises if it is not a truth value."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}.")
    return value


def check_path(value: Any) -> str:
    """Returns `value` as a file name, or raises."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"`path` must be a file name. Received: path={value!r}.")
    return os.fspath(value)


def check_data(x: Any, y: Any) -> None:
    """Raises if data is missing."""
    if x is None or y is None:
        missing = " and ".join(
            name for name, value in (("x", x), ("y", y)) if value is None
        )
        raise ValueError(
            "`x` and `y` must be given with a model: a batch of inputs and targets. "
            f"Received: no {missing}."
        )


def _as_log(log_or_model: Any, x: Any, y: Any, loss: Any, rate: float) -> GradientLog:
    """The log that was given, or a log of one tape pass over the model."""
    if not isinstance(log_or_model, GradientLog):
        rule = "a GradientLog or a Keras model"
        model = check_model("log_or_model", rule, log_or_model)
        check_data(x, y)
        from vgkeras import tape  # loads TensorFlow, which a log does not need

        return diagnosis.measured_log(model, tape.tensors(x), y, loss, rate)
    if x is not None or y is not None:
        raise ValueError(
            "`x` and `y` must be left out with a log: it holds what was measured. "
            "Received: a GradientLog and data."
        )
    return log_or_model


def _check_kind(name: str, value: Any) -> str:
    return _checks.check_option(name, value, KINDS)


def _at_steps(layers: pd.DataFrame, steps: Any) -> pd.DataFrame:
    if steps is None:
        return layers
    wanted = [steps] if isinstance(steps, numbers.Integral) else steps
    wanted = _checks.check_each("steps", wanted, _checks.check_non_negative_int)
    missing = sorted(set(wanted) - set(layers["step"]))
    if missing:
        raise ValueError(
            "`steps` must be steps that were logged. Received: "
            f"steps={steps!r}, of which {missing} are not in the log."
        )
    return layers[layers["step"].isin(wanted)]


def _matches(layers: pd.DataFrame, entry: str | int) -> pd.Series:
    if isinstance(entry, int):
        return layers["layer"] == entry
    return layers["name"].isin(
        name
        for name in layers["name"].unique()
        if fnmatchcase(name, entry) or name.startswith(f"{entry}/")
    )


WEIGHT_GRADIENT = (KINDS[0],)


def row_identity(layers: pd.DataFrame) -> list[pd.Series]:
    """What makes rows of several steps the same row."""
    within = ["run", "step", "layer", "name", "kind"]
    call = layers.groupby(within, observed=True).cumcount()
    names = [layers[column].astype("str") for column in ("name", "kind")]
    return [layers["run"], layers["layer"], *names, call]
