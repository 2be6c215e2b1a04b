import keras
import numpy as np
import pytest
from hand_backprop import descend, log10_norm
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import stacks, theory, training
from vgkeras.logs import KINDS


def stack(depth=3, **options):
    options = {"scale": 0.9, "dtype": "float64"} | options
    return stacks.build_stack(depth, **options)


@pytest.mark.parametrize("outputs", [1, 2])
def test_every_step_matches_gradient_descent_by_hand(outputs):
    x, y = theory.make_data(samples=8, output_units=outputs)
    model = stack(4, output_units=outputs)
    kernels = model.get_weights()

    log = training.train(model, x, y, steps=5, learning_rate=0.0625)

    history = descend(kernels, x, y, steps=5, learning_rate=0.0625)
    assert_allclose(log.losses["loss"], [taped["loss"] for taped in history])
    for step, taped in enumerate(history):
        rows = log.layers[log.layers["step"] == step]
        for kind in KINDS:
            expected = [log10_norm(array) for array in taped[kind]]
            measured = rows.loc[rows["kind"] == kind, "log10_norm"]
            assert_allclose(measured, expected, atol=1e-9)


def test_the_model_holds_the_weights_after_the_last_step():
    x, y = theory.make_data(samples=8)
    model = stack(2)
    kernels = model.get_weights()

    training.train(model, x, y, steps=3, learning_rate=0.25)

    for _ in range(3):
        first, last = kernels
        upstream = 2 * (x @ first @ last - y) / y.size
        kernels = [
            first - 0.25 * x.T @ upstream @ last.T,
            last - 0.25 * (x @ first).T @ upstream,
        ]
    assert_allclose(model.get_weights(), kernels, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.slow)]
)
def test_what_is_logged_does_not_change_the_run(optimizer):
    x, y = theory.make_data()
    runs = []
    for every in (1, 7, None):
        model = stacks.build_stack(20, scale=0.9)
        log = training.train(model, x, y, steps=15, optimizer=optimizer, every=every)
        runs.append((log.losses["loss"].to_numpy(), model.get_weights()))

    for losses, weights in runs[1:]:
        assert_array_equal(losses, runs[0][0])
        for weight, reference in zip(weights, runs[0][1], strict=True):
            assert_array_equal(weight, reference)


def test_layers_are_logged_every_so_often_and_at_the_end():
    x, y = theory.make_data()

    log = training.train(stack(2), x, y, steps=10, every=4)

    assert sorted(set(log.layers["step"])) == [0, 4, 8, 10]
    assert log.losses["step"].tolist() == list(range(11))


@pytest.mark.slow
def test_a_frozen_weight_is_one_that_its_update_leaves_as_it_is():
    x, y = np.ones((1, 1)), np.ones((1, 1))
    frozen, moving = (stacks.build_stack(d, 1, scale=0.5) for d in (23, 22))

    logs = [
        training.train(m, x, y, steps=1, learning_rate=0.05) for m in (frozen, moving)
    ]

    shares = [
        log.layers.query("kind == 'weight_gradient' and step == 0")["frozen_fraction"]
        for log in logs
    ]
    # the update is 0.1 * 2**(1 - depth); half of the gap above 0.5 is 2**-25
    assert_array_equal(shares[0], 1.0)
    assert_array_equal(shares[1], 0.0)
    assert_array_equal(frozen.get_weights(), 0.5)


@pytest.mark.slow
def test_the_update_ratio_is_true_even_where_the_update_rounds_away():
    x, y = theory.make_data()

    log = training.train(
        stacks.build_stack(60, scale=0.5), x, y, steps=1, learning_rate=0.1
    )

    ratio = log.layers.query("kind == 'weight_gradient'")["update_ratio"]
    gradient = 0.5**59 * (1 - 0.5**60)  # on the diagonal; the kernel's is 0.5
    assert_allclose(ratio, 0.1 * gradient / 0.5, rtol=1e-5)


def test_another_optimizer_is_judged_by_what_it_did():
    x, y = theory.make_data()
    model = stack(2)
    before = model.get_weights()

    log = training.train(model, x, y, steps=1, optimizer="adam", learning_rate=0.01)

    ratios = log.layers.query("kind == 'weight_gradient'")["update_ratio"].to_numpy()
    changes = [
        np.linalg.norm(b - a) / np.linalg.norm(a)
        for a, b in zip(before, model.get_weights(), strict=True)
    ]
    assert_allclose(ratios[:2], changes, rtol=1e-6)
    assert np.isnan(ratios[2:]).all()  # nothing was updated after the last step


@pytest.mark.slow
def test_training_can_be_watched_left_and_taken_up_again():
    x, y = theory.make_data()
    watched, whole = stack(), stack()
    run = training.Training(watched, x, y, steps=6)

    seen = []
    for step, loss in run:
        seen.append(loss)
        if step == 2:
            break
    partial = run.log()
    assert partial.losses["loss"].tolist() == seen
    assert partial.runs["steps"].item() == 2

    assert [step for step, _ in run] == [3, 4, 5, 6]
    reference = training.train(whole, x, y, steps=6)
    assert_array_equal(run.log().losses["loss"], reference.losses["loss"])
    assert_array_equal(watched.get_weights(), whole.get_weights())


def test_a_run_that_explodes_is_logged_to_its_end():
    x, y = theory.make_data()

    log = training.train(stacks.build_stack(50, scale=1.5), x, y, steps=5)

    assert len(log.losses) == 6
    assert not np.isfinite(log.losses["loss"].iloc[-1])
    last = log.layers[log.layers["step"] == 5]
    assert (last["nonfinite_fraction"] > 0).any()
    assert (last.loc[last["nonfinite_fraction"] > 0, "log10_norm"] == np.inf).all()
    assert log.runs["outcome"].item() == "diverges"


@pytest.mark.parametrize(("scale", "outcome"), [(0.5, "stalls"), (0.9, "trains")])
def test_theory_is_attached_to_a_scaled_identity(scale, outcome):
    x, y = theory.make_data()

    log = training.train(stack(10, scale=scale), x, y, steps=200, learning_rate=0.01)

    assert log.runs["outcome"].item() == log.theory.runs["outcome"].item() == outcome
    assert_allclose(log.theory.losses["loss"], log.losses["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"model": {"scale": None, "kernel_initializer": "orthogonal", "seed": 0}},
        {"optimizer": "adam"},
        {"optimizer": keras.optimizers.SGD(0.01, momentum=0.9)},
        {"loss": "mae"},
    ],
)
def test_no_theory_is_claimed_where_there_is_none(options):
    x, y = theory.make_data()
    model = stack(3, **options.pop("model", {}))

    assert training.train(model, x, y, steps=1, **options).theory is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scale_is_logged_as_it_was_written(dtype):
    x, y = theory.make_data()

    log = training.train(stacks.build_stack(2, scale=0.9, dtype=dtype), x, y, steps=1)

    assert log.runs["scale"].item() == 0.9
    assert log.runs["optimizer"].item() == "sgd"


def test_any_keras_model_can_be_trained(rng):
    x = rng.normal(size=(16, 5)).astype("float32")
    model = keras.Sequential(
        [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
    )

    log = training.train(model, x, x[:, :1], steps=20, learning_rate=0.1, loss="mse")

    names = log.layers.query("kind == 'weight_gradient' and step == 0")["name"]
    assert [name.split("/")[-1] for name in names] == ["kernel", "bias"] * 2
    losses = log.losses["loss"]
    assert losses.iloc[-1] < losses.iloc[0]


def test_bad_arguments_are_named():
    x, y = theory.make_data()

    for options, error, message in [
        ({"steps": 0}, ValueError, "`steps` must be a positive integer"),
        ({"every": 0}, ValueError, "`every` must be a positive integer"),
        ({"learning_rate": 0.0}, ValueError, "`learning_rate` must be a positive"),
        (
            {"optimizer": "nonsense"},
            ValueError,
            "`optimizer` must be a Keras optimizer",
        ),
        ({"loss": "nonsense"}, ValueError, "`loss` must be a Keras loss"),
    ]:
        with pytest.raises(error, match=message):
            training.train(stack(), x, y, **options)
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        training.train(None, x, y)
    with pytest.raises(ValueError, match="`x` and `y` must have the same number of"):
        training.train(stack(), x, y[:3])
    with pytest.raises(RuntimeError, match="No step was run yet"):
        training.Training(stack(), x, y).log()
