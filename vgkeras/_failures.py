"""The text of a failed assertion: what, where, by which rule, and every layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def number(log10: float) -> str:
    """`10**log10` in scientific notation or in words.

    Args:
        log10: A base-10 logarithm of any size; NaN means that there is no gradient.

    Example:
        >>> [number(value) for value in (-400.3, -math.inf, math.inf, math.nan)]
        ['5.0e-401', 'exactly 0', 'Inf or NaN', 'none']
    """
    if math.isnan(log10):
        return "none"
    if math.isinf(log10):
        return "Inf or NaN" if log10 > 0 else "exactly 0"
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent:+03d}"


def decades(value: float) -> str:
    """A difference of base-10 logarithms in words.

    Example:
        >>> decades(1.0), decades(0.004), decades(math.inf)
        ('1.00 decades', '0.004 decades', 'infinitely many decades')
    """
    if math.isinf(value):
        return "infinitely many decades"
    return f"{value:.2f} decades" if abs(value) >= 0.1 else f"{value:.2g} decades"


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
