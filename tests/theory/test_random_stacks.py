"""Random stacks: held to Monte Carlo in NumPy and to numbers known from elsewhere."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vgkeras import theory


def sampled_relu_growth(units, gain, draws, rng):
    """Logarithms of the norms' ratios where they are not 0; the share of those."""
    kernels = rng.normal(scale=math.sqrt(gain / units), size=(draws, units, units))
    inputs = rng.normal(size=(draws, units))
    outputs = np.maximum(np.einsum("duv,dv->du", kernels, inputs), 0)
    norms = np.linalg.norm(outputs, axis=1)
    alive = norms > 0
    return np.log(norms[alive] / np.linalg.norm(inputs[alive], axis=1)), alive.mean()


@pytest.mark.parametrize(("units", "gain"), [(1, 2.0), (2, 2.0), (5, 1.0), (16, 2.0)])
def test_relu_growth_is_that_of_drawn_layers(units, gain, rng):
    draws = 40_000
    logs, alive = sampled_relu_growth(units, gain, draws, rng)

    growth = theory.relu_growth(units, gain)

    share_error = math.sqrt(growth.alive * (1 - growth.alive) / draws)
    spread = ((logs - logs.mean()) ** 2 - logs.var()).std() / math.sqrt(len(logs))
    assert abs(alive - growth.alive) < 4 * share_error + 1 / draws
    assert abs(logs.mean() - growth.mean) < 4 * logs.std() / math.sqrt(len(logs))
    assert abs(logs.var() - growth.variance) < 4 * spread


@pytest.mark.parametrize(
    ("units", "dead_stack", "mean", "variance"),
    [(4, 5.5e-5, -0.358, 0.732), (8, 0.55, -0.199, None), (32, 1.0, -0.0413, None)],
)
def test_relu_growth_gives_the_known_numbers(units, dead_stack, mean, variance):
    growth = theory.relu_growth(units)

    assert_allclose(growth.alive**152, dead_stack, rtol=0.01)
    assert_allclose(growth.mean, mean, rtol=3e-3)
    if variance is not None:
        assert_allclose(growth.variance, variance, rtol=1e-3)


def test_a_relu_stack_of_width_2_and_depth_152_is_dead():
    assert_allclose(theory.relu_growth(2).alive ** 152, 1.02e-19, rtol=1e-2)


@pytest.mark.parametrize("units", [200, 1000])
def test_wide_relu_layers_follow_the_published_expansion(units):
    growth = theory.relu_growth(units)

    assert growth.alive == 1.0
    assert_allclose(growth.mean, -5 / (4 * units), rtol=10 / units)
    assert_allclose(growth.variance, 5 / (4 * units), rtol=10 / units)


def test_a_larger_gain_shifts_the_mean_and_nothing_else():
    he, wild = theory.relu_growth(7), theory.relu_growth(7, 8.0)

    assert_allclose(wild.mean - he.mean, math.log(2))
    assert (wild.alive, wild.variance) == (he.alive, pytest.approx(he.variance))


def test_one_unit_that_is_on_is_a_linear_unit():
    growth, linear = theory.relu_growth(1), theory.typical_log_growth(1, 2.0)

    assert_allclose((growth.mean, growth.variance), linear)


def test_tanh_signals_fade_as_the_known_numbers_say():
    q, chi = theory.tanh_recursion(152, 1.0)

    assert (q.shape, chi.shape, q[0]) == ((153,), (152,), 1.0)
    assert_allclose(q[-1], 0.00332, atol=5e-6)
    assert_allclose(chi.prod(), 0.0047, atol=5e-5)
    assert (np.diff(q) < 0).all()


@pytest.mark.parametrize(
    ("gain", "size", "factor"),
    [(2.0, 0.618, 1.1055), (1.5, None, 1.041), (0.5, 0, 0.5)],
)
def test_tanh_settles_where_the_known_numbers_say(gain, size, factor):
    q, chi = theory.tanh_recursion(400, gain)

    assert_allclose(chi[-1], factor, atol=1e-3)
    if size is not None:
        assert_allclose(q[-1], size, atol=1e-3)


def test_selu_keeps_the_mean_square_at_1():
    q, _ = theory.mean_field("selu", 50, variance_gain=1.0)

    assert_allclose(q, 1, rtol=1e-10)


def test_the_slope_of_selu_is_that_of_its_closed_form():
    _, chi = theory.mean_field("selu", 1, variance_gain=1.0)

    above = 1.0507009873554805**2 / 2
    below = above * 1.6732632423543772**2 * math.exp(2) * math.erfc(math.sqrt(2))
    assert_allclose(chi[0], above + below, rtol=1e-10)


def test_linear_layers_multiply_by_the_gain():
    q, chi = theory.mean_field("linear", 3, variance_gain=0.5, q0=8.0)

    assert q.tolist() == [8, 4, 2, 1]
    assert chi.tolist() == [0.5] * 3


def relu(z):
    return np.maximum(z, 0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def selu(z):
    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z))


def gelu(z):
    return 0.5 * z * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", relu),
        ("tanh", np.tanh),
        ("sigmoid", sigmoid),
        ("selu", selu),
        ("gelu", gelu),
    ],
)
def test_mean_field_is_an_average_over_normal_sums(activation, function, rng):
    gain, q0, draws, step = 1.7, 0.8, 200_000, 1e-5
    sums = math.sqrt(q0) * rng.normal(size=draws)
    squares = gain * function(sums) ** 2
    slopes = (function(sums + step) - function(sums - step)) / (2 * step)
    slopes = gain * slopes**2

    q, chi = theory.mean_field(activation, 1, gain, q0)

    error = 1 / math.sqrt(draws)
    assert abs(q[1] - squares.mean()) < 4 * squares.std() * error
    assert abs(chi[0] - slopes.mean()) < 4 * slopes.std() * error


@pytest.mark.slow
def test_a_wide_tanh_stack_follows_the_recursion(rng):
    units, depth, stacks = 256, 30, 24
    signal = rng.normal(size=(stacks, units, 1))
    for _ in range(depth):
        kernels = rng.normal(size=(stacks, units, units), scale=units**-0.5)
        signal = np.tanh(kernels @ signal)

    q, _ = theory.tanh_recursion(depth, 1.0)

    sizes = (signal**2).mean(axis=(1, 2))
    assert abs(sizes.mean() - q[-1]) < 4 * sizes.std() / math.sqrt(stacks)
    assert_allclose(sizes.mean(), q[-1], rtol=0.1)


def test_nonsense_is_refused_in_words():
    with pytest.raises(ValueError, match="`units` must be a positive integer"):
        theory.relu_growth(0)
    with pytest.raises(ValueError, match="`variance_gain` must be a positive, finite"):
        theory.relu_growth(2, -1.0)
    with pytest.raises(ValueError, match="`activation` must be one of 'linear'"):
        theory.mean_field("swish", 2, 1.0)
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        theory.tanh_recursion(0, 1.0)
    with pytest.raises(ValueError, match="`q0` must be a positive, finite number"):
        theory.tanh_recursion(2, 1.0, q0=0.0)
