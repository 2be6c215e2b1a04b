"""Outcomes of the runs of a log, from its losses."""

import numpy as np
import pandas as pd

from vgkeras.logs import LOSS_COLUMNS, GradientLog
from vgkeras.theory.outcomes import outcomes_by_loss


def outcomes_of_runs(losses: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Names every run of a log by its losses.

    Args:
        losses: Frame with the columns `run, step, loss`, in any order.
        runs: Frame with the columns `run` and `loss_zero`.

    Returns:
        The word of `outcomes_by_loss` for each row of `runs`, with the index of `runs`.

    Raises:
        ValueError: If a column is missing or a run has no losses.

    Example:
        >>> losses = pd.DataFrame({"run": 0, "step": [0, 1], "loss": [1.0, np.inf]})
        >>> runs = pd.DataFrame({"run": [0], "loss_zero": [1.0]})
        >>> outcomes_of_runs(losses, runs).tolist()
        ['diverges']
    """
    _check_columns("losses", losses, LOSS_COLUMNS)
    _check_columns("runs", runs, ("run", "loss_zero"))
    ends = run_ends(losses).reindex(runs["run"])
    if ends["first_step"].isna().any():
        missing = ends.index[ends["first_step"].isna()].tolist()
        raise ValueError(
            f"`losses` must have rows for every run. Received: no loss of run {missing}"
            "."
        )
    words = outcomes_by_loss(ends["first"], ends["last"], runs["loss_zero"])
    return pd.Series(words.tolist(), index=runs.index, name="outcome")


def with_outcomes(log: GradientLog) -> GradientLog:
    """Fills the column `outcome` of `log.runs` from its losses.

    Args:
        log: A log whose losses are complete.

    Returns:
        The same log with new outcomes; its theory keeps its own.

    Raises:
        ValueError: If a run has no losses.

    Example:
        >>> from vgkeras import predict
        >>> with_outcomes(predict(scales=[0.5], depths=[2, 50]))
        <GradientLog: 2 runs (1 trains, 1 stalls)>
    """
    outcomes = outcomes_of_runs(log.losses, log.runs)
    return log.replace(runs=log.runs.assign(outcome=outcomes))


def run_ends(losses: pd.DataFrame) -> pd.DataFrame:
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


def _check_columns(name: str, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(
            f"`{name}` must have the columns {', '.join(columns)}. "
            f"Received: {name} without {', '.join(missing)}."
        )
