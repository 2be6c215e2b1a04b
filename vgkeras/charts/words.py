"""Words of titles, subtitles and text alternatives."""

import re
from collections.abc import Iterable

import pandas as pd

from vgkeras._text import listed
from vgkeras.charts.edge_bands import value_texts

_ORIGINS = {"measured": "Points: measured.", "theory": "Dashed lines: theory."}


def legend_line(rows: pd.DataFrame, *more: str) -> str:
    """What points and lines are, and more."""
    present = set(rows["origin"])
    words = [_ORIGINS[origin] for origin in _ORIGINS if origin in present]
    return " ".join(filter(None, [*words, *more]))


def series_rows(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Each series by name: measured where there is measurement, else theory."""
    rows = rows[rows["origin"] == rows["origin"].iloc[0]]
    parts = dict(list(rows.groupby("series", sort=False)))
    return [(name, parts[name]) for name in in_order(parts)]


def from_to(rows: pd.DataFrame, across: str) -> str:
    """`c = 0.5 from 1 to 0.25; c = 0.9 from 1 to 3.2e-20`."""
    words = []
    for name, part in series_rows(rows):
        part = part.sort_values(across, kind="stable").iloc[[0, -1]]
        words.append(f"{spoken([name])} from {' to '.join(value_texts(part))}")
    return "; ".join(words)


def at_ends(parts: Iterable[tuple[str, pd.DataFrame]], across: str) -> str:
    """`c = 0.5: 1 at depth 2 and 3.2e-20 at depth 50`, series by series."""
    words = []
    for name, part in parts:
        part = part.sort_values(across).iloc[:: len(part) - 1 or 1]
        pairs = zip(value_texts(part), part[across], strict=True)
        ends = " and ".join(f"{value} at {across} {place}" for value, place in pairs)
        words.append(f"{spoken([name])}: {ends}")
    return "; ".join(words)


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
