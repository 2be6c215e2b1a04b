"""Networks that read digits: how deep each remedy carries, in small multiples."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import pandas as pd

from vgkeras import _checks
from vgkeras._text import number_of, typeset
from vgkeras.charts.edge_bands import NORM_VIEW, DecadeAxis, flag_shape, with_flags
from vgkeras.charts.style import APART, GREY, depth_axis
from vgkeras.logs import GradientLog
from vgkeras.remedies import DIGITS_BASELINE, DIGITS_CHANCE, digits_table

_WIDTH, _AXIS = 124, 36  # pixels: two panels side by side on a phone
_COLOR = alt.Color(
    "when:N",
    scale=alt.Scale(domain=["before", "after"], range=[GREY, APART]),
    legend=None,
)
_ENDS = ("low", "median", "high")


def digits_panels(
    log: GradientLog, activation: str = "relu", *, before: bool = False
) -> alt.ConcatChart:
    """Draws how well unseen digits are read against depth, a panel a remedy.

    How to read it: above, the share of digits that is read correctly, and dotted the
    tenth that guessing reads; below, the rms of the gradient that the first layer gets
    before the first step. Points are medians over seeds, bars go from the worst to the
    best of them. The grey line, the same in every panel, is what each remedy starts
    from: small random weights and plain gradient descent. How to misread it: a
    gradient that is neither tiny nor huge at the start is needed, and not enough.

    Args:
        log: The recording of `python -m vgkeras.record digits`.
        activation: Of the hidden layers, one that `log` holds.
        before: Draw the grey lines alone, before the remedies.

    Returns:
        A chart of all panels, five in a row.

    Raises:
        ValueError: If `log` is no such recording, or does not hold the activation.
    """
    panels = [
        digits_panel(log, name, activation, before=before)
        for name in digits_remedies(log, activation)
    ]
    sentences = " ".join(panel.description for panel in panels)
    return alt.concat(*panels, columns=5).properties(description=sentences)


def digits_remedies(log: GradientLog, activation: str = "relu") -> list[str]:
    """Returns what `digits_panels` draws a panel of: all but the baseline.

    Args:
        log: The recording.
        activation: Of the hidden layers.

    Returns:
        Names, in the order of the log.

    Raises:
        ValueError: See `digits_panels`.
    """
    names = dict.fromkeys(_rows(log, activation)["remedy"])
    return [name for name in names if name != DIGITS_BASELINE]


def digits_panel(
    log: GradientLog, remedy: str, activation: str = "relu", *, before: bool = False
) -> alt.VConcatChart:
    """Draws one panel of `digits_panels`, to be read and misread like these.

    Args:
        log: The recording.
        remedy: One of `digits_remedies(log, activation)`.
        activation: Of the hidden layers.
        before: Draw the grey lines alone.

    Returns:
        Accuracy above gradient, by depth.

    Raises:
        ValueError: See `digits_panels`; or if there is no such remedy.
    """
    rows = _rows(log, activation)
    names = rows.loc[rows["when"] == "after", "remedy"]
    _checks.check_option("remedy", remedy, tuple(names.unique()))
    compared = [DIGITS_BASELINE, *([] if before else [remedy])]
    own = rows[rows["remedy"].isin(compared)]
    x = depth_axis(rows["depth"].unique().tolist())
    chart = alt.VConcatChart()
    # As an attribute: the constructor would copy what is in it.
    chart.vconcat, chart.spacing = [_accuracy(own, x), _gradient(own, rows, x)], 8
    chart.title = alt.TitleParams(remedy, anchor="start", fontSize=14, offset=6)
    chart.description = _sentence(own, compared[-1], activation)
    return chart


def _rows(log: GradientLog, activation: str) -> pd.DataFrame:
    rows = digits_table(log)
    _checks.check_option("activation", activation, tuple(rows["activation"].unique()))
    rows = rows[rows["activation"] == activation]
    before = rows["remedy"] == DIGITS_BASELINE
    return rows.assign(when=before.map({True: "before", False: "after"}))


def _accuracy(own: pd.DataFrame, x: alt.X) -> alt.LayerChart:
    rows = _measure(own, "accuracy")
    rows = rows.assign(flag="", value=rows["median"].map("{:.0%}".format))
    scale = alt.Scale(domain=[0, 1.04], nice=False)
    axis = alt.Axis(format="%", values=[0, 0.5, 1])
    chance = alt.Chart(pd.DataFrame({"y": [DIGITS_CHANCE]}))
    rule = chance.mark_rule(color=GREY, strokeDash=[2, 3], tooltip=None)
    x = alt.X("depth:Q", title=None, scale=x["scale"], axis=_narrow(x["axis"], False))
    marks = _marks(rows, x, _height(scale, axis))
    return _part("digits read", [rule.encode(y=alt.Y("y:Q", scale=scale)), *marks])


def _gradient(own: pd.DataFrame, rows: pd.DataFrame, x: alt.X) -> alt.LayerChart:
    """The axis has room for all panels, and a band for what is not on it."""
    own, rows = (_flagged(_measure(part, "gradient")) for part in (own, rows))
    decades = DecadeAxis(rows, NORM_VIEW, [])
    places = zip(own["log10"], own["flag"], own["series"], strict=True)
    own = own.assign(median=[decades.place(*place) for place in places])
    own[["low", "high"]] = own[["low", "high"]].clip(*decades.domain)
    scale = alt.Scale(domain=decades.domain, nice=False, zero=False)
    x = alt.X("depth:Q", title="depth L", scale=x["scale"], axis=_narrow(x["axis"]))
    marks = _marks(own, x, _height(scale, decades.axis()))
    return _part("gradient of layer 1, rms", list(marks))


def _measure(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows.rename(columns={f"{name}_{end}": end for end in _ENDS})


def _flagged(rows: pd.DataFrame) -> pd.DataFrame:
    return with_flags(rows.assign(log10=rows["median"], series="one lane"), NORM_VIEW)


def _height(scale: alt.Scale, axis: alt.Axis) -> alt.Y:
    axis.labelPadding, axis.minExtent = 4, _AXIS  # panels stand exactly below others
    return alt.Y("median:Q", title=None, scale=scale, axis=axis)


def _narrow(axis: alt.Axis, labels: bool = True) -> alt.Axis:
    return alt.Axis(
        values=axis["values"],
        format="d",
        labels=labels,
        labelPadding=4,
        labelOverlap="greedy",
    )


def _part(name: str, layers: list[Any]) -> alt.LayerChart:
    """Its name stands above it: beside it there is no room on a phone."""
    title = alt.TitleParams(
        name, anchor="start", fontSize=12, fontWeight="normal", offset=4
    )
    chart = alt.LayerChart()
    chart.layer, chart.title = layers, title
    chart.width, chart.height = _WIDTH, 90
    return chart


def _marks(own: pd.DataFrame, x: alt.X, y: alt.Y) -> Iterator[alt.Chart]:
    """The grey line before, the coloured one over it; what is flagged is in no line."""
    fields = ["remedy", "depth", *_ENDS, "when", "flag", "value"]
    own = own.sort_values("when", ascending=False, kind="stable")[fields]
    on = own["flag"] == ""
    encoding = {"x": x, "y": y, "color": _COLOR, "tooltip": _tooltip()}
    ends = {"y": alt.Y("low:Q"), "y2": alt.Y2("high:Q")}
    yield alt.Chart(own[on]).mark_line(strokeWidth=1.5).encode(**encoding)
    bars = alt.Chart(own[on]).mark_rule(tooltip=None)
    yield bars.encode(**{**encoding, **ends, "tooltip": alt.Undefined})
    yield alt.Chart(own[on]).mark_point(filled=True, size=30).encode(**encoding)
    for flag, part in own[~on].groupby("flag"):
        off = alt.Chart(part).mark_point(shape=flag_shape(str(flag)), size=60)
        yield off.encode(**encoding)


def _tooltip() -> list[alt.Tooltip]:
    titles = {"remedy": "with", "depth": "depth L", "value": "median of seeds"}
    return [alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()]


def _sentence(own: pd.DataFrame, remedy: str, activation: str) -> str:
    rows = own[own["remedy"] == remedy].sort_values("depth")
    reads = [
        f"{accuracy:.0%} at depth {depth}"
        for depth, accuracy in zip(rows["depth"], rows["accuracy_median"], strict=True)
    ]
    ends = [typeset(number_of(rows["gradient_median"].iloc[at])) for at in (0, -1)]
    return (
        f"{remedy}, {activation}, medians over seeds: reads {', '.join(reads)}; the "
        f"first gradient's rms goes from {ends[0]} to {ends[1]}."
    )
