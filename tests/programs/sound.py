"""Programs with nothing wrong, whose numbers look as if there were."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn import datasets

from tests.programs.registry import Fit, digits, one_hot, sequential, sound


@sound()
def small_cnn() -> Fit:
    """Convolutions and batch normalization: a bias before it would be of no use."""
    keras.utils.set_random_seed(0)
    x, labels = digits(800)
    hidden = inputs = keras.Input((8, 8, 1))
    for filters in (16, 32):
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)
        normalization = keras.layers.BatchNormalization(momentum=0.9)
        hidden = keras.layers.ReLU()(normalization(convolution(hidden)))
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(pooled))
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 8})


@sound()
def embedded_words() -> Fit:
    """Nearly all rows of an embedding have no gradient in a batch."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 2000, (600, 20))
    y = (np.median(x, 1) > 1000).astype("float32")[:, None]
    layers = [
        keras.layers.Embedding(2000, 16),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(16, "relu"),
        keras.layers.Dense(1, "sigmoid"),
    ]
    model = sequential((20,), *layers)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 10})


@sound()
def transformer_block() -> Fit:
    """Which half of a sequence holds more ones."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = np.random.default_rng(0).integers(0, 2, (800, 16))
    y = (x[:, :8].sum(1) > x[:, 8:].sum(1)).astype("float32")[:, None]
    inputs = keras.Input((16,))
    places = layers.Embedding(16, 16)(keras.ops.arange(16))
    hidden = layers.Embedding(2, 16)(inputs) + places
    normal = layers.LayerNormalization()(hidden)
    hidden = hidden + layers.MultiHeadAttention(2, 8)(normal, normal)
    wide = layers.Dense(32, "gelu")(layers.LayerNormalization()(hidden))
    hidden = hidden + layers.Dense(16)(wide)
    output = layers.Dense(1, "sigmoid")(layers.Flatten()(hidden))
    model = keras.Model(inputs, output)
    model.compile(keras.optimizers.Adam(0.003), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 8})


@sound()
def noisy_labels() -> Fit:
    """A loss that noise keeps above 0.6 from its start of 0.69."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    share = 1 / (1 + np.exp(-(x[:, 0] + 0.5 * x[:, 1])))
    y = (rng.random(2000) < share).astype("float32")[:, None]
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = sequential((5,), *layers)
    model.compile(keras.optimizers.Adam(0.005), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 6})


@sound()
def gaussian_likelihood() -> Fit:
    """A loss that becomes negative, as the logarithm of a density may."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (800, 1))
    y = np.sin(x) + 0.05 * rng.normal(size=x.shape)
    ops = keras.ops

    def likelihood(y, p):
        mean, log_std = p[:, :1], p[:, 1:]
        return ops.mean(log_std + 0.5 * ops.square(y - mean) * ops.exp(-2 * log_std))

    layers = [keras.layers.Dense(32, "tanh") for _ in range(2)]
    model = sequential((1,), *layers, keras.layers.Dense(2))
    model.compile(keras.optimizers.Adam(0.005), likelihood)
    return Fit(model, x, y, {"epochs": 25})


@sound(
    "machinelearningmastery.com, How to Avoid Exploding Gradients With Gradient "
    "Clipping"
)
def clipped_large_targets() -> Fit:
    """Targets of hundreds, which clipping makes bearable."""
    keras.utils.set_random_seed(1)
    x, y = datasets.make_regression(1000, 20, noise=0.1, random_state=1)
    hidden = keras.layers.Dense(25, "relu", kernel_initializer="he_uniform")
    model = sequential((20,), hidden, keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, clipnorm=1.0), "mse")
    return Fit(model, x, y[:, None], {"epochs": 30})


@sound()
def raw_iris() -> Fit:
    """Lengths of up to 8 cm as they are."""
    keras.utils.set_random_seed(0)
    x, labels = datasets.load_iris(return_X_y=True)
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(3, "softmax")]
    model = sequential((4,), *layers)
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 25, "batch_size": 16})


@sound()
def triplets() -> Fit:
    """A hinge on distances: easy triplets have gradients of exactly 0."""
    keras.utils.set_random_seed(0)
    ops, rng = keras.ops, np.random.default_rng(0)
    x, labels = digits(600, image=False)
    anchor = rng.integers(0, 600, 1500)
    same, other = (
        np.array([rng.choice(np.flatnonzero(equal)) for equal in pairs])
        for pairs in (
            labels[anchor][:, None] == labels,
            labels[anchor][:, None] != labels,
        )
    )
    body = sequential((64,), keras.layers.Dense(64, "relu"), keras.layers.Dense(8))
    inputs = [keras.Input((64,)) for _ in range(3)]
    a, b, c = map(body, inputs)
    squares = [ops.sum((a - b) ** 2, -1), ops.sum((a - c) ** 2, -1)]
    model = keras.Model(inputs, ops.stack(squares, -1))

    def hinge(_, distance):
        return ops.maximum(distance[:, 0] - distance[:, 1] + 1.0, 0.0)

    model.compile(keras.optimizers.Adam(0.003), hinge)
    data = [x[anchor], x[same], x[other]]
    return Fit(model, data, np.zeros((1500, 1), "float32"), {"epochs": 8})


class _OwnStep(keras.Model):
    """A step of one's own, of which a log knows no targets."""

    def __init__(self, body: keras.Model) -> None:
        super().__init__()
        self.body = body

    def call(self, x: Any) -> Any:
        return self.body(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, labels = data
        with tf.GradientTape() as tape:
            outputs = self.body(x, training=True)
            loss = keras.losses.categorical_crossentropy(labels, outputs)
            loss = tf.reduce_mean(loss)
        weights = self.body.trainable_weights
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
        return {"loss": loss}


@sound()
def own_step() -> Fit:
    """A beta grows from 0 while the gamma of its layer begins at 1."""
    keras.utils.set_random_seed(0)
    x, labels = digits(1200, image=False)
    layers = [
        *(keras.layers.Dense(64, "relu"), keras.layers.LayerNormalization()),
        *(keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")),
    ]
    model = _OwnStep(sequential((64,), *layers))
    model.compile("adam")
    return Fit(model, x, one_hot(labels), {"epochs": 20})
