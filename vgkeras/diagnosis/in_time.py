"""Memory: what is left of a gradient on its way back through time."""

import math
from collections.abc import Iterator

import numpy as np

from vgkeras.diagnosis.advice import KEEP, TAME
from vgkeras.diagnosis.finding import Finding, beyond, finding_of
from vgkeras.diagnosis.run_arrays import FEWEST_STEPS, Run, Tensors
from vgkeras.logs import BACKWARDS
from vgkeras.theory import memory_steps

LOST = 2.0  # decades from the last time step to the first
_GROWTH = math.log10(1.05)  # a time step; less may be a task that counts its inputs
_LONG = 20  # time steps
_SIDES = (
    ("vanishing", "memory lost in time", "<", -LOST, KEEP),
    ("exploding", "growth in time", ">", LOST, TAME),
)


def memory(run: Run) -> list[Finding]:
    """Decay and growth of the gradient by the state, of a run of some updates.

    A task may not need the memory: whether it harms, the loss says, and `diagnose`
    excuses it if that falls.
    """
    if len(run.losses) <= FEWEST_STEPS:
        return []
    return through_states(run, run.rows_to_judge(run.states))


def through_states(run: Run, states: Tensors) -> list[Finding]:
    """What each layer loses and wins; of its states the one that keeps most counts."""
    findings: list[Finding] = []
    for layer in np.unique(states.layer):
        own = states.where(states.layer == layer)
        steps = [own.at(step) for step in np.unique(own.step)]
        ways = [way for rows in steps if (way := _best_way(rows)) is not None]
        findings += _findings(run, ways) if ways else []
    return findings


def unmeasured(run: Run) -> Finding | None:
    """A long sequence: whether the gradient reaches its start is not in this log."""
    if len(run.states.step):
        return None
    longest = max((la["steps"] for _, la in run.facts.recurrent()), default=0)
    remedy = (
        "this log cannot tell whether the gradient reaches the first time steps; "
        "`diagnose(log, model, x, y)` measures it. If it does not: an LSTM or GRU, "
        "orthogonal recurrent weights, or shorter sequences (`mask_zero=True` where "
        "zeros pad them)"
    )
    rule = f"steps in time of a recurrent layer > {_LONG}"
    return beyond(run, "stalled", "memory lost in time", rule, longest, remedy)


def _best_way(rows: Tensors) -> Tensors | None:
    """The rows of the state that keeps most, from the last time step to the first.

    They begin where the loss first reaches in: what is masked has no gradient.
    """
    ways = []
    for name in dict.fromkeys(rows.name):
        own = rows.where(rows.name == name)  # rows of a log are in the order of time
        way = own if name.endswith(BACKWARDS) else own.where(slice(None, None, -1))
        reached = np.flatnonzero(np.isfinite(way.log10_norm))
        ways += [way.where(slice(reached[0], None))] if len(reached) else []
    return max(ways, key=_gain, default=None)


def _gain(way: Tensors) -> float:
    """Decades that are won at the end of the way."""
    gain = float(way.log10_norm[-1] - way.log10_norm[0])
    return -math.inf if math.isnan(gain) else gain


def _findings(run: Run, ways: list[Tensors]) -> Iterator[Finding]:
    """What one layer loses and wins at the judged steps, if it does at most of them."""
    gains = np.array([_gain(way) for way in ways])
    steps = np.array([len(way.step) for way in ways])
    lost = -gains - LOST
    won = np.where(gains > _GROWTH * steps, gains - LOST, -np.inf)
    for (regime, cause, sign, threshold, remedy), margins in zip(
        _SIDES, (lost, won), strict=True
    ):
        often = np.mean(margins > 0) > 0.5
        place = int(np.argmax(margins > 0)) if often else int(np.argmax(margins))
        yield finding_of(
            run,
            regime,
            f"log10 of first / last state gradient in time {sign} {threshold:g}",
            threshold,
            remedy,
            gains[place],
            margins[place] if often else min(margins[place], -1e-9),
            at=ways[place],
            extent=_extent(ways[place], regime),
            cause=cause,
        )


def _extent(way: Tensors, regime: str) -> str:
    """Over how many time steps the gradient keeps a tenth, or wins tenfold."""
    sign = 1 if regime == "vanishing" else -1
    steps = memory_steps(sign * way.log10_norm[::-1])
    if math.isinf(steps):
        return ""
    what = "it keeps a tenth" if regime == "vanishing" else "it grows tenfold"
    return f"{what} over {steps:.3g} of {len(way.step)} time steps"
