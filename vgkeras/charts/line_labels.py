"""Names at the ends of lines, in the place of a legend."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from vgkeras.charts.style import scale_color, tick_labels
from vgkeras.charts.words import in_order, is_number

_LABEL_HEIGHT = 15  # pixels


def axis_of_names(
    rows: pd.DataFrame, across: str, domain: list[float], height: int
) -> alt.Axis | None:
    """An axis on the right with the name of each scale beside the end of its line.

    As labels of an axis they have the text colour of the page, light or dark, and room
    of their own; the colour of the scale is that of the tick. `None` where they would
    not find room in `height` pixels, or where not every series is a scale.
    """
    names = in_order(rows["series"])
    if len(names) * _LABEL_HEIGHT > height or not all(map(is_number, names)):
        return None
    gap = (domain[1] - domain[0]) * _LABEL_HEIGHT / height
    ends = [_end(rows[rows["series"] == name], across) for name in names]
    # Rounded, to be looked up; and Vega drops what that puts outside of the axis.
    spread = apart(ends, gap, domain[0] + 1e-3, domain[1] - 1e-3)
    places = [round(place, 3) + 0.0 for place in spread]
    at = dict(zip(places, names, strict=True))
    texts = {p: f"c = {name}" for p, name in at.items()}
    colors = {p: scale_color(float(name)) for p, name in at.items()}
    return axis_of_texts(texts, colors)


def axis_of_texts(
    texts: dict[float, str], colors: dict[float, str], **more: Any
) -> alt.Axis:
    """An axis on the right, a text and a short line of its colour at each height."""
    tests = [
        {"test": f"datum.value == {place:g}", "value": color}
        for place, color in colors.items()
    ]
    return alt.Axis(
        orient="right",
        values=list(texts),
        labelExpr=tick_labels(texts),
        labelOverlap=False,
        labelFlush=False,
        labelPadding=4,
        title=None,
        translate=0,  # else texts end half a pixel beyond the room that Vega gives them
        grid=False,
        ticks=True,
        tickSize=8,
        tickWidth=3,
        tickColor={"condition": tests, "value": "transparent"},
        **more,
    )


def apart(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places pushed apart, up as far as down, by `gap`, and kept from low to high."""
    order = np.argsort(places, kind="stable")
    ranks = gap * np.arange(len(places))
    free = np.array(places)[order] - ranks
    up, down = np.maximum.accumulate(free), np.minimum.accumulate(free[::-1])[::-1]
    spread = np.clip((up + down) / 2, low, high - ranks[-1]) + ranks
    return spread[np.argsort(order)].tolist()


def _end(rows: pd.DataFrame, across: str) -> float:
    """The height at which a series ends, measured if it was."""
    rows = rows[rows["y"].notna()].sort_values(["origin", across], kind="stable")
    measured = rows[rows["origin"] == "measured"]
    return float((measured if len(measured) else rows)["y"].iloc[-1])
