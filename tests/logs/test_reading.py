import base64
import io
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
from hand_made_logs import (
    assert_equal_logs,
    changed,
    handmade,
    own_log,
    parquet,
    plain,
    saved,
    small_log,
    with_column,
)
from pandas.testing import assert_frame_equal

from vgkeras import logs

LESSON = Path(__file__).parents[2] / "assets" / "lesson.parquet"
VERSION_0_1 = Path(__file__).parent / "version_0_1.parquet"
REFUSED = "`source` must be a whole, undamaged gradient log. Received: "


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


def test_a_log_of_version_0_1_is_read_with_the_names_of_today():
    log = logs.load(VERSION_0_1)

    assert pq.read_schema(VERSION_0_1).names == list(logs.LAYER_COLUMNS)
    assert tuple(log.runs.columns) == logs.RUN_COLUMNS
    assert log.runs["outcome"].tolist() == ["stalls", "trains"]
    assert log.theory.runs["outcome"].tolist() == ["stalls"]
    assert log.losses["loss"].iloc[0] == pytest.approx(0.5625, rel=0.3)


def test_a_column_of_ones_own_may_have_a_former_name():
    log = own_log().replace(runs=own_log().runs.assign(verdict="mine"))

    assert_equal_logs(logs.load(log.to_bytes()), log)


def test_a_trained_relu_network_with_biases_comes_back_exactly(tmp_path, rng):
    import keras

    from vgkeras.training import train

    dense = [keras.layers.Dense(4, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((3,)), *dense, keras.layers.Dense(1)])
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 1))
    log = train(model, x, y, steps=3, loss="mse")

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
    "magic_only": (b"PAR1" + bytes(8) + b"PAR1", "its description is damaged: "),
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
    "footer_too_long": (longer_footer(10**6), "its description is damaged: .*smaller"),
    "footer_shifted": (longer_footer(1), "its description is damaged: "),
    "footer_shortened": (longer_footer(-1), "its description is damaged: "),
    "without_start": (
        b"PAR1" + saved(own_log())[400:],
        "Couldn't deserialize|page|CRC",
    ),
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
    "lists": (with_column("layers", "a", pa.array([[1, 2]] * 8)), "'a' must hold"),
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
        "its description is damaged: .*[Ee]xceeded size limit",
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

    with pytest.raises(ValueError, match=r"log\.parquet' \(it is no Parquet") as caught:
        logs.load(tmp_path / "log.parquet")

    assert str(caught.value).endswith("Write one with `log.save(path)`.")


@pytest.mark.parametrize("share", np.linspace(0.02, 0.999, 20))
def test_a_file_cut_short_is_refused(share):
    content = saved(small_log(theory=small_log()))

    with pytest.raises(ValueError, match=re.escape(REFUSED)):
        logs.load(content[: int(len(content) * share)])


@pytest.mark.slow
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


def test_a_file_that_claims_other_rows_than_it_has_is_refused():
    content = saved(own_log(steps=range(40)))  # 160 rows, told by fields of 64 bits
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    rows, more = b"\x16\xc0\x02", b"\x16\xc2\x02"
    assert content[start:].count(rows) > 1
    footer = content[start:].replace(rows, more, 1)

    with pytest.raises(ValueError, match="`layers` has not as many rows as it says"):
        logs.load(content[:start] + footer)


def test_an_error_that_quotes_a_file_stays_one_line_of_letters(tmp_path):
    content = handmade(**changed("runs", run=0.5), pairs={"log": b"\x1b[31m\n\x00<b>"})

    with pytest.raises(ValueError, match="its format is") as error:
        logs.load(content)

    assert str(error.value).isprintable()
