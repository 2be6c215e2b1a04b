"""Losses that come to Inf, NaN or no gradient."""

import keras
import numpy as np

from tests.programs.registry import Fit, faulty, one_hot, sequential

_LOSS = "log|loss itself|epsilon|custom loss"


@faulty(
    "github.com/keras-team/keras/issues/5733",
    "the logarithm is taken of the targets, most of which are 0",
    _LOSS,
)
def log_of_targets(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(300, 4))
    y = one_hot((x[:, 0] > 0).astype(int))
    ops = keras.ops

    def right(y, p):
        return -ops.sum(y * ops.log(p + 1e-7), -1)

    def swapped(y, p):
        return -ops.sum(p * ops.log(y), -1)

    hidden = keras.layers.Dense(16, "relu")
    model = sequential((4,), hidden, keras.layers.Dense(2, "softmax"))
    model.compile(keras.optimizers.Adam(0.01), right if repaired else swapped)
    return Fit(model, x, y, {"epochs": 8})


@faulty(
    "github.com/mkocabas/focal-loss-keras/issues/17",
    "a focal loss takes the bare logarithm of a sigmoid that reaches 0 and 1",
    _LOSS,
)
def bare_focal_loss(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 5))
    y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")
    epsilon, ops = 1e-7 if repaired else 0.0, keras.ops

    def focal(y, p):
        one = y * (1 - p) ** 2 * ops.log(p + epsilon)
        return -ops.mean(one + (1 - y) * p**2 * ops.log(1 - p + epsilon))

    hidden = [keras.layers.Dense(32, "relu") for _ in range(2)]
    model = sequential((5,), *hidden, keras.layers.Dense(1, "sigmoid"))
    model.compile(keras.optimizers.Adam(0.02), focal)
    return Fit(model, x, y, {"epochs": 60, "batch_size": 40})


@faulty("vgkeras", "the root of a distance that can be 0", _LOSS)
def root_of_zero(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(320, 3)).astype("float32")
    x[200] = 0.0  # is answered exactly
    y = x @ np.float32([[1.0], [-2.0], [0.5]])
    epsilon, ops = 1e-12 if repaired else 0.0, keras.ops

    def distance(y, p):
        return ops.sqrt(ops.sum((y - p) ** 2, -1) + epsilon)

    model = sequential((3,), keras.layers.Dense(1, use_bias=False))
    model.compile(keras.optimizers.SGD(0.05), distance)
    return Fit(model, x, y, {"epochs": 8, "shuffle": False})


@faulty(
    "github.com/eriklindernoren/Keras-GAN/issues/61, tensorflow/issues/2177",
    "an argmax lets no gradient back to the encoder",
    "argmax",
)
def argmax_between(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 6))
    y = np.sin(x[:, :1]) + x[:, 1:2]
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(16, "relu", name="encoder")(inputs)
    hidden = keras.layers.Dense(8, name="code")(hidden)
    if not repaired:
        hidden = keras.layers.Lambda(_hardest, output_shape=(8,))(hidden)
    hidden = keras.layers.Dense(16, "relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return Fit(model, x, y, {"epochs": 15, "batch_size": 40})


def _hardest(values):
    return keras.ops.one_hot(keras.ops.argmax(values, -1), 8)


@faulty("vgkeras", "a loss of the wrong sign is made as large as can be", "sign|uphill")
def negative_loss(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(320, 4))
    y = x[:, :1]
    sign = 1.0 if repaired else -1.0

    def signed(y, p):
        return sign * keras.ops.mean(keras.ops.square(y - p), -1)

    hidden = keras.layers.Dense(32, "relu")
    model = sequential((4,), hidden, keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01), signed)
    return Fit(model, x, y, {"epochs": 30})


@faulty("vgkeras", "two of a kind are at distance 0, whose root has no slope", "root")
def root_of_distance(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    rng, ops = np.random.default_rng(0), keras.ops
    first = rng.normal(size=(480, 6)).astype("float32")
    second = first + rng.normal(size=(480, 6)).astype("float32")
    second[::7] = first[::7]
    y = (np.linalg.norm(first - second, axis=1, keepdims=True) > 2.3).astype("float32")
    body = sequential((6,), keras.layers.Dense(16, "tanh"), keras.layers.Dense(6))
    inputs = [keras.Input((6,)) for _ in range(2)]
    epsilon = 1e-6 if repaired else 0.0
    squares = ops.sum((body(inputs[0]) - body(inputs[1])) ** 2, -1, keepdims=True)
    distance = ops.sqrt(squares + epsilon)
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(distance))
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    return Fit(model, [first, second], y, {"epochs": 20})


@faulty("vgkeras", "flat targets are compared with every output of a batch", "shape")
def flat_targets(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(320, 4)).astype("float32")
    y = x[:, 0] - x[:, 1] * x[:, 2]

    class Distance(keras.losses.Loss):
        def call(self, y, p):
            return keras.ops.abs(y - p)

    hidden = keras.layers.Dense(16, "relu")
    model = sequential((4,), hidden, keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01), Distance())
    return Fit(model, x, y[:, None] if repaired else y, {"epochs": 20})
