"""LSUV kernels, held to what the layers of a real Keras model make of them."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import stacks
from vgkeras.sweeps import Recipe, unit_variance


@pytest.mark.parametrize(
    ("activation", "normalization", "residual"),
    [
        ("linear", None, False),
        ("relu", None, False),
        ("tanh", None, True),
        ("gelu", "layer", False),
        ("relu", None, "zero"),
    ],
)
def test_every_dense_layer_gives_variance_1(activation, normalization, residual, rng):
    depth, units = 6, 8
    x = rng.normal(size=(32, units))
    model = stacks.build_stack(
        depth,
        units,
        output_units=3,
        kernel_initializer="orthogonal",
        activation=activation,
        normalization=normalization,
        residual=residual,
        seed=1,
        dtype="float64",
    )
    dense = [model.get_layer(f"dense_{k}") for k in range(1, depth + 1)]
    kernels = [3.0 * layer.kernel.numpy() for layer in dense]
    recipe = Recipe(activation, normalization, residual)

    for layer, kernel in zip(dense, unit_variance(kernels, x, recipe), strict=True):
        layer.kernel.assign(kernel)

    entering = keras.Model(model.inputs, [layer.input for layer in dense])
    for layer, signal in zip(dense, entering.predict(x, verbose=0), strict=True):
        assert_allclose(np.std(signal @ layer.kernel.numpy()), 1, rtol=1e-6)


def test_a_kernel_whose_output_is_constant_stays():
    kernels = [np.zeros((2, 2), "float32"), np.eye(2, dtype="float32")]

    rescaled = unit_variance(kernels, np.ones((4, 2)), Recipe())

    for kernel, before in zip(rescaled, kernels, strict=True):
        assert kernel.dtype == "float32"
        assert_array_equal(kernel, before)
