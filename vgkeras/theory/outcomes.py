"""The outcome of a run, by its losses: the one definition."""

from typing import Any

import numpy as np

OUTCOMES = ("trains", "slow", "stalls", "diverges")  # from good to bad
LEARNED = 0.01  # share of the loss that may be left in a run that "trains"
FLAT = 0.9  # share of the first loss from which on a run "stalls"
EXPLODED = 1000.0  # factor on the loss beyond which a finite run "diverges"


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
        exploded = lost | (last > EXPLODED * np.maximum(first, zero))
        trained = last <= LEARNED * np.minimum(first, zero)
        flat = last >= FLAT * first
    trains, slow, stalls, diverges = OUTCOMES
    return np.select([exploded, trained, flat], [diverges, trains, stalls], slow)
