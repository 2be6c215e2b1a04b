"""What a long run has logged, in bounded memory or on disk."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import tape
from vgkeras.callbacks.ring_buffers import Place
from vgkeras.callbacks.step_statistics import MEASURES
from vgkeras.callbacks.writer import News
from vgkeras.logs import (
    CALL,
    FIT_LAYER_COLUMNS,
    FIT_LOSS_COLUMNS,
    LAYER_COLUMNS,
    LOSS_COLUMNS,
    TIME,
    GradientLog,
    load,
)

_BYTES_PER_STEP = 8  # the number of the step itself
_PART = 2**24  # bytes in memory that make a file
_LOSSES = (*LOSS_COLUMNS, *FIT_LOSS_COLUMNS, *tape.BATCH_STATISTICS)
_LAYERS = (*LAYER_COLUMNS, *FIT_LAYER_COLUMNS)
_TEXTS = ("name", "kind", "optimizer")


class Store:
    """Losses and rows of a run, in `most_bytes` of memory.

    What does not fit goes to the new folder `path`, or is thinned out without one.
    """

    def __init__(
        self, most_bytes: float, every: int, path: str | os.PathLike[str] | None
    ) -> None:
        self._most = int(most_bytes / 2)  # thinning out takes as much again
        self._every = every
        self._folder = None if path is None else _check_folder(path)
        self._losses, self._batches = Series(), Series(every)
        self._rows: dict[Any, Series] = {}

    def add(self, news: News) -> None:
        """Takes what the host has read."""
        if news.losses is not None:
            self._losses.add(news.steps, news.losses)
        self._batches.add(*news.batches)
        for place, steps, rows in news.rows:
            series = self._rows.setdefault(place, Series(self._every))
            series.add(steps, rows)
        if self._folder is None:
            self._shrink()

    def forget_losses(self) -> None:
        """Drops the losses so far: they were those of one network among others."""
        self._losses.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of memory taken."""
        return sum(series.nbytes for series in self._series())

    @property
    def is_full(self) -> bool:
        """Whether it is time to write a file."""
        return self._folder is not None and self.nbytes > min(self._most, _PART)

    def flush(self, log: Callable[[pd.DataFrame, pd.DataFrame], GradientLog]) -> None:
        """Writes what is in memory to a file of its own, and forgets it."""
        if self._folder is None or not self.nbytes:
            return
        losses, layers = self._in_memory()
        first = min(frame["step"].min() for frame in (losses, layers) if len(frame))
        self._folder.mkdir(parents=True, exist_ok=True)
        log(losses, layers).save(self._folder / f"{first:012d}.parquet")
        for series in self._series():
            series.clear()

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables `losses` and `layers` of a log."""
        files = sorted(self._folder.glob("*.parquet")) if self._folder else []
        logs = [load(file) for file in files]
        parts = [*((log.losses, log.layers) for log in logs), self._in_memory()]
        losses, layers = zip(*parts, strict=True)
        return _stacked(losses, _LOSSES), _stacked(layers, _LAYERS)

    def _in_memory(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        steps, losses = self._losses.arrays() or (np.zeros(0, int), np.zeros((0, 2)))
        columns = ["loss", *FIT_LOSS_COLUMNS]
        frame = pd.DataFrame({"run": 0, "step": steps}).assign(
            **dict(zip(columns, losses.T, strict=True))
        )
        batches = self._batches.arrays()
        if batches is not None:
            described = pd.DataFrame(batches[1], columns=list(tape.BATCH_STATISTICS))
            frame = frame.join(described.set_index(batches[0]), on="step")
        frame = frame.reindex(columns=list(_LOSSES))
        rows = [(place, series.arrays()) for place, series in self._rows.items()]
        frames = [_frame(place, *arrays) for place, arrays in rows if arrays]
        return frame, _stacked(frames, _LAYERS)

    def _series(self) -> list["Series"]:
        return [self._losses, self._batches, *self._rows.values()]

    def _shrink(self) -> None:
        """Losses and batches may take an eighth each, the rows share the rest."""
        self._losses.shrink(self._most // 8)
        self._batches.shrink(self._most // 8)
        for series in self._rows.values():
            series.shrink(self._most * 6 // 8 // len(self._rows))


class Series:
    """Arrays of one shape, one a step; thinned when they outgrow their memory.

    The newest half of the memory holds every step that was added. The other half
    holds the whole course before it: every second step, and when that is too much,
    every fourth, and so on. The first step is always among them.
    """

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self._stride = 1
        self._old: tuple[np.ndarray, np.ndarray] | None = None
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Takes the arrays `values`, shape `(len(steps), ...)`, of these steps."""
        if len(steps):
            self._new.append((steps, values))

    @property
    def nbytes(self) -> int:
        """Bytes of memory taken."""
        return sum(steps.nbytes + values.nbytes for steps, values in self._parts())

    def arrays(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Steps, in order, and their values; `None` before the first."""
        parts = list(self._parts())
        if len(parts) < 2:
            return parts[0] if parts else None
        steps, values = zip(*parts, strict=True)
        return np.concatenate(steps), np.concatenate(values)

    def clear(self) -> None:
        """Forgets everything."""
        self._old, self._new = None, []

    def shrink(self, most_bytes: int) -> None:
        """Thins out until `nbytes` is `most_bytes` or less; a few steps always stay."""
        if self.nbytes <= most_bytes:
            return
        steps = np.concatenate([steps for steps, _ in self._parts()])
        one = next(self._parts())[1][0]
        stays = self._stays(steps, max(most_bytes // (one.nbytes + _BYTES_PER_STEP), 8))
        thin = np.empty((stays.sum(), *one.shape), one.dtype)
        start = end = 0
        for part, values in self._parts():  # without a copy of everything
            few = values[stays[start : start + len(part)]]
            thin[end : end + len(few)] = few
            start, end = start + len(part), end + len(few)
        self._old, self._new = (steps[stays], thin), []

    def _stays(self, steps: np.ndarray, most: int) -> np.ndarray:
        """Which steps stay: the newest half, and of the others one in so many."""
        newest = np.arange(len(steps)) >= len(steps) - most // 2
        while True:
            stays = newest | ((steps // self._every) % self._stride == 0)
            if stays.sum() <= most * 3 // 4:
                return stays
            self._stride *= 2

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._old is not None:
            yield self._old
        yield from self._new


def _check_folder(path: str | os.PathLike[str]) -> Path:
    """Returns a new or empty folder, or raises if it holds something."""
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            "`path` must be a new or empty folder. "
            f"Received: path={str(path)!r}. Give each run a folder of its own."
        )
    return folder


def _frame(place: Place, steps: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """The rows of a place as those of a log."""
    layers, names, kinds, updates, optimizers, times, calls = zip(
        *place.labels, strict=True
    )
    count = len(steps)
    labels = {
        "run": np.zeros(count * len(layers), np.int64),
        "step": np.repeat(steps, len(layers)),
        "layer": np.tile(layers, count),
        "name": _repeated(names, count),
        "kind": _repeated(kinds, count),
        "update": np.tile(updates, count),
        "optimizer": _repeated(optimizers, count),
    }
    values = rows.reshape(-1, len(MEASURES)).T.astype(np.float64)
    frame = pd.DataFrame({**labels, **dict(zip(MEASURES, values, strict=True))})
    frame = frame.astype({"size": np.int64})[list(_LAYERS)]
    some = {name: own for name, own in {TIME: times, CALL: calls}.items() if any(own)}
    return frame.assign(**{name: np.tile(own, count) for name, own in some.items()})


def _repeated(texts: tuple[str, ...], count: int) -> pd.Categorical:
    """`texts` over and over, without a copy of each."""
    once = pd.Categorical(texts, categories=list(dict.fromkeys(texts)))
    return pd.Categorical.from_codes(np.tile(once.codes, count), dtype=once.dtype)


def _stacked(frames: Sequence[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    """One table of many, in the order of steps."""
    full = [frame for frame in frames if len(frame)]
    if not full:
        return frames[0] if frames else pd.DataFrame(columns=list(columns))
    for text in set(_TEXTS) & set(columns):  # concat drops categories that differ
        parts = [frame[text].astype("category") for frame in full]
        names = pd.api.types.union_categoricals(parts).dtype
        full = [frame.assign(**{text: frame[text].astype(names)}) for frame in full]
    table = pd.concat(full, ignore_index=True)
    for column in {TIME, CALL} & set(table):  # not every kind has them
        table[column] = table[column].fillna(0).astype(np.int64)
    return table.sort_values("step", kind="stable", ignore_index=True)
