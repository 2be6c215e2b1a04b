"""Faults: each is there or not."""

import math
from collections.abc import Callable

import numpy as np

from vgkeras.diagnosis.advice import CONNECT, REVIVE, zero_advice
from vgkeras.diagnosis.finding import Finding, finding_of
from vgkeras.diagnosis.origins import Origin, origin
from vgkeras.diagnosis.run_arrays import DEAD, Run, Tensors
from vgkeras.floats import computed_in, vanishes_below


def _non_finite(run: Run) -> Finding | None:
    """The first Inf or NaN: forward before the loss, the loss before backward."""
    bad = [
        rows.where(rows.nonfinite_fraction > 0)
        for rows in (run.activations, run.gradients, run.weights)
    ]
    bad_losses = run.steps[~np.isfinite(run.losses)]
    steps = [*bad_losses[:1], *(rows.step[0] for rows in bad if len(rows.step))]
    if not steps or (run.scaled and _recovered(run)):
        return None
    step = int(min(steps))
    why = origin(run, step)
    forward, *backward = (rows.at(step) for rows in bad)
    if len(forward.step):
        return _share(run, forward.where([0]), "activation", why)
    if step in bad_losses:
        value = float(run.losses[run.steps == step][0])
        rule = f"loss is {'NaN' if math.isnan(value) else 'Inf'}"
        facts = ("non-finite", rule, math.nan, why.remedy, value)
        return finding_of(run, *facts, step=step, cause=why.cause)
    kinds = ("activation gradient", "weight gradient")
    for rows, what in zip(backward, kinds, strict=True):
        if len(rows.step):
            return _share(run, rows.where([-1]), what, why)
    return None


def _share(run: Run, at: Tensors, what: str, why: Origin) -> Finding:
    rule, share = f"share of Inf or NaN in the {what} > 0", at.nonfinite_fraction[0]
    facts = ("non-finite", rule, 0.0, why.remedy, share)
    return finding_of(run, *facts, at=at, cause=why.cause)


def _recovered(run: Run) -> bool:
    """Whether loss scaling only skipped a few steps, as it is made to."""
    last = run.weights.at(run.weights.step.max(initial=0))
    return bool(
        np.isfinite(run.losses).all()
        and not (last.nonfinite_fraction > 0).any()
        and not (run.activations.nonfinite_fraction > 0).any()
    )


def _disconnected(run: Run) -> Finding | None:
    rows = run.weights.where(np.isnan(run.weights.log10_norm))
    if not len(rows.step):
        return None
    few, every = (len(t.at(rows.step[0]).step) for t in (rows, run.weights))
    rule = "gradient is None: the loss does not depend on the variable"
    extent = f"{few} of {every} variables"
    return finding_of(
        run, "disconnected", rule, math.nan, CONNECT, at=rows, extent=extent
    )


def _no_signal(run: Run) -> Finding | None:
    """Dead units, or else gradients of exactly 0."""
    return _dead(run) or _zero(run)


def _dead(run: Run) -> Finding | None:
    """A layer that lets nothing through, up to the last step that is not learned."""
    outputs = run.rows_before_learning(run.activations)
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
    rule = f"share of exact zeros in the activation > {DEAD}"
    share, extent = at.zero_fraction[0], "and its gradient is as empty"
    facts = (share, math.log10(share / DEAD))
    return finding_of(
        run, "dead units", rule, DEAD, REVIVE, *facts, at=at, extent=extent
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


def _zero(run: Run) -> Finding | None:
    rows = run.rows_before_learning(
        run.weights.where(~np.isnan(run.weights.log10_norm))
    ).main()
    rows = rows.where(~(rows.nonfinite_fraction > 0))
    zero = _to_the_end(rows, rows.log10_norm == -math.inf)
    if not zero.any():
        return None
    at = rows.where(zero)
    here = np.unique(rows.layer[zero])
    cause = _cause(run, int(at.step[0])) or _came_down(run, at)
    if cause == "branch" and len(np.unique(rows.step)) == 1:
        return None  # such a branch wakes with the first update
    rule, remedy = "weight gradient is exactly zero", zero_advice(run, cause)
    extent = f"{len(here)} of {len(np.unique(rows.layer))} layers"
    regime = "zero"
    if not cause and _one_sided(run):
        regime, remedy = "dead units", REVIVE
    return finding_of(run, regime, rule, 0.0, remedy, 0.0, at=at, extent=extent)


def _came_down(run: Run, at: Tensors) -> str:
    """`"backward"` if the layer's own gradient neared the floor before it was 0."""
    own = run.weights.main()
    own = own.where((own.layer == at.layer[0]) & (own.step < at.step[0]))
    return "backward" if _slid(own.log10_max, run) else ""


def _one_sided(run: Run) -> bool:
    """Whether the layers have activations under which units can die."""
    return bool({"relu", "relu6"} & set(run.facts.activations()))


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
    empty = np.flatnonzero(upward.log10_norm == -math.inf)
    if not len(empty):
        return ""
    if empty[0] == 0:
        return "error"
    if np.isfinite(upward.log10_norm[empty[0] :]).any():
        return "branch"
    return "backward" if _slid(upward.log10_max[: empty[0]], run) else ""


def _slid(log10_max: np.ndarray, run: Run) -> bool:
    """Whether numbers came down to the floor of their format before they became 0.

    Units that die give no warning: what goes into them is ordinary.
    """
    floor = math.log10(vanishes_below(computed_in(run.row["dtype"])))
    before = log10_max[np.isfinite(log10_max)]
    if not len(before):
        return False
    fall = min(before[-1] - before[-2], 0.0) if len(before) > 1 else 0.0
    return bool(before[-1] < floor + 2.0 or before[-1] + fall < floor)


FAULTS: tuple[Callable[[Run], Finding | None], ...] = (
    _non_finite,
    _disconnected,
    _no_signal,
)
