"""The recorded digits: how they were made, and that fresh fits say the same."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from vgkeras import logs, remedies
from vgkeras.record import digits
from vgkeras.record.__main__ import main

RECORDING = Path(__file__).parents[2] / "assets" / "digits.parquet"
# It ends in a jump of its loss, and how far that goes hangs on the last bit.
JUMPS = digits.Cell(0, "relu", 10, "He")
AGAIN = (
    JUMPS,
    digits.Cell(0, "relu", 10, "Layer normalization"),
    digits.Cell(0, "tanh", 5, "Small random weights"),
    digits.Cell(0, "relu", 5, "Recipe of today"),
)


@pytest.fixture(scope="module")
def recorded():
    return logs.load(RECORDING)


def test_the_recording_holds_every_cell_and_says_how_it_was_made(recorded):
    cells = digits.cells_of(recorded)

    assert sorted(cells) == sorted(digits.CELLS)
    assert len(cells) == 2 * 6 * 10 * len(digits.SEEDS)  # activations, depths, remedies
    facts = recorded.metadata
    assert facts["command"] == "python -m vgkeras.record digits"
    assert "tensorflow" in " ".join(facts["versions"])
    assert facts["seconds"] > 100
    assert RECORDING.stat().st_size < 300_000


def test_every_run_logs_all_layers_at_its_first_and_last_step(recorded):
    layers = recorded.layers.groupby(["run", "step"])["layer"]
    depths = recorded.runs.set_index("run")["depth"]

    counts = layers.nunique().unstack()
    assert counts.columns.tolist() == [0, 439]  # 20 epochs of 22 batches
    for step in counts:
        assert (counts[step] == depths).all()
    # 450 unseen digits, so shares of 450
    read = recorded.runs["test_accuracy"] * 450
    assert_allclose(read, read.round(), atol=0.03)


def test_small_weights_lose_the_gradient_by_a_factor_a_layer(recorded):
    table = remedies.digits_table(recorded)
    small = table[table["remedy"] == "Small random weights"]

    for activation, slope in (
        # a ReLU keeps half of the square, tanh of small numbers all of it
        ("relu", np.log10(0.05 * np.sqrt(64 / 2))),
        ("tanh", np.log10(0.05 * np.sqrt(64))),
    ):
        own = small[small["activation"] == activation].set_index("depth")
        lost = own["gradient_median"][50] - own["gradient_median"][10]
        assert_allclose(lost / 40, slope, rtol=0.1)


@pytest.mark.slow
def test_it_loads_without_tensorflow_and_scikit_learn():
    code = (
        "import sys; import vgkeras as vg;"
        f"log = vg.load({str(RECORDING)!r}); vg.charts.digits_panels(log);"
        "vg.remedies.digits_sentence(log);"
        "print({'tensorflow', 'keras', 'sklearn'} & set(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize("cell", AGAIN)
def test_a_fresh_fit_says_the_same(recorded, cell):
    keras.utils.set_random_seed(1234)  # of somebody else: decides nothing here

    fresh = digits.fit_digits(cell, digits.load_digits())

    there = recorded.select(**cell._asdict())
    names = ["depth", "units", "initializer", "optimizer", "learning_rate", "steps"]
    assert fresh.runs[names].values.tolist() == there.runs[names].values.tolist()
    # another processor adds in another order: a digit or two of 450 may differ
    accuracies = ["test_accuracy", "train_accuracy"]
    both = fresh.losses.merge(there.losses, on="step")  # fewer are recorded
    same = np.allclose(both["loss_x"], both["loss_y"], rtol=0.01)
    if same or cell != JUMPS:
        assert_allclose(fresh.runs[accuracies], there.runs[accuracies], atol=0.02)
    a, b = (log.layers.query("step == 0") for log in (fresh, there))
    assert_allclose(a["log10_norm"], b["log10_norm"], atol=2e-3)


@pytest.mark.slow
def test_the_digits_are_split_the_same_way_each_time():
    a, b = digits.load_digits(), digits.load_digits()

    assert all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))
    assert (len(a.x), len(a.unseen_x)) == (1347, 450)
    assert_allclose([a.x.mean(), a.x.std()], [0, 1], atol=1e-5)
    # no digit is in both parts
    seen = {row.tobytes() for row in a.x}
    assert sum(row.tobytes() in seen for row in a.unseen_x) == 0


def test_an_epoch_shows_each_digit_once_in_an_order_of_its_own():
    data = digits.Digits(np.arange(10), -np.arange(10), np.arange(0), np.arange(0))

    def epochs(seed):
        batches = digits.Batches(data, 4, seed)
        for _ in range(2):
            pairs = [batches[i] for i in range(len(batches))]
            assert [len(x) for x, _ in pairs] == [4, 4, 2]
            assert all((x == -y).all() for x, y in pairs)
            yield np.concatenate([x for x, _ in pairs]).tolist()
            batches.on_epoch_end()

    first, second = epochs(0)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    assert [first, second] == list(epochs(0)) != list(epochs(1))


def fit_by_hand(cell, data):
    """A log of one run, made at once."""
    runs = logs.run_table(depth=cell.depth)
    runs = runs.assign(**cell._asdict(), test_accuracy=0.5, seconds=2.0)
    losses = pd.DataFrame({"run": 0, "step": range(30), "loss": 1.0})
    layers = pd.DataFrame(columns=list(logs.LAYER_COLUMNS))
    layers = layers.astype({"run": int, "step": int, "layer": int})
    return logs.GradientLog(runs, losses, layers)


def test_an_interrupted_recording_goes_on_where_it_was(tmp_path, monkeypatch):
    path, cells, fitted = tmp_path / "digits.parquet", list(digits.CELLS[:4]), []

    def fit(cell, data):
        if len(fitted) == 2:
            fitted.append("interrupted")
            raise KeyboardInterrupt
        fitted.append(cell)
        return fit_by_hand(cell, data)

    monkeypatch.setattr(digits, "fit_digits", fit)
    with pytest.raises(KeyboardInterrupt):
        digits.record_digits(path, cells)
    assert not path.exists()

    log = digits.record_digits(path, cells)

    assert fitted == [*cells[:2], "interrupted", *cells[2:]]
    assert digits.cells_of(log) == digits.cells_of(logs.load(path)) == cells
    assert log.metadata["seconds"] == 8
    assert log.select(run=0).losses["step"].tolist() == [0, 22, 29]  # of an epoch one
    assert [file.name for file in tmp_path.iterdir()] == ["digits.parquet"]


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys):
    def record(path):
        written.append(Path(path).name)
        return "what was recorded"

    written = []
    monkeypatch.setattr(digits, "record_digits", record)

    main(["digits", "--path", str(tmp_path / "digits.parquet")])

    assert written == ["digits.parquet"]
    assert "what was recorded" in capsys.readouterr().out
