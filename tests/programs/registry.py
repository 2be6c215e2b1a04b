"""The list of programs, and the data that several of them use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn import datasets


class Fit(NamedTuple):
    """A compiled model, and what its `fit` is called with."""

    model: keras.Model
    x: Any
    y: Any
    options: dict[str, Any]


@dataclass(frozen=True)
class Program:
    """A program: what is wrong with it, and the words of advice that repairs it.

    `make(False)` is the program as it was reported, `make(True)` what it becomes if the
    advice is carried out. `remedy` is a pattern that right advice matches, `""` of a
    sound program; `reported` tells a published program from a further one of ours.
    """

    name: str
    make: Callable[[bool], Fit]
    source: str
    cause: str = ""
    remedy: str = ""

    @property
    def reported(self) -> bool:
        return self.source != "vgkeras"


FAULTY: dict[str, Program] = {}
SOUND: dict[str, Program] = {}


def faulty(source: str, cause: str, remedy: str) -> Callable:
    """Adds a faulty program; `remedy` is a pattern for the words of right advice."""

    def add(make: Callable[[bool], Fit]) -> Callable[[bool], Fit]:
        FAULTY[make.__name__] = Program(make.__name__, make, source, cause, remedy)
        return make

    return add


def sound(source: str = "vgkeras") -> Callable:
    """Adds a program with nothing wrong, however odd its numbers look."""

    def add(make: Callable[[], Fit]) -> Callable[[], Fit]:
        SOUND[make.__name__] = Program(make.__name__, lambda _: make(), source)
        return make

    return add


# --- Data ----------------------------------------------------------------------------


def circles(seed: int, *, factor: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Two rings of points, one inside the other: 600 samples, labels 0 and 1."""
    x, y = datasets.make_circles(600, noise=0.1, factor=factor, random_state=seed)
    return x, y[:, None]


def digits(samples: int, *, image: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Digits of 8 x 8 pixels from 0 to 1, and their numbers."""
    x, y = datasets.load_digits(return_X_y=True)
    x = x[:samples] / 16
    return (x.reshape(-1, 8, 8, 1) if image else x), y[:samples]


def iris() -> tuple[np.ndarray, np.ndarray]:
    """Four standardized lengths of 150 flowers, and their species."""
    x, y = datasets.load_iris(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Ten standardized measures of 442 patients, and a standardized target."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return x / x.std(0), ((y - y.mean()) / y.std())[:, None]


def one_hot(labels: np.ndarray) -> np.ndarray:
    return keras.utils.to_categorical(labels)


def sequential(shape: tuple[int, ...], *layers: keras.layers.Layer) -> keras.Sequential:
    return keras.Sequential([keras.Input(shape), *layers])
