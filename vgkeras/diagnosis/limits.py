"""Limits: each returns what it measured, whether that is beyond it or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vgkeras.diagnosis.advice import (
    CLIP,
    SHRINK,
    SLOW,
    STALLED,
    advice_by_layer,
    frozen_advice,
    underflow_advice,
    vanishing_advice,
)
from vgkeras.diagnosis.finding import Finding, finding_of
from vgkeras.diagnosis.run_arrays import (
    DECADES,
    IMPROVED,
    Run,
    Slope,
    Tensors,
    slope,
    slopes,
)
from vgkeras.floats import computed_in, stored_in

SMALL_GRADIENT = 1e-7  # root mean square

FACTOR = 1.05  # a layer; a network of many layers may grow more slowly and train
KERNEL_FACTOR = 1.1  # the same for kernels' gradients: kernels differ in shape
LARGE_UPDATE = 10.0  # relative to the weights
LOSS_GROWTH = 1000.0  # last loss relative to the start
STILL = 0.01  # a loss that lost less than this share has not moved

FEWEST_STEPS = 10  # a run of fewer updates cannot be called stalled


def _subnormal(run: Run) -> list[Finding]:
    if run.scaled:
        return []  # what is logged was divided by the scale afterwards
    rows = _weights(run)
    limit = computed_in(run.row["dtype"]).smallest_normal
    what = "largest element of the weight gradient"
    remedy = underflow_advice(run, forward=False)
    return _small(run, rows, rows.log10_max, limit, "subnormal", what, remedy)


def _frozen(run: Run) -> list[Finding]:
    rows = _weights(run)
    rows = rows.where(np.isfinite(rows.update_ratio))
    limit = stored_in(run.row["dtype"]).epsilon / 2
    with np.errstate(divide="ignore"):
        ratio = np.log10(rows.update_ratio)
    lost = rows.frozen_fraction > rows.zero_fraction + 1e-9
    what = "update relative to the weights"
    found = _small(run, rows, ratio, limit, "frozen", what, "", only=lost)
    return [replace(finding, remedy=frozen_advice(finding)) for finding in found]


def _vanishing(run: Run) -> list[Finding]:
    rows = _weights(run)
    what = "root mean square of the weight gradient"
    remedy = vanishing_advice(run)
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
) -> list[Finding]:
    """The finding "`what` < `threshold`", of layers that meet it at most steps.

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
        finding_of(
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


def _by_layer(run: Run) -> list[Finding]:
    """Decay and growth from layer to layer, forward and backward."""
    found = []
    ends = (
        "last / first activation",
        "first / last activation gradient",
        "first / last weight gradient (rms)",
    )
    lines = (*slopes(run), _weight_slope(run))
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


def _weight_slope(run: Run) -> Slope | None:
    """The kernels' gradients stand in for those of activations that were not logged."""
    if len(run.gradients.step):
        return None
    rows = run.judged(run.weights).main()
    rms = rows._replace(log10_norm=rows.log10_rms())
    return slope(rms, DECADES, backward=True)


def _on_line(
    run: Run, line: Slope, margin: np.ndarray, regime: str, rule: str
) -> Finding:
    index = _first(margin)
    return finding_of(
        run,
        regime,
        rule,
        threshold=-DECADES if regime == "vanishing" else DECADES,
        measured=line.total[index],
        margin=margin[index],
        at=line.place.where([index]),
        remedy=advice_by_layer(regime, backward=" gradient " in rule),
        extent=f"{line.rate[index]:+.2g} decades a layer",
    )


def _large_update(run: Run) -> list[Finding]:
    rows = _weights(run)
    rows = rows.where(np.isfinite(rows.update_ratio) & (rows.update_ratio > 0))
    if not len(rows.step):
        return []
    margin = np.log10(rows.update_ratio / LARGE_UPDATE)
    index = _first(margin)
    return [
        finding_of(
            run,
            "exploding",
            f"update relative to the weights > {LARGE_UPDATE:g}",
            threshold=LARGE_UPDATE,
            measured=rows.update_ratio[index],
            margin=margin[index],
            at=rows.where([index]),
            remedy=CLIP,
        )
    ]


def _large_output(run: Run) -> list[Finding]:
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
        finding_of(
            run,
            "exploding",
            f"largest output > {limit:.2g}",
            threshold=limit,
            measured=_power(rows.log10_max[index]),
            margin=margin[index],
            at=rows.where([index]),
            remedy=SHRINK,
            extent="its square overflows",
        )
    ]


def _loss_growth(run: Run) -> list[Finding]:
    peak = run.losses[np.isfinite(run.losses)].max(initial=-math.inf)
    reached = run.last if math.isfinite(run.last) else float(peak)
    begun = run.first if math.isnan(run.zero_map) else max(run.first, run.zero_map)
    if len(run.losses) < 2 or not (begun > 0 and reached > 0):
        return []
    return [
        finding_of(
            run,
            "exploding",
            f"last loss relative to the start > {LOSS_GROWTH:g}",
            threshold=LOSS_GROWTH,
            measured=reached / begun,
            margin=math.log10(reached) - math.log10(begun) - math.log10(LOSS_GROWTH),
            remedy=CLIP,
        )
    ]


def _no_progress(run: Run) -> list[Finding]:
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
    found = [_loss_finding(run, "stalled", lost, flat, STILL, STALLED)]
    if flat <= 0 and (slow <= 0 or run.row["outcome"] == "stalls"):
        found.append(_loss_finding(run, "slow", ratio, slow, IMPROVED, SLOW))
    return found


def _loss_finding(
    run: Run, regime: str, measured: float, margin: float, limit: float, remedy: str
) -> Finding:
    stalled = "share of the loss that was lost <"
    rule = stalled if regime == "stalled" else "last loss relative to the start >"
    return finding_of(
        run,
        regime,
        f"{rule} {limit}",
        threshold=limit,
        measured=measured,
        margin=margin,
        remedy=remedy,
    )


LIMITS: tuple[Callable[[Run], list[Finding]], ...] = (
    _subnormal,
    _frozen,
    _vanishing,
    _by_layer,
    _large_update,
    _large_output,
    _loss_growth,
    _no_progress,
)


def _power(log10: float) -> float:
    """`10**log10`; not 0, as long as the logarithm is finite."""
    if not math.isfinite(log10):
        return 0.0 if log10 < 0 else math.inf
    return max(10.0 ** min(float(log10), 308.0), 5e-324)
