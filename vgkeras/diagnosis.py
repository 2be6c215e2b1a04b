"""diagnose(): what is wrong with the gradients of a run, by which rule, and what helps.

A number beyond a threshold is no fault by itself. Gradients become small at the end of
every good training, and one huge update may do no harm; so a verdict also asks whether
the loss had been learned. `vgkeras.rules` holds the published rules, which look at the
number alone.
"""

from __future__ import annotations

import html
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from vgkeras._checks import check_positive
from vgkeras._evidence import IMPROVED, Run, Slope, Tensors, runs, slope
from vgkeras.logs import KINDS, LAYER_COLUMNS, RUN_COLUMNS, GradientLog
from vgkeras.rules import computed_in, stored_in, vanishes_below

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
SMALL_GRADIENT = 1e-7  # root mean square
DECADES = 2.0  # from the first layer to the last, or back
FACTOR = 1.05  # a layer; a network of many layers may grow more slowly and train
KERNEL_FACTOR = 1.1  # the same for kernels' gradients: kernels differ in shape
LARGE_UPDATE = 10.0  # relative to the weights
LOSS_GROWTH = 1000.0  # last loss relative to the start
STILL = 0.01  # a loss that lost less than this share has not moved
DEAD = 0.95  # share of exact zeros
FEWEST_STEPS = 10  # a run of fewer updates cannot be called stalled
_SIDES = {"<": ("below", "above"), ">": ("above", "below")}


@dataclass(frozen=True)
class Verdict:
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
        told = f"the {' '.join(quantity)} is {_number(self.measured)}"
        if self.margin == -math.inf:  # beyond it, but not in a way that counts
            return told
        if not math.isfinite(self.margin):
            return f"{told}, {_SIDES[sign][0]} {number}"
        side = _SIDES[sign][0 if self.margin > 0 else 1]
        return f"{told}, {_decades(abs(self.margin))} {side} {number}"


class Verdicts(list[Verdict]):
    """A list of `Verdict`, by run and, within a run, gravest first.

    `str` makes a line of each, and a notebook shows them as a table.
    """

    def __str__(self) -> str:
        several = len({verdict.run for verdict in self}) > 1
        return "\n".join(
            f"Run {verdict.run}. {verdict}" if several else str(verdict)
            for verdict in self
        )

    def _repr_html_(self) -> str:
        return _table(self)


def diagnose(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = "mse",
    learning_rate: float | None = None,
) -> Verdicts:
    """Says in words what is wrong with the gradients of a log or of a model.

    The regimes, gravest first, and when each is found:

    - non-finite: a loss or a tensor holds Inf or NaN.
    - disconnected: a gradient is `None`.
    - dead units: more than 95% exact zeros leave a layer and its gradient is as
      empty, though nothing was near the smallest number before it. ("Dying ReLU" for
      any gradient of zeros, as some tools have it, is wrong of a linear network that
      underflows.)
    - zero: a gradient is exactly 0 up to the end, and the loss is not learned.
    - subnormal: its largest element is below the smallest normal number (IEEE 754).
    - frozen: the update is below half the spacing of numbers at the weights, and part
      of it does round away (IEEE 754).
    - vanishing: root mean square below 1e-7 (the number of SageMaker and
      DeepDiagnosis, and the `epsilon` of Keras' Adam), or 2 decades lost from end to
      end by activations or their gradients (craft-bits).
    - exploding: 2 decades gained from end to end, by a factor of more than 1.05 a
      layer (craft-bits), an update of more than 10 times the weights (SageMaker),
      outputs whose square overflows, or a loss of more than 1000 times its start
      (`vgkeras.health.run_verdict`).
    - stalled: the loss lost less than 1% in 10 or more updates.
    - slow: it lost more, but not half, and the run `"stalls"` (`health.run_verdict`).

    The first and the last layer are never compared by their *weight* gradients: those
    are equal in a deep stack of scaled identities, and vanish all the same. The four
    regimes of size ask for steps with a loss about as high as the first, and those
    that compare layers or updates for a run that does not learn. A small gradient
    counts for a layer if most of these steps have it.

    A model is measured in one tape pass and left as it was; without a later loss to
    tell whether it learns, the numbers alone decide.

    Args:
        log_or_model: A `GradientLog`, of which every run is diagnosed, or a Keras
            model, which needs `x` and `y`.
        x: Inputs of the model, batch first: an array, or a list or dict of them.
        y: Targets, in the structure of the model's outputs.
        loss: Loss of the model: a Keras loss, its name, a callable, or one for each
            output.
        learning_rate: Learning rate of a step of plain SGD from the model as it is.
            The step is not made, but judged: would it round away, or be larger than
            the weights? Default: no step is judged.

    Returns:
        `Verdicts`: one or more for each run, never none. A run without a fault gets
        the verdict `"healthy"` with the threshold that it is nearest to.

    Raises:
        TypeError: If `log_or_model` is neither a log nor a Keras model.
        ValueError: If a model comes without `x` and `y`, a log with them, or a log
            without runs.

    Example:
        >>> from vgkeras import predict
        >>> print(diagnose(predict(scales=[0.9], depths=[152]))[0].regime)
        vanishing
    """
    if isinstance(log_or_model, GradientLog):
        if x is not None or y is not None:
            raise ValueError(
                "`x` and `y` must be left out when a log is diagnosed. "
                "Received: a GradientLog with data."
            )
        log = log_or_model
    else:
        if learning_rate is not None:
            check_positive("learning_rate", learning_rate)
        log = _measured(_checked_model(log_or_model), x, y, loss, learning_rate)
    if not len(log.runs):
        raise ValueError("`log` must hold at least one run. Received: 0 runs.")
    return Verdicts(verdict for run in runs(log) for verdict in _findings(run))


def _findings(run: Run) -> list[Verdict]:
    """The verdicts of one run, gravest first."""
    faults = [verdict for find in _FAULTS if (verdict := find(run)) is not None]
    limits = [verdict for measure in _LIMITS for verdict in measure(run)]
    beyond = [v for v in limits if v.margin > 0 and not _excused(v, run)]
    found = [*faults, *_one_of_each(beyond)]
    found.sort(key=lambda verdict: REGIMES.index(verdict.regime))
    return found or [_healthy(run, [v for v in limits if v.margin <= 0])]


def _excused(verdict: Verdict, run: Run) -> bool:
    """Whether the loss has shown that the number did no harm."""
    if verdict.regime in ("stalled", "slow"):
        return False
    relative = verdict.regime == "exploding" or verdict.rule.startswith("log10")
    return run.improved if relative else run.learned


def _one_of_each(verdicts: list[Verdict]) -> list[Verdict]:
    """The earliest verdict of each regime; of one step, the first: they are ranked."""
    first: dict[str, Verdict] = {}
    for verdict in sorted(
        verdicts, key=lambda v: math.inf if v.step is None else v.step
    ):
        first.setdefault(verdict.regime, verdict)
    return list(first.values())


def _healthy(run: Run, limits: list[Verdict]) -> Verdict:
    if not limits:
        rule = "log holds no number by which this run could be judged"
        return _verdict(run, "unknown", rule, remedy=_LOG_MORE)
    nearest = max(limits, key=lambda verdict: verdict.margin)
    return replace(nearest, regime="healthy", remedy="", extent="")


def _verdict(
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
) -> Verdict:
    """A verdict at the first row of `at`, or at a step of the whole run."""
    return Verdict(
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


# Limits: each returns what it measured, whether that is beyond the threshold or not.


def _subnormal(run: Run) -> list[Verdict]:
    if run.scaled:
        return []  # what is logged was divided by the scale afterwards
    rows = _weights(run)
    limit = computed_in(run.row["dtype"]).smallest_normal
    what = "largest element of the weight gradient"
    remedy = _underflow_remedy(run, forward=False)
    return _small(run, rows, rows.log10_max, limit, "subnormal", what, remedy)


def _frozen(run: Run) -> list[Verdict]:
    rows = _weights(run)
    rows = rows.where(np.isfinite(rows.update_ratio))
    limit = stored_in(run.row["dtype"]).epsilon / 2
    with np.errstate(divide="ignore"):
        ratio = np.log10(rows.update_ratio)
    lost = rows.frozen_fraction > rows.zero_fraction + 1e-9
    what = "update relative to the weights"
    found = _small(run, rows, ratio, limit, "frozen", what, "", only=lost)
    return [replace(verdict, remedy=_frozen_remedy(verdict)) for verdict in found]


def _vanishing(run: Run) -> list[Verdict]:
    rows = _weights(run)
    what = "root mean square of the weight gradient"
    remedy = _vanishing_remedy(run)
    return _small(
        run, rows, rows.log10_rms(), SMALL_GRADIENT, "vanishing", what, remedy
    )


def _weights(run: Run) -> Tensors:
    """The kernels' gradients that have a size, at the judged steps."""
    return run.judged(run.weights).finite().main()


def _small(
    run: Run,
    rows: Tensors,
    log10: np.ndarray,
    threshold: float,
    regime: str,
    what: str,
    remedy: str,
    *,
    only: np.ndarray | None = None,
) -> list[Verdict]:
    """The verdict "`what` < `threshold`", of layers that meet it at most steps.

    Of them the first row, else the one nearest to the threshold. `only` is a second
    condition on each row.
    """
    if not len(log10):
        return []
    margin = math.log10(threshold) - log10
    if only is not None:
        margin = _unless(~only, margin)
    layers, code = np.unique(rows.layer, return_inverse=True)
    often = np.bincount(code, margin > 0) > 0.5 * np.bincount(code)
    margin = _unless(~often[code], margin)
    index = _first(margin)
    return [
        _verdict(
            run,
            regime,
            f"{what} < {threshold:.2g}",
            threshold=threshold,
            measured=_power(log10[index]),
            margin=margin[index],
            at=rows.where([index]),
            remedy=remedy,
            extent=f"{often.sum()} of {len(layers)} layers",
        )
    ]


def _unless(excluded: np.ndarray | bool, margin: np.ndarray) -> np.ndarray:
    """Margins, without those that are positive but do not count."""
    return np.where(excluded & (margin > 0), -np.inf, margin)


def _first(margin: np.ndarray) -> int:
    """Index of the first margin that is positive, or else of the largest."""
    beyond = np.flatnonzero(margin > 0)
    return int(beyond[0]) if len(beyond) else int(np.argmax(margin))


def _by_layer(run: Run) -> list[Verdict]:
    """Decay and growth from layer to layer, forward and backward."""
    found = []
    ends = (
        "last / first activation",
        "first / last activation gradient",
        "first / last weight gradient (rms)",
    )
    lines = (*_slopes(run), _weight_slope(run))
    factors = (FACTOR, FACTOR, KERNEL_FACTOR)
    for line, what, factor in zip(lines, ends, factors, strict=True):
        if line is None:
            continue
        lost, won = -line.total - DECADES, line.total - DECADES
        often = (lost > 0).sum() > 0.5 * len(lost)
        lost = _unless(~(line.whole & often), lost)
        won = _unless(line.rate <= math.log10(factor), won)
        rule = f"log10 of {what}"
        found += [
            _on_line(run, line, lost, "vanishing", f"{rule} < {-DECADES:g}"),
            _on_line(run, line, won, "exploding", f"{rule} > {DECADES:g}"),
        ]
    return found


def _slopes(run: Run) -> tuple[Slope | None, Slope | None]:
    return (
        slope(run.judged(run.activations), DECADES),
        slope(run.judged(run.gradients), DECADES, backward=True),
    )


def _weight_slope(run: Run) -> Slope | None:
    """The kernels' gradients stand in for those of activations that were not logged."""
    if len(run.gradients.step):
        return None
    rows = run.judged(run.weights).main()
    rms = rows._replace(log10_norm=rows.log10_rms())
    return slope(rms, DECADES, backward=True)


def _on_line(
    run: Run, line: Slope, margin: np.ndarray, regime: str, rule: str
) -> Verdict:
    index = _first(margin)
    return _verdict(
        run,
        regime,
        rule,
        threshold=-DECADES if regime == "vanishing" else DECADES,
        measured=line.total[index],
        margin=margin[index],
        at=line.place.where([index]),
        remedy=_remedy_by_layer(regime, backward=" gradient " in rule),
        extent=f"{line.rate[index]:+.2g} decades a layer",
    )


def _large_update(run: Run) -> list[Verdict]:
    rows = _weights(run)
    rows = rows.where(np.isfinite(rows.update_ratio) & (rows.update_ratio > 0))
    if not len(rows.step):
        return []
    margin = np.log10(rows.update_ratio / LARGE_UPDATE)
    index = _first(margin)
    return [
        _verdict(
            run,
            "exploding",
            f"update relative to the weights > {LARGE_UPDATE:g}",
            threshold=LARGE_UPDATE,
            measured=rows.update_ratio[index],
            margin=margin[index],
            at=rows.where([index]),
            remedy=_CLIP,
        )
    ]


def _large_output(run: Run) -> list[Verdict]:
    """Outputs whose square, and so a squared loss, is beyond the largest number."""
    rows = run.judged(run.activations).finite()
    rows = rows.where(rows.layer == rows.layer.max(initial=0))
    rows = rows.where(~np.isnan(rows.log10_max))
    if not len(rows.step):
        return []
    limit = math.sqrt(stored_in(run.row["dtype"]).largest)
    margin = rows.log10_max - math.log10(limit)
    index = _first(margin)
    return [
        _verdict(
            run,
            "exploding",
            f"largest output > {limit:.2g}",
            threshold=limit,
            measured=_power(rows.log10_max[index]),
            margin=margin[index],
            at=rows.where([index]),
            remedy=_SHRINK,
            extent="its square overflows",
        )
    ]


def _loss_growth(run: Run) -> list[Verdict]:
    peak = run.losses[np.isfinite(run.losses)].max(initial=-math.inf)
    reached = run.last if math.isfinite(run.last) else float(peak)
    begun = run.first if math.isnan(run.zero_map) else max(run.first, run.zero_map)
    if len(run.losses) < 2 or not (begun > 0 and reached > 0):
        return []
    return [
        _verdict(
            run,
            "exploding",
            f"last loss relative to the start > {LOSS_GROWTH:g}",
            threshold=LOSS_GROWTH,
            measured=reached / begun,
            margin=math.log10(reached) - math.log10(begun) - math.log10(LOSS_GROWTH),
            remedy=_CLIP,
        )
    ]


def _no_progress(run: Run) -> list[Verdict]:
    """A loss that does not fall, or not far enough."""
    begun = run.start
    if math.isnan(run.zero_map) and len(run.losses):
        begun = float(np.median(run.losses[: max(1, len(run.losses) // 10)]))
    enough = len(run.losses) > FEWEST_STEPS and begun > 0 and run.last >= 0
    if not enough or run.learned or run.last > LOSS_GROWTH * begun:
        return []
    ratio = run.last / begun
    lost = max(1 - ratio, 0.0)
    flat = math.log10(STILL / lost) if lost else math.inf
    slow = math.log10(ratio / IMPROVED) if ratio else -math.inf
    found = [_loss_verdict(run, "stalled", lost, flat, STILL, _STALLED)]
    if flat <= 0 and (slow <= 0 or run.row["verdict"] == "stalls"):
        found.append(_loss_verdict(run, "slow", ratio, slow, IMPROVED, _SLOW))
    return found


def _loss_verdict(
    run: Run, regime: str, measured: float, margin: float, limit: float, remedy: str
) -> Verdict:
    stalled = "share of the loss that was lost <"
    rule = stalled if regime == "stalled" else "last loss relative to the start >"
    return _verdict(
        run,
        regime,
        f"{rule} {limit}",
        threshold=limit,
        measured=measured,
        margin=margin,
        remedy=remedy,
    )


_LIMITS: tuple[Callable[[Run], list[Verdict]], ...] = (
    _subnormal,
    _frozen,
    _vanishing,
    _by_layer,
    _large_update,
    _large_output,
    _loss_growth,
    _no_progress,
)


# Faults: each is there or not.


def _non_finite(run: Run) -> Verdict | None:
    """The first Inf or NaN: forward before the loss, the loss before backward."""
    bad = [
        rows.where(rows.nonfinite_fraction > 0)
        for rows in (run.activations, run.gradients, run.weights)
    ]
    lost = run.steps[~np.isfinite(run.losses)]
    steps = [int(s) for s in [*lost[:1], *(r.step[0] for r in bad if len(r.step))]]
    if not steps or (run.scaled and _recovered(run)):
        return None
    step = min(steps)
    remedy = _non_finite_remedy(run, step)
    forward, *backward = (rows.at(step) for rows in bad)
    if len(forward.step):
        return _share(run, forward.where([0]), "activation", remedy)
    if step in lost:
        value = float(run.losses[run.steps == step][0])
        rule = f"loss is {'NaN' if math.isnan(value) else 'Inf'}"
        return _verdict(
            run, "non-finite", rule, measured=value, step=step, remedy=remedy
        )
    for rows, what in zip(
        backward, ("activation gradient", "weight gradient"), strict=True
    ):
        if len(rows.step):
            return _share(run, rows.where([-1]), what, remedy)
    return None


def _share(run: Run, at: Tensors, what: str, remedy: str) -> Verdict:
    return _verdict(
        run,
        "non-finite",
        f"share of Inf or NaN in the {what} > 0",
        threshold=0.0,
        measured=at.nonfinite_fraction[0],
        at=at,
        remedy=remedy,
    )


def _recovered(run: Run) -> bool:
    """Whether loss scaling only skipped a few steps, as it is made to."""
    last = run.weights.at(run.weights.step.max(initial=0))
    return bool(
        np.isfinite(run.losses).all()
        and not (last.nonfinite_fraction > 0).any()
        and not (run.activations.nonfinite_fraction > 0).any()
    )


def _disconnected(run: Run) -> Verdict | None:
    rows = run.weights.where(np.isnan(run.weights.log10_norm))
    if not len(rows.step):
        return None
    step = int(rows.step[0])
    return _verdict(
        run,
        "disconnected",
        "gradient is None: the loss does not depend on the variable",
        at=rows,
        remedy=_CONNECT,
        extent=f"{len(rows.at(step).step)} of {len(run.weights.at(step).step)} "
        "variables",
    )


def _no_signal(run: Run) -> Verdict | None:
    """Dead units, or else gradients of exactly 0."""
    return _dead(run) or _zero(run)


def _dead(run: Run) -> Verdict | None:
    """A layer that lets nothing through, up to the last step that is not learned."""
    outputs = run.unlearned(run.activations)
    outputs = outputs.where(~(outputs.nonfinite_fraction > 0))
    empty = _to_the_end(
        outputs, (outputs.zero_fraction > DEAD) & _starved(run, outputs)
    )
    if not empty.any():
        return None
    at = outputs.where([np.argmax(empty)])
    before = outputs.where((outputs.step == at.step) & (outputs.layer < at.layer))
    if _slid(before.log10_max, run):
        return None
    return _verdict(
        run,
        "dead units",
        f"share of exact zeros in the activation > {DEAD}",
        threshold=DEAD,
        measured=at.zero_fraction[0],
        margin=math.log10(at.zero_fraction[0] / DEAD),
        at=at,
        remedy=_REVIVE,
        extent="and its gradient is as empty",
    )


def _starved(run: Run, outputs: Tensors) -> np.ndarray:
    """Whether the kernel at or before each output has a gradient of zeros.

    What comes out of a one-hot encoding is as empty, but has no such kernel.
    """
    kernels = run.weights.main()
    if not len(kernels.step):
        return np.zeros(len(outputs.step), bool)
    highest = 1 + max(kernels.layer.max(), outputs.layer.max(initial=0))
    own, asked = (
        t.step.astype(np.int64) * highest + t.layer for t in (kernels, outputs)
    )
    place = np.searchsorted(own, asked, side="right") - 1
    before = kernels.where(np.maximum(place, 0))
    same = (place >= 0) & (before.step == outputs.step)
    return same & (before.zero_fraction > DEAD)


def _zero(run: Run) -> Verdict | None:
    rows = run.unlearned(run.weights.where(~np.isnan(run.weights.log10_norm))).main()
    rows = rows.where(~(rows.nonfinite_fraction > 0))
    zero = _to_the_end(rows, rows.log10_norm == -math.inf)
    if not zero.any():
        return None
    at = rows.where(zero)
    here = np.unique(rows.layer[zero])
    cause = _cause(run, int(at.step[0]))
    if cause == "branch" and len(np.unique(rows.step)) == 1:
        return None  # such a branch wakes with the first update
    return _verdict(
        run,
        "zero",
        "weight gradient is exactly zero",
        threshold=0.0,
        measured=0.0,
        at=at,
        remedy=_zero_remedy(run, cause),
        extent=f"{len(here)} of {len(np.unique(rows.layer))} layers",
    )


def _to_the_end(rows: Tensors, empty: np.ndarray) -> np.ndarray:
    """The empty rows after which their layer is never anything else."""
    _, code = np.unique(rows.layer, return_inverse=True)
    last = np.full(code.max(initial=-1) + 1, -1)
    np.maximum.at(last, code[~empty], rows.step[~empty])
    return empty & (rows.step > last[code])


def _cause(run: Run, step: int) -> str:
    """Why the gradients of a step are 0, as far as activations are logged.

    `"forward"` or `"backward"` underflow, no `"error"` at the output, a `"branch"`
    that lets nothing back while a shortcut past it does, or `""`.
    """
    forward, backward = run.activations.at(step), run.gradients.at(step)
    silent = np.flatnonzero(forward.log10_norm == -math.inf)
    if len(silent) and _slid(forward.log10_max[: silent[0]], run):
        return "forward"
    upward = backward.where(slice(None, None, -1))
    lost = np.flatnonzero(upward.log10_norm == -math.inf)
    if not len(lost):
        return ""
    if lost[0] == 0:
        return "error"
    if np.isfinite(upward.log10_norm[lost[0] :]).any():
        return "branch"
    return "backward" if _slid(upward.log10_max[: lost[0]], run) else ""


def _slid(log10_max: np.ndarray, run: Run) -> bool:
    """Whether numbers came down to the floor of their format before they became 0.

    Units that die give no warning: what goes into them is of ordinary size.
    """
    floor = math.log10(vanishes_below(computed_in(run.row["dtype"])))
    before = log10_max[np.isfinite(log10_max)]
    if not len(before):
        return False
    fall = min(before[-1] - before[-2], 0.0) if len(before) > 1 else 0.0
    return bool(before[-1] < floor + 2.0 or before[-1] + fall < floor)


_FAULTS: tuple[Callable[[Run], Verdict | None], ...] = (
    _non_finite,
    _disconnected,
    _no_signal,
)


# Remedies: what fits the cause.

_GAIN = (
    "let every layer keep the size of what it passes on (orthogonal or variance-scaled "
    "initial weights, residual connections, normalization); clipping does not help"
)
_SHRINK = (
    "use smaller, variance-scaled or orthogonal initial weights, or normalization; "
    "clipping (`global_clipnorm=1`) tames the updates only"
)
_SHORTCUT = (
    "use smaller initial weights, or residual connections if normalization keeps the "
    "activations in size: it makes gradients grow on the way back; clipping "
    "(`global_clipnorm=1`) tames the updates only"
)
_CLIP = "use a smaller learning rate or clip the gradient (`global_clipnorm=1`)"
_STALLED = (
    "if no other verdict of this run names a cause, try other learning rates, and see "
    "whether the model can learn one small batch by heart"
)
_SLOW = "it needs more steps, or a larger learning rate if the loss falls steadily"
_CONNECT = (
    "look for what cuts it off (`stop_gradient`, a cast to integers, `argmax`, an "
    "output without a loss), or set `trainable = False`"
)
_REVIVE = (
    "see that its inputs and weights are not all 0; then use a smaller learning rate, "
    "He initial weights, or an activation that is not flat on one side "
    "(leaky ReLU, ELU)"
)
_LOG_MORE = "log the losses and the weight gradients"


def _remedy_by_layer(regime: str, *, backward: bool) -> str:
    if regime == "vanishing":
        return _GAIN
    return _SHORTCUT if backward else _SHRINK


def _vanishing_remedy(run: Run) -> str:
    seen = [line.total.min() for line in _slopes(run) if line is not None]
    if seen and min(seen) > -DECADES:
        return (
            "no layer loses it, so scale the loss or the targets, or use an optimizer "
            "that divides by the size of the gradient (Adam, with a small `epsilon`)"
        )
    return _GAIN


def _underflow_remedy(run: Run, *, forward: bool) -> str:
    dtype = str(run.row["dtype"])
    if dtype.removeprefix("mixed_") == "float16":
        wider = "bfloat16 or float32, which have the exponents for it"
        if forward:
            return f"use {wider}"
        scale = "a larger loss scale" if run.scaled else "a `LossScaleOptimizer`"
        return f"use {scale}, or {wider}"
    return f"a wider format or a scaled loss would only move the end, so {_GAIN}"


def _zero_remedy(run: Run, cause: str) -> str:
    if cause in ("forward", "backward"):
        what = "activations" if cause == "forward" else "gradients"
        told = f"the {what} slide below the smallest number of {run.row['dtype']}"
        return f"{told}; {_underflow_remedy(run, forward=cause == 'forward')}"
    if cause == "error":
        return "the loss itself has no slope here, so look at the loss and the targets"
    if cause == "branch":
        return "a factor of 0 cuts off this branch, so start it at another value"
    return (
        "see that the inputs and the weights of this layer are not all 0, and log the "
        "activations to tell dead units from underflow"
    )


def _frozen_remedy(verdict: Verdict) -> str:
    narrow = stored_in(verdict.dtype).digits < 24
    wider = "keep the weights in float32 (a mixed policy does)"
    cause = wider if narrow else "find out why the gradient is this small"
    if 0 < verdict.margin < 3:
        times = f"{10**verdict.margin:.2g}"
        return f"a learning rate {times} times larger would move them, or {cause}"
    return f"no sensible learning rate makes up for this, so {cause}"


def _non_finite_remedy(run: Run, step: int) -> str:
    narrow = str(run.row["dtype"]).removeprefix("mixed_") == "float16"
    wider = ", or bfloat16 or float32" if narrow else ""
    grown = [line.total.max() for line in _slopes(run) if line is not None]
    if step > 0:
        return (
            f"use a smaller learning rate, or clip the gradient from the start{wider}"
        )
    if grown and max(grown) > DECADES:
        return f"the layers multiply it, so {_SHRINK}{wider}"
    return (
        "look for Inf or NaN in the data first, then use smaller initial weights or "
        f"normalization{wider}; clipping cannot repair Inf"
    )


# A model, measured once.


def _checked_model(model: Any) -> Any:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise TypeError(
            "`log_or_model` must be a GradientLog or a Keras model. "
            f"Received: log_or_model={model!r}."
        )
    return model


def _measured(model: Any, x: Any, y: Any, loss: Any, rate: float | None) -> GradientLog:
    """One tape pass over the model as a log of one run without an update."""
    missing = [name for name, value in (("x", x), ("y", y)) if value is None]
    if missing:
        raise ValueError(
            "`x` and `y` must be given with a model: its gradients depend on them. "
            f"Received: a model without {' and '.join(missing)}."
        )
    from vgkeras import _passes, tape

    total = _passes.total_loss(loss)
    _passes.build(model, x)
    with _passes.unchanged(model):
        taped = tape.tape_pass(model, x, y, total)
        zero_map = _zero_loss(model(x), y, total)
    layers = pd.DataFrame(taped.labels, columns=["layer", "name", "kind"])
    layers[list(tape.STATISTICS)] = tape.statistics(taped.tensors).numpy()
    rate = math.nan if rate is None else rate
    step = _plain_step(model.trainable_variables, taped.gradients, rate)
    layers = layers.assign(run=0, step=0, size=taped.sizes).join(step)
    return GradientLog(
        runs=_run_row(layers, _passes.dtype(model), rate, zero_map),
        losses=pd.DataFrame({"run": [0], "step": [0], "loss": [float(taped.loss)]}),
        layers=layers[list(LAYER_COLUMNS)],
    )


def _plain_step(variables: Any, gradients: Any, rate: float) -> pd.DataFrame:
    """What a step of plain SGD would do to each variable; NaN without a rate."""
    from vgkeras import tape

    values = [variable.value for variable in variables]
    weights, steps = (tape.statistics(t).numpy()[:, 0] for t in (values, gradients))
    with np.errstate(all="ignore"):
        ratio = rate * 10.0 ** (steps - weights)
    frozen = [
        math.nan if g is None else float(np.mean((value - rate * g == value).numpy()))
        for value, g in zip(values, gradients, strict=True)
    ]
    if math.isnan(rate):
        frozen = [math.nan] * len(values)
    return pd.DataFrame({"frozen_fraction": frozen, "update_ratio": ratio})


def _zero_loss(outputs: Any, y: Any, total: Callable) -> float:
    """The loss of answering 0 to everything; NaN if it has none."""
    import keras

    value = float(total(y, keras.tree.map_structure(keras.ops.zeros_like, outputs)))
    return value if value >= 0 else math.nan


def _run_row(
    layers: pd.DataFrame, dtype: str, rate: float, zero_map: float
) -> pd.DataFrame:
    unknown = dict.fromkeys(("run", "units", "output_units", "steps", "samples"), 0)
    row: dict[str, Any] = {**dict.fromkeys(RUN_COLUMNS, ""), **unknown}
    row |= {
        "depth": int(layers.loc[layers["kind"] == KINDS[0], "layer"].nunique()),
        "scale": math.nan,
        "optimizer": "sgd",
        "learning_rate": rate,
        "dtype": dtype,
        "seed": -1,
        "loss_zero": zero_map,
    }
    return pd.DataFrame([row])


# Text.


def _power(log10: float) -> float:
    """`10**log10`; not 0, as long as the logarithm is finite."""
    if not math.isfinite(log10):
        return 0.0 if log10 < 0 else math.inf
    return max(10.0 ** min(float(log10), 308.0), 5e-324)


def _number(value: float) -> str:
    plain = value == 0 or 1e-2 <= abs(value) < 1e4
    return f"{value:.3g}" if plain else f"{value:.1e}"


def _decades(value: float) -> str:
    return f"{value:.1f} decades" if value >= 0.1 else f"{value:.1g} decades"


_COLUMNS = ("run", "regime", "where", "rule", "measured", "decades beyond", "remedy")


def _table(verdicts: list[Verdict]) -> str:
    """An HTML table without colours of its own: it takes those of the notebook."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in _COLUMNS)
    rows = "".join(f"<tr>{_cells(verdict)}</tr>" for verdict in verdicts)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(verdict: Verdict) -> str:
    parts = (verdict._place(), verdict.dtype, verdict.extent)
    texts = (
        verdict.run,
        verdict.regime,
        ", ".join(part for part in parts if part),
        verdict.rule,
        _number(verdict.measured),
        f"{verdict.margin:+.1f}",
        verdict.remedy,
    )
    style = "text-align:left;vertical-align:top"
    return "".join(
        f'<td style="{style}">{html.escape(str(text))}</td>' for text in texts
    )
