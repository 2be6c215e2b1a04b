"""Values that have no place on a log axis: flagged marks in a band at its edge."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from vgkeras._text import NONFINITE, ZERO, number_of, power_of_ten
from vgkeras.charts.style import tick_labels

NO_GRADIENT, NEGATIVE = "no gradient", "negative"
_FLAG_SHAPES = {
    ZERO: "triangle-down",
    NO_GRADIENT: "M-1,-0.25H1V0.25H-1Z",
    NEGATIVE: "M-1,-0.8H1L0,0.2ZM-1,0.5H1V0.9H-1Z",
    NONFINITE: "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4"
    "L-0.6,1L-1,0.6L-0.4,0Z",
    "above": "M0,-1L0.9,0.1H0.3V1H-0.3V0.1H-0.9Z",
    "below": "M0,1L0.9,-0.1H0.3V-1H-0.3V-0.1H-0.9Z",
}

# Decades that are drawn; one diverging run at 1e150 must not flatten the others.
LOSS_VIEW = (-12.0, 12.0)
NORM_VIEW = (-60.0, 60.0)


def with_flags(rows: pd.DataFrame, view: tuple[float, float]) -> pd.DataFrame:
    """Adds `flag`: empty for values on the axis, else why they are not; and `value`.

    NaN among losses is a number that got lost; among norms, that there is no tensor:
    the loss does not depend on that variable.
    """
    # A number at a time: for the few rows of a chart, columns of texts take longer.
    sizes = _sizes(rows)
    flag = pd.Series([_flag(*size, view) for size in sizes], rows.index, dtype="str")
    return rows.assign(flag=flag, value=[_value(*size) for size in sizes])


def _sizes(rows: pd.DataFrame) -> list[tuple[float, float | None]]:
    """The logarithm of each row and, of losses, the loss itself."""
    losses = rows["loss"].tolist() if "loss" in rows else [None] * len(rows)
    return list(zip(rows["log10"].tolist(), losses, strict=True))


def _flag(log10: float, loss: float | None, view: tuple[float, float]) -> str:
    low, high = view
    if loss is not None and loss < 0:
        return NEGATIVE
    if math.isnan(log10):
        return NO_GRADIENT if loss is None else NONFINITE
    if math.isinf(log10):
        return NONFINITE if log10 > 0 else ZERO
    if low <= log10 <= high:
        return ""
    return (
        f"above {power_of_ten(high)}" if log10 > high else f"below {power_of_ten(low)}"
    )


def _value(log10: float, loss: float | None) -> str:
    """The size in words: what it is, or why it has no place on the axis."""
    if loss is not None and loss < 0:
        return f"{loss:.3g}"
    if math.isnan(log10):
        return NO_GRADIENT if loss is None else NONFINITE
    return number_of(log10)


def value_texts(rows: pd.DataFrame) -> list[str]:
    """The value of each row in words."""
    return [_value(*size) for size in _sizes(rows)]


def _is_above(flag: str) -> bool:
    return flag.startswith(("above", NONFINITE))


class DecadeAxis:
    """The vertical axis: whole decades, and a band at each edge for flagged marks."""

    def __init__(self, rows: pd.DataFrame, reference: float | None) -> None:
        columns = (rows[name].tolist() for name in ("log10", "flag", "series"))
        marks = list(zip(*columns, strict=True))
        inside = [log10 for log10, flag, _ in marks if not flag]
        inside += [reference] if reference is not None else []
        self.low = math.floor(min(inside, default=-1.0) + 1e-9)
        self.high = max(math.ceil(max(inside, default=0.0) - 1e-9), self.low + 1)
        off = [(flag, series) for _, flag, series in marks if flag]
        self.above = sorted({series for flag, series in off if _is_above(flag)})
        self.below = sorted({series for flag, series in off if not _is_above(flag)})
        self.lane = (self.high - self.low) / 14

    def domain(self) -> list[float]:
        below = (len(self.below) + 0.5) * self.lane if self.below else 0.0
        above = (len(self.above) + 0.5) * self.lane if self.above else 0.0
        return [self.low - below - self.lane / 3, self.high + above + self.lane / 3]

    def place(self, log10: float, flag: str, series: str) -> float:
        """Where a row is drawn: its value, or its series' lane in a band."""
        if not flag:
            return log10
        if _is_above(flag):
            return self.high + (self.above.index(series) + 1) * self.lane
        return self.low - (self.below.index(series) + 1) * self.lane

    def edges(self) -> pd.DataFrame:
        at = [self.high] * bool(self.above) + [self.low] * bool(self.below)
        return pd.DataFrame({"y": at}, dtype="float64")

    def axis(self) -> alt.Axis:
        span = self.high - self.low
        width = next((w for w in (1, 2, 5, 10, 20, 50) if span / w <= 7), 100)
        first = math.ceil(self.low / width) * width
        ticks = list(range(first, self.high + 1, width))
        names = {tick: power_of_ten(tick) for tick in ticks}
        return alt.Axis(values=ticks, labelExpr=tick_labels(names))


def flag_shape(flag: str) -> str:
    """The shape of a flag."""
    return _FLAG_SHAPES.get(flag) or _FLAG_SHAPES[flag.split()[0]]
