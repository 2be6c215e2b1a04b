"""What a log says about its model besides numbers.

Logs come from strangers too: whatever is not as it should be counts as not said.
"""

from typing import Any

_ACTIVATIONS = ("softmax", "relu")  # layers that are nothing else
_NORMAL = (
    *("BatchNormalization", "LayerNormalization"),
    *("GroupNormalization", "RMSNormalization"),
)


class Facts:
    """The facts in the metadata of a log; see `vgkeras.tape.model_facts`."""

    def __init__(self, metadata: Any) -> None:
        self._facts = _dict(_dict(metadata).get("facts"))
        self._frozen = _dict(metadata).get("frozen_layers")
        self.layers = {
            str(name): layer
            for name, layer in _dict(self._facts.get("layers")).items()
            if isinstance(layer, dict)
        }

    @property
    def known(self) -> bool:
        """Whether the log says anything about its model."""
        return bool(self._facts)

    @property
    def nothing_trainable(self) -> bool:
        """Whether the model is said to have no variable that is trained."""
        return self._facts.get("trainable") == 0

    @property
    def frozen_layers(self) -> list[str]:
        """The layers with weights that are not trained."""
        listed = self._frozen if isinstance(self._frozen, list) else []
        return [name for name in listed if isinstance(name, str)]

    def has(self, *classes: str) -> bool:
        """Whether the model has a layer of one of these classes."""
        return any(layer.get("class") in classes for layer in self.layers.values())

    @property
    def normalizes(self) -> bool:
        """Whether a layer brings what it hears to one size."""
        return self.has(*_NORMAL)

    def layer_of(self, variable: str) -> dict[str, Any]:
        """The facts about the layer of a variable, by its name in the log."""
        while variable:
            variable = variable.rpartition("/")[0]
            if variable in self.layers:
                return self.layers[variable]
        return {}

    @property
    def loss(self) -> dict[str, Any]:
        """The loss, if there is just one."""
        losses = self._facts.get("losses")
        single = isinstance(losses, list) and len(losses) == 1
        return _dict(losses[0]) if single and isinstance(losses, list) else {}

    @property
    def loss_name(self) -> str:
        """The name of the one loss of Keras, or `""`."""
        return "" if self.loss.get("own") else str(self.loss.get("name", ""))

    @property
    def output(self) -> str:
        """The layer that makes the one output, or `""`."""
        outputs = self._facts.get("outputs")
        single = isinstance(outputs, list) and len(outputs) == 1
        name = _dict(outputs[0]).get("layer") if single and outputs else None
        return name if isinstance(name, str) else ""

    @property
    def output_activation(self) -> str:
        """The activation of that layer: its name, or `""` where it is not known."""
        return _activation(self.layers.get(self.output, {}))

    @property
    def output_units(self) -> int | None:
        """The number of its units, if it is said."""
        units = self.layers.get(self.output, {}).get("units")
        return units if isinstance(units, int) else None

    def setting(self, name: str) -> float | None:
        """A number among the settings of the optimizer."""
        value = _dict(self._facts.get("optimizer")).get(name)
        return float(value) if isinstance(value, int | float) else None

    @property
    def shrinks_weights(self) -> bool:
        """Whether a penalty or decay acts on weights, as far as that is said."""
        penalty = any(layer.get("penalty") for layer in self.layers.values())
        return bool(penalty or self.setting("weight_decay") or not self.known)

    def recurrent(self) -> list[tuple[str, dict[str, Any]]]:
        """The layers that read step by step, and how many steps where that is said."""
        pairs = self.layers.items()
        return [(n, la) for n, la in pairs if isinstance(la.get("steps"), int)]

    def activations(self) -> list[str]:
        """The activations of the layers, but of those that make an output."""
        layers = [la for name, la in self.layers.items() if name != self.output]
        return [_activation(layer) for layer in layers]


def _activation(layer: dict[str, Any]) -> str:
    name = str(layer.get("class", "")).lower()
    return name if name in _ACTIVATIONS else str(layer.get("activation") or "")


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
