"""What only the model and its data can tell, beside a log of its training."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from vgkeras.diagnosis.advice import CHECK_DATA
from vgkeras.diagnosis.finding import Finding, beyond, certain
from vgkeras.diagnosis.in_time import through_states
from vgkeras.diagnosis.run_arrays import IGNORED, Run, runs
from vgkeras.diagnosis.suspects import inputs_unscaled

_DIFFERENT = 10.0  # loss in inference relative to that in training
_LEARNED = 1.0  # what one answer for all inputs would cost more, relative to the loss
_AVOIDED = 0.5  # right answers relative to those by chance
_ERRORS = 6.0  # standard errors that make a share of right answers no accident
_AVERAGES = (
    "the moving averages of the normalization lag behind: use a lower `momentum` (0.9 "
    "in place of 0.99), or train for more steps; the training itself is sound"
)
_SIGN = (
    "the outputs avoid the labels, so look for a wrong sign (a loss that is to be "
    "small where it is wrong, a metric taken for a loss) and for labels that were "
    "swapped or numbered in another order"
)
_SHAPE = (
    "give the targets the shape of the outputs (`y[:, None]`): the loss compares every "
    "output with every target"
)


def second_look(
    run: Run, model: Any, x: Any, y: Any, loss: Any, sample_weight: Any
) -> Iterator[Finding]:
    """The causes that a pass over data shows, gravest first; nothing is changed."""
    from vgkeras import tape

    objective = tape.objective_of(model, x, y, loss=loss, sample_weight=sample_weight)
    with tape.variables_restored(model):
        passes = [objective.outputs(training=training) for training in (True, False)]
        trained, used = (float(objective.loss(outputs)) for outputs in passes)
        added = sum(float(part) for part in objective.added())
        costs = [float(objective.loss(tape.mean_outputs(each))) for each in passes]
        outputs = passes[1]
        own = bool(run.facts.loss.get("own"))
        shaped = _in_shape(objective, outputs) if own else None
        other = used if shaped is None else float(shaped.loss(outputs))
    learned, worth = (
        (cost - loss) / (loss - added) if loss > added else math.inf
        for cost, loss in zip(costs, (trained, used), strict=True)
    )
    different = _moving_averages(run, trained - added, used - added, learned, worth)
    if different is not None:
        yield different
        return
    if own:  # Keras' losses see to shapes, and have their sign
        yield from _broadcast(run, used, other)
        yield from _avoided(run, objective.batch.y, outputs)
    if not (run.improved or run.stuck) and (slow := inputs_unscaled(run)) is not None:
        yield replace(slow, regime="slow")
    if run.improved or not (varies(objective.batch.y) and used > added):
        return
    rule = f"cost of one answer for all inputs, relative to the loss < {IGNORED:g}"
    ignored = beyond(
        run, "stalled", "output ignores the input", rule, worth, CHECK_DATA
    )
    if worth < 2 * IGNORED:  # what they say may be noise, learned by heart
        yield from _memory(run, objective, loss)
    if ignored is not None:
        yield ignored


def _moving_averages(
    run: Run, trained: float, used: float, learned: float, worth: float
) -> Finding | None:
    """Outputs in inference that are not those of training, because of averages.

    After the losses of both passes what one answer for all inputs would cost in them.
    """
    if not run.facts.has("BatchNormalization") or not trained > 0:
        return None
    cause = ("mismatch", "moving averages")
    if learned > _LEARNED and worth < IGNORED:
        rule = f"cost of one answer for all inputs in inference < {IGNORED:g}"
        return beyond(run, *cause, rule, worth, _AVERAGES)
    rule = f"loss in inference relative to that in training > {_DIFFERENT:g}"
    return beyond(run, *cause, rule, used / trained, _AVERAGES)


def _in_shape(objective: Any, outputs: Any) -> Any:
    """The same question with targets of one axis more, if the outputs have it."""
    batch, shape = objective.batch, getattr(outputs, "shape", ())
    if not varies(batch.y) or tuple(shape) != (*np.shape(batch.y), 1):
        return None
    return replace(objective, batch=batch._replace(y=np.asarray(batch.y)[..., None]))


def _broadcast(run: Run, used: float, shaped: float) -> Iterator[Finding]:
    """A loss that is another one once targets have the shape of the outputs."""
    unknown = math.isnan(used) and math.isnan(shaped)
    if not (unknown or math.isclose(used, shaped, rel_tol=1e-2)):
        rule = "loss changes once targets have the shape of the outputs"
        cause = ("mismatch", "targets of another shape")
        yield certain(run, *cause, rule, _SHAPE)


def _avoided(run: Run, y: Any, outputs: Any) -> Iterator[Finding]:
    """Classes that are right more seldom than by chance, by far."""
    labels, answers = _classes(y, outputs)
    count = len(labels)
    by_chance = sum(np.mean(labels == n) * np.mean(answers == n) for n in set(labels))
    error = math.sqrt(by_chance * (1 - by_chance) / count) if count else math.inf
    right = float(np.mean(labels == answers)) if count else math.nan
    if by_chance - right > _ERRORS * error:
        rule = f"share of right answers, relative to chance < {_AVOIDED:g}"
        finding = beyond(run, "exploding", "uphill", rule, right / by_chance, _SIGN)
        if finding is not None:
            yield finding


def _classes(y: Any, outputs: Any) -> tuple[np.ndarray, np.ndarray]:
    """The classes of targets and of outputs, one a sample; none where there are none.

    Outputs are probabilities: what other numbers say of a class is not known.
    """
    nothing = np.zeros(0, int), np.zeros(0, int)
    if not varies(y) or len(getattr(outputs, "shape", ())) != 2:
        return nothing
    labels, shares = np.asarray(y), np.asarray(outputs, float)
    if shares.min() < 0 or not np.allclose(shares.sum(1), 1, atol=1e-3):
        return nothing
    if labels.shape == shares.shape and (labels.sum(1) == 1).all():
        labels = labels.argmax(1)
    elif labels.size != len(labels) or labels.dtype.kind not in "iu":
        return nothing
    return labels.ravel(), shares.argmax(1)


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
