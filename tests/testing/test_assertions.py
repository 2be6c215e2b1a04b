"""Each assertion passes where it should, and fails for the right reason."""

import math
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal

from vgkeras import diagnosis, logs, stacks, sweeps, testing, theory, training

L = keras.layers
ON_GRADIENTS = (
    testing.assert_gradients_finite,
    testing.assert_gradients_connected,
    testing.assert_not_vanishing,
    testing.assert_not_exploding,
)


def failure(assertion, *args, **kwargs):
    """The text of the failure of an assertion that has to fail."""
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **kwargs)
    return str(caught.value)


def handmade_log(norms, *, losses=None, names=None, size=1, loss_zero=math.nan):
    """One run; `norms[step]` holds the log10 norm of each layer."""
    steps, depth = np.shape(norms)
    names = names or [f"dense_{layer}/kernel" for layer in range(1, depth + 1)]
    layers = pd.DataFrame(
        {
            "run": 0,
            "step": np.repeat(range(steps), depth),
            "layer": np.tile(range(1, depth + 1), steps),
            "name": names * steps,
            "kind": "weight_gradient",
            "log10_norm": np.ravel(norms),
            "log10_max": np.ravel(norms),
            "zero_fraction": np.where(np.ravel(norms) == -np.inf, 1.0, 0.0),
            "nonfinite_fraction": np.where(np.ravel(norms) == np.inf, 1.0, 0.0),
            "frozen_fraction": np.nan,
            "update_ratio": np.nan,
            "size": size,
        }
    )
    run = dict.fromkeys(logs.RUN_COLUMNS, 0) | {"depth": depth, "scale": math.nan}
    run |= dict.fromkeys(("initializer", "optimizer", "target", "outcome"), "")
    run |= {"dtype": "float32", "learning_rate": 0.1, "loss_zero": loss_zero}
    values = [1.0] * steps if losses is None else losses
    table = pd.DataFrame({"run": 0, "step": range(steps), "loss": values})
    return logs.GradientLog(pd.DataFrame([run]), table, layers)


@pytest.fixture
def lesson():
    return theory.make_data()


@pytest.fixture
def digits(rng):
    """Images of 8 by 8 and labels 0 to 9, of no meaning."""
    return rng.normal(size=(12, 8, 8, 1)).astype("float32"), rng.integers(0, 10, 12)


BY_THRESHOLD = pytest.mark.parametrize(
    "assertion", [testing.assert_not_vanishing, testing.assert_not_exploding]
)


class Residual(keras.Model):
    """A subclassed model with a shared layer, a branch and no `get_config`."""

    def __init__(self, branch):
        super().__init__()
        self.shared = L.Dense(4, activation="tanh", name="shared")
        self.branch = branch
        self.head = L.Dense(2, name="head")

    def call(self, x):
        hidden = self.shared(self.shared(x))
        self.branch(hidden)
        return self.head(hidden)


# Models that are all right.


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
@pytest.mark.parametrize("depth", [1, 10])
def test_a_stack_that_keeps_its_signal_passes(assertion, depth):
    x, y = theory.make_data("scaled")

    assertion(stacks.build_stack(depth, scale=1.0), x, y)


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
@pytest.mark.parametrize("as_tensor", [np.asarray, tf.constant])
def test_a_classifier_with_integer_labels_passes(assertion, as_tensor, digits):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(),
            L.Dropout(0.5),
            L.Flatten(),
            L.Dense(10, activation="softmax"),
        ]
    )
    x, y = (as_tensor(part) for part in digits)

    assertion(model, x, y, loss="sparse_categorical_crossentropy")


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
@pytest.mark.parametrize("container", [dict, list])
@pytest.mark.parametrize("one_loss", [True, False])
def test_several_inputs_and_outputs_pass(assertion, container, one_loss, rng):
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = L.Concatenate()([L.Dense(3)(left), right])
    outputs = [L.Dense(2, name="near")(joined), L.Dense(1, name="far")(joined)]
    x, y = [rng.normal(size=(6, n)) for n in (4, 3)], [rng.normal(size=(6, 2))]
    y.append(rng.normal(size=(6, 1)))
    loss = ["mse", keras.losses.MeanAbsoluteError()]
    if container is dict:
        model = keras.Model(
            {"left": left, "right": right}, dict(zip("ab", outputs, strict=True))
        )
        x = dict(zip(("left", "right"), x, strict=True))
        y, loss = (dict(zip("ba", v[::-1], strict=True)) for v in (y, loss))
    else:
        model = keras.Model([left, right], outputs)

    assertion(model, x, y, loss="mse" if one_loss else loss)


def test_the_losses_of_outputs_add_up(rng):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = L.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, [L.Dense(1)(hidden), L.Dense(1)(hidden)])
    x, y = rng.normal(size=(6, 4)), [rng.normal(size=(6, 1)) for _ in range(2)]
    with tf.GradientTape() as tape:
        near, far = model(x)
        loss = tf.reduce_mean((near - y[0]) ** 2) + tf.reduce_mean(abs(far - y[1]))
    kernel = tape.gradient(loss, model.layers[1].kernel.value).numpy()

    text = failure(
        testing.assert_not_exploding, model, x, y, loss=["mse", "mae"], threshold=1e-9
    )

    norm = f"{np.linalg.norm(kernel):.3g}"
    assert f"(hidden/kernel) at step 0 explodes: norm {norm}" in text


def test_targets_in_a_dict_belong_to_the_outputs_of_their_names(rng):
    inputs = keras.Input((2,))
    outputs = {name: L.Dense(1, name=f"to_{name}")(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    x = rng.normal(size=(4, 2))
    met = {name: part.numpy() for name, part in model(x).items()}
    y = {"b": met["b"] + 1.0, "a": met["a"]}  # only `b` is missed

    text = failure(
        testing.assert_not_exploding, model, x, y, loss="mse", threshold=1e-3
    )

    assert "to_b/kernel" in text.splitlines()[0]
    assert not any("> " in line and "to_a" in line for line in text.splitlines())


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
def test_mixed_precision_passes_and_is_named(assertion, lesson):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Dense(4, dtype="mixed_float16"), L.Dense(2)])
    model.compile("sgd", "mse")

    assertion(model, *lesson)

    assert "Shown: mixed_float16, step 0" in failure(
        testing.assert_not_exploding, model, *lesson, threshold=1e-9
    )


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
def test_a_log_of_training_passes(assertion, lesson):
    log = training.train(stacks.build_stack(5, scale=0.9), *lesson, steps=20)

    assertion(log)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_was(fails, digits):
    keras.utils.set_random_seed(0)
    x, y = digits
    model = keras.Sequential(
        [L.Flatten(), L.Dense(4), L.BatchNormalization(), L.Dropout(0.5), L.Dense(10)]
    )
    model(x)
    before = [variable.numpy() for variable in model.variables]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    if fails:
        failure(testing.assert_not_exploding, model, x, y, loss=loss, threshold=1e-9)
    else:
        testing.assert_gradients_finite(model, x, y, loss=loss)

    for variable, value in zip(model.variables, before, strict=True):
        assert_array_equal(variable.numpy(), value)


# Failures, each for its reason.


def test_the_lessons_small_scale_vanishes_in_every_layer(lesson):
    model = stacks.build_stack(30, scale=0.5)

    text = failure(testing.assert_not_vanishing, model, *lesson)

    # y = x, whitened: dL/dW = c^29 (c^30 - 1) I, its root mean square c^29 / sqrt(2)
    assert "Vanishing from layer 1 (dense_1/kernel) at step 0" in text.splitlines()[0]
    assert "Rule: root mean square of the weight gradient < 1e-07" in text
    assert "Measured: 1.3e-09, 1.9 decades beyond" in text
    assert "float32, step 0; 30 of 30 rows are bad" in text
    assert "> 30     dense_30/kernel  2.6e-09  1.3e-09" in text.splitlines()
    assert "Way out: let every layer keep the norm" in text


def test_the_lessons_signal_vanishes_before_its_gradients_are_small(lesson):
    testing.assert_not_vanishing(stacks.build_stack(7, scale=0.5), *lesson)

    text = failure(
        testing.assert_not_vanishing, stacks.build_stack(10, scale=0.5), *lesson
    )

    # 9 steps from layer to layer: 0.5^9 = 10^-2.71
    assert "Vanishing from layer 8 (dense_8) at step 0" in text
    assert "Rule: log10 of last / first activation (rms) < -2" in text
    assert "Measured: -2.71, 0.71 decades beyond" in text
    assert "> 8      dense_8   0.0442  3.9e-03" in text.splitlines()


def test_stacks_explode_that_diverge_in_training(lesson):
    log = sweeps.sweep([1.5], [2, 5, 10], steps=200, learning_rate=0.01, every=50)

    assert log.runs["outcome"].tolist() == ["trains", "trains", "diverges"]
    for depth in (2, 5):
        testing.assert_not_exploding(stacks.build_stack(depth, scale=1.5), *lesson)
        testing.assert_not_exploding(log.select(depth=depth))
    failure(testing.assert_not_exploding, stacks.build_stack(10, scale=1.5), *lesson)
    text = failure(testing.assert_not_exploding, log)
    assert "run 2 (c = 1.5, L = 10, float32), step 0" in text  # the last one logged


def test_an_update_beyond_the_weights_explodes(lesson):
    model = stacks.build_stack(10, scale=1.5)

    text = failure(testing.assert_not_exploding, model, *lesson)

    # 0.01 c^9 (c^10 - 1) sqrt(2) / (c sqrt(2)) = 14.5
    assert "Exploding from layer 1 (dense_1/kernel) at step 0" in text
    assert "Rule: update relative to the weights > 10" in text
    assert "Measured: 14.5, 0.16 decades beyond" in text
    assert "> 10     dense_10/kernel  3.1e+03  1.5e+03  14.5" in text.splitlines()
    testing.assert_not_exploding(model, *lesson, learning_rate=0.001)


@pytest.mark.slow
def test_the_defaults_are_those_of_the_diagnosis():
    log = sweeps.sweep(depths=[2, 5, 10, 50], steps=20)
    regimes = {
        testing.assert_not_vanishing: {"vanishing", "subnormal", "zero"},
        testing.assert_not_exploding: {"exploding", "non-finite"},
    }

    for run in log.runs["run"]:
        answers = {
            finding.regime for finding in diagnosis.diagnose(log.select(run=run))
        }
        for assertion, bad in regimes.items():
            if answers & bad:
                failure(assertion, log.select(run=run))
            else:
                assertion(log.select(run=run))


def test_a_threshold_is_held_against_the_root_mean_square():
    model = stacks.build_stack(23, scale=0.5)
    # Of whitened data two elements are 0, or nearly, as the processor rounds.
    x = np.random.default_rng(0).uniform(1, 2, size=(64, 2)).astype("float32")
    gradient = 0.5**22 * (0.5**23 - 1) * x.T @ x.astype(float) / len(x)  # of the mean
    rms = np.sqrt(np.mean(gradient**2))

    testing.assert_not_vanishing(model, x, x, threshold=0.99 * rms)
    text = failure(testing.assert_not_vanishing, model, x, x, threshold=1e-5)

    place = "gradient of layer 1 (dense_1/kernel) at step 0 vanishes"
    assert f"{place}: root mean square {rms:.1e}" in text
    assert f"< 1.0e-05. Measured: {rms:.1e}, {-5 - np.log10(rms):.2g} decades" in text


def test_a_threshold_is_held_against_the_norm(lesson):
    model = stacks.build_stack(10, scale=1.5)

    testing.assert_not_exploding(model, *lesson, threshold=3200)
    text = failure(testing.assert_not_exploding, model, *lesson, threshold=5)

    # c^9 (c^10 - 1) sqrt(2)
    assert "layer 1 (dense_1/kernel) at step 0 explodes: norm 3.1e+03" in text
    assert "Rule: norm > 5. Measured: 3.1e+03, 2.8 decades beyond" in text


@pytest.mark.slow
def test_152_layers_overflow_in_float32(lesson):
    model = stacks.build_stack(152, scale=1.5)

    text = failure(testing.assert_gradients_finite, model, *lesson)

    assert "layer 1 (dense_1/kernel) at step 0 is not finite" in text
    assert "no element is Inf or NaN (SageMaker" in text
    assert "Measured: Inf or NaN." in text
    assert "152 of 152 rows are bad" in text
    testing.assert_gradients_connected(model, *lesson)
    assert "Non-finite, explosion, at step 0: the loss is Inf" in failure(
        testing.assert_not_exploding, model, *lesson
    )


@pytest.mark.slow
def test_152_layers_underflow_to_exactly_0(lesson):
    model = stacks.build_stack(152, scale=0.5)

    testing.assert_gradients_finite(model, *lesson)
    connected = failure(testing.assert_gradients_connected, model, *lesson)
    vanishing = failure(testing.assert_not_vanishing, model, *lesson)
    by_number = failure(testing.assert_not_vanishing, model, *lesson, threshold=1e-7)

    assert "layer 1 (dense_1/kernel) at step 0 is exactly 0" in connected
    assert "Zero from layer 1 (dense_1/kernel) at step 0" in vanishing
    assert "Rule: weight gradient is exactly zero" in vanishing
    assert "152 of 152 rows are bad" in vanishing
    assert "root mean square exactly 0" in by_number
    assert "infinitely many decades beyond" in by_number


def test_float16_underflows_in_front(lesson):
    model = stacks.build_stack(24, scale=0.5, dtype="float16")

    text = failure(testing.assert_gradients_connected, model, *lesson)

    # dL/da_l = c^(24 - l) 2 y / 128: below 2^-24, the smallest float16, for l <= 4
    assert "layer 1 (dense_1/kernel) at step 0 is exactly 0" in text
    assert "float16, step 0; 4 of 24 rows are bad" in text
    testing.assert_gradients_connected(model, *lesson, exclude=[1, 2, 3, 4])


def test_a_disconnected_branch_is_named(rng):
    model = Residual(branch=L.Dense(3, name="aside"))
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))

    text = failure(testing.assert_gradients_connected, model, x, y)

    assert "(aside/kernel) at step 0 is None: the loss does not depend on it" in text
    assert "2 of 6 rows are bad" in text
    assert "aside/bias" in text
    assert "none" in text
    testing.assert_gradients_connected(model, x, y, exclude=["aside"])
    testing.assert_gradients_finite(model, x, y)
    testing.assert_not_vanishing(model, x, y)


def test_dead_units_are_not_connected(rng):
    negative = keras.initializers.Constant(-100.0)
    model = keras.Sequential(
        [L.Dense(3, activation="relu", bias_initializer=negative, name="dead")]
    )
    model.compile("sgd", "mse")

    text = failure(
        testing.assert_gradients_connected, model, np.ones((4, 2)), np.ones((4, 3))
    )

    assert "(dead/kernel) at step 0 is exactly 0" in text


def test_a_sweep_fails_about_its_first_bad_run_and_step():
    log = sweeps.sweep(depths=[2, 10], steps=5)

    text = failure(testing.assert_gradients_finite, log)

    # w <- w (1 - 0.01 c^8 (c^10 - 1)) leaps twice, then overflows
    assert "layer 1 (dense_1/kernel) at step 2 is not finite" in text
    assert "run 5 (c = 1.5, L = 10, float32), step 2" in text
    testing.assert_gradients_finite(log, steps=[0, 1])
    testing.assert_gradients_finite(log.select(scale=0.9))


def test_a_log_that_is_out_of_order_is_read_in_order():
    log = handmade_log([[0.0, 0.0], [0.0, np.inf], [np.inf, 0.0]])
    log = log.replace(layers=log.layers.iloc[::-1])

    text = failure(testing.assert_gradients_finite, log)

    assert "layer 2 (dense_2/kernel) at step 1" in text


def test_activations_are_looked_at_when_asked_for(lesson):
    model = stacks.build_stack(20, scale=0.5)

    testing.assert_not_vanishing(model, *lesson, threshold=1e-6)
    text = failure(
        testing.assert_not_vanishing,
        model,
        *lesson,
        kinds=["weight_gradient", "activation"],
        threshold=1e-6,
    )

    assert "The activation of layer 20 (dense_20) at step 0 vanishes" in text
    assert "weight_gradient" in text
    assert "1 of 40 rows are bad" in text


# What counts as bad over time.


def test_a_gradient_that_is_sometimes_0_is_connected():
    log = handmade_log([[-np.inf, 0.0], [0.0, 0.0]])

    testing.assert_gradients_connected(log)
    text = failure(testing.assert_gradients_connected, log, steps=0)

    assert "layer 1 (dense_1/kernel) at step 0 is exactly 0" in text


def test_a_gradient_may_vanish_once_the_model_has_learned():
    norms = [[0.0, 0.0], [-9.0, 0.0]]

    for last in (0.009, 0.0):
        learned = handmade_log(norms, losses=[1.0, last])
        testing.assert_not_vanishing(learned, threshold=1e-7)
    text = failure(
        testing.assert_not_vanishing,
        handmade_log(norms, losses=[1.0, 0.011]),
        threshold=1e-7,
    )

    assert "layer 1 (dense_1/kernel) at step 1 vanishes" in text
    assert "2 decades beyond" in text


def test_learned_means_less_than_the_zero_map_too():
    norms, losses = [[0.0], [-9.0]], [1e4, 1.0]

    testing.assert_not_vanishing(
        handmade_log(norms, losses=losses, loss_zero=1e3), threshold=1e-7
    )

    assert "at step 1 vanishes" in failure(
        testing.assert_not_vanishing,
        handmade_log(norms, losses=losses, loss_zero=1.0),
        threshold=1e-7,
    )


def test_zeros_of_an_embedding_do_not_make_its_gradient_small():
    log = handmade_log([[-3.0]], size=10**6)
    mostly_zero = log.replace(layers=log.layers.assign(zero_fraction=1 - 1e-6))

    # one element of 1e-3 and a million zeros, against a million of 1e-6
    testing.assert_not_vanishing(mostly_zero, threshold=1e-5)
    failure(testing.assert_not_vanishing, log, threshold=1e-5)


def test_zeros_counted_at_an_earlier_step_count_for_a_later_one():
    log = handmade_log([[-3.0], [-3.0]], size=10**6)
    counted = log.replace(layers=log.layers.assign(zero_fraction=[1 - 1e-6, np.nan]))
    never = log.replace(layers=log.layers.assign(zero_fraction=np.nan, log10_max=-4.0))
    dense = log.replace(layers=log.layers.assign(zero_fraction=[0.0, np.nan]))

    testing.assert_not_vanishing(counted, threshold=1e-5, steps=1)
    testing.assert_not_vanishing(never, threshold=1e-5, steps=1)
    assert "root mean square 1.0e-06" in failure(
        testing.assert_not_vanishing, dense, threshold=1e-5, steps=1
    )
    assert "root mean square 1.0e-04" in failure(
        testing.assert_not_vanishing, never, threshold=1e-3, steps=1
    )


def test_a_predicted_log_which_has_no_sizes_goes_by_the_norm():
    log = theory.predict([0.5], [20], steps=1)  # c^19 sqrt(2), nearly

    testing.assert_not_vanishing(log, threshold=1e-6, steps=0)
    assert "root mean square 2.7e-06" in failure(
        testing.assert_not_vanishing, log, threshold=1e-4, steps=0
    )


def test_a_log_without_sizes_goes_by_the_largest_element():
    log = handmade_log([[-3.0]], size=10**6)
    old = log.replace(layers=log.layers.drop(columns="size"))

    testing.assert_not_vanishing(old, threshold=1e-5)

    assert "root mean square 1.0e-06" in failure(
        testing.assert_not_vanishing, log, threshold=1e-5
    )


# The text.


def test_a_long_table_is_cut_around_the_bad_row():
    norms = np.zeros((1, 152))
    norms[0, 76] = np.inf

    text = failure(testing.assert_gradients_finite, handmade_log(norms))

    lines = text.splitlines()
    assert "layer 77 (dense_77/kernel)" in lines[0]
    assert [line for line in lines if line.startswith(">")] == [
        "> 77     dense_77/kernel   Inf or NaN"
    ]
    assert "  ... 66 more rows, 0 of them bad" in lines
    assert "  1      dense_1/kernel    1" in lines
    assert "  152    dense_152/kernel  1" in lines
    assert len(lines) < 35


def test_the_rows_left_out_say_how_many_are_bad():
    norms = np.zeros((1, 40))
    norms[0, [10, 30]] = np.inf

    lines = failure(testing.assert_gradients_finite, handmade_log(norms)).splitlines()

    assert "  ... 19 more rows, 1 of them bad" in lines
    assert any(line.startswith("> 11 ") for line in lines)


# What is left out.


@pytest.mark.parametrize("entry", [2, "dense_2", "dense_2/kernel", "*_2/*"])
def test_excluded_layers_are_not_looked_at(entry):
    log = handmade_log([[0.0, np.inf, 0.0]])

    testing.assert_gradients_finite(log, exclude=[entry])


def test_a_name_does_not_exclude_longer_names():
    log = handmade_log([[0.0, np.inf]], names=["dense_1/kernel", "dense_10/kernel"])

    assert "dense_10/kernel" in failure(
        testing.assert_gradients_finite, log, exclude=["dense_1"]
    )


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"exclude": "dense_1"}, TypeError, "`exclude` must be a list or tuple of na"),
        ({"exclude": 3}, TypeError, "Received: exclude=3"),
        ({"exclude": [1.5]}, TypeError, "`exclude` must be a positive integer"),
        (
            {"exclude": ["dense_3"]},
            ValueError,
            r"`exclude` must name layers or variables that are there. Received: "
            r"'dense_3', which is none of \['dense_1/kernel', 'dense_2/kernel'\]",
        ),
        ({"exclude": ["*"]}, ValueError, "`log_or_model` must have rows to look at"),
        ({"steps": 7}, ValueError, r"`steps` must be steps that were logged. .*\[7\]"),
        ({"steps": [0, -1]}, ValueError, "`steps` must be a non-negative integer"),
        ({"steps": "all"}, TypeError, "`steps` must be a list or tuple"),
        ({"x": 1.0, "y": 1.0}, ValueError, "`x` and `y` must be left out with a log"),
    ],
)
@pytest.mark.parametrize("assertion", ON_GRADIENTS)
def test_refused_arguments_of_a_log(assertion, arguments, error, message):
    with pytest.raises(error, match=message):
        assertion(handmade_log([[0.0, 0.0]]), **arguments)


@pytest.mark.parametrize(
    ("kinds", "error", "message"),
    [
        ("activation", TypeError, "`kinds` must be a list or tuple"),
        (["gradient"], ValueError, "`kinds` must be one of 'weight_gradient', 'activa"),
        ([], ValueError, "`kinds` must be a non-empty list or tuple"),
    ],
)
@pytest.mark.parametrize("assertion", ON_GRADIENTS)
def test_kinds_are_those_of_a_log(assertion, kinds, error, message):
    more = {"threshold": 1.0} if "_not_" in assertion.__name__ else {}

    with pytest.raises(error, match=message):
        assertion(handmade_log([[0.0]]), kinds=kinds, **more)


@BY_THRESHOLD
def test_the_diagnosis_looks_at_all_kinds(assertion):
    with pytest.raises(ValueError, match="`kinds` must be left out without a threshol"):
        assertion(handmade_log([[0.0]]), kinds=["activation"])


@BY_THRESHOLD
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_a_threshold_is_a_positive_number(assertion, value):
    with pytest.raises(ValueError, match="`threshold` must be a positive, finite numb"):
        assertion(handmade_log([[0.0]]), threshold=value)


@pytest.mark.parametrize("assertion", ON_GRADIENTS)
def test_refused_models_and_data(assertion, lesson):
    x, y = lesson
    model = stacks.build_stack(2)

    with pytest.raises(TypeError, match="must be a GradientLog or a Keras model"):
        assertion("model.keras", x, y)
    with pytest.raises(
        ValueError, match=r"with a model.* Received: a model without x and y"
    ):
        assertion(model)
    with pytest.raises(
        ValueError, match=r"given with a model.* Received: a model without y"
    ):
        assertion(model, x)
    with pytest.raises(ValueError, match="`loss` must be a Keras loss, its name"):
        assertion(model, x, y, loss="nonsense")


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (1, "mse", r"`y` must have the structure .*, \[., .\]. Received: y=\.\."),
        ([1], "mse", r"Received: y=\[\.\]"),
        ({"a": 1, "b": 1}, "mse", r"Received: y=\{'a': ., 'b': .\}"),
        ([1, 1], ["mse"], r"`loss` must have the structure .* loss=\[\.\]"),
        ([1, 1], {"a": "mse"}, r"Received: loss=\{'a': .\}"),
    ],
)
def test_structures_must_be_those_of_the_outputs(y, loss, message):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [L.Dense(1)(inputs), L.Dense(1)(inputs)])
    one = np.ones((3, 1))
    y = keras.tree.map_structure(lambda _: one, y)

    with pytest.raises(ValueError, match=message):
        testing.assert_gradients_finite(model, np.ones((3, 2)), y, loss=loss)


def test_one_output_takes_no_dict_of_targets(lesson):
    x, y = lesson

    with pytest.raises(ValueError, match=r"outputs, \.\. Received: y=\{'a': \.\}"):
        testing.assert_gradients_finite(stacks.build_stack(2), x, {"a": y}, loss="mse")


def test_outputs_in_a_dict_take_targets_in_a_dict():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, {"a": L.Dense(1)(inputs)})
    x, y = np.ones((3, 2)), np.ones((3, 1))

    with pytest.raises(ValueError, match=r"outputs, \{'a': \.\}\. Received: y=\."):
        testing.assert_gradients_finite(model, x, y, loss="mse")


@pytest.fixture
def saved(tmp_path):
    """The path of a log of one healthy gradient."""
    handmade_log([[0.0]]).save(tmp_path / "log.parquet")
    return str(tmp_path / "log.parquet")


@pytest.mark.slow
def test_a_log_needs_no_tensorflow(saved):
    code = (
        "import sys; from vgkeras import logs, testing;"
        f"testing.assert_not_vanishing(logs.load({saved!r}));"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_pytest_shows_the_test_that_failed_and_not_this_package(saved, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "from vgkeras import logs, testing\n\n"
        "def test_norm():\n"
        f"    testing.assert_not_exploding(logs.load({saved!r}), threshold=0.1)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 1, done.stdout
    assert "testing.assert_not_exploding(logs.load" in done.stdout
    assert "AssertionError: The gradient of layer 1 (dense_1/kernel)" in done.stdout
    assert "> 1      dense_1/kernel  1     +1.00" in done.stdout
    assert "vgkeras/" not in done.stdout.replace(str(tmp_path), "")
