"""Which layers of a model are measured, and what their tensors are called."""

import re
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vgkeras.logs import KINDS


def measured_layers(
    model: keras.Model, *, whole: tuple[type, ...] = ()
) -> list[keras.layers.Layer]:
    """The layers that do the work: those without layers of their own.

    Layers of the classes `whole` count as one, whatever they are made of.
    """
    leaves: dict[int, keras.layers.Layer] = {}
    rest = deque(model._flatten_layers(include_self=False, recursive=False))
    while rest:
        layer = rest.popleft()
        parts = list(layer._flatten_layers(include_self=False, recursive=False))
        if parts and not isinstance(layer, whole):
            rest.extendleft(parts)
        elif not isinstance(layer, keras.layers.InputLayer):
            leaves.setdefault(id(layer), layer)
    return list(leaves.values())


class Call(NamedTuple):
    """One tensor that a layer puts out: of which call, and which of its outputs."""

    layer: keras.layers.Layer
    number: int
    output_number: int
    output: tf.Tensor


def tensor_labels(
    model: keras.Model, calls: list[Call], layers: list[keras.layers.Layer]
) -> list[tuple[int, str, str]]:
    """Names the rows; `layers` count from 1 in the order of their first call."""
    order = list(dict.fromkeys([*(call.layer for call in calls), *layers]))
    weights = weight_labels(model, order, model.trainable_variables)
    return weights + layer_labels(model, order, calls, KINDS)


def weight_labels(
    model: keras.Model, order: list[keras.layers.Layer], variables: Iterable[Any]
) -> list[tuple[int, str, str]]:
    """Names the gradients of variables; layer 0 is that of a variable of no layer."""
    owners = {id(v): n for n, la in enumerate(order, start=1) for v in la.variables}
    return [
        (owners.get(id(v), 0), short_path(getattr(v, "path", v.name), model), KINDS[0])
        for v in variables
    ]


def layer_labels(
    model: keras.Model,
    order: list[keras.layers.Layer],
    calls: list[Call],
    kinds: tuple[str, ...],
) -> list[tuple[int, str, str]]:
    """Names what the calls of layers put out, kind by kind; `order` numbers them.

    The second output of a layer, as the state `c` of an LSTM's cell, is `output_2`.
    """
    numbers = {id(layer): number for number, layer in enumerate(order, start=1)}
    names = [(numbers[id(call.layer)], _output_name(call, model)) for call in calls]
    return [(*name, kind) for kind in KINDS[1:] if kind in kinds for name in names]


def _output_name(call: Call, model: keras.Model) -> str:
    name = short_path(call.layer.path or call.layer.name, model)
    return f"{name}/output_{call.output_number}" if call.output_number > 1 else name


def short_path(path: str, model: keras.Model) -> str:
    """A Keras path without the model's own name in front."""
    return path.removeprefix(f"{model.name}/")


def layer_of(model: keras.Model, row: Any) -> keras.layers.Layer:
    """Returns the layer that a row of `gradient_norms`, or of a log, is about.

    Args:
        model: The model that was measured.
        row: The row, anything with a `"name"`, or that name: the path of a layer, or
            of a variable, without the model's own name in front.

    Raises:
        ValueError: If no layer has that name, or several have it.

    Example:
        >>> frame = vg.gradient_norms(model, x, y)  # doctest: +SKIP
        >>> vg.tape.layer_of(model, frame.loc[3])  # doctest: +SKIP
        <Dense name=dense_1, built=True>
    """
    name = re.sub(r"/output_\d+$", "", row if isinstance(row, str) else row["name"])
    layers = [la for la in model._flatten_layers() if la is not model]
    users = [la for la in layers if short_path(la.path or la.name, model) == name]
    if not users:
        users = [la for la in layers if name in _own_variables(la, model)]
    if len(users) != 1:
        raise ValueError(
            "`row` must name one layer of the model. Received: the name "
            f"{name!r}, which {len(users)} layers have. Layers need names of their own."
        )
    return users[0]


def _own_variables(layer: keras.layers.Layer, model: keras.Model) -> list[str]:
    """Names of the variables that are a layer's, and of no layer inside it."""
    inside = layer._flatten_layers(include_self=False)
    others = {id(v) for part in inside for v in part.variables}
    own = [v for v in layer.variables if id(v) not in others]
    return [short_path(getattr(v, "path", v.name), model) for v in own]
