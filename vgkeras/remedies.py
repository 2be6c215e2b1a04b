"""Remedies against vanishing and exploding gradients, compared one change at a time.

Every remedy is one change to the same stack: linear `Dense` layers without bias whose
kernels are a scaled identity, trained by plain gradient descent. `compare` trains them
all with the same seeds and data, `table` counts, the charts draw, `WORDS` says what was
found. Charts take logarithms to base 10; points are measured, dashed lines are theory.
TensorFlow is loaded by `compare` alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _looks, random_theory, theory
from vgkeras._checks import (
    check_each,
    check_every,
    check_finite,
    check_non_empty,
    check_option,
    check_positive_int,
    check_seeds,
    check_unique,
)
from vgkeras.logs import GradientLog, concat, versions
from vgkeras.random_theory import ACTIVATIONS

HEIGHT = 780  # pixels of a chart with its title, axes and legend of many remedies


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
    check_option("activation", activation, ACTIVATIONS)
    starts = [r for r in REMEDIES if r.group in ("baseline", "initial weights")]
    return tuple(
        Remedy(
            f"{remedy.name}, {activation}",
            remedy.group,
            {**remedy.options, "activation": activation},
        )
        for remedy in starts
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
        runs`; the shares `trains, stalls, diverges`; `loss_low, loss_median,
        loss_high`, quartiles of log10 of the last loss; `gradient_low,
        gradient_median, gradient_high`, of log10 of the Frobenius norm of the first
        layer's weight gradient at step 0 (NaN where none was logged).

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    runs = _runs(log)
    last = log.losses.loc[log.losses.groupby("run")["step"].idxmax()]
    by_run = _log10(last.set_index("run")["loss"]), _first_gradients(log)
    losses, gradients = (values.reindex(runs["run"]).to_numpy() for values in by_run)
    verdicts = runs["verdict"].to_numpy()
    keys = [runs["remedy"], runs["depth"]]
    places = pd.Series(range(len(runs)), runs.index).groupby(keys, sort=False)
    rows = []
    for (remedy, depth), own in places:
        at = own.to_numpy()
        ended = [verdicts[at] == word for word in theory.VERDICTS]
        shares = [float(share) for share in np.mean(ended, axis=1)]
        rows.append(
            {
                "remedy": remedy,
                "depth": depth,
                "runs": len(at),
                **dict(zip(theory.VERDICTS, shares, strict=True)),
                **_quartiles("loss", losses[at]),
                **_quartiles("gradient", gradients[at]),
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


def _quartiles(name: str, values: np.ndarray) -> dict[str, float]:
    """Runs at a quarter, a half and three quarters; NaN losses rank with Inf."""
    found = [math.nan] * 3
    if name == "loss":
        values = np.where(np.isnan(values), np.inf, values)
    values = values[~np.isnan(values)]
    if len(values):
        shares = (0.25, 0.5, 0.75)
        found = np.quantile(values, shares, method="inverted_cdf").tolist()
    ends = ("low", "median", "high")
    return {f"{name}_{end}": at for end, at in zip(ends, found, strict=True)}


# --- Charts --------------------------------------------------------------------------


_FLAG_SHAPES = {_looks.ZERO: "triangle-down", _looks.NONFINITE: "cross"}
_VIEW = (-60.0, 60.0)  # decades that are drawn
_THEORY = "Dashed, with its band: theory, \u00b1 1 standard deviation."


def outcome_by_remedy_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of most runs of each remedy at each depth.

    How to read it: a row is a remedy, a column a depth; colour and shape say what most
    seeds did, the number beside it how many of them. Of equally many the worse is
    drawn. How to misread it: "stalls" is not "vanishes". A stack may stall because it
    cannot represent the target: ReLU gives no negative numbers.

    Args:
        log: What `compare` returns.

    Returns:
        A chart with a mark per remedy and depth.

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    cells = _outcomes(log)
    names = list(dict.fromkeys(cells["remedy"]))
    base = alt.Chart(cells).encode(
        alt.X("depth:O", title="depth (number of layers)", axis=alt.Axis(labelAngle=0)),
        alt.Y("remedy:N", title=None, sort=names, axis=alt.Axis(labelLimit=220)),
        tooltip=["remedy", "depth", "verdict", "share", "trains", "stalls", "diverges"],
    )
    legend = alt.Legend(orient="bottom", title="most seeds")
    marks = base.mark_point(filled=True, size=110, xOffset=-14)
    marks = marks.encode(*_looks.by_verdict(legend))
    text = base.mark_text(align="left", dx=-2, color=_looks.GREY).encode(text="share:N")
    chart = _looks.sized(alt.LayerChart(layer=[marks, text]), alt.Step(22))
    return _looks.titled(
        chart,
        _outcome_title(cells),
        "Beside each mark: how many of the seeds ended so.",
        _outcome_sentence(cells),
    )


def gradient_by_depth(log: GradientLog) -> alt.LayerChart:
    """Draws the weight gradient of layer 1 at step 0 against depth, for each remedy.

    How to read it: a flat line is a remedy that keeps the gradient; a straight one
    that falls or climbs loses or gains the same factor with every layer. The bar
    through a point spans the quartiles over seeds. How to misread it: a good gradient
    at step 0 is not yet a stack that trains. ReZero starts at exactly 0: its factors
    alone learn in the first step.

    Theory follows one direction of Gaussian kernels of the width at hand (for tanh
    and its like: of infinite width, without a band). Its mean is exact for the
    logarithm of that direction; a norm over all directions lies up to 0.3 decades
    higher in deep stacks. Dead ReLU stacks are measured, and flagged, not predicted.

    Args:
        log: What `compare` returns.

    Returns:
        A chart of log10 Frobenius norm of `dL/dW_1` by depth.

    Raises:
        ValueError: If `log` holds no run, no column `remedy`, or no layers at step 0.
    """
    _runs(log)
    rows = table(log).dropna(subset="gradient_median")
    rows = rows.rename(columns=lambda name: name.removeprefix("gradient_"))
    rows = rows[["remedy", "depth", "low", "median", "high"]]
    _check_rows(rows)
    expected = _expected_gradients(log)
    x = _looks.counted("depth:Q", "depth (number of layers)", padding=14)
    chart = _measured_over_theory(rows, expected, x, "norm of \u2202L/\u2202W, layer 1")
    return _looks.titled(
        _looks.sized(chart, HEIGHT),
        _gradient_title(rows),
        f"Points: median over seeds at step 0, bars: quartiles. {_THEORY}",
        _ends_sentence("Weight gradient of layer 1 at step 0", rows, "depth"),
    )


def activation_by_layer(log: GradientLog, depth: int) -> alt.LayerChart:
    """Draws the size of the activations at step 0, layer by layer, for each remedy.

    How to read it: flat is a signal that keeps its size on its way up; the slope is
    the logarithm of the factor of a layer. How to misread it: a normalized stack is
    flat here, whatever its gradients do.

    Args:
        log: What `compare` returns.
        depth: Draw the stacks of this depth.

    Returns:
        A chart of log10 Frobenius norm of `a_l`, batch included, by layer.

    Raises:
        ValueError: If `log` holds no run of that depth, no column `remedy`, or no
            layers at step 0.
    """
    runs = _runs(log)
    if depth not in set(runs["depth"]):
        known = ", ".join(map(str, sorted(runs["depth"].unique())))
        raise ValueError(
            f"`depth` must be a depth of the log, one of {known}. "
            f"Received: depth={depth!r}."
        )
    log = log.select(depth=depth)
    rows = _activations(log)
    _check_rows(rows)
    x = _looks.counted("layer:Q", "layer (1 = next to the input)")
    expected = _expected_activations(log)
    chart = _measured_over_theory(rows, expected, x, "norm of activation a")
    return _looks.titled(
        _looks.sized(chart, HEIGHT),
        f"Depth {depth}: {_ends_title(rows)}",
        f"Points: median over seeds at step 0, bars: quartiles. {_THEORY}",
        _ends_sentence(f"Activations at step 0, depth {depth}", rows, "layer"),
    )


def _outcomes(log: GradientLog) -> pd.DataFrame:
    """What most runs did, the worse of equally many, and their share in words."""
    words = list(theory.VERDICTS)[::-1]
    cells = table(log)[["remedy", "depth", "runs", *words]]
    most = cells[words].idxmax(axis=1)  # the first of equals
    counts = [
        round(row[word] * row["runs"])
        for word, (_, row) in zip(most, cells.iterrows(), strict=True)
    ]
    share = [f"{count}/{of}" for count, of in zip(counts, cells["runs"], strict=True)]
    return cells.assign(verdict=most, share=share)


def _activations(log: GradientLog) -> pd.DataFrame:
    """Quartiles over seeds, by remedy and layer; of deep stacks about 50 layers."""
    rows = log.layers
    rows = rows[(rows["kind"] == "activation") & (rows["step"] == 0)]
    rows = rows.merge(log.runs[["run", "remedy"]], on="run")
    rows = rows[rows["layer"].isin(_drawn_layers(log.runs["depth"].max()))]
    norms = rows.groupby(["remedy", "layer"], sort=False)["log10_norm"]
    found = [
        {"remedy": remedy, "layer": layer, **_quartiles("of", own.to_numpy())}
        for (remedy, layer), own in norms
    ]
    columns = ["remedy", "layer", "of_low", "of_median", "of_high"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.rename(columns=lambda name: name.removeprefix("of_"))


def _drawn_layers(depth: int) -> list[int]:
    """At most about 50 layers, the first and the last among them."""
    return sorted({*range(1, depth + 1, math.ceil(depth / 50)), depth})


def _check_rows(rows: pd.DataFrame) -> None:
    if rows.empty:
        raise ValueError(
            "`log` must hold layers at step 0. Received: none. "
            "Use what `vgkeras.remedies.compare` returns."
        )


def _measured_over_theory(
    rows: pd.DataFrame, expected: pd.DataFrame, x: alt.X, title: str
) -> alt.LayerChart:
    """Medians as points, quartiles as bars, over dashed theory and its band."""
    low, high = _domain(rows, expected)
    rows = _placed(rows, low, high)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    y = alt.Y("y:Q", title=f"{title} (power of ten)", scale=scale)
    color, shape = _appearance(rows)
    look = {"x": x, "color": color}
    points = {**look, "y": y, "tooltip": ["remedy:N", x.shorthand, "value:N"]}
    on = rows["flag"] == ""
    bars = alt.Chart(rows[rows["top"] > rows["bottom"]]).mark_rule(opacity=0.5)
    marks = alt.Chart(rows[on]).mark_point(size=50, strokeWidth=1.8)
    layers = [
        *_band_edges(rows, y, low, high),
        *_expected_marks(expected, look, y, low, high),
        bars.encode(**look, y=alt.Y("bottom:Q"), y2="top:Q"),
        marks.encode(**points, shape=shape),
    ]
    for flag, flagged in rows[~on].groupby("flag"):
        marks = alt.Chart(flagged).mark_point(
            shape=_flag_shape(str(flag)), filled=True, size=80, opacity=0.8
        )
        layers.append(marks.encode(**points))
    return alt.LayerChart(layer=layers)


def _band_edges(
    rows: pd.DataFrame, y: alt.Y, low: float, high: float
) -> list[alt.Chart]:
    """Thin lines: beyond them a height is no number."""
    off, lane = rows.loc[rows["flag"] != "", "y"], (high - low) / 16
    at = [low + lane] * bool((off < low + lane).any())
    at += [high - lane] * bool((off > high - lane).any())
    edges = pd.DataFrame({"y": at}, dtype="float64")
    line = alt.Chart(edges).mark_rule(color=_looks.GREY, opacity=0.6)
    return [line.encode(y=y)] if at else []


def _appearance(rows: pd.DataFrame) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape per remedy; the flags that occur join the same legend."""
    names = list(dict.fromkeys(rows["remedy"]))
    flags = sorted(set(rows["flag"]) - {""})
    columns = 1 if max(map(len, names)) > 14 else 2  # or a phone cuts them off
    legend = alt.Legend(
        orient="bottom", columns=columns, title="remedy", symbolOpacity=1
    )
    legend.labelLimit = 240
    places = {name: i for i, name in enumerate(names)}
    shapes = {flag: _flag_shape(flag) for flag in flags}
    return _looks.by_series("remedy:N", places, shapes, legend)


def _flag_shape(flag: str) -> str:
    return _FLAG_SHAPES.get(flag, "diamond")


def _expected_marks(
    expected: pd.DataFrame, look: dict[str, Any], y: alt.Y, low: float, high: float
) -> list[alt.Chart]:
    """A dashed line and a pale band per remedy, cut at the edges of the axis."""
    if expected.empty:
        return []
    inside = expected["mean"].between(low, high)
    lines = expected.assign(
        y=expected["mean"].where(inside),
        bottom=expected["low"].clip(low, high),
        top=expected["high"].clip(low, high),
    )[["remedy", look["x"].shorthand.split(":")[0], "y", "bottom", "top"]]
    band = alt.Chart(lines[lines["top"] > lines["bottom"]]).mark_area(opacity=0.13)
    line = alt.Chart(lines).mark_line(strokeDash=[6, 4], strokeWidth=1.8)
    return [
        band.encode(**look, y=alt.Y("bottom:Q"), y2="top:Q"),
        line.encode(**look, y=y),
    ]


def _domain(rows: pd.DataFrame, expected: pd.DataFrame) -> tuple[float, float]:
    """Whole decades that hold all finite numbers, and a lane for flagged marks."""
    values = [rows[name] for name in ("low", "median", "high")]
    values += [expected["mean"]] if len(expected) else []
    found = pd.concat(values)
    found = found[found.between(*_VIEW)]
    low = math.floor(found.min()) if len(found) else -1
    high = max(math.ceil(found.max()) if len(found) else 1, low + 1)
    lane = (high - low) / 14
    return low - lane, high + lane


def _placed(rows: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    """Adds where each median is drawn, its flag if that is at an edge, and bars."""
    median = rows["median"]
    inside = median.between(*_VIEW)
    flag = np.select(
        [median == -np.inf, median == np.inf, median < _VIEW[0], median > _VIEW[1]],
        [_looks.ZERO, _looks.NONFINITE, "below 1e-60", "above 1e+60"],
        default="",
    )
    # Within the lane at the edge, each of a few remedies has a height of its own.
    share = 0.35 + 0.1 * (pd.factorize(rows["remedy"])[0] % 6)
    inward = (high - low) / 16 * share
    at_edge = np.where(median < 0, low + inward, high - inward)
    return rows.assign(
        flag=flag,
        y=median.where(inside, at_edge),
        value=[_looks.number(value) for value in median],
        bottom=rows["low"].clip(low, high),
        top=rows["high"].clip(low, high),
    )[[*rows.columns[:2], "flag", "y", "value", "bottom", "top"]]


# --- Theory --------------------------------------------------------------------------


class _Typical(NamedTuple):
    """What theory says of the first pass: natural logarithms and their deviations."""

    signal: np.ndarray  # ln(||a_l|| / ||a_0||), shape (depth + 1,)
    signal_deviation: np.ndarray
    gradient: float  # ln ||dL/dW_1||
    gradient_deviation: float


_GAINS = {"lecun": 1.0, "glorot": 1.0, "he": 2.0}


def _expected_gradients(log: GradientLog) -> pd.DataFrame:
    rows = []
    for run, typical in _typical_runs(log):
        mean, deviation = typical.gradient, typical.gradient_deviation
        rows.append((run.remedy, run.depth, mean, mean - deviation, mean + deviation))
    return _base10(rows, "depth")


def _expected_activations(log: GradientLog) -> pd.DataFrame:
    rows = []
    for run, typical in _typical_runs(log):
        start = math.log(run.samples * run.units) / 2  # inputs of mean square 1
        for layer in _drawn_layers(run.depth):
            mean = start + typical.signal[layer]
            deviation = typical.signal_deviation[layer]
            rows.append((run.remedy, layer, mean, mean - deviation, mean + deviation))
    return _base10(rows, "layer")


def _base10(rows: list[tuple], across: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["remedy", across, "mean", "low", "high"])
    return frame.assign(**{n: frame[n] / math.log(10) for n in ("mean", "low", "high")})


def _typical_runs(log: GradientLog) -> list[tuple[Any, _Typical]]:
    """A run of each remedy and depth that theory speaks of, and what it says."""
    runs = log.runs.drop_duplicates(["remedy", "depth"])
    found = [(run, _typical(run)) for run in runs.itertuples()]
    return [(run, said) for run, said in found if said is not None]


def _typical(run: Any) -> _Typical | None:
    known = run.target in ("identity", "scaled") and run.units == run.output_units
    if not known or run.normalization:
        return None
    if run.scale > 0 and run.activation == "linear":
        return _of_scaled_identity(run)
    if run.initializer and not run.residual:
        return _of_random_kernels(run)
    return None


def _of_scaled_identity(run: Any) -> _Typical:
    """Exact: every layer multiplies by one number."""
    last = math.log(run.scale)
    hidden = {"": last, "identity": math.log1p(run.scale), "zero": 0.0}[run.residual]
    growth = [hidden * layer for layer in range(run.depth)]
    signal = np.array([*growth, growth[-1] + last])
    path = 0.0  # from the loss back to layer 1
    if run.depth > 1:
        path = last + (run.depth - 2) * hidden
    if run.residual == "zero" and run.depth > 1:
        path = -math.inf  # its factor is 0
    error = _log(abs(math.expm1(signal[-1] - _log(math.sqrt(run.loss_zero)))))
    error += _log(math.sqrt(run.loss_zero))
    gradient = math.log(2 / math.sqrt(run.units)) + path + error
    return _Typical(signal, np.zeros(run.depth + 1), gradient, 0.0)


def _of_random_kernels(run: Any) -> _Typical | None:
    """The typical stack of orthogonal or of Gaussian kernels."""
    if run.initializer in ("orthogonal", "lsuv"):
        flat = np.zeros(run.depth + 1)
        return _with_gradient(run, flat, flat) if run.activation == "linear" else None
    gain = _GAINS.get(run.initializer.split("_")[0])
    if gain is None:
        return None
    layers = np.arange(run.depth + 1)
    last, variance = theory.typical_log_growth(run.units, gain)
    if run.activation == "linear":
        return _with_gradient(run, layers * last, layers * variance, run.depth)
    if run.activation == "relu":
        _, mean, variance = random_theory.relu_growth(run.units, gain)
        signal = np.append(layers[:-1] * mean, (run.depth - 1) * mean + last)
        return _with_gradient(run, signal, layers * variance, 2 * run.depth - 1)
    q, chi = random_theory.mean_field(run.activation, run.depth, gain, gain)
    signal = np.log(np.append(q[:-1] / gain, q[-2])) / 2  # the last layer is linear
    path = float(np.log(chi[:-1]).sum() / 2)
    return _with_gradient(run, signal, 0.0 * layers, path=path)


def _with_gradient(
    run: Any,
    signal: np.ndarray,
    varied: np.ndarray,
    spread: float = 1.0,
    path: float | None = None,
) -> _Typical:
    """Adds the gradient of layer 1; the error is the target and the stack's answer.

    `spread` is how much larger the mean square of the answer's gradient is than that
    of a target of equal size, because the answer came through the same kernels: in the
    limit of large width `depth` for linear layers, `2 * depth - 1` for ReLU. `path` is
    the logarithm from the loss back to layer 1; by default that of the signal.
    """
    path = signal[-2] if path is None else path
    answer = 2 * signal[-1] + math.log(spread)
    error = np.logaddexp(_log(run.loss_zero), answer) / 2
    share = math.exp(answer - 2 * error)  # of the answer in the error
    gradient = math.log(2 / math.sqrt(run.units)) + path + error
    deviation = math.sqrt(varied[-2]) + share * math.sqrt(varied[-1])
    return _Typical(signal, np.sqrt(varied), float(gradient), deviation)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


# --- Words ---------------------------------------------------------------------------


def _outcome_title(cells: pd.DataFrame) -> str:
    deepest = cells["depth"].max()
    at = cells[cells["depth"] == deepest]
    trained = int((at["verdict"] == "trains").sum())
    noun = "remedy" if len(at) == 1 else "remedies"
    verb = "trains" if trained == 1 else "train"
    return f"{trained} of {len(at)} {noun} {verb} at depth {deepest}"


def _outcome_sentence(cells: pd.DataFrame) -> str:
    """Which depths most seeds train at, remedy by remedy; equal ones in one breath."""
    trained = cells[cells["verdict"] == "trains"].groupby("remedy")["depth"]
    depths = {remedy: tuple(own) for remedy, own in trained}
    together: dict[tuple, list[str]] = {}
    for remedy in dict.fromkeys(cells["remedy"]):
        together.setdefault(depths.get(remedy, ()), []).append(str(remedy))
    told = []
    for at, names in together.items():
        noun = "depth" if len(at) == 1 else "depths"
        where = f"at {noun} {', '.join(map(str, at))}" if at else "at no depth"
        told.append(f"{where}: {'; '.join(names)}")
    return f"Most seeds train {'. Most seeds train '.join(told)}."


def _gradient_title(rows: pd.DataFrame) -> str:
    first, last = rows["depth"].min(), rows["depth"].max()
    if first == last:
        return f"Weight gradient of layer 1 at depth {last}, by remedy"
    kept = 0
    for _, own in rows.groupby("remedy", sort=False):
        ends = own.sort_values("depth")["median"].to_numpy()
        kept += bool(np.isfinite(ends).all() and abs(ends[-1] - ends[0]) < 1)
    count = rows["remedy"].nunique()
    noun = "remedy" if count == 1 else "remedies"
    verb = "keeps" if kept == 1 else "keep"
    return f"{kept} of {count} {noun} {verb} the gradient within a factor of 10"


def _ends_title(rows: pd.DataFrame) -> str:
    told = []
    for remedy, own in rows.groupby("remedy", sort=False):
        last = own.sort_values("layer")["median"].iloc[-1]
        told.append((last, f"{_looks.number(last)} with {remedy}"))
    told.sort(key=lambda pair: pair[0])
    words = list(dict.fromkeys([told[0][1], told[-1][1]]))
    return f"the last activation is {' and '.join(words)}"


def _ends_sentence(what: str, rows: pd.DataFrame, across: str) -> str:
    told = []
    for remedy, own in rows.groupby("remedy", sort=False):
        own = own.sort_values(across).iloc[[0, -1]].drop_duplicates(across)
        ends = [
            f"{_looks.number(value)} at {across} {at}"
            for at, value in zip(own[across], own["median"], strict=True)
        ]
        told.append(f"{remedy}: {', '.join(ends)}")
    return f"{what}, median over seeds. {'; '.join(told)}."


# What `compare` measures with its defaults, unless said otherwise: 16 units, c = 0.5.
# Every number is held by a test.
WORDS: dict[str, str] = {
    "baseline": (
        "Every layer multiplies by c = 0.5, so the gradient of layer 1 halves with "
        "every layer: 0.19 at depth 2, 9.8e-04 at 10, 8.9e-16 at 50, and exactly 0 at "
        "152, where float32 has no smaller number. Only the stack of 2 layers trains."
    ),
    "initial weights": (
        "Orthogonal kernels keep every norm: the gradient of layer 1 is 0.7 at every "
        "depth. Gaussian kernels keep it on average, but the typical stack is not the "
        "average one: LeCun's loses two decades in 152 layers. He's are made for ReLU; "
        "in a linear stack they explode, and it diverges from depth 10 on. And a good "
        "gradient is not all: an orthogonal stack that mirrors space cannot become the "
        "identity, as its determinant would have to pass through 0. One of 16 "
        "directions stays unlearned, and the loss stays at 1/16."
    ),
    "activation": (
        "ReLU turns half of the units off; He's kernels make up for it on average. At "
        "depth 152 the gradient of layer 1 is then near 1e-6, with Glorot's kernels "
        "near 1e-28. Narrow stacks die all the same: with 2 units and 152 layers the "
        "odds of one live path are 1e-19, and every gradient is exactly 0. The slope "
        "of sigmoid is 1/4 at most: 1e-6 at depth 10, exactly 0 at 152. No depth of "
        "either trains here, for a further reason too: neither can be the identity."
    ),
    "shortcut": (
        "A shortcut around c times the identity makes the factor of a hidden layer "
        "1 + c = 1.5: what vanished now explodes, and diverges from depth 10 on. "
        "ReZero multiplies the new part by 0 at first, so the stack starts as the "
        "identity. At the first step the kernels' gradients are exactly 0 and the "
        "factors learn alone. It trains to depth 10 at a learning rate of 0.1 and to "
        "depth 152 at 0.02: of these remedies the only one that does so at every seed."
    ),
    "normalization": (
        "Behind a normalization the scale of a kernel is of no account, and the "
        "gradient of layer 1 no longer depends on depth: 3e-08 at depths 10, 50 and "
        "152. It is that small because a normalized scaled identity points the right "
        "way already. But layer normalization takes the mean out of every sample and "
        "nothing brings it back: the loss stays above 1/16, and near 1 at depth 152."
    ),
    "clipping": (
        "Clipping shortens long gradients and cannot lengthen short ones: at c = 0.5 "
        "every loss is that of the scaled identity. It cures exploding: at c = 1.1 the "
        "scaled identity diverges at depths 50 and 152, and trains there when "
        "gradients are clipped by norm 1."
    ),
    "optimizer": (
        "Adam divides a gradient by its own usual size, so a small one counts as much "
        "as a large one: at depth 10 the loss falls below 0.3, where plain descent "
        "stays above 0.99. At depth 50 the gradient, 8.9e-16, is far below Adam's "
        "epsilon of 1e-7, and nothing moves. A momentum of 0.9 is worth ten times the "
        "learning rate: it trains at depth 10, and not at 50."
    ),
    "learning rate": (
        "Dividing the learning rate by the depth cannot cure vanishing: at c = 0.5 the "
        "verdicts do not change. It keeps deep stacks stable, since the curvature at "
        "the solution grows with depth: from c = 1 to the target x / 2 with a learning "
        "rate of 0.5 the stack of 152 layers does not train, with 1 / depth it does."
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares all remedies, and writes the log to the path on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="Parquet file to write")
    path = parser.parse_args(arguments).path
    settings: dict[str, Any] = {
        "scale": 0.5,
        "units": 16,
        "learning_rate": 0.1,
        "steps": 500,
        "depths": [2, 10, 50, 152],
    }
    log = compare(**settings)
    told = {
        "recorded": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": "python -m vgkeras.remedies assets/remedies.parquet",
        "arguments": settings,
    }
    log.replace(metadata={**log.metadata, **told}).save(path)
    print(table(log).to_string())


if __name__ == "__main__":
    main()
