import math

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import stacks


@pytest.mark.parametrize("depth", [1, 2, 150, 152])
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_a_stack_is_linear_dense_layers_with_scaled_identities(depth, scale):
    model = stacks.build_stack(depth, scale=scale)

    assert isinstance(model, keras.Sequential)
    assert len(model.layers) == depth
    for layer in model.layers:
        assert type(layer) is keras.layers.Dense
        assert not layer.use_bias
        assert layer.activation is keras.activations.linear
        assert_array_equal(layer.kernel.numpy(), scale * np.eye(2, dtype="float32"))


def test_a_stack_multiplies_by_the_power_of_its_scale(rng):
    x = rng.normal(size=(5, 3))

    model = stacks.build_stack(7, units=3, scale=0.5, dtype="float64")

    assert_array_equal(model(x).numpy(), x * 2.0**-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_weights_and_arithmetic_have_the_dtype(dtype):
    model = stacks.build_stack(2, scale=0.5, dtype=dtype)

    assert {weight.dtype for weight in model.weights} == {dtype}
    assert model(np.ones((1, 2))).dtype == dtype


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_last_layer_may_have_another_width(outputs):
    model = stacks.build_stack(3, units=2, scale=0.5, output_units=outputs)

    assert_array_equal(model.layers[-1].kernel.numpy(), 0.5 * np.eye(2, outputs))
    assert_array_equal(model.layers[0].kernel.numpy(), 0.5 * np.eye(2))


@pytest.mark.parametrize(
    "initializer",
    ["glorot_uniform", "orthogonal", keras.initializers.HeNormal(seed=3)],
)
@pytest.mark.parametrize("seed", [None, 0])
def test_every_layer_draws_a_kernel_of_its_own(initializer, seed):
    model = stacks.build_stack(4, kernel_initializer=initializer, seed=seed)

    kernels = {layer.kernel.numpy().tobytes() for layer in model.layers}
    assert len(kernels) == 4


def test_neighbouring_seeds_share_no_kernel():
    kernels = [
        kernel.tobytes()
        for seed in (0, 1)
        for kernel in stacks.initial_kernels(
            3, kernel_initializer="glorot_normal", seed=seed
        )
    ]

    assert len(set(kernels)) == 6


def test_the_same_seed_gives_the_same_stack_whatever_came_before():
    first = stacks.build_stack(3, kernel_initializer="he_normal", seed=5)
    keras.utils.set_random_seed(99)
    stacks.build_stack(2, kernel_initializer="he_normal")
    second = stacks.build_stack(3, kernel_initializer="he_normal", seed=5)

    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "start", [{"scale": 0.9}, {"kernel_initializer": "glorot_uniform", "seed": 1}]
)
def test_initial_kernels_are_those_of_the_built_stack(start):
    model = stacks.build_stack(3, units=4, output_units=2, **start)

    kernels = stacks.initial_kernels(3, units=4, output_units=2, **start)

    for kernel, weight in zip(kernels, model.get_weights(), strict=True):
        assert_array_equal(kernel, weight)


@pytest.mark.slow
def test_a_stack_deeper_than_keras_can_walk_still_runs_in_its_dtype(rng):
    x = rng.normal(size=(3, 2))

    model = stacks.build_stack(1100, scale=1.0, dtype="float64")

    assert_array_equal(model(x).numpy(), x)


def test_a_stack_can_be_saved_compiled_and_fitted(rng, tmp_path):
    x = rng.normal(size=(4, 2)).astype("float32")
    model = stacks.build_stack(3, scale=0.5)

    model.save(tmp_path / "stack.keras")
    restored = keras.models.load_model(tmp_path / "stack.keras")
    assert_array_equal(restored(x).numpy(), model(x).numpy())

    model.compile("sgd", "mse")
    history = model.fit(x, x, epochs=1, verbose=0)
    assert history.history["loss"][0] == pytest.approx(np.mean((x / 8 - x) ** 2))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"depth": 0}, ValueError, "`depth` must be a positive integer"),
        ({"depth": 2.0}, TypeError, "`depth` must be a positive integer"),
        ({"depth": 2, "units": 0}, ValueError, "`units` must be a positive integer"),
        (
            {"depth": 2, "output_units": -1},
            ValueError,
            "`output_units` must be a positive integer",
        ),
        ({"depth": 2, "scale": np.nan}, ValueError, "`scale` must be a finite number"),
        ({"depth": 2, "dtype": "int8"}, ValueError, "`dtype` must be one of 'float16'"),
        (
            {"depth": 2, "scale": 1.0, "kernel_initializer": "zeros"},
            ValueError,
            "`scale` and `kernel_initializer` cannot both be given",
        ),
        (
            {"depth": 2, "kernel_initializer": "nonsense"},
            ValueError,
            "`kernel_initializer` must be a Keras initializer, its name or its config",
        ),
        (
            {"depth": 2, "kernel_initializer": "he_normal", "seed": -1},
            ValueError,
            "`seed` must be a non-negative integer",
        ),
    ],
)
def test_a_bad_argument_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        stacks.build_stack(**arguments)


ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "selu": lambda z: (
        1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z))
    ),
    "gelu": lambda z: z * np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2,
}


def hidden_by_hand(a, kernel, *, activation, normalization, residual):
    z = a @ kernel
    if normalization is not None:
        axis = 1 if normalization == "layer" else 0
        centred = z - z.mean(axis, keepdims=True)
        z = centred / np.sqrt((centred**2).mean(axis, keepdims=True) + 1e-3)
    z = ACTIVATIONS[activation](z)
    return {False: z, True: a + z, "zero": a}[residual]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
@pytest.mark.parametrize("residual", [False, True, "zero"])
def test_the_remedies_change_the_hidden_layers_only(
    activation, normalization, residual, rng
):
    options = {
        "activation": activation,
        "normalization": normalization,
        "residual": residual,
    }
    x = rng.normal(size=(6, 3))

    model = stacks.build_stack(
        4,
        units=3,
        output_units=2,
        kernel_initializer="glorot_normal",
        dtype="float64",
        seed=1,
        **options,
    )

    a = x
    *hidden, last = [model.get_layer(f"dense_{k}").kernel.numpy() for k in (1, 2, 3, 4)]
    for kernel in hidden:
        a = hidden_by_hand(a, kernel, **options)
    # Keras' gelu has the root of 2 in float32
    tolerance = 1e-6 if activation == "gelu" else 1e-12
    assert_allclose(model(x, training=True).numpy(), a @ last, rtol=tolerance)


def test_a_shortcut_that_starts_at_zero_can_be_trained_and_saved(tmp_path, rng):
    model = stacks.build_stack(3, residual="zero", scale=0.5)
    model.layers[-2].alpha.assign(0.25)

    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")

    x = rng.normal(size=(4, 2)).astype("float32")
    assert [v.path.split("/")[-2] for v in model.trainable_variables] == [
        *("dense_1", "shortcut_1", "dense_2", "shortcut_2", "dense_3")
    ]
    assert_array_equal(restored(x), model(x))


@pytest.mark.slow
def test_a_remedied_stack_of_152_layers_is_built():
    model = stacks.build_stack(
        152, kernel_initializer="orthogonal", activation="tanh", residual=True
    )

    assert np.isfinite(model(np.ones((1, 2)))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "softmax"}, "`activation` must be one of 'linear', 'relu'"),
        ({"residual": "yes"}, "`residual` must be False, True or 'zero'. Received"),
        ({"residual": 1}, "`residual` must be False, True or 'zero'. Received"),
        ({"normalization": "group"}, "`normalization` must be one of 'layer', 'batch'"),
    ],
)
def test_unknown_remedies_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        stacks.build_stack(2, **options)
