"""Remedies against vanishing and exploding gradients, compared one change at a time.

Every remedy is one change to the same stack: linear `Dense` layers without bias whose
kernels are a scaled identity, trained by plain gradient descent. `compare` trains them
all with the same seeds and data, `table` counts, `vgkeras.charts` draws,
`comparison_sentences` says what came out. TensorFlow is loaded by `compare` alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras import _checks, theory
from vgkeras.logs import GradientLog, concat, versions
from vgkeras.theory import ACTIVATIONS


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


def _initializers(name: str) -> dict[str, Any]:
    return {"initializers": (name.lower().replace(" ", "_"),)}


def _start(name: str) -> Remedy:
    return Remedy(name, "initial weights", _initializers(name))


def _active(initial: str, activation: str, label: str) -> Remedy:
    options = {**_initializers(initial), "activation": activation}
    return Remedy(f"{initial} + {label}", "activation", options)


def _clipped(name: str, value: float) -> dict[str, Any]:
    return {"optimizer": {"class_name": "SGD", "config": {name: value}}}


# RMSprop and Adam step by about the learning rate in every weight, so 0.1 is too much.
REMEDIES: tuple[Remedy, ...] = (
    Remedy(BASELINE, "baseline", {}),
    _start("LeCun normal"),
    _start("LeCun uniform"),
    _start("Glorot normal"),
    _start("Glorot uniform"),
    _start("He normal"),
    _start("He uniform"),
    _start("Orthogonal"),
    _start("LSUV"),
    _active("Glorot normal", "relu", "ReLU"),
    _active("He normal", "relu", "ReLU"),
    _active("Glorot normal", "tanh", "tanh"),
    _active("Glorot normal", "sigmoid", "sigmoid"),
    _active("LeCun normal", "selu", "SELU"),
    _active("He normal", "gelu", "GELU"),
    Remedy("Residual", "shortcut", {"residual": True}),
    Remedy("Residual, ReZero", "shortcut", {"residual": "zero"}),
    Remedy(
        "Residual, ReZero, rate 0.02",
        "shortcut",
        {"residual": "zero", "learning_rate": 0.02},
    ),
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
GROUPS = tuple(dict.fromkeys(remedy.group for remedy in REMEDIES))
_QUARTILES = {"low": 0.25, "median": 0.5, "high": 0.75}


def initial_weights(activation: str = "linear") -> tuple[Remedy, ...]:
    """Returns every way to begin, each with the same activation of hidden layers.

    Args:
        activation: One of `ACTIVATIONS`.

    Returns:
        The scaled identity, then each of `REMEDIES` that sets initial weights.

    Raises:
        ValueError: If there is no such activation.

    Example:
        >>> [remedy.name for remedy in initial_weights("relu")][:2]
        ['Scaled identity, relu', 'LeCun normal, relu']
    """
    _checks.check_option("activation", activation, ACTIVATIONS)
    return tuple(
        Remedy(f"{name}, {activation}", group, {**options, "activation": activation})
        for name, group, options in REMEDIES
        if group in ("baseline", "initial weights")
    )


def compare(
    names: Iterable[str | Remedy] = NAMES,
    *,
    scale: float = 0.5,
    depths: Sequence[int] = (2, 10, 50, 152),
    units: int = 16,
    steps: int = 500,
    learning_rate: float = 0.1,
    seeds: Sequence[int] = tuple(range(5)),
    samples: int = 16,
    target: str = "identity",
    every: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
    after_each: Callable[[GradientLog], Any] | None = None,
) -> GradientLog:
    """Trains the same stacks with each remedy in turn.

    Every remedy runs through `vgkeras.sweep` with the same seeds and the same data.
    Random kernels replace the scaled identity; every other remedy keeps it. The
    defaults take about a second for a remedy, after some seconds of compiling for those
    that change the layers or the optimizer.

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
            `None` logs step 0 alone, which is much quicker, and leaves out what the
            update does: `frozen_fraction` and `update_ratio` are NaN.
        progress: Called as `progress(done, total)`, over all remedies. An exception
            raised in it ends the comparison.
        after_each: Called after each remedy but the last with what would be returned
            if it had been the last.

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
    remedies = [_remedy(name) for name in _checks.check_non_empty("names", names)]
    _checks.check_unique("names", [remedy.name for remedy in remedies])
    scale = _checks.check_finite("scale", scale)
    common = {
        "depths": _checks.check_each("depths", depths, _checks.check_positive_int),
        "units": units,
        "learning_rate": learning_rate,
        "seed": _checks.check_seeds(
            "seeds", list(_checks.check_non_empty("seeds", seeds))
        ),
        "samples": samples,
        "target": target,
    }
    every = _checks.check_every(every)
    parts: list[GradientLog] = []

    def tell(done: int, total: int) -> None:
        if progress is not None:  # the steps of one remedy are a part of all
            progress(len(parts) * total + done, len(remedies) * total)

    for remedy in remedies:
        log = _log_of(remedy, {**common, "scales": [scale]}, steps, every, tell)
        runs = log.runs.assign(remedy=remedy.name)
        parts.append(log.replace(runs=runs, theory=None))
        if after_each is not None and len(parts) < len(remedies):
            after_each(_joined(parts))
    return _joined(parts)


def _joined(parts: list[GradientLog]) -> GradientLog:
    origin = "measured by vgkeras.remedies.compare"
    return concat(parts).replace(metadata={"origin": origin, "versions": versions()})


def _remedy(name: Any) -> Remedy:
    if isinstance(name, Remedy):
        return name
    for remedy in REMEDIES:
        if remedy.name == name:
            return remedy
    raise ValueError(
        f"`names` must hold known remedies: {', '.join(map(repr, NAMES))}. "
        f"Received: {name!r}. Describe one of your own as a `Remedy`."
    )


def _log_of(
    remedy: Remedy,
    common: dict[str, Any],
    steps: int,
    every: int | None,
    tell: Callable[[int, int], None],
) -> GradientLog:
    """One remedy: its losses, and its layers at the steps asked for."""
    from vgkeras.sweeps import sweep  # loads TensorFlow

    arguments = {**common, **remedy.options}
    if "initializers" in remedy.options:
        arguments["scales"] = ()
    log = sweep(**arguments, steps=steps, every=every, progress=tell)
    if every is not None:
        return log
    # Before the first update the optimizer has no part: all share one program.
    arguments.update(optimizer="sgd", learning_rate=common["learning_rate"])
    first = sweep(**arguments, steps=1, every=1).layers
    first = first[first["step"] == 0].reset_index(drop=True)
    return log.replace(layers=first.assign(frozen_fraction=np.nan, update_ratio=np.nan))


def table(log: GradientLog) -> pd.DataFrame:
    """Counts what became of the runs of each remedy at each depth.

    Medians and quartiles are over seeds, and of logarithms. They are runs that there
    are, not means of two, so that -inf (exactly 0) and inf (Inf or NaN) keep their
    place in the order. Of an even number of runs the lower middle one is the median.

    Args:
        log: What `compare` returns.

    Returns:
        A frame, a row per remedy and depth in the order of the log: `remedy, depth,
        runs`; the shares `trains, slow, stalls, diverges`; `loss_low, loss_median,
        loss_high`, quartiles of log10 of the last loss; `gradient_low,
        gradient_median, gradient_high`, of log10 of the Frobenius norm of the first
        layer's weight gradient at step 0 (NaN where none was logged).

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    runs = compared_runs(log)
    last = log.losses.loc[log.losses.groupby("run")["step"].idxmax()]
    first = log.layers[log.layers["step"] == 0]
    first = first[(first["kind"] == "weight_gradient") & (first["layer"] == 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = np.log10(runs["run"].map(last.set_index("run")["loss"]))
    measures = [
        losses.fillna(np.inf).to_numpy(),  # NaN ranks with Inf
        runs["run"].map(first.set_index("run")["log10_norm"]).to_numpy(),
    ]
    outcomes = np.array([runs["outcome"] == word for word in theory.OUTCOMES])
    places = pd.Series(range(len(runs)), runs.index)
    rows = []
    for names, own in places.groupby([runs["remedy"], runs["depth"]], sort=False):
        at = own.to_numpy()
        shares = outcomes[:, at].mean(axis=1).tolist()
        ends = chain(*(quartiles(values[at]) for values in measures))
        rows.append((*names, len(at), *shares, *ends))
    names = [f"{name}_{end}" for name in ("loss", "gradient") for end in _QUARTILES]
    columns = ["remedy", "depth", "runs", *theory.OUTCOMES, *names]
    return pd.DataFrame(rows, columns=columns)


def compared_runs(log: GradientLog) -> pd.DataFrame:
    """The runs of a comparison, or raises."""
    if log.runs.empty or "remedy" not in log.runs:
        raise ValueError(
            "`log` must hold runs with a column `remedy`. "
            f"Received: log={log!r}. Use what `vgkeras.remedies.compare` returns."
        )
    return log.runs


def quartiles(values: np.ndarray) -> list[float]:
    """Values at a quarter, a half and three quarters of those that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return [math.nan] * 3
    shares = list(_QUARTILES.values())
    return np.quantile(values, shares, method="inverted_cdf").tolist()
