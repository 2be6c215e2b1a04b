"""The tables of a log: their columns, kinds of rows, logged steps, versions."""

import functools
import math
from collections.abc import Sized
from importlib import metadata as package_metadata
from typing import Any

import pandas as pd

KINDS = ("weight_gradient", "activation", "activation_gradient")
# Kinds of rows of one time step of a recurrent layer.
TIME_KINDS = ("state_gradient", "input_gradient")
TIME = "time"  # column of `layers`: that step, from 1; 0 for rows of no one step
BACKWARDS = "backwards"  # ends the name of a state that goes from the last step on
CALL = "call"  # column of `layers`: which call of its layer, from 1; 0 of a variable
# The columns of `runs`, and what stands there where it is not known.
_UNKNOWN: dict[str, Any] = {
    "run": 0,
    "depth": 0,
    "units": 0,
    "output_units": 0,
    "scale": math.nan,
    "initializer": "",
    "optimizer": "",
    "learning_rate": math.nan,
    "steps": 0,
    "dtype": "",
    "target": "",
    "samples": 0,
    "seed": -1,
    "loss_zero": math.nan,
    "outcome": "",
}
RUN_COLUMNS = tuple(_UNKNOWN)
FORMER_NAMES = {"verdict": "outcome"}  # of columns of `runs`, in version 0.1
# A sweep says these of its runs too; other runs, and older logs, lack them.
REMEDY_COLUMNS = ("activation", "residual", "normalization")
LOSS_COLUMNS = ("run", "step", "loss")
LAYER_COLUMNS = (
    "run",
    "step",
    "layer",
    "name",
    "kind",
    "log10_norm",
    "log10_max",
    "log10_mean",
    "zero_fraction",
    "nonfinite_fraction",
    "frozen_fraction",
    "update_ratio",
    "size",
)
OPTIONAL_COLUMNS = ("log10_mean", "size")  # of `layers`; logs of version 0.1 lack them
# A `GradientLogger` says these too; other logs, and older ones, lack them.
FIT_LAYER_COLUMNS = ("log10_weight", "cosine", "update", "optimizer")
FIT_LOSS_COLUMNS = ("learning_rate",)

COUNTS = (
    *("run", "depth", "units", "output_units", "steps", "samples", "step", "layer"),
    *(TIME, CALL, "update"),
)
INTEGERS = (*COUNTS, "seed")
TEXTS = (
    *("initializer", "optimizer", "dtype", "target", "outcome", "name", "kind"),
    *(*REMEDY_COLUMNS, "remedy"),
)

_PACKAGES = ("vgkeras", "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas")


def run_table(**columns: Any) -> pd.DataFrame:
    """Returns the table `runs`, its columns in order.

    Args:
        **columns: A value for all runs or one for each. Columns that are left out are
            those of a run of which nothing is known: counts 0, numbers NaN, names "".

    Example:
        >>> run_table(depth=[2, 50], scale=0.5)[["run", "depth", "scale", "seed"]]
           run  depth  scale  seed
        0    0      2    0.5    -1
        1    1     50    0.5    -1
    """
    lists = [v for v in columns.values() if isinstance(v, Sized) and type(v) is not str]
    index = pd.RangeIndex(len(lists[0]) if lists else 1)
    return pd.DataFrame({**_UNKNOWN, "run": index, **columns}, index=index)


def logged_steps(steps: int, every: int | None) -> list[int]:
    """Returns the steps whose layers a log holds: every so many, and the last.

    Args:
        steps: Number of updates.
        every: Steps between rows; `None` for no rows.

    Returns:
        0, `every`, 2 `every`, ... and `steps`, in order.

    Example:
        >>> logged_steps(steps=5, every=2)
        [0, 2, 4, 5]
    """
    if every is None:
        return []
    return sorted({*range(0, steps + 1, every), steps})


def versions() -> dict[str, str]:
    """Returns the installed version of each package that shapes the numbers."""
    return dict(_installed())


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    pairs = []
    for package in _PACKAGES:
        try:
            pairs.append((package, package_metadata.version(package)))
        except package_metadata.PackageNotFoundError:
            continue
    return tuple(pairs)


REQUIRED_COLUMNS = {
    "runs": RUN_COLUMNS,
    "losses": LOSS_COLUMNS,
    "layers": tuple(c for c in LAYER_COLUMNS if c not in OPTIONAL_COLUMNS),
}

KNOWN_COLUMNS = {
    "runs": RUN_COLUMNS,
    "losses": (*LOSS_COLUMNS, *FIT_LOSS_COLUMNS),
    "layers": (*LAYER_COLUMNS, TIME, CALL, *FIT_LAYER_COLUMNS),
}
