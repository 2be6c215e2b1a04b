"""What a comparison of remedies says, in sentences worked out from its runs."""

import math
from collections.abc import Iterator

import pandas as pd

from vgkeras._text import listed, number_of, power_of_ten
from vgkeras.logs import GradientLog
from vgkeras.remedies.comparison import BASELINE, REMEDIES, table

Tables = dict[str, pd.DataFrame]  # by remedy: the rows of `table`, by depth
_GROUPS = {remedy.name: remedy.group for remedy in REMEDIES}
_NEAR = 0.1  # decades between two losses that are called the same


def comparison_sentences(log: GradientLog) -> list[str]:
    """Says what stands out in a comparison of linear stacks, one remedy at a time.

    Why a remedy does what it does is said only where its runs did it.

    Args:
        log: What `compare` returns.

    Returns:
        Sentences in Markdown; none on what the runs do not show.

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `remedy`.
    """
    rows = table(log)
    tables = {name: own.set_index("depth") for name, own in rows.groupby("remedy")}
    tables = {name: tables[name] for name in dict.fromkeys(rows["remedy"])}
    baseline = baseline_of(tables)
    sentences: list[str] = []
    if baseline is not None:
        sentences += [_of_baseline(baseline, tables.pop(baseline))]
        sentences += _of_equal_starts(tables, table(log.select(remedy=baseline)))
    sentences += _of_mirrors(tables, log)
    sentences += _of_zero_starts(tables)
    return [*sentences, *_of_explosions(tables)]


def baseline_of(names: Tables | list[str]) -> str | None:
    """The name of the scaled identity among remedies, whatever its activation."""
    return next((name for name in names if name.split(",")[0] == BASELINE), None)


def _of_baseline(name: str, rows: pd.DataFrame) -> str:
    first, last = rows.index[[0, -1]]
    ends = [_about(rows["gradient_median"][depth]) for depth in (first, last)]
    return (
        f"**{name}**, no remedy: the gradient is {ends[0]} at depth {first} and "
        f"{ends[1]} at depth {last}; it trains {_where(rows)}."
    )


def _of_equal_starts(tables: Tables, baseline: pd.DataFrame) -> Iterator[str]:
    """Remedies that change the step alone, and those that change nothing at all."""
    baseline = baseline.set_index("depth")
    start, end = "gradient_median", "loss_median"
    equal = {k: v for k, v in tables.items() if v[start].equals(baseline[start])}
    if not equal:
        return
    verb = "begins" if len(equal) == 1 else "begin"
    yield f"**{listed(equal)}** {verb} with the same gradient."
    idle = [name for name, own in equal.items() if _same(own[end], baseline[end])]
    idle = [name for name in idle if _GROUPS.get(name) == "clipping"]
    if idle:
        verb = "ends" if len(idle) == 1 else "end"
        yield (
            f"**{listed(idle)}** {verb} at the same loss: clipping cannot lengthen a "
            "gradient."
        )


def _of_mirrors(tables: Tables, log: GradientLog) -> Iterator[str]:
    """Orthogonal stacks that rest where one of all directions is not learned."""
    runs = log.runs[log.runs["initializer"].isin(["orthogonal", "lsuv"])]
    linear = runs["remedy"][(runs["activation"] == "linear")].unique()
    for name in linear:
        units = runs["units"].iloc[0]
        stuck = (tables[name]["loss_high"] + math.log10(units)).abs() < _NEAR
        if stuck.any():
            yield (
                f"**{name}** keeps the gradient, and rests at a loss of 1/{units} "
                f"where it mirrors: one of {units} directions is never learned."
            )


def _of_zero_starts(tables: Tables) -> Iterator[str]:
    for name, rows in tables.items():
        zero = (rows["gradient_high"] == -math.inf) & (rows.index > 1)
        if (zero & (rows["trains"] > 0.5)).any():
            yield (
                f"**{name}** begins with a gradient of exactly 0, since its factors "
                f"learn first, and trains {_where(rows)}."
            )


def _of_explosions(tables: Tables) -> Iterator[str]:
    diverging = {
        name: rows.index[rows["diverges"] > 0.5].tolist()
        for name, rows in tables.items()
    }
    words = [f"**{k}** from depth {min(v)} on" for k, v in diverging.items() if v]
    if words:
        yield f"The other way round, diverging: {listed(words)}."


def _same(a: pd.Series, b: pd.Series) -> bool:
    return bool(((a == b) | ((a - b).abs() < _NEAR)).all())


def _where(rows: pd.DataFrame) -> str:
    depths = rows.index[rows["trains"] > 0.5].tolist()
    if not depths:
        return "at no depth"
    noun = "depth" if len(depths) == 1 else "depths"
    return (
        "at every depth" if len(depths) == len(rows) else f"at {noun} {listed(depths)}"
    )


def _about(log10: float) -> str:
    """A number for a reader: `0.19`, `10⁻¹⁵`, `exactly 0`."""
    plain = not math.isfinite(log10) or abs(log10) < 3
    return number_of(log10) if plain else f"about {power_of_ten(log10)}"
