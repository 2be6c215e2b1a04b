"""Outputs, losses and targets that do not fit together."""

import keras
import numpy as np
from sklearn import datasets

from tests.programs.registry import (
    Fit,
    diabetes,
    digits,
    faulty,
    iris,
    one_hot,
    sequential,
)


@faulty(
    "UMLAUT (doi.org/10.1145/3411764.3445538), user_eval/eval_a.py",
    "logits are taken for probabilities, pixels go to 255, most units are dropped",
    "softmax|logit|data|input",
)
def umlaut_images(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800)
    layers, rate = keras.layers, 0.2 if repaired else 0.8
    convolution = [layers.Conv2D(16, 3, activation="relu"), layers.MaxPool2D(2)]
    dense = [layers.Dense(64, "relu"), layers.Dense(64, "relu")]
    middle = [layers.Dropout(rate), layers.Flatten(), *dense, layers.Dropout(rate)]
    model = sequential((8, 8, 1), *convolution, *middle, layers.Dense(10))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=repaired)
    model.compile("adam", loss)
    options = {"epochs": 12, "batch_size": 64}
    return Fit(model, x if repaired else x * 256, labels[:, None], options)


@faulty(
    "stackoverflow.com/q/48251943",
    "a ReLU at the output cannot answer what is below 0",
    "activation|output|ReLU",
)
def relu_regression(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(300, 2))
    y = x[:, :1] - 0.5 * x[:, 1:] - 1.5
    last = keras.layers.Dense(1, "linear" if repaired else "relu")
    model = sequential((2,), keras.layers.Dense(4, "relu"), last)
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return Fit(model, x, y, {"epochs": 30, "batch_size": 10})


@faulty(
    "stackoverflow.com/q/47352366",
    "a ReLU stands where the crossentropy expects a softmax",
    "softmax|activation|output",
)
def relu_classes(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800)
    start = {"bias_initializer": keras.initializers.Constant(0.1)}
    layers = [
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", **start),
        keras.layers.MaxPool2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(128, "relu", **start),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(10, "softmax" if repaired else "relu"),
    ]
    model = sequential((8, 8, 1), *layers)
    model.compile("adam", "categorical_crossentropy")
    options = {"epochs": 8, "batch_size": 50}
    return Fit(model, 16 * x, one_hot(labels), options)


@faulty(
    "stackoverflow.com/q/48221692",
    "a sigmoid is to answer numbers up to 101",
    "target|output|activation|scale",
)
def sigmoid_line(repaired: bool) -> Fit:
    keras.utils.set_random_seed(7)
    x = np.linspace(0, 50, 200)[:, None]
    y = 2 * x + 1
    if repaired:
        x, y = ((values - values.mean()) / values.std() for values in (x, y))
    last = keras.layers.Dense(1, "linear" if repaired else "sigmoid")
    model = sequential((1,), keras.layers.Dense(5, "sigmoid"), last)
    model.compile(keras.optimizers.SGD(0.1 if repaired else 0.01), "mse")
    return Fit(model, x, y, {"epochs": 150, "batch_size": 150})


@faulty(
    "stackoverflow.com/q/50079585",
    "three classes in a binary crossentropy, whose loss becomes negative",
    "label|target|loss and the",
)
def three_classes(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = iris()
    last = keras.layers.Dense(*((3, "softmax") if repaired else (1, "sigmoid")))
    model = sequential((4,), keras.layers.Dense(32, "relu"), last)
    kind = "sparse_categorical" if repaired else "binary"
    model.compile("rmsprop", f"{kind}_crossentropy")
    y = labels[:, None].astype("float32")
    return Fit(model, x, y, {"epochs": 25, "batch_size": 16})


@faulty(
    "stackoverflow.com/q/38648195",
    "a softmax makes the labels of a sample compete",
    "activation|output|softmax|loss and the targets",
)
def several_labels(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = datasets.make_multilabel_classification(
        1000, 20, n_classes=3, random_state=0
    )
    x = (x - x.mean(0)) / x.std(0)
    layers = [keras.layers.Dense(20, "relu") for _ in range(2)]
    last = keras.layers.Dense(3, "sigmoid" if repaired else "softmax")
    model = sequential((20,), *layers, last)
    if repaired:
        model.compile("adam", "binary_crossentropy")
    else:
        model.compile("sgd", "mse")
    return Fit(model, x, y, {"epochs": 20, "batch_size": 20})


@faulty("vgkeras", "a softmax over one unit is always 1", "sigmoid|unit for each")
def single_softmax(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 4))
    y = (x[:, :1] + x[:, 1:2] > 0).astype(float)
    last = keras.layers.Dense(1, "sigmoid" if repaired else "softmax")
    model = sequential((4,), keras.layers.Dense(16, "relu"), last)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 10})


@faulty("vgkeras", "tanh is to answer targets of 0 to 20", "target|output|scale")
def tanh_regression(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    last = keras.layers.Dense(1, "linear" if repaired else "tanh")
    model = sequential((10,), keras.layers.Dense(32, "relu"), last)
    model.compile(keras.optimizers.Adam(0.005), "mse")
    return Fit(model, x, 10 + 4 * y, {"epochs": 30})


@faulty("vgkeras", "labels of -1 and 1 in a binary crossentropy", r"\(y \+ 1\) / 2")
def signed_labels(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 4))
    y = (x[:, :1] > 0).astype(float)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = sequential((4,), *layers)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return Fit(model, x, y if repaired else 2 * y - 1, {"epochs": 10})


@faulty("vgkeras", "a softmax is taken for logits, behind a reshape", "softmax|logits")
def softmax_twice(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    last = "linear" if repaired else "softmax"
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(10, last)]
    model = sequential((64,), *layers, keras.layers.Reshape((10,)))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02), loss)
    return Fit(model, x, one_hot(labels), {"epochs": 12})


@faulty("vgkeras", "the share of units to keep is given as that to drop", "dropout")
def dropped_units(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    rate = 0.05 if repaired else 0.95
    hidden = [
        layer
        for _ in range(3)
        for layer in (keras.layers.Dense(64, "relu"), keras.layers.Dropout(rate))
    ]
    model = sequential((64,), *hidden, keras.layers.Dense(10, "softmax"))
    model.compile(keras.optimizers.Adam(0.001), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 16})
