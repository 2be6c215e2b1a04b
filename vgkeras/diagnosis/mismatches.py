"""Causes that are certain whatever the loss does: parts that do not fit together."""

import math
from collections.abc import Callable

import numpy as np

from vgkeras.diagnosis.finding import Finding, beyond, certain
from vgkeras.diagnosis.origins import epsilon_remedy, epsilon_rounds_away
from vgkeras.diagnosis.run_arrays import Run
from vgkeras.diagnosis.suspects import shrinkage
from vgkeras.theory import EXPLODED

# What an activation can put out.
_RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
    "exponential": (0.0, math.inf),
}
_ROUNDING = 1e-3  # of labels that were smoothed
_SPARSE = ("sparse_categorical_crossentropy",)
_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
_CATEGORICAL = ("categorical_crossentropy", "categorical_focal_crossentropy")
_PROBABILITIES = (*_SPARSE, *_BINARY, *_CATEGORICAL, "kl_divergence")


def nothing_trained(run: Run) -> Finding | None:
    """No variable is trained: the model stays as it is."""
    silent = not len(run.weights.step) and len(run.losses) > 1
    if not (run.facts.nothing_trainable or (silent and run.facts.frozen_layers)):
        return None
    names = run.facts.frozen_layers
    listed = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
    remedy = (
        "set `trainable = True` on the layers that are to learn, at least on the last "
        "one, and compile again"
    )
    rule = "model has no variable that is trained"
    extent = listed and f"frozen: {listed}"
    return certain(run, "frozen", "nothing is trained", rule, remedy, extent=extent)


def uphill(run: Run) -> Finding | None:
    """Steps along the gradient, not against it, or a loss without a lower end."""
    remedy = (
        "look for a wrong sign: the update follows the gradient uphill (a negative "
        "learning rate, gradients added to the weights, a loss of the wrong sign)"
    )
    cause = ("exploding", "uphill")
    rate = float(run.row["learning_rate"])
    if finding := beyond(run, *cause, "learning rate < 0", rate, remedy):
        return finding
    looks = run.weights.main()
    looks = looks.where(np.isfinite(looks.cosine))
    decays = shrinkage(run)[0] < -0.5  # weight decay goes its own way
    if len(np.unique(looks.step)) > 2 and not (run.improved or decays):
        rule = "median cosine of update and gradient > 0.1"
        if finding := beyond(run, *cause, rule, float(np.median(looks.cosine)), remedy):
            return finding
    if not run.facts.loss.get("own") or not len(run.losses):
        return None
    scale = abs(run.first) * EXPLODED
    rule = f"last loss relative to the start < {-EXPLODED:g}"
    measured = run.last / abs(run.first) if 0 < scale < math.inf else math.nan
    return beyond(run, *cause, rule, measured, remedy)


def labels_outside(run: Run) -> Finding | None:
    """Labels that the loss has no meaning for, though it may stay finite."""
    loss = run.facts.loss_name
    least, highest = _extremes(run, "target")
    cause = (_regime(run), "labels outside the loss")
    if loss in _BINARY:
        limits = (0.0, 1.0)
        remedy = (
            "binary crossentropy takes labels of 0 to 1: for more classes use a "
            "softmax unit each and sparse categorical crossentropy, for other numbers "
            "a linear output and mse"
        )
        if highest <= 1:
            remedy = (
                "binary crossentropy takes labels of 0 and 1: make them of -1 and 1 by "
                "`(y + 1) / 2`"
            )
    elif loss in _SPARSE and run.facts.output_units:
        limits = (0.0, run.facts.output_units - 1.0)
        remedy = "number the labels from 0, and give the last layer a unit for each"
    elif loss in (*_CATEGORICAL, "kl_divergence"):
        limits = (0.0, 1.0)
        remedy = (
            "this loss takes targets that are probabilities: one-hot labels, or use "
            "sparse categorical crossentropy for integer labels"
        )
    elif loss == "poisson":
        limits = (0.0, math.inf)
        remedy = "a Poisson loss takes targets that are counts; use mse for others"
    else:
        return None
    if highest > limits[1] + _ROUNDING:
        rule = f"largest label > {limits[1]:g}"
        return beyond(run, *cause, rule, highest, remedy)
    if least < limits[0] - _ROUNDING:
        rule = f"smallest label < {limits[0]:g}"
        return beyond(run, *cause, rule, least, remedy)
    return None


def targets_outside(run: Run) -> Finding | None:
    """Targets that the last activation cannot put out, by much."""
    activation = run.facts.output_activation
    if activation not in _RANGES or run.facts.loss_name in (*_SPARSE, *_BINARY):
        return None
    floor, ceiling = _RANGES[activation]
    least, highest = _extremes(run, "target")
    slack = 0.5 * run.first_batch("target_std")
    remedy = (
        f"use a linear output: {activation} never leaves "
        f"{floor:g} to {_end(ceiling)}; or scale the targets into that range"
    )
    cause = (_regime(run), "targets outside the output")
    if highest > ceiling + slack:
        return beyond(run, *cause, f"largest target > {ceiling:g}", highest, remedy)
    if least < floor - slack:
        return beyond(run, *cause, f"smallest target < {floor:g}", least, remedy)
    return None


def no_probabilities(run: Run) -> Finding | None:
    """Outputs below 0 or above 1 in a loss that takes them for probabilities."""
    loss, activation = run.facts.loss_name, run.facts.output_activation
    logits = run.facts.loss.get("from_logits")
    if loss not in _PROBABILITIES or logits or activation in ("softmax", "sigmoid"):
        return None
    right = "sigmoid" if loss in _BINARY else "softmax"
    remedy = (
        f"give the last layer a {right} activation, or, if it is linear, tell the loss "
        "that its outputs are logits (`from_logits=True`)"
    )
    least, highest = _extremes(run, "output")
    cause = (_regime(run), "no probabilities")
    over = beyond(run, *cause, "largest output > 1.01", highest, remedy)
    return over or beyond(run, *cause, "smallest output < -0.01", least, remedy)


def no_logits(run: Run) -> Finding | None:
    """Outputs taken for logits that cannot be any number, or are probabilities."""
    return _bounded_logits(run) or _probable_logits(run)


def _bounded_logits(run: Run) -> Finding | None:
    """Logits behind an activation that keeps them in a range.

    Of a sigmoid before a binary loss Keras takes the logits by itself, and warns.
    """
    loss, activation = run.facts.loss_name, run.facts.output_activation
    asked = loss in (*_SPARSE, *_CATEGORICAL, *_BINARY)
    if not (asked and run.facts.loss.get("from_logits")) or run.learned:
        return None
    own = ("softmax", "sigmoid") if loss in _BINARY else ("softmax",)
    if activation not in _RANGES or activation in own:
        return None
    floor, ceiling = _RANGES[activation]
    rule = f"logits behind {activation} stay within {floor:g} to {_end(ceiling)}"
    remedy = "give the last layer no activation: logits may be any number"
    return certain(run, _regime(run), "no logits", rule, remedy)


def _probable_logits(run: Run) -> Finding | None:
    """Outputs that sum to 1 in a loss that makes probabilities of them once more.

    Of a softmax at the very end Keras takes the logits by itself, and warns.
    """
    several = run.facts.loss_name in (*_SPARSE, *_CATEGORICAL)
    logits = run.facts.loss.get("from_logits") and several
    if not logits or run.facts.output_activation == "softmax":
        return None
    sums = np.concatenate([run.batch("output_sum_min"), run.batch("output_sum_max")])
    sums, (least, _) = sums[np.isfinite(sums)], _extremes(run, "output")
    if not len(sums) or np.abs(sums - 1).max() > _ROUNDING or not least >= 0:
        return None
    rule = "outputs are not negative and sum to 1, and the loss takes them for logits"
    remedy = (
        "tell the loss that its outputs are probabilities (`from_logits=False`), or "
        "leave the softmax away"
    )
    return certain(run, _regime(run), "no logits", rule, remedy)


def competing_labels(run: Run) -> Finding | None:
    """Several labels at once behind a softmax, which divides 1 among them."""
    _, highest = _extremes(run, "target")
    if run.facts.output_activation != "softmax" or run.facts.loss_name in _SPARSE:
        return None
    if not highest <= 1:
        return None
    remedy = (
        "a softmax makes the labels of a sample compete: use a sigmoid activation at "
        "the output with binary crossentropy"
    )
    sums = run.batch("target_sum_max")
    most = float(np.nanmax(sums)) if np.isfinite(sums).any() else math.nan
    rule = "largest sum of a sample's targets > 1.5"
    return beyond(run, _regime(run), "labels compete", rule, most, remedy)


def single_softmax(run: Run) -> Finding | None:
    """A softmax over one unit, which is 1 whatever goes in."""
    one = run.facts.output_units == 1
    if not one or run.facts.output_activation != "softmax":
        return None
    rule = "softmax of one unit is always 1"
    remedy = "use a sigmoid activation at the output, or a unit for each class"
    return certain(run, _regime(run), "softmax of one unit", rule, remedy)


def epsilon(run: Run) -> Finding | None:
    """An optimizer that divides by an epsilon which is 0 in its format."""
    if not epsilon_rounds_away(run) or run.improved:
        return None
    rule = f"epsilon is below the smallest normal number of {run.row['dtype']}"
    cause = ("exploding", "epsilon below the format")
    return certain(run, *cause, rule, epsilon_remedy(run))


def equal_units(run: Run) -> Finding | None:
    """A layer whose units start equal, get equal gradients, and never part."""
    equal = [name for name, la in run.facts.layers.items() if la.get("equal_units")]
    if not equal:
        return None
    rows = run.weights.where([str(n).startswith(equal[0]) for n in run.weights.name])
    rule = "initial weights of all units are equal"
    remedy = (
        "use random initial weights: units that start equal get equal gradients, and "
        "never part (symmetry)"
    )
    at = rows if len(rows.step) else None
    cause = (_regime(run), "units that never part")
    return certain(run, *cause, rule, remedy, at=at, extent=f"units of {equal[0]}")


def _regime(run: Run) -> str:
    return "stalled" if run.stuck else "mismatch"


def _extremes(run: Run, what: str) -> tuple[float, float]:
    """The smallest and the largest over all looks; NaN where there are none."""
    least, highest = run.batch(f"{what}_min"), run.batch(f"{what}_max")
    least, highest = least[np.isfinite(least)], highest[np.isfinite(highest)]
    if not len(least) or not len(highest):
        return math.nan, math.nan
    return float(least.min()), float(highest.max())


def _end(ceiling: float) -> str:
    return "infinity" if math.isinf(ceiling) else f"{ceiling:g}"


MISMATCHES: tuple[Callable[[Run], Finding | None], ...] = (
    nothing_trained,
    uphill,
    epsilon,
    equal_units,
    single_softmax,
    labels_outside,
    no_probabilities,
    no_logits,
    competing_labels,
    targets_outside,
)
