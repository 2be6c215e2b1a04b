import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras.theory import TARGETS, make_data, target_modes

TURN = np.array([[1, -1], [1, 1]]) / np.sqrt(2)  # 45 degrees, counter-clockwise


@settings(max_examples=25, deadline=None)
@given(units=st.integers(1, 12), extra=st.integers(0, 40), seed=st.integers(0, 99))
def test_inputs_are_white_to_the_last_digits(units, extra, seed):
    x, _ = make_data(units=units, samples=units + extra, seed=seed)

    assert_allclose(x.T @ x / len(x), np.eye(units), atol=1e-14)


@pytest.mark.parametrize(
    ("target", "matrix"),
    [
        ("identity", np.eye(3)),
        ("scaled", np.eye(3) / 2),
        ("negative", np.diag([1, 1, -1])),
        ("rotation", np.block([[TURN, np.zeros((2, 1))], [np.zeros((1, 2)), 1]])),
    ],
)
def test_targets_are_what_their_names_say(target, matrix):
    x, y = make_data(target, units=3, samples=8)

    assert_allclose(y, (matrix @ x.T).T, atol=1e-15)


def test_a_rotation_turns_the_first_axis_by_45_degrees():
    x, y = make_data("rotation", units=2, samples=9)

    angle = np.arctan2(y[:, 1], y[:, 0]) - np.arctan2(x[:, 1], x[:, 0])
    assert_allclose(np.mod(angle, 2 * np.pi), np.pi / 4)


def test_a_teacher_is_a_matrix_of_variance_one_over_units():
    x, y = make_data("teacher", units=60, samples=60, output_units=80)

    matrix = np.linalg.lstsq(x, y, rcond=None)[0]
    assert_allclose(x @ matrix, y)
    assert_allclose(matrix.var() * 60, 1, rtol=0.1)


@pytest.mark.parametrize("outputs", [1, 5])
def test_other_numbers_of_outputs_cut_off_or_add_zeros(outputs):
    x, y = make_data("identity", units=3, samples=8, output_units=outputs)

    assert y.shape == (8, outputs)
    assert_allclose(y, np.pad(x, ((0, 0), (0, 2)))[:, :outputs])


def test_noise_has_the_deviation_asked_for_and_keeps_the_inputs():
    x, clean = make_data(units=20, samples=2000)
    noisy_x, noisy = make_data(units=20, samples=2000, noise=0.3)

    assert_array_equal(noisy_x, x)
    assert_allclose((noisy - clean).std(), 0.3, rtol=0.02)


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_seed_gives_the_same_data_and_another_other_data(target):
    first, again = make_data(target, seed=3), make_data(target, seed=3)
    other = make_data(target, seed=4)

    assert_array_equal(first[0], again[0])
    assert_array_equal(first[1], again[1])
    assert not np.allclose(first[0], other[0])


@pytest.mark.parametrize("target", ["identity", "scaled", "negative", "rotation"])
@pytest.mark.parametrize("outputs", [2, 3, 5])
def test_modes_are_the_eigenvalues_of_the_square_part_of_the_map(target, outputs):
    x, y = make_data(target, units=3, samples=8, output_units=outputs)
    cross = (x.T @ y / 8)[: min(3, outputs), : min(3, outputs)]

    modes = target_modes(target, units=3, output_units=outputs)

    expected = np.linalg.eigvals(cross)
    assert_allclose(np.sort_complex(modes), np.sort_complex(expected), atol=1e-14)


def test_a_teacher_has_no_modes():
    assert target_modes("teacher", units=2) is None


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"target": "mirror"}, ValueError, "`target` must be one of 'identity', 's"),
        ({"units": 0}, ValueError, "`units` must be a positive integer. Rec.*units=0"),
        ({"units": 2.0}, TypeError, "`units` must be a positive integer"),
        ({"samples": 0}, ValueError, "`samples` must be a positive integer"),
        ({"output_units": 0}, ValueError, "`output_units` must be a positive integer"),
        ({"noise": -1.0}, ValueError, "`noise` must be a non-negative, finite number"),
        ({"seed": -1}, ValueError, "`seed` must be a non-negative integer"),
        (
            {"units": 5, "samples": 4},
            ValueError,
            "`samples` must be at least `units`, or `x` cannot be whitened. "
            "Received: samples=4, units=5",
        ),
        (
            {"target": "rotation", "output_units": 1},
            ValueError,
            "must be at least 2 for target='rotation'. Rec.*output_units=1",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        make_data(**arguments)


def test_modes_check_their_arguments_too():
    with pytest.raises(ValueError, match="must be at least 2 for target='rotation'"):
        target_modes("rotation", units=1)
