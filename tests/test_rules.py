import math
import re

import numpy as np
import pandas as pd
import pytest

import vgkeras as vg
from vgkeras import floats, rules
from vgkeras.logs import LAYER_COLUMNS, RUN_COLUMNS, GradientLog

SCALES = (0.5, 0.9, 1.5)
TINY = np.finfo(np.float32).tiny
NEVER = math.inf
DEPTHS = [*range(1, 31), *range(50, 81), *range(104, 153), 215, 216, 217]


def tensor_row(array, **labels):
    """The statistics of an array, by their definitions."""
    array = np.asarray(array, np.float64)
    magnitudes = np.abs(array)
    logs = [np.inf] * 3
    if np.isfinite(array).all():
        with np.errstate(all="ignore"):
            norm = np.sqrt((magnitudes**2).sum())
            logs = np.log10([norm, magnitudes.max(), magnitudes.mean()])
    row = dict.fromkeys(LAYER_COLUMNS, np.nan)
    row |= dict(zip(("log10_norm", "log10_max", "log10_mean"), logs, strict=True))
    row |= {"zero_fraction": np.mean(magnitudes == 0), "size": array.size}
    row |= {"nonfinite_fraction": np.mean(~np.isfinite(array)), "run": 0, "step": 0}
    return row | {"kind": "weight_gradient", "name": "dense/kernel"} | labels


def hand_made(gradients=(), *, losses=(1.0,), changes=None, kind=None, **run):
    """A log of one run: one gradient array per layer at step 0, and losses."""
    rows = [
        tensor_row(array, layer=layer, **(changes or {}), **(kind or {}))
        for layer, array in enumerate(gradients, start=1)
    ]
    row = dict.fromkeys(RUN_COLUMNS, "") | {
        "run": 0,
        "depth": len(gradients),
        "scale": 0.5,
        "dtype": "float32",
        "learning_rate": 0.01,
    }
    return GradientLog(
        runs=pd.DataFrame([row | run]),
        losses=pd.DataFrame({"run": 0, "step": range(len(losses)), "loss": losses}),
        layers=pd.DataFrame(rows, columns=list(LAYER_COLUMNS)),
    )


def fires(key, log):
    return bool(rules.RULES[key](log)["fires"].iloc[0])


# The table of first depths, from arrays: the oracle knows neither log nor package.


def stack_tensors(scale, depth, x, flushed):
    """One pass through a stack of scaled identities in float32, target x."""

    def rounded(array):
        array = array.astype(np.float32)
        return np.where(np.abs(array) < TINY, 0, array) if flushed else array

    kernel = np.float32(scale) * np.eye(2, dtype=np.float32)
    activations = [x]
    for _ in range(depth):
        activations.append(rounded(activations[-1] @ kernel))
    residual = rounded(activations[-1] - x)
    # as Keras averages: the outputs of a sample first, which matters to overflow
    loss = rounded(np.mean(rounded(np.mean(rounded(residual**2), axis=1))))
    upstream = rounded(residual * np.float32(2 / residual.size))
    gradients = []
    for entering in activations[-2::-1]:
        gradients.append(rounded(entering.T @ upstream))
        upstream = rounded(upstream @ kernel.T)
    return kernel, activations[1:], gradients[::-1], loss


def oracle(scale, depth, x, *, flushed):
    """Which rules fire on raw arrays, by their definitions."""
    kernel, activations, gradients, loss = stack_tensors(scale, depth, x, flushed)
    wide = [g.astype(np.float64) for g in gradients]
    means = [np.abs(g).mean() for g in wide]
    norms = [np.sqrt((g**2).sum()) for g in wide]
    finite = all(np.isfinite(g).all() for g in wide)
    updates = [0.01 * n / np.linalg.norm(kernel) for n in norms]
    printed = printed_norms(gradients, flushed)
    return {
        "sagemaker_vanishing_gradient": min(means) < 1e-7,
        "deepdiagnosis_vanishing_gradient": min(means) < 1e-7,
        "sagemaker_exploding_gradient": not finite,
        "sagemaker_exploding_output": not np.isfinite(activations[-1]).all(),
        "sagemaker_large_update": finite and max(updates) > 10,
        "sagemaker_small_update": min(updates) < 1e-8,
        "autotrainer_nan_loss": not loss < 1e3,
        "keras_terminate_on_nan": not np.isfinite(loss),
        "neuroscope_small_gradient": depth > 1 and min(norms) / 2 < 1e-5,
        "neuroscope_vanishing_gradient": depth > 1 and min(norms) / 2 < 1e-7,
        "neuroscope_exploding_gradient": not np.sqrt(np.square(norms).sum()) <= 10,
        "neuroscope_exploding_layer": not max(norms) <= 5,
        "karpathy_small_update": min(updates) < 1e-5,
        "norm_prints_as_zero": bool((printed == 0).any()),
        "norm_prints_as_inf": not np.isfinite(printed).all(),
        "update_rounds_away": finite and any(stays(kernel, g) for g in gradients),
    }


def printed_norms(gradients, flushed):
    """The norms as float32 computes them: squares first."""
    squares = np.square(gradients)
    if flushed:
        squares = np.where(squares < TINY, 0, squares)
    return np.sqrt(squares.sum(axis=(1, 2), dtype=np.float32))


def stays(kernel, gradient):
    """Whether no weight on the diagonal moves, though there is a gradient."""
    diagonal = np.diag(kernel)
    moved = diagonal - np.diag(np.float32(0.01) * gradient)
    return bool((moved == diagonal).all() and gradient.any())


def oracle_answers(x, *, flushed, depths):
    """What the oracle says of every stack, as a frame by scale and depth."""
    with np.errstate(all="ignore"):
        answers = {
            (scale, depth): oracle(scale, depth, x, flushed=flushed)
            for scale in SCALES
            for depth in depths
        }
    return pd.DataFrame(answers).T.astype(bool)


def first_depth(answers, key, scale):
    fires = answers.loc[scale][key]
    return fires.idxmax() if fires.any() else NEVER


@pytest.fixture(scope="module")
def numpy_answers():
    x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
    return oracle_answers(x, flushed=False, depths=DEPTHS)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("karpathy_small_update", (12, 62, NEVER)),
        ("neuroscope_small_gradient", (17, 106, NEVER)),
        ("update_rounds_away", (20, 122, NEVER)),
        ("sagemaker_vanishing_gradient", (24, 149, NEVER)),
        ("norm_prints_as_zero", (76, NEVER, NEVER)),
        ("norm_prints_as_inf", (NEVER, NEVER, 55)),
        ("neuroscope_exploding_gradient", (NEVER, NEVER, 3)),
        ("keras_terminate_on_nan", (NEVER, NEVER, 105)),
        ("sagemaker_exploding_gradient", (NEVER, NEVER, 110)),
        ("sagemaker_exploding_output", (NEVER, NEVER, 217)),
    ],
)
def test_the_oracle_finds_the_published_first_depths_within_a_few_layers(
    key, expected, numpy_answers
):
    depths = [first_depth(numpy_answers, key, scale) for scale in SCALES]

    for depth, published in zip(depths, expected, strict=True):
        assert depth == published or abs(depth - published) <= 6


@pytest.fixture(scope="module")
def many_depths():
    return vg.sweep(SCALES, DEPTHS, steps=1, samples=32, seed=0)


@pytest.mark.slow
def test_first_depths_of_a_sweep_are_those_of_raw_arrays(many_depths):
    x = vg.make_data(units=2, samples=32, seed=0)[0].astype(np.float32)
    answers = oracle_answers(x, flushed=True, depths=DEPTHS)

    depths = rules.first_depths(many_depths)

    for key in answers:
        expected = [first_depth(answers, key, scale) for scale in SCALES]
        assert depths.loc[key, list(SCALES)].fillna(10**9).tolist() == [
            10**9 if depth is NEVER else depth for depth in expected
        ], key


@pytest.mark.parametrize(("zeros", "fires"), [(7, True), (6, False)])
def test_zeros_that_were_counted_must_be_enough(zeros, fires):
    log = hand_made([[0.0] * zeros, [0.0] * 2 + [1.0] * (8 - zeros)])
    counted = log.layers["zero_fraction"].where(log.layers["layer"] == 1)
    partly = log.replace(layers=log.layers.assign(zero_fraction=counted))

    result = rules.RULES["autotrainer_dying_relu"](partly).iloc[0]

    assert result["fires"] == fires
    assert result["measured"] == pytest.approx(zeros / 10)
    assert rules.RULES["autotrainer_dying_relu"](log)["fires"].all()


@pytest.mark.slow
def test_autotrainer_explodes_by_inf_alone_and_calls_underflow_a_dying_relu(
    many_depths,
):
    depths = rules.first_depths(many_depths)

    exploding = depths.loc["autotrainer_exploding_gradient"]
    assert exploding[[0.5, 0.9]].isna().all()
    assert exploding[1.5] == depths.loc["sagemaker_exploding_gradient", 1.5]
    dying = depths.loc["autotrainer_dying_relu"]
    assert 124 <= dying[0.5] <= 128  # 0.5**126 is the last number TensorFlow keeps
    assert dying[[0.9, 1.5]].isna().all()


def test_autotrainer_sees_a_vanishing_stack_only_where_some_layers_are_exactly_zero(
    many_depths,
):
    rule = rules.RULES["autotrainer_vanishing_gradient"]
    table = many_depths.runs.set_index("run").join(rule(many_depths)["fires"])

    assert set(table.loc[table["fires"], "scale"]) <= {0.5}
    assert table.loc[table["fires"], "depth"].between(123, 127).all()


# Each rule on arrays whose answer can be seen.

BELOW, ABOVE = 0.99, 1.01
ONE = np.ones((2, 2))


@pytest.mark.parametrize(
    ("key", "quiet", "loud"),
    [
        (
            "sagemaker_vanishing_gradient",
            hand_made([ONE, ONE * 1e-7 * ABOVE]),
            hand_made([ONE, ONE * 1e-7 * BELOW]),
        ),
        (
            "deepdiagnosis_vanishing_gradient",
            hand_made([ONE, ONE * 1e-7 * ABOVE]),
            hand_made([ONE, ONE * 1e-7 * BELOW]),
        ),
        (
            "sagemaker_exploding_gradient",
            hand_made([ONE * 1e300]),
            hand_made([[1.0, math.nan]]),
        ),
        (
            "sagemaker_exploding_output",
            hand_made([[math.inf]]),
            hand_made([[math.inf]], kind={"kind": "activation"}),
        ),
        ("sagemaker_all_zero", hand_made([[0.0, 1e-30]]), hand_made([[0.0, 0.0]])),
        (
            "sagemaker_large_update",
            hand_made([ONE], changes={"update_ratio": 10 * BELOW}),
            hand_made([ONE], changes={"update_ratio": 10 * ABOVE}),
        ),
        (
            "sagemaker_small_update",
            hand_made([ONE], changes={"update_ratio": 1e-8 * ABOVE}),
            hand_made([ONE], changes={"update_ratio": 1e-8 * BELOW}),
        ),
        (
            "sagemaker_loss_not_decreasing",
            hand_made(losses=[1.0, *[2.0] * 9, 0.99]),
            hand_made(losses=[1.0, *[0.5] * 9, 1.0]),
        ),
        (
            "autotrainer_vanishing_gradient",  # the ratio is small, the norm is not
            hand_made([ONE * 1e-4, ONE, ONE]),
            hand_made([ONE * 1e-5, ONE, ONE]),
        ),
        (
            "autotrainer_vanishing_gradient",  # the norm is small, the ratio is not
            hand_made([ONE * 1e-9, ONE * 1e-7]),
            hand_made([ONE * 1e-9, ONE * 1e-5]),
        ),
        (
            "autotrainer_exploding_gradient",
            hand_made([ONE * 70 * BELOW, ONE]),
            hand_made([ONE * 70 * ABOVE, ONE]),
        ),
        (
            "autotrainer_exploding_gradient",
            hand_made([ONE, ONE * 1e6, ONE]),
            hand_made([ONE, [[math.inf]], ONE]),
        ),
        (
            "autotrainer_dying_relu",  # 6 of 10, 7 of 10: entries count, not tensors
            hand_made([[0.0, 1.0], [0.0] * 5 + [1.0] * 3]),
            hand_made([[0.0, 1.0], [0.0] * 6 + [1.0] * 2]),
        ),
        ("autotrainer_nan_loss", hand_made(losses=[999.0]), hand_made(losses=[1000.0])),
        (
            "autotrainer_nan_loss",
            hand_made(losses=[0.0]),
            hand_made(losses=[0.5, math.nan]),
        ),
        (
            "neuroscope_small_gradient",
            hand_made([ONE, ONE * 1e-5 * ABOVE]),
            hand_made([ONE, ONE * 1e-5 * BELOW]),
        ),
        (
            "neuroscope_vanishing_gradient",  # says nothing about a single layer
            hand_made([ONE * 1e-9]),
            hand_made([ONE, ONE * 1e-9]),
        ),
        (
            "neuroscope_exploding_gradient",  # norms 6 and 8 make 10
            hand_made([[6.0 * BELOW], [8.0 * BELOW]]),
            hand_made([[6.0 * ABOVE], [8.0 * ABOVE]]),
        ),
        ("neuroscope_exploding_layer", hand_made([[4.9]]), hand_made([[5.1]])),
        (
            "karpathy_small_update",
            hand_made([ONE], changes={"update_ratio": 1e-5 * ABOVE}),
            hand_made([ONE], changes={"update_ratio": 1e-5 * BELOW}),
        ),
        (
            "craft_bits_vanishing",
            hand_made([[0.0101], [1.0]], kind={"kind": "activation_gradient"}),
            hand_made([[0.0099], [1.0]], kind={"kind": "activation_gradient"}),
        ),
        (
            "craft_bits_exploding",  # 1.04**2, 1.06**2 over two layers
            hand_made([[1.0816], [1], [1]], kind={"kind": "activation_gradient"}),
            hand_made([[1.1236], [1], [1]], kind={"kind": "activation_gradient"}),
        ),
        (
            "keras_terminate_on_nan",
            hand_made(losses=[1e300]),
            hand_made(losses=[1.0, math.inf]),
        ),
        ("norm_prints_as_zero", hand_made([[1.1e-19]]), hand_made([[1.0e-19]])),
        (
            "norm_prints_as_zero",
            hand_made([[1.8e-4]], dtype="float16"),
            hand_made([[1.7e-4]], dtype="float16"),
        ),
        ("norm_prints_as_inf", hand_made([ONE * 9e18]), hand_made([ONE * 1e19])),
        ("below_smallest_normal", hand_made([[1.2e-38]]), hand_made([[1.1e-38]])),
        (
            "below_smallest_normal",
            hand_made([[7e-5]], dtype="mixed_float16"),
            hand_made([[6e-5]], dtype="mixed_float16"),
        ),
        (
            "update_rounds_away",  # the update is too small, but it moves every weight
            hand_made([ONE], changes={"update_ratio": 1e-9, "frozen_fraction": 0.0}),
            hand_made([ONE], changes={"update_ratio": 1e-9, "frozen_fraction": 0.5}),
        ),
        (
            "update_rounds_away",  # 2**-24 is 5.96e-8
            hand_made([ONE], changes={"update_ratio": 6.0e-8, "frozen_fraction": 1.0}),
            hand_made([ONE], changes={"update_ratio": 5.9e-8, "frozen_fraction": 1.0}),
        ),
        (
            "update_rounds_away",  # weights stay because their gradient is 0
            hand_made(
                [[0.0, 1.0]], changes={"update_ratio": 1e-9, "frozen_fraction": 0.5}
            ),
            hand_made(
                [[0.0, 1.0]], changes={"update_ratio": 1e-9, "frozen_fraction": 1.0}
            ),
        ),
        (
            "update_rounds_away",  # a mixed policy keeps the weights in float32
            hand_made(
                [ONE],
                changes={"update_ratio": 1e-4, "frozen_fraction": 1.0},
                dtype="mixed_bfloat16",
            ),
            hand_made(
                [ONE],
                changes={"update_ratio": 1e-4, "frozen_fraction": 1.0},
                dtype="bfloat16",
            ),
        ),
        (
            "umlaut_learning_rate",
            hand_made(learning_rate=0.01),
            hand_made(learning_rate=0.011),
        ),
        (
            "umlaut_learning_rate",
            hand_made(learning_rate=1e-7),
            hand_made(learning_rate=0.9e-7),
        ),
    ],
)
def test_a_rule_fires_just_beyond_its_threshold(key, quiet, loud):
    assert not fires(key, quiet)
    assert fires(key, loud)


def test_every_rule_has_such_a_test():
    (mark,) = test_a_rule_fires_just_beyond_its_threshold.pytestmark

    assert {key for key, *_ in mark.args[1]} == set(rules.RULES)


@pytest.mark.parametrize(
    ("dtype", "magnitude"),
    [
        *(("float32", m) for m in (1.2e-19, 1.0e-19, 1e-25, 0.9e19, 1.0e19)),
        *(("float16", m) for m in (1.8e-4, 1.7e-4, 120.0, 130.0)),
        *(("float64", m) for m in (1.6e-154, 1.4e-154, 6e153, 7e153)),
    ],
)
def test_a_norm_prints_as_tensorflow_prints_it(dtype, magnitude):
    import tensorflow as tf

    gradient = np.full((2, 2), magnitude, dtype)
    log = hand_made([gradient], dtype=dtype)

    printed = float(tf.function(tf.norm)(tf.constant(gradient)))
    assert fires("norm_prints_as_zero", log) == (printed == 0)
    assert fires("norm_prints_as_inf", log) == math.isinf(printed)


def test_a_result_names_the_first_step_and_layer_and_what_was_measured_there():
    rows = [
        tensor_row(ONE * value, step=step, layer=layer)
        for step, values in enumerate([(1.0, 1.0, 1.0), (1.0, 4e-8, 2e-8)])
        for layer, value in enumerate(values, start=1)
    ]
    log = hand_made().replace(layers=pd.DataFrame(rows[::-1]))

    (row,) = rules.RULES["sagemaker_vanishing_gradient"](log).to_dict("records")

    assert row["measured"] == pytest.approx(4e-8)
    assert row | {"measured": 0} == {
        "fires": True,
        "measured": 0,
        "threshold": 1e-7,
        "step": 1,
        "layer": 2,
    }


def test_a_silent_result_tells_how_near_it_came():
    log = hand_made([ONE * 3e-6, ONE * 2e-6])

    (row,) = rules.RULES["sagemaker_vanishing_gradient"](log).to_dict("records")

    assert not row["fires"]
    assert row["measured"] == pytest.approx(2e-6)
    assert np.isnan([row["step"], row["layer"]]).all()


def test_kernels_are_told_from_biases_by_their_size():
    kernel = tensor_row(ONE, layer=1, name="dense/kernel")
    bias = tensor_row([1e-9], layer=1, name="dense/bias")
    log = hand_made().replace(layers=pd.DataFrame([bias, kernel]))

    assert fires("sagemaker_vanishing_gradient", log)  # any gradient
    assert not fires("deepdiagnosis_vanishing_gradient", log)  # kernels


def test_losses_ten_steps_apart_are_compared_though_not_all_are_logged():
    every_third = pd.DataFrame(
        {"run": 0, "step": [0, 3, 6, 9, 12, 15, 24], "loss": [9, 8, 7, 6, 5, 4, 5.0]}
    )
    log = hand_made().replace(losses=every_third)

    (row,) = rules.RULES["sagemaker_loss_not_decreasing"](log).to_dict("records")

    assert (row["fires"], row["step"], row["measured"]) == (True, 24, 1.0)


def test_a_gradient_that_is_none_fires_no_rule_on_gradients():
    log = hand_made([ONE, ONE], changes=dict.fromkeys(LAYER_COLUMNS[5:], np.nan))

    answers = {key: fires(key, log) for key in rules.RULES}

    assert not any(answers.values()), answers


def test_what_others_say_is_a_row_per_rule_and_a_column_per_run(many_depths):
    log = many_depths.select(scale=0.5, depth=[2, 24, 152])
    answers = rules.what_others_say(log)

    assert list(answers.index) == list(rules.RULES)
    assert list(answers.columns[:3]) == ["source", "says", "condition"]
    titles = [f"c = 0.5, L = {depth}" for depth in (2, 24, 152)]
    assert list(answers.columns[3:]) == titles
    row = answers.loc["sagemaker_vanishing_gradient"].tolist()
    assert row[:4] == [
        "SageMaker Debugger",
        "VanishingGradient",
        "mean |g| of a gradient < 1e-7",
        "silent",
    ]
    assert row[4] == "fires: 6.0e-08 (layer 1, step 0)"
    zero_by_zero = answers.loc["autotrainer_vanishing_gradient"].iloc[-1]
    assert zero_by_zero == "cannot tell"


def test_titles_of_runs_differ():
    named = hand_made(scale=math.nan, initializer="he_normal").runs
    twice = pd.concat([named, named.assign(run=1, seed=1)])
    own = hand_made(scale=math.nan, initializer="", depth=3)

    log = hand_made().replace(runs=twice)
    assert list(rules.what_others_say(log).columns[3:]) == [
        "he_normal, L = 0, run 0",
        "he_normal, L = 0, run 1",
    ]
    assert rules.what_others_say(own).columns[3] == "run 0, L = 3"


def test_first_depths_have_a_column_per_start_and_the_smallest_depth_of_any_seed():
    log = vg.predict([0.5, 0.9], [5, 8, 45], steps=1, seed=[0, 1])
    started = log.replace(
        runs=log.runs.assign(
            initializer=np.where(log.runs["scale"] == 0.9, "he_normal", ""),
            scale=log.runs["scale"].where(log.runs["scale"] != 0.9),
        )
    )

    depths = rules.first_depths(started)

    assert list(depths.columns) == [0.5, "he_normal"]
    assert depths.loc["craft_bits_vanishing"].tolist() == [8, 45]
    assert depths.loc["craft_bits_exploding"].isna().all()


def test_a_log_of_an_older_version_is_told_apart():
    old = hand_made([ONE])
    old = old.replace(layers=old.layers.drop(columns=["log10_mean", "size"]))

    answers = rules.what_others_say(old).iloc[:, 3]
    assert answers["sagemaker_vanishing_gradient"] == "not logged"
    assert answers["neuroscope_small_gradient"] == "not logged"
    assert answers["neuroscope_exploding_layer"] == "silent"
    assert rules.first_depths(old).loc["neuroscope_small_gradient"].isna().all()
    with pytest.raises(
        ValueError,
        match=r"`layers` must have the column log10_mean for this rule\. Received: "
        r"layers without log10_mean\. Measure the log again\.",
    ):
        rules.RULES["sagemaker_vanishing_gradient"](old)


def test_every_rule_is_cited_and_says_when_it_fires_and_what_it_does():
    for key, rule in rules.RULES.items():
        assert rule.key == key
        assert rule.note.endswith(".")
        assert rule.reference.startswith("https://")
        assert rule.source
        assert rule.says
        assert rule.condition


def test_the_module_begins_with_the_names_of_all_rules():
    _, contents, *_ = re.split(r"source:\n\n|\n\nLeft out", rules.__doc__)
    names, prefix = [], ""
    for line in re.sub(r"\(.*?\)", "", contents).splitlines():
        prefix = line[4:20].strip() or prefix
        start = prefix if prefix.endswith("_") else ""
        names += [start + name for name in re.findall(r"\w+", line[20:])]

    assert sorted(names) == sorted(rules.RULES)


def test_thresholds_of_logarithms_are_whole_decades():
    decades = [
        math.log10(rule.threshold)
        for rule in rules.RULES.values()
        if rule.quantity.startswith("log10_") and rule.fires is None
    ]

    assert sorted(decades) == [-7, -7, -2]  # to the last bit: no power comes between


@pytest.mark.parametrize(
    ("dtype", "computed", "stored"),
    [
        ("float16", "float16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
        ("float64", "float64", "float64"),
        ("mixed_float16", "float16", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
        ("", "float32", "float32"),
        ("int8_from_float32", "float32", "float32"),
    ],
)
def test_a_mixed_policy_computes_in_one_format_and_stores_in_another(
    dtype, computed, stored
):
    assert floats.computed_in(dtype).dtype == computed
    assert floats.stored_in(dtype).dtype == stored


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float64", "float16"])
def test_tensorflow_makes_a_product_zero_just_below_that_limit(name):
    import tensorflow as tf

    limit = floats.vanishes_below(floats.computed_in(name))
    product = tf.function(lambda a, b: a * b)
    root = tf.constant(limit**0.5, name)

    assert float(product(root * 1.05, root * 1.05)) > 0
    assert float(product(root * 0.95, root * 0.95)) == 0


@pytest.mark.parametrize(
    "rule",
    [rules.RULES["sagemaker_large_update"], rules.RULES["sagemaker_small_update"]],
)
@pytest.mark.parametrize(("variable", "fires"), [("kernel", True), ("bias", False)])
def test_the_update_ratio_of_sagemaker_is_one_of_weights(rule, variable, fires):
    """A bias starts at 0: its first update is infinitely larger than itself."""
    ratio = math.inf if rule.sign == ">" else 0.0
    log = hand_made([ONE], changes={"update_ratio": ratio, "name": f"d/{variable}"})

    assert rule(log)["fires"].to_list() == [fires]
