"""Gradients held to finite differences: right ones pass, wrong ones are found."""

import functools
import math

import keras
import mpmath
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from test_assertions import failure

from vgkeras import stacks, testing, theory
from vgkeras.testing.differences import Line

L = keras.layers
assert_match = functools.partial(testing.assert_gradients_match_numeric, loss="mse")


@keras.saving.register_keras_serializable("tests")
class Backwards(L.Layer):
    """Multiplies by a kernel; `spoil` has the last word on the gradients."""

    def __init__(self, spoil, **kwargs):
        super().__init__(**kwargs)
        self.spoil = spoil

    def build(self, shape):
        self.kernel = self.add_weight(
            (shape[-1], shape[-1]), name="kernel", initializer="orthogonal"
        )

    def call(self, x):
        @tf.custom_gradient
        def product(x, kernel):
            def gradient(upstream):
                by_x = tf.matmul(upstream, kernel, transpose_b=True)
                by_kernel = tf.matmul(x, upstream, transpose_a=True)
                return self.spoil(by_x, by_kernel)

            return tf.matmul(x, kernel), gradient

        return product(x, self.kernel.value)


def one_entry(by_x, by_kernel):
    """Doubles a single entry of the kernel's gradient."""
    mask = np.ones(by_kernel.shape)
    mask[1, 2] = 2.0
    return by_x, by_kernel * mask


def two_entries(by_x, by_kernel):
    """Shifts two entries by the same amount, one up and one down."""
    shift = np.zeros(by_kernel.shape)
    shift[0, 0], shift[1, 1] = 1e-3, -1e-3
    return by_x, by_kernel + shift


SPOILED = {
    "factor": lambda by_x, by_kernel: (by_x, 1.01 * by_kernel),
    "sign": lambda by_x, by_kernel: (by_x, -by_kernel),
    "one entry": one_entry,
    "two entries": two_entries,
    "transposed": lambda by_x, by_kernel: (by_x, tf.transpose(by_kernel)),
    "zero": lambda by_x, by_kernel: (by_x, 0 * by_kernel),
    "nan": lambda by_x, by_kernel: (by_x, math.nan * by_kernel),
}


def right(by_x, by_kernel):
    return by_x, by_kernel


def backwards(spoil, depth=3, units=4, at=2, dtype="float32"):
    """A network of dense layers, of which number `at` is a `Backwards`."""
    keras.utils.set_random_seed(0)
    layers = [
        Backwards(spoil, name=f"layer_{number}", dtype=dtype)
        if number == at
        else L.Dense(
            units,
            kernel_initializer="orthogonal",
            use_bias=False,
            name=f"layer_{number}",
            dtype=dtype,
        )
        for number in range(1, depth + 1)
    ]
    return keras.Sequential([keras.Input((units,)), *layers])


@pytest.fixture
def square(rng):
    return rng.normal(size=(6, 4)), rng.normal(size=(6, 4))


# Wrong gradients.


@pytest.mark.parametrize(
    ("spoil", "dtype"),
    [*((spoil, "float32") for spoil in SPOILED), ("factor", "float16")],
)
def test_a_wrong_gradient_of_a_kernel_is_found(spoil, dtype, square):
    model = backwards(SPOILED[spoil], dtype=dtype)

    text = failure(assert_match, model, *square)

    assert "gradient of layer 2 (layer_2/kernel) does not match finite diff" in text
    assert "Rule: |tape - numeric| <= 0.0001" in text
    assert "2 of 8 rows are bad" in text
    assert "The last bad layer is 2 (layer_2/kernel)" in text


def test_the_ratio_tells_a_factor_from_a_sign(square):
    doubled = failure(assert_match, backwards(lambda x, k: (x, 2 * k)), *square)
    turned = failure(assert_match, backwards(lambda x, k: (x, -k)), *square)

    for text, ratio in ((doubled, "2"), (turned, "-1")):
        bad = [line.split() for line in text.splitlines() if line.startswith(">")]
        assert [line[-1] for line in bad] == [ratio, ratio]


def backprop(model, x, y):
    """Gradient of the mean square by the kernel in the middle of three layers."""
    first, second, third = (layer.kernel.numpy() for layer in model.layers)
    return (x @ first).T @ (2 * (x @ first @ second @ third - y) / y.size) @ third.T


def test_the_measured_difference_is_relative_to_the_derivative(square):
    model = backwards(lambda by_x, by_kernel: (by_x, -by_kernel))
    steepest = {"layer_2/kernel": backprop(model, *square)}

    text = failure(assert_match, model, *square, directions=steepest)

    # |-1 - 1| / 1, and log10(2 / 1e-4)
    assert "Measured: 2, 4.3 decades beyond" in text


def test_a_wrong_gradient_of_the_inputs_spoils_all_layers_in_front(square):
    model = backwards(lambda by_x, by_kernel: (-by_x, by_kernel), depth=5, at=4)

    text = failure(assert_match, model, *square, directions=1)

    assert "The gradient of layer 1 (layer_1/kernel) does not match" in text
    assert "3 of 6 rows are bad" in text
    assert (
        "The last bad layer is 3 (layer_3/kernel): the wrong formula is in it, or"
        in (text)
    )


def test_a_right_custom_gradient_passes(square):
    assert_match(backwards(right), *square)


def test_a_wrong_gradient_can_be_excluded(square):
    assert_match(backwards(SPOILED["sign"]), *square, exclude=["layer_2"])
    assert_match(backwards(SPOILED["sign"]), *square, exclude=[2])


@pytest.mark.slow
def test_one_wrong_layer_of_152_is_found(square):
    model = backwards(SPOILED["one entry"], depth=152, at=77)

    text = failure(assert_match, model, *square, directions=1)

    assert "gradient of layer 77 (layer_77/kernel)" in text.splitlines()[0]
    assert "1 of 153 rows are bad" in text
    assert any(
        line.startswith("> 77     layer_77/kernel") for line in text.splitlines()
    )
    assert len(text.splitlines()) < 40


def test_a_wrong_loss_is_found(square):
    @tf.custom_gradient
    def loss(y, y_pred):
        difference = y_pred - y
        return tf.reduce_mean(difference**2), lambda u: (None, u * difference)

    text = failure(assert_match, backwards(right), *square, loss=loss)

    assert text.startswith("The gradient of the loss by the outputs does not match")
    # of 2 (y_pred - y) / 24 it is 12 times too much
    bad = [line.split() for line in text.splitlines() if line.startswith(">")]
    assert [line[-1] for line in bad] == ["12", "12"]
    assert "2 of 8 rows are bad" in text


def test_a_gradient_that_is_none_is_found(square):
    class Cut(L.Layer):
        def call(self, x):
            return tf.stop_gradient(x)

    model = keras.Sequential([L.Dense(4, name="front"), Cut(), L.Dense(4)])

    text = failure(assert_match, model, *square)

    assert (
        "(front/kernel) does not match finite differences: the tape says +0.000e"
        in (text)
    )
    assert_match(model, *square, exclude=["front"])


# Right gradients.


@pytest.mark.parametrize(
    "activation", ["relu", "tanh", "sigmoid", "gelu", "elu", "leaky_relu"]
)
def test_smooth_and_kinked_activations_pass(activation, square):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Dense(16, activation=activation), L.Dense(4)])

    rows = assert_match(model, *square)

    assert rows["resolved"].all()
    assert_allclose(rows["tape"], rows["numeric"], rtol=1e-6, atol=1e-9)


def images(rng):
    """Pictures with black corners: a `relu` behind zero biases sits on its kink."""
    x = rng.normal(size=(5, 8, 8, 1))
    x[:, :4] = 0.0
    return x.astype("float32"), rng.integers(0, 3, 5)


def test_a_convolutional_classifier_passes(rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            L.Conv2D(4, 3, activation="relu", padding="same", name="first"),
            L.MaxPooling2D(),
            L.Conv2D(4, 3, padding="same", name="second"),
            L.BatchNormalization(),
            L.ReLU(),
            L.Dropout(0.4),
            L.Flatten(),
            L.Dense(3, activation="softmax"),
        ]
    )

    rows = assert_match(model, *images(rng), loss="sparse_categorical_crossentropy")

    rows = rows.set_index("name")
    assert rows.loc["first/bias", "beside_kink"].any()
    # The normalization takes the mean away again: the derivative is 0.
    assert not rows.loc["second/bias", "resolved"].any()
    assert (rows.loc["second/bias", "tape"].abs() < 1e-12).all()
    assert rows.drop("second/bias")["resolved"].all()


@pytest.mark.parametrize("training", [True, False])
def test_dropout_and_batch_normalization_pass(training, square):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [L.Dense(8), L.BatchNormalization(), L.Dropout(0.5), L.Dense(4)]
    )

    rows = assert_match(model, *square, training=training)

    assert len(rows) == 14
    tape = rows[rows["name"].str.endswith("bias")].iloc[0]["tape"]
    assert (abs(tape) < 1e-12) == training


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.LSTM(3),
        lambda: L.Bidirectional(L.GRU(2)),
        lambda: L.GlobalAveragePooling1D(),
        lambda: L.Conv1D(2, 2, activation="relu"),
    ],
)
def test_sequences_of_words_pass(layer, rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [L.Embedding(50, 4), layer(), L.Flatten(), L.Dense(1, activation="sigmoid")]
    )
    x, y = rng.integers(0, 50, (4, 3)), rng.integers(0, 2, (4, 1))

    assert assert_match(model, x, y, loss="binary_crossentropy")["resolved"].all()


def test_attention_passes(rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4))
    hidden = L.LayerNormalization()(inputs + L.MultiHeadAttention(2, 3)(inputs, inputs))
    model = keras.Model(inputs, L.Dense(2)(hidden))

    assert_match(model, rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 5, 2)))


@pytest.mark.parametrize("container", [dict, list])
def test_several_inputs_and_outputs_pass(container, rng):
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    shared = L.Dense(3, activation="tanh")
    joined = L.Concatenate()([shared(shared(right)), left])
    outputs = [L.Dense(2)(joined), L.Dense(3, activation="softmax")(joined)]
    x = [rng.normal(size=(6, 4)), tf.constant(rng.normal(size=(6, 3)), tf.float32)]
    y = [rng.normal(size=(6, 2)), rng.integers(0, 3, 6)]
    loss = ["mae", keras.losses.SparseCategoricalCrossentropy()]
    if container is list:
        model = keras.Model([left, right], outputs)
    else:
        model = keras.Model(
            {"left": left, "right": right}, dict(zip("ab", outputs, strict=True))
        )
        x = dict(zip(("left", "right"), x, strict=True))
        y, loss = (dict(zip("ab", values, strict=True)) for values in (y, loss))

    rows = assert_match(model, x, y, loss=loss)

    assert rows["resolved"].all()
    assert set(rows["name"]) >= {"loss, by output 1", "loss, by output 2"}


class NoConfig(keras.Model):
    """A subclassed model that Keras could not clone."""

    def __init__(self, layers):
        super().__init__()
        self.parts = layers

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return keras.ops.tanh(x)


def test_a_subclassed_model_without_a_config_passes(square):
    inner = keras.Sequential([keras.Input((5,)), L.Dense(5, activation="relu")])
    model = NoConfig([L.Dense(5), inner, L.Lambda(lambda x: x**2), L.Dense(4)])

    assert assert_match(model, *square)["resolved"].all()


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16", "float64"])
def test_the_format_of_the_model_does_not_blur_the_differences(policy, square):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [L.Dense(5, activation="tanh", dtype=policy), L.Dense(4, dtype="float32")]
    )

    rows = assert_match(model, *square, tolerance=1e-7)

    assert rows["resolved"].all()


def test_an_eager_model_passes(square):
    class Eager(L.Layer):
        def call(self, x):
            x.numpy()
            return 2 * x

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([L.Dense(4), Eager(), L.Dense(4)])
    model.run_eagerly = True

    assert_match(model, *square)


def test_a_layer_of_float32_inside_is_judged_by_its_own_rounding(square):
    class Narrow(L.Layer):
        def call(self, x):
            return tf.cast(tf.sin(tf.cast(x, tf.float32)), x.dtype)

    keras.utils.set_random_seed(0)

    def model(factor):
        return keras.Sequential([L.Dense(4), Narrow(), factor, L.Dense(4)])

    assert_match(model(L.Identity()), *square)
    keras.utils.set_random_seed(0)
    failure(assert_match, model(Backwards(SPOILED["factor"])), *square)


# Sizes.


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.5, 1e-30, 1e30])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_lessons_stacks_pass_at_any_scale(scale, depth):
    model = stacks.build_stack(depth, scale=scale)

    rows = assert_match(model, *theory.make_data(), directions=1)

    assert rows["resolved"].all()
    assert_allclose(rows["tape"], rows["numeric"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_152_layers_pass(scale):
    model = stacks.build_stack(152, scale=scale)
    last = {f"dense_{layer}/kernel": [[1.0, 2.0], [3.0, 4.0]] for layer in (1, 80, 152)}

    rows = assert_match(
        model,
        *theory.make_data(),
        directions={name: np.array(matrix) for name, matrix in last.items()},
    )

    # y = x, whitened: dL/dW = c^151 (c^152 - 1) I; along the unit vector trace / norm
    expected = scale**151 * (scale**152 - 1) * 5 / math.sqrt(30)
    rows = rows[rows["layer"] > 0]
    assert_allclose(rows["numeric"], expected, rtol=1e-6)
    assert_allclose(rows["tape"], expected, rtol=1e-6)


@pytest.mark.slow
def test_derivatives_that_rounding_hides_are_not_resolved(square):
    keras.utils.set_random_seed(0)
    layers = [L.Dense(4, activation="sigmoid", name=f"s_{n}") for n in range(1, 31)]
    model = keras.Sequential([*layers, L.Dense(4)])

    rows = assert_match(model, *square, directions=1).set_index("name")

    assert not rows.loc["s_1/kernel", "resolved"]
    assert 0 < abs(rows.loc["s_1/kernel", "tape"]) < 1e-16
    assert rows.loc["s_30/kernel", "resolved"]


def test_dead_units_agree_on_0(square):
    bias = keras.initializers.Constant(-100.0)
    model = keras.Sequential(
        [L.Dense(4, activation="relu", bias_initializer=bias, name="dead"), L.Dense(4)]
    )

    rows = assert_match(model, *square).set_index("name")

    assert (rows.loc["dead/kernel", ["tape", "numeric"]] == 0).all(axis=None)


def test_what_overflows_in_float64_cannot_be_compared():
    text = failure(
        assert_match, stacks.build_stack(11, scale=1e30), *theory.make_data()
    )

    assert "the loss by the model's outputs is Inf or NaN, even in float64" in text


def test_nothing_to_compare_is_a_failure(square):
    x, _ = square
    model = stacks.build_stack(3, units=4)  # the identity

    text = failure(assert_match, model, x, x)

    assert "No gradient can be compared with finite differences: each is 0" in text


# What stays, and what is repeated.


@pytest.mark.parametrize("fails", [True, False])
def test_the_model_stays_as_it_was(fails, square):
    keras.utils.set_random_seed(0)
    spoil = SPOILED["sign"] if fails else right
    inputs = keras.Input((4,))
    hidden = L.Dropout(0.5)(L.BatchNormalization()(L.Dense(4)(inputs)))
    model = keras.Model(inputs, Backwards(spoil)(hidden))
    loss = keras.losses.MeanSquaredError()
    before = [(v.value, v.numpy(), v.dtype) for v in model.variables]
    outputs = model(square[0]).numpy()

    if fails:
        failure(assert_match, model, *square, loss=loss)
    else:
        assert_match(model, *square, loss=loss)

    for variable, (value, array, dtype) in zip(model.variables, before, strict=True):
        assert variable.value is value
        assert variable.dtype == dtype
        assert_array_equal(variable.numpy(), array)
    assert_array_equal(model(square[0]).numpy(), outputs)
    assert model(square[0]).dtype == tf.float32
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert loss.dtype == keras.config.floatx() == "float32"


def test_a_loss_that_fixes_a_format_is_refused_in_words(square):
    def loss(y, p):
        return tf.reduce_mean(tf.square(p - tf.constant(1.0, tf.float32)))

    model = keras.Sequential([L.Dense(4)])

    with pytest.raises(ValueError, match=r"float64.*, and its loss too\. Received"):
        assert_match(model, *square, loss=loss)


def test_an_error_leaves_the_model_as_it_was(square):
    class Broken(L.Layer):
        def call(self, x):
            return x * tf.constant(2.0, tf.float32)

    model = keras.Sequential([L.Dense(4), Broken(name="broken")])

    with pytest.raises(
        ValueError,
        match=r"`model` must be able to compute in float64.* calling Broken.call\(\)"
        r".*double tensor but is a float tensor.*Let its layers use `keras.ops`",
    ):
        assert_match(model, *square)

    assert keras.config.floatx() == "float32"
    assert model(square[0]).dtype == tf.float32


def test_the_seed_decides_the_directions(square):
    model = backwards(right)

    first, second = (assert_match(model, *square, seed=1) for _ in range(2))
    third = assert_match(model, *square, seed=2)

    assert first.equals(second)
    assert not np.isclose(first["tape"], third["tape"]).any()


def test_the_derivative_is_that_along_the_direction(square):
    model = backwards(right, dtype="float64")
    direction = np.arange(16.0).reshape(4, 4)

    rows = assert_match(
        model, *square, directions={"layer_2/kernel": [direction, 7 * direction]}
    )

    gradient = backprop(model, *square)
    expected = np.sum(gradient * direction) / np.linalg.norm(direction)
    rows = rows[rows["layer"] > 0]
    assert rows["name"].tolist() == ["layer_2/kernel"] * 2
    assert_allclose(rows["tape"], expected, rtol=1e-12)
    assert_allclose(rows["numeric"], expected, rtol=1e-8)


# Refusals.


def test_a_model_that_is_random_is_refused(square):
    class Noisy(L.Layer):
        def call(self, x, training=False):
            return x + keras.random.normal((4,)) if training else x

    model = keras.Sequential([L.Dense(4), Noisy()])

    with pytest.raises(ValueError, match="`model` must give the same outputs whenever"):
        assert_match(model, *square)
    assert_match(model, *square, training=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tolerance": 0}, ValueError, "`tolerance` must be a positive, finite number"),
        ({"directions": 0}, ValueError, "`directions` must be a positive integer"),
        ({"directions": 1.5}, TypeError, "`directions` must be a positive integer"),
        (
            {"directions": {"layer_9/kernel": 1}},
            ValueError,
            "`directions` must name trainable variables. Received: 'layer_9/kernel', ",
        ),
        (
            {"directions": {"layer_1/kernel": np.ones(4)}},
            ValueError,
            r"for 'layer_1/kernel', finite arrays of shape \(4, 4\).* shape \(4,\)",
        ),
        (
            {"directions": {"layer_1/kernel": np.zeros((4, 4))}},
            ValueError,
            "that are not all 0. Received: .* norm 0",
        ),
        (
            {"directions": {"layer_1/kernel": np.full((4, 4), np.nan)}},
            ValueError,
            "Received: .* norm nan",
        ),
        ({"seed": -1}, ValueError, "`seed` must be a non-negative integer"),
        ({"training": 1}, TypeError, "`training` must be True or False. Received: tra"),
        ({"exclude": "layer_1"}, TypeError, "`exclude` must be a list or tuple of nam"),
        ({"exclude": ["layer_9"]}, ValueError, "'layer_9', which is none of"),
        ({"loss": "nonsense"}, ValueError, "`loss` must be a Keras loss, its name"),
    ],
)
def test_refused_arguments(arguments, error, message, square):
    with pytest.raises(error, match=message):
        assert_match(backwards(right), *square, **arguments)


def test_only_models_with_data_are_compared(square):
    with pytest.raises(
        TypeError, match=r"`model` must be a Keras model\. Received: mo"
    ):
        assert_match("model", *square)
    with pytest.raises(ValueError, match="`x` and `y` must be given with a model"):
        assert_match(backwards(right), None, None)


# The differences themselves.


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (np.sin, mpmath.cos(1)),
        (lambda t: np.exp(30 * (t - 1)), 30),
        (lambda t: 1e-200 * t**3, mpmath.mpf("3e-200")),
        (lambda t: 1e200 * t**3, mpmath.mpf("3e200")),
        (lambda t: 1e9 + np.sqrt(t), 0.5),
    ],
)
@pytest.mark.parametrize("length", [1.0, 1e-20, 1e3])
def test_differences_are_as_good_as_they_say(function, exact, length):
    line = Line(
        lambda t: [np.array(function(1.0 + t))], [np.ones(())], length, limit=1e-2
    )

    slope = line.best_slope()

    assert abs(slope.value - float(exact)) <= slope.error
    assert slope.error <= 0.05 * abs(float(exact))
    assert slope.kink <= 1e-6 * abs(float(exact))


def test_differences_see_a_kink():
    line = Line(lambda t: [np.array([1.0 + abs(t)])], [np.ones(1)], 1.0, limit=1e-2)

    slope = line.best_slope()

    assert slope.kink == pytest.approx(1.0)
