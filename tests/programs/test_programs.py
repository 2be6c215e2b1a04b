"""Advice is tested by carrying it out, on programs that take seconds.

All programs: `python -m tests.benchmarks.faults`, ten minutes and more.
"""

import pytest

import vgkeras as vg
from tests.benchmarks.faults import is_right, measure
from tests.programs import FAULTY

# What only a pass over data can tell.
_BY_DATA = ("lagging_averages",)

QUICK = (
    "all_frozen",
    "argmax_between",
    "ascent",
    "change_from_zero",
    "exploding_descent",
    "large_targets",
    "large_weights",
    "log_of_targets",
    "missing_target",
    "negative_loss",
    "root_of_distance",
    "root_of_zero",
    "signed_labels",
    "single_softmax",
    "softmax_twice",
    "sorted_classes",
    "three_classes",
    "tiny_weights",
    "zero_weights",
)
QUICK_SOUND = (
    "gaussian_likelihood",
    "noisy_labels",
    "own_step",
    "raw_iris",
    "triplets",
)

# Keras warns of some of these faults, too.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("name", QUICK)
def test_the_advice_that_is_named_repairs_the_program(name):
    reported, repaired = (measure((name, done), others=False) for done in (False, True))

    assert is_right(reported, FAULTY[name].remedy), reported.findings
    assert not repaired.findings


@pytest.mark.parametrize("name", QUICK_SOUND)
def test_nothing_is_found_where_nothing_is_wrong(name):
    assert not measure((name, False), others=False).findings


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize("name", _BY_DATA)
def test_a_pass_over_data_tells_what_the_log_cannot(name, repaired):
    model, x, y, options = FAULTY[name].make(repaired)
    logger = vg.GradientLogger()
    model.fit(x, y, verbose=0, callbacks=[logger], **options)

    causes = [finding.cause for finding in vg.diagnose(logger.log, model, x, y)]

    assert ("moving averages" in causes) == (not repaired)
