"""The numbers of a log against tapes over the same batches in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hand_backprop import log10_norm
from numpy.testing import assert_allclose

from vgkeras.callbacks import GradientLogger
from vgkeras.logs import KINDS

L = keras.layers
pytestmark = pytest.mark.slow


def resnet():
    inputs = keras.Input((8, 8, 3))
    hidden = L.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    for _ in range(2):
        branch = L.ReLU()(L.BatchNormalization()(hidden))
        branch = L.Conv2D(8, 3, padding="same", use_bias=False)(branch)
        hidden = L.Add()([hidden, branch])
    outputs = L.Dense(3, "softmax")(L.GlobalAveragePooling2D()(hidden))
    return keras.Model(inputs, outputs), "sparse_categorical_crossentropy"


def transformer():
    inputs = keras.Input((6, 8))
    hidden = inputs
    for _ in range(2):
        query = L.LayerNormalization()(hidden)
        hidden = hidden + L.MultiHeadAttention(2, 4)(query, query)
        branch = L.Dense(16, "gelu")(L.LayerNormalization()(hidden))
        hidden = hidden + L.Dense(8, kernel_regularizer="l2")(branch)
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(hidden))), "mse"


def lstm():
    layers = [keras.Input((9, 2)), L.LSTM(5, return_sequences=True), L.GRU(4)]
    return keras.Sequential([*layers, L.Dense(1, "sigmoid")]), "bce"


def in_double(make):
    """The same network, of float64 throughout."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        return make()[0]
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


class Weights(keras.callbacks.Callback):
    """The variables before each batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_begin(self, batch, logs=None):
        self.values.append([v.numpy() for v in self.model.variables])


def data_of(model, rng, samples=24):
    x = rng.normal(size=(samples, *model.input_shape[1:])).astype("float32")
    units = model.output_shape[-1]
    y = rng.integers(0, max(units, 2), size=(samples, 1)).astype("float32")
    return x, y


def norms_of(loss, variables, tape):
    gradients = tape.gradient(loss, [v.value for v in variables])
    return [log10_norm(tf.convert_to_tensor(g).numpy()) for g in gradients]


def logged_norms(logger, kind=KINDS[0]):
    """A row a step."""
    rows = logger.log.layers
    steps = rows[rows["kind"] == kind].groupby("step")
    return [rows["log10_norm"].to_numpy() for _, rows in steps]


@pytest.mark.parametrize("make", [resnet, transformer, lstm])
def test_every_gradient_of_every_step_is_that_of_a_float64_twin(make, rng):
    keras.utils.set_random_seed(0)
    model, loss = make()
    twin = in_double(make)
    optimizer = keras.optimizers.SGD(0.003, momentum=0.9)
    model.compile(optimizer, loss)
    x, y = data_of(model, rng)
    weights, logger = Weights(), GradientLogger(updates=3)

    arguments = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[weights, logger], **arguments)

    measured = logged_norms(logger)
    assert len(measured) == len(weights.values) == 12
    for step, (values, norms) in enumerate(zip(weights.values, measured, strict=True)):
        for variable, value in zip(twin.variables, values, strict=True):
            variable.assign(value.astype(variable.dtype))
        rows = slice(step % 3 * 8, step % 3 * 8 + 8)
        with tf.GradientTape() as tape:
            outputs = twin(x[rows].astype("float64"), training=True)
            total = loss_in_double(loss, y[rows], outputs) + sum(twin.losses)
        exact = np.array(norms_of(total, twin.trainable_variables, tape))
        none = exact < -12  # of the bias of keys, which moves all logits alike
        assert_allclose(norms[~none], exact[~none], atol=1e-4)
        assert (norms[none] < -3).all()


def loss_in_double(loss, y, p):
    """The losses of these models, by their definitions."""
    if loss == "mse":
        return tf.reduce_mean((p - y) ** 2)
    if loss == "bce":
        return -tf.reduce_mean(y * tf.math.log(p) + (1 - y) * tf.math.log(1 - p))
    chosen = tf.gather(p, y[:, 0].astype(int), axis=1, batch_dims=1)
    return -tf.reduce_mean(tf.math.log(chosen))


class Gan(keras.Model):
    """Two networks, each with an optimizer, one updated after the other in a step."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential(
            [keras.Input((3,)), L.Dense(6, "tanh"), L.Dense(2)]
        )
        self.critic = keras.Sequential(
            [keras.Input((2,)), L.Dense(6, "tanh"), L.Dense(1)]
        )

    def compile(self):
        super().compile(jit_compile=False)
        self.slow, self.quick = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.05)

    def critic_loss(self, x, z):
        fake = self.critic(self.generator(z))
        return tf.reduce_mean(fake) - tf.reduce_mean(tf.tanh(self.critic(x)))

    def generator_loss(self, z):
        return -tf.reduce_mean(tf.sigmoid(self.critic(self.generator(z))))

    def train_step(self, data):
        x, z = data
        with tf.GradientTape() as tape:
            loss = self.critic_loss(x, z)
        weights = self.critic.trainable_variables
        self.slow.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        with tf.GradientTape() as tape:
            loss = self.generator_loss(z)
        weights = self.generator.trainable_variables
        self.quick.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        return {"loss": loss}


def test_both_updates_of_a_gan_are_those_of_a_float64_twin(rng):
    keras.utils.set_random_seed(0)
    model, twin = Gan(), in_double(lambda: [Gan()])
    model.compile()
    x, z = (rng.normal(size=(16, n)).astype("float32") for n in (2, 3))
    for variable, value in zip(twin.variables, model.get_weights(), strict=True):
        variable.assign(value.astype("float64"))
    logger = GradientLogger(updates=None)

    model.fit(
        x, z, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[logger]
    )

    expected = []
    for step in range(6):
        rows = slice(step % 2 * 8, step % 2 * 8 + 8)
        real, noise = x[rows].astype("float64"), z[rows].astype("float64")
        for network, rate, loss in (
            (twin.critic, 0.1, lambda a, b: twin.critic_loss(a, b)),
            (twin.generator, 0.05, lambda _, b: twin.generator_loss(b)),
        ):
            variables = network.trainable_variables
            with tf.GradientTape() as tape:
                value = loss(real, noise)
            gradients = tape.gradient(value, [v.value for v in variables])
            expected.append([log10_norm(g.numpy()) for g in gradients])
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(rate * gradient)
    rows = logger.log.layers
    measured = [
        own["log10_norm"].to_numpy()
        for _, step in rows.groupby("step")
        for _, own in step.groupby("optimizer", observed=True, sort=False)
    ]
    assert len(measured) == len(expected) == 12
    for norms, other in zip(measured, expected, strict=True):
        assert_allclose(norms, other, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_measured_as_it_computes(policy, rng):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        model = transformer()[0]
    finally:
        keras.config.set_dtype_policy(before)
    optimizer, scale = keras.optimizers.SGD(), 1.0
    if policy == "mixed_float16":
        scale = 2.0**8
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, scale)
    model.compile(optimizer, "mse", jit_compile=False)
    x, y = data_of(model, rng, samples=8)
    logger = GradientLogger(updates=None)

    @tf.function(autograph=False, jit_compile=False)
    def gradients():
        with tf.GradientTape() as tape:
            outputs = tf.cast(model(x, training=True), "float32")
            loss = scale * (tf.reduce_mean((outputs - y) ** 2) + sum(model.losses))
        slopes = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [tf.cast(g, "float64") / scale for g in slopes]

    expected = [log10_norm(g.numpy()) for g in gradients()]
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[logger])

    # Graphs round to other last digits, of which bfloat16 has three.
    sure = np.array(expected) > -2  # the bias of keys is what is left of rounding
    assert_allclose(logged_norms(logger)[0][sure], np.array(expected)[sure], atol=5e-3)
