"""Signals that are lost from layer to layer."""

import keras

from tests.programs.registry import (
    Fit,
    circles,
    digits,
    faulty,
    iris,
    one_hot,
    sequential,
)

_GAIN = "initial weights|normalization|activation|residual"


@faulty(
    "machinelearningmastery.com, How to Fix the Vanishing Gradients Problem Using the "
    "ReLU",
    "five tanh layers whose weights are all positive saturate",
    _GAIN,
)
def positive_tanh(repaired: bool) -> Fit:
    keras.utils.set_random_seed(1)
    x, y = circles(1)
    start = "he_uniform" if repaired else keras.initializers.RandomUniform(0, 1)
    options = {"kernel_initializer": start}
    activation = "relu" if repaired else "tanh"
    layers = [keras.layers.Dense(5, activation, **options) for _ in range(5)]
    model = sequential((2,), *layers, keras.layers.Dense(1, "sigmoid", **options))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 60})


@faulty(
    "machinelearningmastery.com, Visualizing the vanishing gradient problem",
    "four sigmoid layers pass on a fraction of the error each",
    _GAIN,
)
def sigmoid_rings(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = circles(0, factor=0.5)
    start = "he_normal" if repaired else keras.initializers.RandomNormal(0, 1)
    activation = "relu" if repaired else "sigmoid"
    layers = [
        keras.layers.Dense(5, activation, kernel_initializer=start) for _ in range(4)
    ]
    model = sequential((2,), *layers, keras.layers.Dense(1, "sigmoid"))
    model.compile("adam", "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 40})


@faulty(
    "github.com/keras-team/keras/issues/4066 and keras-applications/issues/93",
    "sixteen plain convolutions behind Glorot weights lose the signal",
    _GAIN,
)
def plain_vgg(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(600)
    hidden = inputs = keras.Input((8, 8, 1))
    for _ in range(16):
        convolution = keras.layers.Conv2D(12, 3, padding="same", use_bias=not repaired)
        hidden = convolution(hidden)
        if repaired:
            hidden = keras.layers.BatchNormalization()(hidden)
        hidden = keras.layers.ReLU()(hidden)
    hidden = keras.layers.Dense(32, "relu")(keras.layers.Flatten()(hidden))
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(hidden))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 8})


@faulty("vgkeras", "eight sigmoid layers by plain gradient descent", _GAIN)
def sigmoid_iris(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    activation = "relu" if repaired else "sigmoid"
    start = "he_normal" if repaired else "glorot_uniform"
    layers = [
        keras.layers.Dense(16, activation, kernel_initializer=start) for _ in range(8)
    ]
    model = sequential((4,), *layers, keras.layers.Dense(3, "softmax"))
    model.compile(keras.optimizers.SGD(0.05), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 30, "batch_size": 16})


@faulty("vgkeras", "weights of standard deviation 0.01 in twelve ReLU layers", _GAIN)
def tiny_weights(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    start = "he_normal" if repaired else keras.initializers.RandomNormal(0, 0.01)
    layers = [
        keras.layers.Dense(32, "relu", kernel_initializer=start) for _ in range(12)
    ]
    model = sequential((64,), *layers, keras.layers.Dense(10, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    return Fit(model, x, labels, {"epochs": 8})
