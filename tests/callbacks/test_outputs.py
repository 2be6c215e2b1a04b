"""Rows of what layers put out: which call of a layer, and gradients of last outputs."""

import keras
import numpy as np
import pytest
from hand_backprop import log10_norm
from numpy.testing import assert_allclose

import vgkeras as vg
from vgkeras.callbacks import GradientLogger
from vgkeras.logs import KINDS

L = keras.layers
_ACTIVATION, _GRADIENT = KINDS[1:]


def logged(model, x, y, kinds=KINDS, **arguments):
    logger = GradientLogger(kinds=kinds, updates=None)
    model.fit(
        x,
        y,
        batch_size=len(y),
        verbose=0,
        callbacks=[logger],
        shuffle=False,
        **arguments,
    )
    return logger.log


@pytest.mark.slow
def test_the_calls_of_a_shared_layer_are_told_apart(rng, tmp_path):
    keras.utils.set_random_seed(0)
    left, right = keras.Input((3,)), keras.Input((3,))
    shared = L.Dense(2, name="shared")
    _, h, c = L.LSTM(2, return_state=True, name="lstm")(
        L.Reshape((1, 2), name="shape")(shared(left))
    )
    outputs = L.Dense(1, name="end")(L.Concatenate(name="all")([shared(right), h, c]))
    model = keras.Model([left, right], outputs)
    model.compile("sgd", "mse", jit_compile=False)
    x, y = [rng.normal(size=(5, 3)) for _ in "ab"], rng.normal(size=(5, 1))
    expected = [log10_norm(part @ shared.kernel.numpy().astype(float)) for part in x]

    logged(model, x, y).save(tmp_path / "fit.parquet")
    rows = vg.load(tmp_path / "fit.parquet").layers

    outputs = rows[rows["kind"] != KINDS[0]]
    table = outputs.pivot(index=["name", "call"], columns="kind", values="log10_norm")
    calls = table.loc["shared"]
    assert calls.index.tolist() == [1, 2]  # Keras may call with `right` first
    assert_allclose(sorted(calls[_ACTIVATION]), sorted(expected), atol=1e-5)
    assert calls[_GRADIENT].nunique() == 2
    assert {"lstm", "lstm/output_2"} < set(table.index.unique("name"))  # h, and c
    assert (rows.loc[rows["kind"] == KINDS[0], "call"] == 0).all()


def last(activation, policy="float32", outputs=3):
    keras.utils.set_random_seed(0)
    end = L.Dense(outputs, activation, dtype="float32", name="end")
    layers = [L.Dense(4, dtype=policy, name="first"), end]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = "categorical_crossentropy" if activation == "softmax" else "bce"
    return model, loss


@pytest.mark.slow
@pytest.mark.parametrize("eagerly", [False, True])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_last_activation_has_a_gradient_though_the_loss_goes_around_it(
    activation, eagerly, rng
):
    model, loss = last(activation)
    x, y = rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    weight = rng.uniform(0.5, 2, size=6)
    model.compile("sgd", loss, run_eagerly=eagerly, jit_compile=False)
    p = model(x).numpy().astype(float)

    rows = logged(model, x, y, [_GRADIENT], sample_weight=weight).layers

    by_hand = 1 - y / p if activation == "softmax" else (p - y) / (p * (1 - p)) / 3
    measured = rows.set_index("name")["log10_norm"]
    expected = log10_norm(by_hand * weight[:, None] / 6)
    assert measured["end"] == pytest.approx(expected, abs=1e-4)
    assert np.isfinite(measured["first"])


@pytest.mark.slow
def test_such_a_gradient_owes_nothing_to_the_scale_of_the_loss(rng):
    x, y = rng.normal(size=(6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    norms = []
    for scaled in (False, True):
        model, loss = last("softmax")
        optimizer = keras.optimizers.SGD()
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, loss, jit_compile=False)
        norms.append(logged(model, x, y, [_GRADIENT]).layers["log10_norm"])

    assert_allclose(norms[1], norms[0], atol=1e-5)
