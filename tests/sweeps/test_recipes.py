"""Compiled stacks against the real Keras models, layers and optimizers.

As graphs, all of them; each layer and each optimizer is held to its graph when XLA has
compiled it.
"""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vgkeras import logs, stacks, sweeps, training
from vgkeras.sweeps import CompiledOptimizer, Recipe, compiled_optimizer, lanes, plan

STEPS, RATE = 4, 0.05


HIDDEN = [
    ("linear", "batch", True),
    ("relu", None, False),
    ("relu", "batch", "zero"),
    ("tanh", "layer", True),
    ("sigmoid", "batch", False),
    ("selu", None, "zero"),
    ("gelu", "layer", False),
]
OPTIMIZERS = [
    keras.optimizers.SGD(RATE, momentum=0.9),
    keras.optimizers.SGD(RATE, momentum=0.8, nesterov=True),
    keras.optimizers.Adam(RATE, beta_1=0.8),
    keras.optimizers.RMSprop(RATE),
    keras.optimizers.Adagrad(RATE),
    keras.optimizers.SGD(RATE, clipnorm=0.1),
    keras.optimizers.Adam(RATE, clipvalue=0.01),
]


def slow(*values):
    """One more case of a second or more."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(quick, *columns):
    """The cases, slow but for those at these places."""
    cases = enumerate(zip(*columns, strict=True))
    return [pytest.param(*case) if k in quick else slow(*case) for k, case in cases]


def name_of(optimizer):
    return "-".join(map(str, compiled_optimizer(optimizer)[:2]))


def compare(recipe, optimizer, rng, *, units=3, outputs=2, depth=4, dtype="float64"):
    """Trains the same stack both ways and compares everything that is logged."""
    model = stacks.build_stack(
        depth,
        units,
        output_units=outputs,
        kernel_initializer="glorot_normal",
        seed=2,
        dtype=dtype,
        activation=recipe.activation,
        normalization=recipe.normalization,
        residual=recipe.residual,
    )
    dense = [model.get_layer(f"dense_{k}") for k in range(1, depth + 1)]
    kernels = [layer.kernel.numpy() for layer in dense]
    x, y = rng.normal(size=(5, units)), rng.normal(size=(5, outputs))
    stack = sweeps.Stack(kernels, x, y, RATE)

    # beside a stack of another depth, so that lanes and masks are at work
    other = sweeps.Stack([0.5 * np.eye(units), kernels[-1]], x, y, RATE)
    traces = sweeps.run_stacks(
        [other, stack],
        steps=STEPS,
        logged_steps=range(STEPS + 1),
        dtype=dtype,
        recipe=recipe,
    )
    log = training.train(model, x, y, steps=STEPS, optimizer=optimizer)

    trace = traces[1]
    # Keras' Adam rounds its betas to float32, and 1 - 0.999 has few digits then
    tolerance = 2e-4 if recipe.optimizer.name == "Adam" else 1e-5
    assert_allclose(trace.losses, log.losses["loss"], rtol=tolerance)
    for kernel, layer in zip(trace.kernels, dense, strict=True):
        assert_allclose(kernel, layer.kernel.numpy(), rtol=tolerance, atol=1e-9)
    kernels = [f"dense_{k}/kernel" for k in range(1, depth + 1)]
    outputs = [output_name(model, k) for k in range(1, depth + 1)]
    for number, names in enumerate([kernels, outputs, outputs]):
        rows = log.layers[log.layers["kind"] == logs.KINDS[number]]
        rows = rows.set_index(["step", "name"])
        for column, values in zip(lanes.COLUMNS, trace.statistics, strict=True):
            expected = rows[column].unstack("name")[names].to_numpy()
            measured = values[:, number]
            if column in ("frozen_fraction", "update_ratio"):
                # `train` cannot tell of the update that no longer was made
                expected, measured = expected[:-1], measured[:-1]
            assert_allclose(
                measured, expected, rtol=tolerance, atol=tolerance, err_msg=column
            )


def output_name(model, number):
    """The Keras layer whose output is that of the stack's layer `number`."""
    names = {layer.name for layer in model.layers}
    kinds = ("shortcut", "activation", "normalization", "dense")
    return next(f"{k}_{number}" for k in kinds if f"{k}_{number}" in names)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", slow_but([2, 6], HIDDEN), ids=str)
def test_hidden_layers_are_those_of_the_keras_model(hidden, rng, as_graph):
    compare(Recipe(*hidden), keras.optimizers.SGD(RATE), rng)


@pytest.mark.parametrize("optimizer", slow_but([0, 2], OPTIMIZERS), ids=name_of)
@pytest.mark.parametrize("residual", [slow(False), "zero"])
def test_updates_are_those_of_the_keras_optimizer(optimizer, residual, rng, as_graph):
    fresh = type(optimizer).from_config(optimizer.get_config())
    recipe = Recipe("tanh", None, residual, compiled_optimizer(optimizer))

    compare(recipe, fresh, rng)


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "optimizer"), slow_but([2], HIDDEN, OPTIMIZERS))
def test_xla_computes_what_the_graph_does(hidden, optimizer, rng, request):
    recipe = Recipe(*hidden, compiled_optimizer(optimizer))
    kernels = [np.eye(3) + 0.2 * rng.normal(size=(3, 3)) for _ in range(4)]
    x, y = rng.normal(size=(2, 5, 3))
    stacks = [sweeps.Stack(kernels[:depth], x, y, RATE) for depth in (2, 4)]
    options = {"logged_steps": range(STEPS + 1), "dtype": "float64", "recipe": recipe}

    compiled = sweeps.run_stacks(stacks, steps=STEPS, **options)
    request.getfixturevalue("as_graph")
    graphs = sweeps.run_stacks(stacks, steps=STEPS, **options)

    for a, b in zip(compiled, graphs, strict=True):
        assert_allclose(a.losses, b.losses, rtol=1e-12)
        assert_allclose(a.statistics, b.statistics, rtol=1e-9, atol=1e-9)
        for one, other in zip(a.kernels, b.kernels, strict=True):
            assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [slow(1), 5])
def test_another_width_of_the_last_layer_does_not_leak_into_the_hidden_ones(
    outputs, rng, as_graph
):
    recipe = Recipe("sigmoid", "layer", True)

    compare(recipe, keras.optimizers.SGD(RATE), rng, units=3, outputs=outputs)


@pytest.mark.slow
def test_wide_layers_are_multiplied_as_matrices(rng):
    compare(Recipe("relu"), keras.optimizers.SGD(RATE), rng, units=20, outputs=20)


@pytest.mark.slow
def test_chunks_of_steps_remember_what_the_optimizer_keeps(rng, monkeypatch):
    x, y = rng.normal(size=(2, 4, 2))
    stack = sweeps.Stack([0.5 * np.eye(2)] * 3, x, y, 0.1)
    recipe = Recipe("tanh", None, "zero", compiled_optimizer("adam"))
    options = {"steps": 9, "logged_steps": [9], "recipe": recipe}
    (whole,) = sweeps.run_stacks([stack], **options)

    monkeypatch.setattr(plan, "_MOST_STEPS", 4)
    (chunked,) = sweeps.run_stacks([stack], **options)

    assert_allclose(chunked.losses, whole.losses, rtol=1e-6)


@pytest.mark.slow
def test_losses_alone_are_the_losses_of_a_logged_run(rng):
    stack = sweeps.Stack([0.9 * np.eye(2)] * 20, *rng.normal(size=(2, 8, 2)), 0.1)

    (bare,) = sweeps.run_stacks([stack], steps=70, logged_steps=[])
    (full,) = sweeps.run_stacks([stack], steps=70, logged_steps=[0])

    assert_allclose(bare.losses, full.losses, rtol=1e-6)
    assert bare.statistics.shape == (7, 0, 3, 20)


def test_plain_descent_is_recognised():
    sgd, momentum = compiled_optimizer("sgd"), compiled_optimizer("momentum")
    assert sgd == compiled_optimizer(keras.optimizers.SGD(3.0)) == CompiledOptimizer()
    assert momentum.settings == (0.9, 0.0)
    assert not momentum.plain


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("nonsense", "`optimizer` must be a Keras optimizer or its name"),
        (keras.optimizers.Lion(), "`optimizer` must be SGD, RMSprop, Adagrad or Adam"),
        (keras.optimizers.Adam(amsgrad=True), "`optimizer` must be SGD, RMSprop"),
        (keras.optimizers.SGD(global_clipnorm=1.0), "without weight_decay, global_cl"),
        (keras.optimizers.RMSprop(momentum=0.5), "an RMSprop without momentum"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_way_out(optimizer, message):
    with pytest.raises(ValueError, match=message):
        compiled_optimizer(optimizer)
