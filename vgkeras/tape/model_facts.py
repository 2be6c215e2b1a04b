"""What a model says about itself: losses, optimizer, layers. No tensor is computed."""

from typing import Any

import keras

from vgkeras.tape.equal_units import units_are_equal
from vgkeras.tape.labels import measured_layers, short_path

_OPTIMIZER = (
    *("momentum", "epsilon", "weight_decay", "clipnorm", "clipvalue"),
    "global_clipnorm",
)
_SETTINGS = ("momentum", "rate", "seed", "units", "filters", "axis")


def model_facts(model: keras.Model) -> dict[str, Any]:
    """Lists what a log of gradients does not show, but explains them.

    Args:
        model: A built Keras model, compiled or not.

    Returns:
        A dict for JSON:

        - `losses`: for each output its `name`, `from_logits` (or `None`), and whether
          it is `own`, which is to say not one of Keras.
        - `outputs`: for each output the `layer` that makes it, as the log names it.
        - `trainable`: number of variables that are trained.
        - `optimizer`: its class and settings; `{}` without one.
        - `layers`: by name in the log, in the model's order: `class`, `activation`,
          `trainable`, `penalty` (whether it has a regularizer), `steps` (in time, of
          a recurrent layer), `momentum` (of a normalization), and whether all its
          units are `equal_units`, now and for good.
    """
    layers = {
        short_path(_name(layer), model): _layer_facts(layer)
        for layer in measured_layers(model, whole=(keras.layers.RNN,))
    }
    return {
        "losses": [_loss_facts(loss) for loss in _losses(model)],
        "outputs": [{"layer": name} for name in _output_layers(model)],
        "trainable": len(model.trainable_variables),
        "optimizer": _optimizer_facts(getattr(model, "optimizer", None)),
        "layers": layers,
    }


def _losses(model: keras.Model) -> list[Any]:
    """The losses given to `compile`, one for each output that has one."""
    loss = getattr(model, "loss", None)
    return [] if loss is None else [part for part in keras.tree.flatten(loss) if part]


def _loss_facts(loss: Any) -> dict[str, Any]:
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    function = getattr(loss, "fn", loss)
    options = getattr(loss, "_fn_kwargs", {})
    name = getattr(function, "__name__", type(loss).__name__)
    module = getattr(function, "__module__", "") or ""
    logits = options.get("from_logits", getattr(loss, "from_logits", None))
    if logits is None and "crossentropy" in name:
        logits = False
    return {
        "name": name,
        "from_logits": None if logits is None else bool(logits),
        "own": module.split(".")[0] != "keras",
    }


def _output_layers(model: keras.Model) -> list[str]:
    """The layers that make the outputs; none of a subclass without a graph."""
    try:
        outputs = keras.tree.flatten(model.outputs or [])
    except AttributeError:
        return []
    made_by = [getattr(output, "_keras_history", (None,))[0] for output in outputs]
    last = [_last(layer) for layer in made_by if layer is not None]
    return [short_path(_name(layer), model) for layer in last]


def _name(layer: Any) -> str:
    """The path of a layer, or the name of an operation."""
    return str(getattr(layer, "path", None) or layer.name)


def _last(layer: Any) -> Any:
    """The last layer inside a model that is used as a layer."""
    while isinstance(layer, keras.Sequential) and layer.layers:
        layer = layer.layers[-1]
    return layer


def _optimizer_facts(optimizer: Any) -> dict[str, Any]:
    if optimizer is None:
        return {}
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    facts: dict[str, Any] = {"class": type(optimizer).__name__}
    for key in _OPTIMIZER:
        value = getattr(optimizer, key, None)
        facts[key] = float(value) if isinstance(value, int | float) else None
    return facts


def _layer_facts(layer: keras.layers.Layer) -> dict[str, Any]:
    cell = getattr(layer, "cell", layer)
    facts: dict[str, Any] = {
        "class": type(layer).__name__,
        "activation": _activation(cell),
        "trainable": bool(layer.trainable),
        "penalty": any(v.regularizer is not None for v in layer.trainable_variables),
        "steps": _time_steps(layer),
        "equal_units": units_are_equal(layer),
    }
    numbers = {key: getattr(layer, key, None) for key in _SETTINGS}
    return facts | {k: v for k, v in numbers.items() if isinstance(v, int | float)}


def _activation(layer: Any) -> str:
    activation = getattr(layer, "activation", None)
    return (
        str(getattr(activation, "__name__", "") or "") if callable(activation) else ""
    )


def _time_steps(layer: keras.layers.Layer) -> int | None:
    """The number of steps of a recurrent layer, if its input has a known length."""
    if not isinstance(layer, keras.layers.RNN):
        return None
    shape = _input_shape(layer)
    return int(shape[1]) if len(shape) > 1 and shape[1] is not None else None


def _input_shape(layer: keras.layers.Layer) -> tuple[Any, ...]:
    config = layer.get_build_config() or {}
    shape = config.get("input_shape") or ()
    return tuple(shape[0] if shape and isinstance(shape[0], list | tuple) else shape)
