"""Assertions on gradients, for pytest: of a log, or of any Keras model and its data.

A failure is an `AssertionError` that names the first bad layer and step, the rule, its
threshold and the measured value, and shows every layer in a table.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import _checks, _failures, theory
from vgkeras._failures import decades, number
from vgkeras.logs import KINDS, LOSS_COLUMNS, RUN_COLUMNS, GradientLog

VANISHING = 1e-7  # mean magnitude: SageMaker VanishingGradient, DeepDiagnosis
EXPLODING = 5.0  # norm of the gradient of one variable: NeuroScope
_GRADIENT = (KINDS[0],)


def assert_gradients_finite(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that no gradient holds an Inf or a NaN.

    Args:
        log_or_model: A `GradientLog`, of one run or many, or a Keras model. Of a
            model one tape pass is measured, with `training=True`; the model,
            moving averages and random seeds included, stays as it was.
        x: Inputs of the model, batch first: an array or tensor, or a list or dict
            of them. Not with a log.
        y: Targets, in the structure of the model's outputs. Not with a log.
        loss: A Keras loss, its name, or a callable `(y, y_pred)`. A model with
            several outputs takes one loss for all of them or one for each, in the
            structure of its outputs; they are added up. Not with a log.
        kinds: Kinds of rows that are looked at: of `vgkeras.logs.KINDS`.
        steps: The step or steps of a log to look at. Default: all that it holds.
        exclude: Layers or variables to leave out: layer numbers, names such as
            `"dense_1"` or `"dense_1/kernel"`, or patterns such as `"*/bias"`.

    Raises:
        AssertionError: If a gradient is not finite.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> from vgkeras import testing
        >>> testing.assert_gradients_finite(model, x, y)  # doctest: +SKIP
        >>> testing.assert_gradients_finite(vg.load("fit.parquet"))  # doctest: +SKIP
    """
    log = _measured(log_or_model, x, y, loss, kinds, steps, exclude)
    rule = _Rule(
        problem="is not finite",
        rule="no element is Inf or NaN (SageMaker ExplodingTensor)",
        way_out="Lower the learning rate or the scale of the kernels, or clip; look "
        'at `kinds=("activation",)` for the layer that overflows first.',
    )
    norm = log.layers["log10_norm"]
    _check(log, rule, bad=norm == math.inf, value=norm, beyond=math.nan)


def assert_gradients_connected(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that the loss reaches every variable: no gradient is `None` or all 0.

    In a log, a gradient that is 0 at some steps and not at others is connected; it
    fails if it is `None`, or exactly 0 at every step looked at. `steps=0` asks that
    of the first step alone.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that are looked at.
        steps: The step or steps of a log to look at.
        exclude: Layers or variables to leave out.

    Raises:
        AssertionError: If a gradient is `None`, or exactly 0 throughout.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.assert_gradients_connected(model, x, y)  # doctest: +SKIP
    """
    log = _measured(log_or_model, x, y, loss, kinds, steps, exclude)
    rule = _Rule(
        problem="does not come from the loss",
        rule="no gradient is None, or exactly 0 at every step looked at",
        way_out="None: the loss does not depend on it; use the layer, freeze it "
        "(`layer.trainable = False`) or exclude it. Exactly 0: dead units, a "
        "`stop_gradient`, or numbers below the smallest of the format.",
    )
    norm = log.layers["log10_norm"]
    zero = (norm == -math.inf).groupby(_identity(log.layers)).transform("all")
    _check(log, rule, bad=norm.isna() | zero, value=norm, beyond=math.nan)


def assert_not_vanishing(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float = VANISHING,
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that the mean magnitude of every gradient reaches a threshold.

    The mean magnitude is that of all elements of one gradient, as published rules
    have it; a ratio of the first layer to the last is not, since it calls a deep
    linear stack healthy whose gradients all vanish alike. Steps of a log at which
    the loss is down to 1% (`vgkeras.theory.LEARNED`) are not looked at: there the
    gradient is small because the model has learned. A gradient that is `None` is
    for `assert_gradients_connected`.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        threshold: Smallest mean magnitude allowed. Default 1e-7.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that are looked at.
        steps: The step or steps of a log to look at.
        exclude: Layers or variables to leave out, e.g. biases that a batch
            normalization makes useless.

    Raises:
        AssertionError: If a gradient is smaller.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.assert_not_vanishing(model, x, y)  # doctest: +SKIP

    Reference:
        [Amazon SageMaker Debugger, VanishingGradient](https://docs.aws.amazon.com/sagemaker/latest/dg/vanishing-gradient.html).
    """
    line = math.log10(_checks.check_positive("threshold", threshold))
    log = _measured(log_or_model, x, y, loss, kinds, steps, exclude)
    rule = _Rule(
        problem="vanishes",
        rule=f"mean magnitude < {number(line)}{_source(threshold, VANISHING)}",
        quantity="mean magnitude",
        way_out="Start closer to an isometry (orthogonal, He or Glorot kernels), add "
        "shortcuts or normalization, or fewer layers; `threshold=` sets the line.",
    )
    mean = _mean_magnitude(log.layers)
    bad = (mean < line) & ~_learned(log)
    _check(log, rule, bad=bad, value=mean, beyond=line - mean)


def assert_not_exploding(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float = EXPLODING,
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that the norm of every gradient is finite and below a threshold.

    The norm of a gradient has the unit of the loss: targets in thousands need
    another threshold than targets of size 1, for which the default is made.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        threshold: Largest Frobenius norm allowed. Default 5.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that are looked at.
        steps: The step or steps of a log to look at.
        exclude: Layers or variables to leave out.

    Raises:
        AssertionError: If a gradient is larger, or Inf or NaN.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.assert_not_exploding(model, x, y, threshold=100)  # doctest: +SKIP
    """
    line = math.log10(_checks.check_positive("threshold", threshold))
    log = _measured(log_or_model, x, y, loss, kinds, steps, exclude)
    rule = _Rule(
        problem="explodes",
        rule=f"norm > {number(line)}{_source(threshold, EXPLODING)}",
        way_out="Scale the targets, lower the scale of the kernels, normalize, or "
        "clip by norm; `threshold=` sets the line.",
    )
    norm = log.layers["log10_norm"]
    _check(log, rule, bad=norm > line, value=norm, beyond=norm - line)


@dataclass(frozen=True)
class _Rule:
    """The words of one assertion; `quantity` is what its threshold is for."""

    problem: str
    rule: str
    way_out: str
    quantity: str = "norm"


def _source(threshold: float, default: float) -> str:
    sources = {
        VANISHING: "SageMaker VanishingGradient, DeepDiagnosis",
        EXPLODING: "NeuroScope, any layer",
    }
    return f" ({sources[default]})" if threshold == default else ""


def _check(
    log: GradientLog,
    rule: _Rule,
    *,
    bad: pd.Series,
    value: pd.Series,
    beyond: pd.Series | float,
) -> None:
    """Raises if a row is bad: about the first run and step that has one.

    Args:
        log: What was measured.
        rule: The words.
        bad: Whether each row of `log.layers` breaks the rule.
        value: Base-10 logarithm of what the rule is about.
        beyond: Decades beyond the threshold; NaN where there is none.
    """
    if not bad.any():
        return
    rows = log.layers.assign(bad=bad, value=value, beyond=beyond)
    rows = rows.sort_values(["run", "step"], kind="stable")
    first = rows[rows["bad"]].iloc[0]
    here = rows[(rows["run"] == first["run"]) & (rows["step"] == first["step"])]
    raise AssertionError(str(_failure(log, rule, here, first)))


def _failure(
    log: GradientLog, rule: _Rule, rows: pd.DataFrame, first: pd.Series
) -> _failures.Failure:
    measured = number(first["value"])
    margin = first["beyond"]
    far = "" if math.isnan(margin) else f", {decades(margin)} beyond"
    columns = _columns(rule, rows)
    return _failures.Failure(
        problem=f"{_place(first)} {rule.problem}: {rule.quantity} {measured}.",
        details=[
            f"Rule: {rule.rule}. Measured: {measured}{far}.",
            f"Shown: {_run_told(log, first['run'])}step {first['step']}; "
            f"{rows['bad'].sum()} of {len(rows)} rows are bad (>).",
        ],
        header=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        bad=rows["bad"].tolist(),
        way_out=f"Way out: {rule.way_out}",
    )


def _place(row: Any) -> str:
    kinds = dict(zip(KINDS, ("gradient", "activation", "dL/da"), strict=True))
    return (
        f"The {kinds[row['kind']]} of layer {row['layer']} ({row['name']}) "
        f"at step {row['step']}"
    )


def _run_told(log: GradientLog, number_of_run: int) -> str:
    """Which of several runs it is, and its number format."""
    run = log.runs.set_index("run").loc[number_of_run]
    if len(log.runs) == 1:
        return f"{run['dtype']}, "
    scale = "" if math.isnan(run["scale"]) else f", scale {run['scale']:g}"
    return f"run {number_of_run} (depth {run['depth']}{scale}, {run['dtype']}), "


def _columns(rule: _Rule, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The table of a failure, by column title."""
    columns = {
        "layer": rows["layer"].astype("str").tolist(),
        "name": rows["name"].tolist(),
        "kind": rows["kind"].tolist(),
        "norm": rows["log10_norm"].map(number).tolist(),
    }
    if rows["kind"].nunique() == 1:
        del columns["kind"]
    if rule.quantity != "norm":
        columns[rule.quantity] = rows["value"].map(number).tolist()
    if rows["beyond"].notna().any():
        columns["decades beyond"] = [
            "" if math.isnan(value) else f"{value:+.2f}" for value in rows["beyond"]
        ]
    return columns


def _measured(
    log_or_model: Any,
    x: Any,
    y: Any,
    loss: Any,
    kinds: Any,
    steps: Any,
    exclude: Any,
) -> GradientLog:
    """The rows that an assertion looks at, as a log."""
    kinds = _checks.check_each("kinds", kinds, _check_kind)
    log = _as_log(log_or_model, x, y, loss)
    layers = log.layers[log.layers["kind"].isin(kinds)]
    layers = _at_steps(layers, steps)
    layers = layers[~_named(layers, exclude)]
    if layers.empty:
        raise ValueError(
            "`log_or_model` must have rows to look at. Received: no row of "
            f"kinds={kinds!r} that exclude={list(exclude)!r} leaves."
        )
    return log.replace(layers=layers.reset_index(drop=True))


def _check_kind(name: str, value: Any) -> str:
    return _checks.check_option(name, value, KINDS)


def _as_log(log_or_model: Any, x: Any, y: Any, loss: Any) -> GradientLog:
    """The log that was given, or a log of one tape pass over the model."""
    if isinstance(log_or_model, GradientLog):
        if x is not None or y is not None:
            raise ValueError(
                "`x` and `y` must be left out with a log: it holds what was "
                "measured. Received: a GradientLog and data."
            )
        return log_or_model
    from vgkeras import _passes  # loads TensorFlow, which a log does not need

    model = _passes.check_model(log_or_model)
    if x is None or y is None:
        raise ValueError(
            "`x` and `y` must be given with a model. "
            f"Received: x={x!r}, y={y!r}. Give a batch of inputs and targets."
        )
    layers = _passes.measured(model, x, y, loss).assign(run=0, step=0)
    run = {
        **dict.fromkeys(RUN_COLUMNS, math.nan),
        "run": 0,
        "depth": layers["layer"].max(),
        "dtype": _passes.dtype(model),
        "verdict": "",
    }
    losses = pd.DataFrame(columns=list(LOSS_COLUMNS))
    return GradientLog(pd.DataFrame([run]), losses, layers)


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


def _named(layers: pd.DataFrame, exclude: Any) -> pd.Series:
    """Whether each row is of a layer or variable that is to be left out."""
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise TypeError(
            "`exclude` must be a list or tuple of names, patterns or layer numbers. "
            f"Received: exclude={exclude!r}."
        )
    gone = pd.Series(False, index=layers.index)
    for entry in exclude:
        found = _matches(layers, entry)
        if not found.any():
            raise ValueError(
                "`exclude` must name layers or variables that are there. Received: "
                f"{entry!r}, which is none of {sorted(set(layers['name']))}."
            )
        gone |= found
    return gone


def _matches(layers: pd.DataFrame, entry: Any) -> pd.Series:
    if isinstance(entry, str):
        return layers["name"].map(
            lambda name: fnmatchcase(name, entry) or name.startswith(f"{entry}/")
        )
    return layers["layer"] == _checks.check_positive_int("exclude", entry)


def _identity(layers: pd.DataFrame) -> list[pd.Series]:
    """What makes rows of several steps the same row."""
    within = ["run", "step", "layer", "name", "kind"]
    call = layers.groupby(within, observed=True).cumcount()
    names = [layers[column].astype("str") for column in ("name", "kind")]
    return [layers["run"], layers["layer"], *names, call]


def _mean_magnitude(layers: pd.DataFrame) -> pd.Series:
    """log10 of the mean magnitude, which logs of version 0.1 do not hold."""
    if "log10_mean" not in layers:
        raise ValueError(
            "`log_or_model` must hold mean magnitudes, the column `log10_mean`. "
            "Received: a log without them. Record it again with this version."
        )
    return layers["log10_mean"]


def _learned(log: GradientLog) -> pd.Series:
    """Whether each row is of a step at which the loss was down to 1%."""
    if log.losses.empty:
        return pd.Series(False, index=log.layers.index)
    losses = log.losses.sort_values(["run", "step"], kind="stable")
    first = losses.groupby("run")["loss"].transform(lambda part: part.iloc[0])
    zero = losses["run"].map(log.runs.set_index("run")["loss_zero"])
    goal = theory.LEARNED * np.fmin(first, zero.astype(float))
    keys = ["run", "step"]
    done = losses[keys].assign(done=losses["loss"] <= goal).drop_duplicates(keys)
    joined = log.layers[keys].merge(done, on=keys, how="left")
    return joined["done"].eq(True).set_axis(log.layers.index)
