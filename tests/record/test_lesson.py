"""The recorded lesson: a few depths are trained again, theory holds all of them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import logs
from vgkeras.record import lesson
from vgkeras.record.__main__ import main

RECORDING = Path(__file__).parents[2] / "assets" / "lesson.parquet"
EPSILON = np.finfo(np.float32).eps
AGAIN = (2, 10)  # depths


@pytest.fixture(scope="module")
def recorded():
    return logs.load(RECORDING)


@pytest.fixture(scope="module")
def some(recorded):
    return recorded.select(depth=list(AGAIN))


@pytest.fixture(scope="module")
def fresh():
    return lesson.record_lesson(depths=AGAIN)


@pytest.mark.slow
def test_the_recording_says_when_and_with_what_it_was_made(recorded, fresh):
    assert recorded.metadata["command"] == "python -m vgkeras.record lesson"
    assert "tensorflow" in " ".join(recorded.metadata["versions"])
    assert recorded.metadata.keys() == fresh.metadata.keys()


@pytest.mark.slow
def test_the_recording_is_what_a_fresh_run_measures(some, fresh):
    keys = ["depth", "scale", "learning_rate", "steps", "target", "seed", "outcome"]
    assert some.runs[keys].values.tolist() == fresh.runs[keys].values.tolist()

    a, b = some.losses["loss"].to_numpy(), fresh.losses["loss"].to_numpy()
    assert_array_equal(np.isfinite(a), np.isfinite(b))
    # another processor may add in another order: the residual's rounding is the floor
    depth = fresh.losses["run"].map(fresh.runs.set_index("run")["depth"]).to_numpy()
    a, b, depth = (values[np.isfinite(b)] for values in (a, b, depth))
    floor = 2 * np.sqrt(b) * depth * EPSILON
    assert (np.abs(a - b) <= 1e-5 * b + floor).all()


@pytest.mark.slow
def test_the_recorded_norms_are_those_of_a_fresh_run(some, fresh):
    a, b = some.layers, fresh.layers
    assert a[["step", "layer"]].values.tolist() == b[["step", "layer"]].values.tolist()
    assert a["kind"].tolist() == b["kind"].tolist()

    first = (b["step"] == 0) & (b["log10_norm"].abs() < 35)
    assert_allclose(a["log10_norm"][first], b["log10_norm"][first], atol=1e-4)


def path_of_a_layer(scale, depth):
    """The factor `s` of every kernel `s I`, step by step: the gradient by hand."""
    s = np.empty(201)
    s[0] = scale
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(200):
            s[t + 1] = s[t] - 0.01 * s[t] ** (depth - 1) * (s[t] ** depth - 0.5)
    return s


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_recorded_runs_follow_gradient_descent_by_hand(recorded):
    runs = recorded.runs
    grid = [(c, depth) for c in lesson.SCALES for depth in lesson.DEPTHS]
    assert list(runs[["scale", "depth"]].itertuples(index=False, name=None)) == grid
    for run in runs.itertuples():
        losses = recorded.select(run=run.run).losses["loss"].to_numpy()

        gap = np.abs(path_of_a_layer(run.scale, run.depth) ** run.depth - 0.5)
        if run.outcome == "diverges":
            assert not gap[-1] ** 2 < losses[0]
        else:
            assert np.isfinite(losses).all()
            learned = losses[-1] <= 0.01 * min(losses[0], 0.25)
            unmoved = "stalls" if losses[-1] >= 0.9 * losses[0] else "slow"
            assert run.outcome == ("trains" if learned else unmoved)
        finite = np.isfinite(losses)
        error = np.abs(np.sqrt(losses[finite]) - gap[finite])
        assert (error <= 1e-5 * gap[finite] + 4 * run.depth * EPSILON).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_recorded_norms_are_those_of_the_chain_rule(recorded):
    samples, units = 64, 2
    for run in recorded.runs.itertuples():
        rows = recorded.select(run=run.run).layers

        s = path_of_a_layer(run.scale, run.depth)[rows["step"]]
        gap, layer = np.abs(s**run.depth - 0.5), rows["layer"].to_numpy()
        inputs = np.sqrt(samples * units)  # whitened
        norms = {
            "weight_gradient": np.sqrt(units) * s ** (run.depth - 1) * gap,
            "activation": s**layer * inputs,
            "activation_gradient": s ** (run.depth - layer) * gap * 2 / inputs,
        }
        kinds = [rows["kind"] == kind for kind in norms]
        exact = np.log10(np.select(kinds, list(norms.values())))
        # Else out of range, or the rounding of the power shows in the gap.
        sure = (np.abs(exact) < 35) & (run.depth * EPSILON < 1e-4 * gap)
        assert sure[rows["step"] == 0].any()
        error = np.abs(rows["log10_norm"] - exact)[sure]
        # Each update is rounded to half a digit of the weight.
        drift = rows["step"][sure] * run.depth * EPSILON / run.scale / np.log(10)
        assert (error <= 1e-4 + drift / 2).all()


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys, recorded):
    path = tmp_path / "lesson.parquet"
    monkeypatch.setattr(lesson, "record_lesson", lambda: recorded)

    main(["lesson", "--path", str(path)])

    assert logs.load(path).losses.equals(recorded.losses)
    assert "28 runs" in capsys.readouterr().out
