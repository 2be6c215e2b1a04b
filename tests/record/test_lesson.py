from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import logs, record
from vgkeras.record import lesson

RECORDING = Path(__file__).parents[2] / "assets" / "lesson.parquet"
EPSILON = np.finfo(np.float32).eps


@pytest.fixture(scope="module")
def recorded():
    return logs.load(RECORDING)


@pytest.fixture(scope="module")
def fresh():
    return lesson.record_lesson()


def test_the_recording_says_when_and_with_what_it_was_made(recorded):
    assert set(recorded.metadata) >= {"recorded", "command", "versions", "platform"}
    assert "tensorflow" in " ".join(recorded.metadata["versions"])
    assert recorded.metadata["command"].startswith("python -m vgkeras.record")


def test_the_recording_is_what_a_fresh_run_measures(recorded, fresh):
    keys = ["run", "depth", "scale", "learning_rate", "steps", "target", "seed"]
    assert recorded.runs[keys].equals(fresh.runs[keys])
    assert recorded.runs["outcome"].tolist() == fresh.runs["outcome"].tolist()

    a, b = recorded.losses["loss"].to_numpy(), fresh.losses["loss"].to_numpy()
    assert_array_equal(np.isfinite(a), np.isfinite(b))
    # another processor may add in another order: the residual's rounding is the floor
    depth = fresh.losses["run"].map(fresh.runs.set_index("run")["depth"]).to_numpy()
    a, b, depth = (values[np.isfinite(b)] for values in (a, b, depth))
    floor = 2 * np.sqrt(b) * depth * EPSILON
    assert (np.abs(a - b) <= 1e-5 * b + floor).all()


def test_the_recorded_norms_are_those_of_a_fresh_run(recorded, fresh):
    a, b = recorded.layers, fresh.layers
    assert a[["run", "step", "layer"]].equals(b[["run", "step", "layer"]])
    assert a["kind"].tolist() == b["kind"].tolist()

    first = (b["step"] == 0) & (b["log10_norm"].abs() < 35)
    assert_allclose(a["log10_norm"][first], b["log10_norm"][first], atol=1e-4)


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys, recorded):
    path = tmp_path / "lesson.parquet"
    monkeypatch.setattr(record, "record_lesson", lambda: recorded)
    monkeypatch.setattr("sys.argv", ["record", str(path)])

    lesson.main()

    assert logs.load(path).losses.equals(recorded.losses)
    assert "21 runs" in capsys.readouterr().out
