"""Rows of recurrent, shared, frozen and last layers, and the way back to a layer."""

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import vgkeras as vg
from vgkeras import tape, testing
from vgkeras.logs import KINDS

L = keras.layers
_WEIGHT, _ACTIVATION, _GRADIENT = KINDS


def linear_rnn(gain):
    """A linear layer with the recurrent kernel `gain * I`, and its kernel."""
    identity = keras.initializers.Identity(gain)
    rnn = L.SimpleRNN(4, activation="linear", recurrent_initializer=identity)
    model = keras.Sequential([keras.Input((6, 1)), rnn, L.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_the_calls_of_a_cell_are_its_time_steps(gain, rng):
    keras.utils.set_random_seed(0)
    model, x = linear_rnn(gain), rng.normal(size=(5, 6, 1))

    frame = vg.gradient_norms(model, x, x[:, 0])

    cell = frame[frame["name"].str.endswith("_cell")].set_index("call")
    gradient = cell.loc[cell["kind"] == _GRADIENT, "log10_norm"]
    assert gradient.index.tolist() == [1, 2, 3, 4, 5, 6]
    # dL/dh_t = dL/dh_6 (gain I)^(6 - t)
    assert_allclose(gradient.diff().dropna(), -np.log10(gain), atol=1e-5)
    kernel, states = model.layers[0].cell.kernel.numpy().astype(float), []
    for step in range(6):
        states.append(x[:, step] @ kernel + (gain * states[-1] if states else 0))
    norms = [np.log10(np.linalg.norm(state)) for state in states]
    activation = cell.loc[cell["kind"] == _ACTIVATION, "log10_norm"]
    assert_allclose(activation, norms, atol=1e-5)
    assert not model.layers[0].unroll


def test_the_second_output_of_a_layer_has_a_name_of_its_own(rng):
    model = keras.Sequential([keras.Input((3, 2)), L.LSTM(4, name="lstm")])
    x = rng.normal(size=(5, 3, 2))

    frame = vg.gradient_norms(model, x, rng.normal(size=(5, 4)), loss="mse")

    table = frame.pivot(index=["name", "call"], columns="kind", values="log10_norm")
    for name in ("lstm/lstm_cell", "lstm/lstm_cell/output_2"):
        assert table.loc[name, _GRADIENT].notna().tolist() == [True] * 3
    assert tape.layer_of(model, "lstm/lstm_cell/output_2") is model.layers[0].cell


def test_stacked_cells_are_called_once_a_time_step(rng):
    cells = [L.SimpleRNNCell(4, name="lower"), L.GRUCell(3, name="upper")]
    model = keras.Sequential([keras.Input((5, 2)), L.RNN(cells, name="rnn")])
    x = rng.normal(size=(6, 5, 2))

    frame = vg.gradient_norms(model, x, x[:, 0, :1] + np.ones(3), loss="mse")

    states = frame[frame["kind"] == _ACTIVATION].set_index(["name", "call"])
    for name, cell in zip(("lower", "upper"), cells, strict=True):
        own = states.loc[f"rnn/stacked_rnn_cells/{name}", "log10_norm"]
        assert own.index.tolist() == [1, 2, 3, 4, 5]
        if name == "lower":
            state = cell(x[:, 0], np.zeros((6, 4)))[0].numpy()
            assert own[1] == pytest.approx(np.log10(np.linalg.norm(state)), abs=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_last_activation_has_a_gradient_though_the_loss_goes_around_it(
    activation, rng
):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation)])
    x, y = rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    loss = "categorical_crossentropy" if activation == "softmax" else "bce"

    frame = vg.gradient_norms(model, x, y, loss=loss)

    p = model(x).numpy().astype(float)
    by_hand = 1 - y / p if activation == "softmax" else (p - y) / (p * (1 - p)) / 3
    (measured,) = frame.loc[frame["kind"] == _GRADIENT, "log10_norm"]
    assert measured == pytest.approx(np.log10(np.linalg.norm(by_hand / 6)), abs=1e-4)


def test_a_row_leads_to_its_layer():
    inner = keras.Sequential([L.Dense(3, name="deep")], name="inner")
    layers = [keras.Input((3,)), inner, L.BatchNormalization(name="norm"), L.Dense(2)]
    model = keras.Sequential(layers)
    frame = vg.gradient_norms(model, np.ones((4, 3)), np.ones((4, 2)), loss="mse")

    owners = [tape.layer_of(model, row) for _, row in frame.iterrows()]

    expected = [inner.layers[0], model.layers[1], model.layers[2]]
    assert [la for la in owners if la not in expected] == []
    for layer, (_, row) in zip(owners, frame.iterrows(), strict=True):
        assert layer is expected[row["layer"] - 1]
    with pytest.raises(ValueError, match=r"the name 'nope', which 0 layers have\."):
        tape.layer_of(model, "nope")


def test_two_layers_of_one_name_are_not_guessed_at():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = L.Dense(1, name="same"), L.Dense(1, name="same")

        def call(self, x):
            return self.two(self.one(x))

    model = Twins()
    model(np.ones((2, 1)))

    with pytest.raises(ValueError, match="which 2 layers have"):
        tape.layer_of(model, "same/kernel")


# Training.


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.LSTM(3),
        lambda: L.GRU(3),
        lambda: L.Bidirectional(L.SimpleRNN(3)),
        lambda: L.TimeDistributed(L.Dense(3)),
    ],
)
def test_recurrent_layers_can_be_trained(layer, rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 2)), layer(), L.Flatten(), L.Dense(1)])
    x = rng.normal(size=(8, 4, 2)).astype("float32")
    expected = vg.gradient_norms(model, x, x[:, 0, :1], loss="mse")

    log = vg.train(model, x, x[:, 0, :1], steps=3, loss="mse")

    assert log.losses["loss"].iloc[-1] < log.losses["loss"].iloc[0]
    rows = log.layers[log.layers["kind"] == _WEIGHT]
    names = ["name", "log10_norm"]
    merged = rows[rows["step"] == 0][names].astype({"name": "str"})
    own = expected.loc[expected["kind"] == _WEIGHT, names]
    pd.testing.assert_frame_equal(
        merged.reset_index(drop=True), own.reset_index(drop=True), atol=1e-5
    )
    assert log.layers["log10_norm"].notna().all()


def test_a_classifier_with_integer_labels_can_be_trained(rng):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, "relu"), L.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = rng.normal(size=(12, 4))

    log = vg.train(model, x, x.argmax(axis=1) % 3, steps=3, loss=loss)

    assert log.losses["loss"].iloc[-1] < log.losses["loss"].iloc[0]
    assert log.runs["loss_zero"].item() == pytest.approx(np.log(3))
    counts = log.runs[["units", "output_units", "samples"]]
    assert counts.values.tolist() == [[4, 0, 12]]


def test_dicts_of_inputs_and_outputs_can_be_measured_and_trained(rng):
    left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    outputs = {"a": L.Dense(3)(left), "b": L.Dense(1)(right)}
    model = keras.Model({"left": left, "right": right}, outputs)
    x = {"left": rng.normal(size=(6, 4)), "right": rng.normal(size=(6, 2))}
    y = {"b": rng.normal(size=(6, 1)), "a": rng.normal(size=(6, 3))}
    expected = vg.gradient_norms(model, x, y, loss="mse")

    log = vg.train(model, x, y, steps=2, loss="mse")

    assert len(expected) == 2 * 2 + 2 * 2
    assert_allclose(
        log.layers.loc[log.layers["step"] == 0, "log10_norm"],
        expected["log10_norm"],
        atol=1e-5,
    )


# Frozen models.


def frozen_model():
    model = keras.Sequential([keras.Input((2,)), L.Dense(3, name="a")])
    model.add(L.Dense(1, name="b"))
    model.trainable = False
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    "assertion",
    [
        testing.assert_gradients_finite,
        testing.assert_gradients_connected,
        testing.assert_not_vanishing,
        testing.assert_not_exploding,
    ],
)
def test_assertions_name_the_layers_of_a_model_that_is_all_frozen(assertion, rng):
    x = rng.normal(size=(4, 2)).astype("float32")
    model, logger = frozen_model(), vg.GradientLogger()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        model.fit(x, x[:, :1], verbose=0, callbacks=[logger])

    with pytest.raises(AssertionError, match=r"Nothing is trained.*: a, b are frozen"):
        assertion(model, x, x[:, :1])
    with pytest.raises(AssertionError, match=r"Nothing is trained.*/a, \S*/b are froz"):
        assertion(logger.log)


def test_a_frozen_model_cannot_be_trained_but_looked_at(rng):
    x = rng.normal(size=(4, 2))

    with pytest.raises(ValueError, match=r"of which all is frozen: \['a', 'b'\]"):
        vg.train(frozen_model(), x, x[:, :1])
    assert set(vg.gradient_norms(frozen_model(), x, x[:, :1])["kind"]) == {*KINDS[1:]}


# Other backends.


@pytest.mark.parametrize(
    "call",
    [
        "vg.gradient_norms(model, x, x)",
        "vg.train(model, x, x)",
        "vg.diagnose(model, x, x)",
        "vg.testing.assert_gradients_finite(model, x, x)",
        "vg.testing.assert_gradients_match_numeric(model, x, x)",
        "vg.gradient_through_time(model, x, x)",
        "vg.GradientLogger()",
        "vg.sweep()",
    ],
)
def test_another_backend_is_refused_in_one_sentence(call, monkeypatch):
    model, x = vg.build_stack(2), np.ones((2, 2))
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")

    with pytest.raises(RuntimeError, match=r"TensorFlow backend\. Received: .*'jax'"):
        eval(call, {"vg": vg, "model": model, "x": x})
