"""What helps, by cause."""

from vgkeras._text import number_of
from vgkeras.diagnosis.finding import Finding
from vgkeras.diagnosis.lines import DECADES, lines
from vgkeras.diagnosis.run_arrays import Run
from vgkeras.floats import stored_in

_GAIN = (
    "let every layer keep the norm of what it passes on (orthogonal or variance-scaled "
    "initial weights, residual connections, normalization); clipping does not help"
)
SHRINK = (
    "use smaller, variance-scaled or orthogonal initial weights, or normalization; "
    "clipping (`global_clipnorm=1`) tames the updates only"
)
_SHORTCUT = (
    "use smaller initial weights, or residual connections if normalization keeps the "
    "activations in range: it makes gradients grow on the way back; clipping "
    "(`global_clipnorm=1`) tames the updates only"
)
KEEP = (
    "let the network keep its state (an LSTM with a forget bias of about the logarithm "
    "of the number of time steps, a GRU, orthogonal recurrent weights), or shorten the "
    "way back (attention, shorter sequences, `mask_zero=True` where zeros pad them); "
    "clipping does not help"
)
TAME = (
    "clip the gradient (`global_clipnorm=1`), and use orthogonal or smaller recurrent "
    "weights"
)
CLIP = "use a smaller learning rate or clip the gradient (`global_clipnorm=1`)"
CHECK_DATA = (
    "if no other finding of this run names a cause, see that inputs and labels "
    "(targets) still belong together, then whether the model can learn one small batch "
    "by heart"
)
STALLED = f"{CHECK_DATA}; `diagnose(log, model, x, y)` looks at the data as well"
SLOW = "it needs more steps, or a larger learning rate if the loss falls steadily"
CONNECT = (
    "look for what cuts it off (`stop_gradient`, a cast to integers, `argmax`, an "
    "output without a loss), or set `trainable = False`"
)
REVIVE = (
    "see that its inputs and weights are not all 0; then use a smaller learning rate, "
    "He initial weights, or an activation that is not flat on one side "
    "(leaky ReLU, ELU)"
)
LOG_MORE = "log the losses and the weight gradients"


def advice_by_layer(regime: str, *, backward: bool) -> str:
    """Against decay or growth from layer to layer."""
    if regime == "vanishing":
        return _GAIN
    return _SHORTCUT if backward else SHRINK


def vanishing_advice(run: Run) -> str:
    """Against a small weight gradient."""
    seen = [
        line.total.min() for pair in lines(run) for line in pair if line is not None
    ]
    if seen and min(seen) > -DECADES:
        return (
            "no layer loses it, so scale the loss or the targets, or use an optimizer "
            "that divides by the rms of the gradient (Adam, with a small `epsilon`)"
        )
    return _GAIN


def underflow_advice(run: Run, *, forward: bool) -> str:
    """Against numbers below the smallest of the format."""
    dtype = str(run.row["dtype"])
    if dtype.removeprefix("mixed_") == "float16":
        wider = "bfloat16 or float32, which have the exponents for it"
        if forward:
            return f"use {wider}"
        scale = "a larger loss scale" if run.scaled else "a `LossScaleOptimizer`"
        return f"use {scale}, or {wider}"
    return f"a wider format or a scaled loss would only move the end, so {_GAIN}"


def zero_advice(run: Run, cause: str) -> str:
    """Against a gradient of exactly 0, by its cause."""
    if cause in ("forward", "backward"):
        what = "activations" if cause == "forward" else "gradients"
        advice = underflow_advice(run, forward=cause == "forward")
        smallest = f"the smallest number of {run.row['dtype']}"
        return f"the {what} slide below {smallest}; {advice}"
    if cause == "error":
        return "the loss itself has no slope here, so look at the loss and the targets"
    if cause == "branch":
        return "a factor of 0 cuts off this branch, so start it at another value"
    return (
        "see that the inputs and the weights of this layer are not all 0, and log the "
        "activations to tell dead units from underflow"
    )


def frozen_advice(finding: Finding) -> str:
    """Against updates that round away."""
    narrow = stored_in(finding.dtype).digits < 24
    wider = "keep the weights in float32 (a mixed policy does)"
    cause = wider if narrow else "find out why the gradient is this small"
    if 0 < finding.margin < 3:
        times = number_of(finding.margin)
        return f"a learning rate {times} times larger would move them, or {cause}"
    return f"no sensible learning rate makes up for this, so {cause}"
