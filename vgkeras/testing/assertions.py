"""Assertions on gradients, for pytest: of a log, or of any Keras model and its data.

A failure is an `AssertionError` that names the first bad layer and step, the rule, its
threshold and the measured value, and shows every layer in a table. All take the
arguments of `assert_gradients_finite`, and refuse as it does what they cannot use.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import _checks, theory
from vgkeras._text import decades, number_of
from vgkeras.diagnosis import diagnose, root_mean_square
from vgkeras.logs import KINDS, GradientLog
from vgkeras.testing.messages import (
    Wording,
    check,
    check_finding,
    decades_apart,
)
from vgkeras.testing.rows import (
    WEIGHT_GRADIENT,
    of_assertions,
    row_identity,
    select_rows,
)
from vgkeras.testing.theory_match import beside_theory, theory_of

_VANISHING = ("zero", "subnormal", "vanishing")  # regimes of the diagnosis
_EXPLODING = ("non-finite", "exploding")


def assert_gradients_finite(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] = WEIGHT_GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that no gradient holds an Inf or a NaN.

    The arguments described here are those of the other assertions too.

    Args:
        log_or_model: A `GradientLog`, of one run or many, or a Keras model. Of a
            model one tape pass is measured, with `training=True`; the model,
            moving averages and random seeds included, stays as it was.
        x: Inputs of the model, batch first: an array or tensor, or a list or dict
            of them. Without `y` also a batch `(x, y)` or `(x, y, sample_weight)`, or
            a `tf.data.Dataset`, whose first batch is taken. Not with a log.
        y: Targets, in the structure of the model's outputs. Not with a log.
        loss: A Keras loss, its name, or a callable `(y, y_pred)`. A model with
            several outputs takes one loss for all of them or one for each, in the
            structure of its outputs; they are added up. Default: that of
            `compile()`. Regularizers and `add_loss` are part of it either way.
        sample_weight: Weights of the samples, as in `fit`.
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
    __tracebackhide__ = of_assertions
    log = select_rows(
        log_or_model,
        x,
        y,
        loss=loss,
        sample_weight=sample_weight,
        kinds=kinds,
        steps=steps,
        exclude=exclude,
    )
    wording = Wording(
        problem=lambda row: "is not finite",
        rule="no element is Inf or NaN (SageMaker ExplodingTensor)",
        way_out="Lower the learning rate or the scale of the kernels, or clip; look "
        'at `kinds=("activation",)` for the layer that overflows first.',
    )
    norm = log.layers["log10_norm"]
    rows = log.layers.assign(bad=norm == math.inf, value=norm, beyond=math.nan)
    check(log, wording, rows)


def assert_gradients_connected(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] = WEIGHT_GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that the loss reaches every variable: no gradient is `None` or all 0.

    In a log, a gradient that is 0 at some steps and not at others is connected; it
    fails if it is `None`, or exactly 0 at every step looked at. `steps=0` asks that
    of the first step alone.

    Arguments: see `assert_gradients_finite`.

    Raises:
        AssertionError: If a gradient is `None`, or exactly 0 throughout.

    Example:
        >>> testing.assert_gradients_connected(model, x, y)  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    log = select_rows(
        log_or_model,
        x,
        y,
        loss=loss,
        sample_weight=sample_weight,
        kinds=kinds,
        steps=steps,
        exclude=exclude,
    )
    wording = Wording(
        problem=lambda row: (
            "is None: the loss does not depend on it"
            if math.isnan(row["value"])
            else "is exactly 0"
        ),
        rule="no gradient is None, or exactly 0 at every step looked at",
        way_out="None: the loss does not depend on it; use the layer, freeze it "
        "(`layer.trainable = False`) or exclude it. Exactly 0: dead units, a "
        "`stop_gradient`, numbers below the smallest of the format, or a loss in which "
        "it cancels, as a critic's last bias does: exclude it.",
    )
    norm = log.layers["log10_norm"]
    zero = norm == -math.inf
    if zero.any():
        zero = zero.groupby(row_identity(log.layers)).transform("all")
    rows = log.layers.assign(bad=norm.isna() | zero, value=norm, beyond=math.nan)
    check(log, wording, rows)


def assert_not_vanishing(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float | None = None,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] | None = None,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that gradients do not vanish, by the diagnosis or by a threshold.

    By default it fails where `vgkeras.diagnose` finds a run `"vanishing"`,
    `"subnormal"` or `"zero"`: a root mean square below 1e-7 in a kernel's gradient, or
    2 decades lost from end to end, as long as the loss has not been learned.

    With a `threshold` the number alone decides, for every variable. It is held against
    the root mean square of the elements of a gradient that are not exactly 0: most
    rows of an embedding have none. Steps of a log at which the loss is down to 1% are
    not looked at: there the gradient is small because the model has learned. A
    gradient that is `None` is for `assert_gradients_connected`; biases that a batch
    normalization makes useless are for `exclude`.

    Args (the others: see `assert_gradients_finite`):
        threshold: Smallest root mean square allowed, e.g. 1e-7. Default: the rules of
            the diagnosis.
        kinds: Kinds of rows that a `threshold` is held against. Default: weight
            gradients.

    Raises:
        AssertionError: If gradients vanish.

    Example:
        >>> testing.assert_not_vanishing(model, x, y)  # doctest: +SKIP
        >>> testing.assert_not_vanishing(log, threshold=1e-5)  # doctest: +SKIP

    Reference:
        `vgkeras.diagnose` and `vgkeras.rules` say where the numbers come from.
    """
    __tracebackhide__ = of_assertions
    line, kinds = _line_and_kinds(threshold, kinds)
    log = select_rows(
        log_or_model,
        x,
        y,
        loss=loss,
        sample_weight=sample_weight,
        kinds=kinds,
        steps=steps,
        exclude=exclude,
    )
    if line is None:
        return _check_diagnosis(log, _VANISHING)
    wording = Wording(
        problem=lambda row: f"vanishes: root mean square {number_of(row['value'])}",
        rule=f"root mean square < {number_of(line)}",
        quantity="rms",
        way_out="Start closer to an isometry (orthogonal, He or Glorot kernels), add "
        "shortcuts or normalization, or take fewer layers.",
    )
    rms = root_mean_square(log.layers)
    bad = (rms < line) & ~_learned(log)
    return check(log, wording, log.layers.assign(bad=bad, value=rms, beyond=line - rms))


def assert_not_exploding(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float | None = None,
    learning_rate: float = 0.01,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] | None = None,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that gradients do not explode, by the diagnosis or by a threshold.

    By default it fails where `vgkeras.diagnose` finds a run `"exploding"` or
    `"non-finite"`: an update of more than 10 times the weights, 2 decades gained from
    end to end, a loss of more than 1000 times its start, Inf or NaN.

    With a `threshold` the number alone decides, for every variable. It is held against
    Frobenius norms, which have the unit of the loss: targets in thousands need another
    one than targets of 1. (NeuroScope calls a layer exploding from 5 on, and many
    a network that trains.)

    Args (the others: see `assert_gradients_finite`):
        threshold: Largest norm allowed. Default: the rules of the diagnosis.
        learning_rate: Of the step of plain SGD that the diagnosis judges a model by;
            a log has its own updates. The default is that of `keras.optimizers.SGD`.
        kinds: As in `assert_not_vanishing`.

    Raises:
        AssertionError: If gradients explode, or are Inf or NaN.

    Example:
        >>> testing.assert_not_exploding(model, x, y)  # doctest: +SKIP
        >>> testing.assert_not_exploding(log, threshold=100)  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    rate = _checks.check_positive("learning_rate", learning_rate)
    line, kinds = _line_and_kinds(threshold, kinds)
    log = select_rows(
        log_or_model,
        x,
        y,
        loss=loss,
        sample_weight=sample_weight,
        kinds=kinds,
        steps=steps,
        exclude=exclude,
        learning_rate=rate,
    )
    if line is None:
        return _check_diagnosis(log, _EXPLODING)
    wording = Wording(
        problem=lambda row: f"explodes: norm {number_of(row['value'])}",
        rule=f"norm > {number_of(line)}",
        way_out="Scale the targets, lower the scale of the kernels, normalize, or "
        "clip by norm.",
    )
    norm = log.layers["log10_norm"]
    rows = log.layers.assign(bad=norm > line, value=norm, beyond=norm - line)
    return check(log, wording, rows)


def _line_and_kinds(
    threshold: float | None, kinds: Sequence[str] | None
) -> tuple[float | None, Sequence[str]]:
    """The logarithm of a threshold and what is held against it; without one, all."""
    if threshold is not None:
        line = math.log10(_checks.check_positive("threshold", threshold))
        return line, WEIGHT_GRADIENT if kinds is None else kinds
    if kinds is not None:
        raise ValueError(
            "`kinds` must be left out without a threshold: the diagnosis looks at all "
            f"kinds. Received: kinds={kinds!r}. Give a `threshold` too."
        )
    return None, KINDS


def _check_diagnosis(log: GradientLog, regimes: tuple[str, ...]) -> None:
    """Raises about the first finding of one of the regimes."""
    __tracebackhide__ = of_assertions
    for finding in diagnose(log):
        if finding.regime in regimes:
            check_finding(log, finding)


def assert_matches_theory(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    tolerance_in_decades: float = 0.05,
    kinds: Sequence[str] = KINDS,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that a stack of scaled identities has the norms that theory gives it.

    Of a log, its own theory is compared, at every step that both hold; runs without
    theory are left out. A model is held to `vgkeras.theory.closed_form`, with the
    mean squared error. Theory is real arithmetic. Rows that the number format cannot
    follow are not compared: below or above its normal numbers, after an overflow,
    and gradients where outputs and targets agree to rounding. A format that rounds
    the updates away does differ from theory, and fails.

    Args (the others: see `assert_gradients_finite`):
        log_or_model: A log with theory, from `vgkeras.train` or `vgkeras.sweep`, or a
            Keras model of linear `Dense` layers without bias, kernels `c * I`.
        x: Inputs of the model, shape `(samples, units)`.
        y: Targets, shape `(samples, output_units)`.
        tolerance_in_decades: Largest difference of base-10 logarithms of norms.
            Default 0.05, a factor of 1.12. `bfloat16` needs 0.2 at 152 layers, since
            it rounds the scale itself by up to 0.4%.

    Raises:
        AssertionError: If a norm differs by more, or nothing can be compared.
        ValueError: If there is no theory for it.

    Example:
        >>> model = vg.build_stack(depth=152, scale=0.9)  # doctest: +SKIP
        >>> testing.assert_matches_theory(model, x, y)  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    tolerance = _checks.check_positive("tolerance_in_decades", tolerance_in_decades)
    log = select_rows(
        log_or_model, x, y, loss="mse", kinds=kinds, steps=steps, exclude=exclude
    )
    theory, runs = theory_of(log_or_model, x, y, log)
    rows = beside_theory(log.layers, theory, runs, tolerance)
    if rows.empty:
        raise AssertionError(_nothing_compared(log))
    wording = Wording(
        problem=lambda row: (
            f"does not match theory: norm {number_of(row['log10_norm'])}, theory "
            f"{number_of(row['expected'])}"
        ),
        rule=f"norms within {decades(tolerance)} of theory, where the number format "
        f"can follow it ({len(rows)} of {len(log.layers)} rows)",
        way_out="The kernels, the loss or the data are not those of the theory, or "
        "updates were rounded away: try float64, or `steps=0`.",
        expected="theory",
    )
    rows = rows.rename(columns={"theory": "expected"}).assign(note="")
    check(log, wording, decades_apart(rows, tolerance))


def _nothing_compared(log: GradientLog) -> str:
    return (
        f"None of {len(log.layers)} rows can be compared with theory: theory has no "
        "numbers for them that are normal numbers of "
        f"{', '.join(sorted(set(log.runs['dtype'])))}. Use a wider format, a stack "
        "that is less deep, or other steps or kinds."
    )


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
    rows = log.layers[keys].merge(done, on=keys, how="left")
    return rows["done"].eq(True).set_axis(log.layers.index)
