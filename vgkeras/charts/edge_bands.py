"""Values that have no place on a log axis: flagged marks in a band at its edge."""

import math
from collections.abc import Sequence
from itertools import chain

import altair as alt
import pandas as pd

from vgkeras._text import NONFINITE, ZERO, number, number_of, power_of_ten, typeset
from vgkeras.charts.style import CROSS, decade_ticks, tick_labels

NO_GRADIENT, NEGATIVE = "no gradient", "negative"
_FLAG_SHAPES = {
    ZERO: "triangle-down",
    NO_GRADIENT: "M-1,-0.25H1V0.25H-1Z",
    NEGATIVE: "M-1,-0.8H1L0,0.2ZM-1,0.5H1V0.9H-1Z",
    NONFINITE: CROSS,
    "above": "M0,-1L0.9,0.1H0.3V1H-0.3V0.1H-0.9Z",
    "below": "M0,1L0.9,-0.1H0.3V-1H-0.3V-0.1H-0.9Z",
}

# Decades that are drawn; one diverging run at 1e150 must not flatten the others.
LOSS_VIEW = (-12.0, 12.0)
NORM_VIEW = (-60.0, 60.0)
_MOST_LANES = 6  # the height of a band; more series share it


def with_flags(rows: pd.DataFrame, view: tuple[float, float]) -> pd.DataFrame:
    """Adds `flag`: empty for values on the axis, else why they are not; and `value`."""
    # A number at a time: for the few rows of a chart, columns of texts take longer.
    pairs = [_flag_and_value(*numbers, view) for numbers in _numbers(rows)]
    flags = pd.Series([flag for flag, _ in pairs], rows.index, dtype="str")
    return rows.assign(flag=flags, value=[value for _, value in pairs])


def value_texts(rows: pd.DataFrame) -> list[str]:
    """The value of each row in words."""
    return [_flag_and_value(*numbers)[1] for numbers in _numbers(rows)]


def flag_shape(flag: str) -> str:
    """The shape of a flag."""
    return _FLAG_SHAPES.get(flag) or _FLAG_SHAPES[flag.split()[0]]


def _numbers(rows: pd.DataFrame) -> list[tuple[float, float | None]]:
    """The logarithm of each row and, of losses, the loss itself."""
    losses = rows["loss"].tolist() if "loss" in rows else [None] * len(rows)
    return list(zip(rows["log10"].tolist(), losses, strict=True))


def _flag_and_value(
    log10: float, loss: float | None, view: tuple[float, float] = NORM_VIEW
) -> tuple[str, str]:
    """Why a value has no place on the axis, or nothing; and the value in words.

    NaN among losses is a number that got lost; among norms, that there is no tensor:
    the loss does not depend on that variable.
    """
    if loss is not None and loss < 0:
        return NEGATIVE, typeset(number(loss))
    if math.isnan(log10):
        word = NO_GRADIENT if loss is None else NONFINITE
        return word, word
    (low, high), value = view, typeset(number_of(log10))
    if math.isinf(log10):
        return value, value
    if log10 < low:
        return f"below {power_of_ten(low)}", value
    return f"above {power_of_ten(high)}" if log10 > high else "", value


class DecadeAxis:
    """The vertical axis: whole decades, and a band at each edge for flagged marks.

    In a band each series has a lane of its own.
    """

    def __init__(
        self, rows: pd.DataFrame, view: tuple[float, float], levels: Sequence[float]
    ) -> None:
        ends = [
            rows[name].tolist() for name in ("log10", "low", "high") if name in rows
        ]
        inside = [log10 for log10 in chain(*ends) if view[0] <= log10 <= view[1]]
        self.is_empty = not inside
        inside += levels
        low = math.floor(min(inside, default=-1.0) + 1e-9)
        high = max(math.ceil(max(inside, default=0.0) - 1e-9), low + 1)
        self.ticks, lane = decade_ticks(low, high, 7), (high - low) / 14
        if not inside:  # all there is stands in the bands
            self.ticks = {}
        self.domain = [low - lane / 3, high + lane / 3]
        self.edges: list[int] = []
        self._lanes: dict[tuple[bool, str], float] = {}
        off = rows.loc[rows["flag"] != "", ["flag", "series"]]
        above = off["flag"].map(_is_above).astype(bool)
        self._add_band(True, high, lane, off.loc[above, "series"])
        self._add_band(False, low, -lane, off.loc[~above, "series"])

    def _add_band(self, above: bool, edge: int, lane: float, series: pd.Series) -> None:
        names = sorted(set(series))
        if names:
            self.edges.append(edge)
            lanes = min(len(names), _MOST_LANES)
            self.domain[above] += (lanes + 0.5) * lane
            for place, name in enumerate(names, 1):
                self._lanes[above, name] = edge + place * lane * lanes / len(names)

    def place(self, log10: float, flag: str, series: str) -> float:
        """Where a row is drawn: its value, or its series' lane in a band."""
        return self._lanes[_is_above(flag), series] if flag else log10

    def axis(self) -> alt.Axis:
        # Of two axes of a chart, Vega-Lite would leave out the grid of one.
        names = tick_labels(self.ticks)
        return alt.Axis(values=list(self.ticks), labelExpr=names, grid=True)


def _is_above(flag: str) -> bool:
    return flag.startswith(("above", NONFINITE))
