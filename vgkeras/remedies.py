"""Remedies against vanishing and exploding gradients, compared one change at a time.

Every remedy is one change to the same stack: linear `Dense` layers without bias whose
kernels are a scaled identity, trained by plain gradient descent. `compare` trains them
all with the same seeds and data, `table` counts, the charts draw, `WORDS` says what was
found. Charts take logarithms to base 10; points are measured, dashed lines are theory.
TensorFlow is loaded by `compare` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras._checks import (
    check_each,
    check_every,
    check_finite,
    check_non_empty,
    check_positive_int,
    check_seeds,
    check_unique,
)
from vgkeras.logs import GradientLog, concat, versions


class Remedy(NamedTuple):
    """One change to the stack of scaled identities.

    Args:
        name: What it is called, in charts and in the column `remedy`.
        group: What it changes, one of `GROUPS`.
        options: The arguments of `vgkeras.sweep` that it sets. With `initializers`,
            these replace the scaled identity; else it stays.
    """

    name: str
    group: str
    options: dict[str, Any]


def inverse_depth(depth: int) -> float:
    """Returns the learning rate `1 / depth`, as a function that can be sent."""
    return 1 / depth


BASELINE = "Scaled identity"
GROUPS = (
    "baseline",
    "initial weights",
    "activation",
    "shortcut",
    "normalization",
    "clipping",
    "optimizer",
    "learning rate",
)


def _start(name: str, initializer: str) -> Remedy:
    return Remedy(name, "initial weights", {"initializers": (initializer,)})


def _active(initial: str, activation: str, shown: str) -> Remedy:
    initializer = initial.lower().replace(" ", "_")
    options = {"initializers": (initializer,), "activation": activation}
    return Remedy(f"{initial} + {shown}", "activation", options)


def _clipped(name: str, value: float) -> dict[str, Any]:
    return {"optimizer": {"class_name": "SGD", "config": {name: value}}}


# RMSprop and Adam step by about the learning rate in every weight, so 0.1 is too much.
REMEDIES: tuple[Remedy, ...] = (
    Remedy(BASELINE, "baseline", {}),
    _start("LeCun normal", "lecun_normal"),
    _start("LeCun uniform", "lecun_uniform"),
    _start("Glorot normal", "glorot_normal"),
    _start("Glorot uniform", "glorot_uniform"),
    _start("He normal", "he_normal"),
    _start("He uniform", "he_uniform"),
    _start("Orthogonal", "orthogonal"),
    _start("LSUV", "lsuv"),
    _active("Glorot normal", "relu", "ReLU"),
    _active("He normal", "relu", "ReLU"),
    _active("Glorot normal", "tanh", "tanh"),
    _active("Glorot normal", "sigmoid", "sigmoid"),
    _active("LeCun normal", "selu", "SELU"),
    _active("He normal", "gelu", "GELU"),
    Remedy("Residual", "shortcut", {"residual": True}),
    Remedy("Residual, ReZero", "shortcut", {"residual": "zero"}),
    Remedy("Layer normalization", "normalization", {"normalization": "layer"}),
    Remedy("Batch normalization", "normalization", {"normalization": "batch"}),
    Remedy("Clipping by norm 1", "clipping", _clipped("clipnorm", 1.0)),
    Remedy("Clipping by value 0.1", "clipping", _clipped("clipvalue", 0.1)),
    Remedy("Momentum 0.9", "optimizer", {"optimizer": "momentum"}),
    Remedy("RMSprop", "optimizer", {"optimizer": "rmsprop", "learning_rate": 0.01}),
    Remedy("Adagrad", "optimizer", {"optimizer": "adagrad"}),
    Remedy("Adam", "optimizer", {"optimizer": "adam", "learning_rate": 0.01}),
    Remedy("Learning rate 1/depth", "learning rate", {"learning_rate": inverse_depth}),
)
NAMES = tuple(remedy.name for remedy in REMEDIES)


def compare(
    names: Iterable[str | Remedy] = NAMES,
    *,
    scale: float = 0.5,
    depths: Sequence[int] = (2, 10, 50, 152),
    units: int = 16,
    steps: int = 200,
    learning_rate: float = 0.1,
    seeds: Sequence[int] = tuple(range(5)),
    samples: int = 16,
    target: str = "identity",
    every: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> GradientLog:
    """Trains the same stacks with each remedy in turn.

    Every remedy runs through `vgkeras.sweep` with the same seeds and the same data.
    Random kernels replace the scaled identity; every other remedy keeps it. The
    defaults take half a second for a remedy, after a second or two of compiling.

    Args:
        names: Names of `REMEDIES`, or `Remedy` objects of your own.
        scale: Factor of the identity.
        depths: Numbers of `Dense` layers.
        units: Width of every layer.
        steps: Number of updates of each run.
        learning_rate: Of every remedy that does not set its own.
        seeds: Seeds of the data and of random kernels.
        samples: Number of samples, all in one batch, at least `units`.
        target: A target of `make_data`.
        every: Log the layers at steps 0, `every`, 2 `every`, ... and the last.
            `None` logs step 0 alone, which is much quicker.
        progress: Called as `progress(done, total)`, over all remedies. An exception
            raised in it ends the comparison.

    Returns:
        A measured `GradientLog` without theory. Its `runs` have a column `remedy`; the
        baseline, if it is among `names`, starts at `scale * I`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a remedy is unknown or named twice, or an argument is out of
            range.

    Example:
        >>> log = compare(["Scaled identity", "Orthogonal"])  # doctest: +SKIP
        >>> table(log)  # doctest: +SKIP
    """
    chosen = [_found(name) for name in check_non_empty("names", names)]
    check_unique("names", [remedy.name for remedy in chosen])
    scale = check_finite("scale", scale)
    common = {
        "depths": check_each("depths", depths, check_positive_int),
        "units": units,
        "learning_rate": learning_rate,
        "seed": check_seeds("seeds", list(check_non_empty("seeds", seeds))),
        "samples": samples,
        "target": target,
    }
    every = check_every(every)
    parts = []
    for number, remedy in enumerate(chosen):
        tell = _part_of(progress, number, len(chosen))
        log = _trained(remedy, {**common, "scales": [scale]}, steps, every, tell)
        runs = log.runs.assign(remedy=remedy.name)
        parts.append(log.replace(runs=runs, theory=None))
    origin = "measured by vgkeras.remedies.compare"
    return concat(parts).replace(metadata={"origin": origin, "versions": versions()})


def _found(name: Any) -> Remedy:
    if isinstance(name, Remedy):
        return name
    for remedy in REMEDIES:
        if remedy.name == name:
            return remedy
    raise ValueError(
        f"`names` must hold known remedies: {', '.join(map(repr, NAMES))}. "
        f"Received: {name!r}. Describe one of your own as a `Remedy`."
    )


def _part_of(
    progress: Callable[[int, int], Any] | None, number: int, remedies: int
) -> Callable[[int, int], None]:
    """Counts the steps of one remedy as a part of all."""

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(number * total + done, remedies * total)

    return tell


def _trained(
    remedy: Remedy,
    common: dict[str, Any],
    steps: int,
    every: int | None,
    tell: Callable[[int, int], None],
) -> GradientLog:
    """One remedy; its layers at step 0 take a program of their own, which is quick."""
    from vgkeras.sweeps import sweep  # loads TensorFlow

    arguments = {**common, **remedy.options}
    if "initializers" in remedy.options:
        arguments["scales"] = ()
    log = sweep(**arguments, steps=steps, every=every, progress=tell)
    if every is not None:
        return log
    first = sweep(**arguments, steps=1, every=1).layers
    return log.replace(layers=first[first["step"] == 0].reset_index(drop=True))


def table(log: GradientLog) -> pd.DataFrame:
    """Counts what became of the runs of each remedy at each depth.

    Medians and quartiles are over seeds, and of logarithms. They are runs that there
    are, not means of two, so that -inf (exactly 0) and inf (Inf or NaN) keep their
    place in the order. Of an even number of runs the lower middle one is the median.

    Args:
        log: What `compare` returns.

    Returns:
        A frame, a row per remedy and depth in the order of the log: `remedy, depth,
        runs`; the shares `trains, stalls, diverges`; `loss_low, loss_median,
        loss_high`, quartiles of log10 of the last loss; `gradient_low,
        gradient_median, gradient_high`, of log10 of the Frobenius norm of the first
        layer's weight gradient at step 0 (NaN where none was logged).

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    runs = _runs(log)
    last = log.losses.loc[log.losses.groupby("run")["step"].idxmax()]
    losses = _log10(last.set_index("run")["loss"])
    gradients = _first_gradients(log)
    rows = []
    for (remedy, depth), own in runs.groupby(["remedy", "depth"], sort=False):
        shares = own["verdict"].value_counts(normalize=True)
        rows.append(
            {
                "remedy": remedy,
                "depth": depth,
                "runs": len(own),
                **{word: float(shares.get(word, 0.0)) for word in theory.VERDICTS},
                **_quartiles("loss", losses.reindex(own["run"])),
                **_quartiles("gradient", gradients.reindex(own["run"])),
            }
        )
    return pd.DataFrame(rows)


def _runs(log: GradientLog) -> pd.DataFrame:
    if log.runs.empty or "remedy" not in log.runs:
        raise ValueError(
            "`log` must hold runs with a column `remedy`. "
            f"Received: log={log!r}. Use what `vgkeras.remedies.compare` returns."
        )
    return log.runs


def _log10(values: pd.Series) -> pd.Series:
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(np.log10(values.to_numpy("float64")), index=values.index)


def _first_gradients(log: GradientLog) -> pd.Series:
    """log10 of the first layer's weight gradient at step 0, by run."""
    rows = log.layers
    rows = rows[(rows["kind"] == "weight_gradient") & (rows["step"] == 0)]
    return rows[rows["layer"] == 1].set_index("run")["log10_norm"]


def _quartiles(name: str, values: pd.Series) -> dict[str, float]:
    """Runs at a quarter, a half and three quarters; NaN losses rank with Inf."""
    found = [math.nan] * 3
    if name == "loss":
        values = values.fillna(np.inf)
    values = values.dropna()
    if len(values):
        shares = (0.25, 0.5, 0.75)
        found = np.quantile(values, shares, method="inverted_cdf").tolist()
    ends = ("low", "median", "high")
    return {f"{name}_{end}": at for end, at in zip(ends, found, strict=True)}


WORDS: dict[str, str] = {}
