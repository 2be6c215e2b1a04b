"""The text of a failed assertion: what, where, by which rule, and every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from vgkeras._text import decades, number_of
from vgkeras.diagnosis import Finding, tensors
from vgkeras.logs import KINDS, GradientLog
from vgkeras.testing.profiles import NEW, RENAMED

_SHOWN = 24  # rows of a table that is longer than this are left out
_EDGE = 4  # rows kept at each end of a long table
_AROUND = 6  # rows kept before and after the one in focus


@dataclass(frozen=True)
class Failure:
    """What a failed assertion says.

    Args:
        problem: One sentence: what is wrong, and where it first is.
        details: Lines such as the rule with its threshold and what was measured.
        header: Column titles of the table.
        rows: Cells of the table, a list per row.
        bad: Whether each row breaks the rule.
        focus: Index of the row that `problem` is about.
        way_out: One or two sentences that help.
    """

    problem: str
    details: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bad: Sequence[bool]
    focus: int
    way_out: str

    def __str__(self) -> str:
        table = table_lines(self.header, self.rows, self.bad, self.focus)
        lines = [self.problem, *self.details, "", *table, "", self.way_out]
        return "\n".join(lines)


def of_assertions(caught: Any) -> bool:
    """For `__tracebackhide__`: pytest then shows the failed test, not this code."""
    return caught.errisinstance(AssertionError)


def table_lines(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    bad: Sequence[bool],
    focus: int = 0,
) -> list[str]:
    """Lines of an aligned table; bad rows start with `>`.

    Args:
        header: Column titles.
        rows: Cells, a list per row.
        bad: Whether each row is marked.
        focus: Index of the row that a long table is cut around.

    Returns:
        The header and the rows. Of a long table the two ends and the rows around
        `focus` are kept; a line says how many were left out, and how many of them
        are bad.

    Example:
        >>> print(*table_lines(["layer", "norm"], [["1", "3.0e-09"]], [True]), sep="|")
          layer  norm|> 1      3.0e-09
    """
    kept = _kept(len(bad), focus)
    shown = [list(header), *(list(rows[index]) for index in kept)]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    lines = [_line(" ", header, widths)]
    for position, index in enumerate(kept):
        before = kept[position - 1] if position else -1
        if index > before + 1:
            lines.append(_left_out(bad[before + 1 : index]))
        lines.append(_line(">" if bad[index] else " ", rows[index], widths))
    return lines


@dataclass(frozen=True)
class Rule:
    """The words of one assertion.

    `told` ends the first sentence, about the first bad row; `quantity` is what a
    threshold is for; `expected` names what norms are compared with.
    """

    told: Callable[[pd.Series], str]
    rule: str
    way_out: str
    quantity: str = "norm"
    expected: str = ""


def check(log: GradientLog, rule: Rule, rows: pd.DataFrame) -> None:
    """Raises if a row is bad: about the first run and step that has one.

    Args:
        log: What was measured.
        rule: The words.
        rows: Rows of layers with the columns `bad`; `value`, which the rule is about;
            `beyond`, decades beyond the threshold, NaN where there is none; and for a
            comparison `expected` and `note`.
    """
    __tracebackhide__ = of_assertions
    if not rows["bad"].any():
        return
    rows = rows.sort_values(["run", "step"], kind="stable")
    first = rows[rows["bad"]].iloc[0]
    here = rows[(rows["run"] == first["run"]) & (rows["step"] == first["step"])]
    raise AssertionError(str(_failure(log, rule, here.reset_index(drop=True))))


def _failure(log: GradientLog, rule: Rule, rows: pd.DataFrame) -> Failure:
    """The text about one step: a variable that is not there comes before a norm."""
    bad = rows[rows["bad"]]
    if "note" in bad:
        bad = bad.sort_values("note", key=lambda note: note.eq(""), kind="stable")
    first = bad.iloc[0]
    columns = _columns(rule, rows)
    return Failure(
        problem=f"{_place(first)} {rule.told(first)}.",
        details=[
            f"Rule: {rule.rule}.{_margin(rule, first)}",
            _shown(log, rows, first["run"]),
        ],
        header=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        bad=rows["bad"].tolist(),
        focus=int(bad.index[0]),
        way_out=f"Way out: {rule.way_out}",
    )


def _shown(log: GradientLog, rows: pd.DataFrame, run: int) -> str:
    """Which rows the table shows."""
    step = f"step {rows['step'].iloc[0]}" if len(rows) else "no rows"
    return f"Shown: {_run_told(log, run)}{step}; {_counted(rows)} (>)."


def _counted(rows: pd.DataFrame) -> str:
    """How many rows are bad, and how many of them for a reason of their own."""
    told = f"{rows['bad'].sum()} of {len(rows)} rows are bad"
    if "note" not in rows or rows["note"].eq("").all():
        return told
    notes = rows["note"].mask(rows["note"].str.startswith(RENAMED), "renamed")
    counts = notes[rows["bad"]].replace("", "changed").value_counts()
    return f"{told}: {', '.join(f'{count} {note}' for note, count in counts.items())}"


def _place(row: pd.Series) -> str:
    kinds = dict(zip(KINDS, ("gradient", "activation", "dL/da"), strict=True))
    return (
        f"The {kinds[row['kind']]} of layer {row['layer']} ({row['name']}) "
        f"at step {row['step']}"
    )


def _margin(rule: Rule, first: pd.Series) -> str:
    """What was measured, and how far beyond the threshold."""
    value, margin = first["value"], first["beyond"]
    if rule.expected and not margin > 0:
        return ""
    measured = decades(value) if rule.expected else number_of(value)
    far = f", {decades(margin)} beyond" if margin > 0 else ""
    return f" Measured: {measured}{far}."


def _run_told(log: GradientLog, run_number: int) -> str:
    """Which of several runs it is, and its number format."""
    runs = log.runs.set_index("run")
    if run_number not in runs.index:
        return f"run {run_number} (only recorded), "
    run = runs.loc[run_number]
    if len(log.runs) == 1:
        return f"{run['dtype']}, "
    scale = "" if math.isnan(run["scale"]) else f", scale {run['scale']:g}"
    return f"run {run_number} (depth {run['depth']}{scale}, {run['dtype']}), "


def check_finding(log: GradientLog, finding: Finding) -> None:
    """Raises because of a finding of `diagnose`.

    Args:
        log: The log that was diagnosed.
        finding: What was found.
    """
    __tracebackhide__ = of_assertions
    rows = _rows_of(log.layers, finding)
    columns = {
        "layer": rows["layer"].astype("str").tolist(),
        "name": rows["name"].tolist(),
        "norm": rows["log10_norm"].map(number_of).tolist(),
        "rms": root_mean_square(rows).map(number_of).tolist(),
    }
    if finding.rule.startswith("update"):
        columns["update / weights"] = rows["update_ratio"].map("{:.1e}".format).tolist()
    failure = Failure(
        problem=str(replace(finding, remedy="")),
        details=[
            f"Rule: {finding.rule} (vgkeras.diagnose). Measured: "
            f"{finding.measured:.3g}{beyond(finding.margin)}.",
            _shown(log, rows, finding.run),
        ],
        header=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        bad=rows["bad"].tolist(),
        focus=min(rows.index[rows["bad"]], default=0),
        way_out=f"Way out: {finding.remedy}.",
    )
    raise AssertionError(str(failure))


def _rows_of(layers: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    """The rows that a finding is about: of its run, its step and its kind.

    They have a column `bad`: whether the rule fires there too.
    """
    rows = layers[layers["run"] == finding.run]
    rows = rows[rows["kind"] == _kind_of(finding.rule)]
    if finding.step is not None:  # or else the last step logged before
        rows = rows[rows["step"] <= finding.step]
    rows = rows[rows["step"] == rows["step"].max()].reset_index(drop=True)
    tests = {
        "zero": rows["log10_norm"] == -math.inf,
        "non-finite": rows["log10_norm"] == math.inf,
        "subnormal": rows["log10_max"] < _log10(finding.threshold),
        "vanishing": root_mean_square(rows) < _log10(finding.threshold),
        "exploding": rows["update_ratio"] > finding.threshold,
    }
    own = (rows["layer"] == finding.layer) & (rows["name"] == finding.name)
    by_layer = finding.rule.startswith(("log10", "largest output", "last loss"))
    return rows.assign(bad=own if by_layer else own | tests[finding.regime])


def _kind_of(rule: str) -> str:
    weight, activation, activation_gradient = KINDS
    if "activation gradient" in rule:
        return activation_gradient
    return activation if "activation" in rule or "output" in rule else weight


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan


def root_mean_square(layers: pd.DataFrame) -> pd.Series:
    """log10 of the root mean square of the elements that are not 0, as diagnosed."""
    return pd.Series(tensors(layers).log10_rms(), layers.index)


def _columns(rule: Rule, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The table of a failure, by column title."""
    columns = {
        "layer": rows["layer"].astype("str").tolist(),
        "name": rows["name"].tolist(),
        "kind": rows["kind"].tolist(),
    }
    if rows["kind"].nunique() == 1:
        del columns["kind"]
    if rule.expected:
        return {**columns, **_comparison(rule, rows)}
    columns["norm"] = rows["log10_norm"].map(number_of).tolist()
    if rule.quantity != "norm":
        columns[rule.quantity] = rows["value"].map(number_of).tolist()
    if rows["beyond"].notna().any():
        columns["decades beyond"] = _signed(rows["beyond"])
    return columns


def _comparison(rule: Rule, rows: pd.DataFrame) -> dict[str, list[str]]:
    gone = rows["note"].str.endswith("missing")
    new = rows["note"].isin([NEW, "step is new"])
    columns = {
        rule.expected: rows["expected"].map(number_of).mask(new, "-").tolist(),
        "measured": rows["log10_norm"].map(number_of).mask(gone, "-").tolist(),
        "decades apart": [
            "" if math.isnan(value) else f"{value:.4f}" for value in rows["value"]
        ],
    }
    if rows["note"].ne("").any():
        columns["note"] = rows["note"].tolist()
    return columns


def _signed(values: pd.Series) -> list[str]:
    return ["" if math.isnan(value) else f"{value:+.2f}" for value in values]


def beyond(margin: float) -> str:
    """How far beyond its threshold a measured value is, where that is a number."""
    return f", {decades(margin)} beyond" if math.isfinite(margin) else ""


def _kept(count: int, focus: int) -> list[int]:
    """Indices of the rows that are shown."""
    if count <= _SHOWN:
        return list(range(count))
    around = range(max(0, focus - _AROUND), min(count, focus + _AROUND + 1))
    ends = [*range(_EDGE), *range(count - _EDGE, count)]
    return sorted({*ends, *around})


def _left_out(bad: Sequence[bool]) -> str:
    noun = "row" if len(bad) == 1 else "rows"
    return f"  ... {len(bad)} more {noun}, {sum(map(bool, bad))} of them bad"


def _line(mark: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"{mark} {'  '.join(padded)}".rstrip()


def decades_apart(rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Decades between `log10_norm` and `expected`; what is not a number must agree."""
    measured, expected = rows["log10_norm"], rows["expected"]
    with np.errstate(invalid="ignore"):
        off = (measured - expected).abs().fillna(math.inf)
    same = measured.eq(expected) | (measured.isna() & expected.isna())
    off = off.mask(same, 0.0)
    noted = rows["note"].ne("")
    off = off.mask(noted & ~rows["note"].str.startswith(RENAMED), math.nan)
    bad = noted | (off > tolerance)
    return rows.assign(bad=bad, value=off, beyond=off - tolerance)
