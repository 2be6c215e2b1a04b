import numpy as np
import pytest
from hand_backprop import descend, log10_norm
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import sweeps, theory
from vgkeras.logs import KINDS
from vgkeras.sweeps import lanes, plan, program


def random_stacks(rng, depths, units, outputs, samples=6):
    """Stacks of random kernels near the identity, two by two on the same data."""
    stacks = []
    for index, depth in enumerate(depths):
        if index % 2 == 0:
            x = rng.normal(size=(samples, units))
            y = rng.normal(size=(samples, outputs))
        shapes = [(units, units)] * (depth - 1) + [(units, outputs)]
        kernels = [np.eye(*s) + 0.2 * rng.normal(size=s) for s in shapes]
        stacks.append(sweeps.Stack(kernels, x, y, 0.01 * (1 + index)))
    return stacks


@pytest.mark.parametrize(("units", "outputs"), [(2, 2), (3, 1), (1, 4), (17, 17)])
def test_every_stack_matches_gradient_descent_by_hand(units, outputs, rng):
    stacks = random_stacks(rng, [1, 3, 8, 2, 5], units, outputs)

    traces = sweeps.run_stacks(stacks, steps=4, logged_steps=range(5), dtype="float64")

    for stack, trace in zip(stacks, traces, strict=True):
        rate = float(np.float32(stack.learning_rate))
        history = descend(stack.kernels, stack.x, stack.y, steps=4, learning_rate=rate)
        assert_allclose(trace.losses, [taped["loss"] for taped in history], rtol=1e-10)
        for step, taped in enumerate(history):
            for kind in KINDS:
                columns = trace.statistics[:, step, KINDS.index(kind)]
                norms, largest, means, zeros, broken, *changes = columns
                assert_allclose(norms, [log10_norm(a) for a in taped[kind]], atol=1e-9)
                peaks = [np.log10(np.abs(a).max()) for a in taped[kind]]
                assert_allclose(largest, peaks, atol=1e-9)
                mean = [np.log10(np.abs(a).mean()) for a in taped[kind]]
                assert_allclose(means, mean, atol=1e-9)
                assert_array_equal(zeros, 0)
                assert_array_equal(broken, 0)
                if kind != "weight_gradient":
                    assert np.isnan(changes).all()
                    continue
                norms = [log10_norm(k) for k in taped["kernels"]]
                assert_allclose(changes[1], rate * 10 ** (columns[0] - norms))
                assert_array_equal(changes[0], 0)


def test_the_final_kernels_are_those_of_the_last_update(rng):
    stack = random_stacks(rng, [3], 2, 2)[0]

    kernels = sweeps.run_stacks([stack], steps=1, logged_steps=[], dtype="float64")
    kernels = kernels[0].kernels

    taped = descend(stack.kernels, stack.x, stack.y, steps=0, learning_rate=0.0)[0]
    for after, before, gradient in zip(
        kernels, stack.kernels, taped["weight_gradient"], strict=True
    ):
        assert_allclose(after, before - np.float32(0.01) * gradient, rtol=1e-12)


@pytest.mark.slow
def test_a_stack_does_not_depend_on_its_company(rng):
    stacks = random_stacks(rng, [2, 30, 7, 11, 152, 3], 2, 2)

    together = sweeps.run_stacks(stacks, steps=3, logged_steps=[3])

    for stack, trace in zip(stacks, together, strict=True):
        alone = sweeps.run_stacks([stack], steps=3, logged_steps=[3])[0]
        assert_array_equal(alone.losses, trace.losses)
        assert_array_equal(alone.statistics, trace.statistics)


@pytest.mark.slow
def test_chunks_of_steps_do_not_change_the_numbers(rng, monkeypatch):
    stacks = random_stacks(rng, [3, 5], 2, 2)
    whole = sweeps.run_stacks(stacks, steps=20, logged_steps=[0, 7, 20])

    monkeypatch.setattr(plan, "_MOST_STEPS", 6)
    chunked = sweeps.run_stacks(stacks, steps=20, logged_steps=[0, 7, 20])

    for a, b in zip(whole, chunked, strict=True):
        assert_array_equal(a.losses, b.losses)
        assert_array_equal(a.statistics, b.statistics)
        assert a.statistics.shape == (7, 3, 3, len(a.kernels))


@pytest.mark.slow
def test_statistics_are_written_one_after_the_other_where_the_caller_says(rng):
    stacks = random_stacks(rng, [3, 150, 5], 2, 2)
    whole = lanes.empty_statistics(stacks, 2)

    options = {"steps": 3, "logged_steps": [0, 3]}
    traces = sweeps.run_stacks(stacks, **options, statistics=whole)

    parts = [trace.statistics for trace in traces]
    assert [part.shape for part in parts] == [(7, 2, 3, d) for d in (3, 150, 5)]
    assert all(np.shares_memory(part, whole) for part in parts)
    rows = np.concatenate([part.reshape(7, -1) for part in parts], axis=1)
    assert_array_equal(whole, rows)
    for part, alone in zip(parts, sweeps.run_stacks(stacks, **options), strict=True):
        assert_array_equal(part, alone.statistics)


@pytest.mark.slow
def test_one_compilation_serves_other_scales_rates_data_depths_and_steps(rng):
    x, y = theory.make_data()
    program.compiled_program.cache_clear()

    for scale, rate, depth, steps in [(0.5, 0.1, 20, 3), (1.5, 0.01, 30, 90)]:
        stack = sweeps.Stack([scale * np.eye(2)] * depth, x + scale, y, rate)
        sweeps.run_stacks([stack], steps=steps, logged_steps=[0])

    assert program.compiled_program.cache_info().misses == 1


def test_progress_is_told_and_an_exception_in_it_stops_the_run(rng, monkeypatch):
    monkeypatch.setattr(plan, "_MOST_STEPS", 5)
    reports = []

    def stop_after_ten(done, total):
        reports.append((done, total))
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweeps.run_stacks(
            random_stacks(rng, [2], 2, 2),
            steps=99,
            logged_steps=[],
            progress=stop_after_ten,
        )

    assert reports == [(5, 100), (10, 100)]


@pytest.mark.slow
def test_zero_frozen_and_overflow_are_counted_without_the_padding():
    x, y = np.ones((4, 2)), np.ones((4, 1))
    dead = sweeps.Stack([np.zeros((2, 2)), np.zeros((2, 1))], x, y, 0.1)
    wild = sweeps.Stack([np.full((2, 2), 1e30), np.full((2, 1), 1e30)], x, y, 0.1)

    dead, wild = sweeps.run_stacks([dead, wild], steps=1, logged_steps=[0])

    dead, wild_statistics = (
        {
            kind: dict(zip(lanes.COLUMNS, trace.statistics[:, 0, number], strict=True))
            for number, kind in enumerate(KINDS)
        }
        for trace in (dead, wild)
    )
    assert_array_equal(dead["activation"]["zero_fraction"], [1, 1])
    assert_array_equal(dead["weight_gradient"]["log10_norm"], [-np.inf] * 2)
    assert_array_equal(dead["weight_gradient"]["frozen_fraction"], 1)
    assert_array_equal(wild_statistics["activation"]["nonfinite_fraction"], [0, 1])
    assert wild_statistics["activation"]["log10_norm"][1] == np.inf
    assert wild.losses[0] == np.inf


@pytest.mark.slow
@pytest.mark.parametrize("samples", [7, 64, 1500, 40000])
def test_zeros_and_overflows_of_tensors_of_any_size_are_counted(samples, rng):
    x = rng.choice([0.0, 1.0, -1e30], p=[0.5, 0.3, 0.2], size=(samples, 2))
    stack = sweeps.Stack([np.eye(2), 1e10 * np.eye(2)], x, x, 0.1)

    (trace,) = sweeps.run_stacks([stack], steps=1, logged_steps=[0])

    names = ("log10_norm", "zero_fraction", "nonfinite_fraction")
    columns = [trace.statistics[lanes.COLUMNS.index(name), 0, 1] for name in names]
    norm = 30 + np.log10(np.sqrt((x == -1e30).sum()))
    assert_allclose(columns[0], [norm, np.inf], rtol=1e-6)
    assert_allclose(columns[1], (x == 0).mean())
    assert_allclose(columns[2], [0, (x == -1e30).mean()])


@pytest.mark.slow
def test_an_update_that_overflows_is_infinitely_large(rng):
    x = rng.normal(size=(4, 2))
    stack = sweeps.Stack([1e30 * np.eye(2), np.eye(2)], x, x, 0.1)

    (trace,) = sweeps.run_stacks([stack], steps=1, logged_steps=[0])

    ratio = trace.statistics[lanes.COLUMNS.index("update_ratio"), 0, 0]
    exact = descend(stack.kernels, x, x, steps=0, learning_rate=0.0)[0]
    norm = log10_norm(exact["weight_gradient"][0]) - log10_norm(stack.kernels[0])
    assert_allclose(ratio, [0.1 * 10**norm, np.inf], rtol=1e-5)


def test_an_update_that_is_no_number_is_infinitely_large_and_then_unknown():
    stack = sweeps.Stack([np.eye(2)] * 2, np.full((4, 2), np.nan), np.ones((4, 2)), 0.1)

    (trace,) = sweeps.run_stacks([stack], steps=1, logged_steps=[0, 1])

    ratio = trace.statistics[lanes.COLUMNS.index("update_ratio"), :, 0]
    assert_array_equal(ratio, [[np.inf] * 2, [np.nan] * 2])


def test_lanes_are_packed_without_overlap(rng):
    x, y = theory.make_data()
    depths = rng.integers(1, 152, size=60)
    stacks = [sweeps.Stack([np.eye(2)] * depth, x, y, 0.1) for depth in depths]

    blocks = lanes.packed_blocks(stacks)

    indices, used = [], 0
    for block in blocks:
        layers = np.zeros((block.lanes, block.length), int)
        for index, (lane, first) in block.places.items():
            assert first + depths[index] <= block.length
            layers[lane, first : first + depths[index]] += 1
            indices.append(index)
        assert layers.max() == 1
        used += layers.any(axis=1).sum()
    assert sorted(indices) == list(range(60))
    assert used <= 1.1 * np.ceil(depths.sum() / 152)
