"""Words of titles, subtitles and text alternatives."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from vgkeras._text import listed


def legend_line(rows: pd.DataFrame, extra: str) -> str:
    """What points and lines are, and more."""
    origins = set(rows["origin"])
    told = {
        "measured": "Points: measured.",
        "theory": "Dashed lines: theory.",
    }
    return " ".join([*(told[o] for o in told if o in origins), extra]).strip()


def series_rows(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Each series by name: measured where there is measurement, else theory."""
    rows = rows[rows["origin"] == rows["origin"].iloc[0]]
    parts = dict(list(rows.groupby("series", sort=False)))
    return [(name, parts[name]) for name in in_order(parts)]


def spoken(names: list[str]) -> str:
    """`c = 0.5 and 0.9`: a bare number would be taken for a result."""
    return f"c = {listed(names)}" if is_number(names[0]) else listed(names)


def in_order(names: Iterable[str]) -> list[str]:
    """Unique, numbers by size and before words; `run 2` before `run 10`."""
    return sorted(set(names), key=_place_in_order)


def _place_in_order(name: str) -> tuple[int, float, str]:
    if is_number(name):
        return 0, float(name), name
    number = re.search(r"\d{1,15}", name)
    return 1, float(number[0]) if number else 0.0, name


def is_number(name: str) -> bool:
    """Whether a name is that of a scale."""
    try:
        float(name)
    except ValueError:
        return False
    return True
