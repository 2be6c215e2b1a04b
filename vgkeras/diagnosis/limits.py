"""Limits: each returns what it measured, whether that is beyond it or not."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from vgkeras.diagnosis.advice import (
    CLIP,
    KEEP,
    SHRINK,
    SLOW,
    STALLED,
    TAME,
    advice_by_layer,
    frozen_advice,
    underflow_advice,
    vanishing_advice,
)
from vgkeras.diagnosis.finding import Finding, finding_of
from vgkeras.diagnosis.in_time import memory
from vgkeras.diagnosis.lines import (
    DECADES,
    Slope,
    lines,
    through_time,
    weight_lines,
)
from vgkeras.diagnosis.origins import square_overflows
from vgkeras.diagnosis.run_arrays import (
    FEWEST_STEPS,
    IGNORED,
    IMPROVED,
    LARGE_UPDATE,
    STILL,
    Run,
    Tensors,
)
from vgkeras.floats import computed_in, stored_in
from vgkeras.theory import EXPLODED

SMALL_GRADIENT = 1e-7  # root mean square
FACTOR = 1.05  # a layer; a network of many layers may grow more slowly and train
KERNEL_FACTOR = 1.1  # the same for kernels' gradients: kernels differ in shape
MEMORY = 0.6  # a time step; a plain recurrence that keeps less remembers two
_GATED = ("LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


class Limit(NamedTuple):
    """What a finding about a limit says, whatever was measured."""

    regime: str
    rule: str
    threshold: float
    remedy: str


def _at_first(
    run: Run,
    limit: Limit,
    rows: Tensors,
    measured: np.ndarray,
    margin: np.ndarray,
    extent: str = "",
) -> list[Finding]:
    """The finding about the first row beyond the limit, or else nearest to it."""
    if not len(margin):
        return []
    i = _first(margin)
    at = rows.where([i])
    return [finding_of(run, *limit, measured[i], margin[i], at=at, extent=extent)]


def _first(margin: np.ndarray) -> int:
    """Index of the first margin that is positive, or else of the largest."""
    beyond = np.flatnonzero(margin > 0)
    return int(beyond[0]) if len(beyond) else int(np.argmax(margin))


def _unless(excluded: np.ndarray | bool, margin: np.ndarray) -> np.ndarray:
    """Margins, without those that are positive but do not count."""
    return np.where(excluded & (margin > 0), -np.inf, margin)


def _power(log10: np.ndarray) -> np.ndarray:
    """`10**log10`; not 0, as long as the logarithm is finite."""
    powers = np.maximum(10.0 ** np.minimum(log10, 308.0), 5e-324)
    return np.select([log10 == -np.inf, ~np.isfinite(log10)], [0.0, np.inf], powers)


def _subnormal(run: Run) -> list[Finding]:
    if run.scaled:
        return []  # what is logged was divided by the scale afterwards
    rows = _weights(run)
    smallest = computed_in(run.row["dtype"]).smallest_normal
    rule = f"largest element of the weight gradient < {smallest:.2g}"
    remedy = underflow_advice(run, forward=False)
    return _small(run, Limit("subnormal", rule, smallest, remedy), rows, rows.log10_max)


def _frozen(run: Run) -> list[Finding]:
    rows = _weights(run)
    rows = rows.where(np.isfinite(rows.update_ratio))
    if (rows.step > run.weights.step.min(initial=0)).any():  # warm-up may start at 0
        rows = rows.where(rows.step > rows.step.min())
    rounding = stored_in(run.row["dtype"]).epsilon / 2
    with np.errstate(divide="ignore"):
        ratio = np.log10(rows.update_ratio)
    rounds = rows.frozen_fraction > rows.zero_fraction + 1e-9
    rounds &= ~(run.rates_at(rows.step) == 0) & ~square_overflows(run, rows)
    rounds &= ~_behind_a_gate(run, rows)
    rule = f"update relative to the weights < {rounding:.2g}"
    findings = _small(run, Limit("frozen", rule, rounding, ""), rows, ratio, rounds)
    return [
        replace(finding, remedy=frozen_advice(finding), extent=_share(finding, rows))
        for finding in findings
    ]


def _share(finding: Finding, rows: Tensors) -> str:
    """The extent of the finding, and what part of the weights at its place it is."""
    at = rows.where((rows.layer == finding.layer) & (rows.step == finding.step))
    share = at.frozen_fraction.max()
    part = f"{share:.0%}" if share < 0.99 or share == 1 else "more than 99%"
    return f"{finding.extent}, in this one {part} of the weights stay as they are"


def _vanishing(run: Run) -> list[Finding]:
    rows = _weights(run)
    small = SMALL_GRADIENT
    if 0 < run.start < 1:  # in another unit, the same loss has smaller gradients
        small = max(small * run.start, 1e-300)
    rule = f"root mean square of the weight gradient < {small:.2g}"
    limit = Limit("vanishing", rule, small, vanishing_advice(run))
    return _small(run, limit, rows, rows.log10_rms(), ~_behind_a_gate(run, rows))


def _behind_a_gate(run: Run, rows: Tensors) -> np.ndarray:
    """Whether a small gradient is that of a branch which is closed at the start.

    A tiny factor behind it (LayerScale) lets little back, and grows; what is further
    back gets its gradient past it.
    """
    tiny = run.weights.where(run.weights.are_tiny())
    closed = np.zeros(len(rows.step), bool)
    if not len(tiny.step):
        return closed
    for step in np.unique(rows.step):
        here = rows.step == step
        large = rows.layer[here & (rows.log10_rms() >= math.log10(SMALL_GRADIENT))]
        first = large.min(initial=np.iinfo(np.int64).max)
        closed |= here & (rows.layer > first) & (rows.layer < tiny.layer.max())
    return closed


def _weights(run: Run) -> Tensors:
    """The kernels' gradients that are numbers but 0, at the judged steps."""
    return run.rows_to_judge(run.weights).finite().main()


def _small(
    run: Run, limit: Limit, rows: Tensors, log10: np.ndarray, counts: Any = True
) -> list[Finding]:
    """The finding about layers that are below a limit at most steps.

    `counts` is a second condition on each row.
    """
    margin = _unless(~np.asarray(counts), math.log10(limit.threshold) - log10)
    layers, code = np.unique(rows.layer, return_inverse=True)
    often = np.bincount(code, margin > 0) > 0.5 * np.bincount(code)
    margin = _unless(~often[code], margin)
    extent = f"{often.sum()} of {len(layers)} layers"
    return _at_first(run, limit, rows, _power(log10), margin, extent)


def _by_layer(run: Run) -> list[Finding]:
    """Decay and growth from layer to layer, forward and backward."""
    named = [
        (f"log10 of {ends}", line, factor)
        for pair in lines(run)
        for ends, line, factor in (
            ("last / first activation", pair.forward, FACTOR),
            ("first / last activation gradient", pair.backward, FACTOR),
        )
    ]
    if len(run.losses) > 1 or not len(run.gradients.step):
        rule = "log10 of first / last weight gradient"
        # Behind a normalization a gradient scales as 1 / weights, which harms nobody.
        scales = run.facts.normalizes and not run.stuck
        factor = math.inf if scales else KERNEL_FACTOR
        named += [(rule, line, factor) for line in weight_lines(run)]
    if run.stuck and run.facts.known and not run.facts.normalizes:
        # Behind activations that shrink, kernels' gradients shrink at both ends alike;
        # a bias' gradient is what comes back to it.
        rule = "log10 of first / last bias gradient"
        named += [(rule, line, math.inf) for line in weight_lines(run, biases=True)]
    return [
        finding
        for ends, line, factor in named
        if line is not None
        for finding in _on_line(run, f"{ends} (rms)", line, math.log10(factor))
    ]


def _on_line(run: Run, ends: str, line: Slope, growth: float) -> Iterator[Finding]:
    """Decay at most steps, and growth that is fast or goes very far, of one line."""
    decay, gain = -line.total - DECADES, line.total - DECADES
    often = (decay > 0).sum() > 0.5 * len(decay)
    decay = _unless(~(line.whole & often), decay)
    gain = _unless((line.rate <= growth) & (line.total <= span(run.row["dtype"])), gain)
    sides = (("vanishing", "<", -DECADES, decay), ("exploding", ">", DECADES, gain))
    for regime, sign, threshold, margin in sides:
        remedy = advice_by_layer(regime, backward="gradient" in ends)
        limit = Limit(regime, f"{ends} {sign} {threshold:g}", threshold, remedy)
        extent = f"{line.rate[_first(margin)]:+.2g} decades a layer"
        yield from _at_first(run, limit, line.place, line.total, margin, extent)


def _by_update(run: Run) -> list[Finding]:
    """Gradients of one kernel that explode between the updates of a step."""
    rows = _weights(run)
    if not rows.update.any():
        return []
    places = np.stack([rows.step, rows.layer], axis=1)
    _, code = np.unique(places, axis=0, return_inverse=True)
    largest = np.full(len(code), -np.inf)
    np.maximum.at(largest, code, rows.log10_norm)
    smallest = np.full(len(code), np.inf)
    np.minimum.at(smallest, code, rows.log10_norm)
    measured = (largest - smallest)[code]
    most = span(run.row["dtype"])
    rule = f"log10 of largest / smallest gradient in the updates of a step > {most:.2g}"
    margin = np.where(rows.log10_norm == largest[code], measured - most, -np.inf)
    return _at_first(run, Limit("exploding", rule, most, CLIP), rows, measured, margin)


def span(dtype: str) -> float:
    """Decades over which no one learning rate moves all weights.

    A step as large as the weights of one layer rounds away at those of another.
    """
    return -math.log10(stored_in(dtype).epsilon / 2)


def _through_time(run: Run) -> list[Finding]:
    """Decay and growth from one time step of a recurrent layer to the one before.

    A gated cell forgets at the start and learns to keep: LSTM and GRU lose 10 to 20
    decades over 100 steps before training. What counts here is a plain recurrence.
    """
    findings = []
    for line in through_time(run.rows_to_judge(run.gradients), backward=True):
        facts = run.facts.layer_of(f"{line.place.name[0]}/")
        steps = facts.get("steps")
        if not isinstance(steps, int) or facts.get("class") in _GATED:
            continue
        rate = line.total / max(steps - 1, 1)
        lost = math.log10(MEMORY) - rate
        won = np.where(rate > math.log10(FACTOR), line.total - DECADES, -np.inf)
        sides = (
            ("vanishing", "<", math.log10(MEMORY), rate, lost, KEEP),
            ("exploding", ">", math.log10(FACTOR), rate, won, TAME),
        )
        for regime, sign, threshold, measured, margin, remedy in sides:
            rule = (
                f"log10 of the gradient's factor per time step {sign} {threshold:.2g}"
            )
            limit = Limit(regime, rule, threshold, remedy)
            extent = f"{line.total[_first(margin)]:+.2g} decades over {steps} steps"
            findings += _at_first(run, limit, line.place, measured, margin, extent)
    return findings


def _large_update(run: Run) -> list[Finding]:
    """Updates many times larger than the weights.

    Behind a normalization weights of any size do the same, and larger ones move less.
    """
    rows = _weights(run).moved()
    rows = rows.where(~rows.are_tiny())
    if run.facts.normalizes and not run.stuck:
        last = run.facts.output
        rows = rows.where([bool(last) and str(n).startswith(last) for n in rows.name])
    rule = f"update relative to the weights > {LARGE_UPDATE:g}"
    limit = Limit("exploding", rule, LARGE_UPDATE, CLIP)
    margin = np.log10(rows.update_ratio / LARGE_UPDATE)
    return _at_first(run, limit, rows, rows.update_ratio, margin)


def _large_output(run: Run) -> list[Finding]:
    """Outputs whose square, and so a squared loss, is beyond the largest number."""
    rows = run.rows_to_judge(run.activations).finite()
    rows = rows.where(rows.layer == rows.layer.max(initial=0))
    rows = rows.where(~np.isnan(rows.log10_max))
    root = math.sqrt(stored_in(run.row["dtype"]).largest)
    limit = Limit("exploding", f"largest output > {root:.2g}", root, SHRINK)
    margin, measured = rows.log10_max - math.log10(root), _power(rows.log10_max)
    return _at_first(run, limit, rows, measured, margin, "its square overflows")


def _loss_growth(run: Run) -> list[Finding]:
    peak = run.losses[np.isfinite(run.losses)].max(initial=-math.inf)
    end = run.last if math.isfinite(run.last) else float(peak)
    start = run.first if math.isnan(run.zero_map) else max(run.first, run.zero_map)
    if len(run.losses) < 2 or not (start > 0 and end > 0):
        return []
    rule = f"last loss relative to the start > {EXPLODED:g}"
    limit = Limit("exploding", rule, EXPLODED, CLIP)
    margin = math.log10(end) - math.log10(start) - math.log10(EXPLODED)
    return [finding_of(run, *limit, end / start, margin)]


def _no_progress(run: Run) -> list[Finding]:
    """A loss that does not fall, or not far enough."""
    enough = len(run.losses) > FEWEST_STEPS and run.start > 0 and run.last >= 0
    if not enough or run.learned or run.last > EXPLODED * run.start:
        return []
    fall = max(run.fall, 0.0)
    flat = math.log10(STILL / fall) if fall else math.inf
    if flat > 0 and not run.stuck:  # the noise of batches, or learned before
        flat = -math.inf
    findings = [finding_of(run, *_STALLED, fall, flat)]
    ratio = 1 - fall
    slow = math.log10(ratio / IMPROVED) if ratio else -math.inf
    if flat <= 0 and (slow <= 0 or run.row["outcome"] in ("slow", "stalls")):
        findings.append(finding_of(run, *_SLOW, ratio, slow))
    if flat <= 0 and run.ignores_input:
        share = run.late_excess
        margin = math.log10(IGNORED / share) if share > 0 else math.inf
        findings.append(finding_of(run, *_IGNORES, run.late_excess, margin))
    return findings


_STALLED = Limit(
    "stalled", f"share of the loss that was lost < {STILL}", STILL, STALLED
)
_SLOW = Limit("slow", f"last loss relative to the start > {IMPROVED}", IMPROVED, SLOW)

_IGNORES = Limit(
    "stalled",
    f"cost of one answer for all inputs, relative to the loss < {IGNORED}",
    IGNORED,
    STALLED,
)

LIMITS: tuple[Callable[[Run], list[Finding]], ...] = (
    _subnormal,
    _frozen,
    _vanishing,
    _by_layer,
    _by_update,
    memory,
    _through_time,
    _large_update,
    _large_output,
    _loss_growth,
    _no_progress,
)
