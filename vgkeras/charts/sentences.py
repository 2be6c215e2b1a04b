"""What became of each run, in a sentence."""

from __future__ import annotations

import math

import pandas as pd

from vgkeras.logs import GradientLog
from vgkeras.theory import run_ends


def run_sentences(log: GradientLog) -> list[str]:
    """Tells each run's outcome in a sentence, with the numbers that were measured.

    Args:
        log: A measured log; the outcome is the one in its table `runs`.

    Returns:
        A sentence or two per row of `log.runs`, in its order. Numbers are written as
        `1.5e-20`: a vanished gradient printed as 0.0000 teaches nothing.

    Example:
        >>> from vgkeras import predict
        >>> log = predict(scales=[0.5], depths=[50], units=2, steps=200)
        >>> print(run_sentences(log)[0])  # doctest: +NORMALIZE_WHITESPACE
        c = 0.5, L = 50: stalls. The loss stayed at 1.0e+00 for 200 steps, to the last
        digit; the weight gradient at the start was 2.5e-15.
    """
    ends = run_ends(log.losses)
    gradients = _first_gradients(log.layers)
    seeded = log.runs["seed"].nunique() > 1
    return [
        f"{_label(run, seeded)}: {run['outcome'] or 'no outcome'}. "
        + _told(run, ends, gradients.get(run["run"]))
        for run in log.runs.to_dict("records")
    ]


def _told(run: dict, ends: pd.DataFrame, gradients: pd.DataFrame | None) -> str:
    """What happened to the loss, to the gradient and to the weights."""
    told = "Its losses were not logged"
    if run["run"] in ends.index:
        told = _loss_told(ends.loc[run["run"]], run["steps"])
    if gradients is None or gradients["log10_norm"].isna().all():
        return f"{told}."
    told += f"; the weight gradient at the start {_gradient_told(gradients)}."
    if (gradients["frozen_fraction"] == 1).all():
        told += (
            f" Every update was rounded away: no weight changes in {run['dtype']}, "
            "in any layer."
        )
    return told


def _loss_told(ends: pd.Series, steps: int) -> str:
    if not math.isfinite(ends["first"]):
        return "The loss overflowed before the first step"
    if not math.isfinite(ends["last"]):
        return (
            f"The loss was {_number(ends['first'])} at first and overflowed at step "
            f"{int(ends['overflow'])}"
        )
    first, last = _number(ends["first"]), _number(ends["last"])
    span = f"{steps} {'step' if steps == 1 else 'steps'}"
    if first != last:
        return f"The loss went from {first} to {last} in {span}"
    if ends["first"] == ends["last"]:
        return f"The loss stayed at {first} for {span}, to the last digit"
    change = _number(abs(ends["last"] / ends["first"] - 1))
    return f"The loss stayed at {first} for {span}: it changed by {change} of itself"


def _gradient_told(gradients: pd.DataFrame) -> str:
    low, high = gradients["log10_norm"].min(), gradients["log10_norm"].max()
    if high == math.inf:
        return "overflowed"
    if high == -math.inf:
        return "was exactly zero"
    if low == -math.inf:
        return f"was exactly zero in some layers, at most {_power_of_ten(high)}"
    if high - low < 0.01:
        return f"was {_power_of_ten(high)}"
    return f"was {_power_of_ten(low)} to {_power_of_ten(high)}, by layer"


def _label(run: dict, seeded: bool) -> str:
    start = run["initializer"] or f"run {run['run']}"
    if not math.isnan(run["scale"]):
        start = f"c = {run['scale']:g}"
    seed = f", seed {run['seed']}" if seeded else ""
    return f"{start}, L = {run['depth']}{seed}"


def _number(value: float) -> str:
    return "exactly zero" if value == 0 else f"{value:.1e}"


def _power_of_ten(logarithm: float) -> str:
    """`10**logarithm` in scientific notation, also where that is no float64."""
    exponent = math.floor(logarithm)
    mantissa = f"{10 ** (logarithm - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent:+03d}"


def _first_gradients(layers: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The rows of the weight gradients at step 0, by run."""
    rows = layers[(layers["kind"] == "weight_gradient") & (layers["step"] == 0)]
    return dict(iter(rows.groupby("run")))
