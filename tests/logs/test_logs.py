import os
import re
import stat
import threading

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hand_made_logs import assert_equal_logs, own_log, small_log
from pandas.testing import assert_frame_equal

from vgkeras import logs


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

    def interrupted(writer, table, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pq.ParquetWriter, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_log(scale=0.9).save(path)

    assert path.read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes.")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_has_the_mode_that_the_umask_gives(tmp_path, mask):
    before = os.umask(mask)
    try:
        small_log().save(tmp_path / "log.parquet")
    finally:
        os.umask(before)

    assert mode_of(tmp_path / "log.parquet") == 0o666 & ~mask


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes.")
def test_saving_leaves_the_files_of_other_threads_alone(tmp_path, monkeypatch):
    """The umask is the process's: to look at it is to change it for every thread."""
    paths = (tmp_path / f"file{number}" for number in range(100))
    made = [touched(next(paths))]

    def elsewhere():
        made.append(touched(next(paths)))

    def with_another_thread(act):
        def acted(*arguments):
            result = act(*arguments)
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            return result

        return acted

    for name in ("umask", "fsync", "open", "replace", "chmod"):
        monkeypatch.setattr(os, name, with_another_thread(getattr(os, name)))
    small_log().save(tmp_path / "log.parquet")
    monkeypatch.undo()

    assert len(made) > 1
    assert len({mode_of(path) for path in made}) == 1


def touched(path):
    path.open("x").close()
    return path


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_column_is_named():
    log = small_log()

    with pytest.raises(ValueError, match="`losses` must have the columns run, step"):
        logs.GradientLog(log.runs, log.losses.drop(columns="loss"), log.layers)


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


def test_a_selection_leaves_theory_to_who_looks_at_it():
    calls = []

    def predict():
        calls.append("theory")
        return small_log()

    log = small_log().replace(theory=predict).select(run=0)

    assert not calls
    assert log.theory.runs["run"].tolist() == [0]
    assert log.theory is log.theory
    assert calls == ["theory"]


def test_replace_leaves_the_log_itself_alone():
    log = small_log()

    other = log.replace(runs=log.runs.assign(outcome="trains"))

    assert log.runs["outcome"].item() == "stalls"
    assert other.runs["outcome"].item() == "trains"
    assert other.losses is log.losses


def test_a_log_shows_how_many_runs_did_what():
    assert repr(small_log()) == "<GradientLog: 1 run (1 stalls)>"
    unknown = small_log().runs.assign(outcome="")
    assert repr(small_log().replace(runs=unknown)) == "<GradientLog: 1 run>"


def rows_of(html):
    """The rows of a table below its headings."""
    return re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2], re.DOTALL)


def test_a_notebook_shows_the_runs_with_their_outcomes():
    html = small_log(theory=small_log())._repr_html_()

    assert len(rows_of(html)) == 1
    assert "<th>outcome</th>" in html
    assert "<td>c = 0.5</td>" in html
    assert "<td>stalls</td>" in html
    assert "1 run, 3 rows of layers at 2 steps (weight gradient, activation, " in html
    assert "with theory. Origin: by hand." in html


def test_a_notebook_shows_the_name_of_a_model_of_ones_own():
    html = own_log()._repr_html_()

    assert "<td>mlp</td>" in html
    assert "<td>not judged</td>" in html
    assert "Versions: keras 3.15.1." in html


def test_a_notebook_shows_no_more_than_ten_runs():
    html = own_log(runs=13)._repr_html_()

    assert len(rows_of(html)) == 10
    assert "Not shown: 3 more runs." in html


def test_a_notebook_shows_no_markup_out_of_a_log():
    bad = "<script>&'\""
    runs = own_log().runs.assign(initializer=bad, optimizer=bad, dtype=bad, outcome=bad)
    metadata = {"origin": bad, "versions": {bad: bad}}

    html = own_log().replace(runs=runs, metadata=metadata)._repr_html_()

    table, _, below = html.partition("</table>")
    assert table.count("<td>&lt;script&gt;&amp;'\"</td>") == 4
    assert below.count("&lt;script&gt;&amp;&#x27;&quot;") == 3
    assert "script" not in re.findall(r"<(?!/)(\w+)", html)


def test_a_notebook_cuts_long_names_short():
    runs = own_log().runs.assign(optimizer="x" * 1000, outcome="y" * 1000)
    html = own_log().replace(runs=runs)._repr_html_()

    assert f"<td>{'x' * 39}…</td>" in html
    assert f"<td>{'y' * 39}…</td>" in html


def test_a_notebook_shows_a_log_without_runs():
    html = own_log().select(run=7)._repr_html_()

    assert rows_of(html) == []
    assert "<th>optimizer</th>" in html
    assert "0 runs, 0 rows of layers" in html


def test_what_a_notebook_shows_takes_the_colours_of_light_and_dark():
    html = own_log()._repr_html_()

    assert "color" not in html
    assert "background" not in html


@pytest.mark.parametrize(
    "metadata", [{}, {"origin": 7}, {"versions": ["x"]}, {"model": None}]
)
def test_a_notebook_shows_logs_of_unknown_origin_too(metadata):
    html = own_log().replace(metadata=metadata)._repr_html_()

    assert "1 run, 8 rows of layers" in html


def test_a_long_story_is_cut_short_in_a_notebook():
    html = own_log().replace(metadata={"origin": "x" * 10**5})._repr_html_()

    assert len(html) < 2500
