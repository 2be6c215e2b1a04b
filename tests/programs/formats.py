"""Inf, NaN and zeros that a number format makes."""

import keras
import numpy as np

from tests.programs.registry import Fit, faulty, iris, one_hot, sequential

_FORMAT = "float32|bfloat16|epsilon|scale"


@faulty(
    "github.com/keras-team/keras/issues/11860 and 9582",
    "Adam's epsilon of 1e-7 is nothing in float16",
    _FORMAT,
)
def float16_adam(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 6)).astype("float16")
    y = (x[:, :1] > 0).astype("float16")
    layers = [
        keras.layers.Dense(32, "relu", dtype="float16"),
        keras.layers.Dense(16, "relu", dtype="float16"),
        keras.layers.Dense(1, "sigmoid", dtype="float16"),
    ]
    model = sequential((6,), *layers)
    epsilon = 1e-4 if repaired else 1e-7
    model.compile(keras.optimizers.Adam(0.005, epsilon=epsilon), "mse")
    return Fit(model, x, y, {"epochs": 10, "batch_size": 40})


@faulty(
    "github.com/tensorflow/tensorflow/issues/38357, keras-team/keras/issues/16100",
    "activations beyond the largest float16 make every step one to skip",
    _FORMAT,
)
def float16_overflow(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
    y = np.tanh(x[:, :1])
    half = {"dtype": "mixed_float16"}
    layers = [keras.layers.Dense(32, "relu", **half) for _ in range(2)]
    model = sequential((8,), *layers, keras.layers.Dense(1, dtype="float32"))
    optimizer = keras.optimizers.Adam(0.003)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer), "mse")
    return Fit(model, x if repaired else 6e4 * x, y, {"epochs": 8, "batch_size": 64})


@faulty("vgkeras", "gradients below the smallest float16, unscaled", "LossScale")
def float16_underflow(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    y = 1e-3 * x[:, :1] * x[:, 1:2]
    layers = [keras.layers.Dense(16, "tanh", dtype="mixed_float16") for _ in range(2)]
    last = keras.layers.Dense(
        1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-4)
    )
    model = sequential((8,), *layers, last)
    optimizer = keras.optimizers.SGD(0.05)
    if repaired:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse")
    return Fit(model, x, y, {"epochs": 20})


@faulty("vgkeras", "weights of three digits round small steps away", "in float32")
def rounded_steps(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    half = {"dtype": "mixed_bfloat16" if repaired else "bfloat16"}
    layers = [
        keras.layers.Dense(16, "relu", **half),
        keras.layers.Dense(3, "softmax", **half),
    ]
    model = sequential((4,), *layers)
    model.compile(keras.optimizers.Adam(5e-4), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 40, "batch_size": 8})


@faulty(
    "github.com/tensorflow/tensorflow/issues/46145, keras-team/keras/issues/2134",
    "relative changes from a price of 0 are infinite",
    "data",
)
def change_from_zero(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    price = np.abs(np.random.default_rng(0).normal(1, 0.4, (500, 5)))
    price[300, 2] = 0.0
    with np.errstate(all="ignore"):
        x = price[1:] / price[:-1] - 1
    y = price[:-1].mean(1, keepdims=True)
    if repaired:
        sound = np.isfinite(x).all(1)
        x, y = np.clip(x[sound], -3, 3), y[sound]
    model = sequential((5,), keras.layers.Dense(16, "relu"), keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return Fit(model, x, y, {"epochs": 15, "shuffle": False})


@faulty("vgkeras", "one target is missing, and NaN", "data|target")
def missing_target(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(320, 4))
    y = x[:, :1] * x[:, 1:2]
    if not repaired:
        y[200] = np.nan
    model = sequential((4,), keras.layers.Dense(16, "relu"), keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return Fit(model, x, y, {"epochs": 20})
