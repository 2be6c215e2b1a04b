import math

import numpy as np
import pandas as pd
import pytest

import vgkeras as vg
from vgkeras import charts, theory
from vgkeras.logs import LAYER_COLUMNS, RUN_COLUMNS, GradientLog


def hand_made(losses, gradients=(), **run):
    """A log of one run: its losses by step, its weight gradients at step 0."""
    row = dict.fromkeys(RUN_COLUMNS, "") | {
        "run": 4,
        "depth": 50,
        "scale": 0.5,
        "steps": len(losses) - 1,
        "dtype": "float32",
        "seed": 0,
        "loss_zero": 1.0,
        "outcome": "stalls",
    }
    rows = [
        dict.fromkeys(LAYER_COLUMNS, np.nan)
        | {"run": 4, "step": step, "layer": layer, "kind": kind}
        | {"log10_norm": value + step, "frozen_fraction": 0.0}
        for kind in ("weight_gradient", "activation")
        for step in (0, 1)
        for layer, value in enumerate(gradients, start=1)
    ]
    return GradientLog(
        runs=pd.DataFrame([row | run]),
        losses=pd.DataFrame({"run": 4, "step": range(len(losses)), "loss": losses}),
        layers=pd.DataFrame(rows, columns=list(LAYER_COLUMNS)),
    )


@pytest.mark.parametrize(
    ("first", "last", "word"),
    [
        (2.0, 0.01, "trains"),
        (2.0, 0.011, "slow"),
        (0.5, 0.0051, "slow"),
        (2.0, 1.799, "slow"),
        (2.0, 1.8, "stalls"),
        (0.5, 0.005, "trains"),
        (1e9, 1.0, "slow"),  # it has only collapsed to zero
        (2.0, 2000.0, "stalls"),
        (2.0, 2000.1, "diverges"),
        (0.5, 1000.0, "stalls"),
        (2.0, math.inf, "diverges"),
        (2.0, math.nan, "diverges"),
        (math.inf, 2.0, "diverges"),
        (math.nan, 0.0, "diverges"),
    ],
)
def test_the_word_for_a_run_follows_from_its_losses(first, last, word):
    assert theory.outcomes_by_loss(first, last, 1.0) == word


def test_a_zero_loss_that_overflows_is_a_result_and_no_error():
    assert theory.outcomes_by_loss(math.inf, math.inf, math.inf) == "diverges"
    assert theory.outcomes_by_loss(1.0, 0.5, math.inf) == "slow"


def test_outcomes_of_a_table_follow_its_runs_not_its_order():
    losses = pd.DataFrame(
        {
            "run": [7, 7, 2, 2, 2, 5],
            "step": [9, 0, 0, 2, 1, 0],
            "loss": [0.001, 1.0, 1.0, math.nan, 3.0, 1.0],
        }
    )
    runs = pd.DataFrame({"run": [2, 5, 7], "loss_zero": 1.0}, index=[10, 20, 30])

    outcomes = theory.outcomes_of_runs(losses, runs)

    assert outcomes.to_dict() == {10: "diverges", 20: "stalls", 30: "trains"}


def test_a_loss_that_ends_in_nan_is_not_replaced_by_the_last_finite_one():
    log = hand_made([1.0, 1e-9, math.nan])

    assert theory.with_outcomes(log).runs["outcome"].tolist() == ["diverges"]
    assert log.runs["outcome"].tolist() == ["stalls"]  # the argument is left alone


def test_a_sentence_tells_label_outcome_losses_and_gradient():
    log = hand_made([1.0, 0.9999, 0.9876], [-14.9, -14.901])

    assert charts.run_sentences(log) == [
        "c = 0.5, L = 50: stalls. The loss went from 1 to 0.988 in 2 steps; "
        "the weight gradient at the start was 1.3e-15."
    ]


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        ([-3.0, -1.0], "was 1.0e-03 to 0.1, by layer."),
        ([-math.inf, -math.inf], "was exactly 0."),
        ([-math.inf, -5.0], "was exactly 0 in some layers, at most 1.0e-05."),
        ([2.0, math.inf], "overflowed."),
        ([-601.9, -601.9], "was 1.3e-602."),
        ([-0.001, -0.001], "was 0.998."),
        ([399.0, 399.0], "was 1.0e+399."),
    ],
)
def test_a_sentence_finds_words_for_every_gradient(gradients, words):
    (sentence,) = charts.run_sentences(hand_made([1.0, 0.9], gradients))

    assert sentence.endswith(f"the weight gradient at the start {words}")


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (
            [1.0, math.inf, math.nan],
            "The loss was 1 at first and overflowed at s",
        ),
        ([1.0, math.inf, math.nan], "overflowed at step 1."),
        ([math.nan, math.nan], "The loss overflowed before the first step."),
        ([1.0, 0.0], "The loss went from 1 to exactly 0 in 1 step."),
        ([2.0, 2.0], "The loss stayed at 2 for 1 step, to the last digit."),
        (
            [1.0, 0.9999],
            "stayed at 1 for 1 step: it changed by 1.0e-04 of itself.",
        ),
    ],
)
def test_a_sentence_finds_words_for_every_loss(losses, words):
    (sentence,) = charts.run_sentences(hand_made(losses))

    assert words in sentence


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5], "in 5 steps and still falls."),
        ([9.0, 2.0, 0.5, 0.5001, 0.5, 0.4999], "in 5 steps and stays there."),
        ([1.0, 0.9, 0.2, 0.8, 0.3, 0.5], "in 5 steps, up and down without settling."),
        ([1.0, 1.2, 0.2, 0.8, 0.7, 0.5], "in 5 steps and still falls."),  # settled
    ],
)
def test_a_slow_run_falls_stays_or_does_not_settle(losses, words):
    (sentence,) = charts.run_sentences(hand_made(losses, outcome="slow"))

    assert sentence.endswith(words)


def test_a_run_that_ends_high_by_going_up_and_down_is_said_to_do_so():
    wild, flat = [1.0, 2.0, 0.2, 1.8, 0.3, 1.1], [1.0, 1.0, 0.999, 0.99, 0.98, 0.97]

    (sentence,) = charts.run_sentences(hand_made(wild))

    assert sentence.endswith("up and down without settling.")
    assert charts.run_sentences(hand_made(flat))[0].endswith("in 5 steps.")
    rounding = hand_made([1.0, 1e-13, 3e-13, 1e-13, 2e-13], outcome="trains")
    assert "without settling" not in charts.run_sentences(rounding)[0]


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([1.0, 1.0], " The first update moved no weight."),
        ([1.0, 0.5], " The first update left 75% of the weights as they were."),
        ([1.0, 0.999], " The first update left more than 99% of the weights"),
        ([0.0, 0.001], ""),
        ([0.0, 0.0], ""),
        ([math.nan, math.nan], ""),
    ],
)
def test_a_sentence_says_which_share_of_the_weights_an_update_left(shares, words):
    log = hand_made([1.0, 1.0], [-20.0, -20.0])
    later = log.layers["step"] > 0
    layers = log.layers.assign(frozen_fraction=shares * 4)
    layers.loc[later, "frozen_fraction"] = 1.0  # only the first update is spoken of

    (sentence,) = charts.run_sentences(GradientLog(log.runs, log.losses, layers))

    assert words in sentence
    assert words or "update" not in sentence


@pytest.mark.parametrize(
    ("sizes", "percent"), [([3, 1], "75%"), ([0, 0], "50%"), ([math.nan, 1], "50%")]
)
def test_the_share_of_weights_counts_weights_where_their_numbers_are_known(
    sizes, percent
):
    log = hand_made([1.0, 1.0], [-20.0, -20.0])
    layers = log.layers.assign(frozen_fraction=[1.0, 0.0] * 4, size=sizes * 4)

    (sentence,) = charts.run_sentences(log.replace(layers=layers))

    assert f" left {percent} of the weights" in sentence


@pytest.mark.slow
def test_the_share_of_weights_that_an_update_left_is_that_of_a_real_model():
    model = vg.build_stack(20, scale=0.5)
    x, y = vg.make_data()
    before = np.array(model.get_weights())

    log = vg.train(model, x, y, steps=1, learning_rate=0.01)

    share = np.mean(before == np.array(model.get_weights()))
    assert 0 < share < 1
    assert f"left {share:.0%} of the weights" in charts.run_sentences(log)[0]


def test_labels_name_what_tells_the_runs_apart():
    named = hand_made([1.0, 1.0], scale=math.nan, initializer="he_normal")
    two = pd.concat([named.runs, named.runs.assign(seed=3)])

    assert charts.run_sentences(named)[0].startswith("he_normal, L = 50: ")
    both = charts.run_sentences(GradientLog(two, named.losses, named.layers))
    assert [s.split(":")[0] for s in both] == [
        "he_normal, L = 50, seed 0",
        "he_normal, L = 50, seed 3",
    ]


def test_no_sentence_prints_a_small_number_as_zero():
    (sentence,) = charts.run_sentences(hand_made([1e-30, 1e-40], [-300.0]))

    assert "0.0000" not in sentence
    assert "from 1.0e-30 to 1.0e-40" in sentence


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: theory.outcomes_by_loss(1.0, 1.0, -1.0),
            "`loss_zero` must not be negative. Received: loss_zero=-1.0",
        ),
        (
            lambda: theory.outcomes_of_runs(pd.DataFrame({"run": []}), pd.DataFrame()),
            "`losses` must have the columns run, step, loss. Rec.*without step, loss",
        ),
        (
            lambda: theory.outcomes_of_runs(
                pd.DataFrame(columns=["run", "step", "loss"]), pd.DataFrame({"run": []})
            ),
            "`runs` must have the columns run, loss_zero. Rec.*without loss_zero",
        ),
        (
            lambda: theory.with_outcomes(
                GradientLog(
                    hand_made([1.0]).runs.assign(run=9),
                    hand_made([1.0]).losses,
                    hand_made([1.0]).layers,
                )
            ),
            r"`losses` must have rows for every run. Received: no loss of run \[9\]",
        ),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_runs_of_other_models_have_sentences_too():
    log = hand_made([1.0, 0.5], [np.nan, np.nan], scale=math.nan, outcome="")
    silent = log.replace(losses=log.losses.iloc[:0])

    assert charts.run_sentences(log) == [
        "run 4, L = 50: no outcome. The loss went from 1 to 0.5 in 1 step."
    ]
    assert "Its losses were not logged" in charts.run_sentences(silent)[0]
