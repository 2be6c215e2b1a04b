"""Verdicts on measured runs, in one word or one sentence each."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from vgkeras import theory
from vgkeras.logs import LOSS_COLUMNS, GradientLog

VERDICTS = theory.VERDICTS


def run_verdict(first_loss: float, last_loss: float, loss_zero: float) -> str:
    """Names a run by its first and last loss.

    Args:
        first_loss: Loss before the first update.
        last_loss: Loss after the last update.
        loss_zero: Loss of the map that answers 0 to everything, `mean(y**2)`.

    Returns:
        `"diverges"` if a loss is not finite (a run whose *first* loss already
        overflows has no usable gradient at all) or the last one is more than 1000
        times the larger of `first_loss` and `loss_zero`; `"trains"` if the last one
        is at most 1% of the smaller of the two: a stack that shrinks a huge loss by
        collapsing to 0 has not learned; `"stalls"` otherwise.

    Raises:
        ValueError: If `loss_zero` is negative.

    Example:
        >>> run_verdict(0.5, 0.001, 1.0), run_verdict(0.5, 0.49, 1.0)
        ('trains', 'stalls')
    """
    if loss_zero < 0:
        raise ValueError(
            f"`loss_zero` must not be negative. Received: loss_zero={loss_zero!r}."
        )
    return str(theory.judge(first_loss, last_loss, loss_zero))


def run_verdicts(losses: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Names every run of a log by its losses.

    Args:
        losses: Frame with the columns `run, step, loss`, in any order.
        runs: Frame with the columns `run` and `loss_zero`.

    Returns:
        The word of `run_verdict` for each row of `runs`, with the index of `runs`.

    Raises:
        ValueError: If a column is missing or a run has no losses.

    Example:
        >>> losses = pd.DataFrame({"run": 0, "step": [0, 1], "loss": [1.0, np.inf]})
        >>> runs = pd.DataFrame({"run": [0], "loss_zero": [1.0]})
        >>> run_verdicts(losses, runs).tolist()
        ['diverges']
    """
    _check_columns("losses", losses, LOSS_COLUMNS)
    _check_columns("runs", runs, ("run", "loss_zero"))
    ends = _ends(losses).reindex(runs["run"])
    if ends["first_step"].isna().any():
        missing = ends.index[ends["first_step"].isna()].tolist()
        raise ValueError(
            f"`losses` must have rows for every run. Received: no loss of run {missing}"
            "."
        )
    words = theory.judge(ends["first"], ends["last"], runs["loss_zero"])
    return pd.Series(words.tolist(), index=runs.index, name="verdict")


def judged(log: GradientLog) -> GradientLog:
    """Fills the column `verdict` of `log.runs` from its losses.

    Args:
        log: A log whose losses are complete.

    Returns:
        The same log with new verdicts; its theory keeps its own.

    Raises:
        ValueError: If a run has no losses.

    Example:
        >>> from vgkeras import predict
        >>> judged(predict(scales=[0.5], depths=[2, 50]))
        <GradientLog: 2 runs (1 trains, 1 stalls)>
    """
    verdicts = run_verdicts(log.losses, log.runs)
    return log.replace(runs=log.runs.assign(verdict=verdicts))


def sentences(log: GradientLog) -> list[str]:
    """Tells each run's verdict in a sentence, with the numbers that were measured.

    Args:
        log: A measured log; the verdict is the one in its table `runs`.

    Returns:
        A sentence or two per row of `log.runs`, in its order. Numbers are written as
        `1.5e-20`: a vanished gradient printed as 0.0000 teaches nothing.

    Example:
        >>> from vgkeras import predict
        >>> log = predict(scales=[0.5], depths=[50], units=2, steps=200)
        >>> print(sentences(log)[0])  # doctest: +NORMALIZE_WHITESPACE
        c = 0.5, L = 50: stalls. The loss stayed at 1.0e+00 for 200 steps, to the last
        digit; the weight gradient at the start was 2.5e-15.
    """
    ends = _ends(log.losses)
    gradients = _first_gradients(log.layers)
    seeded = log.runs["seed"].nunique() > 1
    return [
        f"{_label(run, seeded)}: {run['verdict'] or 'no verdict'}. "
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


def _ends(losses: pd.DataFrame) -> pd.DataFrame:
    """First and last loss and first step without a finite loss, by run.

    Not `groupby().first()`: that skips NaN, and NaN is what a run may end in.
    """
    ordered = losses.sort_values(["run", "step"], kind="stable")
    first = ordered.drop_duplicates("run").set_index("run")
    last = ordered.drop_duplicates("run", keep="last").set_index("run")
    lost = ordered[~np.isfinite(ordered["loss"])].drop_duplicates("run")
    return pd.DataFrame(
        {
            "first_step": first["step"],
            "first": first["loss"],
            "last": last["loss"],
            "overflow": lost.set_index("run")["step"],
        }
    )


def _first_gradients(layers: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The rows of the weight gradients at step 0, by run."""
    rows = layers[(layers["kind"] == "weight_gradient") & (layers["step"] == 0)]
    return dict(iter(rows.groupby("run")))


def _check_columns(name: str, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"`{name}` must have the columns {', '.join(columns)}. "
            f"Received: {name} without {', '.join(missing)}."
        )
