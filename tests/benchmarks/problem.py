"""The one job every peer does, and the log every peer ends in."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog
from vgkeras.theory import make_data

STATISTICS = LAYER_COLUMNS[5:-1]  # log10_norm ... update_ratio


@dataclass(frozen=True)
class Problem:
    """A sweep: one run per scale and depth, the depth running fastest."""

    scales: tuple[float, ...] = (0.5, 0.9, 1.5)
    depths: tuple[int, ...] = (2, 5, 10, 20, 50, 100, 152)
    units: int = 2
    samples: int = 64
    steps: int = 50
    learning_rate: float = 0.01

    @property
    def runs(self) -> list[tuple[float, int]]:
        return [(scale, depth) for scale in self.scales for depth in self.depths]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Whitened inputs, shape `(samples, units)`, and equal targets, float32."""
        x, y = make_data("identity", self.units, self.samples, seed=0)
        return x.astype("float32"), y.astype("float32")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Problem:
        fields = json.loads(text)
        return cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        )


class Recorder:
    """Arrays that a peer fills, and the log that they become.

    `losses` has the shape `(runs, steps + 1)`; `statistics`, of the shape
    `(7, 3, runs, steps + 1, deepest)`, holds the columns of `STATISTICS` for each
    of `KINDS`. Layers that a run does not have are never looked at, and the last
    two columns stay NaN for activations.
    """

    def __init__(self, problem: Problem) -> None:
        runs, logged = len(problem.runs), problem.steps + 1
        shape = (len(STATISTICS), len(KINDS), runs, logged, max(problem.depths))
        self.problem = problem
        self.losses = np.full((runs, logged), np.nan)
        self._shape = shape

    @functools.cached_property
    def statistics(self) -> np.ndarray:
        return np.full(self._shape, np.nan, "float32")

    def to_log(self) -> GradientLog:
        return GradientLog(self._runs(), self._losses(), self._layers())

    def without_layers(self) -> GradientLog:
        layers = pd.DataFrame(columns=list(LAYER_COLUMNS))
        return GradientLog(self._runs(), self._losses(), layers)

    def _runs(self) -> pd.DataFrame:
        p, y = self.problem, self.problem.data()[1]
        zero = float(np.mean(np.square(y, dtype="float64")))
        fixed = dict(
            units=p.units, output_units=p.units, initializer="identity",
            optimizer="sgd", learning_rate=p.learning_rate, steps=p.steps,
            dtype="float32", target="identity", samples=p.samples, seed=0,
            loss_zero=zero,
        )  # fmt: skip
        rows = [
            dict(run=run, scale=scale, depth=depth, **fixed,
                 outcome=_outcome(self.losses[run, 0], self.losses[run, -1], zero))
            for run, (scale, depth) in enumerate(p.runs)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _losses(self) -> pd.DataFrame:
        run, step = np.indices(self.losses.shape).reshape(2, -1)
        return pd.DataFrame({"run": run, "step": step, "loss": self.losses.ravel()})

    def _layers(self) -> pd.DataFrame:
        # Rows in the order run, step, kind, layer; only layers that the run has.
        values = self.statistics.transpose(0, 2, 3, 1, 4)
        depths = np.array([depth for _, depth in self.problem.runs])
        exists = np.arange(values.shape[-1]) < depths[:, None, None, None]
        places = np.flatnonzero(np.broadcast_to(exists, values.shape[1:]))
        run, step, kind, layer = np.unravel_index(places, values.shape[1:])
        names = [f"dense_{index + 1}" for index in range(values.shape[-1])]
        table: dict[str, Any] = {
            "run": run,
            "step": step,
            "layer": layer + 1,
            "name": pd.Categorical.from_codes(layer, names),
            "kind": pd.Categorical.from_codes(kind, KINDS),
        }
        for column, array in zip(STATISTICS, values, strict=True):
            table[column] = array.reshape(-1)[places].astype("float64")
        return pd.DataFrame(table, copy=False)


def _outcome(first: float, last: float, zero: float) -> str:
    if not np.isfinite(last) or last > 1000 * max(first, zero):
        return "diverges"
    if last <= 0.01 * min(first, zero):
        return "trains"
    return "stalls" if last >= 0.9 * first else "slow"
