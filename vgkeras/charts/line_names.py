"""Names written on lines, where they meet neither each other nor a line."""

from typing import NamedTuple

import numpy as np
import pandas as pd

_LETTER, _HEIGHT = 6.3, 15.0  # pixels of a letter
_ROOM = (300.0, 380.0)  # pixels of a chart on a phone, where names need most room


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
    points = np.hstack([np.empty((2, 0)), *_points(inside)])
    taken: list[np.ndarray] = []
    rows = []
    for name, line in inside.groupby("name", sort=False):
        places = [(row, side) for row in line.index for side in SIDES]
        boxes = [_box(line.loc[row], side, str(name)) for row, side in places]
        best = int(np.argmin([_cost(box, points, taken) for box in boxes]))
        taken.append(boxes[best])
        row, side = places[best]
        rows.append({**lines.loc[row], **side._asdict()})
    return pd.DataFrame(rows, columns=[*lines.columns, *Side._fields])


def _points(lines: pd.DataFrame) -> list[np.ndarray]:
    """Pixels along each line, close enough for no name to slip through."""
    lines = lines.assign(x=lines["x"] * _ROOM[0], y=lines["y"] * _ROOM[1])
    parts = []
    for _, line in lines.groupby("name", sort=False):
        length = np.hypot(*np.diff(line[["x", "y"]].to_numpy().T)).cumsum()
        place = np.concatenate([[0.0], length])
        at = np.arange(0, place[-1], 2.0)
        parts.append(np.stack([np.interp(at, place, line[n]) for n in ("x", "y")]))
    return parts


def _box(point: pd.Series, side: Side, name: str) -> np.ndarray:
    """Left and right, lower and upper end of a name, in pixels."""
    x, y = point["x"] * _ROOM[0] + side.dx, point["y"] * _ROOM[1] - side.dy
    width = _LETTER * len(name)
    left, right = (x + share * width for share in _ENDS[side.align])
    return np.array([[left, right], [y - _HEIGHT / 2, y + _HEIGHT / 2]])


def _cost(box: np.ndarray, points: np.ndarray, taken: list[np.ndarray]) -> float:
    """What stands in the way of a name, and how far it leaves the chart."""
    low, high = box[:, :1], box[:, 1:]
    hits = ((low < points) & (points < high)).all(axis=0).sum()
    meets = sum(
        bool(((box[:, 0] < other[:, 1]) & (other[:, 0] < box[:, 1])).all())
        for other in taken
    )
    room = np.array(_ROOM)
    beyond = np.maximum(-box[:, 0], box[:, 1] - room).clip(min=0).sum()
    off_middle = np.abs(box.mean(axis=1) / room - 0.5).sum()
    return float(100 * beyond + 100 * meets + 10 * hits + off_middle)
