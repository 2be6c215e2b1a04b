"""Measured points over dashed theory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from vgkeras._text import shortened
from vgkeras.charts.edge_bands import DecadeAxis, flag_shape, with_flags
from vgkeras.charts.line_labels import axis_of_names
from vgkeras.charts.rows import KIND_LABELS
from vgkeras.charts.style import (
    COLORS,
    GREY,
    SHAPES,
    paired,
    scale_color,
    scale_shape,
)
from vgkeras.charts.words import in_order, is_number

_KEY_TITLES = {"scale": "scale c"}

# Lines that say nothing to a screen reader: the marks have the numbers.
_LINE: dict[str, Any] = {"color": GREY, "tooltip": None, "aria": False}
_BAR: dict[str, Any] = {"opacity": 0.5, "tooltip": None, "aria": False}


class Level(NamedTuple):
    """A height to compare with; where and on which side of its line its name stands."""

    log10: float
    name: str
    at_end: bool = False
    below: bool = False


def points_over_lines(
    rows: pd.DataFrame,
    x: alt.X,
    *,
    y: str,
    view: tuple[float, float],
    key: str = "",
    levels: Sequence[Level] = (),
    height: int = 300,
) -> alt.LayerChart:
    """Measured points over dashed theory, flagged marks in bands at the edges.

    Where rows have `low` and `high`, a bar through the point or a band around the line
    spans them. `levels` are heights to compare with. Rows that stand
    `between` those of the log are part of their line, and have no flags. `height` is
    about that of the axes, in pixels: so many labels find room beside them.
    """
    rows = with_flags(rows, view)
    if "between" in rows:  # a line breaks there, and has no flag
        off = rows["between"] & (rows["flag"] != "")
        rows.loc[off, ["log10", "flag"]] = [np.nan, ""]
    decades = DecadeAxis(rows, view, [level.log10 for level in levels])
    places = (rows[name].tolist() for name in ("log10", "flag", "series"))
    rows = rows.assign(y=[decades.place(*row) for row in zip(*places, strict=True)])
    across = x.shorthand.split(":")[0]
    key = key or ("scale" if any(map(is_number, rows["series"])) else "run")
    rows, names = with_names(rows, across)
    ends = [name for name in ("low", "high") if name in rows]
    fields = ["y", *ends, "series", "line", "origin", "flag", "value", *names]
    rows = rows[[across, *fields]].sort_values(across, kind="stable")
    rows[ends] = rows[ends].clip(*decades.domain)
    scale = alt.Scale(domain=decades.domain, nice=False, zero=False)
    names_axis = axis_of_names(rows, across, decades.domain, height)
    heights = [
        alt.Y("y:Q", title=f"{y} (log scale)", scale=scale, axis=axis)
        for axis in (None, decades.axis(), names_axis)
    ]
    encoding = {
        "x": x,
        "y": heights[0],
        "tooltip": [
            alt.Tooltip("series:N", title=_KEY_TITLES.get(key, key)),
            alt.Tooltip(f"{across}:Q", title=across),
            *(alt.Tooltip(f"{name}:N") for name in names),
            alt.Tooltip("value:N", title=y),
            alt.Tooltip("origin:N", title="by"),
        ],
        **_appearance(rows, key, labelled=names_axis is not None),
    }
    chart = alt.LayerChart()
    # As an attribute: the constructor would copy each layer twice, in search of data
    # and parameters that all layers share.
    chart.layer = [*_rules(decades, levels), *_spans(rows, encoding)]
    if decades.is_empty:
        chart.layer.append(_nothing_on_axis(rows))
    chart.layer += _marks(rows, encoding, *heights[1:])
    chart.resolve = alt.Resolve(axis=alt.AxisResolveMap(y="independent"))
    return chart


def with_names(rows: pd.DataFrame, across: str) -> tuple[pd.DataFrame, list[str]]:
    """Layers and names for the tooltips, where they say more than the series."""
    if "name" not in rows or not rows["own"].any():
        return rows, []
    names = [shortened(str(name), 80) for name in rows["name"]]
    fields = [field for field in ("layer", "name") if field != across]
    return rows.assign(name=names), fields


def _rules(decades: DecadeAxis, levels: Sequence[Level]) -> Iterable[alt.Chart]:
    """Thin lines: where a band begins, and levels to compare with."""
    edges = pd.DataFrame({"y": decades.edges}, dtype="float64")
    y = alt.Y("y:Q", axis=None)
    if len(edges):
        rule = alt.Chart(edges).mark_rule(**_LINE, opacity=0.6)
        yield rule.encode(y=y)
    for level in levels:
        base = alt.Chart(pd.DataFrame({"y": [level.log10], "label": [level.name]}))
        yield base.mark_rule(**_LINE, strokeWidth=1.5).encode(y=y)
        side: dict[str, Any] = {"align": "left", "dx": 4}
        if level.at_end:
            side = {"align": "right", "dx": -4}
        side["dy"] = 8 if level.below else -6
        name = base.mark_text(color=GREY, tooltip=None, **side)
        at = alt.XValue("width" if level.at_end else 0)
        yield name.encode(x=at, y=y, text=alt.Text("label:N"))


def _nothing_on_axis(rows: pd.DataFrame) -> alt.Chart:
    """What all values are, in the middle of what would be an empty chart."""
    flags = in_order(rows.loc[rows["flag"] != "", "flag"])
    words = f"Every value: {', '.join(flags)}."
    base = alt.Chart(pd.DataFrame({"words": [words]}))
    text = base.mark_text(color=GREY, fontSize=14, tooltip=None)
    return text.encode(text=alt.Text("words:N"))


def _spans(rows: pd.DataFrame, encoding: dict[str, Any]) -> Iterator[alt.Chart]:
    """A pale band around theory, a bar through measurement, from low to high."""
    if "low" not in rows:
        return
    wide = rows[rows["high"] > rows["low"]]
    theory = wide["origin"] == "theory"
    ends = {"y": alt.Y("low:Q", axis=None), "y2": alt.Y2("high:Q")}
    ends |= {name: encoding[name] for name in ("x", "color")}
    # An empty table would have an axis of no extent.
    if theory.any():
        band = alt.Chart(wide[theory]).mark_area(opacity=0.13, tooltip=None)
        yield band.encode(**ends)
    if not theory.all():
        yield alt.Chart(wide[~theory]).mark_rule(**_BAR).encode(**ends)


def _marks(
    rows: pd.DataFrame, encoding: dict[str, Any], left: alt.Y, right: alt.Y
) -> Iterator[alt.Chart]:
    """Lines and points; each of the two brings an axis."""
    theory, on = rows["origin"] == "theory", rows["flag"] == ""
    plain = {name: encoding[name] for name in ("x", "y", "color", "tooltip")}
    # A null breaks the line where a value is off the axis, instead of bridging it.
    lines = rows[theory].assign(y=rows.loc[theory, "y"].where(on[theory]))
    line = alt.Chart(lines).mark_line(strokeDash=[6, 4], strokeWidth=1.8, tooltip=None)
    # A tooltip would tell the first value of a line wherever one points at it.
    look = {"x": encoding["x"], "y": right, "color": encoding["color"]}
    yield line.encode(**look, detail=alt.Detail("line:N"))
    alone = lines[_isolated(lines)]
    if len(alone):
        dash = alt.Chart(alone).mark_tick(orient="horizontal", size=16, thickness=1.8)
        yield dash.encode(**plain)
    # Open shapes of different outline stay visible where they coincide.
    points = alt.Chart(rows[~theory & on]).mark_point(size=50, strokeWidth=1.8)
    yield points.encode(**{**encoding, "y": left})
    for (flag, origin), part in rows[~on].groupby(["flag", "origin"]):
        measured = origin == "measured"
        look = {"filled": measured, "size": 70 if measured else 110, "opacity": 0.8}
        yield alt.Chart(part).mark_point(shape=flag_shape(flag), **look).encode(**plain)


def _isolated(lines: pd.DataFrame) -> pd.Series:
    """Values without a neighbour on their line, which draws nothing of them."""
    on = lines["y"].notna()
    by_line = on.groupby(lines["line"])
    before, after = (by_line.shift(n, fill_value=False) for n in (1, -1))
    return on & ~before & ~after


def _appearance(rows: pd.DataFrame, key: str, labelled: bool) -> dict[str, Any]:
    """Colour and shape per series; the flags that occur join the same legend.

    Where the lines are labelled, the legend holds the flags alone.
    """
    if key == "kind":
        places = _places_of_kinds(rows["series"])
    else:  # remedies keep the order of the log
        series = dict.fromkeys(rows["series"])
        names = series if key == "remedy" else in_order(series)
        places = {name: place for place, name in enumerate(names)}
    looks = {name: _look(name, place, key) for name, place in places.items()}
    colors = {name: color for name, (color, _) in looks.items()}
    shapes = {name: shape for name, (_, shape) in looks.items()}
    flags = [flag for flag in in_order(rows["flag"]) if flag]
    colors |= dict.fromkeys(flags, GREY)
    shapes |= {flag: flag_shape(flag) for flag in flags}
    # Side by side, long names would be cut off on a phone.
    columns = 1 if max(map(len, places), default=0) > 14 else 3
    title = _KEY_TITLES.get(key, key)
    legend = alt.Legend(orient="bottom", columns=columns, title=title, symbolOpacity=1)
    legend.labelLimit = 320
    if labelled:
        legend.title, legend.values = None, flags
    shown_legend = legend if flags or not labelled else None
    color, shape = paired("series:N", colors, shapes, shown_legend)
    return {"color": color, "shape": shape}


def _look(name: str, place: int, key: str) -> tuple[str, str]:
    """Colour and shape of a series: those of its scale, else of its place."""
    if key == "scale" and is_number(name):
        return scale_color(float(name)), scale_shape(float(name))
    # The first 6 differ in colour and in shape, the next 30 in the pair of them.
    return COLORS[place % 6], SHAPES[(place + place // 6) % 6]


def _places_of_kinds(series: pd.Series) -> dict[str, int]:
    """The kinds that occur, in order, and the places of their colours and shapes.

    A kind never has the colour of a scale; the further variables of weight gradients
    have colours that no kind has.
    """
    places: dict[str, int] = {}
    further = 2 * len(COLORS)
    for place, label in enumerate(KIND_LABELS.values(), 3):
        for name in dict.fromkeys(series):
            if name == label or name.startswith(f"{label}, "):
                first = not any(other.startswith(label) for other in places)
                places[name] = place if first else further
                further += not first
    return places
