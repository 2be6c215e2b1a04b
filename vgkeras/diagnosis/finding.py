"""A finding about one run, as a sentence and as a table."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vgkeras._text import decades, number
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
    "mismatch",
    "stalled",
    "slow",
    "healthy",
    "unknown",
)

CAUSES = (
    "Inf or NaN in the data",
    "the loss function",
    "infinite derivative",
    "the optimizer",
    "overflow of the format",
    "epsilon below the format",
    "explosion",
    "growth in time",
    "nothing is trained",
    "frozen output",
    "uphill",
    "labels outside the loss",
    "targets of another shape",
    "targets outside the output",
    "no probabilities",
    "no logits",
    "labels compete",
    "softmax of one unit",
    "learning rate too high",
    "learning rate too low",
    "inputs not scaled",
    "targets not scaled",
    "batches not shuffled",
    "dropout too strong",
    "penalty too large",
    "units that never part",
    "signal lost on the way forward",
    "saturation",
    "memory lost in time",
    "moving averages",
    "output ignores the input",
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
        cause: One of `CAUSES`, where the rule tells what is behind it, or `""`.
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
    cause: str = ""

    def __str__(self) -> str:
        place, evidence = self._place(), self._evidence()
        if self.regime == "healthy":
            sentence = _joint("Healthy: nearest to a limit", place, evidence)
        else:
            regime = _joint(self.regime.capitalize(), self.cause)
            sentence = _joint(regime, place) if self.cause else f"{regime} {place}"
            sentence = f"{sentence.rstrip()}: {evidence}"
        details = _joint(self.dtype, self.extent)
        sentence += f" ({details})" if details else ""
        return f"{sentence}; {self.remedy}." if self.remedy else f"{sentence}."

    def _repr_html_(self) -> str:
        return Findings([self])._repr_html_()

    def _place(self) -> str:
        name = f" ({self.name})" if self.name else ""
        word = "in" if self.regime == "healthy" else "from"
        layer = "" if self.layer is None else f"{word} layer {self.layer}{name} "
        step = "" if self.step is None else f"at step {self.step}"
        return f"{layer}{step}".rstrip()

    def _evidence(self) -> str:
        """The rule `quantity < limit`, with what was measured."""
        *quantity, sign, limit = self.rule.split(" ")
        if sign not in _SIDES:
            return f"the {self.rule}"
        measured = f"the {' '.join(quantity)} is {number(self.measured)}"
        if self.margin == -math.inf:  # beyond it, but not in a way that counts
            return measured
        if not math.isfinite(self.margin):
            return f"{measured}, {_SIDES[sign][0]} {limit}"
        side = _SIDES[sign][0 if self.margin > 0 else 1]
        return f"{measured}, {decades(abs(self.margin))} {side} {limit}"

    def _row(self) -> dict[str, object]:
        """Its row in the table of a notebook."""
        return {
            "run": self.run,
            "regime": self.regime,
            "cause": self.cause,
            "where": _joint(self._place(), self.dtype, self.extent),
            "rule": self.rule,
            "measured": number(self.measured),
            "decades beyond": f"{self.margin:+.1f}",
            "remedy": self.remedy,
        }


def _joint(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


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
        """A table without colours of its own: it takes those of the notebook."""
        table = pd.DataFrame([finding._row() for finding in self])
        with pd.option_context("display.max_colwidth", None):
            return table.to_html(escape=True, index=False, justify="left", border=0)


def finding_of(
    run: Run,
    regime: str,
    rule: str,
    threshold: float,
    remedy: str,
    measured: float = math.nan,
    margin: float = math.inf,
    *,
    at: Tensors | None = None,
    step: int | None = None,
    extent: str = "",
    cause: str = "",
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
        cause=cause,
    )


def beyond(
    run: Run,
    regime: str,
    cause: str,
    rule: str,
    measured: float,
    remedy: str,
    *,
    at: Tensors | None = None,
    step: int | None = None,
    extent: str = "",
) -> Finding | None:
    """The finding of a cause, if `measured` is beyond the limit that ends its rule."""
    *_, sign, limit = rule.split(" ")
    threshold = float(limit)
    if not (measured < threshold if sign == "<" else measured > threshold):
        return None
    with np.errstate(all="ignore"):
        quotient = abs(np.log10(np.float64(measured) / threshold))
    margin = quotient if np.isfinite(quotient) else math.inf
    return finding_of(
        run,
        regime,
        rule,
        threshold,
        remedy,
        measured,
        margin,
        at=at,
        step=step,
        extent=extent,
        cause=cause,
    )


def certain(
    run: Run,
    regime: str,
    cause: str,
    rule: str,
    remedy: str,
    *,
    at: Tensors | None = None,
    extent: str = "",
) -> Finding:
    """The finding of a cause that is there or not, without a number."""
    nothing = math.nan
    return finding_of(
        run, regime, rule, nothing, remedy, at=at, extent=extent, cause=cause
    )
