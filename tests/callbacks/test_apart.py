"""Reading a gradient leaves the graph as TensorFlow optimizes it without a reader."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal

from vgkeras.callbacks import GradientLogger
from vgkeras.callbacks.apart import apart
from vgkeras.logs import KINDS


def updates(rng, read):
    """A weight after the update `rate * (sum * scale)`, as of a batch normalization."""
    sums, scales = (tf.constant(rng.normal(size=500).astype("float32")) for _ in "ab")
    rate = tf.Variable(0.1)
    weight, reader = tf.Variable(tf.zeros(500)), tf.Variable(0.0)

    @tf.function(autograph=False)
    def update(sums, scales):
        gradient = sums * scales
        for tensor in read([gradient]):
            reader.assign(tf.reduce_max(tensor))
        weight.assign_sub(rate * gradient)

    update(sums, scales)
    return weight.numpy(), reader.numpy(), (sums * scales).numpy()


def test_what_is_read_apart_is_the_same_and_changes_nothing():
    plain, *_ = updates(np.random.default_rng(0), lambda tensors: [])
    read, largest, gradient = updates(np.random.default_rng(0), apart)

    assert_array_equal(read, plain)
    assert largest == gradient.max()


def test_eager_tensors_and_none_are_left_as_they_are():
    tensor = tf.constant([1.0, 2.0]) * 2

    assert apart([tensor, None])[0] is tensor
    assert apart([tensor, None])[1] is None


@pytest.mark.parametrize(
    ("make", "copied"),
    [
        (lambda a, b, c: a * (b + c), ["Mul"]),
        (lambda a, b, c: a * tf.reshape(b + c, [1]), ["Reshape", "Mul"]),
        (lambda a, b, c: a + b * c, ["Mul", "AddV2"]),
        (lambda a, b, c: -(a * b) / c, ["Mul", "Neg", "RealDiv"]),
    ],
)
def test_what_no_rewriting_takes_apart_is_not_copied(make, copied):
    with tf.Graph().as_default() as graph:
        tensor = make(*(tf.compat.v1.placeholder(tf.float32, []) for _ in "abc"))
        before = len(graph.get_operations())
        apart([tensor])

    assert [op.type for op in graph.get_operations()[before:]] == copied


def residual():
    """Convolutions, batch normalizations and shortcuts, as in a small ResNet."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    for _ in range(3):
        branch = layers.ReLU()(layers.BatchNormalization()(hidden))
        branch = layers.Conv2D(8, 3, padding="same", use_bias=False)(branch)
        branch = layers.ReLU()(layers.BatchNormalization()(branch))
        branch = layers.Conv2D(8, 3, padding="same", use_bias=False)(branch)
        hidden = layers.Add()([hidden, branch])
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden)))


def mixer():
    """Depthwise convolutions, GELU and batch normalizations, as in a ConvMixer."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Activation("gelu")(layers.Conv2D(8, 2, strides=2)(inputs))
    for _ in range(2):
        branch = layers.DepthwiseConv2D(3, padding="same", activation="gelu")(hidden)
        hidden = layers.Add()([layers.BatchNormalization()(branch), hidden])
        hidden = layers.Conv2D(8, 1, activation="gelu")(hidden)
        hidden = layers.BatchNormalization()(hidden)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden)))


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [KINDS[:1], KINDS], ids=["gradients", "all kinds"])
@pytest.mark.parametrize("make", [residual, mixer])
def test_a_network_with_batch_normalization_ends_in_the_same_bits(make, kinds, rng):
    x, y = rng.random((64, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = []
    for callbacks in [[], [GradientLogger(kinds=kinds)]]:
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
        arguments = {"epochs": 5, "batch_size": 16, "shuffle": False, "verbose": 0}
        model.fit(x, y, callbacks=callbacks, **arguments)
        weights.append(model.get_weights())

    for plain, logged in zip(*weights, strict=True):
        assert_array_equal(plain, logged)
