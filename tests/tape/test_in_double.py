"""`gradient_norms` of real architectures beside an own tape over a float64 twin."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

import vgkeras as vg

L = keras.layers


def convolutional():
    image = keras.Input((12, 12, 3))
    h = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, use_bias=False)(image)))
    h = L.Add()([h, L.Conv2D(6, 3, padding="same", activation="relu")(h)])
    return keras.Model(image, L.Dense(5)(L.GlobalAveragePooling2D()(h)))


def transformer():
    tokens = keras.Input((7,), dtype="int32")
    h = L.Embedding(11, 8)(tokens)
    h = L.LayerNormalization()(h + L.MultiHeadAttention(2, 4)(h, h))
    h = L.LayerNormalization()(h + L.Dense(8)(L.Dense(16, "gelu")(h)))
    return keras.Model(tokens, L.Dense(5)(L.GlobalAveragePooling1D()(h)))


def recurrent():
    series = keras.Input((8, 2))
    h = L.Bidirectional(L.LSTM(4, return_sequences=True))(series)
    return keras.Model(series, L.Dense(5)(L.GRU(4)(h)))


@pytest.mark.slow
@pytest.mark.parametrize("build", [convolutional, transformer, recurrent])
def test_norms_are_those_of_a_float64_tape_to_1e_4_decades(build, rng):
    keras.utils.set_random_seed(0)
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    shape = (6, *model.input_shape[1:])
    x = rng.integers(0, 11, shape) if len(shape) == 2 else rng.normal(size=shape)
    y = rng.integers(0, 5, 6)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float64")
        twin = build()
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights(model.get_weights())
    with tf.GradientTape() as tape:
        logits = twin(x if len(shape) == 2 else x.astype("float32"), training=True)
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        value = tf.reduce_mean(each)
    exact = tape.gradient(value, [v.value for v in twin.trainable_variables])

    frame = vg.gradient_norms(model, x, y)

    assert logits.dtype == tf.float64
    measured = frame.loc[frame["kind"] == "weight_gradient", "log10_norm"].to_numpy()
    norms = [np.linalg.norm(tf.convert_to_tensor(g).numpy()) for g in exact]
    large = np.array(norms) > 1e-6  # not those that are 0 but for rounding
    assert large.sum() >= len(norms) - 1
    assert_allclose(measured[large], np.log10(norms)[large], atol=1e-4)
