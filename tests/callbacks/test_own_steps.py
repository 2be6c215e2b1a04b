"""Train steps that people write: what they minimize, how often, with which optimizer.

The oracle computes the same gradients in NumPy, in float64.
"""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from hand_backprop import log10_norm
from numpy.testing import assert_allclose
from tensorflow.python.framework.func_graph import FuncGraph

from vgkeras import diagnose
from vgkeras.callbacks import GradientLogger

EAGERLY = [False, True]


class Own(keras.Model):
    """A linear model whose train step is written by hand, as keras.io does."""

    def __init__(self, outputs=2):
        super().__init__(name="own")
        self.dense = keras.layers.Dense(outputs, use_bias=False, name="dense")
        self.dense.build((None, 4))

    def call(self, x):
        return self.dense(x)

    def gradients(self, x, y, weight=1.0):
        with tf.GradientTape() as recorder:
            loss = weight * tf.reduce_mean((self(x, training=True) - y) ** 2)
        return recorder.gradient(loss, self.trainable_weights), loss

    def update(self, x, y, weight=1.0):
        gradients, loss = self.gradients(x, y, weight)
        self.optimizer.apply_gradients(
            zip(gradients, self.trainable_weights, strict=True)
        )
        return loss


def regression(rng, samples=8):
    shapes = (samples, 4), (samples, 2)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def compiled(model_class, eagerly=False, **arguments):
    keras.utils.set_random_seed(0)
    model = model_class(**arguments)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=eagerly, jit_compile=False)
    return model


def descend(kernel, x, y, weights):
    """Norms of the gradients and losses of gradient descent, one update a weight."""
    norms, losses = [], []
    for weight in weights:
        residual = x @ kernel - y
        gradient = weight * 2 * x.T @ residual / y.size
        norms.append(log10_norm(gradient))
        losses.append(weight * np.mean(residual**2))
        kernel = kernel - float(np.float32(0.1)) * gradient
    return norms, losses


class ReturnsLoss(Own):
    def train_step(self, data):
        return {"loss": self.update(*data)}


class ReturnsMean(Own):
    """Returns a mean over the epoch so far, as most train steps do."""

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean(name="loss")

    def train_step(self, data):
        self.mean.update_state(self.update(*data))
        return {"loss": self.mean.result()}


class ReturnsOneOfTwo(Own):
    """Two losses are differentiated; the one returned is the one that counts."""

    def train_step(self, data):
        x, y = data
        self.update(x, y, 1e-3)
        return {"loss": self.update(x, y)}


class ReturnsNothing(Own):
    """Two losses are differentiated, and neither is returned as the loss."""

    def train_step(self, data):
        x, y = data
        return {"a": self.update(x, y, 1e-3), "b": self.update(x, y)}


@pytest.mark.parametrize("eagerly", EAGERLY)
@pytest.mark.parametrize("model_class", [ReturnsLoss, ReturnsMean])
def test_the_loss_of_a_train_step_is_the_one_it_minimizes(model_class, eagerly, rng):
    x, y = regression(rng)
    model = compiled(model_class, eagerly)
    kernel = model.get_weights()[0].astype("float64")
    logger = GradientLogger(updates=None)

    model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[logger])

    losses = descend(kernel, x, y, [1, 1, 1])[1]
    assert_allclose(logger.log.losses["loss"], losses, rtol=1e-5)


def test_of_two_losses_the_one_returned_is_logged(rng):
    x, y = regression(rng)
    model, logger = compiled(ReturnsOneOfTwo), GradientLogger(updates=None)
    kernel = model.get_weights()[0].astype("float64")

    model.fit(x, y, batch_size=8, verbose=0, callbacks=[logger])

    losses = descend(kernel, x, y, [1e-3, 1])[1]
    assert_allclose(logger.log.losses["loss"], losses[1:], rtol=1e-5)


def test_of_two_losses_none_is_made_up(rng):
    x, y = regression(rng)
    model, logger = compiled(ReturnsNothing), GradientLogger(updates=None)

    model.fit(x, y, batch_size=8, verbose=0, callbacks=[logger])

    assert logger.log.losses.empty


class Thrice(Own):
    """Makes three updates a step; the second one has an enormous loss."""

    def train_step(self, data):
        for weight in (1.0, 1e6, 1.0):
            loss = self.update(*data, weight)
        return {"loss": loss}


class ThriceInALoop(Own):
    """The same three updates, in a loop of the graph."""

    def train_step(self, data):
        x, y = data
        weights = tf.constant([1.0, 1e6, 1.0])

        def body(number):
            self.update(x, y, weights[number])
            return (number + 1,)

        tf.while_loop(lambda number: number < 3, body, [0])
        return {"done": 3.0}


@pytest.mark.parametrize(
    ("model_class", "eagerly"),
    [(Thrice, False), (Thrice, True), (ThriceInALoop, False), (ThriceInALoop, True)],
)
def test_every_update_of_a_step_is_logged_and_numbered(model_class, eagerly, rng):
    x, y = regression(rng)
    model, logger = compiled(model_class, eagerly), GradientLogger(updates=1)
    kernel = model.get_weights()[0].astype("float64")

    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[logger])

    rows = logger.log.layers
    assert rows[["step", "update"]].values.tolist() == [
        [step, update] for step in (0, 1) for update in (0, 1, 2)
    ]
    expected = descend(kernel, x, y, [1, 1e6, 1, 1, 1e6, 1])[0]
    assert_allclose(rows["log10_norm"], expected, atol=1e-4)
    assert_allclose(rows["cosine"], -1, atol=1e-3)


class SharesAnOptimizer(keras.Model):
    """Two networks that one optimizer updates in turn."""

    def __init__(self):
        super().__init__(name="pair")
        self.one = keras.layers.Dense(3, name="one")
        self.two = keras.layers.Dense(2, name="two")
        self.one.build((None, 4))
        self.two.build((None, 3))

    def call(self, x):
        return self.two(keras.activations.relu(self.one(x)))

    def train_step(self, data):
        x, y = data
        for layer in (self.one, self.two):
            with tf.GradientTape() as recorder:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            weights = layer.trainable_weights
            self.optimizer.apply(recorder.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.slow
def test_networks_of_one_optimizer_are_told_apart(rng):
    x, y = regression(rng)
    keras.utils.set_random_seed(0)
    model = SharesAnOptimizer()
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, jit_compile=False)
    logger = GradientLogger(kinds=["weight_gradient", "activation"], updates=None)

    model.fit(x, y, batch_size=8, verbose=0, callbacks=[logger])

    rows = logger.log.layers.drop_duplicates(["name", "optimizer"])
    networks = rows.set_index("name")["optimizer"].to_dict()
    assert networks == {
        "one/kernel": "optimizer",
        "one/bias": "optimizer",
        "two/kernel": "optimizer 2",
        "two/bias": "optimizer 2",
        "one": "optimizer",
        "two": "optimizer 2",
    }


@pytest.mark.slow
def test_the_learning_rate_of_each_update_is_logged(rng):
    x, y = regression(rng)
    model = compiled(ReturnsLoss)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0, 2], [0.0, 0.2, 0.1])
    model.compile(keras.optimizers.Adam(rate), jit_compile=False)
    logger = GradientLogger(updates=None)

    model.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[logger])

    assert_allclose(logger.log.losses["learning_rate"], [0.0, 0.2, 0.2, 0.1], 1e-6)


@pytest.mark.slow
def test_batches_are_described_where_one_looks_closely_or_the_loss_is_no_number(rng):
    x, y = regression(rng, samples=24)
    x[17] = np.nan  # in the last of three batches
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", jit_compile=False)
    logger = GradientLogger(updates=3)

    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[logger])

    losses = logger.log.losses
    assert_allclose(losses["input_nonfinite"], [0, np.nan, 1 / 8])
    assert_allclose(losses["input_std"][0], x[:8].std(), rtol=1e-5)
    assert logger.log.metadata["facts"]["optimizer"]["class"] == "SGD"


@pytest.fixture
def graphs_of_steps(monkeypatch):
    """Weak references to the graphs of training steps that the test has made."""
    made, make = [], FuncGraph.__init__

    def noted(graph, name, *arguments, **options):
        make(graph, name, *arguments, **options)
        if "one_step_on_data" in name:
            made.append(weakref.ref(graph))

    monkeypatch.setattr(FuncGraph, "__init__", noted)
    return made


@pytest.mark.slow
def test_a_model_and_its_logger_leave_no_graph_behind(graphs_of_steps):
    for _ in range(2):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        logger = GradientLogger()
        model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0, callbacks=[logger])
        assert logger.log.layers["log10_norm"].notna().any()
    assert len(graphs_of_steps) > 1
    del model, logger
    keras.backend.clear_session()
    gc.collect()

    assert [graph() for graph in graphs_of_steps if graph() is not None] == []


class Counting(keras.layers.Layer):
    """Passes its input on, and counts how often."""

    calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


@pytest.mark.slow
def test_the_step_of_a_first_fit_is_traced_once(rng):
    x, y = regression(rng)
    counting = Counting()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), counting])
    model.compile("adam", "mse")
    counting.calls = 0

    model.fit(x, y, epochs=2, verbose=0, callbacks=[GradientLogger()])

    assert counting.calls == 1  # plain Keras: 2, the first makes Adam's variables


class TrainsMore(keras.Sequential):
    """Its step trains a variable that the model does not know to be its own."""

    factor = (keras.Variable(1.0, name="factor"),)

    def train_step(self, data):
        x, y = data
        weights = [*self.trainable_weights, *self.factor]
        with tf.GradientTape() as recorder:
            loss = tf.reduce_mean((self.factor[0] * self(x) - y) ** 2)
        self.optimizer.apply(recorder.gradient(loss, weights), weights)
        return {"loss": loss}


@pytest.mark.slow
def test_an_optimizer_may_train_more_than_the_models_weights(rng):
    x, y = regression(rng)
    model = TrainsMore([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")

    model.fit(x, y, epochs=2, verbose=0, callbacks=[GradientLogger()])

    assert float(model.factor[0]) != 1.0


class Unbuilt(keras.Model):
    """Knows its weights' shapes once it has seen data."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = keras.layers.Dense(3), keras.layers.Dense(2)

    def call(self, x):
        return self.last(self.hidden(x))


def unbuilt_sequential():
    return keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(2)])


@pytest.mark.slow
@pytest.mark.parametrize("make", [Unbuilt, unbuilt_sequential])
def test_a_model_that_its_first_batch_builds_is_described_after_that(rng, make):
    x, y = regression(rng)
    model, logger = make(), GradientLogger()
    model.compile("adam", "mse")

    model.fit(x, y, verbose=0, callbacks=[logger])

    facts = logger.log.metadata["facts"]
    assert facts["trainable"] == 4
    assert [layer["units"] for layer in facts["layers"].values()] == [3, 2]
    assert [finding.regime for finding in diagnose(logger.log)] == ["healthy"]
