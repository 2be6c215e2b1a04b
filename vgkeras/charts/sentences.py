"""What became of each run, in a sentence."""

import math

import numpy as np
import pandas as pd

from vgkeras._text import counted, number, number_of, run_label
from vgkeras.logs import GradientLog
from vgkeras.theory import run_ends

_MOVED = 0.01  # share of a loss by which it rises or falls, not a rounding


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
        c = 0.5, L = 50: stalls. The loss stayed at 1 for 200 steps, to the last
        digit; the weight gradient at the start was 2.5e-15.
    """
    ends, endings = run_ends(log.losses), _endings(log)
    ends["end"] = [endings.get(run, "") for run in ends.index]
    gradients = _first_gradients(log.layers)
    seeded = log.runs["seed"].nunique() > 1
    return [
        f"{run_label(run, seed=seeded)}: {run['outcome'] or 'no outcome'}. "
        + _run_words(run, ends, gradients.get(run["run"]))
        for run in log.runs.to_dict("records")
    ]


def _run_words(run: dict, ends: pd.DataFrame, gradients: pd.DataFrame | None) -> str:
    """What happened to the loss, to the gradient and to the weights."""
    words = "Its losses were not logged"
    if run["run"] in ends.index:
        words = _loss_words(ends.loc[run["run"]], run["steps"])
    if gradients is None or gradients["log10_norm"].isna().all():
        return f"{words}."
    words += f"; the weight gradient at the start {_gradient_words(gradients)}."
    return words + _frozen_words(gradients)


def _frozen_words(gradients: pd.DataFrame) -> str:
    """What share of the weights the first update left as they were, from 1% on."""
    rows = gradients[gradients["frozen_fraction"].notna()]
    if (rows["frozen_fraction"] == 1).all():
        return " The first update moved no weight." if len(rows) else ""
    known = "size" in rows and (rows["size"] > 0).all()
    sizes = rows["size"] if known else None
    share = np.average(rows["frozen_fraction"], weights=sizes)
    if share < 0.01:
        return ""
    percent = f"{share:.0%}" if share < 0.99 else "more than 99%"
    return f" The first update left {percent} of the weights as they were."


def _loss_words(ends: pd.Series, steps: int) -> str:
    if not math.isfinite(ends["first"]):
        return "The loss overflowed before the first step"
    if not math.isfinite(ends["last"]):
        return (
            f"The loss was {number(ends['first'])} at first and overflowed at step "
            f"{int(ends['overflow'])}"
        )
    first, last = number(ends["first"]), number(ends["last"])
    span = counted(steps, "step")
    if first != last:
        return f"The loss went from {first} to {last} in {span}{ends['end']}"
    if ends["first"] == ends["last"]:
        return f"The loss stayed at {first} for {span}, to the last digit"
    change = number(abs(ends["last"] / ends["first"] - 1))
    return f"The loss stayed at {first} for {span}: it changed by {change} of itself"


def _endings(log: GradientLog) -> dict[int, str]:
    """How the loss of each run that is slow or stalls moves at its end."""
    outcomes = dict(zip(log.runs["run"], log.runs["outcome"], strict=True))
    losses = log.losses[log.losses["run"].map(outcomes).isin(["slow", "stalls"])]
    by_run = losses.sort_values("step", kind="stable").groupby("run")["loss"]
    return {
        run: _ending(own.to_numpy(), outcomes[run] == "slow") for run, own in by_run
    }


def _ending(losses: np.ndarray, slow: bool) -> str:
    """Whether the second half goes up and down; of a slow run, whether it falls."""
    end = losses[len(losses) // 2 :]
    with np.errstate(all="ignore"):
        changes = np.diff(end) / end[:-1]
    if (changes > _MOVED).any() and (changes < -_MOVED).any():
        return ", up and down without settling"
    if not slow:
        return ""
    return " and still falls" if end[-1] < end[0] * (1 - _MOVED) else " and stays there"


def _gradient_words(gradients: pd.DataFrame) -> str:
    low, high = gradients["log10_norm"].min(), gradients["log10_norm"].max()
    if high == math.inf:
        return "overflowed"
    if high == -math.inf:
        return "was exactly 0"
    if low == -math.inf:
        return f"was exactly 0 in some layers, at most {number_of(high)}"
    if high - low < 0.01:
        return f"was {number_of(high)}"
    return f"was {number_of(low)} to {number_of(high)}, by layer"


def _first_gradients(layers: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The rows of the weight gradients at step 0, by run."""
    rows = layers[(layers["kind"] == "weight_gradient") & (layers["step"] == 0)]
    return dict(iter(rows.groupby("run")))
