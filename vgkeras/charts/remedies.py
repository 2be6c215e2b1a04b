"""Remedies, compared in charts."""

import altair as alt
import pandas as pd

from vgkeras import theory
from vgkeras._text import listed, number_of
from vgkeras.charts.edge_bands import NORM_VIEW
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.remedy_theory import (
    expected_activations,
    expected_gradients,
    layers_to_draw,
)
from vgkeras.charts.style import GREY, by_outcome, count_axis, sized, titled
from vgkeras.charts.words import at_ends
from vgkeras.logs import GradientLog
from vgkeras.remedies import compared_runs, quartiles, table

REMEDY_HEIGHT = 780  # pixels of a chart with title, axes and legend of many remedies

_MARKS = (
    "Points: median over seeds at step 0, bars: quartiles. "
    "Dashed, with its band: theory, ± 1 standard deviation."
)
_GRADIENTS = ["gradient_low", "gradient_median", "gradient_high"]


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
        tooltip=["remedy", "depth", "outcome", "share", *theory.OUTCOMES],
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
    rows = table(log)[["remedy", "depth", *_GRADIENTS]].dropna(subset="gradient_median")
    rows.columns = ["series", "depth", "low", "log10", "high"]
    x = count_axis("depth:Q", "depth (number of layers)", padding=14)
    y = "norm of ∂L/∂W, layer 1"
    return titled(
        _measured_over_theory(rows, expected_gradients(log), x, y),
        _gradient_title(rows),
        _MARKS,
        _ends_sentence("Weight gradient of layer 1 at step 0", rows, "depth"),
    )


def activation_by_layer(log: GradientLog, depth: int) -> alt.LayerChart:
    """Draws the norm of the activations at step 0, layer by layer, for each remedy.

    How to read it: flat is a signal that keeps its norm on its way up; the slope is
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
    depths = sorted(compared_runs(log)["depth"].unique().tolist())
    if depth not in depths:
        raise ValueError(
            f"`depth` must be a depth of the log, one of {listed(depths)}. "
            f"Received: depth={depth!r}."
        )
    log = log.select(depth=depth)
    rows, expected = _activations(log), expected_activations(log)
    x = count_axis("layer:Q", "layer (1 = next to the input)")
    return titled(
        _measured_over_theory(rows, expected, x, "norm of activation a"),
        f"Depth {depth}: {_last_activations(rows)}",
        _MARKS,
        _ends_sentence(f"Activations at step 0, depth {depth}", rows, "layer"),
    )


def _outcomes(log: GradientLog) -> pd.DataFrame:
    """What most runs did, the worse of equally many, and their share in words."""
    words = list(theory.OUTCOMES)[::-1]
    cells = table(log)[["remedy", "depth", "runs", *words]]
    counts = (cells[words].max(axis=1) * cells["runs"]).round().astype(int)
    share = counts.astype(str) + "/" + cells["runs"].astype(str)
    # Of equals `idxmax` takes the first.
    return cells.assign(outcome=cells[words].idxmax(axis=1), share=share)


def _activations(log: GradientLog) -> pd.DataFrame:
    """Quartiles over seeds, by remedy and layer; of deep stacks about 50 layers."""
    rows = log.layers
    rows = rows[(rows["kind"] == "activation") & (rows["step"] == 0)]
    rows = rows[rows["layer"].isin(layers_to_draw(log.runs["depth"].max()))]
    rows = rows.merge(log.runs[["run", "remedy"]], on="run")
    norms = rows.groupby(["remedy", "layer"], sort=False)["log10_norm"]
    ends = [(*names, *quartiles(own.to_numpy())) for names, own in norms]
    return pd.DataFrame(ends, columns=["series", "layer", "low", "log10", "high"])


def _measured_over_theory(
    rows: pd.DataFrame, expected: pd.DataFrame, x: alt.X, y: str
) -> alt.LayerChart:
    if rows.empty:
        raise ValueError(
            "`log` must hold layers at step 0. Received: none. "
            "Use what `vgkeras.remedies.compare` returns."
        )
    parts = [rows.assign(origin="measured"), expected.assign(origin="theory")]
    both = pd.concat(parts, ignore_index=True)
    both = both.assign(line=both["series"])
    chart = points_over_lines(both, x, y=y, view=NORM_VIEW, key="remedy")
    return sized(chart, REMEDY_HEIGHT)


def _outcome_title(cells: pd.DataFrame) -> str:
    deepest = cells["depth"].max()
    good = cells.loc[cells["depth"] == deepest, "outcome"] == "trains"
    return f"{_some_remedies(good, 'train')} at depth {deepest}"


def _some_remedies(good: pd.Series, verb: str) -> str:
    """`1 of 27 remedies trains`."""
    noun = "remedy" if len(good) == 1 else "remedies"
    return f"{good.sum()} of {len(good)} {noun} {verb}{'s' if good.sum() == 1 else ''}"


def _outcome_sentence(cells: pd.DataFrame) -> str:
    """Which depths most seeds train at, remedy by remedy; equal ones in one breath."""
    remedies: dict[str, list[str]] = {}
    for remedy, own in cells.groupby("remedy", sort=False):
        depths = own.loc[own["outcome"] == "trains", "depth"].astype(str)
        noun = "depth" if len(depths) == 1 else "depths"
        where = f"at {noun} {', '.join(depths)}" if len(depths) else "at no depth"
        remedies.setdefault(where, []).append(str(remedy))
    words = [f"{where}: {'; '.join(names)}" for where, names in remedies.items()]
    return f"Most seeds train {'. Most seeds train '.join(words)}."


def _gradient_title(rows: pd.DataFrame) -> str:
    first, last = rows["depth"].min(), rows["depth"].max()
    if first == last:
        return f"Weight gradient of layer 1 at depth {last}, by remedy"
    norms = rows.sort_values("depth").groupby("series")["log10"]
    good = (norms.last() - norms.first()).abs() < 1  # of two infinities NaN: no
    return f"{_some_remedies(good, 'keep')} the gradient within a factor of 10"


def _last_activations(rows: pd.DataFrame) -> str:
    last = rows[rows["layer"] == rows["layer"].max()].sort_values("log10")
    ends = last.iloc[:: len(last) - 1 or 1]
    pairs = zip(ends["log10"], ends["series"], strict=True)
    words = [f"{number_of(log10)} with {remedy}" for log10, remedy in pairs]
    return f"the last activation is {' and '.join(words)}"


def _ends_sentence(what: str, rows: pd.DataFrame, across: str) -> str:
    ends = at_ends(rows.groupby("series", sort=False), across)
    return f"{what}, median over seeds. {ends}."
