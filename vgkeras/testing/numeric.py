"""Gradients of the tape beside central differences, variable by variable."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from vgkeras._checks import check_positive_int
from vgkeras.tape import Batch, Objective
from vgkeras.testing.differences import Line, Slope, norm
from vgkeras.testing.rows import of_assertions
from vgkeras.testing.widened import WideCall, wide, widened

_NOT_FINITE = (
    "The gradient of the loss by the model's outputs is Inf or NaN, even in float64, "
    "and nothing can be compared. `assert_gradients_finite` shows where it begins."
)
_NUDGE = 1e3  # steps away from a kink
_LARGEST = 0.01  # step, relative to a variable or to one of elements of 1
_REPEATABLE = 1e-9  # relative difference of two calls that are the same


@dataclass(frozen=True)
class Settings:
    """How gradients are compared: arguments of `assert_gradients_match_numeric`."""

    tolerance: float
    directions: int | Mapping[str, Sequence[np.ndarray]]
    seed: int
    training: bool


@dataclass(frozen=True)
class Place:
    """A variable, or an output, and what depends on it.

    Args:
        name: What it is called.
        point: Its value.
        values: Arrays that depend on it, as a function of an offset from `point`.
        cotangents: Weights of these arrays.
        gradient: What the tape says of their weighted sum, at an offset.
    """

    name: str
    point: np.ndarray
    values: Callable[[Any], list[np.ndarray]]
    cotangents: list[np.ndarray]
    gradient: Callable[[Any], np.ndarray]

    def line(self, direction: np.ndarray, offset: Any, moves: bool) -> Line:
        """The values along a unit vector from an offset."""
        own, usual = norm([self.point]), math.sqrt(self.point.size)
        return Line(
            lambda t: self.values(offset + t * direction),
            self.cotangents,
            length=own if own > 0 else usual,
            limit=_LARGEST * max(own, usual),
            moves=moves,
        )


def check_directions(
    value: Any, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> int | dict[str, list[np.ndarray]]:
    """Returns a number of random directions, or unit vectors by name of a variable."""
    if not isinstance(value, Mapping):
        return check_positive_int("directions", value)
    shape = dict(zip(names, shapes, strict=True))
    units = {}
    for name, vectors in value.items():
        if name not in shape:
            raise ValueError(
                "`directions` must name trainable variables. "
                f"Received: {name!r}, which is none of {list(shape)}."
            )
        several = vectors if isinstance(vectors, list | tuple) else [vectors]
        units[name] = [_unit(name, vector, shape[name]) for vector in several]
    return units


def _unit(name: str, vector: Any, shape: tuple[int, ...]) -> np.ndarray:
    vector = np.asarray(vector, np.float64)
    length = np.linalg.norm(vector)
    if vector.shape != shape or not math.isfinite(length) or length == 0:
        raise ValueError(
            f"`directions` must hold, for {name!r}, finite arrays of shape {shape} "
            f"that are not all 0. Received: shape {vector.shape}, norm {length:g}."
        )
    return vector / length


def compare(
    objective: Objective,
    loss: Any,
    variables: Mapping[int, str],
    settings: Settings,
) -> pd.DataFrame:
    """Compares directional derivatives, in float64, of variables and of the loss.

    The chain rule is checked in two parts, so that a gradient of 1e-40 can be behind
    a loss of 1: the loss by the outputs, and the outputs, weighted with that
    gradient, by each variable. What the model adds to its loss, as regularizers do,
    counts as one more output. `variables` are names by index among the trainable ones.

    Returns:
        A frame with a row per direction: `index, name, tape, numeric, error, scale,
        beside_kink, agrees, resolved`; `index` is -1 for the loss.
    """
    __tracebackhide__ = of_assertions
    with widened(objective.model, objective.model.loss if loss is None else loss):
        objective = replace(objective, batch=Batch(*wide(objective.batch)))
        call = _wide_call(objective, settings.training)
        loss_by_outputs = _LossByOutputs(call.outputs, objective)
        with _in_float64(objective.model):
            cotangents = loss_by_outputs.gradients()
        cotangents += [np.ones(())] * len(call.added)
        if not all(np.isfinite(part).all() for part in cotangents):
            raise AssertionError(_NOT_FINITE)
        places = [(-1, place) for place in loss_by_outputs.places()]
        first = call.gradients(cotangents)
        if isinstance(settings.directions, dict):
            variables = {i: n for i, n in variables.items() if n in settings.directions}
        for index, name in variables.items():
            place = _by_variable(call, index, name, cotangents, first[index])
            places.append((index, place))
        with np.errstate(all="ignore"):  # what overflows is a result
            rows = [
                {"index": index, "name": place.name, **row}
                for index, place in places
                for row in _rows(place, index, settings)
            ]
    return pd.DataFrame(rows)


def _wide_call(objective: Objective, training: bool) -> WideCall:
    model = objective.model
    with _in_float64(model):
        call = WideCall(objective, training)
        again = call.arrays()
    first = [p.numpy() for p in keras.tree.flatten([call.outputs, call.added])]
    for part, other in zip(first, again, strict=True):
        with np.errstate(invalid="ignore"):  # Inf is left to the comparison
            change = norm([part - other])
        if change > _REPEATABLE * norm([part]):
            raise ValueError(
                "`model` must give the same outputs whenever it is called with the "
                f"same seeds. Received: {model.name!r}, which does not. Give random "
                "layers a `keras.random.SeedGenerator`, or set `training=False`."
            )
    return call


@contextlib.contextmanager
def _in_float64(model: keras.Model) -> Iterator[None]:
    """Says what to do where a layer or a loss fixes another format."""
    try:
        yield
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            "`model` must be able to compute in float64, in which differences are "
            f"taken, and its loss too. Received: {model.name!r} ({_gist(error)}). Let "
            "its layers use `keras.ops`, or `self.compute_dtype` in place of float32."
        ) from error


def _gist(error: Exception) -> str:
    """Which layer raised it, and what: the first two lines of a Keras error."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras sets parts of it in bold
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])


class _LossByOutputs:
    """The loss as a function of the model's outputs, flat, in float64."""

    def __init__(self, outputs: Any, objective: Objective) -> None:
        self._objective, self._structure = objective, outputs
        # Keras ties logits to the outputs of a softmax, and its losses would use them.
        parts = keras.tree.flatten(outputs)
        self._outputs = [tf.constant(part.numpy()) for part in parts]

    def places(self) -> list[Place]:
        """Each output, as a place at which the loss is compared."""
        return [self._place(number) for number in range(len(self._outputs))]

    def gradients(self, parts: list[tf.Tensor] | None = None) -> list[np.ndarray]:
        """The gradient by each output, by the tape."""
        parts = self._outputs if parts is None else parts
        with tf.GradientTape() as tape:
            tape.watch(parts)
            loss = self._loss(parts)
        gradients = tape.gradient(loss, parts)
        return [
            np.zeros(part.shape) if gradient is None else gradient.numpy()
            for part, gradient in zip(parts, gradients, strict=True)
        ]

    def _place(self, number: int) -> Place:
        several = f" {number + 1}" if len(self._outputs) > 1 else ""
        return Place(
            name=f"loss, by output{several}",
            point=self._outputs[number].numpy(),
            values=lambda offset: [self._loss(self._moved(number, offset)).numpy()],
            cotangents=[np.ones(())],
            gradient=lambda offset: self.gradients(self._moved(number, offset))[number],
        )

    def _moved(self, number: int, offset: Any) -> list[tf.Tensor]:
        parts = list(self._outputs)
        parts[number] = parts[number] + tf.constant(offset, tf.float64)
        return parts

    def _loss(self, parts: list[tf.Tensor]) -> tf.Tensor:
        by_outputs = self._objective.by_outputs
        if by_outputs is None:
            return tf.zeros((), tf.float64)
        packed = keras.tree.pack_sequence_as(self._structure, parts)
        return tf.cast(by_outputs(self._objective.batch, packed), tf.float64)


def _by_variable(
    call: WideCall,
    index: int,
    name: str,
    cotangents: list[np.ndarray],
    first: np.ndarray,
) -> Place:
    variable = call.variables[index]
    point = variable.numpy()

    @contextlib.contextmanager
    def at(offset: Any) -> Iterator[None]:
        variable.assign(point + offset)
        try:
            yield
        finally:
            variable.assign(point)

    def values(offset: Any) -> list[np.ndarray]:
        with at(offset):
            return call.arrays()

    def gradient(offset: Any) -> np.ndarray:
        if not np.any(offset):
            return first
        with at(offset):
            return call.gradients(cotangents)[index]

    return Place(name, point, values, cotangents, gradient)


def _rows(place: Place, index: int, settings: Settings) -> Iterator[dict[str, Any]]:
    """A row per direction of one place."""
    random = np.random.default_rng([settings.seed, index + 1])
    for direction in _directions(place, settings.directions, random):
        yield _row(place, direction, random, settings.tolerance)


def _directions(
    place: Place, wanted: Any, random: np.random.Generator
) -> Sequence[np.ndarray]:
    if isinstance(wanted, Mapping):
        if place.name in wanted:
            return wanted[place.name]
        wanted = 1  # for the loss
    return [_random_direction(random, place.point.shape) for _ in range(wanted)]


def _random_direction(random: np.random.Generator, shape: tuple) -> np.ndarray:
    """A unit vector without small entries: every entry of a gradient counts.

    Not of signs alone: the errors of two entries could cancel.
    """
    direction = random.choice([-1.0, 1.0], shape) * random.uniform(0.5, 1.5, shape)
    return direction / np.linalg.norm(direction)


def _row(
    place: Place, direction: np.ndarray, random: np.random.Generator, tolerance: float
) -> dict[str, Any]:
    """Compares at the point itself, or a little beside it if it is at a kink."""
    row, kink, step = _at(place, direction, 0.0, tolerance)
    if not row["agrees"] and kink > tolerance * row["scale"]:
        aside = _random_direction(random, place.point.shape)
        beside, _, _ = _at(place, direction, _NUDGE * step * aside, tolerance)
        row = {**beside, "beside_kink": True}
    return row


def _at(
    place: Place, direction: np.ndarray, offset: Any, tolerance: float
) -> tuple[dict[str, Any], float, float]:
    gradient = place.gradient(offset)
    tape = float(np.sum(gradient * direction))
    typical = norm([gradient]) / math.sqrt(max(1, gradient.size))
    line = place.line(direction, offset, moves=tape != 0)
    row = _judgement(tape, line.slope(), typical, tolerance)
    if row["resolved"]:
        return row, 0.0, line.step
    slope = line.best_slope()
    return _judgement(tape, slope, typical, tolerance), slope.kink, line.step


def _judgement(
    tape: float, slope: Slope, typical: float, tolerance: float
) -> dict[str, Any]:
    """Whether both agree within the tolerance, or within the error of differences."""
    scale = max(abs(tape), abs(slope.value), typical)
    apart = abs(tape - slope.value)
    close = apart <= tolerance * scale
    return {
        "tape": tape,
        "numeric": slope.value,
        "error": slope.error,
        "scale": scale,
        "beside_kink": False,
        "agrees": close or apart <= tolerance * scale + slope.error,
        "resolved": close and (scale > 0 or slope.error == 0),
    }
