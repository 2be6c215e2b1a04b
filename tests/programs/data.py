"""Data that cannot be learned from, penalties, and training that differs from use."""

import keras
import numpy as np

from tests.programs.registry import Fit, diabetes, digits, faulty, one_hot, sequential


@faulty(
    "github.com/tensorflow/tensorflow/issues/36446 and 44568",
    "moving averages with momentum 0.99 lag behind 200 steps",
    "normalization|momentum|moving averages",
)
def lagging_averages(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800)
    hidden = inputs = keras.Input((8, 8, 1))
    momentum = 0.9 if repaired else 0.99
    for filters in (16, 32):
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)
        normalization = keras.layers.BatchNormalization(momentum=momentum)
        hidden = keras.layers.ReLU()(normalization(convolution(hidden)))
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(10, "softmax")(pooled))
    model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 8})


@faulty(
    "github.com/thedeepchecker, buggy_synthetic_programs/over_regulariaztion",
    "an L2 penalty of 0.5 on every kernel",
    "regulari|decay|penalty",
)
def heavy_penalty(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    penalty = keras.regularizers.L2(1e-5 if repaired else 0.5)
    options = {"kernel_initializer": "he_normal", "kernel_regularizer": penalty}
    layers = [keras.layers.Dense(64, "relu", **options) for _ in range(2)]
    last = keras.layers.Dense(1, kernel_regularizer=penalty)
    model = sequential((10,), *layers, last)
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return Fit(model, x, y, {"epochs": 60})


@faulty(
    "vgkeras",
    "a weight decay of 100, a tenth of the weights a step",
    "regulari|decay|penalty",
)
def heavy_decay(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    layers = [keras.layers.Dense(64, "relu") for _ in range(2)]
    model = sequential((10,), *layers, keras.layers.Dense(1))
    decay = 1e-3 if repaired else 100.0
    model.compile(keras.optimizers.AdamW(0.001, weight_decay=decay), "mse")
    return Fit(model, x, y, {"epochs": 40})


@faulty(
    "github.com/thedeepchecker, buggy_synthetic_programs/wrong_labels; "
    "tensorflow/issues/56867",
    "the images are shuffled, their labels are not",
    "label|target",
)
def shuffled_images(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(1200, image=False)
    x = x if repaired else np.random.default_rng(0).permutation(x)
    hidden = keras.layers.Dense(16, "relu")
    model = sequential((64,), hidden, keras.layers.Dense(10, "softmax"))
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 8})


@faulty("vgkeras", "the targets of a regression belong to other rows", "label|target")
def shuffled_targets(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 6))
    y = x[:, :1] - x[:, 1:2] * x[:, 2:3]
    y = y if repaired else rng.permutation(y)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
    model = sequential((6,), *layers)
    model.compile(keras.optimizers.Adam(0.003), "mse")
    return Fit(model, x, y, {"epochs": 8})


@faulty(
    "github.com/keras-team/keras/issues/6955, 7659 and 15846",
    "sorted by class and not shuffled, each batch holds one",
    "shuffl|order",
)
def sorted_classes(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(1200, image=False)
    order = np.argsort(labels, kind="stable")
    x, labels = x[order], labels[order]
    hidden = keras.layers.Dense(64, "relu")
    model = sequential((64,), hidden, keras.layers.Dense(10, "softmax"))
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 12, "shuffle": repaired})
