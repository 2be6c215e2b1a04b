"""A finding about one run, as a sentence and as a table."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from vgkeras import _text as text
from vgkeras.diagnosis.run_arrays import Run, Tensors

REGIMES = (
    "non-finite",
    "disconnected",
    "dead units",
    "zero",
    "subnormal",
    "frozen",
    "vanishing",
    "exploding",
    "stalled",
    "slow",
    "healthy",
    "unknown",
)

_SIDES = {"<": ("below", "above"), ">": ("above", "below")}


@dataclass(frozen=True)
class Finding:
    """One finding about one run. `str` makes a sentence of it.

    Args:
        regime: One of `REGIMES`.
        rule: The rule that fired; for a healthy run the one nearest to firing.
        threshold: The number in that rule.
        measured: What was measured where the rule first fires, in the same unit.
        margin: How far `measured` lies beyond `threshold`, in decades (base-10
            logarithm of their quotient; the difference, if they are logarithms):
            positive where the rule fires, negative where it does not.
        run: Number of the run in the log.
        layer: First layer at which it fires, at `step`; `None` if of the whole run.
        name: Keras path of the variable or layer, or `""`.
        step: First step at which it fires; `None` if of the whole run.
        dtype: Number format of the run.
        remedy: What helps against this cause; `""` if nothing is wrong.
        extent: How far it reaches, e.g. `"50 of 50 layers"`, or `""`.
    """

    regime: str
    rule: str
    threshold: float
    measured: float
    margin: float
    run: int
    layer: int | None
    name: str
    step: int | None
    dtype: str
    remedy: str
    extent: str = ""

    def __str__(self) -> str:
        if self.regime == "healthy":
            told = ", ".join(
                part
                for part in (
                    "Healthy: nearest to a limit",
                    self._place(),
                    self._evidence(),
                )
                if part
            )
        else:
            told = f"{self.regime.capitalize()} {self._place()}".rstrip()
            told += f": {self._evidence()}"
        details = ", ".join(part for part in (self.dtype, self.extent) if part)
        told += f" ({details})" if details else ""
        return f"{told}; {self.remedy}." if self.remedy else f"{told}."

    def _repr_html_(self) -> str:
        return _table([self])

    def _place(self) -> str:
        named = f" ({self.name})" if self.name else ""
        word = "in" if self.regime == "healthy" else "from"
        layer = "" if self.layer is None else f"{word} layer {self.layer}{named}"
        step = "" if self.step is None else f"at step {self.step}"
        return " ".join(part for part in (layer, step) if part)

    def _evidence(self) -> str:
        """Tells the rule `quantity < number` with what was measured."""
        *quantity, sign, number = self.rule.split(" ")
        if sign not in _SIDES:
            return f"the {self.rule}"
        told = f"the {' '.join(quantity)} is {text.number(self.measured)}"
        if self.margin == -math.inf:  # beyond it, but not in a way that counts
            return told
        if not math.isfinite(self.margin):
            return f"{told}, {_SIDES[sign][0]} {number}"
        side = _SIDES[sign][0 if self.margin > 0 else 1]
        return f"{told}, {text.decades(abs(self.margin))} {side} {number}"


class Findings(list[Finding]):
    """A list of `Finding`, by run and, within a run, gravest first.

    `str` makes a line of each, and a notebook shows them as a table.
    """

    def __str__(self) -> str:
        several = len({finding.run for finding in self}) > 1
        return "\n".join(
            f"Run {finding.run}. {finding}" if several else str(finding)
            for finding in self
        )

    def _repr_html_(self) -> str:
        return _table(self)


def finding_of(
    run: Run,
    regime: str,
    rule: str,
    *,
    threshold: float = math.nan,
    measured: float = math.nan,
    margin: float = math.inf,
    at: Tensors | None = None,
    step: int | None = None,
    remedy: str,
    extent: str = "",
) -> Finding:
    """A finding at the first row of `at`, or at a step of the whole run."""
    return Finding(
        regime=regime,
        rule=rule,
        threshold=float(threshold),
        measured=float(measured),
        margin=float(margin),
        run=int(run.row["run"]),
        layer=None if at is None else int(at.layer[0]),
        name="" if at is None else str(at.name[0]),
        step=step if at is None else int(at.step[0]),
        dtype=str(run.row["dtype"]),
        remedy=remedy,
        extent=extent,
    )


_COLUMNS = ("run", "regime", "where", "rule", "measured", "decades beyond", "remedy")


def _table(findings: list[Finding]) -> str:
    """An HTML table without colours of its own: it takes those of the notebook."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in _COLUMNS)
    rows = "".join(f"<tr>{_cells(finding)}</tr>" for finding in findings)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(finding: Finding) -> str:
    parts = (finding._place(), finding.dtype, finding.extent)
    texts = (
        finding.run,
        finding.regime,
        ", ".join(part for part in parts if part),
        finding.rule,
        text.number(finding.measured),
        f"{finding.margin:+.1f}",
        finding.remedy,
    )
    style = "text-align:left;vertical-align:top"
    return "".join(
        f'<td style="{style}">{html.escape(str(text))}</td>' for text in texts
    )
