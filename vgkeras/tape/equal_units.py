"""Units that start equal, are heard equally, and so never part."""

from typing import Any

import keras
import numpy as np

_layers = keras.layers
_WEIGHTED = (_layers.Dense, _layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
_KEEPS_EQUAL = (  # what makes equal units of equal units
    *(_layers.Activation, _layers.ReLU, _layers.LeakyReLU, _layers.ELU),
    *(_layers.BatchNormalization, _layers.LayerNormalization, _layers.Flatten),
    *(_layers.MaxPooling1D, _layers.MaxPooling2D, _layers.MaxPooling3D),
    *(_layers.AveragePooling1D, _layers.AveragePooling2D, _layers.AveragePooling3D),
    *(_layers.GlobalMaxPooling1D, _layers.GlobalMaxPooling2D),
    *(_layers.GlobalAveragePooling1D, _layers.GlobalAveragePooling2D),
)


def units_are_equal(layer: keras.layers.Layer) -> bool:
    """Whether all units of a layer have equal weights, and are heard equally.

    Their gradients are equal then, too, and stay so: the layer is one unit (symmetry).
    Dropout would part them, and so may whatever else is not known here.

    Args:
        layer: A built layer of a model with a graph; of another it is never said.
    """
    if not isinstance(layer, _WEIGHTED) or not (layer.built and layer.trainable):
        return False
    bias = layer.bias is None or _equal(layer.bias, -1)
    return bias and _equal(layer.kernel, -1) and _is_heard_equally(layer)


def _is_heard_equally(layer: Any) -> bool:
    by = {id(node.operation): node.operation for node in layer._outbound_nodes}
    return bool(by) and all(map(_hears_equally, by.values()))


def _hears_equally(operation: Any) -> bool:
    if isinstance(operation, _KEEPS_EQUAL):
        return _is_heard_equally(operation)
    return isinstance(operation, _WEIGHTED) and _equal(operation.kernel, -2)


def _equal(variable: Any, axis: int) -> bool:
    """Whether the first, second and last slice along an axis are equal."""
    if variable.shape[axis] < 2:
        return False
    values = np.moveaxis(keras.ops.convert_to_numpy(variable), axis, 0)
    return all(np.array_equal(values[0], values[other]) for other in (1, -1))
