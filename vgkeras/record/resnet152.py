"""The 152 layers that the lecture names, with and without shortcuts.

`keras.applications.ResNet152` is trained for a few steps beside a copy of it whose
shortcuts are cut, from the same weights and on the same data. `GradientLogger` logs
the gradients of both fits.
"""

import time
from typing import Any

import keras
import numpy as np

from vgkeras.callbacks import GradientLogger
from vgkeras.charts import WITH_SHORTCUTS, WITHOUT_SHORTCUTS
from vgkeras.logs import GradientLog, concat
from vgkeras.record.provenance import provenance

_SIZE, _CLASSES, _SAMPLES = 32, 10, 16


def resnet152(*, shortcuts: bool = True, seed: int = 0) -> keras.Model:
    """Builds ResNet-152 for images of 32 x 32, untrained.

    Args:
        shortcuts: Whether the input of a block is added to its output. Without, the
            four projections that stood in shortcuts are gone too, and all other
            layers start from the same weights.
        seed: Seed of the initial weights.

    Returns:
        A functional `keras.Model` that maps `(batch, 32, 32, 3)` to 10 probabilities.

    Reference:
        [He et al., 2015](https://arxiv.org/abs/1512.03385).
    """
    model = keras.applications.ResNet152(
        weights=None, input_shape=(_SIZE, _SIZE, 3), classes=_CLASSES
    )
    _draw_weights(model, seed)
    if shortcuts:
        return model
    cut = keras.models.clone_model(model, call_function=_call_without_shortcut)
    for layer in cut.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return cut


def record_shortcuts() -> GradientLog:
    """Trains ResNet-152 with and without its shortcuts for 5 steps of Adam.

    Each step is one batch of 16 noise images.

    Returns:
        A `GradientLog` of two runs, whose `initializer` says which is which. Its
        rows are those of the convolutions and of the last layer. Its metadata says
        when, by which command and in how many `seconds` it was recorded.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(_SAMPLES, _SIZE, _SIZE, 3)).astype("float32")
    y = rng.integers(_CLASSES, size=_SAMPLES)
    logs = []
    for shortcuts, name in ((True, WITH_SHORTCUTS), (False, WITHOUT_SHORTCUTS)):
        model = resnet152(shortcuts=shortcuts)
        logger = GradientLogger(layers=_is_on_the_path, updates=None)
        model.compile(
            keras.optimizers.Adam(1e-4),
            "sparse_categorical_crossentropy",
            jit_compile=False,  # XLA would compile 500 layers for minutes
        )
        model.fit(x, y, _SAMPLES, epochs=5, verbose=0, callbacks=[logger])
        logs.append(_named(logger.log, name))
    log = concat(logs)
    seconds = round(time.perf_counter() - start)
    origin = {**log.metadata, **provenance("resnet152"), "seconds": seconds}
    return log.replace(metadata=origin)


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Glorot's uniform weights, as Keras draws them, but from a seed of their own."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        shape = layer.kernel.shape
        receptive = int(np.prod(shape[:-2]))
        limit = np.sqrt(6 / (receptive * (shape[-2] + shape[-1])))
        layer.kernel.assign(rng.uniform(-limit, limit, shape))


def _call_without_shortcut(
    layer: keras.layers.Layer, *inputs: Any, **options: Any
) -> Any:
    """Takes the branch where the network would add the shortcut to it."""
    if isinstance(layer, keras.layers.Add):
        _, branch = inputs[0]
        return branch
    return layer(*inputs, **options)


def _is_on_the_path(layer: keras.layers.Layer) -> bool:
    """Whether it has a kernel and is no projection in a shortcut."""
    return hasattr(layer, "kernel") and "_0_conv" not in layer.name


def _named(log: GradientLog, name: str) -> GradientLog:
    """The log of one network, under its name; biases are not drawn."""
    kernels = log.layers["name"].astype(str).str.endswith("kernel")
    layers = log.layers[kernels].reset_index(drop=True).round(4)
    return log.replace(runs=log.runs.assign(initializer=name), layers=layers)
