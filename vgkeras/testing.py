"""Assertions on gradients, for pytest: of a log, or of any Keras model and its data.

A failure is an `AssertionError` that names the first bad layer and step, the rule, its
threshold and the measured value, and shows every layer in a table.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import _checks, _expected, _profiles, theory
from vgkeras._failures import (
    Failure,
    Rule,
    beyond,
    check,
    check_verdict,
    decades,
    number,
    of_assertions,
    root_mean_square,
)
from vgkeras._selection import (
    check_bool,
    check_data,
    check_exclude,
    check_model,
    check_path,
    named,
    selected,
)
from vgkeras.diagnosis import diagnose
from vgkeras.logs import KINDS, GradientLog

RECORD_VARIABLE = "VGKERAS_RECORD_PROFILES"
_GRADIENT = (KINDS[0],)
_VANISHING = ("zero", "subnormal", "vanishing")  # regimes of the diagnosis
_EXPLODING = ("non-finite", "exploding")


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
    __tracebackhide__ = of_assertions
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    rule = Rule(
        told=lambda row: "is not finite",
        rule="no element is Inf or NaN (SageMaker ExplodingTensor)",
        way_out="Lower the learning rate or the scale of the kernels, or clip; look "
        'at `kinds=("activation",)` for the layer that overflows first.',
    )
    norm = log.layers["log10_norm"]
    rows = log.layers.assign(bad=norm == math.inf, value=norm, beyond=math.nan)
    check(log, rule, rows)


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
    __tracebackhide__ = of_assertions
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    rule = Rule(
        told=lambda row: (
            "is None: the loss does not depend on it"
            if math.isnan(row["value"])
            else "is exactly 0"
        ),
        rule="no gradient is None, or exactly 0 at every step looked at",
        way_out="None: the loss does not depend on it; use the layer, freeze it "
        "(`layer.trainable = False`) or exclude it. Exactly 0: dead units, a "
        "`stop_gradient`, or numbers below the smallest of the format.",
    )
    norm = log.layers["log10_norm"]
    zero = norm == -math.inf
    if zero.any():
        zero = zero.groupby(_identity(log.layers)).transform("all")
    rows = log.layers.assign(bad=norm.isna() | zero, value=norm, beyond=math.nan)
    check(log, rule, rows)


def assert_not_vanishing(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float | None = None,
    loss: Any = "mse",
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
    gradient that is `None` is for `assert_gradients_connected`.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        threshold: Smallest root mean square allowed, e.g. 1e-7. Default: the rules of
            the diagnosis.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that a `threshold` is held against. Default: weight
            gradients.
        steps: The step or steps of a log to look at.
        exclude: Layers or variables to leave out, e.g. biases that a batch
            normalization makes useless.

    Raises:
        AssertionError: If gradients vanish.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.assert_not_vanishing(model, x, y)  # doctest: +SKIP
        >>> testing.assert_not_vanishing(log, threshold=1e-5)  # doctest: +SKIP

    Reference:
        `vgkeras.diagnose` and `vgkeras.rules` say where the numbers come from.
    """
    __tracebackhide__ = of_assertions
    if threshold is None:
        _check_no_kinds(kinds)
        log = selected(log_or_model, x, y, loss=loss, steps=steps, exclude=exclude)
        return _check_diagnosis(log, _VANISHING)
    line = math.log10(_checks.check_positive("threshold", threshold))
    kinds = _GRADIENT if kinds is None else kinds
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    rule = Rule(
        told=lambda row: f"vanishes: root mean square {number(row['value'])}",
        rule=f"root mean square < {number(line)}",
        quantity="rms",
        way_out="Start closer to an isometry (orthogonal, He or Glorot kernels), add "
        "shortcuts or normalization, or take fewer layers.",
    )
    size = root_mean_square(log.layers)
    bad = (size < line) & ~_learned(log)
    return check(log, rule, log.layers.assign(bad=bad, value=size, beyond=line - size))


def assert_not_exploding(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    threshold: float | None = None,
    learning_rate: float = 0.01,
    loss: Any = "mse",
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
    one than targets of size 1. (NeuroScope calls a layer exploding from 5 on, and many
    a network that trains.)

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        threshold: Largest norm allowed. Default: the rules of the diagnosis.
        learning_rate: Of the step of plain SGD that the diagnosis judges a model by;
            a log has its own updates. The default is that of `keras.optimizers.SGD`.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that a `threshold` is held against. Default: weight
            gradients.
        steps: The step or steps of a log to look at.
        exclude: Layers or variables to leave out.

    Raises:
        AssertionError: If gradients explode, or are Inf or NaN.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.assert_not_exploding(model, x, y)  # doctest: +SKIP
        >>> testing.assert_not_exploding(log, threshold=100)  # doctest: +SKIP

    Reference:
        `vgkeras.diagnose` and `vgkeras.rules` say where the numbers come from.
    """
    __tracebackhide__ = of_assertions
    rate = _checks.check_positive("learning_rate", learning_rate)
    if threshold is None:
        _check_no_kinds(kinds)
        more: dict[str, Any] = {
            "steps": steps,
            "exclude": exclude,
            "learning_rate": rate,
        }
        log = selected(log_or_model, x, y, loss=loss, **more)
        return _check_diagnosis(log, _EXPLODING)
    line = math.log10(_checks.check_positive("threshold", threshold))
    kinds = _GRADIENT if kinds is None else kinds
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    rule = Rule(
        told=lambda row: f"explodes: norm {number(row['value'])}",
        rule=f"norm > {number(line)}",
        way_out="Scale the targets, lower the scale of the kernels, normalize, or "
        "clip by norm.",
    )
    norm = log.layers["log10_norm"]
    rows = log.layers.assign(bad=norm > line, value=norm, beyond=norm - line)
    return check(log, rule, rows)


def _check_no_kinds(kinds: Any) -> None:
    if kinds is not None:
        raise ValueError(
            "`kinds` must be left out without a threshold: the diagnosis looks at all "
            f"kinds. Received: kinds={kinds!r}. Give a `threshold` too."
        )


def _check_diagnosis(log: GradientLog, regimes: tuple[str, ...]) -> None:
    """Raises about the first verdict of one of the regimes."""
    __tracebackhide__ = of_assertions
    for verdict in diagnose(log):
        if verdict.regime in regimes:
            check_verdict(log, verdict)


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

    Args:
        log_or_model: A log with theory, from `vgkeras.train` or `vgkeras.sweep`, or a
            Keras model of linear `Dense` layers without bias, kernels `c * I`.
        x: Inputs of the model, shape `(samples, units)`.
        y: Targets, shape `(samples, output_units)`.
        tolerance_in_decades: Largest difference of base-10 logarithms of norms.
            Default 0.05, a factor of 1.12. `bfloat16` needs 0.2 at 152 layers, since
            it rounds the scale itself by up to 0.4%.
        kinds: Kinds of rows that are compared.
        steps: The step or steps of a log to compare.
        exclude: Layers or variables to leave out.

    Raises:
        AssertionError: If a norm differs by more, or nothing can be compared.
        TypeError: If an argument has the wrong type.
        ValueError: If there is no theory for it, or an argument is out of range.

    Example:
        >>> model = vg.build_stack(depth=152, scale=0.9)  # doctest: +SKIP
        >>> testing.assert_matches_theory(model, x, y)  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    tolerance = _checks.check_positive("tolerance_in_decades", tolerance_in_decades)
    log = selected(log_or_model, x, y, kinds=kinds, steps=steps, exclude=exclude)
    theory, runs = _expected.theory_of(log_or_model, x, y, log)
    rows = _expected.beside_theory(log.layers, theory, runs, tolerance)
    if rows.empty:
        raise AssertionError(_nothing_compared(log))
    rule = Rule(
        told=lambda row: (
            f"does not match theory: norm {number(row['log10_norm'])}, theory "
            f"{number(row['expected'])}"
        ),
        rule=f"norms within {decades(tolerance)} of theory, where the number format "
        f"can follow it ({len(rows)} of {len(log.layers)} rows)",
        way_out="The kernels, the loss or the data are not those of the theory, or "
        "updates were rounded away: try float64, or `steps=0`.",
        expected="theory",
    )
    rows = rows.rename(columns={"theory": "expected"}).assign(note="")
    check(log, rule, _compared(rows, tolerance))


def record_profile(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str],
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Records the norms of a log or a model for `assert_matches_profile`.

    The file is JSON for people to read and to review: a line per variable and step
    with its name, kind and base-10 logarithm of its norm, or `"none"` (there is no
    gradient), `"zero"` (exactly 0) or `"non-finite"`. An existing file is replaced.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        path: The file to write, conventionally `*.json`.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that are recorded.
        steps: The step or steps of a log to record. Default: all that it holds;
            `steps=0` makes a small file that hardly depends on rounding.
        exclude: Layers or variables to leave out.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range or selects nothing.

    Example:
        >>> testing.record_profile(model, x, y, path="golden.json")  # doctest: +SKIP
    """
    path = check_path(path)
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    _profiles.write(log, path)


def assert_matches_profile(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str],
    tolerance_in_decades: float = 0.1,
    loss: Any = "mse",
    kinds: Sequence[str] = _GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that norms are those of a profile that `record_profile` wrote.

    Nothing is recorded unasked: a missing file is a failure. To record all profiles
    of a test run anew, set the environment variable `VGKERAS_RECORD_PROFILES=1`; each
    assertion then writes its file and fails, so that such a run is never green.

    A variable that is missing, new or renamed fails too, and is told apart from a
    norm that changed. Names that Keras counts on within a process (`dense`,
    `dense_1`, ...) match whatever number they start from.

    Args:
        log_or_model: See `assert_gradients_finite`, as for every other argument.
        x: Inputs of the model.
        y: Targets.
        path: The file.
        tolerance_in_decades: Largest difference of base-10 logarithms of norms.
            Default 0.1, a factor of 1.26. None, exactly 0, and Inf or NaN each match
            nothing but themselves.
        loss: A Keras loss, its name, a callable, or one for each output.
        kinds: Kinds of rows that are compared, as they were recorded.
        steps: The step or steps to compare.
        exclude: Layers or variables to leave out.

    Raises:
        AssertionError: If something differs, the file does not exist, or it was just
            recorded.
        TypeError: If an argument has the wrong type.
        ValueError: If the file is no profile, or an argument is out of range.

    Example:
        >>> testing.assert_matches_profile(
        ...     model, x, y, path="golden.json"
        ... )  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    tolerance = _checks.check_positive("tolerance_in_decades", tolerance_in_decades)
    path = check_path(path)
    log = selected(
        log_or_model, x, y, loss=loss, kinds=kinds, steps=steps, exclude=exclude
    )
    recorded, head = _recorded(log, path)
    recorded = recorded[recorded["kind"].isin(kinds)]
    if steps is not None:
        recorded = recorded[recorded["step"].isin(log.layers["step"])]
    recorded = recorded[~named(recorded, check_exclude(exclude), strict=False)]
    rows = _profiles.joined(recorded, log.layers)
    rule = Rule(
        told=_told_by_profile,
        rule=f"norms within {decades(tolerance)} of {path} (recorded with "
        f"keras {head['versions'].get('keras')} in {', '.join(head['dtypes'])})",
        way_out="If this is intended, record it anew: `record_profile`, or "
        f"{RECORD_VARIABLE}=1 in the environment.",
        expected="recorded",
    )
    rows = rows.rename(columns={"recorded": "expected"})
    check(log, rule, _compared(rows, tolerance))


def assert_gradients_match_numeric(
    model: Any,
    x: Any,
    y: Any,
    *,
    loss: Any = "mse",
    tolerance: float = 1e-4,
    directions: int | Mapping[str, Any] = 2,
    seed: int = 0,
    training: bool = True,
    exclude: Iterable[str | int] = (),
) -> pd.DataFrame:
    """Asserts that the gradients of the tape are those of finite differences.

    Compared is, for each trainable variable, the derivative along a direction: the
    tape's gradient times a unit vector `v`, and the central difference of the model
    at `w + t v` and `w - t v`. Every entry of a gradient counts in it. The chain rule
    is checked in two parts, the loss by the outputs, and the outputs by each variable
    with the weights that the loss gives them: a gradient of 1e-40 can be checked that
    way although the loss is of size 1.

    Both sides are computed in float64, whatever the format of the model, from the
    values that it holds: what is tested is the formula, not its rounding. Variables
    and policies are put in place for this and back afterwards; the model need not be
    cloned and does not change. Seeds are fixed: a `Dropout` drops the same units in
    every call, a `BatchNormalization` normalizes by the batch if `training`.

    At a kink, such as `relu` of exactly 0, there is no derivative; a point a little
    beside it is compared. Where rounding hides a derivative from differences, as for a
    bias in front of a batch normalization (it is 0) or behind forty sigmoids, the two
    need only agree within the error of the differences; the row is not `resolved`.

    It takes two or three calls of the model for each direction. A layer that means to
    have another gradient, with `stop_gradient` or a straight-through estimator, fails:
    exclude what is in front of it.

    Args:
        model: A Keras model of any kind.
        x: Inputs: an array or tensor, or a list or dict of them.
        y: Targets, in the structure of the model's outputs.
        loss: A Keras loss, its name, a callable `(y, y_pred)`, or one for each output.
        tolerance: Largest difference, relative to the derivatives and to the root mean
            square of the tape's gradient. With 1e-4 a single entry of the wrong sign
            is found among some 10**7.
        directions: Random directions for each variable, or by name of the variable
            (`"dense_1/kernel"`) a direction or a list of directions in its shape; then
            only these variables are compared. Lengths do not matter.
        seed: Seed of the random directions.
        training: Whether the model is called as in training.
        exclude: Layers or variables to leave out.

    Returns:
        A frame with a row per direction: `layer, name, tape, numeric, error, scale,
        beside_kink, agrees, resolved`; the derivatives along unit vectors, layer 0 is
        the loss.

    Raises:
        AssertionError: If they differ, or nothing can be compared.
        TypeError: If an argument has the wrong type.
        ValueError: If the model cannot compute in float64 or gives other outputs at
            each call, or an argument is out of range.

    Example:
        >>> testing.assert_gradients_match_numeric(model, x, y)  # doctest: +SKIP

    Reference:
        [Griewank & Walther, 2008](https://doi.org/10.1137/1.9780898717761), on
        derivatives and their differences.
    """
    __tracebackhide__ = of_assertions
    from vgkeras import _numeric  # loads TensorFlow

    check_model("model", "a Keras model", model)
    check_data(x, y)
    labels = selected(model, x, y, loss=loss, kinds=_GRADIENT).layers
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    excluded = named(labels, check_exclude(exclude))
    settings = _numeric.Settings(
        tolerance=_checks.check_positive("tolerance", tolerance),
        directions=_numeric.check_directions(directions, labels["name"], shapes),
        seed=_checks.check_non_negative_int("seed", seed),
        training=check_bool("training", training),
    )
    rows = _numeric.compared(
        model, x, y, loss, labels["name"][~excluded].to_dict(), settings
    )
    rows["layer"] = rows["index"].map(labels["layer"]).fillna(0).astype(int)
    columns = ["layer", *rows.columns.difference(["layer", "index"], sort=False)]
    if not rows["agrees"].all():
        raise AssertionError(str(_mismatch(rows, settings.tolerance)))
    if not (rows["resolved"] & rows["scale"].gt(0) & rows["index"].ge(0)).any():
        raise AssertionError(_NOTHING_RESOLVED)
    return rows[columns]


_NOTHING_RESOLVED = (
    "No gradient can be compared with finite differences: each is 0, or too small for "
    "differences in float64 to resolve. Use other data, targets that the outputs do "
    "not meet exactly, or a model that is less deep."
)


def _mismatch(rows: pd.DataFrame, tolerance: float) -> Failure:
    """The text about the first direction in which tape and differences disagree."""
    bad = rows["agrees"].eq(False)
    first = rows[bad].iloc[0]
    off = abs(first["tape"] - first["numeric"]) / first["scale"]
    margin = beyond(math.log10(off / tolerance) if off > 0 else math.nan)
    place = f"layer {first['layer']} ({first['name']})"
    if first["index"] < 0:
        place = "the loss by the outputs"
    columns = _numeric_columns(rows)
    return Failure(
        problem=f"The gradient of {place} does not match finite differences: the tape "
        f"says {first['tape']:+.3e}, differences say {first['numeric']:+.3e}.",
        details=[
            f"Rule: |tape - numeric| <= {tolerance:g} of the larger, or of the root "
            "mean square of the gradient; derivatives along a unit vector, in float64.",
            f"Measured: {off:.1e}{margin}; {bad.sum()} of {len(rows)} rows are bad (>)."
            f"{_culprit(rows[bad])}",
        ],
        header=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        bad=bad.tolist(),
        focus=int(bad.to_numpy().argmax()),
        way_out="Way out: correct the formula, of a `tf.custom_gradient` or a loss; "
        "exclude what is meant to have another gradient than its derivative.",
    )


def _numeric_columns(rows: pd.DataFrame) -> dict[str, list[str]]:
    """The table of a mismatch, by column title."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = rows["tape"] / rows["numeric"]
    return {
        "layer": rows["layer"].astype("str").mask(rows["index"] < 0, "-").tolist(),
        "name": rows["name"].tolist(),
        "tape": rows["tape"].map("{:+.6e}".format).tolist(),
        "numeric": rows["numeric"].map("{:+.6e}".format).tolist(),
        "error": rows["error"].map("{:.0e}".format).tolist(),
        "tape / numeric": ratios.map("{:.6g}".format).tolist(),
    }


def _culprit(bad: pd.DataFrame) -> str:
    """Where a wrong formula is: it spoils all gradients in front of it."""
    if (bad["index"] < 0).any():
        return ""
    last = bad.iloc[bad["layer"].to_numpy().argmax()]
    return (
        f" The last bad layer is {last['layer']} ({last['name']}): the wrong formula "
        "is in it, or between it and the next one."
    )


def _recorded(log: GradientLog, path: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads a profile, or says how to record it, or records it because asked to."""
    __tracebackhide__ = of_assertions
    if os.environ.get(RECORD_VARIABLE, "0") not in ("", "0"):
        _profiles.write(log, path)
        raise AssertionError(
            f"Recorded {path} anew, because {RECORD_VARIABLE} is set. Look at what "
            "changed, and run the test again without it."
        )
    try:
        return _profiles.read(path)
    except FileNotFoundError as error:
        raise AssertionError(
            f"There is no profile {path} yet. Record it with the same arguments, "
            f"`vgkeras.testing.record_profile(..., path={path!r})`, or by running the "
            f"test once with {RECORD_VARIABLE}=1 in the environment."
        ) from error


def _told_by_profile(row: pd.Series) -> str:
    if row["note"]:
        return f"is not as recorded: {row['note']}"
    return (
        f"has changed: norm {number(row['log10_norm'])}, recorded "
        f"{number(row['expected'])}"
    )


def _compared(rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Decades between `log10_norm` and `expected`; what is not a number must agree."""
    measured, expected = rows["log10_norm"], rows["expected"]
    with np.errstate(invalid="ignore"):
        off = (measured - expected).abs().fillna(math.inf)
    same = measured.eq(expected) | (measured.isna() & expected.isna())
    off = off.mask(same, 0.0)
    noted = rows["note"].ne("")
    off = off.mask(noted & ~rows["note"].str.startswith(_profiles.RENAMED), math.nan)
    bad = noted | (off > tolerance)
    return rows.assign(bad=bad, value=off, beyond=off - tolerance)


def _nothing_compared(log: GradientLog) -> str:
    return (
        f"None of {len(log.layers)} rows can be compared with theory: theory has no "
        "numbers for them that are normal numbers of "
        f"{', '.join(sorted(set(log.runs['dtype'])))}. Use a wider format, a stack "
        "that is less deep, or other steps or kinds."
    )


def _identity(layers: pd.DataFrame) -> list[pd.Series]:
    """What makes rows of several steps the same row."""
    within = ["run", "step", "layer", "name", "kind"]
    call = layers.groupby(within, observed=True).cumcount()
    names = [layers[column].astype("str") for column in ("name", "kind")]
    return [layers["run"], layers["layer"], *names, call]


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
