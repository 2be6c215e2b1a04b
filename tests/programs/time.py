"""Recurrent layers: what is lost, or grows, from one time step to the next."""

import keras
import numpy as np

from tests.programs.registry import Fit, faulty, one_hot, sequential

_MEMORY = "LSTM|GRU|time|orthogonal"


@faulty(
    "Bengio, Simard & Frasconi (1994), as asked on stats.stackexchange.com/q/340898",
    "the sign of the first of 100 numbers is not remembered",
    _MEMORY,
)
def latch(repaired: bool) -> Fit:
    """Repaired, it is the sign of the last number: it needs no memory."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 100, 1))
    y = (rng.random(600) > 0.5).astype(float)
    x[:, -1 if repaired else 0, 0] = 2 * y - 1
    last = keras.layers.Dense(1, "sigmoid")
    model = sequential((100, 1), keras.layers.SimpleRNN(8), last)
    model.compile("adam", "binary_crossentropy")
    return Fit(model, x, y[:, None], {"epochs": 8})


@faulty(
    "github.com/keras-team/keras/issues/2194 and 13221",
    "an LSTM whose activation has no bound multiplies itself",
    "tanh|activation|clip|initial weights",
)
def relu_lstm(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    x = rng.normal(size=(300, 300, 8)) + labels[:, None, None] * 0.5
    lstm = keras.layers.LSTM(24, activation="tanh" if repaired else "relu")
    model = sequential((300, 8), lstm, keras.layers.Dense(3, "softmax"))
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 4})


@faulty("vgkeras", "a GRU is asked for the first of 150 numbers", _MEMORY)
def gru_recall(repaired: bool) -> Fit:
    """Repaired, the sequences are shorter."""
    keras.utils.set_random_seed(0)
    length = 8 if repaired else 150
    rng = np.random.default_rng(0)
    x = rng.normal(size=(480, length, 2))
    y = (x[:, 0, :1] > 0).astype(float)
    last = keras.layers.Dense(1, "sigmoid")
    model = sequential((length, 2), keras.layers.GRU(12), last)
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 8})


@faulty(
    "vgkeras",
    "a ReLU in a recurrence whose weights are above 1",
    "tanh|activation|clip|initial weights|recurrent weights",
)
def relu_rnn(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(320, 120, 1))
    y = x[:, -1].copy()
    large = keras.initializers.RandomNormal(stddev=0.4)
    layer = keras.layers.SimpleRNN(
        16,
        activation="tanh" if repaired else "relu",
        recurrent_initializer="orthogonal" if repaired else large,
    )
    model = sequential((120, 1), layer, keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return Fit(model, x, y, {"epochs": 12})
