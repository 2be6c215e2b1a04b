"""Norms, and what else of a log is asked for, as scalars in Keras' `logs`."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from vgkeras.callbacks.ring_buffers import Place
from vgkeras.callbacks.step_statistics import MEASURES
from vgkeras.callbacks.writer import News

# Columns of a log, and how the names of their scalars begin.
SCALAR_COLUMNS = {
    "log10_norm": "l2_norm/grad/",  # as composer calls them; not as logarithms
    "update_ratio": "update_ratio/",
    "zero_fraction": "zero_fraction/grad/",
}
_NORM = "log10_norm"
_GLOBAL = f"{SCALAR_COLUMNS[_NORM]}global"


class Scalars:
    """Mean norms of the weight gradients over logged steps, and other such means.

    Args:
        scalars: "all", the "global" norm only, or "none".
        columns: Which of `SCALAR_COLUMNS`.
    """

    def __init__(self, scalars: str, columns: Sequence[str]) -> None:
        self._scalars, self._columns = scalars, columns
        self._names: dict[int, str] = {}
        self.epoch, self.batch = Means(), Means()

    def keep_off_the_progress_bar(self, model: keras.Model) -> None:
        """Shows the global norm there, and none of the others.

        Keras hands one dictionary to all callbacks, last to its `History` and to its
        progress bar, in this order.
        """
        history = getattr(model, "history", None)
        if self._scalars == "none" or history is None:
            return
        record = type(history).on_epoch_end

        def on_epoch_end(epoch: int, logs: Any = None) -> None:
            record(history, epoch, logs)
            self._hide(logs)

        vars(history)["on_epoch_end"] = on_epoch_end
        vars(history)["on_train_batch_end"] = lambda batch, logs=None: self._hide(logs)

    def _hide(self, logs: dict[str, Any] | None) -> None:
        prefixes = tuple(SCALAR_COLUMNS.values())
        for key in [key for key in logs or {} if key.startswith(prefixes)]:
            if logs and key != _GLOBAL:
                del logs[key]

    @np.errstate(over="ignore")
    def add(self, news: News) -> None:
        """Takes the rows of some steps."""
        joint: dict[tuple[int, int], float] = {}
        for place, steps, rows in news.rows:
            if not len(steps) or not any(place.keys):
                continue
            present = np.flatnonzero(place.keys).tolist()
            values = {c: rows[:, :, MEASURES.index(c)] for c in self._columns}
            values[_NORM] = norms = _norms(place, rows)
            for column, table in values.items():
                for row in present:
                    self._count(column, self._name(place, row), table[:, row])
            whole = np.hypot.reduce(norms[:, present], axis=1)
            for step, norm in zip(steps.tolist(), whole.tolist(), strict=True):
                key = (step, place.labels[0].update)
                joint[key] = math.hypot(joint.get(key, 0.0), norm)
        self._count(_NORM, "global", np.array(list(joint.values())))

    def _count(self, column: str, name: str, numbers: np.ndarray) -> None:
        for means in (self.epoch, self.batch):
            means.add(f"{SCALAR_COLUMNS[column]}{name}", numbers)

    def of(self, means: "Means", places: Iterable[Place]) -> dict[str, float]:
        """The scalars of an epoch or of some steps: those of the weights of `places`.

        They are the same ones each time; NaN where nothing was measured.
        """
        if self._scalars == "none":
            return {}
        if self._scalars == "global":
            return {_GLOBAL: means.of(_GLOBAL)}
        names = [
            self._name(place, row)
            for place in places
            for row, key in enumerate(place.keys)
            if key
        ]
        columns = [SCALAR_COLUMNS[column] for column in self._columns]
        keys = [f"{column}{name}" for column in columns for name in names]
        return {key: means.of(key) for key in [_GLOBAL, *keys]}

    def _name(self, place: Place, row: int) -> str:
        """What to call a variable: two of one path are told apart by a number."""
        key, base = place.keys[row], place.labels[row].name
        if key not in self._names:
            name, number, names = base, 0, set(self._names.values())
            while name in names:
                number += 1
                name = f"{base}_{number}"
            self._names[key] = name
        return self._names[key]


class Means:
    """Means of numbers by name, those that are NaN left out."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, numbers: np.ndarray) -> None:
        known = numbers[~np.isnan(numbers)].astype(np.float64)
        self._sums[name] = self._sums.get(name, 0.0) + float(known.sum())
        self._counts[name] = self._counts.get(name, 0) + len(known)

    def of(self, name: str) -> float:
        """The mean; NaN if there is no number."""
        count = self._counts.get(name, 0)
        return self._sums[name] / count if count else math.nan

    def clear(self) -> None:
        """Begins anew."""
        self._sums.clear()
        self._counts.clear()


def _norms(place: Place, rows: np.ndarray) -> np.ndarray:
    """Norms; NaN where the optimizer skips a step because they are not finite."""
    norms = 10 ** rows[:, :, MEASURES.index(_NORM)].astype(np.float64)
    if place.may_skip:
        bad = (rows[:, :, MEASURES.index("nonfinite_fraction")] > 0).any(axis=1)
        norms[bad] = np.nan
    return norms
