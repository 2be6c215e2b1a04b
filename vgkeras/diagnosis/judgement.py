"""diagnose(): what is wrong with the gradients of a run, by which rule, and what helps.

A number beyond a threshold is no fault by itself. Gradients become small at the end of
every good training, and one huge update may do no harm; so a finding also asks whether
the loss had been learned. `vgkeras.rules` holds the published rules, which look at the
number alone.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vgkeras.diagnosis.advice import LOG_MORE
from vgkeras.diagnosis.faults import FAULTS
from vgkeras.diagnosis.finding import REGIMES, Finding, Findings, finding_of
from vgkeras.diagnosis.limits import LIMITS, span
from vgkeras.diagnosis.mismatches import MISMATCHES
from vgkeras.diagnosis.model_log import is_model, log_of
from vgkeras.diagnosis.origins import starts_large
from vgkeras.diagnosis.run_arrays import Run, runs
from vgkeras.diagnosis.second_look import second_look
from vgkeras.diagnosis.suspects import ALWAYS, POSSIBILITIES, SUSPECTS
from vgkeras.logs import GradientLog

Questions = tuple[Callable[[Run], Finding | None], ...]

_MEMORY = "memory lost in time"


def diagnose(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    targets: Any = None,
    *,
    loss: Any = None,
    learning_rate: float | None = None,
    sample_weight: Any = None,
) -> Findings:
    """Says in words what is wrong with the gradients of a log or of a model.

    The regimes, gravest first, and when each is found:

    - non-finite: a loss or a tensor holds Inf or NaN.
    - disconnected: a gradient is `None`.
    - dead units: more than 95% exact zeros leave a layer and its gradient is as
      empty, though nothing was near the smallest number before it. ("Dying ReLU" for
      any gradient of zeros, as some tools have it, is wrong of a linear network that
      underflows.) Or 95% of a kernel has lost the gradient that it had at first.
    - zero: a gradient is exactly 0 up to the end, and the loss is not learned.
    - subnormal: its largest element is below the smallest normal number (IEEE 754).
    - frozen: the update is below half the spacing of numbers at the weights, and part
      of it does round away (IEEE 754).
    - vanishing: root mean square below 1e-7 (the number of SageMaker and
      DeepDiagnosis, and the `epsilon` of Keras' Adam), or 2 decades lost from end to
      end by activations or their gradients (craft-bits), or by those of kernels, and
      of biases if the run does not learn.
      Of recurrent layers whose states are logged: 2 decades lost back through time,
      as measured where the gradient keeps a tenth over so many time steps.
    - exploding: 2 decades gained from end to end, by a factor of more than 1.05 a
      layer (craft-bits), or by more than the format has digits (7 decades of float32:
      no one learning rate suits both ends, whatever the loss does); between the updates
      of a step as much; an update of more than 10 times the weights (SageMaker),
      outputs whose square overflows, or a loss of more than 1000 times its start
      (`theory.outcomes_by_loss`).
    - mismatch: targets, output and loss do not fit together, or training and
      inference, whatever the loss does.
    - stalled: the loss lost less than 1% in 10 or more updates, two standard errors of
      its noise included; or, of a fit of 100 updates or more, the mean output for every
      input would cost no more than 5% of the loss.
    - slow: it lost more, but not half, and the run is called `"slow"` or
      `"stalls"` (the same); or it falls steadily, by steps too small for it.

    Where a fit says what its batches hold and what its model is, as a log of
    `GradientLogger` does, a finding of a run that does not learn names its `cause`, one
    of `vgkeras.diagnosis.CAUSES`: what is certain first, then what is measured, then
    what the log cannot tell, with the call that does.

    Kernels' gradients that are level from end to end acquit nobody: those of a deep
    stack of scaled identities are, and vanish all the same. The four regimes from
    subnormal to exploding ask for steps with a loss about as high as the first, and
    those that compare layers or updates for a run that does not learn. A small gradient
    counts for a layer if most of these steps have it.

    A model is measured in one tape pass and left as it was; without a later loss to
    tell whether it learns, the numbers alone decide.

    Args:
        log_or_model: A `GradientLog`, of which every run is diagnosed, or a Keras
            model, which needs `x` and `y`.
        x: Inputs of the model, batch first: an array, or a list or dict of them; or a
            batch with its targets, as `vgkeras.gradient_norms` takes it.
        y: Targets, in the structure of the model's outputs.
        targets: Only where a log and its model are both given: with them it is
            `diagnose(log, model, x, y)`. Then a pass over the data also tells whether
            inference differs from training, whether the outputs depend on the inputs
            or avoid the labels, whether a loss broadcasts the targets, and how far back
            a recurrent layer's gradient reaches.
        loss: Loss of the model: a Keras loss, its name, a callable, or one for each
            output. Default: that of `compile()`.
        learning_rate: Learning rate of a step of plain SGD from the model as it is.
            The step is not made, but judged: would it round away, or be larger than
            the weights? Default: no step is judged.
        sample_weight: Weights of the samples, as in `fit`.

    Returns:
        `Findings`: one or more for each run, never none. A run without a fault gets
        the finding `"healthy"` with the threshold that it is nearest to.

    Raises:
        TypeError: If `log_or_model` is neither a log nor a Keras model.
        ValueError: If a model comes without `x` and `y`, a log with them, or a log
            without runs.

    Example:
        >>> from vgkeras import predict
        >>> print(diagnose(predict(scales=[0.9], depths=[152]))[0].regime)
        vanishing
    """
    beside = isinstance(log_or_model, GradientLog) and is_model(x)
    own_x, own_y = (None, None) if beside else (x, y)
    log = log_of(log_or_model, own_x, own_y, loss, learning_rate, sample_weight)
    if not len(log.runs):
        raise ValueError("`log` must hold at least one run. Received: 0 runs.")
    if beside:
        return _with_second_look(log, x, y, targets, loss, sample_weight)
    return Findings(finding for run in runs(log) for finding in _findings(run))


def _findings(run: Run) -> list[Finding]:
    """The findings of one run, gravest first: what is certain leaves no guesses."""
    faults = _until_broken([f for find in FAULTS if (f := find(run)) is not None])
    certain = _asked(MISMATCHES, run)
    limits = [finding for measure in LIMITS for finding in measure(run)]
    beyond = [f for f in limits if f.margin > 0 and not _excused(f, run)]
    first = [fault.cause for fault in faults if fault.regime == "non-finite"]
    if certain or (first and first[0] not in ("", "explosion")):
        findings = _explained(faults, certain)
    elif run.stuck or faults:
        findings = _of_a_stuck_run(run, faults, _one_of_each(beyond))
    else:
        findings = _asked(ALWAYS, run) or _one_of_each(beyond)
    findings.sort(key=lambda finding: REGIMES.index(finding.regime))
    return findings or [_healthy(run, [f for f in limits if f.margin <= 0])]


def _until_broken(faults: list[Finding]) -> list[Finding]:
    """Without what follows the first Inf or NaN: it follows from it."""
    broken = [_step(fault) for fault in faults if fault.regime == "non-finite"]
    end = min(broken, default=math.inf)
    return [f for f in faults if f.regime == "non-finite" or _step(f) <= end]


def _with_second_look(
    log: GradientLog, model: Any, x: Any, y: Any, loss: Any, sample_weight: Any
) -> Findings:
    """The findings of a log of one run, and what its model and data show besides."""
    if len(log.runs) != 1:
        raise ValueError(
            "`log` must hold the one run of the model. "
            f"Received: {len(log.runs)} runs. Take it by `log.select(run=...)`."
        )
    (run,) = runs(log)
    first = _findings(run)
    if any(finding.cause == "labels outside the loss" for finding in first):
        return Findings(first)  # TensorFlow raises at such labels
    seen = list(second_look(run, model, x, y, loss, sample_weight))
    if {finding.cause for finding in first} - {"", _MEMORY}:  # it need not be that, too
        seen = [finding for finding in seen if finding.cause != _MEMORY]
    if seen:
        asked = {finding.cause for finding in seen}
        first = [f for f in first if f.regime != "healthy" and not _is_open(f, asked)]
    both = sorted([*first, *seen], key=lambda f: REGIMES.index(f.regime))
    others = [f for f in both if f.cause != "output ignores the input"]
    named = any(finding.cause for finding in others)  # that is why they are ignored
    return Findings(others if named else both)


def _is_open(finding: Finding, answered: set[str]) -> bool:
    """Whether a finding of the log only asked what is answered now."""
    by_log = finding.regime == "stalled" and not finding.cause
    return finding.cause in answered or by_log


def _asked(questions: Questions, run: Run) -> list[Finding]:
    return [finding for ask in questions if (finding := ask(run)) is not None]


def _explained(faults: list[Finding], causes: list[Finding]) -> list[Finding]:
    """Faults with what is behind them; a cause that explains none stands by itself."""
    if not causes:
        return faults
    first, *more = causes
    explained = [
        replace(fault, cause=first.cause, remedy=first.remedy)
        for fault in faults
        if fault.regime != "disconnected" and not fault.cause
    ]
    apart = [f for f in faults if f.regime == "disconnected" or f.cause]
    return [*apart, *(explained[:1] or [first]), *more]


def _of_a_stuck_run(
    run: Run, faults: list[Finding], beyond: list[Finding]
) -> list[Finding]:
    """Its causes; without any, what is beyond a limit; or what may be behind it."""
    causes = _asked((*ALWAYS[:2], *SUSPECTS), run)
    if causes:
        return _explained(faults, _without_results(run, causes))
    others = [f for f in beyond if f.regime not in ("stalled", "slow")]
    if faults or others:
        first = min([*faults, *others], key=_step)
        return [_with_remedy_of(f, first) for f in [*faults, *beyond]]
    return _asked((*ALWAYS, *POSSIBILITIES), run)[:1] or beyond


def _without_results(run: Run, causes: list[Finding]) -> list[Finding]:
    """The causes without steps that are too large only because numbers are."""
    names = {finding.cause for finding in causes}
    scaled = names.isdisjoint(("inputs not scaled", "targets not scaled"))
    if scaled and not starts_large(run):
        return causes
    return [f for f in causes if f.cause != "learning rate too high"]


def _with_remedy_of(finding: Finding, cause: Finding) -> Finding:
    """What follows from another finding needs no advice of its own."""
    follows = finding.regime in ("stalled", "slow", "zero", "dead units")
    if not follows or finding.cause or _step(finding) <= _step(cause):
        return finding
    return replace(finding, remedy=cause.remedy)


def _excused(finding: Finding, run: Run) -> bool:
    """Whether the loss has shown that the number did no harm."""
    if finding.regime in ("stalled", "slow"):
        return False
    if _torn_apart(finding):
        return False
    relative = finding.regime in ("exploding", "frozen")
    if relative or finding.rule.startswith("log10"):
        return run.improved or run.uses_input
    return run.learned


def _torn_apart(finding: Finding) -> bool:
    """Whether gradients grow from layer to layer so far that no one rate suits both."""
    by_layer = finding.rule.startswith("log10 of first / last") and not finding.cause
    grows = finding.regime == "exploding" and by_layer
    return grows and finding.measured > span(finding.dtype)


def _one_of_each(findings: list[Finding]) -> list[Finding]:
    """The earliest finding of each regime; of one step, the first: they are ranked."""
    first: dict[str, Finding] = {}
    for finding in sorted(findings, key=_step):
        first.setdefault(finding.regime, finding)
    return list(first.values())


def _step(finding: Finding) -> float:
    return math.inf if finding.step is None else finding.step


def _healthy(run: Run, limits: list[Finding]) -> Finding:
    if not limits:
        rule = "log holds no number by which this run could be judged"
        return finding_of(run, "unknown", rule, math.nan, LOG_MORE)
    nearest = max(limits, key=lambda finding: finding.margin)
    return replace(nearest, regime="healthy", cause="", remedy="", extent="")
