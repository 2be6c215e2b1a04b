"""A log in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from vgkeras.logs.log import GradientLog


MOST_SHOWN = 10  # runs in a notebook's table


def shortened(text: str) -> str:
    """A text, cut if it is long."""
    return text if len(text) <= 40 else f"{text[:39]}…"


HEADINGS = ("run", "stack", "depth", "optimizer", "rate", "steps", "dtype", "outcome")


def html_cells(log: GradientLog, run: dict[str, Any]) -> list[str]:
    """A run's cells."""
    if not math.isnan(run["scale"]):
        stack = f"c = {run['scale']:g}"
    else:
        stack = run["initializer"] or str(log.metadata.get("model") or "")
    return [
        str(run["run"]),
        shortened(stack),
        str(run["depth"]),
        shortened(run["optimizer"]),
        f"{run['learning_rate']:g}",
        f"{run['steps']:,}",
        shortened(run["dtype"]),
        run["outcome"] or "not judged",
    ]


def html_row(cells: Iterable[str], tag: str) -> str:
    """A row of an HTML table."""
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dictionaries."""
    return table.to_dict("records")


def words_below(log: GradientLog) -> str:
    """How much was logged, where it comes from, and with what."""
    kinds = [str(kind).replace("_", " ") for kind in log.layers["kind"].unique()]
    steps = log.layers["step"].nunique()
    told = f"{len(log.runs):,} {'run' if len(log.runs) == 1 else 'runs'}, "
    told += f"{len(log.layers):,} rows of layers at {steps:,} steps"
    told += f" ({', '.join(kinds)})" if kinds else ""
    told += ", with theory." if log.theory is not None else ", without theory."
    if log.metadata.get("origin"):
        told += f" Origin: {log.metadata['origin']}."
    found = log.metadata.get("versions")
    if isinstance(found, dict):
        told += f" Versions: {', '.join(f'{k} {v}' for k, v in found.items())}."
    return told if len(told) <= 1000 else f"{told[:999]}…"
