import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from vgkeras import logs


def small_log(scale=0.5, theory=None):
    runs = {
        "run": 0,
        "depth": 1,
        "units": 2,
        "output_units": 2,
        "scale": scale,
        "initializer": "",
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "steps": 1,
        "dtype": "float32",
        "target": "identity",
        "samples": 4,
        "seed": 0,
        "loss_zero": 1.0,
        "verdict": "stalls",
    }
    layers = {
        "run": 0,
        "step": [0, 0, 1],
        "layer": 1,
        "name": pd.Categorical(["dense_1/kernel", "dense_1", "dense_1"]),
        "kind": pd.Categorical(list(logs.KINDS)),
        "log10_norm": [-300.0, -np.inf, np.inf],
        "log10_max": [-300.5, -np.inf, np.inf],
        "zero_fraction": [0.0, 1.0, 0.0],
        "nonfinite_fraction": [0.0, 0.0, 0.5],
        "frozen_fraction": [1.0, np.nan, np.nan],
        "update_ratio": [1e-300, np.nan, np.nan],
    }
    losses = {"run": 0, "step": [0, 1], "loss": [1.0, np.nan]}
    return logs.GradientLog(
        pd.DataFrame([runs]),
        pd.DataFrame(losses),
        pd.DataFrame(layers),
        {"origin": "by hand", "arguments": {"seed": 0}},
        theory,
    )


def assert_equal_logs(left, right):
    for table in ("runs", "losses", "layers"):
        assert_frame_equal(getattr(left, table), getattr(right, table))
    assert left.metadata == right.metadata


def test_the_columns_that_came_later_may_be_absent():
    log = small_log()

    assert not set(logs.OPTIONAL_COLUMNS) & set(log.layers.columns)
    assert set(logs.OPTIONAL_COLUMNS) < set(logs.LAYER_COLUMNS)


def test_a_log_comes_back_from_its_file_exactly(tmp_path):
    log = small_log(theory=small_log())

    log.save(tmp_path / "log.parquet")
    restored = logs.load(tmp_path / "log.parquet")

    assert_equal_logs(restored, log)
    assert_equal_logs(restored.theory, log.theory)


def test_pandas_opens_the_file_as_the_layers_table(tmp_path):
    log = small_log()

    log.save(tmp_path / "log.parquet")

    assert_frame_equal(pd.read_parquet(tmp_path / "log.parquet"), log.layers)


def test_an_interrupted_save_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "log.parquet"
    small_log(scale=0.5).save(path)
    written = path.read_bytes()

    def interrupted(table, file, **options):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(logs.pq, "write_table", interrupted)
    monkeypatch.setattr(logs, "_encoded", lambda table: b"")
    with pytest.raises(KeyboardInterrupt):
        small_log(scale=0.9).save(path)

    assert path.read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


def test_a_missing_column_is_named():
    log = small_log()

    with pytest.raises(ValueError, match="`losses` must have the columns run, step"):
        logs.GradientLog(log.runs, log.losses.drop(columns="loss"), log.layers)


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    (tmp_path / "log.parquet").write_text("not a table")

    with pytest.raises(ValueError, match="`path` must be a complete Parquet file"):
        logs.load(tmp_path / "log.parquet")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, kept):
    path = tmp_path / "log.parquet"
    small_log().save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])

    with pytest.raises(ValueError, match="`path` must be a complete Parquet file"):
        logs.load(path)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")

    with pytest.raises(ValueError, match="`path` must be a gradient log that this"):
        logs.load(tmp_path / "other.parquet")


def test_a_log_with_damaged_tables_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(logs, "_encoded", lambda table: b"damaged")
        small_log().save(tmp_path / "log.parquet")

    with pytest.raises(ValueError, match="`path` must be an undamaged gradient log"):
        logs.load(tmp_path / "log.parquet")


def test_a_missing_file_stays_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        logs.load(tmp_path / "none.parquet")


def test_concat_numbers_the_runs_anew_and_keeps_theory():
    joined = logs.concat([small_log(0.5, small_log(0.5)), small_log(0.9)])

    assert joined.runs["run"].tolist() == [0, 1]
    assert joined.runs["scale"].tolist() == [0.5, 0.9]
    assert joined.losses["run"].tolist() == [0, 0, 1, 1]
    assert joined.layers["run"].tolist() == [0, 0, 0, 1, 1, 1]
    assert joined.theory.runs["run"].tolist() == [0]
    assert joined.layers["kind"].dtype == "category"


def test_concat_of_nothing_is_refused():
    with pytest.raises(ValueError, match="`logs` must not be empty"):
        logs.concat([])


def test_select_keeps_the_rows_of_the_chosen_runs():
    joined = logs.concat([small_log(0.5), small_log(0.9)])

    chosen = joined.select(scale=0.9, depth=[1, 2])

    assert chosen.runs["run"].tolist() == [1]
    assert set(chosen.losses["run"]) == set(chosen.layers["run"]) == {1}


def test_select_names_an_unknown_column():
    with pytest.raises(ValueError, match="`conditions` must name columns of `runs`"):
        small_log().select(scales=0.9)


def test_theory_is_worked_out_when_it_is_first_used():
    asked = []

    def predict():
        asked.append(1)
        return small_log(0.9)

    log = small_log().replace(theory=predict)
    assert not asked

    assert log.theory.runs["scale"].item() == log.theory.runs["scale"].item() == 0.9
    assert asked == [1]


def test_replace_leaves_the_log_itself_alone():
    log = small_log()

    other = log.replace(runs=log.runs.assign(verdict="trains"))

    assert log.runs["verdict"].item() == "stalls"
    assert other.runs["verdict"].item() == "trains"
    assert other.losses is log.losses


def test_a_log_shows_how_many_runs_did_what():
    assert repr(small_log()) == "<GradientLog: 1 run (1 stalls)>"
