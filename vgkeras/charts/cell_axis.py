"""An axis of cells without gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd


@dataclass(frozen=True)
class CellAxis:
    """An axis that cells fill from end to end, each half of the way to the next.

    `ends` holds the lower and the upper end of the cell of each value.
    """

    field: str
    log: bool
    ends: dict[float, tuple[float, float]]
    options: dict[str, Any]

    @classmethod
    def over(cls, places: pd.Series, title: str, *, log: bool, **axis: Any) -> CellAxis:
        """An axis of the values that occur."""
        middle = np.unique(places.astype("float64"))
        between = np.log(middle) if log else middle
        steps = np.diff(between).tolist() or [1.0]
        low = between - np.array([steps[0], *steps][: len(middle)]) / 2
        high = between + np.array([*steps, steps[-1]][: len(middle)]) / 2
        ends = np.exp([low, high]) if log else np.array([low, high])
        pairs = zip(middle.tolist(), zip(*ends.tolist(), strict=True), strict=True)
        domain = [ends[0][0], ends[1][-1]]
        options = {
            "title": title,
            "scale": alt.Scale(type="log" if log else "linear", domain=domain),
            "axis": alt.Axis(grid=False, **axis),
        }
        return cls(str(places.name), log, dict(pairs), options)

    def channel(self, channel: Any, field: str) -> Any:
        """The channel of a field along this axis."""
        return channel(f"{field}:Q", **self.options)

    def tooltip(self) -> alt.Tooltip:
        return alt.Tooltip(f"{self.field}:Q", title=self.options["title"])

    def share(self, values: pd.Series) -> pd.Series:
        """Where values lie, from 0 to 1 of the axis."""
        low, high = self.options["scale"].domain
        if self.log:
            values, low, high = np.log(values), np.log(low), np.log(high)
        return (values - low) / (high - low)

    def with_ends(self, cells: pd.DataFrame, low: str, high: str) -> pd.DataFrame:
        """Adds the columns of the ends of each cell."""
        ends = [self.ends[value] for value in cells[self.field].tolist()]
        lows, highs = zip(*ends, strict=True)
        return cells.assign(**{low: lows, high: highs})
