"""What is said of recorded digits: tables and sentences, from logs made by hand."""

import math

import pytest
from digits_by_hand import BASELINE, recording, story

from vgkeras import remedies


def test_the_table_takes_medians_and_ends_over_seeds():
    log = recording(
        {(BASELINE, 2): [0.5, 0.9, 0.6], ("He", 2): [0.7]},
        {(BASELINE, 2): [-3.0, 1.0, -math.inf]},
    )

    rows = remedies.digits_table(log)

    assert rows[["activation", "remedy", "depth", "runs"]].values.tolist() == [
        ["relu", BASELINE, 2, 3],
        ["relu", "He", 2, 1],
    ]
    ends = ["low", "median", "high"]
    assert rows.loc[0, [f"accuracy_{end}" for end in ends]].tolist() == [0.5, 0.6, 0.9]
    # rms of 100 elements: a tenth of the norm; the last step plays no part
    gradients = [f"gradient_{end}" for end in ends]
    assert rows.loc[0, gradients].tolist() == [-math.inf, -4.0, 0.0]
    assert rows.loc[1, gradients].tolist() == [-1.0] * 3


@pytest.mark.parametrize(
    ("he", "conclusion", "reach"),
    [
        (
            (0.95, 0.93, 0.2),
            "help a lot, not completely",
            "to depth 10 from He's",
        ),
        ((0.95, 0.93, 0.91), "are enough", "to depth 50 from He's"),
        ((0.95, 0.5, 0.99), "do not help here", "to depth 2 from He's"),
    ],
)
def test_the_conclusion_follows_how_deep_careful_weights_carry(he, conclusion, reach):
    sentence = remedies.digits_sentence(story(he))

    assert sentence.startswith(f"Careful initial weights {conclusion}: ReLU networks")
    assert "to depth 2 from small random weights" in sentence
    assert reach in sentence
    assert "to depth 50 with the recipe of today" in sentence


def test_the_sentence_ends_with_what_is_read_at_the_deepest():
    sentence = remedies.digits_sentence(story((0.95, 0.93, 0.2)))

    assert sentence.endswith(
        "At depth 50 that is 10%, 20% and 96%; guessing reads 10%."
    )


def test_what_is_no_recording_of_digits_is_refused():
    log = story((0.9, 0.9, 0.9))

    with pytest.raises(ValueError, match="`activation` must be one of 'relu'"):
        remedies.digits_sentence(log, "tanh")
    runs = log.runs.drop(columns="test_accuracy")
    with pytest.raises(ValueError, match="`log` must hold runs with a column `test_a"):
        remedies.digits_table(log.replace(runs=runs))
