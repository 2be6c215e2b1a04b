import pytest

from vgkeras.theory.search import turning_point


@pytest.mark.parametrize("edge", [0.0, 1e-3, 0.7, 1.0])
def test_the_edge_is_found_to_the_last_digit(edge):
    assert turning_point(lambda x: x >= edge, 0.0, 1.0, 80) == pytest.approx(
        edge, 1e-15
    )


def test_what_never_turns_true_ends_at_the_upper_end():
    assert turning_point(lambda x: False, 2.0, 5.0) == 5.0


def test_every_halving_asks_once():
    places = []

    turning_point(lambda x: bool(places.append(x)), 0.0, 8.0, 3)

    assert places == [4.0, 6.0, 7.0]
