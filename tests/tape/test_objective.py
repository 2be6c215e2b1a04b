"""The loss that the tape differentiates is the one that `fit` would see."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

import vgkeras as vg
from vgkeras import tape, testing

L = keras.layers
ASSERTIONS = [
    testing.assert_gradients_finite,
    testing.assert_gradients_connected,
    testing.assert_not_vanishing,
    testing.assert_not_exploding,
    testing.assert_gradients_match_numeric,
]


def by_train_step(model, x, y=None, sample_weight=None):
    """log10 norms of the gradients by the lines of Keras' own `train_step`."""
    with tf.GradientTape() as watch:
        loss = model.compute_loss(x, y, model(x, training=True), sample_weight)
    gradients = watch.gradient(loss, model.trainable_variables)
    dense = [np.float64(tf.convert_to_tensor(g)) for g in gradients]
    return [np.log10(np.linalg.norm(g)) for g in dense]


def weight_norms(frame):
    return frame.loc[frame["kind"] == "weight_gradient", "log10_norm"].tolist()


def classifier(**more):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), L.Dense(16, "relu", **more)])
    model.add(L.Dense(5, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.fixture
def labelled(rng):
    return rng.normal(size=(12, 8)).astype("float32"), rng.integers(0, 5, 12)


def test_the_loss_of_compile_is_the_default(labelled):
    model = classifier()

    norms = weight_norms(vg.gradient_norms(model, *labelled))

    assert_allclose(norms, by_train_step(model, *labelled), atol=1e-5)
    named = vg.gradient_norms(model, *labelled, loss="sparse_categorical_crossentropy")
    assert_allclose(norms, weight_norms(named), atol=1e-5)


@pytest.mark.parametrize("loss", [None, "sparse_categorical_crossentropy"])
def test_regularizers_and_added_losses_are_part_of_the_loss(loss, labelled):
    class Penalty(L.Layer):
        def call(self, x):
            self.add_loss(tf.reduce_mean(x**2))
            return x

    model = classifier(kernel_regularizer=keras.regularizers.L2(1e2))
    layers = [keras.Input((8,)), model.layers[0], Penalty(), model.layers[1]]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")

    norms = weight_norms(vg.gradient_norms(model, *labelled, loss=loss))

    assert_allclose(norms, by_train_step(model, *labelled), atol=1e-5)
    rows = testing.assert_gradients_match_numeric(model, *labelled, loss=loss)
    tape_of_kernel = rows[rows["layer"] == 1]["tape"].iloc[0]
    without = testing.assert_gradients_match_numeric(classifier(), *labelled)
    assert abs(tape_of_kernel) > 10 * abs(
        without[without["layer"] == 1]["tape"].iloc[0]
    )


def test_a_model_with_nothing_but_added_losses_needs_no_targets(rng):
    x = rng.normal(size=(6, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, activity_regularizer="l2")])
    model.compile("sgd")

    norms = weight_norms(vg.gradient_norms(model, x))

    assert_allclose(norms[0], by_train_step(model, x)[0], atol=1e-5)
    testing.assert_gradients_match_numeric(model, x, exclude=["*/bias"])


@pytest.mark.parametrize("container", [dict, list])
def test_weights_of_losses_and_samples_count(container, rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = {n: L.Dense(k, name=n)(inputs) for n, k in (("a", 3), ("b", 1))}
    x, weight = rng.normal(size=(6, 4)).astype("float32"), rng.uniform(size=6)
    y = {"a": rng.integers(0, 3, 6), "b": rng.normal(size=6).astype("float32")}
    loss = {"a": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    loss["b"] = "mse"
    if container is list:
        outputs, y = list(outputs.values()), list(y.values())
    model = keras.Model(inputs, outputs)
    model.compile("sgd", loss, loss_weights={"a": 0.1, "b": 10.0})

    frame = vg.gradient_norms(model, x, y, sample_weight=weight)

    norms = by_train_step(model, x, y, tf.constant(weight, "float32"))
    assert_allclose(weight_norms(frame), norms, atol=1e-5)
    if container is dict:
        each = vg.gradient_norms(model, x, y, loss=loss, sample_weight=weight)
        assert_allclose(np.add(weight_norms(each), [-1, -1, 1, 1]), norms, atol=1e-5)


@pytest.mark.parametrize("loss", [None, "mse"])
def test_masked_steps_do_not_count(loss, rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), L.Embedding(9, 3, mask_zero=True), L.Dense(1)]
    )
    model.compile("sgd", "mse")
    x, y = rng.integers(0, 3, (4, 5)), rng.normal(size=(4, 5, 1)).astype("float32")

    norms = weight_norms(vg.gradient_norms(model, x, y, loss=loss))

    assert_allclose(norms, by_train_step(model, x, y), atol=1e-5)


def test_an_own_loss_takes_targets_in_the_shape_that_fit_gives_them(rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])

    def own(y, y_pred):
        return tf.reduce_mean((y - y_pred) ** 2, axis=-1)

    model.compile("sgd", own)
    x, y = rng.normal(size=(6, 3)).astype("float32"), rng.integers(0, 2, 6)

    norms = [weight_norms(vg.gradient_norms(model, x, y, loss=f)) for f in (None, own)]

    assert_allclose(norms, [by_train_step(model, x, y)] * 2, atol=1e-5)


def test_an_own_compute_loss_is_asked(labelled):
    class Halved(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight=None):
            return 0.5 * super().compute_loss(x, y, y_pred, sample_weight)

    plain = classifier()
    halved = Halved(plain.layers)
    halved.compile("adam", plain.loss)

    norms = [weight_norms(vg.gradient_norms(m, *labelled)) for m in (plain, halved)]

    assert_allclose(np.array(norms[0]) - np.log10(2), norms[1], atol=1e-5)
    testing.assert_gradients_match_numeric(halved, *labelled)


def test_a_batch_may_come_from_a_data_set(labelled):
    x, y = labelled
    weight = np.linspace(0, 1, len(x)).astype("float32")
    model = classifier()
    data = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(len(x))

    frames = [
        vg.gradient_norms(model, x, y, sample_weight=weight),
        vg.gradient_norms(model, data),
        vg.gradient_norms(model, next(iter(data))),
    ]

    assert_allclose(weight_norms(frames[1]), weight_norms(frames[0]))
    assert_allclose(weight_norms(frames[2]), weight_norms(frames[0]))
    assert_allclose(weight_norms(frames[0]), by_train_step(model, x, y, weight))
    assert str(vg.diagnose(model, data)) == str(
        vg.diagnose(model, x, y, sample_weight=weight)
    )


@pytest.mark.parametrize("assertion", ASSERTIONS)
def test_assertions_take_the_loss_of_compile_and_a_batch(assertion, labelled):
    data = tf.data.Dataset.from_tensor_slices(labelled).batch(len(labelled[0]))

    assertion(classifier(), *labelled)
    assertion(classifier(), data)


def test_a_model_whose_call_knows_no_training_is_called_without_it(rng):
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(1)

        def call(self, x):
            return self.dense(x)

    x = rng.normal(size=(4, 2))

    assert len(vg.gradient_norms(Plain(), x, x[:, :1], loss="mse")) == 4


def test_measuring_leaves_averages_seeds_and_metrics_alone(labelled):
    model = keras.Sequential(
        [keras.Input((8,)), L.BatchNormalization(), L.Dropout(0.5)]
    )
    model.add(L.Dense(5, "softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(*labelled)
    variables = [*model.variables, *model.metrics_variables]
    before = [np.array(v.value) for v in variables]

    first, second = (vg.gradient_norms(model, *labelled) for _ in range(2))

    assert_allclose(weight_norms(first), weight_norms(second), rtol=0)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)


def uncompiled():
    return keras.Sequential([keras.Input((8,)), L.Dense(5)], name="bare")


@pytest.mark.parametrize(
    "call", [vg.gradient_norms, vg.train, vg.diagnose, *ASSERTIONS]
)
def test_a_model_without_a_loss_asks_for_one(call, labelled):
    words = (
        r"`loss` must be given with a model that `compile\(\)` gave none\. Received: "
        r"loss=None with the model 'bare'\. Pass it, as in `loss='mse'`, or compile"
    )
    with_optimizer = uncompiled()
    with_optimizer.compile("sgd")

    for model in (uncompiled(), with_optimizer):
        with pytest.raises(ValueError, match=words):
            call(model, *labelled)


def test_bad_data_are_named(labelled):
    model, (x, y) = classifier(), labelled

    with pytest.raises(ValueError, match=r"be given .* Received: a model without y\."):
        vg.gradient_norms(model, x)
    with pytest.raises(ValueError, match=r"x.shape=\(12, 8\), y.shape=\(3,\)\."):
        vg.gradient_norms(model, x, y[:3])
    with pytest.raises(ValueError, match=r"`x` and `sample_weight` must have the same"):
        vg.gradient_norms(model, x, y, sample_weight=y[:3])


def test_a_float64_loss_of_a_stack_is_not_rounded():
    model = vg.build_stack(1, dtype="float64")
    x = np.full((1, 2), 1.0)

    taped = tape.tape_pass(tape.objective_of(model, x, x + 1e-12))

    assert float(taped.loss) == pytest.approx(1e-24, rel=1e-3)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.ones((4, 7)), r"float32 of shape \(None, 8\). Received: float64 of .*4, 7"),
        (
            np.ones((4, 2, 8)),
            r"of shape \(None, 8\). Received: .* of shape \(4, 2, 8\)",
        ),
        (np.ones((0, 8)), r"at least one sample. Received: float64 of shape \(0, 8\)"),
        (np.array([["a"] * 8] * 4), r"float32 of shape .* Received: string of shape"),
        ([[1.0] * 8] * 4, r"`x` must hold arrays .* a list of numbers"),
        (np.array([[None] * 8] * 4), r"`x` must hold arrays or tensors of numbers"),
    ],
)
def test_an_input_that_the_model_does_not_take_is_named(x, words):
    with pytest.raises(ValueError, match=words):
        vg.gradient_norms(classifier(), x, np.zeros(len(x)))


def test_weights_of_samples_are_an_array(labelled):
    with pytest.raises(ValueError, match="`sample_weight` must hold arrays"):
        vg.gradient_norms(classifier(), *labelled, sample_weight=[1, 2])


def test_a_model_that_was_built_by_its_first_data_takes_what_keras_takes():
    model = keras.Sequential([L.LSTM(3), L.Dense(1)])
    model(np.ones((2, 10, 1), "float32"))

    log = vg.gradient_through_time(model, np.ones((2, 20, 1)), np.ones(2), loss="mse")

    assert log.layers["time"].max() == 20
