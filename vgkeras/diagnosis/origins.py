"""Where Inf and NaN come from: what was there before them tells."""

import math
from typing import NamedTuple

import numpy as np

from vgkeras.diagnosis.advice import SHRINK
from vgkeras.diagnosis.lines import DECADES, lines
from vgkeras.diagnosis.run_arrays import LARGE_UPDATE, UNSCALED, Run, Tensors
from vgkeras.floats import computed_in, stored_in

GROWTH = 2.0  # decades by which a gradient grows before it explodes
UNBOUNDED = ("relu", "linear", "elu", "leaky_relu", "selu", "softplus", "exponential")
_RECURRENT = 10  # steps in time that can make a number explode

SCALE_TARGETS = (
    "scale the targets to a mean of 0 and a variance of 1 (and its outputs back), or "
    "clip the gradient (`clipnorm=1`)"
)
TANH = (
    "use a bounded activation in the recurrent layer (tanh, its default), smaller "
    "recurrent weights (orthogonal), or clip the gradient (`clipnorm=1`)"
)
_LOSS = (
    "neither the data nor the gradients before it were large, so look at the loss "
    "itself: log(0), the root of 0, a division by 0; add an epsilon inside, or use a "
    "loss of Keras on logits"
)
_DATA_OR_LOSS = (
    "no gradient had grown before, so a smaller learning rate does not help: look for "
    "Inf or NaN in the data of this step, then for log(0), the root of 0 or a division "
    "by 0 in the loss"
)
_DERIVATIVE = (
    "the loss is finite and its derivative is not: look for the root, the norm or the "
    "logarithm of 0, or a division by 0, in the model and in the loss; add an epsilon "
    "inside"
)
_OPTIMIZER = (
    "the gradients were finite and what the optimizer made of them is not: look at the "
    "learning rate, and for a division by 0 in it (a larger `epsilon`, no inputs that "
    "are always 0)"
)
_UNMEASURED = (
    "log the weight gradients: if they grew before, use a smaller learning rate or "
    "clip the gradient; if not, look for Inf or NaN in the data and for log(0) in the "
    "loss"
)
_SLOWER = "use a smaller learning rate, or clip the gradient from the start"


class Origin(NamedTuple):
    """The cause of Inf or NaN, one of `CAUSES` or `""`, and what helps against it."""

    cause: str
    remedy: str


def origin(run: Run, step: int) -> Origin:
    """What made a number Inf or NaN, which first occurs at `step`."""
    for what in ("input", "target"):
        if _at(run, f"{what}_nonfinite", step) > 0:
            return _bad_data(f"{what}s")
    if growth(run, step) > GROWTH or _was_thrown(run, step):
        return _explosion(run)
    if _is_narrow(run):
        return _overflow(run)
    if _hears_no_numbers(run, step):
        return _bad_data("inputs")
    if _step_was_broken(run, step):
        return Origin("the optimizer", _OPTIMIZER)
    if step > 0 or math.isfinite(_at(run, "output_max", step)):
        return _without_growth(run, step)
    return _at_once(run)


def _bad_data(what: str) -> Origin:
    remedy = f"remove or replace what is Inf or NaN in the {what}: the data is bad"
    return Origin("Inf or NaN in the data", remedy)


def _hears_no_numbers(run: Run, step: int) -> bool:
    """Whether the error at the first layer is finite, and what it is multiplied by not.

    The first is the gradient of its bias, both together that of its kernel. A compiled
    ReLU makes 0 of NaN, so that the loss need not show it.
    """
    rows = run.weights.at(step)
    first = rows.where(rows.layer == rows.layer[rows.layer > 0].min(initial=10**9))
    bad = first.nonfinite_fraction > 0
    if _at(run, "input_nonfinite", step) == 0 or not bad.any() or bad.all():
        return False
    return bool(bad[np.argmax(first.size)])


def growth(run: Run, step: int) -> float:
    """Decades by which the largest gradient norm has grown before a step, or NaN."""
    rows = run.weights.where(run.weights.step < step).finite()
    if not len(rows.step):
        return math.nan
    _, begin = np.unique(rows.step, return_index=True)
    largest = np.maximum.reduceat(rows.log10_norm, begin)
    return float(largest[-5:].max() - np.median(largest))


def _was_thrown(run: Run, step: int) -> bool:
    """Whether an update before a step was many times larger than the weights.

    Or would have been, but for an optimizer that divides by an overflowed square.
    """
    rows = run.weights.where(run.weights.step < step).main()
    thrown = (rows.update_ratio > LARGE_UPDATE) & np.isfinite(rows.update_ratio)
    return bool(((thrown & ~rows.are_tiny()) | square_overflows(run, rows)).any())


def _step_was_broken(run: Run, step: int) -> bool:
    """Whether an update made Inf or NaN of weights whose gradient was finite."""
    rows = run.weights.where(run.weights.step < step).finite()
    compared = np.isfinite(rows.log10_weight)
    return bool((compared & ~np.isfinite(rows.update_ratio)).any())


def square_overflows(run: Run, rows: Tensors) -> np.ndarray:
    """Whether the square of the largest element is beyond the largest number."""
    return 2 * rows.log10_max > math.log10(stored_in(run.row["dtype"]).largest)


def _explosion(run: Run) -> Origin:
    if grows_in_time(run):
        return Origin("growth in time", TANH)
    if run.first_rms("target") > UNSCALED:
        return Origin("targets not scaled", SCALE_TARGETS)
    if starts_large(run):
        return Origin("explosion", f"the layers multiply what they hear, so {SHRINK}")
    wider = ", or bfloat16 or float32" if _is_narrow(run) else ""
    return Origin("explosion", _SLOWER + wider)


def grows_in_time(run: Run) -> bool:
    """Whether a layer's state has no bound, over steps in time enough to explode."""
    return any(
        layer["steps"] >= _RECURRENT and layer.get("activation") in UNBOUNDED
        for _, layer in run.facts.recurrent()
    )


def _overflow(run: Run) -> Origin:
    format_name = str(run.row["dtype"]).removeprefix("mixed_")
    if epsilon_rounds_away(run):
        return Origin("epsilon below the format", epsilon_remedy(run))
    remedy = (
        f"{format_name} ends at {computed_in(run.row['dtype']).largest:.2g}: scale the "
        "inputs and the targets, or use bfloat16 or float32"
    )
    return Origin("overflow of the format", remedy)


def _without_growth(run: Run, step: int) -> Origin:
    known = bool(run.batches) or run.facts.known
    own = run.facts.loss.get("own")
    if known and own is not False:
        return Origin("the loss function", _LOSS)
    if np.isfinite(run.losses[run.steps == step]).any():
        return Origin("infinite derivative", _DERIVATIVE)
    if math.isnan(growth(run, step)):
        return Origin("", _UNMEASURED)
    return Origin("", _DATA_OR_LOSS)


def _at_once(run: Run) -> Origin:
    """At step 0, before anything could grow."""
    grown = [
        line.total.max() for pair in lines(run) for line in pair if line is not None
    ]
    if grown and max(grown) > DECADES:
        return Origin("explosion", f"the layers multiply it, so {SHRINK}")
    if run.facts.loss.get("own") and math.isnan(run.first_batch("output_max")):
        remedy = (
            "look at the loss itself (log(0), the root of 0, a division by 0) and for "
            "Inf or NaN in the data; clipping cannot repair Inf"
        )
        return Origin("", remedy)
    remedy = (
        "look for Inf or NaN in the data first, then use smaller initial weights or "
        "normalization; clipping cannot repair Inf"
    )
    return Origin("", remedy)


def epsilon_rounds_away(run: Run) -> bool:
    """Whether the optimizer's epsilon is 0, or nearly, in the format of the weights."""
    epsilon = run.facts.setting("epsilon")
    stored = stored_in(run.row["dtype"])
    return epsilon is not None and 0 < epsilon < stored.smallest_normal


def epsilon_remedy(run: Run) -> str:
    """Against an epsilon that rounds to 0."""
    return (
        "the optimizer divides by a number that rounds to 0: use `epsilon=1e-4`, or "
        f"keep the weights in float32 (`mixed_{run.row['dtype']}`)"
    )


def starts_large(run: Run) -> bool:
    """Whether the first gradients of kernels are far larger than inputs and targets.

    A kernel's gradient is what it hears times an error.
    """
    rows = run.weights.where(run.weights.step == run.weights.step.min(initial=0))
    largest = rows.main().finite().log10_max
    if not len(largest):
        return False
    given = [1.0, run.first_rms("input"), run.first_rms("target")]
    return bool(largest.max() - 2 * math.log10(np.nanmax(given)) > DECADES)


def _is_narrow(run: Run) -> bool:
    return str(run.row["dtype"]).removeprefix("mixed_") == "float16"


def _at(run: Run, name: str, step: int) -> float:
    """A number of the batch of one step, or NaN."""
    values = run.batch(name)[run.steps == step]
    return float(values[0]) if len(values) else math.nan
