"""Architectures as keras.io has them, small: each with data that it can learn."""

from collections.abc import Callable

import keras
import numpy as np

from tests.programs.registry import Fit

MODELS: dict[str, Callable[[], Fit]] = {}
layers, ops = keras.layers, keras.ops


def healthy(make: Callable[[], Fit]) -> Callable[[], Fit]:
    MODELS[make.__name__] = make
    return make


def _rng() -> np.random.Generator:
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0)


def _classes(inputs, hidden, x, labels, rate=1e-3) -> Fit:
    """A head of as many units as there are labels, and Adam."""
    outputs = layers.Dense(int(labels.max()) + 1)(hidden)
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    return Fit(model, x, labels, {"epochs": 2, "batch_size": 16})


def _images(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = _rng()
    labels = np.arange(192) % 4
    x = rng.normal(size=(192, size, size, 3)) * 0.3
    x[np.arange(192), :, size * labels // 5, 0] += 2.0  # a bright line
    return x.astype("float32"), labels


def _words(length: int = 12, vocabulary: int = 40) -> tuple[np.ndarray, np.ndarray]:
    steps = _rng().integers(1, 3, (192, length + 1))
    text = (np.cumsum(steps, axis=1) % vocabulary).astype("int32")
    return text[:, :-1], text[:, 1:]


def _embedded(inputs, length=12, vocabulary=40, units=32):
    places = layers.Embedding(length, units)(ops.arange(length))
    return layers.Embedding(vocabulary, units)(inputs) + places


def _language(block) -> Fit:
    x, y = _words()
    inputs = keras.Input((12,), dtype="int32")
    hidden = _embedded(inputs)
    for _ in range(2):
        hidden = block(hidden)
    return _classes(inputs, hidden, x, y)


@healthy
def transformer_pre_norm() -> Fit:
    def block(hidden):
        normal = layers.LayerNormalization()(hidden)
        hidden = hidden + layers.MultiHeadAttention(2, 16)(
            normal, normal, use_causal_mask=True
        )
        wide = layers.Dense(64, "gelu")(layers.LayerNormalization()(hidden))
        return hidden + layers.Dense(32)(wide)

    return _language(block)


@healthy
def transformer_post_norm() -> Fit:
    def block(hidden):
        mixed = layers.MultiHeadAttention(2, 16)(hidden, hidden, use_causal_mask=True)
        hidden = layers.LayerNormalization()(hidden + mixed)
        wide = layers.Dense(32)(layers.Dense(32, "relu")(hidden))
        return layers.LayerNormalization()(hidden + wide)

    return _language(block)


@healthy
def vision_transformer() -> Fit:
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    patches = layers.Reshape((16, 32))(layers.Conv2D(32, 4, strides=4)(inputs))
    hidden = patches + layers.Embedding(16, 32)(ops.arange(16))
    for _ in range(2):
        normal = layers.LayerNormalization()(hidden)
        hidden = hidden + layers.MultiHeadAttention(2, 16)(normal, normal)
        wide = layers.Dense(64, "gelu")(layers.LayerNormalization()(hidden))
        hidden = hidden + layers.Dense(32)(wide)
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
    return _classes(inputs, pooled, x, labels)


@healthy
def mixer() -> Fit:
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Reshape((16, 32))(layers.Conv2D(32, 4, strides=4)(inputs))
    for _ in range(2):
        across = layers.Permute((2, 1))(layers.LayerNormalization()(hidden))
        across = layers.Dense(16)(layers.Dense(32, "gelu")(across))
        hidden = hidden + layers.Permute((2, 1))(across)
        wide = layers.Dense(64, "gelu")(layers.LayerNormalization()(hidden))
        hidden = hidden + layers.Dense(32)(wide)
    return _classes(inputs, layers.GlobalAveragePooling1D()(hidden), x, labels)


@healthy
def residual_network() -> Fit:
    """The last normalization of each branch starts at 0, as ResNets are trained."""
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for _ in range(3):
        branch = layers.ReLU()(layers.BatchNormalization()(hidden))
        branch = layers.Conv2D(16, 3, padding="same", use_bias=False)(branch)
        branch = layers.BatchNormalization(gamma_initializer="zeros")(branch)
        hidden = hidden + branch
    return _classes(inputs, layers.GlobalAveragePooling2D()(hidden), x, labels, 3e-3)


class Scale(keras.layers.Layer):
    """One factor for each channel (LayerScale), or for all of them (ReZero)."""

    def __init__(self, start: float, each: bool = True) -> None:
        super().__init__()
        self.start, self.each = start, each

    def build(self, shape) -> None:
        start = keras.initializers.Constant(self.start)
        size = (shape[-1],) if self.each else (1,)
        self.gamma = self.add_weight(shape=size, initializer=start, name="gamma")

    def call(self, x):
        return x * self.gamma


def _scaled(start: float, each: bool) -> Fit:
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Conv2D(32, 4, strides=4)(inputs)
    for _ in range(3):
        branch = layers.DepthwiseConv2D(3, padding="same")(hidden)
        branch = layers.Dense(64, "gelu")(layers.LayerNormalization()(branch))
        hidden = hidden + Scale(start, each)(layers.Dense(32)(branch))
    pooled = layers.GlobalAveragePooling2D()(hidden)
    return _classes(inputs, layers.LayerNormalization()(pooled), x, labels)


@healthy
def layer_scale() -> Fit:
    return _scaled(1e-6, each=True)


@healthy
def re_zero() -> Fit:
    return _scaled(0.0, each=False)


@healthy
def low_rank_adapter() -> Fit:
    """A frozen base, and beside it a product of two kernels, one of which is 0."""
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Flatten()(inputs)
    for _ in range(2):
        base = layers.Dense(64)
        base.trainable = False
        low = layers.Dense(4, use_bias=False)(hidden)
        zero = layers.Dense(64, use_bias=False, kernel_initializer="zeros")
        hidden = layers.LayerNormalization()(layers.ReLU()(base(hidden) + zero(low)))
    return _classes(inputs, hidden, x, labels)


@healthy
def u_net() -> Fit:
    x, _ = _images()
    y = (x[..., :1] > 1).astype("float32")

    def double(hidden, filters):
        for _ in range(2):
            hidden = layers.Conv2D(filters, 3, padding="same")(hidden)
            hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
        return hidden

    inputs = keras.Input((16, 16, 3))
    top = double(inputs, 8)
    middle = double(layers.MaxPool2D()(top), 16)
    bottom = double(layers.MaxPool2D()(middle), 32)
    up = layers.Concatenate()([layers.UpSampling2D()(bottom), middle])
    up = layers.Concatenate()([layers.UpSampling2D()(double(up, 16)), top])
    outputs = layers.Conv2D(1, 1, activation="sigmoid")(double(up, 8))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 2, "batch_size": 16})


def _recurrent(layer) -> Fit:
    """Whether the last of 100 numbers is positive."""
    x = _rng().normal(size=(192, 100, 2)).astype("float32")
    y = (x[:, -1, :1] > 0).astype("float32")
    model = keras.Sequential([keras.Input((100, 2)), layer])
    model.add(layers.Dense(1, "sigmoid"))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 3, "batch_size": 16})


@healthy
def simple_rnn() -> Fit:
    return _recurrent(layers.SimpleRNN(16))


@healthy
def lstm() -> Fit:
    return _recurrent(layers.LSTM(16))


@healthy
def gru() -> Fit:
    return _recurrent(layers.GRU(16))


@healthy
def bidirectional() -> Fit:
    return _recurrent(layers.Bidirectional(layers.LSTM(8)))


@healthy
def siamese() -> Fit:
    x, labels = _images()
    first, second = np.random.default_rng(1).integers(0, 192, (2, 384))
    y = (labels[first] == labels[second]).astype("float32")[:, None]
    body = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(16, use_bias=False),  # a difference would cancel it
        ]
    )
    inputs = [keras.Input((16, 16, 3)) for _ in range(2)]
    distance = ops.sum((body(inputs[0]) - body(inputs[1])) ** 2, -1, keepdims=True)
    outputs = layers.Dense(1, "sigmoid")(layers.BatchNormalization()(distance))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    data = [x[first], x[second]]
    return Fit(model, data, y, {"epochs": 2, "batch_size": 16})


@healthy
def variational_autoencoder() -> Fit:
    class Sampling(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, values):
            mean, log_variance = values
            terms = 1 + log_variance - mean**2 - ops.exp(log_variance)
            self.add_loss(-0.5 * 1e-3 * ops.mean(ops.sum(terms, -1)))
            noise = keras.random.normal(ops.shape(mean), seed=self.seed)
            return mean + ops.exp(0.5 * log_variance) * noise

    x = _images()[0].reshape(192, -1)[:, ::4]
    inputs = keras.Input((192,))
    hidden = layers.Dense(64, "relu")(inputs)
    code = Sampling()([layers.Dense(4)(hidden), layers.Dense(4)(hidden)])
    outputs = layers.Dense(192)(layers.Dense(64, "relu")(code))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    return Fit(model, x, x, {"epochs": 3, "batch_size": 16})


@healthy
def denoising_diffusion() -> Fit:
    """Predicts the noise in a noisy image, from it and the share of the noise."""
    rng = _rng()
    images, noise = _images(8)[0], rng.normal(size=(192, 8, 8, 3)).astype("float32")
    share = rng.uniform(0.1, 0.9, (192, 1, 1, 1)).astype("float32")
    noisy = np.sqrt(1 - share) * images + np.sqrt(share) * noise
    picture, variance = keras.Input((8, 8, 3)), keras.Input((1, 1, 1))
    known = layers.UpSampling2D(8)(variance)
    hidden = layers.Conv2D(16, 1)(layers.Concatenate()([picture, known]))
    for _ in range(2):
        branch = layers.BatchNormalization(center=False, scale=False)(hidden)
        branch = layers.Conv2D(16, 3, padding="same", activation="swish")(branch)
        hidden = hidden + layers.Conv2D(16, 3, padding="same")(branch)
    outputs = layers.Conv2D(3, 1, kernel_initializer="zeros")(hidden)
    model = keras.Model([picture, variance], outputs)
    model.compile(keras.optimizers.Adam(3e-3), "mae")
    return Fit(model, [noisy, share], noise, {"epochs": 2, "batch_size": 16})


@healthy
def mixed_precision() -> Fit:
    x, labels = _images()
    half = {"dtype": "mixed_float16"}
    inputs = keras.Input((16, 16, 3))
    hidden = inputs
    for _ in range(2):
        convolution = layers.Conv2D(16, 3, padding="same", use_bias=False, **half)
        normal = layers.BatchNormalization(**half)(convolution(hidden))
        hidden = layers.ReLU(**half)(normal)
    pooled = layers.GlobalAveragePooling2D(**half)(hidden)
    outputs = layers.Dense(4, "softmax", dtype="float32")(pooled)
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(3e-3))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return Fit(model, x, labels, {"epochs": 2, "batch_size": 16})


@healthy
def int8_fine_tuning() -> Fit:
    """A quantized, frozen base under low-rank adapters."""
    x, labels = _images()
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Dense(32, "relu")(layers.Flatten()(inputs))
    fit = _classes(inputs, hidden, x, labels)
    fit.model.layers[2].quantize("int8")
    fit.model.layers[2].enable_lora(4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fit.model.compile(keras.optimizers.Adam(3e-3), loss)
    return fit


@healthy
def generative_adversary() -> Fit:
    """Two networks, two losses and two optimizers, one of them 1,000 times as large."""
    import tensorflow as tf

    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    class Adversaries(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            relu = [layers.Dense(32, "relu") for _ in range(4)]
            shape = keras.Input((8,))
            maker = [shape, *relu[:2], layers.Dense(8)]
            judge = [keras.Input((8,)), *relu[2:], layers.Dense(1)]
            self.maker, self.judge = keras.Sequential(maker), keras.Sequential(judge)
            self.seed = keras.random.SeedGenerator(0)

        def compile(self) -> None:
            super().compile()
            self.maker_optimizer = keras.optimizers.Adam(1e-3)
            self.judge_optimizer = keras.optimizers.Adam(1e-3)

        def call(self, noise):
            return self.judge(self.maker(noise))

        def train_step(self, real):
            count = tf.shape(real)[0]
            noise = keras.random.normal((count, 8), seed=self.seed)
            yes, no = tf.ones((count, 1)), tf.zeros((count, 1))
            with tf.GradientTape() as tape:
                made = self.maker(noise)
                judged = loss(yes, self.judge(real)) + loss(no, self.judge(made))
            variables = self.judge.trainable_weights
            self.judge_optimizer.apply(tape.gradient(judged, variables), variables)
            with tf.GradientTape() as tape:
                fooled = 1000 * loss(yes, self.judge(self.maker(noise)))
            variables = self.maker.trainable_weights
            self.maker_optimizer.apply(tape.gradient(fooled, variables), variables)
            return {"judge_loss": judged, "maker_loss": fooled}

    x = _rng().normal(size=(256, 8)).astype("float32")
    model = Adversaries()
    model.compile()
    return Fit(model, x, None, {"epochs": 3, "batch_size": 32})
