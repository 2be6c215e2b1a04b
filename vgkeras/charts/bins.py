"""Many steps or layers in bins: what is drawn of them cannot alias.

To draw every so many of them would: a loss that falls within each epoch of 8 batches
and is drawn at every 9th step shows waves of 72 steps that are nowhere in it. A bin has
a row that was measured, the middle one, and the smallest and largest value in it.
"""

import math

import numpy as np
import pandas as pd


def binned(
    rows: pd.DataFrame,
    across: str,
    within: list[str],
    most: int,
    view: tuple[float, float],
) -> tuple[pd.DataFrame, int]:
    """At most `most` bins along a column, and how many of its values a bin has.

    Up to twice as many values stay as they are: two have no middle one.
    Each bin has the middle row of those on the axis, and the first of those that are
    off it in one way: an Inf among a thousand numbers is seen. Measurement and theory
    have bins of their own.
    """
    parts = rows.groupby("origin", sort=False)
    pairs = [_binned(part, across, within, most, view) for _, part in parts]
    return pd.concat([part for part, _ in pairs]), pairs[0][1]


def middle_rows(rows: pd.DataFrame, keys: list[pd.Series]) -> pd.DataFrame:
    """Of each group the row of the middle `log10`, with `low` and `high`.

    Where there is no tensor, there is nothing to be the middle of.
    """
    group = pd.DataFrame(dict(enumerate(keys))).groupby([*range(len(keys))]).ngroup()
    there = rows["log10"].notna()
    there |= ~there.groupby(group).transform("any")
    rows, group = rows[there], group[there]
    if rows.empty:
        return rows.assign(low=np.nan, high=np.nan)
    rows = rows.iloc[np.lexsort((rows["log10"], group))]
    starts = np.flatnonzero(np.diff(np.sort(group), prepend=-1))
    ends = np.append(starts[1:], len(rows)) - 1
    values = rows["log10"].to_numpy()
    middle = rows.iloc[(starts + ends) // 2]
    return middle.assign(low=values[starts], high=values[ends])


def bin_words(width: int, what: str) -> str:
    """What a point and its bar are, if they are more than a value."""
    if width == 1:
        return ""
    return f"Of {width:,} {what} each: the middle one, and a bar over all."


def _binned(
    rows: pd.DataFrame,
    across: str,
    within: list[str],
    most: int,
    view: tuple[float, float],
) -> tuple[pd.DataFrame, int]:
    rows = rows.sort_values(across, kind="stable")
    bins, width = _bins(rows[across], most)
    if width == 1:
        return rows, 1
    on, keys = rows["log10"].between(*view), [*within, "bin"]
    inside, outside = rows.assign(bin=bins)[on], rows.assign(bin=bins)[~on]
    middle = middle_rows(inside, [inside[key] for key in keys])
    if (rows["origin"] == "theory").any():  # a line: it has no width of its own
        middle = middle.assign(low=middle["log10"], high=middle["log10"])
    value = outside["log10"]
    way = np.select([value.isna(), value < view[0]], ["lost", "below"], "above")
    first = outside.assign(way=way).drop_duplicates([*keys, "way"])
    few = pd.concat([middle, first]).drop(columns=["bin", "way"])
    return few.sort_values(across, kind="stable"), width


def _bins(values: pd.Series, most: int) -> tuple[np.ndarray, int]:
    """The bin of each value, by its rank, and how many ranks a bin has.

    The first and the last value are bins of their own: a curve keeps its ends.
    """
    ranks, place = np.unique(values, return_inverse=True)
    if len(ranks) <= 2 * most:
        return place, 1
    width = math.ceil((len(ranks) - 2) / (most - 2))
    bins = (np.arange(len(ranks)) - 1) // width
    bins[-1] = bins[-2] + 1
    return bins[place], width
