"""Steps that are too large, too small, or go the wrong way."""

import keras
import numpy as np

from tests.programs.registry import (
    Fit,
    circles,
    diabetes,
    digits,
    faulty,
    one_hot,
    sequential,
)


@faulty(
    "github.com/NLeSC/mcfly/issues/43, keras-team/keras/issues/4066",
    "Adam at 0.1 kills the ReLUs of a small CNN",
    "learning rate",
)
def killed_units(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800)
    layers = [
        *(keras.layers.Conv2D(16, 3, activation="relu") for _ in range(2)),
        keras.layers.Flatten(),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10, "softmax"),
    ]
    model = sequential((8, 8, 1), *layers)
    optimizer = keras.optimizers.Adam(0.001 if repaired else 0.1)
    model.compile(optimizer, "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 12})


@faulty(
    "github.com/thedeepchecker, buggy_synthetic_programs/low_lr",
    "Adam at 0.00001 needs a hundred times as many steps",
    "larger learning rate|learning rate .* times larger",
)
def slow_adam(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    options = {"kernel_initializer": "he_normal", "kernel_regularizer": "l2"}
    options["kernel_regularizer"] = keras.regularizers.L2(1e-5)
    layers = [keras.layers.Dense(64, "relu", **options) for _ in range(2)]
    model = sequential((10,), *layers, keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.003 if repaired else 1e-5), "mse")
    return Fit(model, x, y, {"epochs": 30})


@faulty(
    "github.com/thedeepchecker, buggy_synthetic_programs/flipped_sign; UMLAUT "
    "(doi.org/10.1145/3411764.3445538), user_eval/eval_b.py",
    "the learning rate is negative",
    "sign|ascent|wrong direction|negative",
)
def negative_rate(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    layers = [keras.layers.Dense(64, "relu") for _ in range(2)]
    model = sequential((10,), *layers, keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.001 if repaired else -0.001), "mse")
    return Fit(model, x, y, {"epochs": 20})


@faulty(
    "AUTOTRAINER (github.com/shiningrain/AUTOTRAINER), demo_case",
    "gradient descent at 1 with momentum jumps about",
    "learning rate",
)
def jumping_loss(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = circles(1, factor=0.5)
    layers = [keras.layers.Dense(16, "tanh") for _ in range(3)]
    model = sequential((2,), *layers, keras.layers.Dense(1, "sigmoid"))
    rate = 0.05 if repaired else 1.0
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, "binary_crossentropy")
    return Fit(model, x, y, {"epochs": 40})


@faulty("vgkeras", "plain descent at 2 explodes on a regression", "learning rate|clip")
def exploding_descent(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, y = diabetes()
    layers = [keras.layers.Dense(32, "relu") for _ in range(2)]
    model = sequential((10,), *layers, keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(0.02 if repaired else 2.0), "mse")
    return Fit(model, x, y, {"epochs": 20})


@faulty("vgkeras", "plain descent at 0.00001", "larger learning rate")
def slow_descent(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(800, image=False)
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
    model = sequential((64,), *layers)
    optimizer = keras.optimizers.SGD(0.3 if repaired else 1e-4)
    model.compile(optimizer, "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 20})


@faulty("vgkeras", "a step of one's own adds the gradient", "sign|uphill|negative")
def ascent(repaired: bool) -> Fit:
    import tensorflow as tf

    class Own(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, x):
            return self.inner(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            variables = self.trainable_variables
            gradients = tape.gradient(loss, variables)
            sign = 1.0 if repaired else -1.0
            self.optimizer.learning_rate.assign(sign * 0.001)
            self.optimizer.apply(gradients, variables)
            return {"loss": loss}

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 6)).astype("float32")
    y = np.tanh(x[:, :1])
    layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    model = Own(sequential((6,), *layers))
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return Fit(model, x, y, {"epochs": 15})


@faulty("vgkeras", "momentum makes ten steps of one: the ReLUs die", "learning rate")
def gathering_momentum(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(1200)
    layers = [
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.MaxPool2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(10, "softmax"),
    ]
    model = sequential((8, 8, 1), *layers)
    optimizer = keras.optimizers.SGD(0.02 if repaired else 1.0, momentum=0.9)
    model.compile(optimizer, "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 8})


@faulty("vgkeras", "at pixels that are always 0 an epsilon of 0 makes 0 / 0", "epsilon")
def no_epsilon(repaired: bool) -> Fit:
    keras.utils.set_random_seed(0)
    x, labels = digits(400, image=False)
    hidden = keras.layers.Dense(16, "relu")
    model = sequential((64,), hidden, keras.layers.Dense(10, "softmax"))
    optimizer = keras.optimizers.RMSprop(0.003, epsilon=1e-7 if repaired else 0.0)
    model.compile(optimizer, "categorical_crossentropy")
    return Fit(model, x, one_hot(labels), {"epochs": 15})
