"""What recurrent networks remember: gradients through time, and tasks that need them.

Two tasks in which the end of a sequence asks for its beginning: the latch of Bengio,
Simard & Frasconi (1994) and the adding problem of Hochreiter & Schmidhuber (1997). Each
run is a real `model.fit`; `vgkeras.gradient_through_time` measures before and after.
"""

import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd

from vgkeras.logs import TIME_KINDS, GradientLog
from vgkeras.record.provenance import provenance
from vgkeras.record.resumed import record_cells
from vgkeras.tape import gradient_through_time

TASKS = ("latch", "adding")
LENGTHS = (10, 20, 50, 100, 200)
SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "units": 32,
    "batch_size": 64,
    "samples": 6400,  # of an epoch
    "epochs": 6,
    "learning_rate": 0.005,
    "clipnorm": 1.0,
}
SOLVED = 0.99  # a run ends once it reads so many of the unseen sequences
_UNSEEN, _MEASURED = 500, 32


def _simple(seed: int, recurrent: Callable) -> keras.layers.Layer:
    return keras.layers.SimpleRNN(
        SETTINGS["units"],
        kernel_initializer=_glorot(seed),
        recurrent_initializer=recurrent(seed + 1),
    )


def _gated(kind: type, seed: int, **more: Any) -> keras.layers.Layer:
    return kind(
        SETTINGS["units"],
        kernel_initializer=_glorot(seed),
        recurrent_initializer=_orthogonal(seed + 1),
        **more,
    )


_glorot = keras.initializers.GlorotUniform


def _orthogonal(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.Orthogonal(seed=seed)  # its first argument is the gain


_LSTM = keras.layers.LSTM
NETWORKS: dict[str, Callable[[int], keras.layers.Layer]] = {
    "SimpleRNN": lambda seed: _simple(seed, _glorot),
    "SimpleRNN, orthogonal": lambda seed: _simple(seed, _orthogonal),
    "LSTM, forget bias 0": lambda seed: _gated(_LSTM, seed, unit_forget_bias=False),
    "LSTM, forget bias 1": lambda seed: _gated(_LSTM, seed),
    "GRU": lambda seed: _gated(keras.layers.GRU, seed),
}


class Cell(NamedTuple):
    """One run of the recording."""

    seed: int
    task: str
    length: int
    network: str


# A whole picture first, further seeds later.
CELLS = tuple(Cell(*each) for each in product(SEEDS, TASKS, LENGTHS, NETWORKS))


def latch(
    length: int, samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of noise whose first three inputs say the class, -1 or 1.

    Args:
        length: Number of time steps, 3 or more.
        samples: Number of sequences.
        rng: Where they are drawn from.

    Returns:
        Inputs `(samples, length, 1)` and classes `(samples, 1)`.

    Reference:
        Bengio, Simard & Frasconi, 1994, IEEE Transactions on Neural Networks 5(2).
    """
    y = rng.choice([-1.0, 1.0], size=(samples, 1))
    x = rng.normal(scale=0.2, size=(samples, length, 1))
    x[:, :3, 0] += y
    return x.astype("float32"), y.astype("float32")


def adding(
    length: int, samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of numbers, of which two are marked, one in each half: add them.

    Args:
        length: Number of time steps, 2 or more.
        samples: Number of sequences.
        rng: Where they are drawn from.

    Returns:
        Inputs `(samples, length, 2)`, a number from -1 to 1 and a mark, and targets
        `(samples, 1)`: half plus a quarter of the sum of the marked numbers.

    Reference:
        Hochreiter & Schmidhuber, 1997, Neural Computation 9(8), experiment 4.
    """
    numbers = rng.uniform(-1, 1, size=(samples, length))
    marks, rows = np.zeros_like(numbers), np.arange(samples)
    marks[rows, rng.integers(0, length // 2, samples)] = 1
    marks[rows, rng.integers(length // 2, length, samples)] = 1
    y = 0.5 + (numbers * marks).sum(1, keepdims=True) / 4
    return np.stack([numbers, marks], 2).astype("float32"), y.astype("float32")


_DRAW = {"latch": latch, "adding": adding}


def share_right(task: str, y: np.ndarray, answers: np.ndarray) -> float:
    """The share of sequences that are read: the right sign, or an error below 0.04."""
    right = y * answers > 0 if task == "latch" else np.abs(y - answers) < 0.04
    return float(np.mean(right))


def record_recurrent(path: str | Path, cells: Iterable[Cell] = CELLS) -> GradientLog:
    """Trains a network for each cell, and writes the recording.

    What is there already is kept beside it, as `path` with `.part` at its end. A
    recording that was interrupted goes on from there.

    Args:
        path: Parquet file to write.
        cells: Runs to make.

    Returns:
        A `GradientLog` as `fit_recurrent` returns, of all runs. Its metadata says
        when, with which versions, settings and command it was recorded, and how many
        `seconds` of a processor that took.
    """
    return record_cells(path, cells, _fit_and_tell, _finished)


def _fit_and_tell(cell: Cell) -> GradientLog:
    log = fit_recurrent(cell)
    print(log.runs.iloc[0][[*Cell._fields, "accuracy", "steps"]].to_dict(), flush=True)
    return log


def _finished(log: GradientLog) -> GradientLog:
    """The log as it ships, with where it is from."""
    origin = {
        "origin": "measured by vgkeras.gradient_through_time around model.fit",
        **provenance("recurrent"),
        **SETTINGS,
        "seconds": round(float(log.runs["seconds"].sum())),
    }
    return log.replace(metadata=origin)


def fit_recurrent(cell: Cell) -> GradientLog:
    """Fits one network, and reads unseen sequences with it.

    Args:
        cell: Which network, which task, how many time steps, which seed.

    Returns:
        A `GradientLog` of one run: the loss and the gradients by state and input of
        32 sequences, at every time step, before the first update and after the last.
        Its row says `task`, `network`, `length`, `accuracy` and `seconds`.
    """
    start = time.process_time()
    rng = np.random.default_rng([cell.seed, cell.length, TASKS.index(cell.task)])
    draw = _DRAW[cell.task]
    x, y = draw(cell.length, SETTINGS["samples"], rng)
    unseen = draw(cell.length, _UNSEEN, rng)
    model = build(cell, x.shape[1:])
    logs = [_measured(model, *unseen)]
    stop = _UntilSolved(cell.task, unseen)
    model.compile(
        keras.optimizers.Adam(SETTINGS["learning_rate"], clipnorm=SETTINGS["clipnorm"]),
        "mse",
        jit_compile=False,
        steps_per_execution=20,
    )
    options = {"shuffle": False, "verbose": 0, "callbacks": [stop]}
    model.fit(x, y, SETTINGS["batch_size"], epochs=SETTINGS["epochs"], **options)
    logs.append(_measured(model, *unseen))
    steps = int(model.optimizer.iterations.numpy())
    log = _joined(logs, steps)
    runs = log.runs.assign(
        **cell._asdict(),
        units=SETTINGS["units"],
        steps=steps,
        optimizer="adam",
        learning_rate=SETTINGS["learning_rate"],
        initializer=cell.network,
        target=cell.task,
        loss_zero=float(np.mean(y**2)),
        accuracy=round(stop.accuracy, 4),
        seconds=time.process_time() - start,
    )
    return log.replace(runs=runs)


def build(cell: Cell, shape: tuple[int, ...]) -> keras.Model:
    """Builds the untrained network of a cell for inputs of this shape."""
    layer = NETWORKS[cell.network](10 * cell.seed)
    out = keras.layers.Dense(1, kernel_initializer=_glorot(10 * cell.seed + 2))
    return keras.Sequential([keras.Input(shape), layer, out])


def fresh_measurement(cell: Cell) -> GradientLog:
    """Measures the untrained network of a cell, 32 sequences at every time step."""
    rng = np.random.default_rng([cell.seed, cell.length, TASKS.index(cell.task)])
    x, y = _DRAW[cell.task](cell.length, _MEASURED, rng)
    return _measured(build(cell, x.shape[1:]), x, y)


class _UntilSolved(keras.callbacks.Callback):
    """Reads unseen sequences after each epoch, and stops once they are read."""

    def __init__(self, task: str, unseen: tuple[np.ndarray, np.ndarray]) -> None:
        super().__init__()
        self._task, (self._x, self._y) = task, unseen
        self.accuracy = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        answers = self.model.predict_on_batch(self._x)
        self.accuracy = share_right(self._task, self._y, answers)
        self.model.stop_training = self.accuracy >= SOLVED


def _measured(model: keras.Model, x: np.ndarray, y: np.ndarray) -> GradientLog:
    log = gradient_through_time(model, x[:_MEASURED], y[:_MEASURED], loss="mse")
    rows = log.layers[log.layers["kind"].isin(TIME_KINDS)]
    names = rows["name"].str.rpartition("/")[2]  # Keras numbers layers as it likes
    return log.replace(layers=rows.assign(name=names).round(3), theory=None)


def _joined(logs: list[GradientLog], steps: int) -> GradientLog:
    """Measured before the first step, and after the last, as one run."""
    first, last = logs
    tables = {
        name: pd.concat(
            [getattr(first, name), getattr(last, name).assign(step=steps)],
            ignore_index=True,
        )
        for name in ("losses", "layers")
    }
    return first.replace(**tables)
