"""The norms of a log as scalars in Keras' `logs`."""

from typing import Any

import keras
import numpy as np

from vgkeras.callbacks.writer import News
from vgkeras.logs import KINDS

_PREFIX = "l2_norm/grad/"  # as composer calls them
_GLOBAL = f"{_PREFIX}global"


class EpochNorms:
    """Mean norms of the weight gradients over the logged steps of an epoch."""

    def __init__(self, scalars: str) -> None:
        self._scalars = scalars
        self.reset()

    def begin(self, model: keras.Model) -> None:
        """Keeps the norms of single variables off the progress bar.

        Keras hands one dictionary to all callbacks, last to its `History` and to its
        progress bar, in this order.
        """
        history = getattr(model, "history", None)
        if self._scalars != "all" or history is None:
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

    @np.errstate(over="ignore")
    def add(self, news: News) -> None:
        """Takes the norms of some steps."""
        sites = [
            (place.labels, steps, 10 ** rows[:, :, 0].astype(np.float64))
            for place, steps, rows in news.rows
            if len(steps) and place.labels[0].kind == KINDS[0]
        ]
        if not sites:
            return
        all_steps = np.unique(np.concatenate([steps for _, steps, _ in sites]))
        joint = np.zeros(len(all_steps))
        for labels, steps, norms in sites:
            for label, column in zip(labels, norms.T, strict=True):
                self._count(label.name, column)
            at = np.searchsorted(all_steps, steps)
            present = np.nan_to_num(norms, nan=0.0, posinf=np.inf)
            joint[at] = np.hypot(joint[at], np.hypot.reduce(present, axis=1))
        self._count("global", joint)

    def means(self) -> dict[str, float]:
        """The scalars of the epoch; those of a variable without gradient are absent."""
        if self._scalars == "none":
            return {}
        names = self._sums if self._scalars == "all" else ["global"]
        return {
            f"{_PREFIX}{name}": self._sums[name] / self._counts[name]
            for name in names
            if name in self._sums
        }

    def _count(self, name: str, norms: np.ndarray) -> None:
        if not np.isnan(norms).all():
            self._sums[name] = self._sums.get(name, 0.0) + float(norms.sum())
            self._counts[name] = self._counts.get(name, 0) + len(norms)
