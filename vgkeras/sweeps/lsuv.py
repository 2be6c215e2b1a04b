"""Layer-sequential unit-variance initialization (LSUV) of the compiled stacks."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vgkeras.sweeps.layers import Recipe, layer


def unit_variance(
    kernels: Sequence[np.ndarray], x: np.ndarray, recipe: Recipe
) -> list[np.ndarray]:
    """Rescales kernels, layer by layer, until what each makes of `x` has variance 1.

    It is what the kernel gives that has variance 1, before normalization, activation
    and shortcut. The published method repeats the division until it holds to a
    tolerance; here there is no bias, and once is exact.

    Args:
        kernels: `depth` kernels, `(units, units)` and at last `(units, outputs)`.
            Published: orthogonal ones.
        x: Inputs, shape `(samples, units)`.
        recipe: What follows the kernel of a hidden layer.

    Returns:
        As many kernels, in the format of those given. A kernel whose output is 0, or
        the same everywhere, stays as it is.

    Reference:
        [Mishkin & Matas, 2016](https://arxiv.org/abs/1511.06422).
    """
    signal = tf.constant(x.T[None], tf.float64)  # one lane
    units, rescaled = x.shape[1], []
    alpha = tf.zeros([1, 1, 1], tf.float64) if recipe.residual == "zero" else None
    for number, kernel in enumerate(kernels, start=1):
        wide = kernel.astype(np.float64)
        deviation = np.einsum("bus,uo->bos", signal.numpy(), wide).std()
        wide /= deviation if 0 < deviation < np.inf else 1.0
        rescaled.append(wide.astype(kernel.dtype))
        if number < len(kernels):
            last, weight = tf.constant(False, shape=[1, 1, 1]), tf.constant(wide[None])
            signal = layer(recipe, units, tf.float64, signal, last, weight, alpha)
    return rescaled
