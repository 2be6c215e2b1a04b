"""What is behind a fit that does not learn, from logs made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from vgkeras.diagnosis import CAUSES, diagnose
from vgkeras.logs import LAYER_COLUMNS, GradientLog, run_table

STEPS = 120
_LAYERS = [*LAYER_COLUMNS, "log10_weight", "cosine"]
STUCK = {"loss_of_mean": 1.0, "penalty": 0.0, "target_code_std": 1.0, "samples": 32.0}


def dense(activation="relu", units=4, **more):
    return {"class": "Dense", "activation": activation, "units": units} | more


def facts(*, loss="mean_squared_error", own=False, logits=None, layers=None, **more):
    """What a model says: two Dense layers, the last one linear, by default."""
    layers = layers or {"hidden": dense(), "out": dense("linear")}
    return {
        "losses": [{"name": loss, "from_logits": logits, "own": own}],
        "outputs": [{"layer": list(layers)[-1]}],
        "trainable": 4,
        "optimizer": {"class": "Adam"},
        "layers": layers,
    } | more


def tensors(log10=-2.0, steps=STEPS, **columns):
    """Kernels' gradients of two layers; what is not given is ordinary."""
    ordinary = {"zero_fraction": 0.0, "nonfinite_fraction": 0.0, "size": 16}
    ordinary |= {"frozen_fraction": 0.0, "update_ratio": 1e-3, "log10_weight": 0.0}
    return [
        dict.fromkeys(LAYER_COLUMNS, np.nan)
        | {"run": 0, "step": step, "layer": layer, "kind": "weight_gradient"}
        | {"name": f"{name}/kernel"}
        | dict.fromkeys(("log10_norm", "log10_max", "log10_mean"), log10)
        | ordinary
        | {k: v[step] if np.ndim(v) else v for k, v in columns.items()}
        for step in range(steps)
        for layer, name in enumerate(("hidden", "out"), start=1)
    ]


def fit(losses=None, *, said=None, rows=None, dtype="float32", rate=1e-3, **batch):
    """A log as `GradientLogger` writes it, by default of a loss that does not move."""
    losses = np.ones(STEPS) if losses is None else np.asarray(losses, float)
    table = pd.DataFrame({"run": 0, "step": range(len(losses)), "loss": losses})
    return GradientLog(
        run_table(optimizer="adam", learning_rate=rate, dtype=dtype),
        table.assign(**{**STUCK, **batch}),
        pd.DataFrame(
            tensors(steps=len(losses)) if rows is None else rows, columns=_LAYERS
        ),
        {"facts": facts() if said is None else said},
    )


def causes(log):
    return [finding.cause for finding in diagnose(log)]


def test_without_a_cause_it_only_stalls():
    (finding,) = diagnose(fit())

    assert (finding.regime, finding.cause) == ("stalled", "")
    assert "labels" in finding.remedy


@pytest.mark.parametrize("ratio", [1e-3, 1e-6, 1.0])
def test_without_a_loss_nothing_is_called_not_learned(ratio):
    log = fit(rows=tensors(update_ratio=ratio))
    unknown = log.replace(losses=log.losses.iloc[:0])

    regimes = [{f.regime for f in diagnose(each)} for each in (log, unknown)]

    assert [bool(each & {"stalled", "slow"}) for each in regimes] == [True, False]


def test_outputs_that_tell_inputs_apart_excuse_a_loss_that_stands_still():
    """A second fit begins where the first one ended."""
    assert [f.regime for f in diagnose(fit(loss_of_mean=2.0))] == ["healthy"]


def test_a_falling_loss_is_no_success_if_every_input_gets_one_answer():
    falling = np.linspace(10, 1, STEPS)

    assert [f.regime for f in diagnose(fit(falling, loss_of_mean=20))] == ["healthy"]
    assert [f.regime for f in diagnose(fit(falling, loss_of_mean=falling))] == [
        "stalled"
    ]


def test_a_plateau_before_the_end_is_forgiven():
    steps = np.arange(STEPS)
    at_last, too_late = (
        fit(loss_of_mean=np.where(steps < share * STEPS, 1.0, 1.2))
        for share in (0.85, 0.95)
    )

    assert [finding.regime for finding in diagnose(at_last)] == ["healthy"]
    assert [finding.regime for finding in diagnose(too_late)] == ["stalled"]


CLASSIFIER = facts(
    loss="categorical_crossentropy",
    logits=False,
    layers={"hidden": dense(), "out": dense("softmax", units=3)},
)
DECAYS = facts(optimizer={"class": "AdamW", "weight_decay": 0.1})
SUMS = facts(
    loss="categorical_crossentropy",
    logits=True,
    layers={"hidden": dense("softmax", units=3), "out": {"class": "Reshape"}},
)
BINARY = facts(
    loss="binary_crossentropy",
    logits=False,
    layers={"hidden": dense(), "out": dense("sigmoid", units=1)},
)
UNBOUNDED = facts(
    layers={
        "memory": {"class": "LSTM", "activation": "relu", "steps": 50},
        "out": dense("linear"),
    }
)


def logits(loss, activation, units):
    """A model whose loss takes what its last activation makes for logits."""
    layers = {"hidden": dense(), "out": dense(activation, units=units)}
    return facts(loss=f"{loss}_crossentropy", logits=True, layers=layers)


ONE = {"output_max": 1.0, "output_sum_min": 1.0, "output_sum_max": 1.0}
RANGE = {"target_min": 0.0, "target_max": 1.0, "target_std": 0.5}
SPIKE = np.where(np.arange(STEPS) < 60, -2.0, np.minimum(np.arange(STEPS) - 62.0, 40))
BROKEN = np.where(np.arange(STEPS) < 70, 1.0, math.nan)
LAST = np.where(np.arange(STEPS) == 69, math.nan, 1e-3)  # the step before
SLOPE = {"nonfinite_fraction": np.where(np.arange(STEPS) < 69, 0.0, 1.0)}


def dropping(rate):
    layers = {"hidden": dense(), "drop": {"class": "Dropout", "rate": rate}}
    return facts(layers=layers | {"out": dense("linear")})


@pytest.mark.parametrize(
    ("cause", "quiet", "loud"),
    [
        (
            "Inf or NaN in the data",
            fit(BROKEN, rows=tensors(), said=facts(own=True)),
            fit(BROKEN, rows=tensors(), input_nonfinite=0.01),
        ),
        (
            "no logits",
            fit(said=SUMS, output_min=-1.0, **ONE),
            fit(said=SUMS, output_min=0.0, **ONE),
        ),
        (
            "infinite derivative",
            fit(BROKEN, rows=tensors()),
            fit(BROKEN, rows=tensors(**SLOPE)),
        ),
        (
            "the optimizer",
            fit(BROKEN, rows=tensors()),
            fit(BROKEN, rows=tensors(update_ratio=LAST)),
        ),
        ("dropout too strong", fit(said=dropping(0.5)), fit(said=dropping(0.9))),
        (
            "the loss function",
            fit(BROKEN, rows=tensors()),
            fit(BROKEN, rows=tensors(), said=facts(own=True), target_nonfinite=0.0),
        ),
        (
            "explosion",
            fit(BROKEN, rows=tensors()),
            fit(BROKEN, rows=tensors(log10_norm=SPIKE)),
        ),
        (
            "targets not scaled",
            fit(BROKEN, rows=tensors(log10_norm=SPIKE), target_std=29, target_mean=0),
            fit(BROKEN, rows=tensors(log10_norm=SPIKE), target_std=31, target_mean=0),
        ),
        (
            "growth in time",
            fit(BROKEN, rows=tensors(log10_norm=SPIKE)),
            fit(
                BROKEN,
                rows=tensors(log10_norm=SPIKE),
                said=UNBOUNDED,
            ),
        ),
        (
            "growth in time",  # one step is enough
            fit([1.0, math.nan], said=UNBOUNDED, rows=tensors(update_ratio=9.0)[:2]),
            fit([1.0, math.nan], said=UNBOUNDED, rows=tensors(update_ratio=11.0)[:2]),
        ),
        (
            "overflow of the format",
            fit(BROKEN, rows=tensors()),
            fit(BROKEN, rows=tensors(), dtype="mixed_float16"),
        ),
        (
            "epsilon below the format",
            fit(said=facts(optimizer={"epsilon": 1e-4}), dtype="float16"),
            fit(said=facts(optimizer={"epsilon": 1e-7}), dtype="float16"),
        ),
        ("nothing is trained", fit(), fit(said=facts(trainable=0), rows=tensors()[:0])),
        (
            "frozen output",
            fit(said=facts(layers={"out": dense("linear", trainable=True)})),
            fit(said=facts(layers={"out": dense("linear", trainable=False)})),
        ),
        ("uphill", fit(), fit(rate=-1e-3)),
        ("uphill", fit(rows=tensors(cosine=-0.5)), fit(rows=tensors(cosine=0.5))),
        (
            "penalty too large",  # weight decay points where the gradient may, too
            fit(rows=tensors(cosine=0.5)),
            fit(
                rows=tensors(cosine=0.5, log10_weight=np.linspace(0, -2, STEPS)),
                said=DECAYS,
            ),
        ),
        (
            "uphill",
            fit(np.linspace(-1, -999, STEPS), said=facts(own=True)),
            fit(np.linspace(-1, -2e3, STEPS), said=facts(own=True)),
        ),
        (
            "labels outside the loss",
            fit(said=BINARY, **RANGE),
            fit(said=BINARY, **RANGE | {"target_max": 2.0}),
        ),
        (
            "labels outside the loss",
            fit(said=BINARY, **RANGE),
            fit(said=BINARY, **RANGE | {"target_min": -1.0}),
        ),
        (
            "targets outside the output",
            fit(said=facts(layers={"out": dense("tanh")}), **RANGE),
            fit(said=facts(layers={"out": dense("tanh")}), **RANGE | {"target_max": 9}),
        ),
        (
            "no probabilities",
            fit(
                said=facts(loss="categorical_crossentropy", logits=True),
                output_min=-3,
                output_max=3,
            ),
            fit(
                said=facts(loss="categorical_crossentropy", logits=False),
                output_min=-3,
                output_max=3,
            ),
        ),
        (
            "labels compete",
            fit(said=CLASSIFIER, target_sum_max=1.0, **RANGE),
            fit(said=CLASSIFIER, target_sum_max=3.0, **RANGE),
        ),
        (
            "softmax of one unit",
            fit(said=facts(layers={"out": dense("softmax", units=2)})),
            fit(said=facts(layers={"out": dense("softmax", units=1)})),
        ),
        (
            "learning rate too high",
            fit(rows=tensors(update_ratio=0.09)),
            fit(rows=tensors(update_ratio=0.11)),
        ),
        (
            "learning rate too high",  # it jumps, though its steps are small
            fit(np.where(np.arange(STEPS) % 5 == 4, 1.9, 1.0)),
            fit(np.where(np.arange(STEPS) % 5 == 4, 2.1, 1.0)),
        ),
        (
            "learning rate too low",
            fit(np.linspace(2, 1.8, STEPS), rows=tensors(update_ratio=2.1e-4)),
            fit(np.linspace(2, 1.8, STEPS), rows=tensors(update_ratio=1.9e-4)),
        ),
        (
            "learning rate too low",  # in 120 updates no kernel moves by 2%
            fit(rows=tensors(update_ratio=1.7e-4)),
            fit(rows=tensors(update_ratio=1.6e-4)),
        ),
        (
            "no logits",
            fit(said=logits("sparse_categorical", "linear", 3)),
            fit(said=logits("sparse_categorical", "relu", 3)),
        ),
        (
            "no logits",  # Keras takes those of a sigmoid itself
            fit(said=logits("binary", "sigmoid", 1)),
            fit(said=logits("binary", "tanh", 1)),
        ),
        (
            "learning rate too low",  # from step 100 or 99 on a hundredth of the first
            fit(np.ones(200), learning_rate=np.where(np.arange(200) < 100, 1, 9e-3)),
            fit(np.ones(200), learning_rate=np.where(np.arange(200) < 99, 1, 9e-3)),
        ),
        (
            "inputs not scaled",
            fit(input_mean=20, input_std=20),
            fit(input_mean=25, input_std=20),
        ),
        (
            "targets not scaled",
            fit(target_mean=0, target_std=29),
            fit(target_mean=0, target_std=31),
        ),
        (
            "batches not shuffled",
            fit(target_code=np.tile([0.1, -0.1], STEPS // 2)),
            fit(target_code=np.tile([1.0, -1.0], STEPS // 2)),
        ),
        (
            "penalty too large",
            fit(rows=tensors(log10_weight=np.linspace(0, -0.9, STEPS)), said=DECAYS),
            fit(rows=tensors(log10_weight=np.linspace(0, -1.1, STEPS)), said=DECAYS),
        ),
        (
            "units that never part",
            fit(),
            fit(
                said=facts(
                    layers={
                        "hidden": dense(equal_units=True),
                        "out": dense("linear"),
                    }
                )
            ),
        ),
        (
            "signal lost on the way forward",
            fit(output_spread=0.1, output_min=-1, output_max=1),
            fit(output_spread=1e-3, output_min=-1, output_max=1),
        ),
        (
            "saturation",
            fit(
                said=facts(
                    layers={f"d{i}": dense("tanh") for i in range(2)}
                    | {"out": dense("linear")}
                )
            ),
            fit(
                said=facts(
                    layers={f"d{i}": dense("tanh") for i in range(3)}
                    | {"out": dense("linear")}
                )
            ),
        ),
        (
            "memory lost in time",
            fit(
                said=facts(
                    layers={"r": {"class": "GRU", "steps": 9}, "out": dense("linear")}
                )
            ),
            fit(
                said=facts(
                    layers={"r": {"class": "GRU", "steps": 99}, "out": dense("linear")}
                )
            ),
        ),
    ],
)
def test_a_cause_is_named_by_what_was_measured(cause, quiet, loud):
    assert cause in causes(loud)
    assert cause not in causes(quiet)


def test_every_cause_that_a_log_can_name_has_such_a_test():
    (mark,) = test_a_cause_is_named_by_what_was_measured.pytestmark

    tested = {cause for cause, *_ in mark.args[1]}
    by_data = {
        "moving averages",
        "output ignores the input",
        "targets of another shape",
    }
    assert tested == set(CAUSES) - by_data


@pytest.mark.parametrize(
    "odd",
    [
        {"input_mean": 100, "input_std": 100},
        {"target_mean": 500, "target_std": 100},
        {"rows": tensors(update_ratio=0.5)},
        {"rows": tensors(log10_weight=np.linspace(0, -1.5, STEPS))},
    ],
)
def test_odd_numbers_are_none_of_our_business_where_the_loss_is_learned(odd):
    learned = np.geomspace(10, 1e-3, STEPS)

    log = fit(learned, loss_of_mean=10.0, **odd)

    assert [finding.regime for finding in diagnose(log)] == ["healthy"]


@pytest.mark.parametrize(
    "said", [None, 3, {"layers": 5}, {"losses": "x", "outputs": 0}]
)
def test_facts_of_strangers_that_are_none_do_no_harm(said):
    log = fit().replace(metadata={"facts": said, "frozen_layers": 7})

    assert [finding.regime for finding in diagnose(log)] == ["stalled"]


@pytest.mark.parametrize(("dies", "regime"), [(0.94, "healthy"), (0.96, "dead units")])
def test_gradients_that_became_zero_are_dead_units_though_others_learn(dies, regime):
    """Half of the inputs is 0, so half of the gradient is, from the start."""
    zeros = 1 - 0.5 * np.where(np.arange(STEPS) < 9, 1.0, 1.0 - dies)
    log = fit(
        np.linspace(2, 1.6, STEPS), rows=tensors(zero_fraction=zeros), loss_of_mean=3
    )

    assert [finding.regime for finding in diagnose(log)] == [regime]


@pytest.mark.parametrize(
    ("start", "advice"), [(-4.5, "LossScaleOptimizer"), (-2.0, "log the activations")]
)
def test_a_gradient_that_comes_down_to_the_floor_of_its_format_underflows(
    start, advice
):
    """The smallest number of float16 is 6e-8, or -7.2 decades."""
    log10 = np.where(np.arange(STEPS) < 30, start - np.arange(STEPS) / 15, -np.inf)
    zeros = np.where(np.isfinite(log10), 0.5, 1.0)
    tanh = facts(layers={"hidden": dense("tanh"), "out": dense("linear")})
    rows = tensors(log10_norm=log10, log10_max=log10, zero_fraction=zeros)

    first = diagnose(fit(rows=rows, said=tanh, dtype="mixed_float16"))[0]

    assert first.regime == "zero"
    assert advice in first.remedy


@pytest.mark.parametrize(
    ("name", "regime"), [("ReLU", "dead units"), ("LeakyReLU", "zero")]
)
def test_units_of_an_activation_that_is_a_layer_of_its_own_can_die(name, regime):
    layers = {"hidden": dense("linear"), "act": {"class": name, "activation": ""}}
    said = facts(layers=layers | {"out": dense("linear")})
    rows = tensors(log10=-np.inf, zero_fraction=1.0)

    assert diagnose(fit(rows=rows, said=said))[0].regime == regime


@pytest.mark.parametrize(("step", "cause"), [(18, True), (40, False)])
def test_steps_may_become_too_large_as_momentum_gathers(step, cause):
    ratio = np.where(np.arange(STEPS) == step, 0.2, 0.06)

    asked = causes(fit(rows=tensors(update_ratio=ratio)))

    assert ("learning rate too high" in asked) == cause


def test_a_network_that_starts_by_exploding_needs_other_weights_not_smaller_steps():
    large, small = (
        diagnose(fit(BROKEN, rows=tensors(log10=log10, update_ratio=50.0)))[0]
        for log10 in (9.0, -1.0)
    )

    assert large.cause == small.cause == "explosion"
    assert "initial weights" in large.remedy
    assert "learning rate" in small.remedy


def test_a_recurrence_without_bound_that_threw_the_loss_grows_in_time():
    thrown = np.where(np.arange(STEPS) < 9, 1e9, 1.0)
    tame = {"class": "LSTM", "activation": "tanh", "steps": 50}
    bounded = facts(layers={"memory": tame, "out": dense("linear")})

    assert "growth in time" in causes(fit(thrown, said=UNBOUNDED))
    assert "growth in time" not in causes(fit(said=UNBOUNDED))
    assert "growth in time" not in causes(fit(thrown, said=bounded))


def test_kernels_are_compared_with_themselves():
    """Of a layer, now this variable has the largest gradient and now that one."""
    rows = [
        row | {"name": f"hidden/{name}", "log10_weight": weight, "layer": 1}
        for row in tensors()[::2]
        for name, weight in (("gamma", 0.9), ("beta", -0.3))
    ]
    rows += tensors()[1::2]
    for row in rows:
        if row["name"].endswith("gamma") and row["step"] > 50:
            row["log10_norm"] = -3.0
    known = causes(fit(rows=rows, penalty=0.1))

    assert "penalty too large" not in known
    shrinks = tensors(log10_weight=np.linspace(0, -1.5, STEPS))
    assert "penalty too large" in causes(fit(rows=shrinks, penalty=0.1))
    assert "penalty too large" not in causes(fit(rows=shrinks))  # nothing shrinks them


def test_numbers_that_are_not_scaled_make_steps_large():
    asked = causes(
        fit(rows=tensors(update_ratio=0.5), input_mean=100.0, input_std=100.0)
    )

    assert asked == ["inputs not scaled"]


@pytest.mark.parametrize("said", [facts(), UNBOUNDED])
def test_losses_whose_sum_overflows_are_judged_without_a_warning(said):
    assert diagnose(fit(np.full(STEPS, 1.7e308), said=said))


@pytest.mark.parametrize(
    ("bad", "seen", "cause"),
    [
        ("hidden/kernel", math.nan, "Inf or NaN in the data"),
        ("hidden/kernel", 0, "infinite derivative"),
        ("hidden", math.nan, "infinite derivative"),
    ],
)
def test_a_finite_error_at_a_kernel_without_numbers_means_bad_inputs(bad, seen, cause):
    """The kernel's gradient is what it hears times the error; the bias's, the error."""
    kernels = tensors()
    biases = [row | {"name": f"{row['name'][:-6]}bias", "size": 4} for row in kernels]
    broken = {"log10_norm": math.inf, "nonfinite_fraction": 0.03}
    nothing = {"log10_norm": -math.inf, "log10_max": -math.inf, "zero_fraction": 1.0}
    rows = [
        row
        | (broken if row["step"] == 70 and row["name"].startswith(bad) else {})
        | (nothing if row["step"] > 70 else {})
        for row in kernels + biases
    ]

    (finding,) = diagnose(fit(rows=rows, input_nonfinite=seen))

    assert (finding.regime, finding.cause) == ("non-finite", cause)


def test_units_that_die_of_what_was_wrong_before_are_told_that_remedy():
    """Their gradients are small from the start, and 0 in the end."""
    ends = np.arange(STEPS) > 80
    level = np.where(ends, -math.inf, -8.0)
    rows = tensors(log10_norm=level, log10_max=level, zero_fraction=ends.astype(float))

    remedies = {finding.regime: finding.remedy for finding in diagnose(fit(rows=rows))}

    assert set(remedies) == {"dead units", "vanishing", "stalled"}
    assert len({*remedies.values()}) == 1
    assert "leaky" not in remedies["vanishing"]


def test_what_a_long_recurrence_forgets_is_not_lost_between_layers():
    layers = {"memory": {"class": "GRU", "steps": 99}, "out": dense("linear")}
    nothing = {"output_spread": 0.0, "output_min": -1, "output_max": 1}

    assert causes(fit(said=facts(layers=layers), **nothing)) == ["memory lost in time"]


@pytest.mark.parametrize(
    "rates",
    [
        np.where(np.arange(200) < 50, 1e-3, 1.0),  # a warm-up
        np.where(np.arange(200) % 100 < 50, 1.0, 1e-3),  # a cycle
        np.full(200, 1e-3),
        np.zeros(200),
    ],
)
def test_a_learning_rate_that_comes_back_has_not_faded(rates):
    assert "learning rate too low" not in causes(fit(np.ones(200), learning_rate=rates))


def test_how_much_too_large_a_step_is_the_first_one_tells():
    """What it does to later ones is no measure."""
    ratios = np.where(np.arange(STEPS) < 5, 0.2, 1e4)

    (finding,) = diagnose(fit(rows=tensors(update_ratio=ratios)))

    assert finding.cause == "learning rate too high"
    assert "about 100 times smaller" in finding.remedy


def test_how_much_too_small_a_step_is_has_no_four_digits():
    (finding,) = diagnose(fit(rows=tensors(update_ratio=3.6e-7)))

    assert finding.cause == "learning rate too low"
    assert "larger learning rate, about 1000 times" in finding.remedy


def test_a_penalty_makes_no_loss_nan():
    shrinks = tensors(log10_weight=np.linspace(0, -1.5, STEPS))

    assert causes(fit(BROKEN, rows=shrinks, said=DECAYS)) == [""]
    assert "penalty too large" in causes(fit(rows=shrinks, said=DECAYS))


def test_noise_of_batches_is_not_called_stalled():
    """A first look after a dozen steps, in which the loss fell by 2.5%."""
    noise = np.random.default_rng(0).normal(size=(20, 12))
    falls = np.linspace(1, 0.975, 12)
    fits = [fit(loss, loss_of_mean=math.nan) for loss in falls + 0.01 * noise]
    quiet = fit(1 + 0.001 * noise[0], loss_of_mean=math.nan)

    assert {f.regime for log in fits for f in diagnose(log)} == {"healthy"}
    assert [finding.regime for finding in diagnose(quiet)] == ["stalled"]


def test_an_update_of_0_behind_a_gradient_whose_square_overflows_is_not_frozen():
    """Adam divides by the root of the square: 1e20 squared is beyond float32."""
    still = {"update_ratio": 0.0, "frozen_fraction": 1.0}
    small, huge = (
        diagnose(fit([1.0, math.nan], rows=tensors(log10, **still)[:2]))
        for log10 in (19.2, 19.3)
    )

    assert "frozen" in [finding.regime for finding in small]
    assert [(f.regime, f.cause) for f in huge] == [("non-finite", "explosion")]


def test_a_warm_up_from_0_is_not_frozen():
    rates = np.linspace(0, 1e-3, STEPS)
    rows = tensors(update_ratio=rates, frozen_fraction=(rates == 0).astype(float))

    assert "frozen" not in [finding.regime for finding in diagnose(fit(rows=rows))]


def layered(norms, kind, *, sizes=(1, 1, 1, 1), optimizers=None):
    """One step: a tensor of each of some layers."""
    optimizers = optimizers or [""] * len(norms)
    return [
        dict.fromkeys(LAYER_COLUMNS, np.nan)
        | {
            "run": 0,
            "step": 0,
            "layer": layer,
            "kind": kind,
            "name": f"d{layer}/kernel",
        }
        | {"log10_norm": norm, "log10_max": norm, "zero_fraction": 0.0, "size": size}
        | {"nonfinite_fraction": 0.0, "optimizer": optimizer, "update_ratio": 1e-3}
        for layer, (norm, size, optimizer) in enumerate(
            zip(norms, sizes, optimizers, strict=True), start=1
        )
    ]


def measured_once(*tables):
    layers = pd.DataFrame([row for table in tables for row in table])
    losses = pd.DataFrame({"run": [0, 0], "step": [0, 1], "loss": [1.0, 1.0]})
    return GradientLog(run_table(dtype="float32"), losses, layers)


@pytest.mark.parametrize("kind", ["activation", "activation_gradient"])
def test_fewer_elements_are_no_smaller_ones(kind):
    """Pooling: each map has a hundredth of the elements of the one before."""
    norms, sizes = [4, 3, 2, 1], [1e8, 1e6, 1e4, 1e2]
    log = measured_once(layered(norms, kind, sizes=sizes))

    assert [finding.regime for finding in diagnose(log)] == ["healthy"]


def test_what_is_lost_at_one_place_is_no_decay_from_layer_to_layer():
    """Global pooling over 16 x 16 divides the gradient by 256 on its way back."""
    way = [-3.8, -3.8, -3.8, -3.8, -1.4, -1.3]
    pooled = measured_once(layered(way, "activation_gradient", sizes=[1] * 6))
    steady = measured_once(
        layered(
            [-3.8, -3.3, -2.8, -2.3, -1.8, -1.3], "activation_gradient", sizes=[1] * 6
        )
    )

    assert [finding.regime for finding in diagnose(pooled)] == ["healthy"]
    assert [finding.regime for finding in diagnose(steady)] == ["vanishing"]


def test_a_way_that_turns_back_after_a_jump_is_no_decay():
    """A gate that is nearly closed: its own gradient is small, and nobody's loss."""
    closed = [-6.5, -6.5, -4.1, -4.1]
    parts = [[3.0 - i, 3.2 - i, *closed, 3.4 - i] for i in range(8)]
    way = [4.5, 4.5, *(number for part in parts for number in part), -2.8, -2.6]
    log = measured_once(layered(way, "activation_gradient", sizes=[1] * len(way)))

    assert "vanishing" not in [finding.regime for finding in diagnose(log)]


@pytest.mark.parametrize(("target", "regime"), [(150.0, "healthy"), (1.0, "exploding")])
def test_outputs_as_large_as_their_targets_are_no_growth(target, regime):
    way = layered([0.0, 0.7, 1.4, 2.2], "activation")
    log = measured_once(way)
    said = facts(layers={"hidden": dense(), "d4/kernel": dense("linear")})
    asked = log.replace(
        losses=log.losses.assign(target_mean=0.0, target_std=target),
        metadata={"facts": said},
    )

    assert [finding.regime for finding in diagnose(asked)] == [regime]


def test_layers_that_differ_from_their_neighbours_are_no_decay():
    """Branches that squeeze and excite: a gradient jumps down there, and up again."""
    way = [-2.7] * 40 + [-3.3, -1.5, -3.9, -3.6, -2.2, -3.2] * 3 + [-2.4, -1.4]
    log = measured_once(layered(way, "activation_gradient", sizes=[1] * len(way)))

    assert [finding.regime for finding in diagnose(log)] == ["healthy"]


def test_what_a_normalization_wins_at_one_place_is_no_growth():
    """An embedding starts at 0.05, is brought to 1, and ends in many logits."""
    sizes = [1] * 6
    normalized = layered([-1.3, 0.0, 0.0, 0.0, 0.2, 0.9], "activation", sizes=sizes)
    steady = layered(np.linspace(-1.3, 0.9, 6), "activation", sizes=sizes)

    assert [f.regime for f in diagnose(measured_once(normalized))] == ["healthy"]
    assert [f.regime for f in diagnose(measured_once(steady))] == ["exploding"]


@pytest.mark.parametrize(
    ("decades", "layer", "regime"),
    [
        (3, "Dense", "exploding"),
        (3, "BatchNormalization", "healthy"),
        (7.3, "BatchNormalization", "exploding"),
    ],
)
def test_gradients_behind_a_normalization_may_scale_with_their_kernels(
    decades, layer, regime
):
    rows = layered(np.linspace(decades, 0, 6), "weight_gradient", sizes=[1] * 6)
    said = facts(layers={"norm": {"class": layer}, "out": dense("linear")})
    log = measured_once(rows).replace(metadata={"facts": said})

    assert [finding.regime for finding in diagnose(log)] == [regime]


@pytest.mark.parametrize(
    ("normal", "regime"), [("LayerNormalization", "healthy"), ("Dense", "exploding")]
)
def test_kernels_behind_a_normalization_may_be_thrown(normal, regime):
    """Larger weights do the same there; the last layer has none behind it."""
    layers = {"hidden": dense(), "norm": {"class": normal}, "out": dense("linear")}
    thrown = [
        row | {"update_ratio": 11.0 if row["name"].startswith("hidden") else 1e-3}
        for row in tensors(steps=9)
    ]
    log = fit([1.0] * 9, rows=thrown, said=facts(layers=layers))

    assert [finding.regime for finding in diagnose(log)] == [regime]


def test_networks_of_two_optimizers_are_not_compared():
    """A generator whose loss is a thousandth, and a discriminator."""
    rows = layered([-6, -6, 0, 0], "weight_gradient", optimizers="ggdd")
    joint = layered([-6, -6, 0, 0], "weight_gradient")

    assert [finding.regime for finding in diagnose(measured_once(rows))] != [
        "vanishing"
    ]
    assert [finding.regime for finding in diagnose(measured_once(joint))] == [
        "vanishing"
    ]


@pytest.mark.parametrize(("decades", "regime"), [(7.1, "healthy"), (7.3, "exploding")])
def test_an_update_among_those_of_a_step_that_explodes_is_found(decades, regime):
    """Of the three updates of a critic one has a gradient 2**24 times as large."""
    rows = [
        row | {"update": update}
        for update, norm in enumerate((0, decades, 0))
        for row in layered([norm], "weight_gradient", sizes=[1])
    ]

    (finding,) = diagnose(measured_once(rows))
    assert finding.regime == regime


@pytest.mark.parametrize(("spread", "named"), [(1, False), (31, True)])
def test_a_mean_that_was_learned_is_no_scale_that_hinders(spread, named):
    """From 30 on average to their mean, and no further: what is left is the spread."""
    falling = np.maximum(np.geomspace(900, 1e-3, STEPS), 1)

    names = causes(
        fit(falling, loss_of_mean=falling, target_mean=30, target_std=spread)
    )

    assert ("targets not scaled" in names) == named


def test_logging_more_kinds_loses_no_finding():
    kernels = layered([-6, -4, -2, 0], "weight_gradient")
    level = [layered([0] * 4, kind) for kind in ("activation", "activation_gradient")]

    for log in (measured_once(kernels), measured_once(kernels, *level)):
        assert [finding.regime for finding in diagnose(log)] == ["vanishing"]


def level_kernels(log10_of_biases, steps=STEPS):
    """Of eight layers: kernels' gradients all alike, biases' along a line."""
    (row, _) = tensors(steps=1)
    line = np.linspace(*log10_of_biases, 8)
    return [
        row
        | {"step": step, "layer": n + 1, "name": f"{n}/{what}", "size": size}
        | dict.fromkeys(("log10_norm", "log10_max", "log10_mean"), log10)
        for step in range(steps)
        for n in range(8)
        for what, size, log10 in (("kernel", 16, -4.0), ("bias", 4, line[n]))
    ]


@pytest.mark.parametrize(
    ("biases", "extra", "expected"),
    [
        ((-5, -2), {}, True),
        ((-5, -3.5), {}, False),
        ((-5, -2), {"norm": {"class": "BatchNormalization"}}, False),
    ],
)
def test_what_kernels_hide_biases_show_of_a_run_that_does_not_learn(
    biases, extra, expected
):
    """Where activations shrink too, kernels' gradients lose as much at either end."""
    layers = {**extra, **{str(n): dense() for n in range(8)}}
    rows = level_kernels(biases)

    flat = diagnose(fit(said=facts(layers=layers), rows=rows))
    halved = diagnose(fit(np.geomspace(1, 0.1, STEPS), loss_of_mean=2.0, rows=rows))

    assert ("vanishing" in [finding.regime for finding in flat]) == expected
    assert "vanishing" not in [finding.regime for finding in halved]
    if expected:
        assert flat[0].name == "2/bias"  # 2 decades below the last one
        assert "initial weights" in flat[0].remedy
