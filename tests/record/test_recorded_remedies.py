"""The recorded remedies: how they were made, and that a fresh run says the same."""

from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from vgkeras import logs, remedies
from vgkeras.record import remedies as recorder
from vgkeras.record.__main__ import main

RECORDING = Path(__file__).parents[2] / "assets" / "remedies.parquet"
NAMES = ["Scaled identity", "Orthogonal", "Clipping by norm 1"]


@pytest.fixture(scope="module")
def recorded():
    return logs.load(RECORDING)


def test_the_recording_holds_every_remedy(recorded):
    assert tuple(recorded.runs["remedy"].unique()) == remedies.NAMES
    for _, own in recorded.runs.groupby("remedy"):
        assert own["depth"].tolist() == [2, 10, 50, 152] * 5
        assert own["seed"].nunique() == 5


@pytest.mark.slow
def test_a_fresh_recording_says_the_same(recorded):
    fresh = recorder.record_remedies(NAMES)

    origin, there = fresh.metadata, recorded.metadata
    assert origin.keys() == there.keys()
    assert origin["command"] == there["command"] == "python -m vgkeras.record remedies"
    assert origin["arguments"] == there["arguments"]
    shipped = recorded.select(remedy=NAMES)
    here, some = remedies.table(fresh), remedies.table(shipped)
    counts = ["remedy", "depth", "runs", "trains", "slow", "stalls", "diverges"]
    assert here[counts].equals(some[counts])
    medians = ["loss_median", "gradient_median"]
    assert_allclose(here[medians], some[medians], atol=0.05)
    # Run by run where rounding has not grown yet.
    a, b = (log.select(depth=[2, 10]) for log in (fresh, shipped))
    assert a.runs["outcome"].tolist() == b.runs["outcome"].tolist()
    first, second = (log.losses.query("step == 0")["loss"] for log in (a, b))
    assert_allclose(first.to_numpy(), second.to_numpy(), rtol=1e-4)


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys, recorded):
    path, some = tmp_path / "remedies.parquet", recorded.select(remedy=NAMES)
    monkeypatch.setattr(recorder, "record_remedies", lambda: some)

    main(["remedies", "--path", str(path)])

    assert logs.load(path).losses.equals(some.losses)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == list(remedies.table(some).columns)
    assert len(lines) == 1 + 3 * 4
