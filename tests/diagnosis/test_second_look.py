"""What a model and its data tell beside a log, and models that only start closed."""

import keras
import numpy as np
import pandas as pd
import pytest

import vgkeras as vg
from vgkeras import tape
from vgkeras.logs import KINDS, GradientLog, run_table

SAMPLES = 64


def data():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype("float32")
    return x, x[:, :1] + 1


def regression(*layers):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def stuck(model):
    """A log of a fit whose loss did not move."""
    frame = pd.DataFrame({"run": 0, "step": range(120), "loss": np.ones(120)})
    layers = vg.gradient_norms(model, *data()).assign(run=0, step=0)
    said = {"facts": tape.model_facts(model)}
    return GradientLog(run_table(dtype="float32"), frame, layers, said)


def test_moving_averages_that_lag_behind_are_told_from_both_passes():
    model = regression(keras.layers.BatchNormalization())
    log = stuck(model)
    weights = [weight.copy() for weight in model.get_weights()]
    model.layers[0].moving_mean.assign(100 * np.ones(4))

    first = vg.diagnose(log, model, *data())[0]

    assert (first.regime, first.cause) == ("mismatch", "moving averages")
    assert "momentum" in first.remedy
    assert all(map(np.array_equal, weights[:2], model.get_weights()[:2]))


@pytest.mark.parametrize(("variance", "lags"), [(1.0, []), (1e6, ["moving averages"])])
def test_averages_under_which_all_inputs_get_one_answer_lag_behind(variance, lags):
    """The targets are noisy, so that the loss grows no more than fivefold."""
    x, _ = data()
    noise = np.random.default_rng(1).normal(size=(SAMPLES, 1))
    model = regression(keras.layers.BatchNormalization(center=False, scale=False))
    log = stuck(model)
    model.layers[0].moving_variance.assign(np.full(4, variance))
    model.layers[-1].kernel.assign(np.eye(4)[:, :1])

    causes = [f.cause for f in vg.diagnose(log, model, x, x[:, :1] + 0.5 * noise)]

    assert [cause for cause in causes if cause] == lags


def test_outputs_that_ignore_the_input_are_told_by_a_pass_over_data():
    model = regression()
    log = stuck(model)
    model.layers[-1].kernel.assign(np.zeros((4, 1)))

    causes = [finding.cause for finding in vg.diagnose(log, model, *data())]

    assert causes == ["output ignores the input"]


class OwnLoss(keras.losses.Loss):
    """Compares what it is given as it is."""

    def __call__(self, y, p, sample_weight=None):
        return keras.ops.mean((y - p) ** 2)


@pytest.mark.parametrize("loss", [OwnLoss(), "mse"])
def test_targets_that_are_broadcast_against_outputs_are_told_by_the_loss(loss):
    model = regression()
    model.compile("sgd", loss)
    log, (x, y) = stuck(model), data()

    flat, shaped = (
        [finding.cause for finding in vg.diagnose(log, model, x, targets)]
        for targets in (y[:, 0], y)
    )

    assert ("targets of another shape" in flat) == (loss != "mse")  # Keras' own align
    assert "targets of another shape" not in shaped


@pytest.mark.parametrize("axes", [1, 2])
def test_a_loss_that_is_no_number_says_nothing_of_the_targets_shape(axes):
    model, (x, y) = regression(), data()
    model.compile("sgd", OwnLoss())
    log = stuck(model)
    model.layers[-1].kernel.assign(np.full((4, 1), np.nan))

    findings = vg.diagnose(log, model, x, y if axes == 2 else y[:, 0])

    assert "targets of another shape" not in [finding.cause for finding in findings]


def test_a_loss_that_draws_lots_says_nothing_of_the_targets_shape():
    class Lots(OwnLoss):
        def __call__(self, y, p, sample_weight=None):
            return (1 + lots.random()) * super().__call__(y, p)

    lots, model = np.random.default_rng(0), regression()
    model.compile("sgd", Lots())

    findings = vg.diagnose(stuck(model), model, *data())

    assert "targets of another shape" not in [finding.cause for finding in findings]


def test_outputs_of_a_model_that_has_learned_large_targets_are_no_explosion():
    """Each of 64 units says what it hears, and the last one 448 times that."""
    x = np.random.default_rng(0).normal(size=(SAMPLES, 1)).astype("float32")
    starts = ["ones", "identity", "identity"]
    hidden = [keras.layers.Dense(64, kernel_initializer=start) for start in starts]
    last = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(7.0))
    model = keras.Sequential([keras.Input((1,)), *hidden, last])
    model.compile("sgd", "mse")

    large, usual = (
        [finding.regime for finding in vg.diagnose(model, x, targets)]
        for targets in (450 * x, x)
    )

    assert large == ["healthy"]
    assert usual == ["exploding"]


@pytest.mark.parametrize(("last", "is_slow"), [(0.8, True), (0.3, False)])
def test_inputs_that_are_not_scaled_slow_a_loss_that_falls_little(last, is_slow):
    model, (x, y) = regression(), data()
    log = stuck(model)
    losses = log.losses.assign(loss=np.linspace(1, last, 120), input_mean=0.0)

    first = vg.diagnose(
        log.replace(losses=losses.assign(input_std=100.0)), model, 100 * x, y
    )[0]

    named = (first.regime, first.cause) == ("slow", "inputs not scaled")
    assert named == is_slow


def likelihood(y, p):
    return keras.ops.sum(y * keras.ops.log(p + 1e-7), -1)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("last", ["softmax", "linear"])
def test_answers_that_are_wrong_more_often_than_by_chance_name_the_sign(sign, last):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, last)])
    model.compile("sgd", likelihood)
    x = np.eye(3, dtype="float32")[np.arange(3 * SAMPLES) % 3]
    frame = pd.DataFrame({"run": 0, "step": range(120), "loss": np.ones(120)})
    said = {"facts": tape.model_facts(model)}
    layers = vg.gradient_norms(model, x, x).assign(run=0, step=0)
    log = GradientLog(run_table(dtype="float32"), frame, layers, said)
    model.layers[0].kernel.assign(4.0 * sign * np.eye(3))

    causes = [finding.cause for finding in vg.diagnose(log, model, x, x)]

    assert ("uphill" in causes) == (sign < 0 and last == "softmax")


@pytest.mark.slow
def test_labels_at_which_tensorflow_raises_do_not_hide_what_the_log_says():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", loss, jit_compile=True)  # XLA does not raise
    x, labels = data()[0], np.arange(SAMPLES) % 4
    logger = vg.GradientLogger()
    model.fit(x, labels, verbose=0, callbacks=[logger])

    causes = [f.cause for f in vg.diagnose(logger.log, model, x, labels)]

    assert causes == ["labels outside the loss"]


def forgetful(backwards=False):
    """A layer of two units, each of which keeps half of its state in a time step."""
    keras.utils.set_random_seed(0)
    half = keras.initializers.Identity(0.5)
    layer = keras.layers.SimpleRNN(
        2, activation="linear", recurrent_initializer=half, go_backwards=backwards
    )
    model = keras.Sequential([keras.Input((30, 1)), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(SAMPLES, 30, 1)).astype("float32")
    return model, x


def measured_once(model, x, y):
    rows = vg.gradient_norms(model, x, y)
    return GradientLog(
        run_table(dtype="float32"),
        vg.diagnosis.log_of(model, x, y, None, None).losses,
        rows[rows["kind"] == KINDS[0]].assign(run=0, step=0),
        {"facts": tape.model_facts(model)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_a_recurrent_layer_that_forgets_is_measured_back_through_time(backwards):
    model, x = forgetful(backwards)
    y = x[:, -1 if backwards else 0]

    first = vg.diagnose(measured_once(model, x, y), model, x, y)[0]

    assert (first.regime, first.cause) == ("vanishing", "memory lost in time")
    assert "keeps a tenth over 3.32 of 30 time steps" in first.extent
    # 29 halvings
    assert first.measured == pytest.approx(29 * np.log10(0.5), abs=0.1)


@pytest.mark.slow
def test_no_memory_is_asked_for_where_the_log_names_a_cause():
    model, x = forgetful()
    y = x[:, 0]
    log = measured_once(model, x, y)
    broken = log.losses.assign(input_nonfinite=0.5, loss=np.nan)

    causes = [f.cause for f in vg.diagnose(log.replace(losses=broken), model, x, y)]

    assert causes == ["Inf or NaN in the data"]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "lost"), [(0.09, True), (0.11, False)])
def test_noise_that_was_learned_by_heart_is_no_memory(share, lost):
    """Outputs that explain this share of what the targets vary by, and no more."""
    model, x = forgetful()
    output = model(x).numpy()
    noise = np.random.default_rng(1).normal(size=output.shape)
    noise -= noise.mean() + output * (noise * output).sum() / (output**2).sum()
    noise *= np.sqrt(output.var() / share / (noise**2).mean())
    y = (output + noise).astype("float32")

    causes = [f.cause for f in vg.diagnose(measured_once(model, x, y), model, x, y)]

    assert ("memory lost in time" in causes) == lost


def test_a_log_of_several_runs_has_no_one_model():
    log = vg.predict(scales=[0.5], depths=[2, 3], steps=1)

    with pytest.raises(ValueError, match=r"one run of the model\. Received: 2 runs\."):
        vg.diagnose(log, regression(), *data())


class Factor(keras.layers.Layer):
    def __init__(self, start):
        super().__init__()
        self.start = keras.initializers.Constant(start)

    def build(self, shape):
        self.gamma = self.add_weight(shape=(), initializer=self.start, name="gamma")

    def call(self, x):
        return x * self.gamma


def branched(start):
    """A shortcut, and a branch of two layers that a factor closes at the start."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8)(inputs)
    branch = keras.layers.Dense(8)(keras.layers.Dense(8, "relu")(hidden))
    outputs = keras.layers.Dense(1)(hidden + Factor(start)(branch))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def adapter():
    """A frozen layer under the product of two kernels, one of which is 0."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    base = keras.layers.Dense(8)
    base.trainable = False
    zero = keras.layers.Dense(8, kernel_initializer="zeros", use_bias=False)
    low = zero(keras.layers.Dense(2, use_bias=False)(inputs))
    outputs = keras.layers.Dense(1)(base(inputs) + low)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "make", [lambda: branched(0.0), lambda: branched(1e-6), adapter]
)
def test_what_only_starts_closed_is_healthy(make):
    model = make()
    weights = [weight.copy() for weight in model.get_weights()]

    for rate in (None, 0.01):
        findings = vg.diagnose(model, *data(), learning_rate=rate)
        assert [finding.regime for finding in findings] == ["healthy"]
    vg.testing.assert_not_vanishing(model, *data())
    assert all(map(np.array_equal, weights, model.get_weights()))


def test_weights_that_are_all_0_do_not_wake():
    zero = {"kernel_initializer": "zeros"}
    layers = [keras.layers.Dense(8, "tanh", **zero) for _ in range(2)]

    (finding,) = vg.diagnose(regression(*layers), *data())
    assert finding.regime == "dead units"
