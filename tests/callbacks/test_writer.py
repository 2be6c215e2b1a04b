"""Updates and the statistics of what they are made of, in one graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras.callbacks import GradientLogger
from vgkeras.callbacks.ring_buffers import Numbers


class Listening(keras.optimizers.SGD):
    """Notes the node of the graph that each gradient comes from."""

    def __init__(self):
        super().__init__(0.1)
        self.nodes = {}

    def update_step(self, gradient, variable, learning_rate):
        node = gradient.op
        if node.type == "IdentityN":  # Keras hands all over together
            node = node.inputs[gradient.value_index].op
        self.nodes[variable.name] = node
        super().update_step(gradient, variable, learning_rate)


def fit(rng, callbacks):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    wide = [layers.Dense(150, "relu", name=f"wide{i}") for i in (1, 2)]
    model = keras.Sequential([keras.Input((9,)), *wide, layers.Dense(3, name="last")])
    model.compile(Listening(), "mse")
    x, y = (rng.normal(size=(64, n)).astype("float32") for n in (9, 3))
    model.fit(x, y, verbose=0, shuffle=False, callbacks=callbacks)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_no_update_waits_for_what_is_logged_and_all_stay_the_same(every):
    logged = fit(np.random.default_rng(0), [GradientLogger(every=every, updates=1)])
    plain = fit(np.random.default_rng(0), [])

    for one, other in zip(logged.get_weights(), plain.get_weights(), strict=True):
        assert_array_equal(one, other)
    assert len(logged.optimizer.nodes) == len(plain.optimizer.nodes) == 6
    assert not any(node.control_inputs for node in logged.optimizer.nodes.values())


def test_a_ring_forgets_what_was_read():
    ring = Numbers(2, every=1, least=1)
    ring.write(tf.constant(1, tf.int64), tf.constant([3.0, 4.0], tf.float64))

    assert_array_equal(ring.read(np.array([0, 1])), [[np.nan] * 2, [3, 4]])
    later = np.array([0, 1]) + ring.slots
    assert_array_equal(ring.read(later), np.full((2, 2), np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_weights_are_compared_whose_gradients_come_without_a_shape(every, rng):
    # That of the bias of a convolution, which a branch of the graph copies: it does not
    # know what it is reshaped to.
    layers = [keras.layers.BatchNormalization(), keras.layers.Conv2D(5, 1)]
    model = keras.Sequential([keras.Input((2, 2, 5)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = rng.normal(size=(64, 2, 2, 5)).astype("float32")
    logger = GradientLogger(every=every, updates=1)

    model.fit(x, x, verbose=0, callbacks=[logger])

    cosines = logger.log.layers["cosine"]
    assert_allclose(cosines, [-1] * (8 // every), atol=1e-4)  # of 4 weights, 2 steps
