import math

import pytest

from vgkeras import _checks


@pytest.mark.parametrize(
    ("check", "value", "rule"),
    [
        (_checks.check_positive_int, 0, "a positive integer"),
        (_checks.check_non_negative_int, -1, "a non-negative integer"),
        (_checks.check_finite, math.inf, "a finite number"),
        (_checks.check_finite, math.nan, "a finite number"),
        (_checks.check_positive, 0.0, "a positive, finite number"),
        (_checks.check_positive, math.inf, "a positive, finite number"),
        (_checks.check_non_negative, -0.1, "a non-negative, finite number"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_rule(check, value, rule):
    with pytest.raises(ValueError, match=f"`rate` must be {rule}. Received: rate="):
        check("rate", value)


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_an_integer_is_asked_for_by_type(value):
    with pytest.raises(TypeError, match="`depth` must be a positive integer"):
        _checks.check_positive_int("depth", value)


@pytest.mark.parametrize("value", [True, "2", None, 1j])
def test_a_number_is_asked_for_by_type(value):
    with pytest.raises(TypeError, match="`rate` must be a finite number"):
        _checks.check_finite("rate", value)


def test_options_are_listed_in_their_order():
    with pytest.raises(ValueError, match="`dtype` must be one of 'b', 'a'"):
        _checks.check_option("dtype", "c", ("b", "a"))


def test_an_empty_list_and_a_string_are_no_lists_of_values():
    with pytest.raises(ValueError, match="`depths` must be a non-empty list or tuple"):
        _checks.check_non_empty("depths", [])
    with pytest.raises(TypeError, match="`depths` must be a list or tuple"):
        _checks.check_non_empty("depths", "12")


def test_repeated_values_are_refused():
    with pytest.raises(ValueError, match="`depths` must be free of repeated values"):
        _checks.check_unique("depths", [1, 2, 1])


def test_checks_return_plain_numbers(rng):
    number = _checks.check_positive_int("depth", rng.integers(3, 4))

    assert type(number) is int
    assert number == 3
