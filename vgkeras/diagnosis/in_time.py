"""Memory: what is left of a gradient on its way back through time."""

import math
from collections.abc import Iterator

import numpy as np

from vgkeras.diagnosis.finding import Finding, finding_of
from vgkeras.diagnosis.run_arrays import Run, Tensors
from vgkeras.theory import memory_steps

LOST = 2.0  # decades from the last time step to the first
_GROWTH = math.log10(1.05)  # a time step; less may be a task that counts its inputs
_FEWEST = 10  # updates, after which a loss that does not fall says something
_KEEP = (
    "let the network keep its state (an LSTM with a forget bias of about the logarithm "
    "of the number of time steps, a GRU, an orthogonal recurrent kernel), or shorten "
    "the way back (attention, shorter sequences); clipping does not help"
)
_TAME = (
    "clip the gradient (`global_clipnorm=1`), and use an orthogonal or a smaller "
    "recurrent kernel"
)


def memory(run: Run) -> list[Finding]:
    """Decay and growth of the gradient by the state, of a run of some updates.

    A task may not need the memory: whether it harms, the loss says, and `diagnose`
    excuses it if that falls. Of one layer's states the one that keeps most counts.
    """
    if len(run.losses) <= _FEWEST:
        return []
    rows = run.rows_to_judge(run.states)
    found: list[Finding] = []
    for layer in np.unique(rows.layer):
        best = [
            max(
                _ways(rows.where((rows.layer == layer) & (rows.step == step))), key=_end
            )
            for step in np.unique(rows.step[rows.layer == layer])
        ]
        found += _findings(run, best)
    return found


def _ways(rows: Tensors) -> Iterator[Tensors]:
    """The rows of each state, from the last time step back to the first."""
    for name in dict.fromkeys(rows.name):
        own = rows.where(rows.name == name)  # rows of a log are in the order of time
        yield own if name.endswith("backwards") else own.where(slice(None, None, -1))


def _end(way: Tensors) -> float:
    """Decades that are won at the end of the way."""
    with np.errstate(invalid="ignore"):
        gain = float(way.log10_norm[-1] - way.log10_norm[0])
    return -math.inf if math.isnan(gain) else gain


def _findings(run: Run, ways: list[Tensors]) -> Iterator[Finding]:
    """What one layer loses and wins at the judged steps, if it does at most of them."""
    gains = np.array([_end(way) for way in ways])
    steps = np.array([len(way.step) for way in ways])
    lost = -gains - LOST
    won = np.where(gains > _GROWTH * steps, gains - LOST, -np.inf)
    sides = (
        ("vanishing", "<", -LOST, lost, _KEEP),
        ("exploding", ">", LOST, won, _TAME),
    )
    for regime, sign, threshold, margins, remedy in sides:
        often = np.mean(margins > 0) > 0.5
        place = int(np.argmax(margins > 0)) if often else int(np.argmax(margins))
        margin = margins[place] if often else min(margins[place], -1e-9)
        rule = f"log10 of first / last state gradient in time {sign} {threshold:g}"
        extent = _extent(ways[place], regime)
        at, measured = ways[place], gains[place]
        yield finding_of(
            run, regime, rule, threshold, remedy, measured, margin, at=at, extent=extent
        )


def _extent(way: Tensors, regime: str) -> str:
    """Over how many time steps the gradient keeps a tenth, or wins tenfold."""
    sign = 1 if regime == "vanishing" else -1
    steps = memory_steps(sign * way.log10_norm[::-1])
    if math.isinf(steps):
        return ""
    what = "it keeps a tenth" if regime == "vanishing" else "it grows tenfold"
    return f"{what} over {steps:.3g} of {len(way.step)} time steps"
