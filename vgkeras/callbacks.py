"""GradientLogger: the gradients of `model.fit`, as the training step computed them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras._capture import Capture, Fetched, Site, replaced
from vgkeras._checks import check_positive_int
from vgkeras._measures import MEASURES
from vgkeras._store import Series
from vgkeras.logs import LAYER_COLUMNS, RUN_COLUMNS, GradientLog, versions


class GradientLogger(keras.callbacks.Callback):
    """Logs the gradients that `model.fit` computes.

    No gradient is computed a second time: each is measured inside the training step
    that computed it, before it is clipped, and the weights after a fit are the same
    to the last bit with the logger and without it.

    Args:
        every: Log the gradients at steps 0, `every`, 2 `every`, ... A step is a batch.
        updates: Compare the weights before and after the update at every so many
            logged steps (`frozen_fraction`, `update_ratio`), or never (`None`).

    Example:
        >>> logger = vg.GradientLogger()  # doctest: +SKIP
        >>> model.fit(x, y, callbacks=[logger])  # doctest: +SKIP
        >>> logger.log.layers  # doctest: +SKIP
    """

    def __init__(self, every: int = 1, *, updates: int | None = 10) -> None:
        super().__init__()
        self._every = check_positive_int("every", every)
        self._updates = (
            None if updates is None else check_positive_int("updates", updates)
        )
        self._capture: Capture | None = None
        self._fit: _Fit | None = None
        self._epochs: list[list[int]] = []
        self._losses = Series()
        self._rows: dict[int, tuple[Site, Series]] = {}

    # --- What Keras calls ------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        if self._capture is None:
            self._capture = Capture(self.model, self._every, self._updates)
        if self._fit is None:
            self._fit = _Fit(self.model, self._capture, self._collect)
        self._fit.begin()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epochs.append([epoch, self._capture.steps])

    def on_train_end(self, logs: Any = None) -> None:
        self._fit.end()
        self._collect()

    # --- What was logged -------------------------------------------------------------

    @property
    def log(self) -> GradientLog:
        """What was logged so far, also while `fit` runs.

        Raises:
            RuntimeError: If no step was logged yet.
        """
        if self._capture is None or not self._capture.steps:
            raise RuntimeError(
                "No training step was logged yet. Call "
                "`model.fit(..., callbacks=[logger])` first."
            )
        self._collect()
        return GradientLog(
            runs=self._run_row(),
            losses=self._loss_rows(),
            layers=self._layer_rows(),
            metadata=self._metadata(),
        )

    def _collect(self) -> None:
        """Fetches what the training steps have left for the host."""
        fetched: Fetched = self._capture.fetch()
        if fetched.losses is not None:
            self._losses.add(fetched.steps, fetched.losses)
        for site, steps, rows in fetched.rows:
            self._rows.setdefault(id(site), (site, Series()))[1].add(steps, rows)

    def _loss_rows(self) -> pd.DataFrame:
        steps, losses = self._losses.arrays() or (np.zeros(0, int), np.zeros(0))
        return pd.DataFrame({"run": 0, "step": steps, "loss": losses})

    def _layer_rows(self) -> pd.DataFrame:
        frames = []
        for site, series in self._rows.values():
            found = series.arrays()
            if found is not None:
                frames.append(_layer_frame(site, *found))
        frame = pd.concat(frames, ignore_index=True)
        frame = frame.sort_values("step", kind="stable", ignore_index=True)
        return frame.astype({"name": "category", "kind": "category"})

    def _run_row(self) -> pd.DataFrame:
        labels = [label for site, _ in self._rows.values() for label in site.labels]
        optimizer = self.model.optimizer
        _, losses = self._losses.arrays() or (None, np.zeros(0))
        row = {
            "run": 0,
            "depth": len({layer for layer, _, _ in labels}),
            "units": 0,
            "output_units": 0,
            "scale": np.nan,
            "initializer": "",
            "optimizer": type(optimizer).__name__.lower(),
            "learning_rate": float(optimizer.learning_rate),
            "steps": self._capture.steps,
            "dtype": self.model.dtype_policy.name,
            "target": "",
            "samples": 0,
            "seed": -1,
            "loss_zero": np.nan,
            "verdict": "" if np.isfinite(losses[-1:]).all() else "diverges",
        }
        return pd.DataFrame([row])[list(RUN_COLUMNS)]

    def _metadata(self) -> dict[str, Any]:
        return {
            "origin": "measured by vgkeras.GradientLogger in model.fit",
            "versions": versions(),
            "model": self.model.name,
            "epochs": self._epochs,
            "every": self._every,
        }


class _Fit:
    """Lets `fit` run the measured train step, and afterwards the plain one again.

    A fit that is interrupted never says so. Whatever happens, the model is put back
    at the latest when Keras asks for a train function again, as each fit does.
    """

    def __init__(
        self, model: keras.Model, capture: Capture, collect: Callable[[], None]
    ) -> None:
        self._model, self._capture, self._collect = model, capture, collect
        self._plain: Any = None
        self._measured: Any = None
        self._pending = 0

    def begin(self) -> None:
        """Puts the measured train function in the place of the plain one."""
        model = self._model
        if self._measured is None or self._plain is not model.train_function:
            self._plain = model.train_function
            with replaced(model, "train_step", lambda _, own: self._capture.wrap(own)):
                model.make_train_function(force=True)
            self._measured = model.train_function
        model.train_function = self._run
        vars(model)["make_train_function"] = self._make

    def end(self) -> None:
        """Puts the plain train function back."""
        if self._model.train_function == self._run:
            self._model.train_function = self._plain
        vars(self._model).pop("make_train_function", None)

    def _run(self, iterator: Iterator[Any]) -> Any:
        model, capture = self._model, self._capture
        self._pending += model.steps_per_execution
        try:
            logs = self._measured(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            raise  # the end of the data
        except BaseException:
            self.end()
            raise
        if self._pending + model.steps_per_execution > capture.room:
            self._collect()
            self._pending = 0
        return logs

    def _make(self, force: bool = False) -> Any:
        """Another fit begins, and none has ended."""
        self.end()
        return self._model.make_train_function(force=force)


def _layer_frame(site: Site, steps: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """The rows of one site, step by step."""
    layer, name, kind = zip(*site.labels, strict=True)
    count = len(steps)
    frame = pd.DataFrame(
        {
            "run": 0,
            "step": np.repeat(steps, len(layer)),
            "layer": np.tile(layer, count),
            "name": np.tile(name, count),
            "kind": np.tile(kind, count),
        }
    )
    frame[list(MEASURES)] = rows.reshape(-1, len(MEASURES)).astype(np.float64)
    return frame.astype({"size": np.int64})[list(LAYER_COLUMNS)]
