import base64
import io
import json
import pickle
import random
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from vgkeras import logs
from vgkeras.logs import schema, writing

LESSON = Path(__file__).parents[2] / "assets" / "lesson.parquet"
REFUSED = "`source` must be a whole, undamaged gradient log. Received: "


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
        "outcome": "stalls",
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

    def interrupted(writer, table, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pq.ParquetWriter, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_log(scale=0.9).save(path)

    assert path.read_bytes() == written
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


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


def test_replace_leaves_the_log_itself_alone():
    log = small_log()

    other = log.replace(runs=log.runs.assign(outcome="trains"))

    assert log.runs["outcome"].item() == "stalls"
    assert other.runs["outcome"].item() == "trains"
    assert other.losses is log.losses


def test_a_log_shows_how_many_runs_did_what():
    assert repr(small_log()) == "<GradientLog: 1 run (1 stalls)>"


def test_a_notebook_shows_the_runs_with_their_outcomes():
    shown = small_log(theory=small_log())._repr_html_()

    assert shown.count("<tr>") == 2
    assert "<td>c = 0.5</td>" in shown
    assert "<td>stalls</td>" in shown
    assert "1 run, 3 rows of layers at 2 steps (weight gradient, activation, " in shown
    assert "with theory. Origin: by hand." in shown


def test_a_notebook_shows_the_name_of_a_model_of_ones_own():
    shown = own_log()._repr_html_()

    assert "<td>mlp</td>" in shown
    assert "<td>not judged</td>" in shown
    assert "Versions: keras 3.15.1." in shown


def test_a_notebook_shows_no_more_than_ten_runs():
    shown = own_log(runs=13)._repr_html_()

    assert shown.count("<tr>") == 1 + 10
    assert "Not shown: 3 more runs." in shown


def test_a_notebook_shows_no_markup_out_of_a_log():
    bad = "<script>&'\""
    runs = own_log().runs.assign(initializer=bad, optimizer=bad, dtype=bad, outcome=bad)
    metadata = {"origin": bad, "versions": {bad: bad}}

    shown = own_log().replace(runs=runs, metadata=metadata)._repr_html_()

    assert shown.count("&lt;script&gt;&amp;&#x27;&quot;") == 4 + 3
    assert re.findall(r"<(?!/)(\w+)", shown).count("script") == 0


def test_what_a_notebook_shows_takes_the_colours_of_light_and_dark():
    shown = own_log()._repr_html_()

    assert "color" not in shown
    assert "background" not in shown


@pytest.mark.parametrize(
    "metadata", [{}, {"origin": 7}, {"versions": ["x"]}, {"model": None}]
)
def test_a_notebook_shows_logs_of_unknown_origin_too(metadata):
    shown = own_log().replace(metadata=metadata)._repr_html_()

    assert "1 run, 8 rows of layers" in shown


def test_a_long_story_is_cut_short_in_a_notebook():
    shown = own_log().replace(metadata={"origin": "x" * 10**5})._repr_html_()

    assert len(shown) < 2500


# --- Logs of somebody's own model ----------------------------------------------------


def own_log(steps=(0, 5), runs=1):
    """A log as of a callback in `model.fit`: what is unknown is empty, 0 or NaN."""
    row = {
        "depth": 2,
        "units": 0,
        "output_units": 0,
        "scale": np.nan,
        "initializer": "",
        "optimizer": "adam",
        "learning_rate": 0.001,
        "steps": steps[-1],
        "dtype": "mixed_float16",
        "target": "",
        "samples": 0,
        "seed": -1,
        "loss_zero": np.nan,
        "outcome": "",
    }
    names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    layers = [
        {
            "run": run,
            "step": step,
            "layer": 1 + place // 2,
            "name": name,
            "kind": "weight_gradient",
            "log10_norm": np.nan if place == 3 else -place - step / 10,
            **dict.fromkeys(("log10_max", "log10_mean"), -3.0),
            **dict.fromkeys(("zero_fraction", "nonfinite_fraction"), 0.0),
            **dict.fromkeys(("frozen_fraction", "update_ratio"), np.nan),
            "size": 64 if place % 2 == 0 else 8,
        }
        for run in range(runs)
        for step in steps
        for place, name in enumerate(names)
    ]
    losses = [(run, step, 1.0 / (1 + step)) for run in range(runs) for step in steps]
    return logs.GradientLog(
        pd.DataFrame([{"run": run, **row} for run in range(runs)]),
        pd.DataFrame(losses, columns=["run", "step", "loss"]),
        pd.DataFrame(layers).astype({"name": "category", "kind": "category"}),
        {
            "origin": "measured by vgkeras.GradientLogger in model.fit",
            "model": "mlp",
            "versions": {"keras": "3.15.1"},
            "epochs": [[0, 0], [1, 3]],
        },
    )


def plain(log):
    """A log whose words are no categories: an empty table has none."""
    return log.replace(layers=log.layers.astype({"name": "str", "kind": "str"}))


def saved(log):
    """The bytes of the file that a log is saved as."""
    buffer = io.BytesIO()
    writing.write_log(log, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "log",
    [
        own_log(),
        own_log(runs=3),
        plain(own_log()).select(run=7),
        logs.concat([small_log(), own_log()]),
        plain(own_log()).replace(layers=plain(own_log()).layers.iloc[:0]),
        own_log().replace(losses=own_log().losses.iloc[:0]),
        own_log().replace(layers=pd.DataFrame(columns=list(logs.LAYER_COLUMNS))),
        own_log().replace(metadata={"ünï": [1, None, {"a": [1.5, "<b>"]}]}),
        own_log().replace(runs=own_log().runs.assign(note="mine", fine=True)),
        plain(own_log()),
        own_log().replace(layers=own_log().layers.astype({"log10_max": "float32"})),
        small_log(np.nan, small_log()),
    ],
)
def test_every_kind_of_log_comes_back_exactly(log):
    restored = logs.load(saved(log))

    assert_equal_logs(restored, log)
    if log.theory is not None:
        assert_equal_logs(restored.theory, log.theory)


def test_a_trained_relu_network_with_biases_comes_back_exactly(tmp_path, rng):
    import keras

    from vgkeras.training import train

    dense = [keras.layers.Dense(4, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((3,)), *dense, keras.layers.Dense(1)])
    log = train(model, rng.normal(size=(8, 3)), rng.normal(size=(8, 1)), steps=3)

    log.save(tmp_path / "log.parquet")

    assert log.layers["name"].str.endswith("/bias").sum() == 4 * 3
    assert_equal_logs(logs.load(tmp_path / "log.parquet"), log)


def test_the_recorded_lesson_is_read_as_pandas_reads_it():
    assert_frame_equal(logs.load(LESSON).layers, pd.read_parquet(LESSON))


def test_a_log_is_read_from_a_path_a_file_and_bytes(tmp_path):
    log = own_log()
    log.save(tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()

    with (tmp_path / "log.parquet").open("rb") as file:
        assert_equal_logs(logs.load(file), log)
    for source in (
        str(tmp_path / "log.parquet"),
        content,
        bytearray(content),
        memoryview(content),
        io.BytesIO(content),
    ):
        assert_equal_logs(logs.load(source), log)


def test_a_file_in_text_mode_is_refused():
    with pytest.raises(TypeError, match=r"binary mode\. Received: StringIO that reads"):
        logs.load(io.StringIO("text"))


def test_what_is_no_file_is_refused():
    with pytest.raises(TypeError, match=r"path, a binary file or bytes\. Received: li"):
        logs.load([1])


def test_theory_within_theory_is_not_saved(tmp_path):
    log = small_log(theory=small_log(theory=small_log()))

    with pytest.raises(ValueError, match="`theory` must not hold a theory of its own"):
        log.save(tmp_path / "log.parquet")


# --- Files that are not to be believed -----------------------------------------------


def parquet(table):
    """A table as Parquet, written by pyarrow alone."""
    buffer = io.BytesIO()
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    # Without the schema, words come back as plain text however they are kept.
    plain = "note" in table.column_names
    pq.write_table(table, buffer, compression="zstd", store_schema=not plain)
    return buffer.getvalue()


def handmade(log=None, *, theory=None, leave_out="", pairs=None, **tables):
    """A log's file as version 0.1 wrote it, without checksum, with parts replaced."""
    log = log or own_log()
    found = {
        name: tables.get(name, getattr(log, name)) for name in schema.REQUIRED_COLUMNS
    }
    parts = {
        "log": b"1",
        "metadata": json.dumps(log.metadata).encode(),
        "runs": base64.b64encode(parquet(found["runs"])),
        "losses": base64.b64encode(parquet(found["losses"])),
        **({} if theory is None else {"theory": base64.b64encode(theory)}),
        **(pairs or {}),
    }
    parts.pop(leave_out, None)
    layers = found["layers"]
    if not isinstance(layers, pa.Table):
        layers = pa.Table.from_pandas(layers, preserve_index=False)
    extra = {f"vgkeras.{name}": value for name, value in parts.items()}
    return parquet(layers.replace_schema_metadata(extra))


def changed(table, **columns):
    """Another table of the own log: columns replaced, or left out (`None`)."""
    frame = getattr(own_log(), table)
    dropped = [name for name, value in columns.items() if value is None]
    kept = {name: value for name, value in columns.items() if value is not None}
    return {table: frame.drop(columns=dropped).assign(**kept)}


def with_column(table, name, values):
    """The own log's table with one column of any Arrow type."""
    arrow = pa.Table.from_pandas(getattr(own_log(), table), preserve_index=False)
    place = arrow.schema.get_field_index(name)
    if place < 0:
        return {table: arrow.append_column(name, values)}
    return {table: arrow.set_column(place, name, values)}


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("log.parquet", saved(own_log()))
    return buffer.getvalue()


def feather():
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(own_log().layers, buffer)
    return buffer.getvalue()


def rewritten(old, new):
    """A sound file with some bytes replaced by as many others."""
    content = saved(own_log())
    assert content.count(old) == 1
    assert len(old) == len(new)
    return content.replace(old, new)


def longer_footer(by):
    """A sound file that says that its footer is longer than it is."""
    content = saved(own_log())
    (length,) = struct.unpack("<I", content[-8:-4])
    return content[:-8] + struct.pack("<I", length + by) + content[-4:]


OTHERS = {
    "empty": (b"", "it is no Parquet file, or it is cut short"),
    "text": (b"not a table", "it is no Parquet file"),
    "page": (b"<html><script>alert(1)</script></html>", "it is no Parquet file"),
    "magic": (b"PAR1", "it is no Parquet file"),
    "magic_twice": (b"PAR1PAR1", "it is no Parquet file"),
    "magic_only": (b"PAR1" + bytes(8) + b"PAR1", "not one that pyarrow wrote"),
    "zeros": (bytes(1000), "it is no Parquet file"),
    "encrypted": (saved(own_log())[:-4] + b"PARE", "it is no Parquet file"),
    "pickle": (pickle.dumps(own_log().runs), "it is no Parquet file"),
    "zip": (archive(), "it is no Parquet file"),
    "feather": (feather(), "it is no Parquet file"),
    "csv": (own_log().layers.to_csv().encode(), "it is no Parquet file"),
    "other_table": (parquet(pd.DataFrame({"a": [1]})), "but no gradient log"),
    "layers_alone": (parquet(own_log().layers), "but no gradient log"),
    "other_writer": (
        rewritten(b"parquet-cpp-arrow", b"parquet-mr versio"),
        "not one that pyarrow wrote",
    ),
    "footer_too_long": (longer_footer(10**6), "its footer is longer than the file"),
    "footer_shifted": (longer_footer(1), "not one that pyarrow wrote"),
    "footer_shortened": (longer_footer(-1), "not one that pyarrow wrote"),
    "without_start": (b"PAR1" + saved(own_log())[400:], "its pages|a page|CRC|its des"),
}
COLUMNS = {
    "no_step": (changed("layers", step=None), "`layers` lacks step"),
    "no_outcome": (changed("runs", outcome=None), "`runs` lacks outcome"),
    "no_loss": (changed("losses", loss=None), "`losses` lacks loss"),
    "nan_run": (changed("runs", run=np.nan), "'run' must hold integers, not double"),
    "text_run": (changed("runs", run="0"), "'run' must hold integers, not "),
    "nan_run_below": (changed("layers", run=np.nan), "'run' must hold integers"),
    "float_step": (changed("losses", step=0.5), "'step' must hold integers"),
    "number_name": (changed("layers", name=1), "'name' must hold text, not int64"),
    "text_norm": (changed("layers", log10_norm="1"), "'log10_norm' must hold numbers"),
    "text_loss": (changed("losses", loss="nan"), "'loss' must hold numbers"),
    "bool_scale": (changed("runs", scale=True), "'scale' must hold numbers, not bool"),
    "text_size": (changed("layers", size="8"), "'size' must hold numbers"),
    "time": (
        changed("runs", when=pd.Timestamp(0)),
        "'when' must hold numbers, truth values or text, not timestamp",
    ),
    "list": (with_column("layers", "a", pa.array([[1]] * 8)), "'a' must hold numbers"),
    "lists": (with_column("layers", "a", pa.array([[1, 2]] * 8)), "as many values as"),
    "struct": (with_column("layers", "a", pa.array([{"b": 1}] * 8)), "'a' must hold"),
    "null_run": (
        with_column("runs", "run", pa.array([None], pa.int64())),
        "`runs`: column 'run' has empty fields",
    ),
    "null_name": (
        with_column("layers", "name", pa.array([None] * 8, pa.string())),
        "`layers`: column 'name' has empty fields",
    ),
    "untyped": (
        with_column("layers", "log10_max", pa.nulls(8)),
        "'log10_max' has empty fields",
    ),
    "bytes_name": (
        with_column("layers", "name", pa.array([b"\xff"] * 8)),
        "'name' must hold text, not binary",
    ),
    "number_categories": (
        with_column("layers", "name", pa.array([1] * 8).dictionary_encode()),
        "'name' must hold text, not int64",
    ),
    "twin": (
        {"losses": pa.table([pa.array([0])] * 4, ["run", "step", "loss", "loss"])},
        "`losses` has two columns of one name",
    ),
    "many": (
        {"runs": own_log().runs.assign(**{f"c{n}": 0 for n in range(60)})},
        "lists more than 64 parts",
    ),
    "negative_step": (changed("layers", step=-1), "'step' must hold counts of 0 to"),
    "late_step": (changed("losses", step=2**60), "'step' must hold counts of 0 to"),
    "unsigned": (changed("runs", depth=np.uint64(2**64 - 1)), "counts of 0 to 9,007"),
    "long_name": (changed("layers", name="x" * 1001), "text of more than 1000 letters"),
}
TABLES = {
    "unknown_kind": (changed("layers", kind="<b>"), "the unknown kind '<b>'; known ar"),
    "foreign_layers": (changed("layers", run=4), "`layers` has a run that table `runs"),
    "foreign_losses": (changed("losses", run=4), "`losses` has a run that table `runs"),
    "twin_runs": (
        {"runs": pd.concat([own_log().runs] * 2)},
        "two runs of one number",
    ),
    "no_runs": ({"leave_out": "runs"}, "it lacks its runs"),
    "no_losses": ({"leave_out": "losses"}, "it lacks its losses"),
    "no_metadata": ({"leave_out": "metadata"}, "it lacks its metadata"),
    "format_2": ({"pairs": {"log": b"2"}}, "its format is b'2', and this version"),
    "runs_no_base64": ({"pairs": {"runs": b"?"}}, "base64"),
    "runs_no_parquet": (
        {"pairs": {"runs": base64.b64encode(b"no table" * 3)}},
        "it is no Parquet file",
    ),
    "runs_swapped": ({"runs": own_log().losses}, "`runs` lacks depth"),
    "metadata_list": ({"pairs": {"metadata": b"[]"}}, "its metadata is no dictionary"),
    "metadata_text": ({"pairs": {"metadata": b"{'a': 1}"}}, "Expecting property name"),
    "metadata_deep": ({"pairs": {"metadata": b"[" * 10**5}}, "recursion"),
    "metadata_digits": (
        {"pairs": {"metadata": b'{"a": ' + b"9" * 5000 + b"}"}},
        "limit",
    ),
    "metadata_not_utf8": ({"pairs": {"metadata": b'{"\xff": 1}'}}, "utf-8"),
    "checksum": ({"pairs": {"crc32": b"1"}}, "its checksum is not that of its tables"),
    "theory_text": ({"theory": b"theory"}, "it is no Parquet file"),
    "theory_table": ({"theory": parquet(own_log().layers)}, "but no gradient log"),
    "theory_of_others": (
        {"theory": handmade(own_log(runs=2))},
        "`theory` has a run that table `runs` has not",
    ),
    "theory_in_theory": (
        {"theory": handmade(theory=handmade())},
        "it holds theory within theory",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_file_of_another_kind_is_refused(case):
    content, trouble = OTHERS[case]

    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED)}.*({trouble})"):
        logs.load(content)


@pytest.mark.parametrize("case", [*COLUMNS, *TABLES])
def test_a_file_with_wrong_tables_is_refused(case):
    changes, trouble = {**COLUMNS, **TABLES}[case]

    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED)}.*({trouble})"):
        logs.load(handmade(**changes))


def test_the_same_file_without_changes_is_read():
    assert_equal_logs(logs.load(handmade()), own_log())
    assert_equal_logs(logs.load(handmade(theory=handmade())).theory, own_log())


def test_a_refusal_names_the_file_and_the_way_out(tmp_path):
    (tmp_path / "log.parquet").write_text("not a table")

    with pytest.raises(ValueError, match=r"log\.parquet' \(it is no Parquet") as told:
        logs.load(tmp_path / "log.parquet")

    assert str(told.value).endswith("Write one with `log.save(path)`.")


@pytest.mark.parametrize("kept", np.linspace(0.02, 0.999, 20))
def test_a_file_cut_short_is_refused(kept):
    content = saved(small_log(theory=small_log()))

    with pytest.raises(ValueError, match=re.escape(REFUSED)):
        logs.load(content[: int(len(content) * kept)])


def test_a_flipped_bit_is_refused_or_changes_nothing():
    """Among these are files on which pyarrow's own view of columns ends the process."""
    log, draw = own_log(), random.Random(0)
    content = saved(log)
    (footer,) = struct.unpack("<I", content[-8:-4])
    places = [draw.randrange(len(content)) for _ in range(200)]
    places += [draw.randrange(len(content) - footer, len(content)) for _ in range(200)]
    refused = 0

    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        try:
            restored = logs.load(bytes(damaged))
        except ValueError:
            refused += 1
            continue
        # Words may come back as plain text instead of categories, not otherwise.
        restored.layers = restored.layers.astype(log.layers.dtypes)
        assert_equal_logs(restored, log)

    assert refused > 300


def peak_of(act):
    """The most memory that pyarrow takes from the system during an act, in bytes."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        act()
    finally:
        pa.set_memory_pool(before)
    return pool.max_memory()


def many_rows():
    row = own_log().layers.iloc[[0]].astype({"name": "str", "kind": "str"})
    return {"layers": row.iloc[np.zeros(2_000_000, int)].reset_index(drop=True)}


def large_text():
    """120 MB of one letter, in a page of some kilobytes."""
    text = pa.array(["x" * 120_000_000, *"abcdefg"], pa.large_string())
    return with_column("layers", "name", text)


def repeated_text():
    """A text of 10 kB in each of 50,000 rows, which the file holds once."""
    place = pa.array(np.zeros(50_000, "int32"))
    text = pa.DictionaryArray.from_arrays(place, ["x" * 10_000])
    numbers = dict.fromkeys(("run", "step", "loss"), place)
    return {"losses": pa.table({**numbers, "note": text})}


@pytest.mark.parametrize("bomb", [many_rows, large_text, repeated_text])
def test_a_small_file_that_unpacks_to_much_is_refused_before_it_does(bomb):
    content = handmade(**bomb())
    assert len(content) < 2_000_000

    def act():
        with pytest.raises(
            ValueError,
            match=r"`source` must be a gradient log of at most 100,000,000 bytes in "
            r"memory\. Received: source=<[\d,]+ bytes> \(it takes .* bytes or more\)",
        ):
            logs.load(content, max_bytes=100_000_000)

    assert peak_of(act) < 50_000_000


def test_a_file_larger_than_its_log_may_be_is_not_read_to_its_end():
    endless = EndlessFile()

    with pytest.raises(ValueError, match=r"at most 5,000 bytes .*takes 5,001 bytes"):
        logs.load(endless, max_bytes=5000)

    assert endless.given == 5001


class EndlessFile:
    given = 0

    def read(self, size):
        self.given += size
        return bytes(size)


def test_metadata_that_unpacks_to_much_is_refused():
    content = handmade(pairs={"metadata": b'{"a": [' + b"[]," * 10**5 + b"[]]}"})

    with pytest.raises(ValueError, match="at most 5,000,000 bytes in memory"):
        logs.load(content, max_bytes=5_000_000)


def test_a_log_pays_for_its_file_and_for_all_its_tables_together():
    plain, with_theory = handmade(), handmade(theory=handmade())

    assert least_that_opens(plain) > len(plain) + 20 * 1000  # pages of the layers
    assert least_that_opens(with_theory) > 2 * least_that_opens(plain)


def least_that_opens(content):
    """The smallest `max_bytes`, in thousands, with which a log is opened."""
    for most in range(1000, 10**6, 1000):
        try:
            logs.load(content, max_bytes=most)
        except ValueError:
            continue
        return most


@pytest.mark.parametrize("most", [0, -1])
def test_a_limit_must_be_positive(most):
    with pytest.raises(ValueError, match="`max_bytes` must be a positive integer"):
        logs.load(b"", max_bytes=most)
