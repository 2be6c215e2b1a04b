"""Gradients through time against cells that are called by hand, a step at a time."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

import vgkeras as vg
from vgkeras.tape import Batch, anchor, objective_of, through_time_pass

STEPS, FEATURES, SAMPLES = 6, 3, 4


@pytest.fixture(autouse=True)
def float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@keras.saving.register_keras_serializable("tests")
class Reader(keras.Layer):
    """A cell that puts out something else than its state."""

    state_size = 5
    output_size = 2

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")
        self.recurrent = self.add_weight(shape=(5, 5), name="recurrent")
        self.out = self.add_weight(shape=(5, 2), name="out")

    def call(self, inputs, states):
        new = keras.ops.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return new @ self.out, [new]


class Carry(layers.LSTMCell):
    """An LSTM's cell whose hidden state is made anew of the old."""

    def call(self, inputs, states, training=False):
        _, (h, c) = super().call(inputs, states, training=training)
        return 2 * h, [2 * h, c]


def cells_of(layer):
    cell = layer.cell
    return cell.cells if isinstance(cell, layers.StackedRNNCells) else [cell]


def by_hand(layer, sequences, mask=None):
    """Outputs, and each new state of each cell at each step, in the order of time."""
    cells = cells_of(layer)
    states = [
        [
            tf.zeros((len(sequences), size), tf.float64)
            for size in np.atleast_1d(cell.state_size)
        ]
        for cell in cells
    ]
    inputs = [tf.identity(sequences[:, t]) for t in range(sequences.shape[1])]
    order = range(len(inputs))[:: -1 if layer.go_backwards else 1]
    new_states, outputs, last = {}, {}, None
    for t in order:
        signal, new_states[t] = inputs[t], []
        for place, cell in enumerate(cells):
            signal, new = cell(signal, states[place])
            new_states[t] += new
            if mask is not None:
                on = mask[:, t, None]
                pairs = zip(new, states[place], strict=True)
                new = [tf.where(on, now, old) for now, old in pairs]
            states[place] = list(new)
        if mask is not None and last is not None:
            signal = tf.where(mask[:, t, None], signal, last)
        outputs[t] = last = signal
    times = sorted(outputs)
    listed = [outputs[t] for t in order]
    sequence = tf.stack(listed, 1) if layer.return_sequences else last
    return sequence, [new_states[t] for t in times], inputs


def log10_norms(gradients):
    flat = [np.zeros(1) if g is None else g.numpy().ravel() for g in gradients]
    with np.errstate(divide="ignore"):
        return [np.log10(np.linalg.norm(values)) for values in flat]


def expected(layer, x, head, y, mask=None):
    """log10 norms of the gradients by each state and by the input, `(.., steps)`."""
    with tf.GradientTape() as tape:
        x = tf.constant(x)
        tape.watch(x)
        output, states, inputs = by_hand(layer, x, mask)
        loss = tf.reduce_mean((head(output) - y) ** 2)
    gradients = tape.gradient(loss, [*states, inputs])
    by_input = log10_norms(gradients.pop())
    rows = [log10_norms(of_step) for of_step in gradients]
    return [*np.array(rows).T, by_input]


def measured(log, layer):
    rows = log.layers[log.layers["time"] > 0]
    rows = rows[rows["name"].astype(str).str.startswith(layer.name)]
    groups = rows.groupby(["kind", "name"], sort=False, observed=True)
    norms = [group.sort_values("time")["log10_norm"].to_numpy() for _, group in groups]
    return [*norms[1:], norms[0]]  # the input comes first


LAYERS = {
    "SimpleRNN": lambda: layers.SimpleRNN(5),
    "GRU": lambda: layers.GRU(5),
    "LSTM": lambda: layers.LSTM(5),
    "LSTM in its other way": lambda: layers.RNN(layers.LSTMCell(5)),
    "unrolled": lambda: layers.LSTM(5, unroll=True),
    "backwards": lambda: layers.GRU(5, go_backwards=True, return_sequences=True),
    "sequences": lambda: layers.LSTM(5, return_sequences=True),
    "stacked cells": lambda: layers.RNN([layers.LSTMCell(5), layers.GRUCell(4)]),
    "one cell twice": lambda: layers.RNN([cell := layers.GRUCell(3), cell]),
    "a cell that reads its state": lambda: layers.RNN(Reader()),
    "backwards with such a cell": lambda: layers.RNN(Reader(), go_backwards=True),
    "a cell made of another": lambda: layers.RNN(Carry(5), return_sequences=True),
}


def data(rng=None):
    rng = rng or np.random.default_rng(0)
    return rng.normal(size=(SAMPLES, STEPS, FEATURES)), rng.normal(size=(SAMPLES, 1))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_by_state_and_input_are_those_of_the_unrolled_cell(name):
    x, y = data()
    layer = LAYERS[name]()
    if name == "LSTM in its other way":
        layer.cell.implementation = 1
    end = layers.Dense(1)
    flat = layers.Flatten()
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, flat, end])

    log = vg.gradient_through_time(model, x, y, loss="mse")

    oracle = expected(layer, x, lambda output: end(flat(output)), y)
    assert_allclose(measured(log, layer), oracle, atol=1e-9)


@pytest.mark.parametrize("make", [layers.SimpleRNN, layers.LSTM])
def test_masked_steps_have_no_gradient_of_their_own(make):
    x, y = data()
    mask = np.arange(STEPS) < np.array([[6], [2], [4], [6]])
    mask[0, 2] = False
    x[~mask] = 0
    layer, end = make(5), layers.Dense(1)
    masking = layers.Masking()
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), masking, layer, end])

    log = vg.gradient_through_time(model, x, y, loss="mse")

    norms = measured(log, layer)
    assert_allclose(norms[:-1], expected(layer, x, end, y, mask)[:-1], atol=1e-9)


def test_both_directions_and_stacked_layers_are_told_apart():
    x, y = data()
    lower = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    upper, end = layers.GRU(3), layers.Dense(1)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), lower, upper, end])

    log = vg.gradient_through_time(model, x, y, loss="mse")

    with tf.GradientTape() as tape:
        x = tf.constant(x)
        ahead, first, _ = by_hand(lower.forward_layer, x)
        back, second, _ = by_hand(lower.backward_layer, x)
        both = tf.concat([ahead, tf.reverse(back, [1])], axis=2)
        output, third, _ = by_hand(upper, both)
        loss = tf.reduce_mean((end(output) - y) ** 2)
    gradients = tape.gradient(loss, [first, second, third])
    oracle = [list(zip(*map(log10_norms, part), strict=True)) for part in gradients]
    rows = log.layers[log.layers["kind"] == "state_gradient"]
    norms = [
        group.sort_values("time")["log10_norm"].to_numpy()
        for _, group in rows.groupby("name", sort=False, observed=True)
    ]
    assert_allclose(norms, [row for part in oracle for row in part], atol=1e-9)
    layers_of = rows.drop_duplicates("name").set_index("name")["layer"]
    assert layers_of[f"{upper.name}/h"] == layers_of.max()
    assert layers_of.nunique() == 3


def test_a_linear_network_is_its_closed_form():
    x, y = data(np.random.default_rng(1))
    y = np.repeat(y, FEATURES, axis=1)
    recurrent = keras.initializers.Identity(0.5)
    rnn = layers.SimpleRNN(
        FEATURES, None, use_bias=False, recurrent_initializer=recurrent
    )
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), rnn])

    log = vg.gradient_through_time(model, x, y, loss="mse")

    kernel = keras.ops.convert_to_numpy(rnn.cell.kernel)
    form = vg.theory.recurrent_form(0.5, x, y, kernel=kernel)
    state, inputs = measured(log, rnn)
    assert_allclose(state, form.log10_state_gradient, atol=1e-9)
    assert_allclose(inputs, form.log10_input_gradient, atol=1e-9)
    weights = log.layers[log.layers["time"] == 0]["log10_norm"]
    exact = [form.log10_kernel_gradient, form.log10_recurrent_gradient]
    assert_allclose(weights, exact, atol=1e-9)
    assert log.losses["loss"][0] == pytest.approx(10**form.log10_loss, rel=1e-9)
    assert_allclose(log.theory.layers["log10_norm"], log.layers["log10_norm"])


def test_the_pass_leaves_the_model_as_it_was_and_can_be_compiled():
    x, y = data()
    rnn = layers.LSTM(5, dropout=0.5, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=x.shape), rnn, layers.Dense(1)])
    variables = [*model.variables, *rnn.states]
    before = [keras.ops.convert_to_numpy(v) for v in variables]
    own_step = rnn.inner_loop

    log = vg.gradient_through_time(model, x, y, loss="mse")

    for old, new in zip(before, variables, strict=True):
        assert_array_equal(old, keras.ops.convert_to_numpy(new))
    assert rnn.inner_loop == own_step
    assert rnn.use_cudnn == "auto"
    watched, objective = anchor(), objective_of(model, x, y, loss="mse")
    compiled = tf.function(
        lambda: through_time_pass(objective, watched)[:2], autograph=False
    )
    rnn.cell.dropout = 0.0
    before = vg.gradient_through_time(model, x, y, loss="mse").layers["log10_norm"]
    assert_allclose(compiled()[1][:, 0], before, atol=1e-9)
    assert not log.layers["log10_norm"].equals(before)


def test_magnitudes_that_over_and_underflow_are_logged():
    recurrent = keras.initializers.Identity(1e-2)
    rnn = layers.SimpleRNN(
        2, None, use_bias=False, recurrent_initializer=recurrent, dtype="float32"
    )
    model = keras.Sequential([keras.Input((30, 2), dtype="float32"), rnn])

    log = vg.gradient_through_time(
        model, np.ones((2, 30, 2), "float32"), np.ones((2, 2)), loss="mse"
    )

    rows = log.layers[log.layers["kind"] == "state_gradient"].set_index("time")
    # 1e-18 squared is beyond float32, 1e-38 the last number, then comes 0.
    slope = rows["log10_norm"].diff()[12 + 1 :]
    assert_allclose(slope, 2, atol=1e-4)
    assert rows["log10_norm"][1] == -np.inf
    assert rows["zero_fraction"][1] == 1


def test_the_log_is_saved_with_its_time_and_joined_with_others(tmp_path):
    x, y = data()
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.GRU(1)])
    log = vg.gradient_through_time(model, x, y, loss="mse")

    log.save(tmp_path / "log.parquet")
    loaded = vg.load(tmp_path / "log.parquet")
    joined = vg.concat([vg.predict([0.5], [3]), loaded])

    columns = ["kind", "time", "log10_norm"]
    pd.testing.assert_frame_equal(
        loaded.layers[columns].astype({"kind": "str"}),
        log.layers[columns].astype({"kind": "str"}),
    )
    assert joined.layers["time"].dtype.kind == "i"
    assert set(joined.layers["time"]) == set(range(STEPS + 1))


def test_a_model_without_recurrent_layers_is_refused():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])

    with pytest.raises(ValueError, match="`model` must have a recurrent layer"):
        vg.gradient_through_time(model, np.ones((2, 3)), np.ones((2, 1)))


def test_any_number_of_steps_is_refused_where_rows_must_be_known():
    model = keras.Sequential([keras.Input((None, FEATURES)), layers.GRU(1)])
    x, y = data()
    vg.gradient_through_time(model, x, y, loss="mse")  # a batch has some number
    objective = objective_of(model, x, y, loss="mse")
    compiled = tf.function(
        lambda x: through_time_pass(
            replace(objective, batch=Batch(x, objective.batch.y)), watched
        )[:2],
        input_signature=[tf.TensorSpec((None, None, FEATURES), tf.float64)],
        autograph=False,
    )
    watched = anchor()

    with pytest.raises(ValueError, match="`x` must have a fixed number of time steps"):
        compiled(x)


# The objective is that of `fit`.


def lstm_and_data():
    x, y = data()
    regularized = layers.Dense(1, kernel_regularizer="l2")
    layers_of = [keras.Input((STEPS, FEATURES)), layers.LSTM(5), regularized]
    return keras.Sequential(layers_of), x, y


def test_the_loss_is_that_of_compile_with_what_is_added_to_it():
    model, x, y = lstm_and_data()
    model.compile("sgd", "mae")
    weight = np.linspace(1, 2, SAMPLES)

    log = vg.gradient_through_time(model, x, y, sample_weight=weight)

    expected = vg.gradient_norms(model, x, y, sample_weight=weight)
    kinds = [rows["kind"] == "weight_gradient" for rows in (log.layers, expected)]
    assert_allclose(
        log.layers.loc[kinds[0], "log10_norm"],
        expected.loc[kinds[1], "log10_norm"],
        atol=1e-9,
    )
    added = 0.01 * np.sum(model.layers[-1].kernel.numpy() ** 2)
    errors = np.abs(model(x).numpy() - y)[:, 0] @ weight / SAMPLES
    assert log.losses["loss"][0] == pytest.approx(errors + added, rel=1e-9)


def test_a_model_without_a_loss_asks_for_one():
    model, x, y = lstm_and_data()

    with pytest.raises(ValueError, match=r"`loss` must be given with a model that"):
        vg.gradient_through_time(model, x, y)


def norms_by_tape(model, x, loss_of):
    """Of the gradient by the inputs at each time step, by a tape of the test's own."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = loss_of(model(x))
    slopes = tape.gradient(loss, x).numpy()
    return np.log10([np.linalg.norm(slopes[:, t]) for t in range(x.shape[1])])


def test_a_convolutional_lstm_is_measured(rng):
    x, y = rng.normal(size=(2, 4, 5, 5, 1)), np.zeros((2, 1))
    parts = [layers.ConvLSTM2D(2, 3, name="maps"), layers.Flatten(), layers.Dense(1)]
    model = keras.Sequential([keras.Input(x.shape[1:]), *parts])

    rows = vg.gradient_through_time(model, x, y, loss="mse").layers

    states = rows[rows["kind"] == "state_gradient"]
    assert set(states["name"]) == {"maps/h", "maps/c"}
    assert np.isfinite(states["log10_norm"]).all()
    own = norms_by_tape(model, x, lambda out: tf.reduce_mean(out**2))
    inputs = rows[rows["kind"] == "input_gradient"]["log10_norm"]
    assert_allclose(inputs, own, rtol=0, atol=1e-9)


def test_each_call_of_a_layer_has_a_time_of_its_own(rng):
    inputs = [keras.Input((STEPS, FEATURES)) for _ in range(2)]
    shared = layers.GRU(4, name="g")
    sides = [layers.Dense(1, name=f"d{n}")(shared(one)) for n, one in enumerate(inputs)]
    model = keras.Model(inputs, layers.add(sides))
    x = [rng.normal(size=(SAMPLES, STEPS, FEATURES)) for _ in range(2)]

    log = vg.gradient_through_time(model, x, np.ones((SAMPLES, 1)), loss="mse")

    states = log.layers[log.layers["kind"] == "state_gradient"]
    assert states.groupby("name")["time"].apply(list).to_dict() == {
        "g/h": list(range(1, STEPS + 1)),
        "g (call 2)/h": list(range(1, STEPS + 1)),
    }
