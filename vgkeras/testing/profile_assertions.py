"""Assertions that hold gradients to a recorded profile."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from vgkeras import _checks
from vgkeras._text import decades, number_of
from vgkeras.logs import GradientLog
from vgkeras.testing.messages import Wording, check, decades_apart
from vgkeras.testing.profiles import match_profile, read, write
from vgkeras.testing.rows import (
    WEIGHT_GRADIENT,
    check_exclude,
    of_assertions,
    rows_named,
    select_rows,
)

RECORD_VARIABLE = "VGKERAS_RECORD_PROFILES"


def record_profile(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str],
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] = WEIGHT_GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Records the norms of a log or a model for `assert_matches_profile`.

    The file is JSON for people to read and to review: a line per variable and step
    with its name, kind and base-10 logarithm of its norm, or `"none"` (there is no
    gradient), `"zero"` (exactly 0) or `"non-finite"`. An existing file is replaced.

    Args (the others: see `assert_gradients_finite`):
        path: The file to write, conventionally `*.json`.
        steps: The step or steps of a log to record. Default: all that it holds;
            `steps=0` makes a small file that hardly depends on rounding.

    Example:
        >>> testing.record_profile(model, x, y, path="golden.json")  # doctest: +SKIP
    """
    path = _check_path(path)
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
    write(log, path)


def assert_matches_profile(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    path: str | os.PathLike[str],
    tolerance_in_decades: float = 0.1,
    loss: Any = None,
    sample_weight: Any = None,
    kinds: Sequence[str] = WEIGHT_GRADIENT,
    steps: int | Iterable[int] | None = None,
    exclude: Iterable[str | int] = (),
) -> None:
    """Asserts that norms are those of a profile that `record_profile` wrote.

    Nothing is recorded unasked: a missing file is a failure. To record all profiles
    of a test run anew, set the environment variable `VGKERAS_RECORD_PROFILES=1`; each
    assertion then writes its file and fails, so that such a run is never green.

    A variable that is missing or new, as both are when it was renamed, fails too, and
    is told apart from a norm that changed. Names that Keras counts on within a process
    (`dense`, `dense_1`, ...) match whatever number they start from.

    Args (the others: see `assert_gradients_finite`):
        path: The file.
        tolerance_in_decades: Largest difference of base-10 logarithms of norms.
            Default 0.1, a factor of 1.26. None, exactly 0, and Inf or NaN each match
            nothing but themselves.

    Raises:
        AssertionError: If something differs, the file does not exist, or it was just
            recorded.
        ValueError: If the file is no profile.

    Example:
        >>> testing.assert_matches_profile(
        ...     model, x, y, path="golden.json"
        ... )  # doctest: +SKIP
    """
    __tracebackhide__ = of_assertions
    tolerance = _checks.check_positive("tolerance_in_decades", tolerance_in_decades)
    path = _check_path(path)
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
    recorded, head = _profile(log, path)
    recorded = recorded[recorded["kind"].isin(kinds)]
    if steps is not None:
        recorded = recorded[recorded["step"].isin(log.layers["step"])]
    recorded = recorded[~rows_named(recorded, check_exclude(exclude), strict=False)]
    rows = match_profile(recorded, log.layers)
    wording = Wording(
        problem=_problem,
        rule=f"norms within {decades(tolerance)} of {path} (recorded with "
        f"keras {head['versions'].get('keras')} in {', '.join(head['dtypes'])})",
        way_out="If this is intended, record it anew: `record_profile`, or "
        f"{RECORD_VARIABLE}=1 in the environment.",
        expected="recorded",
    )
    rows = rows.rename(columns={"recorded": "expected"})
    check(log, wording, decades_apart(rows, tolerance))


def _profile(log: GradientLog, path: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads a profile, or says how to record it, or records it because asked to."""
    __tracebackhide__ = of_assertions
    if os.environ.get(RECORD_VARIABLE, "0") not in ("", "0"):
        write(log, path)
        raise AssertionError(
            f"Recorded {path} anew, because {RECORD_VARIABLE} is set. Look at what "
            "changed, and run the test again without it."
        )
    try:
        return read(path)
    except FileNotFoundError as error:
        raise AssertionError(
            f"There is no profile {path} yet. Record it with the same arguments, "
            f"`vgkeras.testing.record_profile(..., path={path!r})`, or by running the "
            f"test once with {RECORD_VARIABLE}=1 in the environment."
        ) from error


def _problem(row: pd.Series) -> str:
    if row["note"]:
        return f"is not as recorded: {row['note']}"
    return (
        f"has changed: norm {number_of(row['log10_norm'])}, recorded "
        f"{number_of(row['expected'])}"
    )


def _check_path(value: Any) -> str:
    """Returns `value` as a file name, or raises."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"`path` must be a file name. Received: path={value!r}.")
    return os.fspath(value)
