"""A network to play with: what its layers do follows the sliders, in the browser.

Everything that moves is an expression of three parameters, `c`, `L` and `step`. The
formulas of `vgkeras.theory` give the bars; the points are a run's own numbers, and are
there only while the sliders stand at that run.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import logs, theory
from vgkeras._text import number_of, power_of_ten, run_label
from vgkeras._text import typeset as typeset_text
from vgkeras.charts.by_depth import final_loss_by_depth
from vgkeras.charts.by_step import loss_by_step
from vgkeras.charts.expressions import clamp, superscript, typeset
from vgkeras.charts.rows import only_run, origin_of
from vgkeras.charts.style import description, scale_tone, tick_labels
from vgkeras.theory.edges import FACTORS

SCALES, DEEPEST = (0.5, 1.5), 152  # what the sliders span
NETWORK_HEIGHT, SMALL_HEIGHT = 256, 236  # pixels
# Where the lane of a kind begins, and the logarithm of its factor in a layer. `log_s`
# is the logarithm of the scale as it is now, `log_error` that of the error.
_LANES = {
    "activation": (2, "datum.layer * log_s"),
    "activation_gradient": (1, "(L - datum.layer) * log_s"),
    "weight_gradient": (0, "(L - 1) * log_s + log_error"),
}


class Wording(NamedTuple):
    """What the figure calls what it shows.

    Args:
        lanes: Names of the lanes, by kind.
        passage: What happens to the input, after `0.5 of`.
        total: An expression that is written after the weight gradient.
    """

    lanes: dict[str, str]
    passage: str
    total: str = "''"


_OF_LAYERS = Wording(
    {
        "activation": "forward: activations a →",
        "activation_gradient": "← backward: ∂L/∂a",
        "weight_gradient": "∂L/∂W: the same in every layer",
    },
    " the input reaches the output",
)
_TALL = 0.66  # of a lane; the rest is for words
_MOST_BARS = 60  # side by side; of more, the gaps would be less than a pixel
_REACH = 3  # decades that a lane shows, up and down
_MOST_ROWS = 4_500  # of measured points
_PHONE = 480  # pixels: in a chart that is narrower, words are few
_LOST = 999.0  # in place of the logarithm of what is no number any more
_INK = "currentColor"  # the text of the page, light or dark


def network(run: logs.GradientLog) -> alt.LayerChart:
    """Draws a network whose layers follow two sliders, and a run of it step by step.

    How to read it: a bar is a layer, and the grey line in a lane is a factor of 1.
    Activations are factors of the input, their gradients factors of the error's,
    weight gradients factors of those of a network with c = 1 that answers 0. Bars are
    exact theory, points are measured. How to misread it: lanes are logarithmic, from
    a millionth to a million: half as high is not half as much.

    Args:
        run: Exactly one run of the target `identity` or `scaled`: where the sliders
            stand first. Points need its layers.

    Returns:
        A chart with the parameters `c` (the scale), `L` (the depth) and `step`, each
        bound to a slider.

    Raises:
        ValueError: If `run` does not hold exactly one run, or one of another target.
    """
    row = only_run(run)
    target = _target(row)
    points = _points(run, row, target)
    parameters = _parameters(row, target, points["step"].unique())
    chart = lanes(_OF_LAYERS, parameters, list(_marks(points)))
    chart.description = _sentence(row)
    return chart


def lanes(
    wording: Wording, parameters: list[Any], marks: list[alt.Chart]
) -> alt.LayerChart:
    """The bars of all lanes, with marks and words over them.

    `parameters` hold `c`, `L`, `log_s`, `log_error`, `tone` and `trains`.
    """
    chart = alt.LayerChart()
    chart.layer = [*map(_bars, _LANES), *marks, *_words(wording)]
    chart.params = [one.param for one in parameters]
    chart.width, chart.height = 560, NETWORK_HEIGHT
    chart.autosize = alt.AutoSizeParams(type="fit", contains="padding")
    return chart


def marked_loss_by_depth(log: logs.GradientLog, depth: int = 50) -> alt.LayerChart:
    """`final_loss_by_depth`, small, with a line at the depth that a slider `L` sets.

    How to read or misread it: as `final_loss_by_depth`.
    """
    chart = final_loss_by_depth(log, height=SMALL_HEIGHT)
    slider = _slider("L", depth, 1, DEEPEST)
    ends = log.runs["depth"].min(), log.runs["depth"].max()
    return _marked(chart, "depth", slider, "Loss after training, by depth L", ends)


def marked_loss_by_step(run: logs.GradientLog) -> alt.LayerChart:
    """`loss_by_step` of one run, small, with a line where a slider `step` stands.

    How to read or misread it: as `loss_by_step`.
    """
    row = only_run(run)
    title = f"Loss by step: {run_label(row)} {row['outcome'] or ''}"
    slider, ends = _slider("step", 0, 0, row["steps"]), (0, row["steps"])
    return _marked(loss_by_step(run), "step", slider, title, ends)


def explorer(log: logs.GradientLog, *, scale: float, depth: int) -> alt.VConcatChart:
    """Draws the lesson to play with: a network, loss by depth, loss by step.

    How to read it: move the sliders `c` and `L` and the network follows, in the
    browser alone; `step` goes through the training of one run. How to misread it: only
    that run was measured. For any other position of `c` and `L` the bars are what
    theory says before the first step.

    Args:
        log: Runs of several scales and depths, with their theory, as
            `vgkeras.sweep(target="scaled")` returns them.
        scale: That of the run whose training `step` goes through.
        depth: Its number of layers.

    Returns:
        `network` above `final_loss_by_depth` and `loss_by_step`, under one set of
        sliders.

    Raises:
        ValueError: If `log` does not hold exactly one such run, or one of another
            target than `identity` or `scaled`.
    """
    run = log.select(scale=scale, depth=depth)
    loss = marked_loss_by_depth(log, depth)
    parts: list[Any] = [network(run), loss, marked_loss_by_step(run)]
    sliders = {param.name: param for part in parts for param in part.params}
    for part in parts:
        part.params = part.autosize = part.config = alt.Undefined
    parts[0].width = 900
    below = [part.properties(width=400) for part in parts[1:]]
    chart = alt.vconcat(parts[0], alt.hconcat(*below))
    chart.params = list(sliders.values())
    chart.description = " ".join(map(description, parts))
    return chart.resolve_scale(color="independent", shape="independent")


def _marked(
    chart: Any, across: str, slider: alt.Parameter, title: str, ends: tuple[int, int]
) -> Any:
    """A small chart with a line where a slider stands, if the axis goes so far."""
    line = alt.Chart(alt.sequence(1, 2)).transform_calculate(**{across: slider.name})
    line = line.transform_filter(alt.FieldRangePredicate(across, list(ends)))
    line = line.mark_rule(color=_INK, strokeWidth=1.5).encode(x=alt.X(f"{across}:Q"))
    for layer in chart.layer:  # the title says what the axes show
        for axis in (layer.encoding.x, layer.encoding.y):
            if isinstance(axis, alt.X | alt.Y):
                _untitle(axis)
    chart.layer.append(line)
    chart.config = alt.Config(legend=alt.LegendConfig(offset=4))
    chart.title, chart.height = alt.TitleParams(title, anchor="start"), SMALL_HEIGHT
    chart.params = [slider.param]
    return chart


def _untitle(channel: Any) -> None:
    """No title on the axis; marks keep it in what a screen reader says of them."""
    axis = channel["axis"]
    if axis is not None:
        options = {} if axis is alt.Undefined else axis.to_dict()
        channel["axis"] = alt.Axis(**{**options, "title": None})


def _slider(
    name: str, value: float, low: float, high: float, step: float = 1, label: str = ""
) -> Any:
    bind = alt.binding_range(min=low, max=high, step=step, name=f"{label or name} ")
    return alt.param(name=name, value=value, bind=bind)


def resting(scale: float, depth: int, target: float, label: str = "L") -> list[Any]:
    """The parameters of `lanes` before the first step, two sliders among them."""
    return [
        _slider("c", scale, *SCALES, 0.01),
        _slider("L", depth, 1, DEEPEST, label=label),
        alt.param(name="trains", value=False),
        alt.param(name="log_s", expr=_START),
        alt.param(name="log_error", expr=_gap(target)),
        alt.param(name="tone", expr=scale_tone("log_s")),
    ]


_START = "log(c) / LN10"


def _gap(target: float) -> str:
    return f"log(max(abs(pow(c, L) - {target}), 1e-300) / {target}) / LN10"


def _parameters(row: dict[str, Any], target: float, logged: np.ndarray) -> list:
    """The sliders, and what follows from them."""
    log_s, log_error = _path(row, target)
    here = f"c == {row['scale']} && L == {row['depth']}"
    every = int(logged[1]) if len(logged) > 1 else 1
    return [
        _slider("c", row["scale"], *SCALES, 0.01),
        _slider("L", row["depth"], 1, DEEPEST),
        _slider("step", 0, 0, row["steps"]),
        alt.param(name="measured", expr=here),
        alt.param(name="trains", expr="measured && step > 0"),
        alt.param(name="log_s", expr=f"trains ? {log_s}[step] : {_START}"),
        alt.param(
            name="log_error", expr=f"trains ? {log_error}[step] : {_gap(target)}"
        ),
        alt.param(name="tone", expr=scale_tone("log_s")),
        alt.param(name="logged", expr=f"floor(step / {every}) * {every}"),
    ]


def _target(row: dict[str, Any]) -> float:
    """What `c**L` has to reach, the same for every output."""
    if row["target"] not in FACTORS:
        raise ValueError(
            "`run` must be one of the target 'identity' or 'scaled'. "
            f"Received: target={row['target']!r}."
        )
    return FACTORS[row["target"]]


def _path(row: dict[str, Any], target: float) -> tuple[list[float], list[float]]:
    """Decades of the scale and of the error, relative to the target, at each step."""
    rate = row["learning_rate"] * 2 / row["output_units"]
    depth, steps = row["depth"], row["steps"]
    s = theory.trajectory(row["scale"], depth, rate=rate, steps=steps, target=target)
    with np.errstate(all="ignore"):
        scales = np.log10(np.abs(s))
        errors = (theory.log_gap(s, depth, target) - math.log(target)) / math.log(10)
    return _finite(scales), _finite(errors)


def _finite(decades: np.ndarray) -> list[float]:
    finite = np.nan_to_num(decades, nan=_LOST, posinf=_LOST, neginf=-_LOST)
    return np.round(finite, 5).tolist()


def _points(run: logs.GradientLog, row: dict[str, Any], target: float) -> pd.DataFrame:
    """What was measured, as factors of what the bars are factors of."""
    rows = run.layers[["step", "layer", "kind", "log10_norm"]]
    rows = rows[:0] if origin_of(run) == "theory" else _of_few_steps(rows)
    depth, units, outputs = row["depth"], row["units"], row["output_units"]
    last = rows[(rows["kind"] == "activation_gradient") & (rows["layer"] == depth)]
    units_of = {
        # White inputs: the squares of all their numbers have this sum.
        "activation": 0.5 * math.log10(row["samples"] * units),
        "weight_gradient": math.log10(2 * target / outputs * math.sqrt(outputs)),
    }
    unit = rows["kind"].astype("str").map(units_of).astype("float64")
    unit = unit.fillna(rows["step"].map(last.set_index("step")["log10_norm"]))
    with np.errstate(invalid="ignore"):
        factor = (rows["log10_norm"] - unit).fillna(_LOST)
    return rows.assign(factor=factor.clip(-_LOST, _LOST))


def _of_few_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of every so many logged steps: a notebook draws no more rows."""
    stride = max(math.ceil(len(rows) / _MOST_ROWS), 1)
    steps = np.sort(rows["step"].unique())[::stride]
    return rows[rows["step"].isin(steps)]


def _bars(kind: str) -> alt.Chart:
    """A bar a layer, all in one path: a path for each is too slow to drag.

    Of many layers the path goes along the tops alone, which is a third of the work.
    What leaves the lane stays as a hair at its edge.
    """
    base, factor = _LANES[kind]
    corner = "datum.corner % 4"  # bottom left, top left, top right, bottom right
    share = clamp(f"(({factor}) + {_REACH}) / {2 * _REACH}", 0.02, 1)
    return (
        alt.Chart(alt.sequence(4, 4 * DEEPEST + 4, as_="corner"))
        # What no slider moves comes first: it is worked out once.
        .transform_calculate(layer="floor(datum.corner / 4)", base=str(base))
        .transform_calculate(
            x=f"datum.layer - ({corner} < 2 ? 0.92 : 0.08)",
            is_top=f"{corner} == 1 || {corner} == 2",
        )
        .transform_filter(
            f"datum.layer <= L && (L <= {_MOST_BARS} || {corner} == 1 "
            "|| datum.corner == 4 * L + 2)"
        )
        .transform_calculate(top=f"datum.is_top ? {base} + {_TALL} * {share} : {base}")
        .mark_area(aria=False, line=False, color=alt.ExprRef("tone"))
        .encode(
            x=_x("x"),
            y=_y("top"),
            y2=alt.Y2("base"),
        )
    )


def _marks(points: pd.DataFrame) -> Iterator[alt.Chart]:
    """The measured points, where the sliders stand at the run."""
    share = (points["factor"] + _REACH) / (2 * _REACH)
    base = points["kind"].map({kind: base for kind, (base, _) in _LANES.items()})
    rows = points[["step", "layer"]].assign(
        y=(base.astype("float64") + _TALL * share.clip(0, 1)).round(4),
        shape=np.select(
            [share < 0, share > 1], ["triangle-down", "triangle-up"], "circle"
        ),
    )
    yield (
        alt.Chart(rows)
        .transform_filter("measured && datum.step == logged")
        .transform_calculate(place="datum.layer - 0.5")
        .mark_point(size=14, filled=True, color=_INK, opacity=1, aria=False)
        .encode(x=_x("place"), y=_y("y"), shape=alt.Shape("shape:N", scale=None))
    )


def _words(wording: Wording) -> Iterator[alt.Chart]:
    """The sentence on top; the names of the lanes, and what comes out of them."""
    yield from _headline("L * log_s", wording.passage)
    out, back, gradient = "L * log_s", "(L - 1) * log_s", _LANES["weight_gradient"][1]
    split = f"{_value(back)} + ' · error ' + {_value('log_error')} + ' = '"
    ends = {
        "activation": (out, _value(out)),
        "activation_gradient": (back, _value(back)),
        "weight_gradient": (
            gradient,
            f"{_wide(split)} + {_value(gradient)} + {wording.total}",
        ),
    }
    for kind, (log10, end) in ends.items():
        base, name = _LANES[kind][0], wording.lanes[kind]
        yield _text(base + _TALL, f"'{name}' + {_beyond(log10)}")
        yield _text(base + _TALL, end, right=True)


def _headline(out: str, passage: str) -> Iterator[alt.Chart]:
    """What reaches the output; on a phone in two parts, of two sizes."""
    scale = "(trains ? format(pow(10, log_s), '.3~r') : format(c, '.2~f'))"
    power = f"{scale} + {superscript('toString(L)')} + ' = ' + {_value(out)}"
    change = f"(trains ? 'c has become ' + {scale} + ':  ' : '')"
    times = f"({out} < 0 ? ' of' : {out} > 0 ? ' times' : ': all of')"
    words = f"{times} + '{passage}'"
    sentence = f"{_wide(change)} + {power} + {_wide(words)}"
    nothing = "'Inf or NaN: no number is left'"
    yield _text(3.18, f"log_s > {_LOST / 2} ? {nothing} : {sentence}", size=22)
    yield _text(3.18, f"width < {_PHONE} ? {words} : ''", right=True)


def _wide(words: str) -> str:
    """Words for which there is no room on a phone."""
    return f"(width < {_PHONE} ? '' : {words})"


def _beyond(log10: str) -> str:
    """What a lane does not show of its longest or shortest bar."""
    words = _wide("' off the scale'")
    above, below = f"{log10} > {_REACH} ? ' ↑'", f"{log10} < {-_REACH} ? ' ↓'"
    return f"({above} + {words} : {below} + {words} : '')"


def _value(log10: str) -> str:
    """The text of a factor, also where it is no number any more."""
    return f"({log10} > {_LOST / 2} ? 'no number' : {typeset(log10)})"


def _text(y: float, words: str, *, right: bool = False, size: int = 13) -> alt.Chart:
    return (
        alt.Chart(alt.sequence(1, 2))
        .transform_calculate(words=words, y=str(y + 0.03))
        .transform_calculate(label="datum.words || 'nothing'")
        .mark_text(
            align="right" if right else "left",
            baseline="bottom",
            fontSize=size,
            fontWeight="normal" if size < 20 else "bold",
            color=_INK,
        )
        .encode(
            x=alt.XValue("width" if right else 0),
            y=_y("y"),
            text=alt.Text("words:N"),
            description=alt.Description("label:N"),
        )
    )


def _x(field: str) -> alt.X:
    """Layers side by side, as many as there are."""
    scale = alt.Scale(domainMin=0, domainMax=alt.ExprRef("L"), nice=False, zero=False)
    return alt.X(f"{field}:Q", axis=None, scale=scale)


def _y(field: str) -> alt.Y:
    """All lanes on one axis, each with its own decades."""
    names = {
        round(base + _TALL * place, 4): name
        for base, _ in _LANES.values()
        for place, name in (
            (0, power_of_ten(-_REACH)),
            (0.5, "1"),
            (1, power_of_ten(_REACH)),
        )
    }
    axis = alt.Axis(
        values=list(names),
        labelExpr=tick_labels(names),
        title=None,
        domain=False,
        ticks=False,
        labelFontSize=10,
    )
    return alt.Y(f"{field}:Q", axis=axis, scale=alt.Scale(domain=[0, 3.45], nice=False))


def _sentence(row: dict[str, Any]) -> str:
    scale, depth = row["scale"], row["depth"]
    out = typeset_text(number_of(depth * math.log10(scale)))
    return (
        f"A network of {depth} layers, each of which multiplies by {scale:g}: {out} of "
        "the input reaches the output, and as much of the error comes back. Sliders "
        "move the scale c, the depth L and the training step."
    )
