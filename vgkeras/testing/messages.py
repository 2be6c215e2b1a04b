"""The text of a failed assertion: what, where, by which rule, and every layer."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from vgkeras._text import decades, number, number_of, run_label
from vgkeras.diagnosis import Finding, root_mean_square
from vgkeras.logs import KINDS, GradientLog
from vgkeras.testing.profiles import MISSING, NEW
from vgkeras.testing.rows import of_assertions

_MOST_ROWS = 24  # of a table; a longer one is cut
_EDGE = 4  # rows at each end of a table that is cut
_AROUND = 6  # rows before and after the one in focus


@dataclass(frozen=True)
class Failure:
    """What a failed assertion says.

    Args:
        problem: One sentence: what is wrong, and where it first is.
        details: Lines such as the rule with its threshold and what was measured.
        columns: Cells of the table, by column title.
        bad: Whether each row breaks the rule.
        focus: Index of the row that `problem` is about.
        way_out: One or two sentences that help.
    """

    problem: str
    details: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    bad: Sequence[bool]
    focus: int
    way_out: str

    def __str__(self) -> str:
        table = table_lines(self.columns, self.bad, self.focus)
        way_out = f"Way out: {self.way_out}"
        return "\n".join([self.problem, *self.details, "", *table, "", way_out])


def table_lines(
    columns: Mapping[str, Sequence[str]], bad: Sequence[bool], focus: int = 0
) -> list[str]:
    """Lines of an aligned table; bad rows start with `>`.

    A long table is cut to its two ends and the rows around the index `focus`; a line
    says how many were left out, and how many of them are bad.

    Example:
        >>> print(*table_lines({"layer": ["1"], "norm": ["3.0e-09"]}, [True]), sep="|")
          layer  norm|> 1      3.0e-09
    """
    indices = _indices(len(bad), focus)
    cells = [[title, *(c[i] for i in indices)] for title, c in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    header, *rows = (_line(row, widths) for row in zip(*cells, strict=True))
    lines = [f"  {header}"]
    for before, index, row in zip([-1, *indices], indices, rows, strict=False):
        if index > before + 1:
            lines.append(_gap(bad[before + 1 : index]))
        lines.append(f"{'>' if bad[index] else ' '} {row}")
    return lines


def _indices(count: int, focus: int) -> list[int]:
    """Indices of the rows of a table, or of what is left when it is cut."""
    if count <= _MOST_ROWS:
        return list(range(count))
    around = range(max(0, focus - _AROUND), min(count, focus + _AROUND + 1))
    ends = [*range(_EDGE), *range(count - _EDGE, count)]
    return sorted({*ends, *around})


def _gap(bad: Sequence[bool]) -> str:
    noun = "row" if len(bad) == 1 else "rows"
    return f"  ... {len(bad)} more {noun}, {sum(map(bool, bad))} of them bad"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


@dataclass(frozen=True)
class Wording:
    """The words of one assertion.

    `problem` ends the first sentence, about the first bad row; `quantity` is what a
    threshold is for; `expected` names what norms are compared with.
    """

    problem: Callable[[pd.Series], str]
    rule: str
    way_out: str
    quantity: str = "norm"
    expected: str = ""


def check(log: GradientLog, wording: Wording, rows: pd.DataFrame) -> None:
    """Raises if a row is bad: about the first run and step that has one.

    `rows` are of layers, with the columns `bad`; `value`, which the rule is about;
    `beyond`, decades beyond the threshold, NaN where there is none; and for a
    comparison `expected` and `note`.
    """
    __tracebackhide__ = of_assertions
    if not rows["bad"].any():
        return
    rows = rows.sort_values(["run", "step"], kind="stable")
    first = rows[rows["bad"]].iloc[0]
    here = rows[(rows["run"] == first["run"]) & (rows["step"] == first["step"])]
    raise AssertionError(str(_failure(log, wording, here.reset_index(drop=True))))


def _failure(log: GradientLog, wording: Wording, rows: pd.DataFrame) -> Failure:
    """The text about one step: a variable that is not there comes before a norm."""
    bad = rows[rows["bad"]]
    if "note" in bad:
        bad = bad.sort_values("note", key=lambda note: note.eq(""), kind="stable")
    first = bad.iloc[0]
    return Failure(
        problem=f"{_place(first)} {wording.problem(first)}.",
        details=[
            f"Rule: {wording.rule}.{_measurement(wording, first)}",
            _scope(log, rows, first["run"]),
        ],
        columns=_columns(wording, rows),
        bad=rows["bad"].tolist(),
        focus=int(bad.index[0]),
        way_out=wording.way_out,
    )


def _scope(log: GradientLog, rows: pd.DataFrame, run: int) -> str:
    """Which rows the table is about."""
    step = f"step {rows['step'].iloc[0]}" if len(rows) else "no rows"
    return f"Shown: {_run(log, run)}, {step}; {_counts(rows)} (>)."


def _counts(rows: pd.DataFrame) -> str:
    """How many rows are bad, and how many of them for a reason of their own."""
    total = f"{rows['bad'].sum()} of {len(rows)} rows are bad"
    if "note" not in rows or rows["note"].eq("").all():
        return total
    counts = rows["note"][rows["bad"]].replace("", "changed").value_counts()
    return f"{total}: {', '.join(f'{count} {note}' for note, count in counts.items())}"


def _place(row: pd.Series) -> str:
    kinds = dict(zip(KINDS, ("gradient", "activation", "dL/da"), strict=True))
    return (
        f"The {kinds[row['kind']]} of layer {row['layer']} ({row['name']}) "
        f"at step {row['step']}"
    )


def _measurement(wording: Wording, first: pd.Series) -> str:
    """What was measured, and how far beyond the threshold."""
    value, margin = first["value"], first["beyond"]
    if wording.expected and not margin > 0:
        return ""
    measured = decades(value) if wording.expected else number_of(value)
    return f" Measured: {measured}{beyond(margin) if margin > 0 else ''}."


def beyond(margin: float) -> str:
    """How far beyond its threshold a measured value is, where that is known."""
    return "" if math.isnan(margin) else f", {decades(margin)} beyond"


def _run(log: GradientLog, number: int) -> str:
    """Which of several runs it is, and its number format."""
    rows = log.runs[log.runs["run"] == number].to_dict("records")
    if not rows:
        return f"run {number} (only recorded)"
    (run,) = rows
    if len(log.runs) == 1:
        return str(run["dtype"])
    return f"run {number} ({run_label(run)}, {run['dtype']})"


def check_finding(log: GradientLog, finding: Finding) -> None:
    """Raises because of a finding of `diagnose` about a run of the log."""
    __tracebackhide__ = of_assertions
    rows = _rows_of(log.layers, finding)
    columns = _labels(rows) | {
        "norm": rows["log10_norm"].map(number_of).tolist(),
        "rms": root_mean_square(rows).map(number_of).tolist(),
    }
    if finding.rule.startswith("update"):
        columns["update / weights"] = rows["update_ratio"].map(number).tolist()
    margin = finding.margin if math.isfinite(finding.margin) else math.nan
    failure = Failure(
        problem=str(replace(finding, remedy="")),
        details=[
            f"Rule: {finding.rule} (vgkeras.diagnose). Measured: "
            f"{number(finding.measured)}{beyond(margin)}.",
            _scope(log, rows, finding.run),
        ],
        columns=columns,
        bad=rows["bad"].tolist(),
        focus=min(rows.index[rows["bad"]], default=0),
        way_out=f"{finding.remedy}.",
    )
    raise AssertionError(str(failure))


def _rows_of(layers: pd.DataFrame, finding: Finding) -> pd.DataFrame:
    """Rows of the run, step and kind of a finding, `bad` where its rule fires too."""
    rows = layers[layers["run"] == finding.run]
    rows = rows[rows["kind"] == _kind_of(finding.rule)]
    if finding.step is not None:  # or else the last step logged before
        rows = rows[rows["step"] <= finding.step]
    rows = rows[rows["step"] == rows["step"].max()].reset_index(drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.log10(finding.threshold)  # of no logarithm: NaN, which none is below
    tests = {
        "zero": rows["log10_norm"] == -math.inf,
        "non-finite": rows["log10_norm"] == math.inf,
        "subnormal": rows["log10_max"] < limit,
        "vanishing": root_mean_square(rows) < limit,
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


def _labels(rows: pd.DataFrame) -> dict[str, list[str]]:
    return {
        "layer": rows["layer"].astype("str").tolist(),
        "name": rows["name"].tolist(),
    }


def _columns(wording: Wording, rows: pd.DataFrame) -> dict[str, list[str]]:
    """The table of a failure, by column title."""
    columns = _labels(rows)
    if rows["kind"].nunique() > 1:
        columns["kind"] = rows["kind"].tolist()
    if wording.expected:
        return columns | _comparison(wording, rows)
    columns["norm"] = rows["log10_norm"].map(number_of).tolist()
    if wording.quantity != "norm":
        columns[wording.quantity] = rows["value"].map(number_of).tolist()
    if rows["beyond"].notna().any():
        columns["decades beyond"] = _format(rows["beyond"], "+.2f")
    return columns


def _comparison(wording: Wording, rows: pd.DataFrame) -> dict[str, list[str]]:
    gone, new = (rows["note"].str.endswith(side) for side in (MISSING, NEW))
    columns = {
        wording.expected: rows["expected"].map(number_of).mask(new, "-").tolist(),
        "measured": rows["log10_norm"].map(number_of).mask(gone, "-").tolist(),
        "decades apart": _format(rows["value"], ".4f"),
    }
    if rows["note"].ne("").any():
        columns["note"] = rows["note"].tolist()
    return columns


def _format(values: pd.Series, spec: str) -> list[str]:
    return ["" if math.isnan(value) else f"{value:{spec}}" for value in values]


def decades_apart(rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Decades between `log10_norm` and `expected`; what is not a number must agree."""
    measured, expected = rows["log10_norm"], rows["expected"]
    with np.errstate(invalid="ignore"):
        apart = (measured - expected).abs().fillna(math.inf)
    same = measured.eq(expected) | (measured.isna() & expected.isna())
    only_one = rows["note"].ne("")
    apart = apart.mask(same, 0.0).mask(only_one, math.nan)
    bad = only_one | (apart > tolerance)
    return rows.assign(bad=bad, value=apart, beyond=apart - tolerance)
