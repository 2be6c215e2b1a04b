"""Which layers of a model are measured, and what their tensors are called."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import keras

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


def tensor_labels(
    model: keras.Model, calls: list[keras.layers.Layer]
) -> list[tuple[int, str, str]]:
    """Names the rows; layers count from 1 in the order of their first call."""
    order = list(dict.fromkeys([*calls, *measured_layers(model)]))
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
    calls: list[keras.layers.Layer],
    kinds: tuple[str, ...],
) -> list[tuple[int, str, str]]:
    """Names what the calls of layers put out, kind by kind; `order` numbers them."""
    numbers = {id(layer): number for number, layer in enumerate(order, start=1)}
    names = [(numbers[id(la)], short_path(la.path or la.name, model)) for la in calls]
    return [(*name, kind) for kind in KINDS[1:] if kind in kinds for name in names]


def short_path(path: str, model: keras.Model) -> str:
    """A Keras path without the model's own name in front."""
    return path.removeprefix(f"{model.name}/")
