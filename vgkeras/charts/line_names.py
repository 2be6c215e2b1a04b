"""Names written on lines, where they meet neither each other nor a line."""

from typing import NamedTuple

import numpy as np
import pandas as pd

_LETTER, _HEIGHT = 6.3, 15.0  # pixels of a letter
# Pixels of a chart on a phone and on a screen: a name has to find its place on both.
_SIZES = ((285.0, 280.0), (1050.0, 280.0))


class Side(NamedTuple):
    """How a name stands beside a point of its line; pixels, downward positive."""

    align: str
    dx: int
    dy: int


SIDES = (
    Side("left", 6, 0),
    Side("right", -6, 0),
    Side("center", 0, -9),
    Side("center", 0, 9),
)
_ENDS = {"left": (0.0, 1.0), "center": (-0.5, 0.5), "right": (-1.0, 0.0)}


def line_names(lines: pd.DataFrame) -> pd.DataFrame:
    """Where to write the name of each line.

    Args:
        lines: Frame with the columns `name, x, y`, points in order along each line;
            `x` and `y` from 0 to 1 of the width and of the height of the chart.

    Returns:
        The row of `lines` beside which each name stands, with the columns `align, dx,
        dy` of its `Side`. A line outside the chart has no name.
    """
    inside = lines[lines["x"].between(0, 1) & lines["y"].between(0, 1)]
    rooms = [_Room(inside, np.array(size)) for size in _SIZES]
    rows = []
    for _, line in inside.groupby("name", sort=False):
        points = line.to_dict("records")
        places = [(point, side) for point in points for side in SIDES]
        costs = [sum(room.cost(*place) for room in rooms) for place in places]
        point, side = places[int(np.argmin(costs))]
        for room in rooms:
            room.taken.append(room.box(point, side))
        rows.append({**point, **side._asdict()})
    return pd.DataFrame(rows, columns=[*lines.columns, *Side._fields])


class _Room:
    """A chart of one size, in pixels: its lines, and the names that are there."""

    def __init__(self, lines: pd.DataFrame, size: np.ndarray) -> None:
        self.size, self.taken = size, [np.full((2, 2), -np.inf)]
        self.points = np.hstack([np.empty((2, 0)), *self._points(lines)])

    def _points(self, lines: pd.DataFrame) -> list[np.ndarray]:
        """Points along each line, close enough for no name to slip through."""
        parts = []
        for _, line in lines.groupby("name", sort=False):
            x, y = line[["x", "y"]].to_numpy().T * self.size[:, None]
            place = np.concatenate([[0.0], np.hypot(np.diff(x), np.diff(y)).cumsum()])
            at = np.arange(0, place[-1], 4.0)
            parts.append(np.stack([np.interp(at, place, values) for values in (x, y)]))
        return parts

    def box(self, point: dict, side: Side) -> np.ndarray:
        """Left and right, lower and upper end of a name."""
        x, y = point["x"] * self.size[0] + side.dx, point["y"] * self.size[1] - side.dy
        width = _LETTER * len(point["name"])
        left, right = (x + share * width for share in _ENDS[side.align])
        return np.array([[left, right], [y - _HEIGHT / 2, y + _HEIGHT / 2]])

    def cost(self, point: dict, side: Side) -> float:
        """What stands in the way of a name, and how far it leaves the chart."""
        low, high = self.box(point, side).T
        hits = (low[:, None] < self.points) & (self.points < high[:, None])
        lows, highs = np.array(self.taken).transpose(2, 0, 1)
        meets = ((low < highs) & (lows < high)).all(axis=1)
        beyond = np.maximum(-low, high - self.size).clip(min=0)
        off_middle = np.abs((low + high) / 2 / self.size - 0.5)
        weights = (100, 100, 10, 1)
        parts = (beyond, meets, hits.all(axis=0), off_middle)
        return float(
            sum(w * part.sum() for w, part in zip(weights, parts, strict=True))
        )
