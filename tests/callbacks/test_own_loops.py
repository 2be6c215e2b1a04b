"""Loops that no `fit` runs: a tape and an optimizer, `train_on_batch`, or neither.

The oracle is the chain rule in NumPy, in float64.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hand_backprop import log10_norm
from numpy.testing import assert_allclose, assert_array_equal

import vgkeras as vg
from vgkeras.callbacks import GradientLogger

RATE = float(np.float32(0.1))


def line(name="line", outputs=2):
    layer = keras.layers.Dense(outputs, use_bias=False, name="out")
    model = keras.Sequential([keras.Input((4,)), layer], name=name)
    model.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=False)
    return model


def regression(rng, samples=8):
    shapes = (samples, 4), (samples, 2)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def descend(kernel, x, y, steps):
    """Norms of the gradients and losses of plain descent on the squared error."""
    norms, losses = [], []
    for _ in range(steps):
        residual = x @ kernel - y
        gradient = 2 * x.T @ residual / y.size
        norms.append(log10_norm(gradient))
        losses.append(np.mean(residual**2))
        kernel = kernel - RATE * gradient
    return norms, losses


def test_train_on_batch_is_logged_step_by_step(rng):
    (x, y), model, logger = regression(rng), line(), GradientLogger(updates=None)
    kernel = model.get_weights()[0].astype("float64")

    with logger.watch(model):
        for _ in range(150):  # more than a ring holds
            model.train_on_batch(x, y)

    norms, losses = descend(kernel, x, y, 150)
    log = logger.log
    assert log.layers["step"].tolist() == list(range(150))
    assert log.layers["name"].unique().tolist() == ["out/kernel"]
    assert_allclose(log.layers["log10_norm"], norms, atol=1e-4)
    assert_allclose(log.losses["loss"], losses, rtol=1e-4)
    assert log.runs["steps"].tolist() == [150]
    assert model.train_function is None  # the next one does not listen


@pytest.mark.parametrize("compiled", [False, True])
def test_a_tape_and_an_optimizer_of_nobody_are_logged(compiled, rng):
    (x, y), model, logger = regression(rng), line(), GradientLogger(updates=1)
    kernel = model.get_weights()[0].astype("float64")
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(model.trainable_variables)

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(
            zip(gradients, model.trainable_variables, strict=True)
        )

    run = tf.function(step) if compiled else step
    with logger.watch(model):
        for _ in range(3):
            run()

    norms, losses = descend(kernel, x, y, 3)
    log = logger.log
    assert_allclose(log.layers["log10_norm"], norms, atol=1e-4)
    assert_allclose(log.layers["cosine"], -1, atol=1e-4)
    assert_allclose(log.losses["loss"], losses, rtol=1e-4)
    assert vg.diagnose(log)


def test_an_actor_and_a_critic_are_two_networks_that_count_their_own_steps(rng):
    x = rng.normal(size=(8, 4)).astype("float32")
    actor, critic = line("actor"), line("critic", outputs=1)
    optimizers = [keras.optimizers.SGD(RATE, name=name) for name in ("a", "c")]
    logger = GradientLogger(updates=None)

    with logger.watch(actor, critic):
        for _ in range(2):
            for _ in range(3):
                with tf.GradientTape() as tape:
                    loss = 100 * tf.reduce_sum(critic(x))
                weights = critic.trainable_variables
                optimizers[1].apply(tape.gradient(loss, weights), weights)
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(actor(x))
            weights = actor.trainable_variables
            optimizers[0].apply(tape.gradient(loss, weights), weights)

    rows = logger.log.layers
    names = {"actor/out/kernel": ("a", 2, 1), "critic/out/kernel": ("c", 6, 100)}
    for name, (optimizer, steps, weight) in names.items():
        own = rows[rows["name"] == name]
        assert own["step"].tolist() == list(range(steps))
        assert set(own["optimizer"]) == {optimizer}
        gradient = weight * np.repeat(x.sum(axis=0), 2 if optimizer == "a" else 1)
        assert_allclose(own["log10_norm"], log10_norm(gradient), atol=1e-4)
    assert logger.log.losses.empty  # two losses are none


def test_what_a_loop_records_by_hand_is_logged(rng):
    (x, y), model, logger = regression(rng), line(), GradientLogger(updates=None)
    kernel = model.get_weights()[0].astype("float64")

    with logger.watch(model):
        for _ in range(2):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            logger.record(gradients, model.trainable_variables, loss)
            for gradient, weight in zip(
                gradients, model.trainable_variables, strict=True
            ):
                weight.assign_sub(RATE * gradient)

    norms, losses = descend(kernel, x, y, 2)
    assert_allclose(logger.log.layers["log10_norm"], norms, atol=1e-4)
    assert_allclose(logger.log.losses["loss"], losses, rtol=1e-4)


def test_after_a_watched_loop_optimizers_and_tapes_are_plain_and_weights_the_same(rng):
    (x, y), plain, watched = regression(rng), line(), line()
    watched.set_weights(plain.get_weights())
    apply, gradient = keras.optimizers.Optimizer.apply, tf.GradientTape.gradient

    with GradientLogger().watch(watched):
        watched.train_on_batch(x, y)
    plain.train_on_batch(x, y)

    assert_array_equal(plain.get_weights()[0], watched.get_weights()[0])
    assert keras.optimizers.Optimizer.apply is apply
    assert tf.GradientTape.gradient is gradient


def test_a_loop_without_updates_is_told_what_to_do():
    model = line()

    with (
        pytest.raises(RuntimeError, match="`watch` must surround updates of `models`"),
        GradientLogger().watch(model),
    ):
        pass


@pytest.mark.slow
def test_what_cannot_be_watched_is_refused(rng):
    (x, y), model, logger = regression(rng), line(), GradientLogger()
    model.fit(x, y, verbose=0, callbacks=[logger])

    refusals = [
        (logger, (model,), RuntimeError, "logs one fit, or one loop over the same"),
        (GradientLogger(), ("model",), TypeError, "`models` must be one or more Keras"),
        (GradientLogger(), (), TypeError, "`models` must be one or more Keras models"),
        (
            GradientLogger(kinds=["activation"]),
            (model,),
            RuntimeError,
            r"`kinds` must be \('weight_gradient',\) where a loop is watched",
        ),
    ]
    for refusing, models, error, message in refusals:
        with pytest.raises(error, match=message), refusing.watch(*models):
            pass
