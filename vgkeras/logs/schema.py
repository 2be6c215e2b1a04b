"""The tables of a log: their columns, kinds of rows, logged steps, versions."""

from __future__ import annotations

import functools
from importlib import metadata as package_metadata

KINDS = ("weight_gradient", "activation", "activation_gradient")
RUN_COLUMNS = (
    "run",
    "depth",
    "units",
    "output_units",
    "scale",
    "initializer",
    "optimizer",
    "learning_rate",
    "steps",
    "dtype",
    "target",
    "samples",
    "seed",
    "loss_zero",
    "outcome",
)
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

COUNTS = ("run", "depth", "units", "output_units", "steps", "samples", "step", "layer")
INTEGERS = (*COUNTS, "seed")
TEXTS = (
    *("initializer", "optimizer", "dtype", "target", "outcome", "name", "kind"),
    *(*REMEDY_COLUMNS, "remedy"),
)

_PACKAGES = ("vgkeras", "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas")


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
    found = []
    for package in _PACKAGES:
        try:
            found.append((package, package_metadata.version(package)))
        except package_metadata.PackageNotFoundError:
            continue
    return tuple(found)


REQUIRED_COLUMNS = {
    "runs": RUN_COLUMNS,
    "losses": LOSS_COLUMNS,
    "layers": tuple(c for c in LAYER_COLUMNS if c not in OPTIONAL_COLUMNS),
}

KNOWN_COLUMNS = {"runs": RUN_COLUMNS, "losses": LOSS_COLUMNS, "layers": LAYER_COLUMNS}
