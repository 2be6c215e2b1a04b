"""In how many runs theory names the outcome that was measured, and why not in all."""

from typing import NamedTuple

import pandas as pd

from vgkeras.logs import GradientLog
from vgkeras.theory.edges import FACTORS
from vgkeras.theory.stability import bottom_sharpness


class Agreement(NamedTuple):
    """In how many runs theory names the outcome that was measured.

    Args:
        same: Runs whose predicted outcome is the measured one.
        runs: Runs that theory speaks of.
        stable_same: Of `same`, those below.
        stable_runs: Runs whose solution is stable, as `stable_learning_rate` has it:
            their outcome does not hang on the last step.
    """

    same: int
    runs: int
    stable_same: int
    stable_runs: int

    def __str__(self) -> str:
        if not self.runs:
            return "Theory says nothing about these runs."
        return f"Theory names the outcome of {self.same:,} of {self.runs:,} runs."

    def why(self) -> str:
        """Why the others differ, in a sentence; empty if none does."""
        stable = self.stable_runs - self.stable_same
        restless = self.runs - self.same - stable
        words = []
        if restless:
            words.append(
                f"Theory differs in {restless:,} {_runs(restless)} where the bottom of "
                "the valley is unstable: the loss goes up and down for ever, and "
                "rounding decides where it stands at the last step."
            )
        if stable:
            words.append(
                f"Theory differs in {stable:,} stable {_runs(stable)}, by the number "
                "format: it does not round."
            )
        return " ".join(words)


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"


def agreement(log: GradientLog) -> Agreement:
    """Counts the runs in which theory and measurement agree.

    Args:
        log: A measured log with its theory, as `sweep` returns it.

    Returns:
        The four counts; all 0 if there is no theory.

    Example:
        >>> from vgkeras import predict
        >>> log = predict([0.5, 1.5], [2, 50], steps=100)
        >>> agreement(log.replace(theory=log))
        Agreement(same=4, runs=4, stable_same=4, stable_runs=4)
    """
    if log.theory is None:
        return Agreement(0, 0, 0, 0)
    cells = map_cells(log)
    cells = cells[cells["predicted"].ne("") & cells["predicted"].notna()]
    same, stable = cells["outcome"] == cells["predicted"], _is_stable(cells)
    return Agreement(
        int(same.sum()), len(cells), int((same & stable).sum()), int(stable.sum())
    )


def map_cells(log: GradientLog) -> pd.DataFrame:
    """The runs, with what theory predicts for each (NaN where it says nothing)."""
    columns = [
        "run",
        "scale",
        "depth",
        "learning_rate",
        "output_units",
        "target",
        "outcome",
    ]
    cells = log.runs[columns].copy()
    predicted = pd.Series(dtype="object")
    if log.theory is not None:
        predicted = log.theory.runs.set_index("run")["outcome"]
    return cells.assign(predicted=cells["run"].map(predicted))


def _is_stable(cells: pd.DataFrame) -> pd.Series:
    """Whether a run that gets to its solution stays there."""
    m = cells["target"].map(FACTORS).astype("float64").fillna(1.0)
    rate = cells["learning_rate"] * 2 / cells["output_units"]
    return rate * bottom_sharpness(cells["depth"], m) < 2
