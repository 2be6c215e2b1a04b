"""GradientLogger against gradients computed apart from the training step.

A logged fit takes a second to trace, half of it for the comparison of weights, and with
XLA three more. So tests that do not look at updates leave them out, and what XLA adds
is held once in every run and the rest in the slow one.
"""

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hand_backprop import descend, log10_norm
from numpy.testing import assert_allclose, assert_array_equal

import vgkeras as vg
from vgkeras import stacks, tape
from vgkeras.callbacks import GradientLogger
from vgkeras.callbacks.step_statistics import (
    changes,
    in_matrices,
    measures,
    quick_statistics,
)
from vgkeras.callbacks.storage import Series
from vgkeras.callbacks.writer import Writer
from vgkeras.logs import KINDS

MODES = {
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
    "eager": {"run_eagerly": True},
    "three steps at once": {"jit_compile": False, "steps_per_execution": 3},
}
GRAPH = MODES["graph"]
slow = pytest.mark.slow
SLOW_MODES = {"xla", "three steps at once"}
MODE_CASES = [pytest.param(m, marks=slow) if m in SLOW_MODES else m for m in MODES]


class Batches(keras.callbacks.Callback):
    """The weights before each batch, as the oracle needs them."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_begin(self, batch, logs=None):
        self.weights.append([v.numpy() for v in self.model.variables])


def data(rng, samples=12, inputs=4, outputs=2):
    shapes = (samples, inputs), (samples, outputs)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def mlp(inputs=4, outputs=2, **arguments):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(5, activation="relu", name="first"),
        keras.layers.Dense(outputs, name="last"),
    ]
    model = keras.Sequential([keras.Input((inputs,)), *layers], name="mlp")
    model.compile(**{"optimizer": "sgd", "loss": "mse", **GRAPH, **arguments})
    return model


def fit(model, x, y, callbacks, *, batch_size=4, **arguments):
    arguments = {"shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, batch_size=batch_size, callbacks=callbacks, **arguments)


def gradients_at(model, x, y, weights=None):
    """One tape over the model with these weights, apart from any fit."""
    before = [v.numpy() for v in model.variables]
    for variable, value in zip(model.variables, weights or before, strict=True):
        variable.assign(value)
    with tf.GradientTape() as recorder:
        loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
    gradients = recorder.gradient(loss, [v.value for v in model.trainable_variables])
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def norms(log, kind=KINDS[0]):
    """log10 norms, a row per logged step."""
    rows = log.layers[log.layers["kind"] == kind]
    return np.array([step["log10_norm"] for _, step in rows.groupby("step")])


def expected_norms(gradients):
    return [log10_norm(gradient.astype(np.float64)) for gradient in gradients]


@pytest.fixture(scope="module")
def finished():
    """A model and its logger after a fit, to be looked at only."""
    model, logger = mlp(), GradientLogger()
    fit(model, *data(np.random.default_rng(0)), [logger])
    return model, logger


# --- What is logged -------------------------------------------------------------------


def test_every_column_meets_hand_backprop_on_a_linear_stack(rng):
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    model = stacks.build_stack(
        3, 3, output_units=2, kernel_initializer="he_normal", dtype="float64", seed=1
    )
    kernels = model.get_weights()
    loss = keras.losses.MeanSquaredError(dtype="float64")
    model.compile(keras.optimizers.SGD(0.1), loss, **GRAPH)
    logger = GradientLogger(kinds=KINDS, updates=1)

    fit(model, x, y, [logger], batch_size=6, epochs=4)

    log, rate = logger.log, float(np.float32(0.1))
    history = descend(kernels, x, y, steps=4, learning_rate=rate)
    assert_allclose(log.losses["loss"], [one["loss"] for one in history[:4]], rtol=1e-6)
    for step, one in enumerate(history[:4]):
        for kind in KINDS:
            at = (log.layers["step"] == step) & (log.layers["kind"] == kind)
            rows, tensors = log.layers[at], [np.abs(tensor) for tensor in one[kind]]
            assert rows["layer"].tolist() == [1, 2, 3]
            close = {"atol": 1e-6}
            assert_allclose(rows["log10_norm"], list(map(log10_norm, tensors)), **close)
            largest = [np.log10(tensor.max()) for tensor in tensors]
            assert_allclose(rows["log10_max"], largest, **close)
            mean = [np.log10(tensor.mean()) for tensor in tensors]
            assert_allclose(rows["log10_mean"], mean, **close)
            assert rows["size"].tolist() == [tensor.size for tensor in tensors]
            assert (rows[["zero_fraction", "nonfinite_fraction"]] == 0).all(axis=None)
        ratios = log.layers[log.layers["step"] == step]["update_ratio"][:3]
        assert_allclose(
            ratios,
            [
                rate * np.linalg.norm(g) / np.linalg.norm(k)
                for g, k in zip(one["weight_gradient"], kernels, strict=True)
            ],
            rtol=1e-5,
        )
        weights = log.layers[log.layers["step"] == step][:3]
        assert_allclose(weights["log10_weight"], list(map(log10_norm, kernels)), 1e-5)
        assert_allclose(weights["cosine"], -1, atol=1e-5)
        kernels = [
            k - rate * g for k, g in zip(kernels, one["weight_gradient"], strict=True)
        ]


@functools.cache
def norms_of_two_epochs(samples):
    """The norms of each batch of a plain fit with Adam, by a tape apart from it."""
    x, y = data(np.random.default_rng(0), samples)
    twin, batches = mlp(optimizer=keras.optimizers.Adam(0.1)), Batches()
    fit(twin, x, y, [batches], epochs=2)
    places = [slice(start, start + 4) for _ in range(2) for start in (0, 4, 8, 12)]
    return [
        expected_norms(gradients_at(twin, x[place], y[place], weights))
        for weights, place in zip(batches.weights, places, strict=True)
    ]


@pytest.mark.parametrize("mode", MODE_CASES)
def test_the_gradients_are_those_of_each_batch_at_its_weights(mode, rng):
    x, y = data(rng, samples=16 if mode == "xla" else 14)  # XLA compiles by shape
    model = mlp(optimizer=keras.optimizers.Adam(0.1), **MODES[mode])
    logger = GradientLogger(updates=2)

    fit(model, x, y, [logger], epochs=2)

    log = logger.log
    assert_allclose(norms(log), norms_of_two_epochs(len(x)), atol=1e-4)
    first = log.layers[log.layers["step"] == 0]
    assert first["name"].tolist() == [
        "first/kernel",
        "first/bias",
        "last/kernel",
        "last/bias",
    ]
    assert first["layer"].tolist() == [1, 1, 2, 2]
    assert first["size"].tolist() == [20, 5, 10, 2]
    compared = log.layers.groupby("step")["frozen_fraction"].count()
    assert compared.tolist() == [4, 0] * 4
    assert log.runs[
        ["steps", "depth", "optimizer", "dtype", "outcome"]
    ].values.tolist() == [[8, 2, "adam", "float32", ""]]


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_activations_and_their_gradients_meet_a_tape(mode, rng):
    x, y = data(rng)
    model = mlp(**MODES[mode])
    expected = tape.gradient_norms(model, x, y)
    logger = GradientLogger(kinds=KINDS)

    fit(model, x, y, [logger], batch_size=12)

    names = ["layer", "name", "kind", "size"]
    log = logger.log.layers
    assert log[names].values.tolist() == expected[names].values.tolist()
    columns = ["log10_norm", "log10_max", "log10_mean", "zero_fraction"]
    assert_allclose(log[columns], expected[columns], atol=1e-5)


@pytest.mark.slow
def test_kinds_may_be_logged_alone(rng):
    logger = GradientLogger(kinds=["activation_gradient"], updates=None)

    fit(mlp(), *data(rng), [logger])

    assert set(logger.log.layers["kind"]) == {"activation_gradient"}


@pytest.mark.slow
def test_only_every_so_many_steps_are_logged_but_all_losses(rng):
    x, y = data(rng, samples=40)
    dense = GradientLogger(updates=None)
    sparse = GradientLogger(every=4, updates=None)

    fit(mlp(), x, y, [dense])
    fit(mlp(), x, y, [sparse])

    assert sparse.log.layers["step"].unique().tolist() == [0, 4, 8]
    losses = ["run", "step", "loss", "learning_rate"]  # what a batch holds: at looks
    assert sparse.log.losses[losses].equals(dense.log.losses[losses])
    assert_array_equal(norms(sparse.log), norms(dense.log)[::4])


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers", [["last"], lambda layer: layer.name == "last"], ids=["names", "function"]
)
def test_layers_may_be_chosen(layers, rng):
    logger = GradientLogger(kinds=KINDS, layers=layers, updates=None)

    fit(mlp(), *data(rng), [logger])

    rows = logger.log.layers
    assert set(rows["name"]) == {"last/kernel", "last/bias", "last"}
    assert set(rows["layer"]) == {2}


def test_gradients_are_logged_before_they_are_clipped(rng):
    x, y = data(rng)
    model = mlp(optimizer=keras.optimizers.SGD(0.1, clipnorm=1e-6))
    expected = gradients_at(model, x, y)
    logger = GradientLogger(updates=None)

    fit(model, x, y, [logger], batch_size=12)

    assert_allclose(norms(logger.log)[0], expected_norms(expected), atol=1e-5)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_each_batch(rng):
    x, y = data(rng, samples=16)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = mlp(optimizer=optimizer)
    expected = [gradients_at(model, x[i : i + 4], y[i : i + 4]) for i in (0, 4)]
    logger = GradientLogger(updates=1)

    fit(model, x, y, [logger])

    assert_allclose(
        norms(logger.log)[:2], list(map(expected_norms, expected)), atol=1e-5
    )
    ratios = logger.log.layers.groupby("step")["update_ratio"].count()
    assert ratios.tolist() == [0, 4, 0, 4]  # no update after the first of two


@pytest.mark.slow
def test_zeros_are_counted_now_and_then_but_none_but_zeros_is_always_known(rng):
    x, y = data(rng, samples=28)
    model, logger = mlp(), GradientLogger(updates=3)
    model.layers[0].bias.assign([1, 1, -99, -99, -99])  # three units are dead
    twin = mlp()
    twin.layers[0].bias.assign([-99] * 5)
    dead = GradientLogger(updates=3)

    fit(model, x, y, [logger])
    fit(twin, x, y, [dead])

    rows = shares_of_zeros(logger.log)
    assert rows.index[rows.notna().any(axis=1)].tolist() == [0, 3, 6]
    counted = rows.dropna()
    assert_allclose(counted["first/kernel"], 3 / 5, atol=1e-6)
    assert_allclose(counted["last/kernel"], 3 / 5, atol=1e-6)
    assert (counted["last/bias"] == 0).all()
    rows = shares_of_zeros(dead.log)
    assert (rows[["first/kernel", "first/bias", "last/kernel"]] == 1).all(axis=None)
    assert rows["last/bias"].count() == 3


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "eager", pytest.param("xla", marks=slow)])
def test_zeros_are_counted_at_every_step_beside_other_kinds(mode, rng):
    logger = GradientLogger(kinds=KINDS, updates=3)

    fit(mlp(**MODES[mode]), *data(rng), [logger])

    layers = logger.log.layers
    assert layers[["zero_fraction", "log10_mean"]].notna().all(axis=None)
    assert layers.groupby("step")["frozen_fraction"].count().tolist() == [4, 0, 0]


@pytest.mark.slow
def test_zeros_are_counted_though_weights_are_never_compared(rng):
    logger = GradientLogger(every=2, updates=None)

    fit(mlp(), *data(rng, samples=45), [logger], batch_size=1)

    counted = logger.log.layers.groupby("step")["zero_fraction"].count()
    looks = counted.index[counted > 0]
    assert looks.tolist() == [0, 2, 4, 10, 20, 40]  # logged steps 1, 2, 3, 6, 11, 21
    assert logger.log.layers["frozen_fraction"].isna().all()


@pytest.mark.slow
def test_zeros_are_known_wherever_weights_were_compared(rng):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    logger = GradientLogger(updates=3)

    fit(mlp(optimizer=optimizer), *data(rng, samples=14), [logger], batch_size=1)

    rows = logger.log.layers
    compared = rows["frozen_fraction"].notna()
    assert rows[compared]["step"].unique().tolist() == [2, 11]
    assert rows[compared]["zero_fraction"].notna().all()
    assert rows["zero_fraction"].isna().any()


def shares_of_zeros(log):
    """A row per step and a column per variable."""
    return log.layers.pivot(index="step", columns="name", values="zero_fraction")


@pytest.mark.slow
def test_an_update_that_rounds_away_is_told_from_one_that_does_not(rng):
    x, y = data(rng)
    model = mlp(optimizer=keras.optimizers.SGD(1e-12))
    model.layers[0].kernel.assign(keras.ops.ones((4, 5)))
    logger = GradientLogger()

    fit(model, x, y, [logger], batch_size=12)

    frozen = logger.log.layers.set_index("name")["frozen_fraction"]
    assert frozen["first/kernel"] == 1
    assert frozen["last/bias"] == 0  # it was 0: any update counts


# --- Models ---------------------------------------------------------------------------


class Unbuilt(keras.Model):
    """Shares a layer, and owns one that the loss does not depend on."""

    def __init__(self):
        super().__init__(name="unbuilt")
        self.shared = keras.layers.Dense(4, name="shared")
        self.unused = keras.layers.Dense(4, name="unused")
        self.head = keras.layers.Dense(2, name="head")

    def call(self, x):
        self.unused(x)
        return self.head(self.shared(self.shared(x)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
def test_an_unbuilt_model_shares_layers_and_names_what_has_no_gradient(rng):
    x, y = data(rng)
    keras.utils.set_random_seed(0)
    model, logger = Unbuilt(), GradientLogger(kinds=KINDS, updates=None)
    model.compile("sgd", "mse", **GRAPH)

    fit(model, x, y, [logger], batch_size=12)

    rows = logger.log.layers
    names = rows.groupby("kind", observed=True)["name"].agg(list)
    assert names["activation"] == ["unused", "shared", "shared", "head"]
    weights = rows[rows["kind"] == KINDS[0]].set_index("name")
    assert np.isnan(weights["log10_norm"]["unused/kernel"])
    assert weights["size"]["unused/kernel"] == 16
    assert np.isfinite(
        weights["log10_norm"].drop(["unused/kernel", "unused/bias"])
    ).all()
    assert weights["layer"]["shared/kernel"] == 2


@pytest.mark.slow
def test_frozen_layers_are_named(rng):
    model, logger = mlp(), GradientLogger(updates=None)
    model.layers[0].trainable = False
    model.compile("sgd", "mse", **GRAPH)

    fit(model, *data(rng), [logger])

    assert set(logger.log.layers["name"]) == {"last/kernel", "last/bias"}
    assert logger.log.metadata["frozen_layers"] == ["mlp/first"]


@pytest.mark.slow
def test_a_model_may_have_several_inputs_outputs_and_losses_of_its_own(rng):
    one, two = keras.Input((3,), name="one"), keras.Input((2,), name="two")
    both = keras.layers.Concatenate()([keras.layers.Dense(4, name="d")(one), two])
    outputs = {name: keras.layers.Dense(1, name=name)(both) for name in ("a", "b")}
    model = keras.Model({"one": one, "two": two}, outputs)
    x = {"one": rng.normal(size=(8, 3)), "two": rng.normal(size=(8, 2))}
    y = {name: rng.normal(size=(8, 1)) for name in outputs}
    model.compile(
        "sgd",
        {"a": "mse", "b": lambda y, p: keras.ops.abs(y - p) ** 3},
        loss_weights={"a": 1.0, "b": 0.5},
        **GRAPH,
    )
    kernel = {name: model.get_layer(name).get_weights()[0] for name in outputs}
    hidden = x["one"] @ model.get_layer("d").get_weights()[0]
    features = np.concatenate([hidden, x["two"]], axis=1)
    logger = GradientLogger(updates=None)

    fit(model, x, y, [logger], batch_size=8)

    residual = {name: features @ kernel[name] - y[name] for name in outputs}
    expected = {
        "a/kernel": features.T @ (2 * residual["a"] / 8),
        "b/kernel": features.T @ (0.5 * 3 * residual["b"] * np.abs(residual["b"]) / 8),
    }
    log10_norms = logger.log.layers.set_index("name")["log10_norm"]
    for name, gradient in expected.items():
        assert log10_norms[name] == pytest.approx(log10_norm(gradient), abs=1e-5)


@pytest.mark.slow
def test_recurrent_layers_and_embeddings_are_logged_as_a_whole(rng):
    x = rng.integers(0, 9, size=(8, 5)).astype("int32")
    y = rng.normal(size=(8, 2)).astype("float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(10, 3, name="words"),
            keras.layers.LSTM(2, name="lstm"),
        ]
    )
    model.compile("sgd", "mse", **GRAPH)
    expected = gradients_at(model, x, y)
    logger = GradientLogger(kinds=KINDS)

    fit(model, x, y, [logger], batch_size=8)

    rows = logger.log.layers
    weights = rows[rows["kind"] == KINDS[0]]
    assert_allclose(weights["log10_norm"], expected_norms(expected), atol=1e-5)
    unseen = 1 - len(np.unique(x)) / 10
    assert weights["zero_fraction"].iloc[0] == pytest.approx(unseen)
    assert weights["layer"].tolist() == [1, 2, 2, 2]
    assert rows[rows["kind"] == "activation"]["name"].tolist() == ["words", "lstm"]


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["dynamic", "factor"])
def test_a_scaled_loss_is_logged_unscaled(scaling, rng):
    x, y = data(rng)
    optimizer = keras.optimizers.SGD(0.01)
    if scaling == "dynamic":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**9)
    else:
        optimizer.loss_scale_factor = 2.0**9
    model = mlp(optimizer=optimizer)
    expected = tape.gradient_norms(model, x, y)
    logger = GradientLogger(kinds=KINDS, updates=None)

    history = fit(model, x, y, [logger], batch_size=12)

    assert_allclose(logger.log.layers["log10_norm"], expected["log10_norm"], atol=1e-5)
    assert logger.log.losses["loss"][0] == pytest.approx(history.history["loss"][0])


def test_mixed_precision_is_logged_under_its_name(rng):
    x, y = data(rng)
    policy = keras.DTypePolicy("mixed_float16")
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2, dtype=policy)], name="mixed"
    )
    inner = keras.optimizers.SGD(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse", **GRAPH)
    expected = tape.gradient_norms(model, x, y)
    logger = GradientLogger(updates=None)

    fit(model, x, y, [logger], batch_size=12)

    log = logger.log
    assert log.runs["dtype"].tolist() == ["mixed_float16"]
    assert log.runs["optimizer"].tolist() == ["lossscaleoptimizer(sgd)"]
    rows = expected[expected["kind"] == KINDS[0]]["log10_norm"]
    assert_allclose(log.layers["log10_norm"], rows, atol=2e-2)


@pytest.mark.parametrize("mode", ["graph", "eager", pytest.param("xla", marks=slow)])
def test_gradients_that_are_not_finite_are_logged(mode, rng):
    x, y = data(rng)
    x[0] = np.inf
    model, logger = mlp(**MODES[mode]), GradientLogger()

    fit(model, x, y, [logger], batch_size=12, epochs=2)

    log = logger.log
    first = log.layers[log.layers["step"] == 0].set_index("name")
    assert first["log10_norm"]["first/kernel"] == np.inf
    assert 0 < first["nonfinite_fraction"]["first/kernel"] <= 1
    assert log.runs["outcome"].tolist() == ["diverges"]
    assert np.isinf(norms(log)[1]).all()


@pytest.mark.slow
def test_a_step_that_loss_scaling_skips_has_made_no_update(rng):
    x, y = data(rng)
    inner = keras.optimizers.SGD(0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127)
    model, logger = mlp(optimizer=optimizer), GradientLogger(updates=1)

    fit(model, 1e3 * x, y, [logger], batch_size=12)

    rows = logger.log.layers.set_index("name")
    assert rows["nonfinite_fraction"]["first/kernel"] > 0
    assert rows["update_ratio"].isna().all()


@pytest.mark.slow
def test_epochs_shorter_than_a_ring_are_fetched_once_each(rng, monkeypatch):
    fetch, steps = Writer.fetch, []

    def counted(writer):
        news = fetch(writer)
        steps.append(news.steps.tolist())
        return news

    monkeypatch.setattr(Writer, "fetch", counted)
    model, logger = mlp(), GradientLogger(updates=None)

    fit(model, *data(rng, samples=100), [logger], batch_size=1, epochs=3)

    epochs = [[*range(start, start + 100)] for start in (0, 100, 200)]
    assert steps == epochs  # a ring holds 128


# --- A fit is a fit -------------------------------------------------------------------


def convolutions():
    layers = [
        keras.layers.Conv2D(3, 3, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((6, 6, 2)), *layers]), (6, 6, 2)


def classifier():
    layers = [
        keras.layers.Dense(8, activation="gelu", kernel_regularizer="l2"),
        keras.layers.LayerNormalization(),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((7,)), *layers]), (7,)


def small_classifier():
    """XLA takes ten seconds more for the other one."""
    layers = [
        keras.layers.Dense(4, activation="gelu", kernel_regularizer="l2"),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential([keras.Input((7,)), *layers]), (7,)


@pytest.mark.parametrize(
    ("make", "mode", "every"),
    [
        (classifier, "graph", 1),
        pytest.param(small_classifier, "xla", 1, marks=slow),
        (classifier, "eager", 2),
        pytest.param(classifier, "three steps at once", 2, marks=slow),
        pytest.param(convolutions, "graph", 1, marks=slow),
    ],
)
def test_weights_are_bit_for_bit_those_of_a_plain_fit(make, mode, every, rng):
    _, shape = make()
    x = rng.normal(size=(20, *shape)).astype("float32")
    y = rng.integers(0, 3, size=20)
    results = []
    for callbacks in [[], [GradientLogger(every, KINDS, updates=1)]]:
        keras.utils.set_random_seed(0)
        model, _ = make()
        optimizer = keras.optimizers.Adam(0.01, clipnorm=0.1)
        model.compile(optimizer, "sparse_categorical_crossentropy", **MODES[mode])
        history = fit(model, x, y, callbacks, epochs=2)
        variables = [*model.variables, *optimizer.variables]
        results.append(([v.numpy() for v in variables], history.history["loss"]))

    (plain, plain_losses), (logged, logged_losses) = results
    assert plain_losses == logged_losses
    for one, other in zip(plain, logged, strict=True):
        assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # so says Keras
def test_validation_is_not_logged_and_tf_data_of_unknown_size_is(rng):
    x, y = data(rng)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    batches = batches.filter(lambda x, y: True)
    model, logger = mlp(), GradientLogger(updates=None)

    fit(
        model,
        batches,
        None,
        [logger],
        batch_size=None,
        validation_data=(x, y),
        epochs=2,
    )

    assert logger.log.losses["step"].tolist() == list(range(6))


def test_a_second_fit_goes_on_with_the_count_and_compiles_nothing(rng):
    x, y = data(rng)
    model, logger, plain = mlp(), GradientLogger(), mlp()

    fit(model, x, y, [logger], epochs=2)
    function = logger._fitting._other
    fit(model, x, y, [])
    fit(model, x, y, [logger], epochs=3, initial_epoch=2)
    fit(plain, x, y, [], epochs=4)

    assert logger.log.losses["step"].tolist() == list(range(9))
    assert logger.log.metadata["epochs"] == [[0, 0], [1, 3], [2, 6]]
    assert logger._fitting._other is function
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        assert_array_equal(one, other)


class Interrupt(keras.callbacks.Callback):
    """Stops a fit in the way of Ctrl-C."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_after_an_interrupt_the_model_is_plain_and_the_log_goes_on(rng):
    x, y = data(rng)
    model, logger = mlp(), GradientLogger()

    with pytest.raises(KeyboardInterrupt):
        fit(model, x, y, [logger, Interrupt()])
    interrupted = logger.log
    fit(model, x, y, [])  # a plain fit, not logged
    plain = dict(vars(model))
    model.evaluate(x, y, verbose=0)
    fit(model, x, y, [logger])

    assert interrupted.losses["step"].tolist() == [0, 1]
    assert "make_train_function" not in plain
    assert plain["train_function"] is logger._fitting._own
    assert logger.log.losses["step"].tolist() == list(range(5))
    assert "train_step" not in vars(model)
    assert all("call" not in vars(layer) for layer in model.layers)


def test_an_error_in_the_step_leaves_the_model_plain(rng):
    x, y = data(rng)
    model, logger = mlp(run_eagerly=True), GradientLogger(updates=None)
    fit(model, x, y, [logger])
    own = logger._fitting._own

    with pytest.raises(ValueError, match="expected axis -1 of input shape"):
        fit(model, x[:, :3], y, [logger])

    assert model.train_function is own
    assert "apply" not in vars(model.optimizer)
    assert "gradient" in vars(tf.GradientTape)
    assert logger.log.losses["step"].tolist() == [0, 1, 2]


# --- Train steps of one's own ---------------------------------------------------------


class Adversaries(keras.Model):
    """Two networks, two optimizers, one train step."""

    def __init__(self):
        super().__init__(name="adversaries")
        self.critic = keras.Sequential([keras.layers.Dense(1)], name="critic")
        self.maker = keras.Sequential([keras.layers.Dense(4)], name="maker")
        self.critic_optimizer = keras.optimizers.SGD(0.1)
        self.both = {"maker": keras.optimizers.Adam(0.1)}

    def call(self, x):
        return self.critic(self.maker(x))

    def train_step(self, data):
        x, _ = data
        with tf.GradientTape() as recorder:
            loss = tf.reduce_mean(self.critic(x)) - tf.reduce_mean(self(x))
        weights = self.critic.trainable_variables
        gradients = recorder.gradient(loss, weights)
        self.critic_optimizer.apply_gradients(zip(gradients, weights, strict=True))
        with tf.GradientTape() as recorder:
            loss = tf.reduce_mean(self(x))
        weights = self.maker.trainable_variables
        self.both["maker"].apply(recorder.gradient(loss, weights), weights)
        return {"maker_loss": loss}


@pytest.mark.slow
def test_every_optimizer_of_a_train_step_is_heard(rng):
    x, y = data(rng)
    keras.utils.set_random_seed(0)
    model, logger = Adversaries(), GradientLogger(updates=None)
    model.compile(**GRAPH)
    model(x)
    kernel = model.maker.layers[0].kernel.numpy()

    fit(model, x, y, [logger], batch_size=12)

    log = logger.log
    assert (
        log.layers["name"].tolist()
        == [
            "critic/dense/kernel",
            "critic/dense/bias",
            "maker/dense_1/kernel",
            "maker/dense_1/bias",
        ]
        or len(log.layers) == 4
    )
    rows = log.layers.set_index(log.layers["name"].str.split("/").str[0])
    critic = x.mean(axis=0) - (x @ kernel).mean(axis=0)
    assert rows["log10_norm"]["critic"].iloc[0] == pytest.approx(log10_norm(critic))
    assert log.runs["optimizer"].tolist() == ["sgd+adam"]
    assert log.losses.empty  # no one loss: what is minimized differs
    assert rows["optimizer"].to_dict() == {
        "critic": "critic_optimizer",
        "maker": "both/maker",
    }


class ByHand(keras.Model):
    """A train step without any optimizer."""

    def __init__(self, logger=None):
        super().__init__(name="by_hand")
        self.dense = keras.layers.Dense(2, use_bias=False, name="dense")
        self.logger = logger

    def call(self, x):
        return self.dense(x)

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as recorder:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        gradients = recorder.gradient(loss, self.trainable_variables)
        if self.logger is not None:
            self.logger.record(gradients, self.trainable_variables, loss=loss)
        for gradient, variable in zip(gradients, self.trainable_variables, strict=True):
            variable.assign_sub(0.1 * gradient)
        return {"loss": loss}


@pytest.mark.slow
def test_a_train_step_that_hides_its_gradients_is_told_the_line_to_call(rng):
    x, y = data(rng)
    model = ByHand()
    model.compile(**GRAPH)

    with pytest.raises(
        RuntimeError,
        match=r"ByHand.train_step.*`logger.record\(gradients, variables\)`",
    ):
        fit(model, x, y, [GradientLogger()])


def test_what_a_train_step_records_is_logged(rng):
    x, y = data(rng)
    logger = GradientLogger(updates=None)
    model = ByHand(logger)
    model.compile(**GRAPH)
    model(x)
    kernel = model.get_weights()[0]

    fit(model, x, y, [logger], batch_size=12)

    gradient = 2 * x.T @ (x @ kernel - y) / y.size
    assert logger.log.layers["name"].tolist() == ["dense/kernel"]
    assert norms(logger.log)[0, 0] == pytest.approx(log10_norm(gradient), abs=1e-5)
    assert logger.log.losses["loss"][0] == pytest.approx(np.mean((x @ kernel - y) ** 2))


class Halving(keras.Sequential):
    """Changes its gradients before it applies them."""

    logger = None

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as recorder:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        weights = self.trainable_variables
        gradients = recorder.gradient(loss, weights)
        if self.logger is not None:
            self.logger.record(gradients, weights)
        self.optimizer.apply([g / 2 for g in gradients], weights)
        return {"loss": loss}


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True])
def test_record_comes_before_what_is_applied(recorded, rng):
    x, y = data(rng)
    keras.utils.set_random_seed(0)
    logger = GradientLogger()
    model = Halving([keras.Input((4,)), keras.layers.Dense(2)])
    Halving.logger = logger if recorded else None
    model.compile("sgd", "mse", **GRAPH)
    gradients = gradients_at(model, x, y)

    fit(model, x, y, [logger], batch_size=12)

    expected = np.array(expected_norms(gradients)) - (0 if recorded else np.log10(2))
    assert_allclose(norms(logger.log)[0], expected, atol=1e-5)
    assert logger.log.layers["update_ratio"].notna().all()


# --- Keras' logs ----------------------------------------------------------------------


@pytest.mark.slow
def test_norms_reach_history_and_csv_but_not_the_progress_bar(rng, tmp_path, capsys):
    x, y = data(rng)
    model, logger = mlp(), GradientLogger(updates=None)
    csv = keras.callbacks.CSVLogger(tmp_path / "log.csv")

    history = fit(model, x, y, [logger, csv], epochs=2, verbose=2)

    per_step = 10 ** norms(logger.log)[:3]
    expected = {
        "l2_norm/grad/global": np.linalg.norm(per_step, axis=1).mean(),
        "l2_norm/grad/first/kernel": per_step[:, 0].mean(),
    }
    written = pd.read_csv(tmp_path / "log.csv")
    for name, value in expected.items():
        assert history.history[name][0] == pytest.approx(value, rel=1e-5)
        assert written[name][0] == pytest.approx(value, rel=1e-5)
    assert sum("l2_norm" in name for name in history.history) == 5
    output = capsys.readouterr().out
    assert output.count("l2_norm/grad/global") == 2
    assert "first/kernel" not in output


@pytest.mark.parametrize(("scalars", "count"), [("global", 1), ("none", 0)])
def test_scalars_may_be_fewer(scalars, count, rng):
    history = fit(mlp(), *data(rng), [GradientLogger(scalars=scalars, updates=None)])

    assert len([name for name in history.history if "l2_norm" in name]) == count


def test_a_fit_may_be_stopped_by_a_norm(rng):
    stop = keras.callbacks.EarlyStopping("l2_norm/grad/global", mode="max")

    history = fit(mlp(), *data(rng), [GradientLogger(updates=None), stop], epochs=9)

    norms = history.history["l2_norm/grad/global"]
    assert len(norms) < 9
    assert norms[-1] <= norms[-2]


def test_norms_too_large_for_a_float_do_not_stop_a_fit(rng):
    x, y = data(rng)
    x[0, 0] = np.nan

    history = fit(mlp(), x, y, [GradientLogger(updates=None)])

    assert history.history["l2_norm/grad/global"] == [np.inf]


def test_tensorboard_gets_the_norms(rng, tmp_path):
    pytest.importorskip("tensorboard")
    board = keras.callbacks.TensorBoard(tmp_path)

    fit(mlp(), *data(rng), [GradientLogger(updates=None), board])

    written = b"".join(f.read_bytes() for f in tmp_path.rglob("*tfevents*"))
    assert b"epoch_l2_norm/grad/global" in written


# --- Long runs ------------------------------------------------------------------------


def test_a_million_steps_stay_within_their_memory():
    series, limit = Series(), 200_000
    largest = 0

    for start in range(0, 1_000_000, 64):
        steps = np.arange(start, start + 64)
        series.add(steps, np.repeat(steps[:, None], 3, axis=1).astype(np.float32))
        series.shrink(limit)
        largest = max(largest, series.nbytes)

    steps, values = series.arrays()
    assert largest <= limit
    assert_array_equal(values[:, 0], steps.astype(np.float32))
    most = limit // (3 * 4 + 8)
    assert len(steps) > most // 2
    newest = steps[-most // 4 :]
    assert_array_equal(newest, np.arange(newest[0], 1_000_000))
    assert steps[0] == 0
    older = np.diff(steps[steps < newest[0] - most])
    assert older.max() == older.min()  # the whole course, evenly


@pytest.mark.slow
def test_a_logger_stays_within_its_memory(rng):
    x, y = data(rng, samples=400)
    logger = GradientLogger(memory=0.02, updates=None)

    fit(mlp(), x, y, [logger], batch_size=1)

    log = logger.log
    assert logger._store.nbytes <= 0.02e6
    assert log.layers["step"].iloc[0] == 0
    assert log.layers["step"].iloc[-1] == 399
    assert len(log.losses) < 400


@pytest.mark.slow
def test_what_does_not_fit_goes_to_files(rng, tmp_path):
    x, y = data(rng, samples=400)
    folder = tmp_path / "run"
    long = GradientLogger(memory=0.02, path=folder, updates=None)
    whole = GradientLogger(updates=None)

    fit(mlp(), x, y, [long], batch_size=1)
    fit(mlp(), x, y, [whole], batch_size=1)

    files = sorted(folder.glob("*.parquet"))
    assert len(files) > 2
    assert long.log.layers.equals(whole.log.layers)
    assert long.log.losses.equals(whole.log.losses)
    assert len(pd.read_parquet(folder)) == 1600
    assert vg.load(files[0]).losses["step"].iloc[0] == 0


def test_a_log_is_saved_and_loaded(finished, tmp_path):
    _, logger = finished

    logger.log.save(tmp_path / "fit.parquet")

    loaded = vg.load(tmp_path / "fit.parquet")
    assert loaded.layers.equals(logger.log.layers)
    assert loaded.metadata == logger.log.metadata


# --- Several replicas -----------------------------------------------------------------

REPLICAS = """
    import keras, numpy as np, tensorflow as tf
    from vgkeras.callbacks import GradientLogger

    cpus = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpus[0], two)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    x, y = x.astype("float32"), y.astype("float32")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    weights = []
    for callbacks in ([], [GradientLogger(updates=1)]):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            layers = [keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)]
            model = keras.Sequential([keras.Input((3,)), *layers])
            model.compile("sgd", "mse", jit_compile=False)
        start = model.get_weights()
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        model.fit(data, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    assert all(map(np.array_equal, *weights))
    log = callbacks[0].log
    a, b, c, d = start
    h = np.tanh(x[:8] @ a + b)
    upstream = 2 * (h @ c + d - y[:8]) / y[:8].size
    back = upstream @ c.T * (1 - h**2)
    expected = [x[:8].T @ back, back.sum(0), h.T @ upstream, upstream.sum(0)]
    rows = log.layers[log.layers["step"] == 0]
    norms = [np.log10(np.linalg.norm(g)) for g in expected]
    np.testing.assert_allclose(rows["log10_norm"], norms, atol=1e-4)
    ratio = 0.01 * np.linalg.norm(expected[0]) / np.linalg.norm(a)
    np.testing.assert_allclose(rows["update_ratio"].iloc[0], ratio, rtol=1e-3)
    loss = np.mean((h @ c + d - y[:8]) ** 2)
    np.testing.assert_allclose(log.losses["loss"], [loss, log.losses["loss"][1]], 1e-5)
    assert log.losses["step"].tolist() == [0, 1]
    try:
        model.fit(data, verbose=0, callbacks=[GradientLogger(kinds=["activation"])])
    except RuntimeError as error:
        assert "`kinds` must be ('weight_gradient',) where replicas" in str(error)
        print("done")
"""


@slow
def test_under_two_replicas_the_gradient_is_that_of_the_whole_batch():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REPLICAS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.stdout == "done\n", done.stderr[-2000:]


# --- The quick statistics -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("closely", [False, True])
@pytest.mark.parametrize("exponent", [-37, -20, -13, 0, 13, 20, 37])
def test_the_quick_statistics_agree_with_the_exact_ones(exponent, closely, xla, rng):
    shapes = [(200, 100), (3,), (7, 1), (1,), (3,), (40, 500)]
    scale = np.float32(10.0**exponent)
    tensors = [scale * rng.uniform(0.2, 1, size=s).astype("float32") for s in shapes]
    tensors[0] *= -1
    tensors[0][:50] = 0
    tensors[4][:] = 0

    rows = quickly(tensors, closely, xla)

    exact = tape.statistics(list(map(tf.constant, tensors))).numpy()
    assert tape.STATISTICS[2] == "log10_mean"
    assert np.isfinite(rows[[0, 1, 2, 3, 5], 2]).all() or not closely
    brief = [not closely and are_ordinary(tensors, t.size) for t in tensors]
    assert np.isnan(rows[brief, 2]).all()
    zero = np.where([tensor.any() for tensor in tensors], np.nan, 1)
    assert_array_equal(rows[brief, 3], zero[brief])
    rows[brief, 2:4] = exact[brief, 2:4]
    assert_allclose(rows, exact, atol=1e-5)


def are_ordinary(tensors, size):
    """Whether no square of those of a size is near the ends of float32."""
    own = [tensor.astype("float64") for tensor in tensors if tensor.size == size]
    return all(not t.any() or 1e-24 < np.sum(t**2) / 2 < 1e30 for t in own)


@pytest.mark.parametrize("closely", [False, True])
def test_one_tensor_of_odd_magnitudes_leaves_the_others_right(closely, rng):
    tensors = [np.float32(value) * np.ones(5, "float32") for value in (1e-30, 1, 1e30)]
    tensors.append(rng.normal(size=(150, 150)).astype("float32"))

    rows = quickly(tensors, closely)

    wide = [tensor.astype("float64") for tensor in tensors]
    expected = [np.log10(np.sqrt((tensor**2).sum())) for tensor in wide]
    assert_allclose(rows[:, 0], expected, atol=1e-5)
    means = [np.log10(np.abs(tensor).mean()) for tensor in wide]
    if not closely:
        means[3] = np.nan  # of another size than the odd ones
    assert_allclose(rows[:, 2], means, atol=1e-5)


@pytest.mark.parametrize("exponent", [-30, 30])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_tensor_of_odd_magnitudes_is_looked_at_closely(sign, exponent, rng):
    odd = np.zeros((150, 150), "float32")
    odd[:75] = sign * 10.0**exponent
    ordinary = rng.normal(size=(150, 150)).astype("float32")

    rows = quickly([odd, ordinary, 0 * ordinary], False)

    norm = exponent + np.log10(75 * 150) / 2
    assert_allclose(rows[0], [norm, exponent, exponent + np.log10(0.5), 0.5, 0], 1e-5)
    assert np.isnan(rows[1, 3])
    assert_array_equal(rows[2], [-np.inf, -np.inf, np.nan, 1, 0])


def test_the_sums_over_a_large_tensor_lose_no_digits(rng):
    tensor = rng.uniform(0.5, 1, size=(2048, 2048)).astype("float32")
    tensor[:, :100] = 0

    ((norm, largest, mean, zero, bad),) = quickly([tensor], True)

    wide = tensor.astype("float64")
    assert norm == pytest.approx(np.log10(np.linalg.norm(wide)), abs=1e-6)
    assert mean == pytest.approx(np.log10(wide.mean()), abs=1e-6)
    assert largest == pytest.approx(np.log10(wide.max()), abs=1e-6)
    assert [zero, bad] == [pytest.approx(100 / 2048, abs=1e-6), 0]


@pytest.mark.parametrize("closely", [False, True])
@pytest.mark.parametrize(
    ("odd", "share"), [([0, np.nan, np.inf, 1], 0.5), ([-np.inf, 0, 1, 1], 0.25)]
)
def test_the_quick_statistics_count_what_is_not_finite(odd, share, closely):
    rows = quickly([np.array(odd, "float32"), np.array([3, 4], "float32")], closely)

    assert_array_equal(rows[0], [np.inf, np.inf, np.inf, 0.25, share])
    assert rows[1, 0] == pytest.approx(np.log10(5))


@pytest.mark.slow
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("exponent", [-30, 0, 30])
def test_updates_are_compared_at_any_magnitude(exponent, xla, rng):
    shapes = [(200, 100), (7,), (7,), (3, 4)]
    scale = np.float32(10.0**exponent)
    before = [scale * rng.uniform(1, 2, size=s).astype("float32") for s in shapes]
    after = [tensor * np.float32(1 + 2**-6) for tensor in before]
    after[0][:50] = before[0][:50]
    before[3][:] = 0

    gradients = [rng.normal(size=s).astype("float32") * scale for s in shapes]
    gradients[1][:] = 0
    gradients[2] = -3 * before[2]

    frozen, ratio, log10_weight, cosine = CHANGES[xla](
        *(list(map(tf.constant, tensors)) for tensors in (before, after, gradients))
    ).numpy()

    wide = [tensor.astype("float64") for tensor in before]
    steps = [a - b for a, b in zip(after, wide, strict=True)]
    assert_allclose(log10_weight[:3], list(map(log10_norm, wide[:3])), atol=1e-5)
    assert log10_weight[3] == -np.inf
    expected = [cosine_of(steps[i], gradients[i]) for i in (0, 3)]
    assert_allclose(cosine, [expected[0], np.nan, -1, expected[1]], atol=1e-5)
    moved = np.linalg.norm(wide[0][50:]) / np.linalg.norm(wide[0])
    assert_allclose(frozen, [0.25, 0, 0, 0], atol=1e-6)
    assert_allclose(ratio, [moved / 64, 1 / 64, 1 / 64, np.inf], rtol=1e-5)


def test_weights_that_become_no_number_are_not_left_as_they_were():
    before = [tf.constant([1.0, 2.0, 3.0, 4.0]), tf.constant([1.0, 2.0])]
    after = [tf.constant([np.nan, 2.0, np.inf, 4.0]), tf.constant([1.0, 2.5])]

    frozen, ratio, *_ = CHANGES[False](before, after, before).numpy()

    assert frozen.tolist() == [0.5, 0.5]
    assert ratio[1] == pytest.approx(0.5 / np.sqrt(5))
    assert not np.isfinite(ratio[0])


def cosine_of(one, other):
    one, other = (np.ravel(array).astype("float64") for array in (one, other))
    norms = [np.linalg.norm(array / np.abs(array).max()) for array in (one, other)]
    dot = (one / np.abs(one).max()) @ (other / np.abs(other).max())
    return dot / np.prod(norms)


def compiled(function):
    """Without XLA and with it; traced once for tensors of the same shapes."""
    return [
        tf.function(
            functools.partial(function, xla=xla), autograph=False, jit_compile=xla
        )
        for xla in (False, True)
    ]


def compared(before, after, gradients, *, xla):
    before, gradients = (
        in_matrices(part, after, xla=xla) for part in (before, gradients)
    )
    return changes(before, after, gradients, xla=xla)


QUICK, CHANGES = compiled(quick_statistics), compiled(compared)


def quickly(tensors, closely, xla=False):
    """Rows of `tape.STATISTICS`."""
    raw = QUICK[xla](list(map(tf.constant, tensors)), tf.constant(closely)).numpy()
    padding = np.tile([[1.0], *[[np.nan]] * 4], len(tensors))
    return measures(np.concatenate([raw, padding]))[:, :5]


# --- Refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "`every` must be a positive integer"),
        (
            {"kinds": ["weights"]},
            ValueError,
            "`kinds` must be one of 'weight_gradient'",
        ),
        ({"kinds": []}, ValueError, "`kinds` must be a non-empty list"),
        ({"kinds": "activation"}, TypeError, "`kinds` must be a list or tuple"),
        ({"updates": 0}, ValueError, "`updates` must be a positive integer"),
        ({"memory": 0}, ValueError, "`memory` must be a positive, finite number"),
        ({"scalars": "some"}, ValueError, "`scalars` must be one of 'all', 'global'"),
        ({"layers": [3]}, TypeError, "`layers` must be names of layers, or a function"),
        ({"layers": []}, ValueError, "`layers` must be a non-empty list"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        GradientLogger(**arguments)


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "old.parquet").touch()

    with pytest.raises(ValueError, match="`path` must be a new or empty folder"):
        GradientLogger(path=tmp_path)


def test_unknown_layers_are_named_next_to_the_known_ones(rng):
    with pytest.raises(ValueError, match="layers of 'mlp': first, last"):
        fit(mlp(), *data(rng), [GradientLogger(layers=["end"])])


def test_two_loggers_in_one_fit_are_refused(rng):
    x, y = data(rng)
    model = mlp()

    with pytest.raises(
        RuntimeError, match="`callbacks` must hold one `GradientLogger`"
    ):
        fit(model, x, y, [GradientLogger(), GradientLogger()])

    fit(model, x, y, [GradientLogger(updates=None)])


def test_a_logger_logs_one_model(finished, rng):
    _, logger = finished

    with pytest.raises(RuntimeError, match="A `GradientLogger` logs one model"):
        fit(mlp(), *data(rng), [logger])


def test_there_is_no_log_before_a_step_and_no_record_outside_of_one(finished):
    logger = GradientLogger()

    with pytest.raises(RuntimeError, match="No training step was logged yet"):
        _ = logger.log
    with pytest.raises(RuntimeError, match="`record` must be called in `train_step`"):
        logger.record([], [])
    with pytest.raises(RuntimeError, match="`record` must be called in `train_step`"):
        finished[1].record([], [])
