"""Causes of a run that does not learn: numbers that do no harm in a run that does."""

import math
from collections.abc import Callable

import numpy as np

from vgkeras.diagnosis.advice import REVIVE
from vgkeras.diagnosis.finding import Finding, beyond, certain
from vgkeras.diagnosis.in_time import unmeasured
from vgkeras.diagnosis.origins import SCALE_TARGETS, TANH, grows_in_time, starts_large
from vgkeras.diagnosis.run_arrays import (
    DEAD,
    IMPROVED,
    PATIENCE,
    UNSCALED,
    Run,
    Tensors,
    median,
)
from vgkeras.theory import EXPLODED

_USUAL = 1e-3  # update relative to the weights (Karpathy)
SLOW_UPDATE = 2e-4  # the same
FAST_UPDATE = 0.1  # the same: a step that moves a kernel by a tenth forgets it in ten
_JUMP = 2.0  # a late loss relative to the start; one that learns is below it
_SPENT = 0.01  # of the highest learning rate: as good as nothing
_SHORT = 0.02  # a share of the weights in all updates: no kernel has changed
_ORDER = 5.0  # variance of batch means, relative to that of shuffled batches
_LOOKS = 8  # batches that tell whether they were shuffled
_MOMENTUM = 20  # steps until a momentum of 0.9 has gathered
_DROPPED = 0.8  # fewer than one unit in five is left
_PENALTY = 0.5  # share of the loss
_LITTLE = 0.5  # what the outputs say, as cost of one answer for all inputs
_SHRUNK = -1.0  # decades by which a kernel's norm changes
_SAME = 1e-2  # spread of outputs over the batch, relative to the outputs
_SATURATING = ("tanh", "sigmoid", "hard_sigmoid", "softsign", "hard_tanh")
_DEEP = 2  # saturating layers in a row that lose little
_SCALERS = ("Normalization", "BatchNormalization", "LayerNormalization", "Rescaling")
_REGRESSION = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")


def penalty(run: Run) -> Finding | None:
    """Kernels that shrink under a penalty, and outputs that say little."""
    if not np.isfinite(run.losses).all():
        return None
    if run.late_excess > _LITTLE or len(run.losses) < PATIENCE:
        return None
    remedy = (
        "the penalty on the weights decides, not the data: use weaker regularization "
        "(L2 of 1e-5 to 1e-4) or less weight decay"
    )
    with np.errstate(all="ignore"):
        share = run.batch("penalty") / run.losses
    late = share[len(share) // 2 :]
    late = late[np.isfinite(late)]
    most = float(np.median(late)) if len(late) else 0.0
    shrunk, at = shrinkage(run)
    blind = math.isnan(run.late_excess) and run.improved
    if at is None or blind or not (most or run.facts.shrinks_weights):
        return None
    limit = _SHRUNK / 2 if most > _PENALTY else _SHRUNK
    rule = f"log10 of the kernel's norm relative to the start < {limit:g}"
    cause = ("stalled" if run.stuck else "slow", "penalty too large")
    extent = f"the penalty is {most:.0%} of the loss" if most > 0.005 else ""
    return beyond(run, *cause, rule, shrunk, remedy, at=at, extent=extent)


def shrinkage(run: Run) -> tuple[float, Tensors | None]:
    """By how many decades the kernel that shrinks most does so, and where."""
    rows = run.weights.where(np.isfinite(run.weights.log10_weight))
    kernels = run.weights.at(run.weights.step.min(initial=0)).main()
    worst, place = math.inf, None
    for name in np.unique(kernels.name.astype(str)):
        own = rows.where(rows.name == name)
        if not len(own.step):
            continue
        change = own.log10_weight[-1] - own.log10_weight[0]
        if change < worst:
            worst, place = float(change), own.where([-1])
    return worst, place


def frozen_output(run: Run) -> Finding | None:
    """A last layer that is not trained, though others are."""
    layer = run.facts.layers.get(run.facts.output, {})
    weighs = "units" in layer or "filters" in layer
    if not weighs or layer.get("trainable") is not False:
        return None
    rule = "layer that makes the output is frozen"
    remedy = "set `trainable = True` on the last layer, and compile again"
    cause = ("frozen", "frozen output")
    return certain(run, *cause, rule, remedy, extent=run.facts.output)


def inputs_unscaled(run: Run) -> Finding | None:
    """Inputs far from 1, so that one rate cannot suit kernel and bias."""
    classes = [str(layer.get("class")) for layer in run.facts.layers.values()]
    first = next((c for c in classes if c not in ("Reshape", "Dropout")), "")
    if run.facts.has("Embedding") or first in _SCALERS:
        return None
    remedy = (
        "scale the inputs to a mean of 0 and a variance of 1 (`keras.layers."
        "Normalization`, or divide images by 255)"
    )
    cause = ("stalled", "inputs not scaled")
    if math.isfinite(run.first_rms("input")):
        rule = f"root mean square of the inputs > {UNSCALED:g}"
        return beyond(run, *cause, rule, run.first_rms("input"), remedy)
    ratio, at = _kernel_to_bias(run)
    rule = f"kernel gradient relative to that of the bias > {UNSCALED:g}"
    return None if at is None else beyond(run, *cause, rule, ratio, remedy, at=at)


def _kernel_to_bias(run: Run) -> tuple[float, Tensors | None]:
    """Root mean squares of the first kernel's and bias' gradients: that of an input."""
    rows = run.weights.where(run.weights.step == run.weights.step.min(initial=0))
    rows = rows.where(rows.layer == rows.layer.min(initial=1)).finite()
    names = [str(name).rpartition("/")[2] for name in rows.name]
    if sorted(names) != ["bias", "kernel"]:
        return math.nan, None
    kernel, bias = (
        rows.where([names.index("kernel")]),
        rows.where([names.index("bias")]),
    )
    with np.errstate(all="ignore"):
        inputs = 0.5 * np.log10(kernel.size[0] / bias.size[0])
    decades = kernel.log10_norm[0] - bias.log10_norm[0] - inputs
    return float(10 ** min(decades, 300.0)), kernel


def unscaled_targets(run: Run) -> Finding | None:
    """Targets far from what a fresh network puts out."""
    name = run.facts.loss_name
    regression = name in _REGRESSION or bool(run.facts.loss.get("own"))
    if not regression:
        return None
    cause = ("stalled", "targets not scaled")
    if run.fall > 1 - IMPROVED:  # their mean was no obstacle
        what, size = "standard deviation", run.first_batch("target_std")
    else:
        what, size = "root mean square", run.first_rms("target")
    rule = f"{what} of the targets > {UNSCALED:g}"
    return beyond(run, *cause, rule, size, SCALE_TARGETS)


def dropout(run: Run) -> Finding | None:
    """Layers that drop most of what they hear."""
    layers = [
        la for la in run.facts.layers.values() if "Dropout" in str(la.get("class"))
    ]
    rates = [la.get("rate") for la in layers]
    most = max((rate for rate in rates if isinstance(rate, float)), default=math.nan)
    remedy = (
        "use dropout rates of 0.1 to 0.5: a rate is the share that is dropped, not the "
        "share that is kept"
    )
    cause = ("stalled", "dropout too strong")
    return beyond(run, *cause, f"largest dropout rate > {_DROPPED:g}", most, remedy)


def unbounded_in_time(run: Run) -> Finding | None:
    """A recurrent layer that can explode, in a run in which something did."""
    if not grows_in_time(run) or not len(run.losses):
        return None
    threw = run.losses.max() > abs(median(run.losses)) * EXPLODED
    if not (threw or starts_large(run)):
        return None
    rule = "state of a recurrent layer has no bound, and a loss or a gradient was huge"
    return certain(run, "exploding", "growth in time", rule, TANH)


def unordered(run: Run) -> Finding | None:
    """Batches that differ more from each other than shuffled ones would.

    A loss that falls says little if most batches hold one target each.
    """
    count = run.batch("samples")
    means, within = run.batch("target_code"), run.batch("target_code_std") ** 2
    taken = np.isfinite(means) & np.isfinite(within) & (count > 1)
    if taken.sum() < _LOOKS:
        return None
    between = float(np.var(means[taken]))
    everything = between + float(np.mean(within[taken]))
    pure = np.median(within[taken]) <= 1e-12 * everything
    if everything <= 0 or (run.improved and not pure):
        return None
    ratio = float(np.median(count[taken])) * between / everything
    rule = f"variance of the targets' batch means, relative to shuffled > {_ORDER:g}"
    remedy = (
        "shuffle the data before it is cut into batches (`shuffle=True`, or "
        "`dataset.shuffle` with a buffer of all samples): each batch holds targets of "
        "one kind, in order"
    )
    return beyond(run, "stalled", "batches not shuffled", rule, ratio, remedy)


def rate_too_high(run: Run) -> Finding | None:
    """Steps that throw the weights about, or have thrown them where nothing moves."""
    return (_large_steps(run) if run.facts.known else None) or _jumps(run)


def _large_steps(run: Run) -> Finding | None:
    """The first steps, relative to the weights, until momentum has gathered."""
    rows = run.weights.main().moved()
    rows = rows.where(~rows.are_tiny())  # from 0 any step is large
    if not len(rows.step):
        return None
    steps = np.unique(rows.step)
    steps = steps[steps <= steps[0] + _MOMENTUM]
    medians = [float(np.median(rows.at(step).update_ratio)) for step in steps]
    worst = int(np.argmax(medians))
    at = rows.at(steps[worst])
    at = at.where([int(np.argmax(at.update_ratio))])
    first = next((m for m in medians if m > FAST_UPDATE), FAST_UPDATE)
    times = _power_near(first / _USUAL)  # later ones follow from it
    remedy = (
        f"use a learning rate about {times:g} times smaller: a usual step moves a "
        "kernel by a thousandth of its norm"
    )
    rule = f"update relative to the weights (median of kernels) > {FAST_UPDATE:g}"
    cause = ("stalled", "learning rate too high")
    return beyond(run, *cause, rule, medians[worst], remedy, at=at)


def _jumps(run: Run) -> Finding | None:
    """A loss that is thrown far above its start again and again."""
    late = run.losses[len(run.losses) // 2 :]
    if len(run.losses) < PATIENCE or not (run.start > 0 and np.isfinite(late).all()):
        return None
    remedy = (
        "use a smaller learning rate, a tenth of it or less: steps that are too large "
        "throw the weights over the minimum, and the loss up and down"
    )
    start = median(run.losses[:10])
    rule = f"loss, a tenth of the late steps, relative to the start > {_JUMP:g}"
    high = float(np.quantile(late, 0.9)) / start
    return beyond(run, "stalled", "learning rate too high", rule, high, remedy)


def rate_too_low(run: Run) -> Finding | None:
    """A loss that falls steadily and too slowly, by steps that are small."""
    if run.improved or len(run.losses) < PATIENCE or not run.still_falls:
        return None
    largest = _largest_update(run)
    remedy = (
        f"{_larger_rate(largest)}, or more steps: the loss falls steadily, but slowly"
    )
    rule = f"update relative to the weights (largest of kernels) < {SLOW_UPDATE:g}"
    cause = ("slow", "learning rate too low")
    return beyond(run, *cause, rule, largest, remedy)


def barely_moves(run: Run) -> Finding | None:
    """Steps so small that nothing has changed yet, the loss included."""
    if len(run.losses) < PATIENCE:
        return None
    largest = _largest_update(run)
    way = largest * float(run.steps[-1] - run.steps[0] + 1)
    rule = f"way of the weights relative to them (longest of kernels) < {_SHORT:g}"
    cause = ("stalled", "learning rate too low")
    return beyond(run, *cause, rule, way, _larger_rate(largest))


def rate_fades(run: Run) -> Finding | None:
    """A schedule that has come to its end before anything was learned."""
    rates = run.batch("learning_rate")
    if len(rates) < 2 * PATIENCE:
        return None
    highest = rates.max(initial=0.0, where=np.isfinite(rates))
    spent = rates < _SPENT * highest
    spent[: int(np.argmax(rates == highest))] = False  # a warm-up
    begin = int(np.argmax(spent))
    if not spent.any() or not spent[begin:].all():
        return None
    remedy = (
        "let the learning rate fall more slowly: a schedule counts steps, not epochs "
        "(`decay_steps`)"
    )
    rule = f"number of steps to a hundredth of the highest rate < {PATIENCE:g}"
    return beyond(run, "stalled", "learning rate too low", rule, begin, remedy)


def _larger_rate(largest: float) -> str:
    return f"use a larger learning rate, about {_power_near(_USUAL / largest):g} times"


def _power_near(times: float) -> float:
    """The nearest power of ten, as advice has no more digits; NaN of NaN."""
    return float(10 ** np.ceil(np.log10(times) - 0.5))


def _largest_update(run: Run) -> float:
    """The usual update relative to the weights, of the kernel of the largest; or NaN.

    0 counts for none: it was not compared, or stands for another fault.
    """
    rows = run.weights.main().moved()
    layers = [
        np.median(rows.update_ratio[rows.layer == n]) for n in np.unique(rows.layer)
    ]
    return float(np.max(layers)) if layers else math.nan


def dying(run: Run) -> Finding | None:
    """A layer most of which had a gradient at first, and has none any more."""
    if run.improved or len(run.losses) < PATIENCE:
        return None
    rows = run.weights.main()
    rows = rows.where(np.isfinite(rows.zero_fraction) & np.isfinite(rows.log10_norm))
    worst, place = 0.0, None
    for layer in np.unique(rows.layer):
        own = rows.where(rows.layer == layer)
        alive = 1 - own.zero_fraction
        died = 1 - float(np.median(alive[-len(alive) // 3 :])) / max(alive[0], 1e-9)
        if died > worst:
            worst, place = died, own.where([-1])
    unscaled = inputs_unscaled(run)
    cause, remedy = (unscaled.cause, unscaled.remedy) if unscaled else ("", REVIVE)
    rule = f"share of a kernel whose gradient became exactly zero > {DEAD:g}"
    return beyond(run, "dead units", cause, rule, worst, remedy, at=place)


def lost_signal(run: Run) -> Finding | None:
    """Outputs that hardly depend on the input, from the first step to the last."""
    if run.facts.recurrent():
        return None  # which is lost in time, or in padding
    spread, scale = run.batch("output_spread"), _output_scale(run)
    with np.errstate(all="ignore"):
        share = spread / scale
    share = share[np.isfinite(share)]
    if len(share) < 3:
        return None
    remedy = (
        "what tells inputs apart is lost on the way forward: let every layer keep its "
        "norm (He or orthogonal initial weights, normalization, residual connections, "
        "ReLU in place of sigmoid)"
    )
    rule = f"spread of the outputs over the batch, relative to them < {_SAME:g}"
    cause = ("vanishing", "signal lost on the way forward")
    return beyond(run, *cause, rule, float(share.max()), remedy)


def _output_scale(run: Run) -> np.ndarray:
    return np.maximum(np.abs(run.batch("output_min")), np.abs(run.batch("output_max")))


def saturation(run: Run) -> Finding | None:
    """Many saturating layers in a row; how far they saturate is not in this log."""
    count = sum(name in _SATURATING for name in run.facts.activations())
    if run.facts.recurrent() or run.facts.normalizes:
        return None
    remedy = (
        "saturated layers pass no error back: use ReLU, variance-scaled initial "
        "weights (Glorot for tanh) or normalization between them; log all `kinds` to "
        "see where the signal is lost"
    )
    rule = f"number of saturating layers (tanh, sigmoid) > {_DEEP}"
    return beyond(run, "vanishing", "saturation", rule, count, remedy)


SUSPECTS: tuple[Callable[[Run], Finding | None], ...] = (
    frozen_output,
    inputs_unscaled,
    unscaled_targets,
    unbounded_in_time,
    rate_too_high,
    rate_fades,
    dropout,
)
ALWAYS: tuple[Callable[[Run], Finding | None], ...] = (
    unordered,
    penalty,
    rate_too_low,
    dying,
)
POSSIBILITIES: tuple[Callable[[Run], Finding | None], ...] = (
    lost_signal,
    saturation,
    unmeasured,
    barely_moves,
)
