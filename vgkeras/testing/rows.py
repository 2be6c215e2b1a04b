"""What an assertion looks at: the rows of a log, or of one pass over a model."""

import numbers
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from vgkeras import _checks, diagnosis
from vgkeras.logs import KINDS, GradientLog

WEIGHT_GRADIENT = (KINDS[0],)


def of_assertions(caught: Any) -> bool:
    """For `__tracebackhide__`: pytest then shows the failed test, not this code."""
    return caught.errisinstance(AssertionError)


def select_rows(
    log_or_model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Any = KINDS,
    steps: Any = None,
    exclude: Any = (),
    learning_rate: float = 0.01,
) -> GradientLog:
    """A log of the rows that an assertion looks at; its arguments are checked."""
    __tracebackhide__ = of_assertions
    kinds = _checks.check_each("kinds", kinds, _check_kind)
    exclude = check_exclude(exclude)
    log = diagnosis.log_of(log_or_model, x, y, loss, learning_rate, sample_weight)
    if WEIGHT_GRADIENT[0] in kinds and not log.layers["kind"].eq(KINDS[0]).any():
        _check_trained(log, log_or_model)
    layers = diagnosis.with_known_zeros(log.layers)  # before steps are left out
    layers = _at_steps(layers[layers["kind"].isin(kinds)], steps)
    layers = layers[~rows_named(layers, exclude)]
    if layers.empty:
        raise ValueError(
            "`log_or_model` must have rows to look at. Received: no row of "
            f"kinds={kinds!r} that exclude={exclude!r} leaves."
        )
    return log.replace(layers=layers.reset_index(drop=True))


def _check_trained(log: GradientLog, log_or_model: Any) -> None:
    """Raises if there is no gradient because all layers are frozen."""
    __tracebackhide__ = of_assertions
    frozen = log.metadata.get("frozen_layers")
    if log_or_model is not log:
        from vgkeras import tape  # loads TensorFlow

        frozen = tape.frozen_layers(log_or_model)
    if frozen:
        raise AssertionError(
            f"Nothing is trained, and no gradient computed: {', '.join(frozen)} "
            f"{'are' if len(frozen) > 1 else 'is'} frozen. Set `layer.trainable` to "
            "True, and compile the model again."
        )


def rows_named(
    layers: pd.DataFrame, exclude: list[Any], *, strict: bool = True
) -> pd.Series:
    """Whether each row is of an excluded layer; `strict` refuses what is not there."""
    mask = pd.Series(False, index=layers.index)
    for entry in exclude:
        rows = _rows_of_entry(layers, entry)
        if strict and not rows.any():
            raise ValueError(
                "`exclude` must name layers or variables that are there. Received: "
                f"{entry!r}, which is none of {list(layers['name'].unique())}."
            )
        mask |= rows
    return mask


def _rows_of_entry(layers: pd.DataFrame, entry: str | int) -> pd.Series:
    if isinstance(entry, int):
        return layers["layer"] == entry
    return layers["name"].isin(
        name
        for name in layers["name"].unique()
        if fnmatchcase(name, entry) or name.startswith(f"{entry}/")
    )


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


def row_identity(layers: pd.DataFrame) -> list[pd.Series]:
    """What makes rows of several steps the same row; the last is the call's number."""
    within = ["run", "step", "layer", "name", "kind"]
    call = layers.groupby(within, observed=True).cumcount()
    names = [layers[column].astype("str") for column in ("name", "kind")]
    return [layers["run"], layers["layer"], *names, call]
