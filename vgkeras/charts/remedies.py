"""Remedies, compared in charts."""

import altair as alt
import pandas as pd

from vgkeras import theory
from vgkeras._text import listed, number_of, typeset
from vgkeras.charts.edge_bands import NORM_VIEW
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.remedy_theory import (
    expected_activations,
    expected_gradients,
    layers_to_draw,
)
from vgkeras.charts.style import (
    GREY,
    by_outcome,
    count_axis,
    depth_axis,
    every_depth,
    sized,
    titled,
)
from vgkeras.charts.words import at_ends
from vgkeras.logs import GradientLog
from vgkeras.remedies import baseline_of, compared_runs, quartiles, table

REMEDY_HEIGHT = 700  # pixels of a chart with title, axes and legend of many remedies

_ROW = 22  # pixels of a remedy in the chart of outcomes

_MARKS = (
    "Points: median over seeds at step 0, bars: quartiles. "
    "Dashed, with its band: theory, ± 1 standard deviation."
)
_GRADIENTS = ["gradient_low", "gradient_median", "gradient_high"]


def outcome_by_remedy_and_depth(log: GradientLog) -> alt.LayerChart:
    """Draws what became of most runs of each remedy at each depth.

    How to read it: a row is a remedy, the first one none, a column a depth; colour and
    shape say what most seeds did, the number beside it how many of them. Of equally
    many the worse is drawn. How to misread it: "stalls" is not "vanishes". A stack may
    stall because it cannot represent the target: ReLU gives no negative numbers.

    Args:
        log: What `compare` returns.

    Returns:
        A chart with a mark per remedy and depth.

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    cells = _outcomes(log)
    names = list(dict.fromkeys(cells["remedy"]))
    baseline = baseline_of(names)
    names.sort(key=lambda name: name != baseline)
    base = alt.Chart(cells).encode(
        alt.X(
            "depth:O", title="depth L (number of layers)", axis=alt.Axis(labelAngle=0)
        ),
        alt.Y("remedy:N", title=None, sort=names, axis=alt.Axis(labelLimit=220)),
        tooltip=[
            alt.Tooltip("remedy:N"),
            alt.Tooltip("depth:Q", title="depth L"),
            *(alt.Tooltip(f"{name}:Q", title=name) for name in theory.OUTCOMES),
        ],
    )
    legend = alt.Legend(orient="bottom", title="most seeds", columns=2)
    marks = base.mark_point(filled=True, size=110, xOffset=-14)
    marks = marks.encode(*by_outcome(legend))
    text = base.mark_text(align="left", dx=-2, color=GREY).encode(
        text=alt.Text("share:N")
    )
    layers = [marks, text] if baseline is None else [marks, text, _line_below(names)]
    chart = sized(alt.LayerChart(layer=layers), alt.Step(_ROW))
    return titled(
        chart,
        _outcome_title(cells),
        "Beside each mark: how many of the seeds ended so.",
        _outcome_sentence(cells),
    )


def outcome_height(remedies: int) -> int:
    """Returns the height of that chart in pixels, with title, axis and legend."""
    return 190 + _ROW * remedies


def remedy_gradient_by_depth(log: GradientLog) -> alt.LayerChart:
    """Draws the weight gradient of layer 1 at step 0 against depth, for each remedy.

    How to read it: a flat line is a remedy that keeps the gradient; one that falls or
    climbs loses or gains the same factor with every layer. The bar through a point
    spans the quartiles over seeds. Remedies whose points are equal are drawn once.
    How to misread it: a good gradient at step 0 is not yet a stack that trains. ReZero
    starts at exactly 0: its factors alone learn in the first step.

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
    depths = rows["depth"].unique().tolist()
    x = depth_axis(depths or [1])
    expected = expected_gradients(log, every_depth(depths or [1]))
    return titled(
        _measured_over_theory(rows, expected, x, "norm of ∂L/∂W, layer 1"),
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


def _line_below(names: list[str]) -> alt.Chart:
    """Sets the first row, which is no remedy, apart from the remedies below it."""
    line = alt.Chart(pd.DataFrame({"remedy": names[:1]}))
    line = line.mark_rule(color=GREY, opacity=0.6, tooltip=None)
    return line.encode(y=alt.Y("remedy:N", title=None, sort=names, bandPosition=1))


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
    both = both.assign(series=both["series"].replace(_joint_names(rows, x)))
    both = both.drop_duplicates(["origin", "series", _across(x)])
    both = both.assign(
        line=both["series"], between=~both[_across(x)].isin(rows[_across(x)])
    )
    chart = points_over_lines(both, x, y=y, view=NORM_VIEW, key="remedy")
    return sized(chart, REMEDY_HEIGHT)


def _joint_names(rows: pd.DataFrame, x: alt.X) -> dict[str, str]:
    """One name for remedies whose points lie on each other: they are drawn once."""
    names: dict[bytes, list[str]] = {}
    for name, own in rows.groupby("series", sort=False):
        numbers = own[[_across(x), "low", "log10", "high"]].to_numpy("float64")
        names.setdefault(numbers.tobytes(), []).append(str(name))
    joint: dict[str, str] = {}
    for first, *others in names.values():
        more = others if len(others) < 3 else [f"{len(others)} others"]
        joint |= dict.fromkeys([first, *others], " = ".join([first, *more]))
    return joint


def _across(x: alt.X) -> str:
    return x.shorthand.split(":")[0]


def _outcome_title(cells: pd.DataFrame) -> str:
    """How deep the best remedies train, and how deep the stack does without any."""
    good = cells["depth"].where(cells["outcome"] == "trains", 0)
    deepest = good.groupby(cells["remedy"], sort=False).max().to_dict()
    baseline = baseline_of(list(deepest))
    without = deepest.pop(baseline, None) if baseline is not None else None
    words = [_best(deepest)] if deepest else []
    if without is not None:
        words.append(
            f"{baseline} {f'to depth {without}' if without else 'at no depth'}"
        )
    return ", ".join(words) if len(words) > 1 else words[0]


def _best(deepest: dict[str, int]) -> str:
    """`2 of 7 remedies train to depth 152`."""
    depth = max(deepest.values())
    if not depth:
        return "No remedy trains"
    best = [name for name, reached in deepest.items() if reached == depth]
    if len(best) == 1:
        return f"{best[0]} trains to depth {depth}"
    return f"{len(best)} of {len(deepest)} remedies train to depth {depth}"


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
    baseline = baseline_of(rows["series"].unique().tolist())
    remedies = rows[rows["series"] != baseline]
    if first == last or remedies.empty:
        return f"Weight gradient of layer 1, by remedy, to depth {last}"
    norms = remedies.sort_values("depth").groupby("series")["log10"]
    good = (norms.last() - norms.first()).abs() < 1  # of two infinities NaN: no
    nouns = "remedy" if len(good) == 1 else "remedies"
    verb = "keeps" if good.sum() == 1 else "keep"
    words = f"{good.sum()} of {len(good)} {nouns} {verb}"
    return f"{words} the gradient within a factor of 10"


def _last_activations(rows: pd.DataFrame) -> str:
    last = rows[rows["layer"] == rows["layer"].max()].sort_values("log10")
    ends = last.iloc[:: len(last) - 1 or 1]
    pairs = zip(ends["log10"], ends["series"], strict=True)
    words = [f"{typeset(number_of(log10))} with {remedy}" for log10, remedy in pairs]
    return f"the last activation is {' and '.join(words)}"


def _ends_sentence(what: str, rows: pd.DataFrame, across: str) -> str:
    ends = at_ends(rows.groupby("series", sort=False), across)
    return f"{what}, median over seeds. {ends}."
