"""Recurrent theory against arithmetic in 60 digits, and against random networks."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vgkeras import theory


def log10_norm(entries):
    entries = list(entries)
    total = mp.sqrt(mp.fsum(entry**2 for entry in entries))
    return float(mp.log10(total)) if total else -np.inf


def by_hand(scale, x, y, kernel):
    """The unrolled network by the chain rule, a step at a time, in 60 digits."""
    samples, steps, _ = x.shape
    units = y.shape[1]
    with mp.workdps(60):
        u, w = mp.matrix(kernel.tolist()), mp.mpf(scale) * mp.eye(units)
        inputs = [mp.matrix(x[:, t].tolist()) for t in range(steps)]
        states = [mp.zeros(samples, units)]
        for each in inputs:
            states.append(states[-1] * w + each * u)
        residual = states[-1] - mp.matrix(y.tolist())
        back, gradients = residual * 2 / (samples * units), []
        total_w, total_u = mp.zeros(units, units), mp.zeros(*kernel.shape)
        for t in range(steps, 0, -1):
            share = states[t - 1].T * back
            total_w, total_u = total_w + share, total_u + inputs[t - 1].T * back
            gradients.append([states[t], back, back * u.T, share])
            back = back * w.T
        by_time = [[log10_norm(part) for part in row] for row in gradients[::-1]]
        loss = 2 * log10_norm(residual) - math.log10(samples * units)
        return loss, np.array(by_time).T, log10_norm(total_w), log10_norm(total_u)


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.0, 1.5, -0.7, 0.0])
@pytest.mark.parametrize("steps", [1, 2, 60])
def test_a_linear_recurrent_network_is_its_unrolled_self(scale, steps):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, steps, 3)), rng.normal(size=(4, 2))
    kernel = rng.normal(size=(3, 2))

    form = theory.recurrent_form(scale, x, y, kernel=kernel)

    loss, by_time, recurrent, inputs = by_hand(scale, x, y, kernel)
    assert_allclose(form.log10_loss, loss, atol=1e-12)
    ours = (
        *(form.log10_state, form.log10_state_gradient),
        *(form.log10_input_gradient, form.log10_share),
    )
    assert_allclose(np.array(ours), by_time, atol=1e-12)
    assert_allclose(form.log10_recurrent_gradient, recurrent, atol=1e-12)
    assert_allclose(form.log10_kernel_gradient, inputs, atol=1e-12)


def test_an_impulse_gives_the_gradient_of_a_stack_times_its_steps():
    x = np.zeros((3, 40, 2))
    x[:, 0] = np.random.default_rng(0).normal(size=(3, 2))
    y = np.ones((3, 2))

    form = theory.recurrent_form(0.8, x, y)

    stack = theory.closed_form(0.8, 39, x[:, 0], y)  # from h_1 = x_1 to h_40
    assert_allclose(form.log10_loss, stack.log10_loss)
    assert_allclose(
        form.log10_recurrent_gradient,
        stack.log10_weight_gradient[0] + math.log10(39),
    )
    assert_allclose(form.log10_share[1:], stack.log10_weight_gradient)


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_two_thousand_steps_neither_underflow_nor_overflow(scale):
    x = np.zeros((1, 2000, 1))
    x[:, 0] = 1

    form = theory.recurrent_form(scale, x, np.zeros((1, 1)))

    out = 1999 * math.log10(scale)
    assert_allclose(form.log10_loss, 2 * out)
    assert_allclose(form.log10_state_gradient[0], math.log10(2) + 2 * out)
    assert_allclose(
        form.log10_recurrent_gradient,
        math.log10(2 * 1999) + 2 * out - math.log10(scale),
    )


def test_a_solved_task_has_no_gradient():
    form = theory.recurrent_form(1.0, np.ones((2, 3, 1)), np.full((2, 1), 3.0))

    assert form.log10_loss == form.log10_recurrent_gradient == -np.inf
    assert (form.log10_state_gradient == -np.inf).all()


@pytest.mark.parametrize(("activation", "slope"), [("tanh", 1.0), ("sigmoid", 0.25)])
def test_no_product_of_jacobians_exceeds_the_bound(activation, slope):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(6, 6)) / 2
    bound = theory.recurrent_bound(kernel, 30, activation=activation)

    back = np.eye(6)
    for t in range(28, -1, -1):
        back = kernel @ (rng.uniform(0, slope, 6)[:, None] * back)
        assert math.log10(np.linalg.norm(back, 2)) <= bound[t] + 1e-9

    # At the steepest slope, a symmetric kernel reaches it.
    symmetric = kernel + kernel.T
    largest = np.abs(np.linalg.eigvalsh(symmetric)).max()
    reached = theory.recurrent_bound(symmetric, 30, activation=activation)[0]
    assert_allclose(reached, 29 * math.log10(largest * slope))


@given(bias=st.floats(-50, 50), steps=st.integers(1, 300))
def test_a_forget_gate_multiplies_step_by_step(bias, steps):
    with mp.workdps(40):
        gate = 1 / (1 + mp.exp(-mp.mpf(bias)))
        product = float((steps - 1) * mp.log10(gate))

    assert_allclose(
        theory.forget_gate_memory(bias, steps)[0], product, rtol=1e-12, atol=1e-300
    )


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.99])
def test_memory_is_counted_back_from_the_last_step(factor):
    levels = 3 + math.log10(factor) * np.arange(499, -1, -1.0)

    assert_allclose(theory.memory_steps(levels), math.log(0.1) / math.log(factor))
    assert_allclose(
        theory.memory_steps(levels, keeps=0.5), math.log(0.5) / math.log(factor)
    )


def test_a_memory_may_last_or_end_at_once():
    assert theory.memory_steps([0.0, 0.0, 0.0]) == math.inf
    assert theory.memory_steps([2.0, 1.0, 0.0]) == math.inf
    assert theory.memory_steps([-np.inf, -np.inf, 0.0]) == 1
    masked_end = [-4.0, -2.0, 0.0, -np.inf, -np.inf]
    assert theory.memory_steps(masked_end) == theory.memory_steps(masked_end[:3]) == 0.5
    assert math.isnan(theory.memory_steps([-3.0, -1.0, np.nan]))
    assert math.isnan(theory.memory_steps([-np.inf, -np.inf]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.recurrent_form(0.5, np.ones((2, 3)), [[1]]), "`x` must be a"),
        (
            lambda: theory.recurrent_form(0.5, np.ones((2, 3, 1)), np.ones((3, 1))),
            "`x` and `y` must have the same number of samples",
        ),
        (
            lambda: theory.recurrent_form(
                0.5, np.ones((2, 3, 1)), np.ones((2, 1)), kernel=np.ones((2, 2))
            ),
            r"`kernel` must be a finite matrix of shape \(1, 1\)",
        ),
        (lambda: theory.recurrent_bound(np.ones((2, 3)), 5), "must be a square matrix"),
        (lambda: theory.recurrent_bound([[np.inf]], 5), "must hold finite numbers"),
        (lambda: theory.memory_steps([0.0], keeps=1), "`keeps` must be below 1"),
        (lambda: theory.memory_steps(0.0), "`log10_by_time` must be a row of numbers"),
        (lambda: theory.memory_steps("abc"), "`log10_by_time` must hold real .*'abc'"),
        (lambda: theory.recurrent_bound(1j * np.eye(2), 5), "`kernel` .*complex"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
