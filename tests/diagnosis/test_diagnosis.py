import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vgkeras as vg
from vgkeras import diagnosis
from vgkeras.diagnosis import diagnose, with_known_zeros
from vgkeras.logs import KINDS, LAYER_COLUMNS, RUN_COLUMNS, GradientLog

WEIGHT, ACTIVATION, GRADIENT = KINDS
FLAT = (1.0,) * 3  # a loss that does not move, in too few steps to be called stalled


def rows(values, kind=WEIGHT, **columns):
    """Tensors of one element: log10 of it, by step and layer."""
    return [
        dict.fromkeys(LAYER_COLUMNS, np.nan)
        | {"run": 0, "step": step, "layer": layer, "kind": kind, "size": 1}
        | {"name": f"dense_{layer}" + "/kernel" * (kind == WEIGHT)}
        | dict.fromkeys(("log10_norm", "log10_max", "log10_mean"), value)
        | {"zero_fraction": float(value == -math.inf)}
        | {"nonfinite_fraction": float(value == math.inf)}
        | {"frozen_fraction": 0.0, "update_ratio": 1e-3}
        | columns
        for step, layers in enumerate(values)
        for layer, value in enumerate(layers, start=1)
    ]


def hand_made(*tables, losses=FLAT, **run):
    """A log of one run of unknown outcome."""
    row = dict.fromkeys(RUN_COLUMNS, "") | {
        "run": 0,
        "depth": 2,
        "scale": math.nan,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "dtype": "float32",
        "loss_zero": math.nan,
    }
    layers = [row for table in tables for row in table]
    return GradientLog(
        runs=pd.DataFrame([row | run]),
        losses=pd.DataFrame({"run": 0, "step": range(len(losses)), "loss": losses}),
        layers=pd.DataFrame(layers, columns=list(LAYER_COLUMNS)),
    )


def regimes(log):
    return [finding.regime for finding in diagnose(log)]


def only(log):
    (finding,) = diagnose(log)
    return finding


# What is small, frozen, subnormal, zero, infinite or missing, and what is just not.


@pytest.mark.parametrize(
    ("regime", "quiet", "loud"),
    [
        ("vanishing", hand_made(rows([[0, -6.99]])), hand_made(rows([[0, -7.01]]))),
        (
            "frozen",  # 2**-24 is 5.96e-8
            hand_made(rows([[0]], update_ratio=6.0e-8, frozen_fraction=1.0)),
            hand_made(rows([[0]], update_ratio=5.9e-8, frozen_fraction=1.0)),
        ),
        (
            "frozen",  # small, but it does move every weight
            hand_made(rows([[0]], update_ratio=1e-9, frozen_fraction=0.0)),
            hand_made(rows([[0]], update_ratio=1e-9, frozen_fraction=0.1)),
        ),
        (
            "frozen",  # a weight without a gradient has nothing to round away
            hand_made(
                rows([[0]], update_ratio=0.0, frozen_fraction=0.5, zero_fraction=0.5)
            ),
            hand_made(
                rows([[0]], update_ratio=0.0, frozen_fraction=1.0, zero_fraction=0.5)
            ),
        ),
        (
            "frozen",  # 2**-8 is 3.9e-3
            hand_made(
                rows([[0]], update_ratio=3.8e-3, frozen_fraction=1.0),
                dtype="mixed_bfloat16",
            ),
            hand_made(
                rows([[0]], update_ratio=3.8e-3, frozen_fraction=1.0), dtype="bfloat16"
            ),
        ),
        (
            "subnormal",  # 2**-14 is 10**-4.214
            hand_made(rows([[-4.21]]), dtype="float16"),
            hand_made(rows([[-4.22]]), dtype="float16"),
        ),
        (
            "subnormal",
            hand_made(rows([[-4.22]]), dtype="bfloat16"),
            hand_made(rows([[-4.22]]), dtype="mixed_float16"),
        ),
        ("zero", hand_made(rows([[0, -6.9]])), hand_made(rows([[0, -math.inf]]))),
        ("non-finite", hand_made(rows([[0, 300]])), hand_made(rows([[0, math.inf]]))),
        (
            "non-finite",
            hand_made(rows([[0]]), losses=[1.0, 999.0]),
            hand_made(rows([[0]]), losses=[1.0, math.nan]),
        ),
        ("disconnected", hand_made(rows([[0]])), hand_made(rows([[0, math.nan]]))),
        (
            "exploding",
            hand_made(rows([[0]], update_ratio=9.9)),
            hand_made(rows([[0]], update_ratio=10.1)),
        ),
        (
            "exploding",
            hand_made(rows([[0]]), losses=[1.0, 999.0]),
            hand_made(rows([[0]]), losses=[1.0, 1001.0]),
        ),
        (
            "exploding",  # from the loss of the zero map, if that is larger
            hand_made(rows([[0]]), losses=[1.0, 1999.0], loss_zero=2.0),
            hand_made(rows([[0]]), losses=[1.0, 2001.0], loss_zero=2.0),
        ),
        (
            "exploding",  # 1.84e19 squared is the largest float32
            hand_made(rows([[0]]), rows([[19.26] * 3], ACTIVATION)),
            hand_made(rows([[0]]), rows([[19.27] * 3], ACTIVATION)),
        ),
        (
            "stalled",
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.989]),
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.991]),
        ),
        (
            "stalled",  # too few updates to tell
            hand_made(rows([[0]]), losses=[1.0] * 10),
            hand_made(rows([[0]]), losses=[1.0] * 11),
        ),
        (
            "slow",
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.49], outcome="slow"),
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.51], outcome="slow"),
        ),
        (
            "slow",  # nobody said yet what it should have reached
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.51]),
            hand_made(rows([[0]]), losses=[1.0] * 10 + [0.51], outcome="stalls"),
        ),
        (
            "dead units",
            hand_made(
                rows([[0, 0]], zero_fraction=0.95),
                rows([[0, 0]], ACTIVATION, zero_fraction=0.95),
            ),
            hand_made(
                rows([[0, 0]], zero_fraction=0.96),
                rows([[0, 0]], ACTIVATION, zero_fraction=0.96),
            ),
        ),
        (
            "dead units",  # a sparse output behind a kernel that learns
            hand_made(
                rows([[0, 0]], zero_fraction=0.5),
                rows([[0, 0]], ACTIVATION, zero_fraction=0.96),
            ),
            hand_made(
                rows([[0, 0]], zero_fraction=0.96),
                rows([[0, 0]], ACTIVATION, zero_fraction=0.96),
            ),
        ),
    ],
)
def test_a_regime_begins_just_beyond_its_threshold(regime, quiet, loud):
    assert regimes(quiet) == ["healthy"]
    assert regimes(loud) == [regime]


def test_every_regime_of_a_fault_has_such_a_test():
    (mark,) = test_a_regime_begins_just_beyond_its_threshold.pytestmark

    tested = {regime for regime, *_ in mark.args[1]}
    assert tested == set(diagnosis.REGIMES) - {"healthy", "unknown", "mismatch"}


def test_a_finding_holds_the_rule_and_the_first_place_where_it_fires():
    log = hand_made(
        rows([[0, 0, 0], [0, -9, -10], [0, -11, -11]], name="dense/kernel"), run=7
    )
    log = log.replace(layers=log.layers.assign(run=7), losses=log.losses.assign(run=7))

    # layer 1 keeps its gradient: on its way back it also seems to explode
    finding, other = diagnose(log)

    assert other.regime == "exploding"

    assert finding == diagnosis.Finding(
        regime="vanishing",
        rule="root mean square of the weight gradient < 1e-07",
        threshold=1e-7,
        measured=pytest.approx(1e-9),
        margin=pytest.approx(2.0),
        run=7,
        layer=2,
        name="dense/kernel",
        step=1,
        dtype="float32",
        remedy=finding.remedy,
        extent="2 of 3 layers",
    )


def test_a_healthy_run_names_the_threshold_it_is_nearest_to():
    log = hand_made(rows([[-3, -6]], update_ratio=0.1))

    finding = only(log)

    assert (finding.regime, finding.layer, finding.remedy) == ("healthy", 2, "")
    assert finding.rule == "root mean square of the weight gradient < 1e-07"
    assert finding.measured == pytest.approx(1e-6)
    assert finding.margin == pytest.approx(-1.0)


def test_zeros_are_no_part_of_the_root_mean_square():
    sparse = rows([[-6.0]], size=10**6, zero_fraction=1 - 1e-6)
    dense = rows([[-6.0]], size=10**6)

    assert regimes(hand_made(sparse)) == ["healthy"]  # one entry of 1e-6
    assert regimes(hand_made(dense)) == ["vanishing"]  # a million of 1e-9


def test_zeros_that_were_not_counted_are_the_latest_of_that_tensor():
    sparse = rows([[-6.0]] * 4, size=10**6, zero_fraction=math.nan)
    sparse[0]["zero_fraction"] = 0.0
    sparse[1]["zero_fraction"] = 1 - 1e-6
    sparse[2] |= {"log10_norm": -math.inf, "log10_max": -math.inf}
    sparse[2]["zero_fraction"] = 1.0  # says nothing of the next step
    other = rows([[-3.0]] * 4, size=10**6, layer=2, name="dense_2/kernel")
    log = hand_made(sparse[::-1], other)

    filled = with_known_zeros(log.layers)

    own = filled[filled["layer"] == 1].set_index("step")["zero_fraction"]
    assert own[[0, 1, 2, 3]].tolist() == [0.0, 1 - 1e-6, 1.0, 1 - 1e-6]
    assert (filled[filled["layer"] == 2]["zero_fraction"] == 0).all()
    assert log.layers["zero_fraction"].isna().sum() == 1


@pytest.mark.parametrize(
    ("share", "regime"), [(1 - 1e-6, "healthy"), (0.0, "vanishing")]
)
def test_zeros_counted_at_an_earlier_step_count_for_a_later_one(share, regime):
    gradients = rows([[-6.0]] * 3, size=10**6, zero_fraction=math.nan)
    gradients[0]["zero_fraction"] = share

    finding = only(hand_made(gradients))

    assert finding.regime == regime
    assert finding.measured == pytest.approx(1e-6 if share else 1e-9)


def test_of_zeros_that_were_never_counted_the_largest_element_tells():
    unknown = rows([[-6.0]], size=10**6, zero_fraction=math.nan)

    assert regimes(hand_made(unknown)) == ["healthy"]
    assert regimes(hand_made([unknown[0] | {"log10_max": -8.0}])) == ["vanishing"]


def test_a_bias_of_rounding_errors_is_no_vanishing_gradient():
    kernel = rows([[-3]], size=100, update_ratio=1e-3)
    bias = rows([[-12]], size=10, update_ratio=math.inf, name="dense_1/bias")
    more = [row | {"name": "dense_1/offset"} for row in bias]

    assert regimes(hand_made(bias, kernel, more)) == ["healthy"]
    assert regimes(hand_made(bias)) == ["vanishing"]


def test_faults_come_before_what_is_merely_small():
    log = hand_made(
        rows([[-40, math.nan]], dtype="float32", frozen_fraction=1, update_ratio=1e-30),
        losses=[1.0] * 11,
    )

    assert regimes(log) == [
        "disconnected",
        "subnormal",
        "frozen",
        "vanishing",
        "stalled",
    ]


# The loss decides what a number means.


@pytest.mark.parametrize(
    ("losses", "run"),
    [
        ([1.0, 0.1, 1e-3, 1e-5], {}),  # learned
        ([1.0, 0.8, 0.6, 0.6], {}),  # down to a floor of noise
        ([1.0, 0.5, 0.1, 0.005], {"outcome": "trains", "loss_zero": 1.0}),
    ],
)
def test_a_gradient_that_is_small_because_the_loss_fell_has_not_vanished(losses, run):
    fallen = [[-9, -9], [-12, -40], [-12, -40]]
    log = hand_made(rows([[-2, -2], *fallen]), losses=losses)

    assert regimes(log.replace(runs=log.runs.assign(**run))) == ["healthy"]


def test_a_loss_of_exactly_zero_has_a_gradient_of_zero():
    log = hand_made(rows([[0, 0], [-math.inf] * 2]), losses=[1.0, 0.0])

    assert regimes(log) == ["healthy"]


def test_units_that_rest_once_the_loss_is_learned_are_not_dead():
    last = {"zero_fraction": 1.0, "step": 1}
    tables = [
        row | last if row["step"] else row
        for kind in (WEIGHT, ACTIVATION)
        for row in rows([[0, 0], [0, 0]], kind)
    ]

    assert regimes(hand_made(tables, losses=[1.0, 1e-5])) == ["healthy"]
    assert regimes(hand_made(tables, losses=[1.0, 0.1])) == ["dead units"]


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_the_unit_of_the_loss_changes_no_finding(unit):
    shift = math.log10(unit)
    still = hand_made(rows([[shift - 3, shift - 9]] * 12), losses=[unit] * 12)
    slow = hand_made(rows([[shift - 3, shift - 3]] * 12), losses=[unit] * 12)

    assert regimes(slow) == ["stalled"]
    if unit <= 1:
        assert regimes(still) == ["vanishing", "stalled"]


def test_a_model_that_was_trained_before_is_healthy(rng):
    x = rng.normal(size=(64, 4)).astype("float32")
    model = vg.build_stack(2, 4, scale=0.9)

    vg.train(model, x, x, steps=400, learning_rate=0.5, every=None)

    (finding,) = diagnose(model, x, x)
    assert finding.regime == "healthy"


def test_a_stack_thrown_to_zero_by_its_first_update_vanishes_and_explodes():
    log = hand_made(
        rows([[6], [-30], [-30]], update_ratio=50.0),
        losses=[1e9, *[1.0] * 11],
        outcome="stalls",
        loss_zero=1.0,
    )

    assert regimes(log) == ["vanishing", "exploding", "stalled"]


def test_of_two_signs_of_one_regime_the_earlier_is_told():
    updates = rows([[0] * 3, [0] * 3])
    updates[1]["update_ratio"] = 50.0  # at step 0, in layer 2
    slopes = rows([[0, 0, 0], [0, 3, 6]], ACTIVATION)

    finding = only(hand_made(updates, slopes))

    assert (finding.step, finding.layer) == (0, 2)
    assert finding.rule == "update relative to the weights > 10"


def test_one_huge_update_is_forgiven_to_a_run_that_learns():
    spike = rows([[0], [0]], update_ratio=50.0)

    assert regimes(hand_made(spike, losses=[1.0, 5.0, 0.4])) == ["healthy"]
    assert regimes(hand_made(spike, losses=[1.0, 5.0, 0.6])) == ["exploding"]


def test_a_warm_up_from_a_learning_rate_of_zero_is_not_frozen():
    still = rows([[0]], update_ratio=0.0, frozen_fraction=1.0)
    moving = [row | {"step": row["step"] + 1} for row in rows([[0], [0]])]

    assert regimes(hand_made(still, moving)) == ["healthy"]


def test_a_layer_that_gets_a_gradient_again_is_not_cut_off():
    back = hand_made(rows([[0, -math.inf], [0, 0], [0, 0]]))
    gone = hand_made(rows([[0, 0], [0, -math.inf], [0, -math.inf]]))

    assert regimes(back) == ["healthy"]
    finding = only(gone)
    assert (finding.regime, finding.layer, finding.step) == ("zero", 2, 1)


def test_a_median_of_batches_decides_and_not_the_last_one():
    odd = [1.0] * 39 + [0.001]

    assert regimes(hand_made(rows([[0]]), losses=odd)) == ["stalled"]


def test_loss_scaling_may_skip_a_step_and_unscales_small_gradients():
    small = rows([[-6], [-6], [-6]])
    skipped = [
        row | {"nonfinite_fraction": 1.0} if row["step"] == 0 else row
        for row in rows([[math.inf], [-6], [-6]])
    ]
    scaled = {"dtype": "mixed_float16", "optimizer": "LossScaleOptimizer"}

    assert regimes(hand_made(small, dtype="mixed_float16")) == ["subnormal"]
    assert regimes(hand_made(small, **scaled)) == ["healthy"]
    assert regimes(hand_made(skipped, **scaled)) == ["healthy"]
    at_the_end = [row | {"step": 2 - row["step"]} for row in skipped]
    assert regimes(hand_made(at_the_end, **scaled)) == ["non-finite"]
    lost = hand_made(skipped, losses=[1.0, math.nan, math.nan], **scaled)
    assert regimes(lost)[0] == "non-finite"


def test_a_loss_with_a_sign_is_never_called_learned():
    falling = hand_made(rows([[0], [-9], [-9]]), losses=[-1.0, -2.0, -3.0])
    flat = hand_made(rows([[-9], [-9], [-9]]), losses=[-1.0, -1.01, -1.02])
    dead = hand_made(rows([[0], [-math.inf]]), losses=[1.0, -5.0])

    assert regimes(falling) == ["healthy"]
    assert regimes(flat) == ["vanishing"]
    assert regimes(dead) == ["zero"]


# From layer to layer.


def line(first, last, layers=11):
    return [np.linspace(first, last, layers).tolist()]


@pytest.mark.parametrize(
    ("kind", "first", "last", "regime"),
    [
        (ACTIVATION, 0, -1.99, "healthy"),
        (ACTIVATION, 0, -2.01, "vanishing"),
        (ACTIVATION, 0, 1.99, "healthy"),
        (ACTIVATION, 0, 2.01, "exploding"),
        (GRADIENT, -1.99, 0, "healthy"),
        (GRADIENT, -2.01, 0, "vanishing"),
        (GRADIENT, 1.99, 0, "healthy"),
        (GRADIENT, 2.01, 0, "exploding"),
    ],
)
def test_two_decades_from_end_to_end_are_too_many(kind, first, last, regime):
    finding = only(hand_made(rows([[0] * 11]), rows(line(first, last), kind)))

    assert finding.regime == regime
    assert finding.measured == pytest.approx(
        last - first if kind == ACTIVATION else first - last
    )


def test_the_place_named_is_where_the_second_decade_is_lost():
    forward = hand_made(rows([[0] * 11]), rows(line(0, -5), ACTIVATION))
    backward = hand_made(rows([[0] * 11]), rows(line(-5, 0), GRADIENT))

    assert only(forward).layer == 6  # half a decade a layer: -2.5 at layer 6
    assert only(backward).layer == 6
    assert only(forward).extent == "-0.5 decades a layer"


def test_a_network_of_many_layers_may_grow_slowly():
    slow = hand_made(rows([[0] * 111]), rows(line(0, 2.2, 111), ACTIVATION))
    fast = hand_made(rows([[0] * 91]), rows(line(0, 2.2, 91), ACTIVATION))

    assert 10 ** (2.2 / 110) < 1.05 < 10 ** (2.2 / 90)
    assert regimes(slow) == ["healthy"]
    assert regimes(fast) == ["exploding"]


def test_a_slope_down_counts_if_most_steps_have_it_and_are_finite():
    level, lost, broken = [0, 0, 0, 0], [0, -1, -2, -3], [0, -2, -4, math.inf]
    weights = rows([[0] * 4] * 3)

    for norms, expected in (
        ([level, lost, level], ["healthy"]),
        ([lost, level, lost], ["vanishing"]),
        ([broken, broken, broken], ["non-finite"]),
    ):
        assert regimes(hand_made(weights, rows(norms, ACTIVATION))) == expected


def test_steps_with_too_few_finite_layers_have_no_slope():
    norms = [[0, -1, -3], [0, -9, -math.inf], [0, math.inf, math.inf]]
    log = hand_made(rows([[0] * 3] * 3), rows(norms, ACTIVATION))

    finite = log.replace(layers=log.layers[log.layers["nonfinite_fraction"] == 0])
    assert regimes(finite) == ["vanishing"]  # by step 0
    lost = only(finite.replace(layers=finite.layers[finite.layers["step"] > 0]))
    assert not lost.rule.startswith("log10 of last")  # nothing of the activations


def test_equal_weight_gradients_do_not_hide_what_the_activations_lose():
    log = vg.predict(scales=[0.9], depths=[60], steps=1)
    weights = log.layers.query("step == 0 and kind == 'weight_gradient'")

    assert np.ptp(weights["log10_norm"]) < 1e-6
    assert regimes(log) == ["vanishing"]


def test_a_layer_slope_is_forgiven_to_a_run_that_learns():
    tables = rows([[0] * 11]), rows(line(0, -3), ACTIVATION)

    assert regimes(hand_made(*tables, losses=[1.0, 0.4])) == ["healthy"]
    assert regimes(hand_made(*tables, losses=[1.0, 0.6])) == ["vanishing"]


def test_no_learning_excuses_gradients_that_no_one_rate_can_suit():
    """Below half an epsilon, 2**-24, a step as large as the weights rounds away."""
    apart = 24 * math.log10(2)
    ends = {
        name: rows(line(apart + more, 0, 401), GRADIENT)
        for name, more in (("near", -0.1), ("far", 0.1))
    }
    learns = [1.0, 0.4]

    near, far = (
        hand_made(rows([[0] * 401]), table, losses=learns) for table in ends.values()
    )
    assert 10 ** (apart / 400) < 1.05  # a layer
    assert regimes(near) == ["healthy"]
    assert regimes(far) == ["exploding"]


# The lesson.


@pytest.fixture(scope="module")
def lesson():
    return vg.sweep(steps=200, every=20)


def test_of_the_lesson_those_runs_are_healthy_that_train(lesson):
    findings = diagnose(lesson)

    for run, finding in zip(lesson.runs["run"], lesson.runs["outcome"], strict=True):
        own = [v.regime for v in findings if v.run == run]
        assert (own == ["healthy"]) == (finding == "trains"), (run, own)
        assert ("exploding" in own) == (finding == "diverges"), (run, own)


@pytest.mark.slow
def test_a_linear_stack_has_no_units_that_could_die(lesson):
    for log in (lesson, lesson.theory, vg.sweep([0.5], [40], dtype="float16", steps=2)):
        assert "dead units" not in regimes(log)


def test_the_deepest_stack_underflows_in_the_activations(lesson):
    log = lesson.select(scale=0.5, depth=152)

    first, *rest = diagnose(log)

    assert [first.regime, *(v.regime for v in rest)] == ["zero", "vanishing", "stalled"]
    assert first.extent == "152 of 152 layers"
    assert "the activations slide below the smallest number of float32" in first.remedy
    assert "LossScale" not in first.remedy


@pytest.mark.slow
def test_depth_freezes_a_stack_before_its_gradient_is_called_vanishing():
    log = vg.sweep([0.5], [19, 20, 24, 25], steps=1, learning_rate=0.01)

    small = {
        depth: [
            v.regime
            for v in diagnose(log.select(depth=depth))
            if not v.rule.startswith("log10")
        ]
        for depth in (19, 20, 24, 25)
    }
    assert small == {
        19: [],
        20: ["frozen"],
        24: ["frozen", "vanishing"],
        25: ["frozen", "vanishing"],
    }


@pytest.mark.slow
def test_a_frozen_layer_tells_which_part_of_its_weights_stays():
    model = vg.build_stack(24, 4, scale=0.5)
    x, y = vg.make_data(units=4)
    before = model.layers[0].kernel.numpy()

    frozen = diagnose(vg.train(model, x, y, steps=1, learning_rate=0.01))[0]

    share = np.mean(model.layers[0].kernel.numpy() == before)
    assert (frozen.regime, frozen.layer) == ("frozen", 1)
    assert 0 < share < 1  # beside the diagonal rounding noise moves zeros
    assert f"in this one {share:.0%} of the weights stay" in str(frozen)


def test_an_overflow_names_its_cause_and_its_first_layer(lesson):
    non_finite, exploding = diagnose(lesson.select(scale=1.5, depth=152))

    assert (non_finite.regime, non_finite.rule) == ("non-finite", "loss is Inf")
    assert "the layers multiply it" in non_finite.remedy
    assert (exploding.regime, exploding.step) == ("exploding", 0)
    assert exploding.layer == 13  # 1.5**12 is the first power above 100, from layer 1
    assert exploding.measured == pytest.approx(151 * math.log10(1.5), rel=1e-3)


# Real models.


def digits(rng, samples=128):
    """Images of ten classes, 8 x 8: a blurred prototype of each, and noise."""
    prototypes = rng.uniform(size=(10, 64)) * (rng.uniform(size=(10, 64)) < 0.4)
    labels = rng.integers(0, 10, samples)
    x = np.clip(prototypes[labels] + 0.1 * rng.normal(size=(samples, 64)), 0, 1)
    return x.astype("float32"), keras.utils.to_categorical(labels, 10)


def sequential(shape, *layers):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("sgd", "mse")
    return model


def perceptron():
    dense = keras.layers.Dense
    return sequential((64,), dense(32, "relu"), dense(32, "relu"), dense(10, "softmax"))


def convolutional():
    layers = keras.layers
    return sequential(
        (64,),
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(10, "softmax"),
    )


@pytest.mark.parametrize(
    "build", [perceptron, pytest.param(convolutional, marks=pytest.mark.slow)]
)
def test_a_small_network_that_learns_digits_is_healthy(build, rng):
    x, y = digits(rng)
    model = build()

    before = diagnose(model, x, y, loss="categorical_crossentropy")
    log = vg.train(
        model,
        x,
        y,
        steps=60,
        learning_rate=0.003,
        optimizer="adam",
        loss="categorical_crossentropy",
        every=5,
    )

    assert log.losses["loss"].iloc[-1] < 0.5 * log.losses["loss"].iloc[0]
    assert [v.regime for v in before] == ["healthy"]
    assert regimes(log) == ["healthy"]
    unknown = log.replace(runs=log.runs.assign(finding="", loss_zero=np.nan))
    assert regimes(unknown) == ["healthy"]


def test_a_deep_sigmoid_network_vanishes_on_the_way_back(rng):
    x, y = digits(rng)
    model = sequential((64,), *[keras.layers.Dense(32, "sigmoid") for _ in range(5)])

    finding = diagnose(model, x, y[:, :1] * np.ones(32))[-1]

    assert finding.regime == "vanishing"
    assert finding.rule == "log10 of first / last activation gradient (rms) < -2"
    assert "clipping does not help" in finding.remedy


@pytest.mark.slow
def test_shortcuts_cure_a_plain_normalized_stack_that_explodes_on_the_way_back(rng):
    x, y = rng.normal(size=(2, 32, 16))
    plain, short = (
        vg.build_stack(
            50,
            16,
            kernel_initializer="he_normal",
            activation="relu",
            normalization="batch",
            residual=residual,
            seed=0,
        )
        for residual in (False, True)
    )

    finding = diagnose(plain, x, y)[0]

    assert finding.regime == "exploding"
    assert finding.rule == "log10 of first / last activation gradient (rms) > 2"
    assert "residual connections" in finding.remedy
    assert [v.regime for v in diagnose(short, x, y)] == ["healthy"]


@pytest.mark.slow
def test_a_branch_that_starts_at_zero_is_no_fault(rng):
    x, y = rng.normal(size=(2, 32, 4))
    model = vg.build_stack(10, 4, residual="zero", activation="relu", seed=0)

    assert [v.regime for v in diagnose(model, x, y)] == ["healthy"]
    assert "zero" not in regimes(vg.train(model, x, y, steps=5))


def relu_network(dead):
    """Three relu layers; the bias of the second keeps it dead."""
    layers = [keras.layers.Dense(16, "relu") for _ in range(3)]
    model = sequential((64,), *layers, keras.layers.Dense(10))
    if dead:
        layers[1].bias.assign(-100 * np.ones(16))
    return model, layers[1].name


def test_a_dead_layer_is_found_where_it_is(rng):
    x, y = digits(rng)
    model, name = relu_network(dead=True)

    finding = diagnose(model, x, y)[0]

    assert (finding.regime, finding.layer, finding.name) == ("dead units", 2, name)
    assert finding.measured == 1.0
    assert "leaky ReLU" in finding.remedy


@pytest.mark.slow
def test_a_layer_half_of_whose_units_rest_is_not_dead(rng):
    x, y = digits(rng)
    model, _ = relu_network(dead=False)

    log = vg.train(model, x, y, steps=1)

    zeros = log.layers.query("kind == 'activation' and step == 0")["zero_fraction"]
    assert zeros.max() > 0.3
    assert regimes(log) == ["healthy"]


@pytest.mark.slow
def test_a_layer_that_dies_on_the_way_is_found_at_that_step(rng):
    x, y = digits(rng)
    model, name = relu_network(dead=False)
    bias = model.layers[1].bias

    def killed(y_true, y_pred):  # a loss that drives this bias down
        push = keras.ops.mean(keras.ops.abs(bias + 20))
        return keras.ops.mean((y_true - y_pred) ** 2) + push

    log = vg.train(model, x, y, steps=30, learning_rate=3.0, loss=killed)

    finding = next(v for v in diagnose(log) if v.regime == "dead units")
    own = log.layers[log.layers["name"].isin([name, f"{name}/kernel"])]
    empty = own.pivot(index="step", columns="kind", values="zero_fraction") > 0.95
    both = empty[ACTIVATION] & empty[WEIGHT]
    assert (finding.name, finding.step) == (name, both.idxmax())
    assert finding.step > 0


def test_float16_gradients_that_underflow_ask_for_loss_scaling(rng):
    x = (1e-3 * rng.normal(size=(64, 4))).astype("float16")
    model = vg.build_stack(3, 4, scale=0.5, dtype="float16")

    lost, *_ = diagnose(model, x, x)
    scaled = diagnose(
        model, x, x, loss=lambda y, p: 4096 * keras.losses.MeanSquaredError()(y, p)
    )

    assert lost.regime in ("zero", "subnormal")
    assert "LossScaleOptimizer" in lost.remedy
    assert not {"zero", "subnormal"} & {v.regime for v in scaled}


@pytest.mark.slow
def test_float16_activations_that_underflow_do_not():
    log = vg.sweep([0.5], [40], steps=1, dtype="float16")

    finding = diagnose(log)[0]

    assert finding.regime == "zero"
    assert (
        "the activations slide below the smallest number of float16" in finding.remedy
    )
    assert "bfloat16 or float32" in finding.remedy
    assert "LossScaleOptimizer" not in finding.remedy


def test_a_variable_that_the_loss_does_not_use_is_named(rng):
    class Half(keras.layers.Layer):
        def build(self, shape):
            self.used = self.add_weight(shape=(shape[-1], 1), name="used")
            self.unused = self.add_weight(shape=(3,), name="unused")

        def call(self, x):
            return x @ self.used

    x = rng.normal(size=(8, 2)).astype("float32")
    model = sequential((2,), Half(name="half"))

    finding = diagnose(model, x, x[:, :1])[0]

    assert (finding.regime, finding.name) == ("disconnected", "half/unused")
    assert finding.extent == "1 of 2 variables"
    assert "stop_gradient" in finding.remedy


@pytest.mark.slow
def test_the_step_of_a_model_is_that_of_plain_descent(rng):
    x, y = digits(rng)
    model = perceptron()
    loss = "categorical_crossentropy"

    seen = {
        rate: diagnose(model, x, y, loss=loss, learning_rate=rate)[0]
        for rate in (1e-9, 0.01, 1e5)
    }
    unasked = diagnose(model, x, y, loss=loss)[0]
    log = vg.train(model, x, y, steps=1, learning_rate=1e-9, loss=loss)

    assert (unasked.regime, "update" in unasked.rule) == ("healthy", False)
    answers = [finding.regime for finding in seen.values()]
    assert answers == ["frozen", "healthy", "exploding"]
    first = log.layers.query("step == 0 and kind == 'weight_gradient' and layer == 1")
    assert seen[1e-9].layer == 1
    assert seen[1e-9].measured == pytest.approx(first["update_ratio"].min(), rel=1e-4)


def test_a_model_stays_as_it_was(rng):
    x, y = digits(rng)
    model = convolutional()
    before = [np.array(v.value) for v in model.variables]

    first = diagnose(model, x, y, loss="categorical_crossentropy")
    second = diagnose(model, x, y, loss="categorical_crossentropy")

    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.value, value)
    assert first == second


def test_several_outputs_have_several_losses(rng):
    x, y = digits(rng)
    inputs = keras.Input((64,))
    outputs = {
        "label": keras.layers.Dense(10, "softmax")(inputs),
        "mean": keras.layers.Dense(1)(inputs),
    }
    model = keras.Model(inputs, outputs)

    findings = diagnose(
        model,
        x,
        {"label": y, "mean": x.mean(axis=1, keepdims=True)},
        loss={"label": "categorical_crossentropy", "mean": "mse"},
    )

    assert [v.regime for v in findings] == ["healthy"]


# Remedies fit causes.


@pytest.mark.parametrize(
    ("log", "words", "not_words"),
    [
        (hand_made(rows([[-9]])), "orthogonal", "learning rate"),
        (
            hand_made(rows([[-9] * 11]), rows(line(0, 0), ACTIVATION)),
            "no layer loses it, so scale the loss",
            "orthogonal",
        ),
        (
            hand_made(rows([[0]], update_ratio=5.96e-10, frozen_fraction=1.0)),
            "a learning rate 100 times larger would move them",
            "clip",
        ),
        (
            hand_made(rows([[0]], update_ratio=1e-20, frozen_fraction=1.0)),
            "no sensible learning rate makes up for this, so find out why the gradient",
            "float32",
        ),
        (
            hand_made(
                rows([[0]], update_ratio=1e-4, frozen_fraction=1.0), dtype="bfloat16"
            ),
            "keep the weights in float32",
            "find out why",
        ),
        (
            hand_made(rows([[-39]])),
            "a wider format or a scaled loss would only move the end",
            "LossScaleOptimizer",
        ),
        (
            hand_made(rows([[-5]]), dtype="float16"),
            "use a `LossScaleOptimizer`, or bfloat16 or float32",
            "orthogonal",
        ),
        (
            hand_made(
                rows([[-math.inf]]),
                rows([[0]], ACTIVATION),
                rows([[-math.inf, -7]], GRADIENT),
                dtype="mixed_float16",
                optimizer="LossScaleOptimizer",
            ),
            "use a larger loss scale, or bfloat16",
            "LossScaleOptimizer",
        ),
        (
            hand_made(rows([[-math.inf]])),
            "log the activations to tell dead units from underflow",
            "ReLU",
        ),
        (
            hand_made(
                rows([[-math.inf] * 2]),
                rows([[0, 0]], ACTIVATION),
                rows([[-math.inf] * 2], GRADIENT),
            ),
            "the loss itself has no slope here",
            "underflow",
        ),
        (
            hand_made(
                rows([[-math.inf, 0]]),
                rows([[0, 0]], ACTIVATION),
                rows([[-math.inf, -37]], GRADIENT),
            ),
            "the gradients slide below the smallest number of float32",
            "LossScaleOptimizer",
        ),
        (
            hand_made(
                rows([[0, -math.inf, 0]] * 2),
                rows([[0, 0, 0]] * 2, ACTIVATION),
                rows([[0, -math.inf, 0]] * 2, GRADIENT),
            ),
            "a factor of 0 cuts off this branch",
            "underflow",
        ),
        (hand_made(rows([[math.inf]])), "look for Inf or NaN in the data", "rate"),
        (
            hand_made(rows([[0], [0], [0], [3], [math.inf]])),
            "use a smaller learning rate, or clip",
            "data",
        ),
        (
            hand_made(rows([[0], [0], [0], [math.inf]])),
            "no gradient had grown before",
            "clip",
        ),
        (
            hand_made(rows([[0], [0], [0], [3], [math.inf]]), dtype="float16"),
            "or bfloat16 or float32",
            "data",
        ),
        (hand_made(rows([[0]], update_ratio=20.0)), "clip the gradient", "orthogonal"),
        (
            hand_made(rows([[0] * 11]), rows(line(0, 5), ACTIVATION)),
            "smaller, variance-scaled or orthogonal initial weights",
            "residual",
        ),
    ],
)
def test_a_remedy_fits_the_cause(log, words, not_words):
    finding = diagnose(log)[0]

    assert words in finding.remedy
    assert not_words not in finding.remedy


# Text.


def test_a_sentence_tells_the_place_the_number_and_the_way_out():
    log = hand_made(rows([[0, -9.3]]))

    assert str(only(log)) == (
        "Vanishing from layer 2 (dense_2/kernel) at step 0: the root mean square of "
        "the weight gradient is 5.0e-10, 2.3 decades below 1e-07 (float32, 1 of 2 "
        "layers); let every layer keep the norm of what it passes on (orthogonal or "
        "variance-scaled initial weights, residual connections, normalization); "
        "clipping does not help."
    )


def test_a_healthy_sentence_tells_how_far_it_is():
    assert str(only(hand_made(rows([[-5]], update_ratio=1.0)))) == (
        "Healthy: nearest to a limit, in layer 1 (dense_1/kernel) at step 0, the "
        "update relative to the weights is 1, 1 decade below 10 (float32)."
    )


def test_a_sentence_needs_neither_a_layer_nor_a_number():
    assert str(only(hand_made(rows([[math.nan]])))).startswith(
        "Disconnected from layer 1 (dense_1/kernel) at step 0: the gradient is None: "
    )
    assert str(only(hand_made(losses=[1.0, math.nan]))).startswith(
        "Non-finite at step 1: the loss is NaN (float32); log the weight gradients"
    )
    assert str(only(hand_made(losses=[]))) == (
        "Unknown: the log holds no number by which this run could be judged (float32); "
        "log the losses and the weight gradients."
    )


def test_findings_are_lines_with_the_run_in_front_if_there_are_several(lesson):
    lines = str(diagnose(lesson)).split("\n")
    alone = str(diagnose(lesson.select(scale=0.5, depth=50))).split("\n")

    assert len(lines) == len(diagnose(lesson))
    assert all(re.match(r"Run \d+\. [A-Z]", line) for line in lines)
    assert not any(line.startswith("Run") for line in alone)
    assert "0.0000" not in str(lines)


@pytest.mark.parametrize("several", [True, False])
def test_html_escapes_what_a_log_brings_along(several):
    hostile = "<script>alert('1')</script>&"
    log = hand_made(rows([[-9]], name=hostile), dtype=hostile)

    finding = diagnose(log) if several else only(log)
    text = finding._repr_html_()

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    table = ElementTree.fromstring(text)
    assert hostile in "".join(table.itertext())


def test_html_is_a_table_that_takes_the_colours_of_the_notebook(lesson):
    findings = diagnose(lesson)

    table = ElementTree.fromstring(findings._repr_html_())

    titles = [cell.text for cell in table.findall("thead/tr/th")]
    assert titles[:5] == ["run", "regime", "cause", "where", "rule"]
    assert titles[5:] == ["measured", "decades beyond", "remedy"]
    assert len(table.findall("tbody/tr")) == len(findings)
    text = "".join(table.itertext())
    assert all(finding.remedy in text for finding in findings)  # nothing is cut short
    cells = {len(row) for row in table.iter("tr")}
    assert cells == {len(table.findall("thead/tr/th"))}
    styles = {element.get("style", "") for element in table.iter()}
    assert not re.search("color|background|#", "".join(styles))


LOGARITHMS = st.floats(-400, 400) | st.sampled_from([math.inf, -math.inf, math.nan])
SHARES = st.sampled_from([0.0, 0.5, 0.96, 1.0, math.nan])
LOSSES = st.floats(0) | st.just(math.nan)


@st.composite
def any_log(draw):
    """A log of one run in which any number may stand anywhere."""
    steps, layers = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    tables = [
        rows(
            [[draw(LOGARITHMS) for _ in range(layers)] for _ in range(steps)],
            kind,
            frozen_fraction=draw(SHARES),
            zero_fraction=draw(SHARES),
            update_ratio=draw(st.sampled_from([0, 1e-9, 1, 1e9, math.inf, math.nan])),
        )
        for kind in draw(st.lists(st.sampled_from(KINDS), unique=True))
    ]
    return hand_made(
        *tables,
        losses=draw(st.lists(LOSSES, max_size=13)),
        dtype=draw(st.sampled_from(["float16", "bfloat16", "mixed_float16", ""])),
        finding=draw(st.sampled_from(["", "trains", "slow", "stalls", "diverges"])),
        loss_zero=draw(st.sampled_from([0.0, 1.0, math.inf, math.nan])),
    )


@settings(max_examples=60, deadline=None)
@given(log=any_log())
def test_every_log_gets_a_finding_in_one_line(log):
    findings = diagnose(log)

    assert findings
    answers = [finding.regime for finding in findings]
    assert answers == sorted(set(answers), key=diagnosis.REGIMES.index)
    for finding in findings:
        assert bool(finding.remedy) == (finding.regime != "healthy")
        assert finding.margin > 0 or finding.regime == "healthy"
        assert "\n" not in str(finding)
        assert "0.0000" not in str(finding)
    ElementTree.fromstring(findings._repr_html_())


def test_an_older_log_without_sizes_can_be_diagnosed(lesson):
    old = lesson.replace(layers=lesson.layers.drop(columns=["size", "log10_mean"]))

    now, then = ({(v.run, v.regime) for v in diagnose(log)} for log in (lesson, old))

    assert now == then


def test_without_sizes_the_largest_element_or_the_norm_stands_in():
    small = hand_made(rows([[-9]], log10_norm=-6.0))
    theory = hand_made(rows([[-9]], log10_max=math.nan, zero_fraction=math.nan))

    for log in (small, theory):
        assert regimes(log.replace(layers=log.layers.drop(columns="size"))) == [
            "vanishing"
        ]


def test_the_order_of_rows_does_not_matter(lesson):
    log = lesson.select(depth=[50, 152])
    shuffled = log.replace(
        layers=log.layers.sample(frac=1, random_state=0),
        losses=log.losses.sample(frac=1, random_state=0),
    )

    assert str(diagnose(shuffled)) == str(diagnose(log))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: diagnose("log.parquet"),
            TypeError,
            r"`log_or_model` must be a GradientLog or a Keras model\. "
            r"Received: log_or_model='log\.parquet'\.",
        ),
        (
            lambda: diagnose(hand_made(), np.ones((2, 2))),
            ValueError,
            r"`x` and `y` must be left out with a log: it holds what was measured\. "
            r"Received: a GradientLog with data\.",
        ),
        (
            lambda: diagnose(hand_made().select(run=9)),
            ValueError,
            r"`log` must hold at least one run\. Received: 0 runs\.",
        ),
        (
            lambda: diagnose(perceptron()),
            ValueError,
            r"`x` and `y` must be given with a model: its gradients depend on them\. "
            r"Received: a model without x and y\.",
        ),
        (
            lambda: diagnose(perceptron(), np.ones((2, 64))),
            ValueError,
            r"Received: a model without y\.",
        ),
        (
            lambda: diagnose(perceptron(), 1, 1, learning_rate=0),
            ValueError,
            r"`learning_rate` must be a positive, finite number\. "
            r"Received: learning_rate=0\.",
        ),
        (
            lambda: diagnose(perceptron(), 1, 1, loss="nonsense"),
            ValueError,
            r"`loss` must be a Keras loss, its name, or a function",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.slow
def test_a_log_is_diagnosed_without_tensorflow():
    code = """
import sys
from vgkeras import diagnosis, predict, rules
log = predict(scales=[0.5], depths=[50], steps=1)
print(diagnosis.diagnose(log), rules.what_others_say(log))
try:
    diagnosis.diagnose("model.keras")
except TypeError:
    assert not {"tensorflow", "keras"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("decades", "regime"), [(-0.6, "vanishing"), (0.6, "exploding"), (0.005, "healthy")]
)
def test_kernels_alone_show_a_slope_from_layer_to_layer(decades, regime):
    """Only weight gradients are logged: rms 1e-3 at the output, `decades` a layer."""
    layers = range(1, 7)
    rows = [
        dict.fromkeys(LAYER_COLUMNS, np.nan)
        | {"run": 0, "step": 0, "layer": layer, "name": f"dense_{layer}/kernel"}
        | {"kind": "weight_gradient", "log10_norm": -3 + decades * (6 - layer) + 1.0}
        | {"log10_max": -3.0, "zero_fraction": 0.0, "nonfinite_fraction": 0.0}
        | {"size": 100}
        for layer in layers
    ]
    row = dict.fromkeys(RUN_COLUMNS, "") | {"run": 0, "dtype": "float32"}
    row |= {"loss_zero": np.nan, "scale": np.nan, "learning_rate": 0.01, "steps": 1}
    log = GradientLog(
        pd.DataFrame([row]),
        pd.DataFrame({"run": 0, "step": [0, 1], "loss": [1.0, 0.99]}),
        pd.DataFrame(rows, columns=list(LAYER_COLUMNS)),
    )

    slopes = [v for v in diagnose(log) if "weight gradient (rms)" in v.rule]

    assert [v.regime for v in slopes] == [regime]
    assert slopes[0].measured == pytest.approx(5 * decades)
