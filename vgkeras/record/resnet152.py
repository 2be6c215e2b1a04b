"""The 152 layers that the lecture names, with and without shortcuts.

`keras.applications.ResNet152` is trained for a few steps beside a copy of it whose
shortcuts are cut, from the same weights and on the same data. `GradientLogger` logs
the gradients of both fits.
"""

from typing import Any

import altair as alt
import keras
import numpy as np
import pandas as pd

from vgkeras.callbacks import GradientLogger
from vgkeras.logs import GradientLog, concat

WITH, WITHOUT = "with shortcuts", "without shortcuts"
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
        rows are those of the convolutions and of the last layer.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(_SAMPLES, _SIZE, _SIZE, 3)).astype("float32")
    y = rng.integers(_CLASSES, size=_SAMPLES)
    logs = []
    for shortcuts, name in ((True, WITH), (False, WITHOUT)):
        model = resnet152(shortcuts=shortcuts)
        logger = GradientLogger(layers=_is_on_the_path, updates=None)
        model.compile(
            keras.optimizers.Adam(1e-4),
            "sparse_categorical_crossentropy",
            jit_compile=False,  # XLA would compile 500 layers for minutes
        )
        model.fit(x, y, _SAMPLES, epochs=5, verbose=0, callbacks=[logger])
        logs.append(_named(logger.log, name))
    return concat(logs)


def draw_shortcuts(log: GradientLog) -> alt.LayerChart:
    """Draws the gradient of every convolution at step 0, with and without shortcuts.

    How to read it: both lines fall from the input (left) to the output, so gradients
    explode on their way back; one of them far more steeply. How to misread it: batch
    normalization is in both networks. It keeps the activations in bounds, not the
    gradients.

    Args:
        log: What `record_shortcuts` returns.

    Returns:
        A chart of log10 norm by layer.
    """
    rows = log.layers[log.layers["step"] == 0].merge(
        log.runs[["run", "initializer"]], on="run"
    )
    rows = rows.assign(name=rows["name"].astype(str))
    rows["number"] = rows.groupby("run").cumcount() + 1
    columns = ["number", "log10_norm", "initializer", "name"]
    base = alt.Chart(rows[columns]).encode(
        alt.X("number:Q", title="convolution (1 = next to the input)"),
        alt.Y("log10_norm:Q", title="norm of ∂L/∂W, power of ten"),
        alt.Color(
            "initializer:N",
            title=None,
            scale=alt.Scale(domain=[WITH, WITHOUT], range=["#0072B2", "#D55E00"]),
        ),
        alt.Shape("initializer:N", title=None, scale=alt.Scale(domain=[WITH, WITHOUT])),
        tooltip=columns,
    )
    title = alt.Title("ResNet-152 before its first step", subtitle=_growth(rows))
    layers = [base.mark_line(opacity=0.4), base.mark_point(filled=True, size=28)]
    return alt.LayerChart(layer=layers).properties(title=title, width=620, height=360)


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
    layers = log.layers[kernels].reset_index(drop=True)
    return log.replace(runs=log.runs.assign(initializer=name), layers=layers)


def _growth(rows: pd.DataFrame) -> str:
    """How many decades the gradient grows from the last convolution to the first."""
    growth = [
        f"{name} by {norms.iloc[0] - norms.iloc[-2]:.1f} decades"
        for name, norms in rows.groupby("initializer")["log10_norm"]
    ]
    start = "The gradient grows from the last convolution to the first"
    return f"{start}: {'; '.join(growth)}."
