"""Advice is tested by carrying it out: for every cause on a program that takes seconds.

All programs: `python -m tests.benchmarks.faults`, ten minutes and more.
"""

import pytest

import vgkeras as vg
from tests.benchmarks.faults import is_right, measure
from tests.programs import FAULTY
from vgkeras.diagnosis import CAUSES

# Quick programs, and the cause that the log of each names; the last ones have none, but
# a regime that has its own advice.
BY_LOG = {
    "change_from_zero": "Inf or NaN in the data",
    "root_of_zero": "the loss function",
    "root_of_distance": "infinite derivative",
    "no_epsilon": "the optimizer",
    "float16_overflow": "overflow of the format",
    "float16_adam": "epsilon below the format",
    "exploding_descent": "explosion",
    "large_weights": "explosion",
    "relu_rnn": "growth in time",
    "all_frozen": "nothing is trained",
    "frozen_head": "frozen output",
    "negative_loss": "uphill",
    "three_classes": "labels outside the loss",
    "signed_labels": "labels outside the loss",
    "tanh_regression": "targets outside the output",
    "relu_classes": "no probabilities",
    "softmax_twice": "no logits",
    "several_labels": "labels compete",
    "single_softmax": "softmax of one unit",
    "gathering_momentum": "learning rate too high",
    "slow_descent": "learning rate too low",
    "raw_pixels": "inputs not scaled",
    "large_targets": "targets not scaled",
    "sorted_classes": "batches not shuffled",
    "dropped_units": "dropout too strong",
    "heavy_decay": "penalty too large",
    "zero_weights": "units that never part",
    "sigmoid_rings": "signal lost on the way forward",
    "positive_tanh": "saturation",
    "latch": "memory lost in time",
    "argmax_between": "",
    "float16_underflow": "",
    "rounded_steps": "",
    "shut_units": "",
    "sigmoid_iris": "",
}
# What only a pass over data can tell.
BY_DATA = {
    "lagging_averages": "moving averages",
    "flat_targets": "targets of another shape",
    "gru_recall": "memory lost in time",
    "shuffled_targets": "output ignores the input",
}
# A third of the epochs is enough but for these, which show the fault, or that it is
# mended, only later.
LATE = ("change_from_zero", "dropped_units", "float16_underflow", "latch")
LATE += ("positive_tanh", "raw_pixels", "rounded_steps")
QUICK_SOUND = (
    "gaussian_likelihood",
    "noisy_labels",
    "own_step",
    "raw_iris",
    "triplets",
)

slow = pytest.mark.slow
# Keras warns of some of these faults, too.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_the_advice_of_every_cause_is_carried_out():
    named = {*BY_LOG.values(), *BY_DATA.values()}

    assert named - {""} == set(CAUSES)


@slow
@pytest.mark.parametrize(("name", "cause"), BY_LOG.items())
def test_the_advice_that_is_named_repairs_the_program(name, cause):
    part = 1 if name in LATE else 1 / 3
    reported, repaired = (
        measure((name, done), others=False, part=part) for done in (False, True)
    )

    assert cause in [finding.cause for finding in reported.findings]
    assert is_right(reported, FAULTY[name].remedy), reported.findings
    assert not repaired.findings


@slow
@pytest.mark.parametrize("name", QUICK_SOUND)
def test_nothing_is_found_where_nothing_is_wrong(name):
    assert not measure((name, False), others=False).findings


@slow
@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize(("name", "cause"), BY_DATA.items())
def test_a_pass_over_data_tells_what_the_log_cannot(name, cause, repaired):
    model, x, y, options = FAULTY[name].make(repaired)
    logger = vg.GradientLogger()
    model.fit(x, y, verbose=0, callbacks=[logger], **options)

    findings = vg.diagnose(logger.log, model, x, y)

    assert [f.cause for f in findings if f.cause] == ([] if repaired else [cause])
