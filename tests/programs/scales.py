"""Inputs and targets in units that no fresh network is made for."""

import keras
import numpy as np
from sklearn import datasets

from tests.programs.registry import Fit, diabetes, digits, faulty, sequential


def _standardized(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


@faulty(
    "machinelearningmastery.com, How to Avoid Exploding Gradients With Gradient "
    "Clipping",
    "targets of several hundreds",
    "target|clip",
)
def large_targets(repaired: bool) -> Fit:
    keras.utils.set_random_seed(1)
    x, y = datasets.make_regression(1000, 20, noise=0.1, random_state=1)
    hidden = keras.layers.Dense(25, "relu", kernel_initializer="he_uniform")
    model = sequential((20,), hidden, keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    y = _standardized(y) if repaired else y
    return Fit(model, x, y[:, None], {"epochs": 10})


@faulty(
    "github.com/keras-team/keras/issues/9889 and 1727",
    "a series in thousands closes the gates of an LSTM",
    "scale|input|data|normaliz",
)
def raw_series(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    t = np.arange(700)
    noise = np.random.default_rng(0).normal(size=700)
    series = 3000 + 1500 * np.sin(t / 9) + 100 * noise
    series = _standardized(series) if repaired else series
    x = np.stack([series[i : i + 20] for i in range(600)])[:, :, None]
    layers = [keras.layers.LSTM(24, return_sequences=True), keras.layers.LSTM(24)]
    model = sequential((20, 1), *layers, keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.005), "mse")
    return Fit(model, x, series[20:620, None], {"epochs": 10})


@faulty("vgkeras", "pixels of 0 to 255 saturate tanh", "scale|input|normaliz")
def raw_pixels(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    layers = [keras.layers.Dense(64, "tanh") for _ in range(2)]
    model = sequential((64,), *layers, keras.layers.Dense(10, "softmax"))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return Fit(model, x if repaired else x * 255, labels, {"epochs": 10})


@faulty("vgkeras", "prices in hundreds of thousands, learned by Adam", "target|scale")
def house_prices(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    layers = [keras.layers.Dense(32, "relu") for _ in range(2)]
    model = sequential((10,), *layers, keras.layers.Dense(1))
    model.compile("adam", "mse")
    return Fit(model, x, y if repaired else 2e5 + 8e4 * y, {"epochs": 40})
