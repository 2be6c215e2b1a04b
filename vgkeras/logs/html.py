"""A log in a notebook."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from vgkeras._text import beginning

if TYPE_CHECKING:
    from vgkeras.logs.log import GradientLog

_HEADINGS = ("run", "stack", "depth", "optimizer", "rate", "steps", "dtype", "outcome")
_MOST_RUNS = 10
_MOST_LETTERS = 1000  # below the table


def html_of(log: GradientLog) -> str:
    """The first runs as a table, and below it what else the log holds."""
    rows = [_row(log, run) for run in log.runs.head(_MOST_RUNS).to_dict("records")]
    more = len(log.runs) - len(rows)
    words = _words_below(log) + (f" Not shown: {more:,} more runs." if more else "")
    # No colours of its own: it takes those of the notebook, light or dark.
    table = pd.DataFrame(rows, columns=_HEADINGS).to_html(
        index=False, border=0, escape=True
    )
    return f'<div>{table}<p style="max-width: 60em">{escape(words)}</p></div>'


def _row(log: GradientLog, run: dict[str, Any]) -> list[str]:
    """What a notebook shows of a run."""
    stack = run["initializer"] or str(log.metadata.get("model") or "")
    cells = [
        str(run["run"]),
        stack if math.isnan(run["scale"]) else f"c = {run['scale']:g}",
        str(run["depth"]),
        run["optimizer"],
        f"{run['learning_rate']:g}",
        f"{run['steps']:,}",
        run["dtype"],
        run["outcome"] or "not judged",
    ]
    return [beginning(cell) for cell in cells]


def _words_below(log: GradientLog) -> str:
    """How much was logged, where it comes from, and with what."""
    kinds = [str(kind).replace("_", " ") for kind in log.layers["kind"].unique()]
    steps = log.layers["step"].nunique()
    words = f"{len(log.runs):,} {'run' if len(log.runs) == 1 else 'runs'}, "
    words += f"{len(log.layers):,} rows of layers at {steps:,} steps"
    words += f" ({', '.join(kinds)})" if kinds else ""
    words += ", with theory." if log.theory is not None else ", without theory."
    if log.metadata.get("origin"):
        words += f" Origin: {log.metadata['origin']}."
    versions = log.metadata.get("versions")
    if isinstance(versions, dict):
        words += f" Versions: {', '.join(f'{k} {v}' for k, v in versions.items())}."
    return beginning(words, _MOST_LETTERS)
