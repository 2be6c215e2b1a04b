"""Weights of a model that are updated together: the networks of a GAN."""

from collections.abc import Iterable
from typing import Any

import keras


class Networks:
    """Names of the sets of weights that updates have in common."""

    def __init__(self) -> None:
        self._members: dict[str, set[int]] = {}

    def name(self, optimizer: str, variables: Iterable[Any]) -> str:
        """What to call weights that an optimizer updates together: after it.

        If it updates others at another time, these are another network: `"adam 2"`.
        """
        own, number = set(map(id, variables)), 1
        name = optimizer
        while self._members.get(name, own).isdisjoint(own) and own:
            number += 1
            name = f"{optimizer} {number}".lstrip()
        self._members.setdefault(name, set()).update(own)
        return name

    def of_layers(self, layers: Iterable[keras.layers.Layer]) -> list[str]:
        """The network of each layer, in the order of calls.

        A layer without weights that are trained is part of the one before it.
        """
        owners = {key: name for name, keys in self._members.items() for key in keys}
        names, last = [], ""
        for layer in layers:
            own = (owners[id(v)] for v in layer.variables if id(v) in owners)
            last = next(own, last)
            names.append(last)
        return names
