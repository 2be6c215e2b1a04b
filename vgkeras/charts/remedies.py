"""Remedies, compared in charts."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras._text import NONFINITE, ZERO, number_of
from vgkeras.charts.remedy_theory import (
    expected_activations,
    expected_gradients,
    layers_to_draw,
)
from vgkeras.charts.style import (
    GREY,
    by_outcome,
    by_series,
    counted,
    sized,
    titled,
)
from vgkeras.logs import GradientLog
from vgkeras.remedies import compared_runs, quartiles, table

REMEDY_HEIGHT = (
    780  # pixels of a chart with its title, axes and legend of many remedies
)

_FLAG_SHAPES = {ZERO: "triangle-down", NONFINITE: "cross"}
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
        tooltip=["remedy", "depth", "outcome", "share", "trains", "stalls", "diverges"],
    )
    legend = alt.Legend(orient="bottom", title="most seeds")
    marks = base.mark_point(filled=True, size=110, xOffset=-14)
    marks = marks.encode(*by_outcome(legend))
    text = base.mark_text(align="left", dx=-2, color=GREY).encode(text="share:N")
    chart = sized(alt.LayerChart(layer=[marks, text]), alt.Step(22))
    return titled(
        chart,
        _outcome_title(cells),
        "Beside each mark: how many of the seeds ended so.",
        _outcome_sentence(cells),
    )


def remedy_gradient_by_depth(log: GradientLog) -> alt.LayerChart:
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
    compared_runs(log)
    rows = table(log).dropna(subset="gradient_median")
    rows = rows.rename(columns=lambda name: name.removeprefix("gradient_"))
    rows = rows[["remedy", "depth", "low", "median", "high"]]
    _check_rows(rows)
    expected = expected_gradients(log)
    x = counted("depth:Q", "depth (number of layers)", padding=14)
    chart = _measured_over_theory(rows, expected, x, "norm of \u2202L/\u2202W, layer 1")
    return titled(
        sized(chart, REMEDY_HEIGHT),
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
    runs = compared_runs(log)
    if depth not in set(runs["depth"]):
        known = ", ".join(map(str, sorted(runs["depth"].unique())))
        raise ValueError(
            f"`depth` must be a depth of the log, one of {known}. "
            f"Received: depth={depth!r}."
        )
    log = log.select(depth=depth)
    rows = _activations(log)
    _check_rows(rows)
    x = counted("layer:Q", "layer (1 = next to the input)")
    expected = expected_activations(log)
    chart = _measured_over_theory(rows, expected, x, "norm of activation a")
    return titled(
        sized(chart, REMEDY_HEIGHT),
        f"Depth {depth}: {_ends_title(rows)}",
        f"Points: median over seeds at step 0, bars: quartiles. {_THEORY}",
        _ends_sentence(f"Activations at step 0, depth {depth}", rows, "layer"),
    )


def _outcomes(log: GradientLog) -> pd.DataFrame:
    """What most runs did, the worse of equally many, and their share in words."""
    words = list(theory.OUTCOMES)[::-1]
    cells = table(log)[["remedy", "depth", "runs", *words]]
    most = cells[words].idxmax(axis=1)  # the first of equals
    counts = [
        round(row[word] * row["runs"])
        for word, (_, row) in zip(most, cells.iterrows(), strict=True)
    ]
    share = [f"{count}/{of}" for count, of in zip(counts, cells["runs"], strict=True)]
    return cells.assign(outcome=most, share=share)


def _activations(log: GradientLog) -> pd.DataFrame:
    """Quartiles over seeds, by remedy and layer; of deep stacks about 50 layers."""
    rows = log.layers
    rows = rows[(rows["kind"] == "activation") & (rows["step"] == 0)]
    rows = rows.merge(log.runs[["run", "remedy"]], on="run")
    rows = rows[rows["layer"].isin(layers_to_draw(log.runs["depth"].max()))]
    norms = rows.groupby(["remedy", "layer"], sort=False)["log10_norm"]
    found = [
        {"remedy": remedy, "layer": layer, **quartiles("of", own.to_numpy())}
        for (remedy, layer), own in norms
    ]
    columns = ["remedy", "layer", "of_low", "of_median", "of_high"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.rename(columns=lambda name: name.removeprefix("of_"))


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
    line = alt.Chart(edges).mark_rule(color=GREY, opacity=0.6)
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
    return by_series("remedy:N", places, shapes, legend)


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
        [ZERO, NONFINITE, "below 1e-60", "above 1e+60"],
        default="",
    )
    # Within the lane at the edge, each of a few remedies has a height of its own.
    share = 0.35 + 0.1 * (pd.factorize(rows["remedy"])[0] % 6)
    inward = (high - low) / 16 * share
    at_edge = np.where(median < 0, low + inward, high - inward)
    return rows.assign(
        flag=flag,
        y=median.where(inside, at_edge),
        value=[number_of(value) for value in median],
        bottom=rows["low"].clip(low, high),
        top=rows["high"].clip(low, high),
    )[[*rows.columns[:2], "flag", "y", "value", "bottom", "top"]]


def _outcome_title(cells: pd.DataFrame) -> str:
    deepest = cells["depth"].max()
    at = cells[cells["depth"] == deepest]
    trained = int((at["outcome"] == "trains").sum())
    noun = "remedy" if len(at) == 1 else "remedies"
    verb = "trains" if trained == 1 else "train"
    return f"{trained} of {len(at)} {noun} {verb} at depth {deepest}"


def _outcome_sentence(cells: pd.DataFrame) -> str:
    """Which depths most seeds train at, remedy by remedy; equal ones in one breath."""
    trained = cells[cells["outcome"] == "trains"].groupby("remedy")["depth"]
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
        told.append((last, f"{number_of(last)} with {remedy}"))
    told.sort(key=lambda pair: pair[0])
    words = list(dict.fromkeys([told[0][1], told[-1][1]]))
    return f"the last activation is {' and '.join(words)}"


def _ends_sentence(what: str, rows: pd.DataFrame, across: str) -> str:
    told = []
    for remedy, own in rows.groupby("remedy", sort=False):
        own = own.sort_values(across).iloc[[0, -1]].drop_duplicates(across)
        ends = [
            f"{number_of(value)} at {across} {at}"
            for at, value in zip(own[across], own["median"], strict=True)
        ]
        told.append(f"{remedy}: {', '.join(ends)}")
    return f"{what}, median over seeds. {'; '.join(told)}."
