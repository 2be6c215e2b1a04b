"""The outcome of a run, by its losses: the one definition."""

from typing import Any, NamedTuple

import numpy as np

OUTCOMES = ("trains", "slow", "stalls", "diverges")  # from good to bad
LEARNED = 0.01  # share of the loss that may be left in a run that "trains"
FLAT = 0.9  # share of the first loss from which on a run "stalls"
EXPLODED = 1000.0  # factor on the loss beyond which a finite run "diverges"


class OutcomeEdges(NamedTuple):
    """The last losses that decide about a run.

    Args:
        trains: The largest one with which it trains.
        stalls: The least one with which it stalls.
        diverges: Above this one it diverges.
    """

    trains: Any
    stalls: Any
    diverges: Any


def outcome_edges(first_loss: Any, loss_zero: Any) -> OutcomeEdges:
    """Returns the last losses at which a run's outcome changes, to draw them.

    Args:
        first_loss: Loss before the first update.
        loss_zero: Loss of the zero map, `mean(y**2)`; broadcast.

    Returns:
        1% of the smaller of the two, 90% of the first, 1000 times the larger of the
        two.

    Example:
        >>> [float(edge) for edge in outcome_edges(2.0, 1.0)]
        [0.01, 1.8, 2000.0]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        return OutcomeEdges(
            LEARNED * np.minimum(first_loss, loss_zero),
            FLAT * first_loss,
            EXPLODED * np.maximum(first_loss, loss_zero),
        )


def outcomes_by_loss(first_loss: Any, last_loss: Any, loss_zero: Any) -> np.ndarray:
    """Names runs by their first and last loss.

    - `"diverges"`: a loss is not finite, or the last one is more than 1000 times the
      larger of the first and `loss_zero`. A run whose first loss already is not finite
      diverges: its very first gradient is lost.
    - `"trains"`: the last one is at most 1% of the smaller of the two.
    - `"stalls"`: the last one is at least 90% of the first.
    - `"slow"`: everything else. It falls and is not there yet, or it goes up and down
      without settling.

    Args:
        first_loss: Loss before the first update, any shape.
        last_loss: Loss after the last update; broadcast.
        loss_zero: Loss of the zero map, `mean(y**2)`; broadcast.

    Returns:
        Array of the words, of the broadcast shape.

    Raises:
        ValueError: If a `loss_zero` is negative.

    Example:
        >>> outcomes_by_loss(1.0, [1e-3, 0.5, 0.95, np.nan], 1.0).tolist()
        ['trains', 'slow', 'stalls', 'diverges']
    """
    first, last, zero = np.broadcast_arrays(
        *(np.asarray(v, dtype=float) for v in (first_loss, last_loss, loss_zero))
    )
    if (zero < 0).any():
        raise ValueError(
            f"`loss_zero` must not be negative. Received: loss_zero={loss_zero!r}."
        )
    with np.errstate(invalid="ignore", over="ignore"):
        lost = ~np.isfinite(first) | ~np.isfinite(last)
        edges = outcome_edges(first, zero)
        cases = [lost | (last > edges.diverges), last <= edges.trains]
        cases.append(last >= edges.stalls)
    trains, slow, stalls, diverges = OUTCOMES
    return np.select(cases, [diverges, trains, stalls], slow)
