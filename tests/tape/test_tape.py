import keras
import ml_dtypes
import mpmath as mp
import numpy as np
import pytest
import tensorflow as tf
from hand_backprop import backward, log10_norm
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import stacks, tape, theory
from vgkeras.logs import KINDS

FORMATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("outputs", [1, 4, 5])
def test_gradient_norms_match_hand_backprop(depth, outputs, rng):
    model = stacks.build_stack(
        depth,
        units=4,
        output_units=outputs,
        kernel_initializer="glorot_normal",
        dtype="float64",
        seed=0,
    )
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, outputs))

    frame = tape.gradient_norms(model, x, y)

    expected = backward(model.get_weights(), x, y)
    for kind in KINDS:
        rows = frame[frame["kind"] == kind]
        assert rows["layer"].tolist() == list(range(1, depth + 1))
        assert_allclose(
            rows["log10_norm"], [log10_norm(a) for a in expected[kind]], atol=1e-12
        )
        assert_allclose(
            rows["log10_max"],
            [np.log10(np.abs(a).max()) for a in expected[kind]],
            atol=1e-12,
        )
        assert_allclose(
            rows["log10_mean"],
            [np.log10(np.abs(a).mean()) for a in expected[kind]],
            atol=1e-12,
        )
        assert rows["size"].tolist() == [a.size for a in expected[kind]]


def test_one_weight_gradient_matches_a_finite_difference(rng):
    x, y = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    kernels = [rng.normal(size=(3, 3)) for _ in range(3)]
    model = stacks.build_stack(3, units=3, dtype="float64")
    model.set_weights(kernels)
    taped = tape.tape_pass(tape.objective_of(model, x, y, loss="mse"))

    def loss(entry):
        moved = [kernel.copy() for kernel in kernels]
        moved[1][2, 0] = entry
        return np.mean((x @ moved[0] @ moved[1] @ moved[2] - y) ** 2)

    centre, width = kernels[1][2, 0], 1e-5
    slope = (loss(centre + width) - loss(centre - width)) / (2 * width)
    assert taped.gradients[1].numpy()[2, 0] == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("scale", [0.3, 0.5, 0.9, 1.1, 1.5, 1.8])
@pytest.mark.parametrize("depth", [1, 2, 20, 152])
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_tape_meets_the_closed_form_in_float64(scale, depth, outputs):
    x, y = theory.make_data(output_units=outputs)
    model = stacks.build_stack(
        depth, scale=scale, output_units=outputs, dtype="float64"
    )

    frame = tape.gradient_norms(model, x, y)

    form = theory.closed_form(
        scale, depth, x, y, last_kernel=scale * np.eye(2, outputs)
    )
    for kind in KINDS:
        measured = frame.loc[frame["kind"] == kind, "log10_norm"]
        assert_allclose(measured, getattr(form, f"log10_{kind}"), atol=1e-9)


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("depth", [2, 20, 152])
def test_the_tape_meets_the_closed_form_in_float32_where_values_are_normal(
    scale, depth
):
    x, y = theory.make_data()
    model = stacks.build_stack(depth, scale=scale)

    frame = tape.gradient_norms(model, x, y)

    form = theory.closed_form(scale, depth, x, y)
    for kind in KINDS:
        rows = frame[frame["kind"] == kind]
        normal = rows["zero_fraction"].eq(0) & rows["nonfinite_fraction"].eq(0)
        predicted = getattr(form, f"log10_{kind}")
        assert_allclose(rows["log10_norm"][normal], predicted[normal], atol=1e-4)


def test_float32_loses_what_float64_still_sees():
    x, y = theory.make_data()

    single = tape.gradient_norms(stacks.build_stack(140, scale=0.5), x, y)
    double = tape.gradient_norms(
        stacks.build_stack(140, scale=0.5, dtype="float64"), x, y
    )

    last = (single["kind"] == "activation") & (single["layer"] == 140)
    assert single["log10_norm"][last].item() == -np.inf
    assert double["log10_norm"][last].item() == pytest.approx(
        140 * np.log10(0.5) + np.log10(np.linalg.norm(x))
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("graph", [False, True])
def test_statistics_are_exact_from_the_smallest_to_the_largest_number(kind, graph):
    info = ml_dtypes.finfo(kind)
    rows = [
        np.array(row, kind)
        for row in (
            [info.smallest_subnormal, info.smallest_subnormal],
            [info.smallest_normal, info.smallest_normal * kind(0.5)],
            [info.max, info.max],
            [3.0, -4.0],
            [0.0, -2.0],
        )
    ]
    measure = tf.function(tape.statistics) if graph else tape.statistics

    table = measure([tf.constant(row) for row in rows]).numpy()

    for row, measured in zip(rows, table, strict=True):
        squares = [mp.mpf(float(value)) ** 2 for value in row]
        assert measured[0] == pytest.approx(float(mp.log10(mp.sqrt(sum(squares)))))
        assert measured[1] == pytest.approx(float(mp.log10(mp.sqrt(max(squares)))))
        mean = mp.fsum(abs(mp.mpf(float(value))) for value in row) / len(row)
        assert measured[2] == pytest.approx(float(mp.log10(mean)))
    assert_array_equal(table[:, 3], [0, 0, 0, 0, 0.5])
    assert_array_equal(table[:, 4], 0)


def test_zero_and_overflow_are_told_apart():
    rows = [[0.0, -0.0], [np.inf, 1.0], [-np.inf, 0.0], [np.nan, np.nan]]

    table = tape.statistics([tf.constant(row) for row in rows]).numpy()

    assert_array_equal(table[:, 0], [-np.inf, np.inf, np.inf, np.inf])
    assert_array_equal(table[:, 1], [-np.inf, np.inf, np.inf, np.inf])
    assert_array_equal(table[:, 2], [-np.inf, np.inf, np.inf, np.inf])
    assert_array_equal(table[:, 3], [1, 0, 0.5, 0])
    assert_array_equal(table[:, 4], [0, 0.5, 0.5, 1])


def test_statistics_keep_the_order_of_mixed_shapes_and_absent_tensors():
    tensors = [tf.ones([2]), None, 10 * tf.ones([1]), tf.ones([2], tf.float64) / 100]

    table = tape.statistics(tensors).numpy()

    assert_allclose(table[:, 1], [0, np.nan, 1, -2], atol=1e-12)
    assert tape.statistics([]).shape == (0, 5)


def test_an_update_is_measured_even_where_it_rounds_away():
    weights = [tf.constant([3.0, 4.0]), tf.constant([1.0]), tf.ones([2])]
    directions = [tf.constant([0.0, 1.0]), tf.constant([1e-38]), None]

    table = tape.update_statistics(weights, directions, 0.5).numpy()

    assert_allclose(table, [[0.5, 0.1], [1, 5e-39], [np.nan, np.nan]], rtol=1e-6)
    without_rate = tape.update_statistics(weights, directions, np.nan).numpy()
    assert np.isnan(without_rate).all()
    assert tape.update_statistics([], [], 0.5).shape == (0, 2)


def test_layers_are_numbered_and_named_in_the_order_of_their_calls(rng):
    shared = keras.layers.Dense(3, name="shared")
    unused = keras.layers.Dense(3, name="unused")

    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.head = keras.layers.Dense(1, name="head")
            self.shared = shared
            self.unused = unused

        def call(self, x):
            return self.head(self.shared(self.shared(x)))

    unused.build((None, 3))
    model, x = Net(), rng.normal(size=(4, 3)).astype("float32")
    model(x)

    frame = tape.gradient_norms(model, x, x[:, :1], loss="mse").set_index("name")

    outputs = frame[frame["kind"] == "activation"]
    assert outputs.index.tolist() == ["shared", "shared", "head"]
    assert outputs["layer"].tolist() == [1, 1, 2]
    assert outputs["call"].tolist() == [1, 2, 1]
    table = frame.reset_index().pivot(
        index=["layer", "name", "call"], columns="kind", values="log10_norm"
    )
    assert len(table) == 3 + len(model.trainable_variables)
    weights = frame[frame["kind"] == "weight_gradient"]["log10_norm"]
    assert np.isfinite(weights["shared/kernel"])
    assert np.isnan(weights["unused/kernel"])
    assert "call" not in shared.__dict__


def test_a_model_that_fails_is_left_as_it_was():
    def fail(x):
        raise ArithmeticError("in a layer")

    model = stacks.build_stack(2)
    model.layers[-1].activation = fail

    with pytest.raises(ArithmeticError, match="in a layer"):
        tape.gradient_norms(model, np.ones((1, 2)), np.ones((1, 2)))

    assert all("call" not in layer.__dict__ for layer in model.layers)


@pytest.mark.parametrize(
    "loss", ["mean_squared_error", keras.losses.MeanSquaredError(), lambda y, p: p - y]
)
def test_a_loss_may_be_a_name_an_object_or_a_function(loss):
    model = stacks.build_stack(2, scale=2.0)
    x = np.ones((2, 2), "float32")

    frame = tape.gradient_norms(model, x, 0 * x, loss=loss)

    rows = frame[frame["kind"] == "activation_gradient"]["log10_norm"]
    expected = 1 / 4 if callable(loss) and not hasattr(loss, "call") else 2 * 4 / 4
    assert rows.iloc[-1] == pytest.approx(np.log10(2 * expected))


def test_a_float64_model_is_not_rounded_by_its_loss():
    model = stacks.build_stack(1, dtype="float64")
    x = np.full((1, 2), 1.0)

    taped = tape.tape_pass(tape.objective_of(model, x, x + 1e-12, loss="mse"))

    assert float(taped.loss) == pytest.approx(1e-24, rel=1e-3)


def test_bad_arguments_are_named():
    model = stacks.build_stack(1)

    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        tape.gradient_norms("model", 1, 1)
    with pytest.raises(ValueError, match="`loss` must be a Keras loss, its name, or"):
        tape.gradient_norms(model, 1, 1, loss="nonsense")
    with pytest.raises(ValueError, match="`loss` must be a Keras loss, its name, or"):
        tape.gradient_norms(model, 1, 1, loss=3.0)
