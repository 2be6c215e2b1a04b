import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from vgkeras import theory

SCALES = [0.3, 0.5, 0.9, 1.0, 1.1, 1.5, 1.8, -0.7]
KINDS = ("activation", "activation_gradient", "weight_gradient")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def norm(matrix):
    return mp.sqrt(mp.fsum(abs(entry) ** 2 for entry in matrix))


def log10(value):
    return float(mp.log10(value)) if value else -np.inf


def hand_backprop(scale, depth, x, y, last=None):
    """Loss and log-norms by the chain rule, layer after layer, in 60 digits."""
    with mp.workdps(60):
        x, y = mp.matrix(x.tolist()), mp.matrix(y.tolist())
        kernel = mp.mpf(scale) * mp.eye(x.cols)
        final = mp.zeros(x.cols, y.cols)
        for i in range(x.cols):
            for j in range(y.cols):
                final[i, j] = last[i, j] if last is not None else scale * (i == j)
        kernels = [kernel] * (depth - 1) + [final]
        signals = [x]
        for k in kernels:
            signals.append(signals[-1] * k)
        residual = signals[-1] - y
        loss = norm(residual) ** 2 / (y.rows * y.cols)
        back = residual * 2 / (y.rows * y.cols)
        backs, weights = [], []
        for k, signal in zip(kernels[::-1], signals[-2::-1], strict=True):
            backs.append(log10(norm(back)))
            weights.append(log10(norm(signal.T * back)))
            back = back * k.T
        forward = [log10(norm(signal)) for signal in signals[1:]]
        return float(loss), (forward, backs[::-1], weights[::-1])


def simulated(scale, depth, rate, steps, target=1.0):
    """The recursion in the plainest words; a list of the values of `s`."""
    values = [scale]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            s = np.float64(values[-1])
            values.append(s - rate * s ** (depth - 1) * (s**depth - target))
    return np.array(values)


def steps_taken(scale, depth, rate, target=1.0, most=10**5):
    """The first step at which 1% of the smaller loss is reached."""
    s, step = scale, 0
    allowed = 0.01 * min((scale**depth - target) ** 2, target**2)
    while (s**depth - target) ** 2 > allowed and step < most:
        s = s - rate * s ** (depth - 1) * (s**depth - target)
        step += 1
    return step


# Closed forms


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("depth", [1, 2, 7, 152])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_closed_form_matches_sixty_digit_back_propagation(scale, depth, outputs, rng):
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, outputs))

    form = theory.closed_form(scale, depth, x, y)

    loss, norms = hand_backprop(scale, depth, x, y)
    assert_allclose(form.loss, loss, rtol=1e-12)
    for kind, expected in zip(KINDS, norms, strict=True):
        norms = getattr(form, f"log10_{kind}")
        assert_allclose(norms, expected, rtol=0, atol=1e-12, err_msg=kind)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("depth", [1, 2, 40])
def test_closed_form_takes_any_last_kernel(scale, depth, rng):
    x, y, last = (rng.normal(size=shape) for shape in [(5, 3), (5, 2), (3, 2)])

    form = theory.closed_form(scale, depth, x, y, last_kernel=last)

    loss, norms = hand_backprop(scale, depth, x, y, last)
    assert_allclose(form.loss, loss, rtol=1e-12)
    for kind, expected in zip(KINDS, norms, strict=True):
        norms = getattr(form, f"log10_{kind}")
        assert_allclose(norms, expected, rtol=0, atol=1e-12, err_msg=kind)


@pytest.mark.parametrize("scale", [1 - 1e-9, 1 + 1e-12, 1 - 2**-53])
def test_closed_form_keeps_its_digits_next_to_the_target(scale, rng):
    x = rng.normal(size=(4, 2))

    form = theory.closed_form(scale, 50, x, x)

    _, norms = hand_backprop(scale, 50, x, x)
    assert_allclose(form.log10_weight_gradient, norms[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_norms_stay_finite_where_powers_leave_float64(scale, sign):
    x = np.eye(2)

    form = theory.closed_form(scale, 400, x, sign * x)

    _, norms = hand_backprop(scale, 400, x, sign * x)
    for kind, expected in zip(KINDS, norms, strict=True):
        assert_allclose(getattr(form, f"log10_{kind}"), expected, rtol=1e-13)
    assert form.loss == (np.inf if scale > 1 else 0.5)


def test_a_vanishing_part_of_the_gradient_survives_orthogonal_targets():
    x, y = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])  # x.T @ y = 0

    form = theory.closed_form(0.5, 2000, x, y)

    expected = (1999 + 2000) * np.log10(0.5)
    assert_allclose(form.log10_weight_gradient, expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_stack_that_starts_at_its_target_has_exactly_no_gradient(depth, rng):
    x = rng.normal(size=(6, 3))

    form = theory.closed_form(1.0, depth, x, x)

    assert form.loss == 0
    assert form.log10_loss == -np.inf
    assert np.all(form.log10_weight_gradient == -np.inf)
    assert np.all(form.log10_activation_gradient == -np.inf)
    assert np.all(np.isfinite(form.log10_activation))


def test_a_stack_of_zeros_learns_in_its_only_layer_or_nowhere(rng):
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))

    one, two, three = (theory.closed_form(0.0, depth, x, y) for depth in (1, 2, 3))

    gradient = np.log10(np.linalg.norm(x.T @ y * 2 / y.size))
    assert_allclose(one.log10_weight_gradient, [gradient])
    assert np.all(two.log10_weight_gradient == -np.inf)
    assert np.isneginf(three.log10_activation_gradient).tolist() == [True, True, False]


def test_zero_targets_leave_the_gradient_of_the_signal_alone():
    form = theory.closed_form(0.5, 2000, np.eye(2), np.zeros((2, 2)))

    expected = 3999 * np.log10(0.5) + np.log10(np.sqrt(2) * 2 / 4)
    assert_allclose(form.log10_weight_gradient, expected)


def test_weight_gradients_match_finite_differences_of_the_loss(rng):
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))

    def loss(kernels):
        return np.mean((x @ np.linalg.multi_dot(kernels) - y) ** 2)

    start, gradient = [0.8 * np.eye(2)] * 3, np.empty((2, 2))
    for i, j in np.ndindex(2, 2):
        nudge = np.zeros((2, 2))
        nudge[i, j] = 1e-6
        up, down = start[1] + nudge, start[1] - nudge
        gradient[i, j] = loss([start[0], up, start[2]])
        gradient[i, j] -= loss([start[0], down, start[2]])

    form = theory.closed_form(0.8, 3, x, y)

    expected = np.log10(np.linalg.norm(gradient / 2e-6))
    assert_allclose(form.log10_weight_gradient[1], expected, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.1, 3),
    depth=st.integers(1, 300),
    size=st.floats(1e-3, 1e3),
)
def test_weight_gradients_are_equal_over_layers_and_quadratic_in_the_data(
    scale, depth, size
):
    x, y = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([[1.0, 0.0], [2.0, 1.0]])

    form = theory.closed_form(scale, depth, x, y)
    larger = theory.closed_form(scale, depth, size * x, size * y)

    gradient = form.log10_weight_gradient
    assert_allclose(gradient, gradient[0], rtol=0, atol=1e-10)
    moved = larger.log10_weight_gradient - gradient
    assert_allclose(moved, 2 * np.log10(size), rtol=0, atol=1e-8)


def test_outputs_are_those_of_the_product_of_all_kernels(rng):
    x = rng.normal(size=(3, 2))

    form = theory.closed_form(-1.5, 5, x, x[:, :1])

    assert_allclose(form.outputs, x[:, :1] * (-1.5) ** 5)


def test_outputs_of_zero_inputs_stay_zero_when_the_others_overflow():
    form = theory.closed_form(10.0, 400, np.eye(2), np.eye(2))

    assert form.outputs.tolist() == [[np.inf, 0], [0, np.inf]]


# The recursion


@pytest.mark.parametrize("target", [1.0, -1.0, 0.5, np.exp(0.25j * np.pi)])
@pytest.mark.parametrize("depth", [1, 2, 5, 20])
def test_trajectories_match_forty_digits(depth, target):
    path = theory.trajectory(0.9, depth, rate=0.02, steps=60, target=target)

    with mp.workdps(40):
        s, values = mp.mpc(0.9), []
        for _ in range(61):
            values.append(complex(s))
            error = s**depth - mp.mpc(target)
            s = s - mp.mpf(0.02) * mp.conj(s) ** (depth - 1) * error
    assert_allclose(path, values, rtol=1e-13)


def test_trajectories_broadcast_over_a_grid_of_runs():
    paths = theory.trajectory([[0.5], [1.2]], [2, 3, 9], rate=0.01, steps=4)

    assert paths.shape == (2, 3, 5)
    assert_allclose(paths[1, 2], simulated(1.2, 9, 0.01, 4))


def test_a_trajectory_beyond_float64_ends_without_a_warning():
    path = theory.trajectory(1.8, 100, rate=0.01, steps=6)

    assert path[0] == 1.8
    assert not np.isfinite(path[-1])


@pytest.mark.parametrize("target", [1.0, -2.0, 0.3, np.exp(1j)])
@pytest.mark.parametrize("s", [0.5, -0.5, 1.7, 1 + 1e-12, 0.999 + 0.01j])
def test_gaps_match_forty_digits(s, target):
    gap = theory.log_gap(s, 7, target)

    with mp.workdps(40):
        expected = mp.log(abs(mp.mpc(s) ** 7 - mp.mpc(target)))
    assert_allclose(gap, float(expected), rtol=1e-12)


def test_gaps_to_a_target_of_zero_are_the_powers_themselves():
    gap = theory.log_gap([0.0, 0.5, -2.0], 3, 0.0)

    assert_allclose(gap, [-np.inf, 3 * np.log(0.5), 3 * np.log(2)])


# Time to learn

TABLE = {  # rate 0.01, from a 40-digit evaluation of the hypergeometric integral
    0.5: [180, 304, 1111, 3246, 10286, 63062, 1.46e6, 9.6e8, 5.9e14, 3.2e29, 9.5e44],
    0.9: [124, 63, 49, 46, 45, 46, 51, 82, 341, 31133, 4.87e6],
    0.95: [119, 53, 37, 32, 29, 26, 24, 23, 32, 163, 1472],
}
TABLE_DEPTHS = [2, 5, 8, 10, 12, 15, 20, 30, 50, 100, 152]


@pytest.mark.parametrize("scale", TABLE)
def test_steps_to_learn_reproduce_the_known_table(scale):
    steps = [theory.steps_to_learn(scale, depth, rate=0.01) for depth in TABLE_DEPTHS]

    assert_allclose(np.ceil(steps), TABLE[scale], rtol=0.02)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("scale", [0.7, 0.9, 0.99, 1.02, 1.1])
@pytest.mark.parametrize("target", [1.0, 0.5, 2.0])
def test_steps_to_learn_are_within_a_step_of_a_simulation(scale, depth, target):
    rate = 0.002 / max(1, scale**depth) ** 2

    steps = theory.steps_to_learn(scale, depth, rate=rate, target=target)

    exact = steps_taken(scale, depth, rate, target)
    assert exact < 10**5
    assert abs(steps - exact) <= 1.01


@pytest.mark.parametrize("depth", [2, 3, 7, 60, 152])
@pytest.mark.parametrize("scale", [0.4, 0.97, 0.99999, 1.0001, 1.3])
def test_the_time_of_flow_is_the_hypergeometric_one(scale, depth):
    goal = 0.1 * min(abs(scale**depth - 1), 1)
    goal = 1 + (goal if scale > 1 else -goal)
    small = 1e-12 / max(scale, 1) ** (2 * depth)  # steps so small that they flow

    time = theory.steps_to_learn(scale, depth, rate=small) * small

    with mp.workdps(40):
        ends = [mp.mpf(scale), mp.mpf(goal) ** (mp.mpf(1) / depth)]
        if scale > 1:
            power = 2 - mp.mpf(2) / depth
            values = [
                s ** (2 - 2 * depth)
                / (2 * depth - 2)
                * mp.hyp2f1(1, power, power + 1, s**-depth)
                for s in ends
            ]
        elif depth == 2:
            values = [mp.log(s**2 / (1 - s**2)) / 2 for s in ends]
        else:
            power = mp.mpf(2) / depth
            values = [
                s ** (2 - depth)
                / (2 - depth)
                * mp.hyp2f1(1, power - 1, power, s**depth)
                for s in ends
            ]
    assert_allclose(time, float(values[1] - values[0]), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(0.3, 0.99), depth=st.integers(3, 152), size=st.floats(0.2, 5.0))
def test_time_scales_with_the_target_and_the_rate(scale, depth, size):
    """With `s = size * r` the recursion is that of `r` at another rate."""
    rate = 1e-5 / max(size, 1) ** 3

    plain = theory.steps_to_learn(scale, depth, rate=rate)
    scaled = theory.steps_to_learn(
        scale * size ** (1 / depth),
        depth,
        rate=rate * size ** (2 / depth - 2),
        target=size,
    )

    assert_allclose(scaled, plain, rtol=1e-9)


@pytest.mark.parametrize(
    ("scale", "depth", "target"), [(0.0, 3, 1), (0.5, 4, -1), (0.5, 3, -1), (2, 3, 0)]
)
def test_some_modes_never_learn(scale, depth, target):
    assert theory.steps_to_learn(scale, depth, rate=0.01, target=target) == np.inf


def test_a_thrown_out_mode_never_learns():
    assert theory.steps_to_learn(1.5, 50, rate=0.01) == np.inf


def test_negative_scales_learn_what_their_sign_can_reach():
    positive = theory.steps_to_learn(0.8, 3, rate=0.01)

    assert theory.steps_to_learn(-0.8, 3, rate=0.01, target=-1.0) == positive
    assert theory.steps_to_learn(-0.8, 3, rate=0.01) == np.inf
    assert theory.steps_to_learn(1.0, 9, rate=0.01) == 0


def test_the_smallest_trainable_scale_separates_the_simulated_runs():
    edge = theory.min_trainable_scale(20, rate=0.01, steps=1000)

    assert_allclose(edge, 0.75, atol=0.002)
    assert steps_taken(edge + 1e-3, 20, 0.01) <= 1000
    assert steps_taken(edge - 1e-3, 20, 0.01) > 1000


def test_no_scale_below_the_target_is_near_enough_for_a_single_step():
    assert_allclose(theory.min_trainable_scale(4, rate=1e-3, steps=1, target=16), 2)


# Stability


def hessian(scale, depth, units, target):
    """Central differences of the back-propagated gradient, for whitened inputs."""
    shape = (depth, units, units)

    def gradient(flat):
        kernels = flat.reshape(shape)
        pre = [np.eye(units)]
        for kernel in kernels:
            pre.append(pre[-1] @ kernel)
        back, out = 2 / units * (pre[-1] - target * np.eye(units)), np.empty(shape)
        for layer in range(depth - 1, -1, -1):
            out[layer] = pre[layer].T @ back
            back = back @ kernels[layer].T
        return out.ravel()

    start = np.tile(scale * np.eye(units), (depth, 1, 1)).ravel()
    steps = 1e-5 * np.eye(start.size)
    return np.array([gradient(start + h) - gradient(start - h) for h in steps]) / 2e-5


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize(("scale", "target"), [(0.6, 1.0), (1.3, 1.0), (0.9, -0.5)])
def test_the_critical_learning_rate_is_two_over_the_largest_curvature(
    scale, depth, units, target
):
    limit = theory.critical_learning_rate(scale, depth, units=units, target=target)

    largest = np.linalg.eigvalsh(hessian(scale, depth, units, target)).max()
    assert_allclose(limit, 2 / largest, rtol=1e-7)


def test_a_larger_eigenvalue_of_the_data_asks_for_smaller_steps():
    plain = theory.critical_learning_rate(1.2, 5, units=2)
    steep = theory.critical_learning_rate(1.2, 5, units=2, target=0.7, eigenvalue=4)
    same = theory.critical_learning_rate(1.2, 5, units=2, target=0.7)

    assert plain == pytest.approx(theory.critical_learning_rate(1.2, 5, units=4) / 2)
    assert steep == pytest.approx(same / 4)


@pytest.mark.parametrize(
    ("depth", "hessian_edge", "divergence_edge"),
    [
        (2, 8.185, 14.178),
        (5, 1.485, 1.947),
        (10, 1.148, 1.346),
        (20, 1.050, 1.1515),
        (50, 1.0107, 1.0563),
        (100, 1.0025, 1.0275),
        (152, 1.0006, 1.0180),
    ],
)
def test_the_edges_at_rate_one_percent_are_the_known_ones(
    depth, hessian_edge, divergence_edge
):
    def crosses(rate_of, edge, slack):
        return (
            rate_of(edge - slack, depth, units=2)
            > 0.01
            > rate_of(edge + slack, depth, units=2)
        )

    assert crosses(theory.critical_learning_rate, hessian_edge, 6e-4)
    assert crosses(theory.divergence_learning_rate, divergence_edge, 6e-4)


@pytest.mark.parametrize("depth", [2, 3, 5, 6, 9, 30])
@pytest.mark.parametrize(("scale", "target"), [(2.0, 1.0), (1.5, 0.3)])
def test_runs_diverge_exactly_beyond_the_divergence_learning_rate(depth, scale, target):
    edge = theory.divergence_learning_rate(scale, depth, units=2, target=target)

    below = simulated(scale, depth, edge * (1 - 1e-9), 500, target)
    beyond = simulated(scale, depth, edge * (1 + 1e-9), 500, target)

    assert np.all(np.abs(below) <= scale)
    assert not np.isfinite(beyond[-1])


def test_below_the_target_runs_escape_only_beyond_the_divergence_learning_rate():
    starts = np.linspace(0.3, 0.99, 50)
    edge = theory.divergence_learning_rate(0.5, 6, units=2)

    below = theory.trajectory(starts, 6, rate=edge * 0.999, steps=4000)
    beyond = theory.trajectory(starts, 6, rate=edge * 1.2, steps=4000)

    assert np.isfinite(below).all()
    assert np.isfinite(beyond[:, -1]).mean() < 0.1  # these are still inside


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_a_trained_stack_returns_from_a_nudge_only_below_the_stable_rate(depth):
    edge = theory.stable_learning_rate(depth, units=2, target=0.6)
    bottom = 0.6 ** (1 / depth)

    below = simulated(bottom + 1e-6, depth, edge * 0.97, 400, 0.6)
    beyond = simulated(bottom + 1e-6, depth, edge * 1.03, 100, 0.6)

    assert abs(below[-1] - bottom) < 1e-8
    assert abs(beyond[-1] - bottom) > 1e-5


# Outcomes


def simulated_outcome(scale, depth, rate, steps, target):
    with np.errstate(all="ignore"):
        loss = (simulated(scale, depth, rate, steps, target) ** depth - target) ** 2
        if not np.isfinite(loss[-1]) or loss[-1] > 1000 * max(loss[0], target**2):
            return "diverges"
    if loss[-1] <= 0.01 * min(loss[0], target**2):
        return "trains"
    return "stalls" if loss[-1] >= 0.9 * loss[0] else "slow"


def test_outcomes_are_those_of_the_simulated_runs(rng):
    wrong = []
    for _ in range(300):
        depth, steps = int(rng.integers(1, 153)), int(rng.integers(1, 300))
        case = (
            rng.choice([rng.uniform(0.3, 1.8), -rng.uniform(0.5, 1.2), rng.normal(1)]),
            depth,
            10 ** rng.uniform(-4, 0),
            steps,
            rng.choice([1.0, 1.0, 0.5, -1.0, 3.0]),
        )
        scale, _, rate, _, target = case
        word = theory.outcome(scale, depth, rate=rate, steps=steps, target=target)
        if word != simulated_outcome(*case):
            around = {simulated_outcome(*case[:3], steps + d, target) for d in (-1, 1)}
            wrong += [case] if word not in around else []

    assert wrong == []


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (0.5, "trains slow stalls stalls stalls stalls stalls"),
        (0.9, "trains trains trains trains stalls stalls stalls"),
        (1.5, "trains trains diverges diverges diverges diverges diverges"),
    ],
)
def test_the_lesson_comes_out_as_told(scale, words):
    depths = (2, 5, 10, 20, 50, 100, 152)

    outcomes = [theory.outcome(scale, d, rate=0.01, steps=200) for d in depths]

    assert outcomes == words.split()


def test_an_outcome_needs_no_simulation_of_a_billion_steps():
    assert theory.outcome(0.5, 30, rate=0.01, steps=950_000_000) == "stalls"
    assert theory.outcome(0.5, 30, rate=0.01, steps=970_000_000) == "trains"
    assert theory.outcome(0.9, 30, rate=0.06, steps=10**9) == "trains"
    assert theory.outcome(0.9, 30, rate=0.1, steps=10**9) == "slow"
    assert theory.outcome(0.9, 30, rate=0.5, steps=10**9) == "diverges"
    assert theory.outcome(0.9, 1, rate=3.0, steps=10**9) == "diverges"


def test_a_run_needs_all_its_modes_to_train_and_one_to_diverge():
    def outcome(target, scale=0.9):
        return theory.outcome(scale, 4, rate=0.05, steps=400, target=target)

    assert outcome([1.0, 1.0]) == "trains"
    assert outcome([1.0, -1.0]) == "slow"  # one learned, one not: half is left
    assert outcome([1.0] * 4 + [-1.0] * 60, scale=0.3) == "stalls"
    assert outcome([1.0, -1e9]) == "diverges"


def test_a_rotation_is_judged_by_its_complex_modes():
    turn = np.exp([0.25j * np.pi, -0.25j * np.pi])

    assert theory.outcome(0.9, 4, rate=0.05, steps=400, target=turn) == "trains"
    assert theory.outcome(0.9, 4, rate=0.05, steps=10, target=turn) == "slow"
    assert theory.outcome(3.0, 9, rate=0.05, steps=40, target=turn) == "diverges"


def test_the_rule_of_an_outcome_at_its_edges():
    first = [1.0, 1.0, 1.0, 1.0, 5.0, np.nan, 1.0, 0.0]
    last = [0.01, 0.0100001, 1000.0, 1000.1, 0.02, 0.0, np.inf, 0.0]

    outcomes = theory.outcomes_by_loss(first, last, 1.0)

    assert outcomes.tolist() == [
        "trains",
        "slow",
        "stalls",
        "diverges",
        "slow",
        "diverges",
        "diverges",
        "trains",
    ]


# Random layers


@pytest.mark.parametrize("units", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_typical_growth_is_that_of_a_chi_squared_logarithm(units, gain):
    mean, variance = theory.typical_log_growth(units, gain)

    half = mp.mpf(units) / 2
    assert_allclose(mean, float((mp.psi(0, half) + mp.log(gain / half)) / 2))
    assert_allclose(variance, float(mp.psi(1, half) / 4), rtol=1e-12)


@pytest.mark.parametrize("units", [2, 16])
def test_typical_growth_is_that_of_random_layers(units, rng):
    kernels = rng.normal(scale=units**-0.5, size=(20_000, units, units))

    growth = np.log(np.linalg.norm(kernels[:, 0], axis=-1))  # of the input (1, 0, ...)

    mean, variance = theory.typical_log_growth(units)
    assert abs(growth.mean() - mean) < 4 * np.sqrt(variance / 20_000)
    assert_allclose(growth.var(), variance, rtol=0.05)


def test_two_units_lose_half_of_eulers_constant_per_layer():
    assert_allclose(theory.typical_log_growth(2)[0], -np.euler_gamma / 2)


# Refusals

X = [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: theory.closed_form("1", 2, X, X), TypeError, "`scale` must be a fin"),
        (
            lambda: theory.closed_form(1, 0, X, X),
            ValueError,
            "`depth` must be a positive integer. Received: depth=0",
        ),
        (
            lambda: theory.closed_form(1, 2, [1.0], X),
            ValueError,
            r"`x` must be a non-empty table of finite numbers.*x of shape \(1,\)",
        ),
        (
            lambda: theory.closed_form(1, 2, X, [[np.nan], [1]]),
            ValueError,
            "`y` must be a non-empty table of finite numbers",
        ),
        (
            lambda: theory.closed_form(1, 2, X, [[1.0]]),
            ValueError,
            r"`x` and `y` must have the same number of rows.*\(2, 2\), y.*\(1, 1\)",
        ),
        (
            lambda: theory.closed_form(1, 2, X, X, last_kernel=[[1.0]]),
            ValueError,
            r"`last_kernel` must have the shape \(2, 2\).*shape \(1, 1\)",
        ),
        (
            lambda: theory.trajectory(1.0, 1.5, rate=0.1, steps=1),
            ValueError,
            "`depth` must be a positive integer or an array of them. Rec.*=1.5",
        ),
        (
            lambda: theory.trajectory(np.inf, 1, rate=0.1, steps=1),
            ValueError,
            "`scale` must be a finite number or an array of them. Rec.*=inf",
        ),
        (
            lambda: theory.trajectory(1.0, 1, rate=["a"], steps=1),
            ValueError,
            "`rate` must be a finite number or an array",
        ),
        (
            lambda: theory.trajectory(1.0, 1, rate=0.1, steps=1, target=None),
            ValueError,
            "`target` must be a finite number or an array",
        ),
        (
            lambda: theory.trajectory(1.0, 1, rate=0.1, steps=-1),
            ValueError,
            "`steps` must be a non-negative integer",
        ),
        (
            lambda: theory.trajectory([1.0, 2.0], [1, 2, 3], rate=0.1, steps=1),
            ValueError,
            r"must broadcast. Received: shapes \(2,\), \(3,\), \(\), \(\)",
        ),
        (
            lambda: theory.steps_to_learn(1.0, 2, rate=0.0),
            ValueError,
            "`rate` must be a positive, finite number",
        ),
        (
            lambda: theory.steps_to_learn(1.0, 2, rate=1, fraction=1.0),
            ValueError,
            "`fraction` must be below 1. Received: fraction=1.0",
        ),
        (
            lambda: theory.steps_to_learn(1.0, 2, rate=1, fraction=0.0),
            ValueError,
            "`fraction` must be a positive, finite number",
        ),
        (
            lambda: theory.steps_to_learn(1.0, 2, rate=1, target=1j),
            TypeError,
            "`target` must be a finite number",
        ),
        (
            lambda: theory.outcome(1.0, 2, rate=1.0, steps=1.5),
            TypeError,
            "`steps` must be a non-negative integer",
        ),
        (
            lambda: theory.critical_learning_rate(0.0, 2, units=2),
            ValueError,
            "`scale` must be a positive, finite number",
        ),
        (
            lambda: theory.critical_learning_rate(1.0, 2, units=0),
            ValueError,
            "`units` must be a positive integer",
        ),
        (
            lambda: theory.divergence_learning_rate(1.0, 2, units=2, eigenvalue=0),
            ValueError,
            "`eigenvalue` must be a positive, finite number",
        ),
        (
            lambda: theory.divergence_learning_rate(1.0, 2, units=2, target=-1.0),
            ValueError,
            "`target` must be a positive, finite number",
        ),
        (
            lambda: theory.stable_learning_rate(2, units=2, target=0.0),
            ValueError,
            "`target` must be a positive, finite number",
        ),
        (
            lambda: theory.min_trainable_scale(2, rate=1.0, steps=0),
            ValueError,
            "`steps` must be a positive integer",
        ),
        (
            lambda: theory.typical_log_growth(2, 0.0),
            ValueError,
            "`variance_gain` must be a positive, finite number",
        ),
        (
            lambda: theory.typical_log_growth(0),
            ValueError,
            "`units` must be a positive integer",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_limits_of_huge_scales_are_tiny_and_do_not_raise():
    for function in (theory.critical_learning_rate, theory.divergence_learning_rate):
        assert 0 <= function(1e3, 152, units=2) < 1e-300


@pytest.mark.parametrize("depth", [2, 3, 10, 51, 152])
def test_the_scale_that_diverges_is_where_the_outcome_of_a_simulation_turns(depth):
    edge = theory.divergence_scale(depth, rate=0.01)

    def ends(scale):
        with np.errstate(all="ignore"):
            return theory.trajectory(scale, depth, rate=0.01, steps=60)[-1]

    assert np.isfinite(ends(edge * (1 - 1e-6)))
    assert not np.isfinite(ends(edge * (1 + 1e-6)))


def test_one_layer_has_no_scale_that_diverges():
    with pytest.raises(ValueError, match="`depth` must be at least 2"):
        theory.divergence_scale(1, rate=0.1)
