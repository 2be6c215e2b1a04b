"""Handwritten digits, read by dense networks of 2 to 50 layers: what helps, how far.

Scikit-learn's 1,797 digits of 8 x 8 pixels are a task that these networks can solve.
Each run is a real `model.fit` whose gradients `GradientLogger` logs.
"""

import math
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from vgkeras.callbacks import GradientLogger
from vgkeras.logs import GradientLog
from vgkeras.record.provenance import provenance
from vgkeras.record.resumed import record_cells
from vgkeras.remedies import DIGITS_ACTIVATIONS, DIGITS_BASELINE, DIGITS_RECIPE
from vgkeras.stacks import build_stack

DEPTHS = (2, 5, 10, 20, 30, 50)
SEEDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {"units": 64, "batch_size": 64, "epochs": 20}
_CLASSES = 10
_BATCHES = 22  # in an epoch

_SMALL = {"class_name": "RandomNormal", "config": {"stddev": 0.05}}  # Keras' default
_SGD = {"class_name": "SGD", "config": {"learning_rate": 0.02}}
_CLIPPED = {"class_name": "SGD", "config": {"learning_rate": 0.02, "clipnorm": 1.0}}
_ADAM = {"class_name": "Adam", "config": {"learning_rate": 0.001}}
_TODAY = {
    "kernel_initializer": "he_normal",
    "residual": True,
    "normalization": "layer",
}

# What each remedy changes: arguments of `build_stack`, and the optimizer.
REMEDIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    DIGITS_BASELINE: ({}, _SGD),
    "Glorot": ({"kernel_initializer": "glorot_normal"}, _SGD),
    "He": ({"kernel_initializer": "he_normal"}, _SGD),
    "Orthogonal": ({"kernel_initializer": "orthogonal"}, _SGD),
    "Residual": ({"residual": True}, _SGD),
    "Layer normalization": ({"normalization": "layer"}, _SGD),
    "Batch normalization": ({"normalization": "batch"}, _SGD),
    "Clipping": ({}, _CLIPPED),
    "Adam": ({}, _ADAM),
    DIGITS_RECIPE: (_TODAY, _ADAM),
}


class Cell(NamedTuple):
    """One run of the recording."""

    seed: int
    activation: str
    depth: int
    remedy: str


# A whole picture first, further seeds later.
CELLS = tuple(
    Cell(*each) for each in product(SEEDS, DIGITS_ACTIVATIONS, DEPTHS, REMEDIES)
)


class Digits(NamedTuple):
    """Pixels as `(samples, 64)`, of mean 0 and mean square 1, and the digits."""

    x: np.ndarray
    y: np.ndarray
    unseen_x: np.ndarray
    unseen_y: np.ndarray


def load_digits() -> Digits:
    """Returns scikit-learn's digits, a quarter of them set apart; always the same."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, digits = load_digits(return_X_y=True)
    x, unseen_x, y, unseen_y = train_test_split(
        pixels, digits, test_size=0.25, random_state=0, stratify=digits
    )
    mean, deviation = x.mean(), x.std()
    x, unseen_x = ((p - mean) / deviation for p in (x, unseen_x))
    return Digits(x.astype("float32"), y, unseen_x.astype("float32"), unseen_y)


class Batches(keras.utils.PyDataset):
    """Batches of an epoch, in an order that the seed alone decides.

    `tf.data` mixes TensorFlow's global seed in.
    """

    def __init__(self, data: Digits, batch_size: int, seed: int) -> None:
        super().__init__()
        self._data, self._size = data, batch_size
        self._rng = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._data.x) / self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._order[index * self._size :][: self._size]
        return self._data.x[rows], self._data.y[rows]

    def on_epoch_end(self) -> None:
        self._order = self._rng.permutation(len(self._data.x))


def record_digits(path: str | Path, cells: Iterable[Cell] = CELLS) -> GradientLog:
    """Trains a network for each cell, and writes the recording.

    What is there already is kept beside it, as `path` with `.part` at its end. A
    recording that was interrupted goes on from there.

    Args:
        path: Parquet file to write.
        cells: Runs to make.

    Returns:
        A `GradientLog` as `fit_digits` returns, of all runs. Its metadata says when,
        with which versions, settings and command it was recorded, and how many
        `seconds` of a processor that took.
    """
    data = load_digits()
    return record_cells(path, cells, lambda cell: fit_digits(cell, data), _finished)


def _finished(log: GradientLog) -> GradientLog:
    """The log as it ships: where it is from, and of its losses one in an epoch."""
    origin = {
        "origin": "measured by vgkeras.GradientLogger in model.fit",
        **provenance("digits"),
        **SETTINGS,
        "seconds": round(float(log.runs["seconds"].sum())),
    }
    steps = log.losses["step"]
    ends = (steps % _BATCHES == 0) | (steps == steps.max())
    return log.replace(
        losses=log.losses[ends].reset_index(drop=True),
        layers=log.layers.drop(columns="log10_mean").round(3),
        metadata=origin,
    )


def cells_of(log: GradientLog) -> list[Cell]:
    """Returns what runs a recording holds."""
    return [Cell(*row) for row in log.runs[list(Cell._fields)].itertuples(index=False)]


def fit_digits(cell: Cell, data: Digits) -> GradientLog:
    """Fits one network, and reads unseen digits with it.

    Args:
        cell: Which network, which remedy, which seed.
        data: What `load_digits` returns.

    Returns:
        A `GradientLog` of one run: the loss and the weight gradients of the first and
        of the last step. Its row says `remedy`, `activation`, `test_accuracy`,
        `train_accuracy` (of the last epoch) and `seconds` of a processor.
    """
    start = time.process_time()
    changes, optimizer = REMEDIES[cell.remedy]
    arguments = {"kernel_initializer": _SMALL, **changes}
    model = build_stack(
        cell.depth,
        SETTINGS["units"],
        activation=cell.activation,
        output_units=_CLASSES,
        seed=cell.seed,
        **arguments,
    )
    model.compile(
        keras.optimizers.get(optimizer),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA would compile each model for seconds
    )
    batches = Batches(data, SETTINGS["batch_size"], cell.seed)
    last = SETTINGS["epochs"] * len(batches) - 1
    logger = GradientLogger(every=last, updates=None, scalars="none")
    options = {"epochs": SETTINGS["epochs"], "shuffle": False, "verbose": 0}
    history = model.fit(batches, callbacks=[logger], **options).history
    read = model.evaluate(data.unseen_x, data.unseen_y, 450, verbose=0)
    return _described(
        logger.log,
        **cell._asdict(),
        **_words(arguments),
        test_accuracy=round(read[1], 4),
        train_accuracy=round(history["accuracy"][-1], 4),
        samples=len(data.x),
        seconds=time.process_time() - start,
    )


def _words(arguments: dict[str, Any]) -> dict[str, str]:
    """Arguments of `build_stack` as the columns of a sweep say them."""
    initial = arguments["kernel_initializer"]
    return {
        "initializer": initial if isinstance(initial, str) else "random_normal",
        "residual": "identity" if arguments.get("residual") else "",
        "normalization": arguments.get("normalization", ""),
    }


def _described(log: GradientLog, **columns: Any) -> GradientLog:
    """The log with what it is of, and its numbers as short as they are drawn."""
    runs = log.runs.assign(
        **columns,
        units=SETTINGS["units"],
        output_units=_CLASSES,
        target="digits",
        loss_zero=math.log(_CLASSES),  # of giving every digit the same odds
    )
    return log.replace(
        runs=runs, losses=log.losses.round(5), layers=log.layers.round(4)
    )
