"""What one layer of a compiled stack makes of its input."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from vgkeras.sweeps.optimizers import CompiledOptimizer

# Multiply-and-add beats a matrix product in narrow layers, and in wider ones as long as
# the products of all inputs, outputs and samples are few: they are held in memory, too.
_NARROW, _FEW_PRODUCTS = 4, 2**13
_EPSILON = 1e-3  # of Keras' normalization layers
_ACTIVATIONS: dict[str, Callable] = {
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "selu": tf.nn.selu,
    "gelu": lambda z: tf.nn.gelu(z, approximate=False),
}


class Recipe(NamedTuple):
    """How the stacks of one program are built and trained; see `build_stack`."""

    activation: str = "linear"
    normalization: str | None = None
    residual: bool | str = False
    optimizer: CompiledOptimizer = CompiledOptimizer()

    @property
    def linear(self) -> bool:
        """Whether all layers are alike: kernels and nothing else."""
        return self[:3] == ("linear", None, False)


def dense(signal: tf.Tensor, kernel: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """`signal @ kernel` in every lane, for one layer or for all; sums in `wide`.

    Args:
        signal: Shape `(..., lanes, inputs, samples)`.
        kernel: Shape `(..., lanes, inputs, outputs)`.
        wide: Format of the sums; the format of half-precision sums is float32.

    Returns:
        Shape `(..., lanes, outputs, samples)`.
    """
    a, k = tf.cast(signal, wide), tf.cast(kernel, wide)
    width, samples = kernel.shape[-1], signal.shape[-1]
    if width > _NARROW and width * width * samples > _FEW_PRODUCTS:
        product = tf.matmul(k, a, transpose_a=True)
    else:
        product = tf.reduce_sum(k[..., :, :, None] * a[..., :, None, :], axis=-3)
    return tf.cast(product, signal.dtype)


def layer(
    recipe: Recipe,
    units: int,
    wide: tf.DType,
    signal: tf.Tensor,
    last: tf.Tensor,
    kernel: tf.Tensor,
    alpha: tf.Tensor | None = None,
) -> tf.Tensor:
    """What one layer of a stack makes of its input, for one layer or for all.

    Args:
        recipe: What a hidden layer is.
        units: Width of the hidden layers; features beyond it are padding.
        wide: Format of sums and of normalization.
        signal: Shape `(..., lanes, width, samples)`.
        last: Whether it is the last layer, which is linear: `(..., lanes, 1, 1)`.
        kernel: Shape `(..., lanes, width, width)`.
        alpha: Factor of the new part beside a shortcut, `(..., lanes, 1, 1)`.

    Returns:
        The layer's output, in the shape of `signal`.
    """
    product = dense(signal, kernel, wide)
    if recipe.linear:
        return product
    hidden = _hidden(recipe, product[..., :units, :], wide)
    if alpha is not None:
        hidden = alpha * hidden
    if recipe.residual:
        hidden = signal[..., :units, :] + hidden
    padding = product.shape[-2] - units
    if padding:
        edges = [[0, 0]] * (len(product.shape) - 2) + [[0, padding], [0, 0]]
        hidden = tf.pad(hidden, edges)
    return tf.where(last, product, hidden)


def _hidden(recipe: Recipe, product: tf.Tensor, wide: tf.DType) -> tf.Tensor:
    """Normalization and activation; Keras normalizes half precision in float32."""
    if recipe.normalization is not None:
        axis = -2 if recipe.normalization == "layer" else -1
        values = tf.cast(product, wide)
        centred = values - tf.reduce_mean(values, axis, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis, keepdims=True)
        product = tf.cast(centred * tf.math.rsqrt(variance + _EPSILON), product.dtype)
    if recipe.activation == "linear":
        return product
    return _ACTIVATIONS[recipe.activation](product)
