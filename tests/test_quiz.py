"""Questions and answers: runs done by hand back-propagation, scores done by hand."""

import math
import random
import re

import numpy as np
import pytest
from hand_backprop import descend, log10_norm

from vgkeras import quiz, theory

NUMBERS = range(1, 31)


def by_hand(asked):
    """First and last loss and the first gradient of a question's run."""
    x, y = theory.make_data("identity", 2, 64)
    with np.errstate(all="ignore"):
        history = descend(
            [asked["scales"][0] * np.eye(2)] * asked["depths"][0],
            x,
            y,
            steps=asked["steps"],
            learning_rate=asked["learning_rate"],
        )
    first, last = history[0], history[-1]
    return first["loss"], last["loss"], log10_norm(first["weight_gradient"][0])


def log_of(asked):
    return theory.predict(**asked)


@pytest.mark.parametrize("rounds", range(4))
def test_of_four_questions_each_has_an_outcome_of_its_own(rounds):
    fates = []
    for number in range(4 * rounds + 1, 4 * rounds + 5):
        first, last, _ = by_hand(quiz.question(number))
        stalls, learned = last >= 0.9 * first, last <= 0.01 * min(first, 1)
        diverged = not np.isfinite(last) or last > 1000 * max(first, 1)
        finite = "trains" if learned else "stalls" if stalls else "slow"
        fates.append("diverges" if diverged else finite)

    assert sorted(fates) == ["diverges", "slow", "stalls", "trains"]


def test_the_answer_is_the_gradient_of_the_run():
    for number in (1, 2, 3):
        asked = quiz.question(number)

        measured = quiz.answer(log_of(asked))

        assert measured.exponent == pytest.approx(by_hand(asked)[2], abs=1e-9)


@pytest.mark.slow
def test_no_question_leaves_float32_or_begins_at_the_solution():
    for seed in range(3):
        for number in NUMBERS:
            measured = quiz.answer(log_of(quiz.question(number, seed)))
            assert -37 < measured.exponent < 38


def test_questions_depend_on_number_and_seed_alone():
    random.seed(1)
    before = random.getstate()

    backwards = [quiz.question(number) for number in reversed(NUMBERS)]

    assert backwards[::-1] == [quiz.question(number) for number in NUMBERS]
    assert quiz.question(1, seed=1) != quiz.question(1, seed=2)
    assert random.getstate() == before


def test_the_outcomes_of_a_round_come_in_more_than_one_order():
    orders = {
        tuple(
            quiz.answer(log_of(quiz.question(4 * k + i))).outcome for i in range(1, 5)
        )
        for k in range(8)
    }

    assert len(orders) > 2


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(-math.inf, -math.inf), (math.inf, math.inf), (math.nan, math.inf)],
)
def test_a_gradient_that_is_no_normal_number_is_an_answer(exponent, expected):
    log = log_of(quiz.question(1))
    log = log.replace(layers=log.layers.assign(log10_norm=exponent))

    measured = quiz.answer(log)

    assert measured.exponent == expected
    assert quiz.score(quiz.Guess("stalls", 3), measured).decades_off == math.inf
    words = "exactly 0" if expected < 0 else "Inf"
    assert f"is {words}" in quiz.result(quiz.Guess("stalls", 3), measured)
    assert "rest" not in quiz.reason(0.5, 30, measured)


def test_a_log_without_a_first_gradient_is_refused():
    log = log_of({**quiz.question(1), "every": None})

    with pytest.raises(ValueError, match="`log` must hold a run with its weight"):
        quiz.answer(log)


@pytest.mark.parametrize(
    ("guessed", "measured", "right", "off"),
    [
        (("trains", 0), ("trains", 0.4), True, 0.4),
        (("stalls", -10), ("stalls", -14.5), True, 4.5),
        (("trains", 5), ("diverges", -5), False, 10),
    ],
)
def test_a_score_counts_decades(guessed, measured, right, off):
    points = quiz.score(quiz.Guess(*guessed), quiz.Guess(*measured))

    assert points == (right, pytest.approx(off))


def test_the_result_is_told_in_words():
    measured = quiz.Guess("diverges", 12.3)

    near = quiz.result(quiz.Guess("diverges", 12), measured)
    far = quiz.result(quiz.Guess("trains", 2), measured)

    assert "and it does" in near
    assert "within a factor of ten" in near
    assert "but it diverges" in far
    assert "10 decades off" in far
    assert "the gradient is 2.0·10¹²:" in far


@pytest.mark.parametrize("measured", [-1.3, -0.2, 0.7, 2.95, 3.4, -2.5, 40.4, -150.45])
@pytest.mark.parametrize("guessed", [-40, -1, 0, 3, 12])
def test_the_gradient_in_words_is_as_far_off_as_the_words_say(guessed, measured):
    said = quiz.result(quiz.Guess("stalls", guessed), quiz.Guess("stalls", measured))

    number = re.search(r"the gradient is ([\d.]+)(?:·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?:", said)
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    exponent = int((number[2] or "⁰").translate(digits))
    gradient = math.log10(float(number[1])) + exponent
    off = re.search(r"you were ([\d.]+) decade", said)
    if off is None:
        assert abs(gradient - guessed) < 1.03
    else:
        assert abs(gradient - guessed) == pytest.approx(float(off[1]), rel=0.06)


@pytest.mark.parametrize(
    ("guess", "measured", "words"),
    [
        ("slow", "slow", "You said that it is slow, and it is."),
        ("slow", "stalls", "You said that it is slow, but it stalls."),
        ("trains", "slow", "You said that it trains, but it is slow."),
    ],
)
def test_slow_is_no_verb(guess, measured, words):
    said = quiz.result(quiz.Guess(guess, 0), quiz.Guess(measured, 0))

    assert said.startswith(words)


@pytest.mark.parametrize(
    ("scale", "depth", "begins"),
    [
        (0.5, 1, "There is no other"),
        (0.5, 2, "The other matrix is 0.5·I."),
        (0.1, 21, "The other 20 matrices multiply to 1.0·10⁻²⁰. The rest, 1, is"),
        (0.95, 51, "The other 50 matrices multiply to 0.0769. The rest, "),
    ],
)
def test_the_reason_multiplies_the_other_matrices(scale, depth, begins):
    sentence = quiz.reason(scale, depth, quiz.Guess("stalls", -20.0))

    assert sentence.startswith(begins)


def test_scores_are_summed_up_by_their_median():
    scores = [quiz.Score(True, 1.0), quiz.Score(False, math.inf), quiz.Score(True, 3.0)]

    assert quiz.summary(scores).startswith("2 of 3 outcomes right; gradients 3 d")
    assert quiz.summary([]) == "No guess yet."


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: quiz.question(0), ValueError, "`number` must be a positive"),
        (lambda: quiz.question(1.5), TypeError, "`number` must be"),
        (lambda: quiz.question(1, -1), ValueError, "`seed` must be"),
        (
            lambda: quiz.score(quiz.Guess("maybe", 0), quiz.Guess("trains", 0)),
            ValueError,
            "`outcome` must be one of",
        ),
        (
            lambda: quiz.score(quiz.Guess("trains", math.nan), quiz.Guess("trains", 0)),
            ValueError,
            "`exponent` must be",
        ),
        (
            lambda: quiz.reason(-1, 2, quiz.Guess("trains", 0)),
            ValueError,
            "`scale` must be",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()
