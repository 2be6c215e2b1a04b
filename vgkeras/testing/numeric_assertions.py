"""An assertion that holds the tape to central differences."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import _checks
from vgkeras._text import number
from vgkeras.testing.messages import Failure, beyond
from vgkeras.testing.rows import (
    WEIGHT_GRADIENT,
    check_exclude,
    of_assertions,
    rows_named,
    select_rows,
)


def assert_gradients_match_numeric(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any = None,
    sample_weight: Any = None,
    tolerance: float = 1e-4,
    directions: int | Mapping[str, Any] = 2,
    seed: int = 0,
    training: bool = True,
    exclude: Iterable[str | int] = (),
) -> pd.DataFrame:
    """Asserts that the gradients of the tape are those of finite differences.

    For each trainable variable it compares the derivative along a direction: the
    tape's gradient times a unit vector `v`, and the central difference of the model
    at `w + t v` and `w - t v`. Every entry of a gradient counts in it. The chain rule
    is checked in two parts, the loss by the outputs, and the outputs by each variable
    with the weights that the loss gives them: a gradient of 1e-40 can be checked that
    way although the loss is 1.

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

    Args (the others: see `assert_gradients_finite`):
        model: A Keras model of any kind.
        tolerance: Largest difference, relative to the derivatives and to the root mean
            square of the tape's gradient. With 1e-4 a single entry of the wrong sign
            is noticed among some 10**7.
        directions: Random directions for each variable, or by name of the variable
            (`"dense_1/kernel"`) a direction or a list of directions in its shape; then
            only these variables are compared. Lengths do not matter.
        seed: Seed of the random directions.
        training: Whether the model is called as in training.

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
    from vgkeras import tape  # loads TensorFlow, as the next
    from vgkeras.testing import numeric

    objective = tape.objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    labels = select_rows(
        model, x, y, loss=loss, sample_weight=sample_weight, kinds=WEIGHT_GRADIENT
    ).layers
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    excluded = rows_named(labels, check_exclude(exclude))
    settings = numeric.Settings(
        tolerance=_checks.check_positive("tolerance", tolerance),
        directions=numeric.check_directions(directions, labels["name"], shapes),
        seed=_checks.check_non_negative_int("seed", seed),
        training=_check_training(training),
    )
    names = labels["name"][~excluded].to_dict()
    rows = numeric.compare(objective, loss, names, settings)
    rows["layer"] = rows["index"].map(labels["layer"]).fillna(0).astype(int)
    columns = ["layer", *rows.columns.difference(["layer", "index"], sort=False)]
    if not rows["agrees"].all():
        raise AssertionError(str(_mismatch(rows, settings.tolerance)))
    if not (rows["resolved"] & rows["scale"].gt(0) & rows["index"].ge(0)).any():
        raise AssertionError(_NOTHING_RESOLVED)
    return rows[columns]


def _check_training(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(
            f"`training` must be True or False. Received: training={value!r}."
        )
    return value


_NOTHING_RESOLVED = (
    "No gradient can be compared with finite differences: each is 0, or too small for "
    "differences in float64 to resolve. Use other data, targets that the outputs do "
    "not meet exactly, or a model that is less deep."
)


def _mismatch(rows: pd.DataFrame, tolerance: float) -> Failure:
    """The text about the first direction in which tape and differences disagree."""
    bad = rows["agrees"].eq(False)
    first = rows[bad].iloc[0]
    apart = abs(first["tape"] - first["numeric"]) / first["scale"]
    margin = beyond(math.log10(apart / tolerance) if apart > 0 else math.nan)
    place = f"layer {first['layer']} ({first['name']})"
    if first["index"] < 0:
        place = "the loss by the outputs"
    return Failure(
        problem=f"The gradient of {place} does not match finite differences: the tape "
        f"says {first['tape']:+.3e}, differences say {first['numeric']:+.3e}.",
        details=[
            f"Rule: |tape - numeric| <= {tolerance:g} of the larger, or of the root "
            "mean square of the gradient; derivatives along a unit vector, in float64.",
            f"Measured: {number(apart)}{margin}; {bad.sum()} of {len(rows)} rows are "
            f"bad (>).{_culprit(rows[bad])}",
        ],
        columns=_columns(rows),
        bad=bad.tolist(),
        focus=int(bad.to_numpy().argmax()),
        way_out="correct the formula, of a `tf.custom_gradient` or a loss; exclude "
        "what is meant to have another gradient than its derivative. At a kink (max "
        "pooling of equal values, relu6 at its ends) there is no derivative: see "
        "whether other inputs or another seed agree.",
    )


def _columns(rows: pd.DataFrame) -> dict[str, list[str]]:
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
