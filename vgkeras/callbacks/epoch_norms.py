"""The norms of a log as scalars in Keras' `logs`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from vgkeras.callbacks.writer import Fetched
from vgkeras.logs import KINDS

_PREFIX = "l2_norm/grad/"  # as composer calls them
_GLOBAL = f"{_PREFIX}global"


class Scalars:
    """Mean norms of the weight gradients over the logged steps of an epoch.

    Args:
        which: `"all"`, `"global"` or `"none"`.
    """

    def __init__(self, which: str) -> None:
        self._which = which
        self.reset()

    def begin(self, model: keras.Model) -> None:
        """Keeps the norms of single variables off the progress bar.

        Keras hands one dictionary to all callbacks, last to its `History` and to its
        progress bar, in this order.
        """
        history = getattr(model, "history", None)
        if self._which != "all" or history is None:
            return
        record = type(history).on_epoch_end

        def on_epoch_end(epoch: int, logs: Any = None) -> None:
            record(history, epoch, logs)
            for key in set(self.means()) - {_GLOBAL}:
                (logs or {}).pop(key, None)

        vars(history)["on_epoch_end"] = on_epoch_end

    def reset(self) -> None:
        """Begins another epoch."""
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, fetched: Fetched) -> None:
        """Takes the norms of some steps."""
        norms_by_site = []
        steps = np.unique(np.concatenate([np.zeros(0, int), *_steps(fetched)]))
        for site, at, rows in fetched.rows:
            if not len(at) or site.labels[0][2] != KINDS[0]:
                continue
            with np.errstate(over="ignore"):
                norms = 10 ** rows[:, :, 0].astype(np.float64)
            for (_, name, _), column in zip(site.labels, norms.T, strict=True):
                self._count(name, column)
            at_all = np.zeros(len(steps))
            at_all[np.searchsorted(steps, at)] = _joint(norms)
            norms_by_site.append(at_all)
        if norms_by_site:
            self._count("global", _joint(np.stack(norms_by_site, axis=1)))

    def means(self) -> dict[str, float]:
        """The scalars of the epoch; those of a variable without gradient are absent."""
        if self._which == "none":
            return {}
        names = self._sums if self._which == "all" else ["global"]
        return {
            f"{_PREFIX}{name}": self._sums[name] / self._counts[name]
            for name in names
            if name in self._sums
        }

    def _count(self, name: str, norms: np.ndarray) -> None:
        if not np.isnan(norms).all():
            self._sums[name] = self._sums.get(name, 0.0) + float(norms.sum())
            self._counts[name] = self._counts.get(name, 0) + len(norms)


def _steps(fetched: Fetched) -> list[np.ndarray]:
    return [at for _, at, _ in fetched.rows]


def _joint(norms: np.ndarray) -> np.ndarray:
    """The norm of each row, NaN left out; it cannot overflow on the way."""
    known = np.nan_to_num(norms, nan=0.0, posinf=np.inf)
    largest = known.max(axis=1, initial=0.0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = known / largest
    joint = largest[:, 0] * np.sqrt((relative**2).sum(axis=1))
    return np.where(
        np.isfinite(largest[:, 0]) & (largest[:, 0] > 0), joint, largest[:, 0]
    )
