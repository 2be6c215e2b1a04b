"""Models that cannot begin: dead, equal or frozen from the first step."""

import keras

from tests.programs.registry import (
    Fit,
    digits,
    faulty,
    iris,
    one_hot,
    sequential,
)


@faulty(
    "github.com/keras-team/keras/issues/7057",
    "a bias of -8 keeps the second layer's ReLUs shut",
    "ReLU|learning rate|initial|activation",
)
def shut_units(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    bias = keras.initializers.Constant(0.0 if repaired else -8.0)
    layers = [
        keras.layers.Dense(16, "relu"),
        keras.layers.Dense(16, "relu", bias_initializer=bias),
        keras.layers.Dense(16, "relu"),
        keras.layers.Dense(3, "softmax"),
    ]
    model = sequential((4,), *layers)
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 20, "batch_size": 16})


@faulty(
    "community.deeplearning.ai/t/121049, datascience.stackexchange.com/q/19170",
    "all weights start at 0",
    "not all 0|initial|symmetr",
)
def zero_weights(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    start = {"kernel_initializer": "glorot_uniform" if repaired else "zeros"}
    layers = [keras.layers.Dense(16, "tanh", **start) for _ in range(2)]
    model = sequential((4,), *layers, keras.layers.Dense(3, "softmax", **start))
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 20, "batch_size": 16})


@faulty("vgkeras", "all weights start at 0.1: sixteen units are one", "initial|symmetr")
def equal_weights(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    same = keras.initializers.Constant(0.1)
    start = {"kernel_initializer": "glorot_uniform" if repaired else same}
    layers = [keras.layers.Dense(16, "tanh", **start) for _ in range(2)]
    model = sequential((64,), *layers, keras.layers.Dense(10, "softmax", **start))
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 12})


@faulty(
    "github.com/keras-team/keras/issues/7965, 10222 and 2711",
    "a loop over all layers froze the new head, too",
    "trainable",
)
def all_frozen(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    hidden = keras.layers.Dense(32, "relu")
    model = sequential((4,), hidden, keras.layers.Dense(3, "softmax"))
    for layer in model.layers[: 1 if repaired else None]:
        layer.trainable = False
    model.compile(keras.optimizers.Adam(0.02), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 25, "batch_size": 16})


@faulty("vgkeras", "the new head is frozen instead of what is below", "trainable")
def frozen_head(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    hidden = keras.layers.Dense(32, "relu")
    last = keras.layers.Dense(3, "softmax", kernel_initializer="zeros")
    model = sequential((4,), hidden, last)
    frozen = hidden if repaired else last
    frozen.trainable = False
    model.compile(keras.optimizers.Adam(0.02), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 25, "batch_size": 16})


@faulty(
    "vgkeras", "ten ReLU layers start with weights of 1, twice too large", "initial"
)
def large_weights(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    wide = keras.initializers.RandomNormal(stddev=1.0)
    start = {"kernel_initializer": "he_normal" if repaired else wide}
    layers = [keras.layers.Dense(48, "relu", **start) for _ in range(10)]
    model = sequential((64,), *layers, keras.layers.Dense(10, "softmax", **start))
    model.compile(keras.optimizers.SGD(0.02), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 20})
