"""The outcome of a run, by its losses: the one definition."""

from typing import Any

import numpy as np

OUTCOMES = ("trains", "stalls", "diverges")  # from good to bad
LEARNED = 0.01  # share of the loss that may be left in a run that "trains"
EXPLODED = 1000.0  # factor on the loss beyond which a finite run "diverges"


def outcomes_by_loss(first_loss: Any, last_loss: Any, loss_zero: Any) -> np.ndarray:
    """Names runs by their first and last loss.

    `"diverges"`: a loss is not finite, or the last one is more than 1000 times the
    larger of the first and `loss_zero`. `"trains"`: the last one is at most 1% of the
    smaller of the two. `"stalls"`: everything else. A run whose first loss already is
    not finite diverges: its very first gradient is lost.

    Args:
        first_loss: Loss before the first update, any shape.
        last_loss: Loss after the last update; broadcast.
        loss_zero: Loss of the zero map, `mean(y**2)`; broadcast.

    Returns:
        Array of the words, of the broadcast shape.

    Raises:
        ValueError: If a `loss_zero` is negative.

    Example:
        >>> outcomes_by_loss([1.0, 1.0, 1.0], [1e-3, 0.5, np.nan], 1.0).tolist()
        ['trains', 'stalls', 'diverges']
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
    trains, stalls, diverges = OUTCOMES
    return np.where(exploded, diverges, np.where(trained, trains, stalls))
