"""The recorded recurrent networks: how they were made, and that fresh runs agree."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vgkeras import logs
from vgkeras.record import recurrent
from vgkeras.record.live import measured_network

RECORDING = Path(__file__).parents[2] / "assets" / "recurrent.parquet"


@pytest.fixture(scope="module")
def recorded():
    return logs.load(RECORDING)


def cells_of(log):
    rows = log.runs[list(recurrent.Cell._fields)].itertuples(index=False)
    return [recurrent.Cell(*row) for row in rows]


def test_the_recording_holds_its_cells_and_says_how_it_was_made(recorded):
    cells = cells_of(recorded)

    assert set(cells) <= set(recurrent.CELLS)
    assert len(set(cells)) == len(cells)
    assert {cell.network for cell in cells} == set(recurrent.NETWORKS)
    assert recorded.metadata["command"] == "python -m vgkeras.record recurrent"
    assert RECORDING.stat().st_size < 200_000 * len(recurrent.SEEDS)


def test_every_run_is_measured_at_each_time_step_before_and_after(recorded):
    inputs = recorded.layers[recorded.layers["kind"] == "input_gradient"]

    counts = inputs.groupby(["run", "step"])["time"].nunique().reset_index()
    lengths = recorded.runs.set_index("run")["length"]
    assert (counts["time"] == counts["run"].map(lengths)).all()
    assert (counts.groupby("run")["step"].nunique() == 2).all()
    right = recorded.runs["accuracy"] * 500
    assert_allclose(right, right.round(), atol=1e-9)


def test_the_tasks_ask_for_the_beginning_of_a_sequence():
    rng = np.random.default_rng(0)
    x, y = recurrent.latch(20, 400, rng)
    numbers, sums = recurrent.adding(20, 400, rng)

    assert (np.sign(x[:, :3].sum(axis=(1, 2))) == y[:, 0]).all()
    assert abs(np.corrcoef(x[:, 3:, 0].mean(axis=1), y[:, 0])[0, 1]) < 0.15
    marked = [row[row[:, 1] == 1, 0] for row in numbers]
    assert_allclose(
        0.5 + np.array([m.sum() for m in marked]) / 4, sums[:, 0], rtol=1e-5
    )
    assert {len(m) for m in marked} == {2}
    assert (numbers[:, :10, 1].sum(axis=1) == 1).all()
    assert recurrent.share_right("adding", sums, sums + 0.03) == 1
    assert recurrent.share_right("adding", sums, sums + 0.05) == 0
    assert recurrent.share_right("latch", y, 0.1 * y) == 1


@pytest.mark.slow
def test_a_fresh_fit_says_what_is_recorded(recorded):
    cell = recurrent.Cell(0, "latch", 10, "SimpleRNN")
    row = recorded.runs.iloc[cells_of(recorded).index(cell)]

    fresh = recurrent.fit_recurrent(cell)

    assert fresh.runs["accuracy"][0] == pytest.approx(row["accuracy"], abs=0.02)
    old = recorded.layers[
        (recorded.layers["run"] == row["run"]) & (recorded.layers["step"] == 0)
    ]
    new = fresh.layers[fresh.layers["step"] == 0]
    assert_allclose(new["log10_norm"], old["log10_norm"], atol=0.01)


@pytest.mark.slow
def test_a_network_is_measured_live_the_same_each_time():
    reports = []

    logs_ = [
        measured_network("GRU", "adding", 12, progress=lambda *at: reports.append(at))
        for _ in range(2)
    ]

    first, second = (log.layers["log10_norm"] for log in logs_)
    assert_allclose(first, second, atol=0.002)
    assert reports[:2] == [(0, 1), (1, 1)]
