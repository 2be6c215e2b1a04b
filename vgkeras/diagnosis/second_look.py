"""What only the model and its data can tell, beside a log of its training."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vgkeras.diagnosis.advice import STALLED
from vgkeras.diagnosis.finding import Finding, beyond
from vgkeras.diagnosis.in_time import through_states
from vgkeras.diagnosis.run_arrays import IGNORED, Run, runs

_DIFFERENT = 10.0  # loss in inference relative to that in training
_AVERAGES = (
    "the moving averages of the normalization lag behind: use a lower `momentum` (0.9 "
    "in place of 0.99), or train for more steps; the training itself is sound"
)


def second_look(
    run: Run, model: Any, x: Any, y: Any, loss: Any, sample_weight: Any
) -> Iterator[Finding]:
    """The causes that a pass over data shows, gravest first; nothing is changed."""
    from vgkeras import tape

    objective = tape.objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    with tape.variables_restored(model):
        trained = float(objective.loss(objective.outputs(training=True)))
        outputs = objective.outputs(training=False)
        used = float(objective.loss(outputs))
        added = sum(float(part) for part in objective.added())
        same = float(objective.loss(tape.mean_outputs(outputs)))
    different = _moving_averages(run, trained - added, used - added)
    if different is not None:
        yield different
        return
    if run.improved or not (varies(objective.batch.y) and used > added):
        return
    share = (same - used) / (used - added)
    rule = f"cost of one answer for all inputs, relative to the loss < {IGNORED:g}"
    ignored = beyond(run, "stalled", "output ignores the input", rule, share, STALLED)
    if share < 2 * IGNORED:  # what they say may be noise, learned by heart
        yield from _memory(run, objective, loss)
    if ignored is not None:
        yield ignored


def _moving_averages(run: Run, trained: float, used: float) -> Finding | None:
    """Outputs in inference that are not those of training, because of averages."""
    if not run.facts.has("BatchNormalization") or not trained > 0:
        return None
    rule = f"loss in inference relative to that in training > {_DIFFERENT:g}"
    cause = ("mismatch", "moving averages")
    return beyond(run, *cause, rule, used / trained, _AVERAGES)


def varies(targets: Any) -> bool:
    """Whether the targets differ from sample to sample; only of a single tensor."""
    if targets is None or isinstance(targets, list | tuple | dict):
        return False
    rows = np.asarray(targets)
    return bool(len(rows) > 1 and (rows != rows[:1]).any())


def _memory(run: Run, objective: Any, loss: Any) -> list[Finding]:
    """What the first recurrent layer loses, or wins, on the way back through time."""
    if not run.facts.recurrent():
        return []
    from vgkeras import tape

    model, (x, y, weight) = objective.model, objective.batch
    log = tape.gradient_through_time(model, x, y, loss=loss, sample_weight=weight)
    (measured,) = runs(log)
    return [f for f in through_states(run, measured.states) if f.margin > 0][:1]
