"""Assertions on gradients, for pytest: of a log, or of any Keras model and its data.

A failure is an `AssertionError` that names the first bad layer and step, the rule, its
threshold and the measured value, and shows every layer in a table.
"""

from vgkeras.testing.assertions import (
    assert_gradients_connected,
    assert_gradients_finite,
    assert_matches_theory,
    assert_not_exploding,
    assert_not_vanishing,
)
from vgkeras.testing.numeric_assertions import assert_gradients_match_numeric
from vgkeras.testing.profile_assertions import (
    RECORD_VARIABLE,
    assert_matches_profile,
    record_profile,
)
