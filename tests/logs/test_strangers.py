import inspect
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hand_made_logs import (
    assert_equal_logs,
    handmade,
    own_log,
    plain,
    saved,
    small_log,
    with_column,
)
from test_reading import COLUMNS, OTHERS, TABLES, VERSION_0_1

from tests.load.damage import damaged_file
from vgkeras import logs
from vgkeras.logs import __main__ as child
from vgkeras.logs import strangers

MOST = 50_000_000
FILE = saved(own_log())
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="The limits are Linux'.")


# --- Through a child -----------------------------------------------------------------


@pytest.mark.parametrize(
    "log", [small_log(theory=small_log()), plain(own_log(runs=3)), own_log()]
)
def test_a_log_comes_out_of_the_child_as_it_was(log):
    restored = logs.load(strangers.rewrite(saved(log), max_bytes=MOST))

    assert_equal_logs(restored, log)
    if log.theory is not None:
        assert_equal_logs(restored.theory, log.theory)


def test_what_comes_out_is_what_save_writes_whatever_the_file_was_like():
    content = VERSION_0_1.read_bytes()

    rewritten = strangers.rewrite(content, max_bytes=MOST)

    assert rewritten == logs.load(content).to_bytes() != content


def test_a_file_that_is_no_log_is_refused_in_the_words_of_load():
    with pytest.raises(ValueError, match="it is no Parquet file, or it is cut") as ours:
        strangers.rewrite(b"<html>", max_bytes=MOST)
    with pytest.raises(ValueError, match="it is no Parquet file") as theirs:
        logs.load(b"<html>")

    assert str(ours.value) == str(theirs.value)
    assert str(ours.value.__cause__) == "it is no Parquet file, or it is cut short"


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


def deep_metadata():
    return {"pairs": {"metadata": b'{"a": [' + b"[]," * 2 * 10**6 + b"[]]}"}}


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("bomb", [many_rows, large_text, repeated_text, deep_metadata])
def test_a_small_file_that_unpacks_to_much_is_refused_before_it_does(bomb):
    content = handmade(**bomb())
    assert len(content) < 20_000_000

    with pytest.raises(
        ValueError,
        match=r"^`source` must be a gradient log of at most 10,000,000 bytes in "
        r"memory\. Received: source=<[\d,]+ bytes> \(it takes too much to be read\)\. ",
    ):
        strangers.rewrite(content, max_bytes=10_000_000)


def test_the_child_is_the_same_wherever_it_starts(tmp_path, monkeypatch):
    (tmp_path / "vgkeras").mkdir()
    (tmp_path / "vgkeras" / "__init__.py").write_text("raise SystemExit('another')")
    monkeypatch.chdir(tmp_path)

    assert_equal_logs(logs.load(strangers.rewrite(FILE, max_bytes=MOST)), own_log())


def test_this_process_decodes_nothing_of_a_strangers_file():
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        strangers.rewrite(FILE, max_bytes=MOST)
    finally:
        pa.set_memory_pool(before)

    assert pool.max_memory() == 0


def test_the_child_loads_no_tensorflow_and_no_streamlit():
    lines = (
        "import vgkeras.logs.__main__, sys",
        "print({'tensorflow', 'keras', 'streamlit'} & {*sys.modules})",
    )
    assert printed("; ".join(lines)) == "set()\n"


def printed(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(os.name == "nt", reason="A shell's script stands for the child.")
@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        ("kill -SEGV $$", "it ends the process that reads it, with code -11"),
        ("kill -KILL $$", "it ends the process that reads it, with code -9"),
        ("exit 1", "it ends the process that reads it, with code 1"),
        pytest.param(
            "exec sleep 60", "it takes more than 1 s to read", marks=pytest.mark.slow
        ),
        ("cat >/dev/null; printf told; exit 3", "told"),
    ],
)
def test_a_child_that_ends_otherwise_is_a_refusal(
    script, trouble, tmp_path, monkeypatch
):
    (tmp_path / "child").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "child").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "child"))

    with pytest.raises(
        ValueError,
        match=r"^`source` must be a whole, undamaged gradient log\. Received: "
        rf"source=<1,000,000 bytes> \({trouble}\)\. Write one with",
    ):
        strangers.rewrite(bytes(10**6), max_bytes=MOST, seconds=0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_bytes": 0}, "`max_bytes` must be a positive integer"),
        ({"max_bytes": -1}, "`max_bytes` must be a positive integer"),
        ({"max_bytes": MOST, "seconds": 0}, "`seconds` must be "),
    ],
)
def test_limits_must_be_positive(wrong, message):
    with pytest.raises(ValueError, match=message):
        strangers.rewrite(b"", **wrong)


# --- Within the child ----------------------------------------------------------------


@pytest.mark.parametrize("case", OTHERS)
def test_the_child_tells_why_a_file_of_another_kind_is_refused(case):
    content, _ = OTHERS[case]

    code, answer = child.reply(content, MOST)

    assert (code, answer.decode()) == (strangers.REFUSED, reason_of_load(content))


@pytest.mark.parametrize("case", [*COLUMNS, *TABLES])
def test_the_child_tells_why_a_file_with_wrong_tables_is_refused(case):
    changes, _ = {**COLUMNS, **TABLES}[case]
    content = handmade(**changes)

    code, answer = child.reply(content, MOST)

    assert (code, answer.decode()) == (strangers.REFUSED, reason_of_load(content))


def test_the_child_has_an_answer_to_any_damage():
    answers = [child.reply(damaged_file(number)[1], MOST) for number in range(160)]

    reasons = [answer.decode() for code, answer in answers if code != 0]
    assert {code for code, _ in answers} == {0, strangers.REFUSED}
    assert all(reason and reason.isprintable() for reason in reasons)
    assert len(reasons) > 100


def reason_of_load(content):
    with pytest.raises(ValueError, match=r"^`source` must be") as error:
        logs.load(content)
    words = str(error.value).partition(" bytes> (")[2]
    return words.removesuffix("). Write one with `log.save(path)`.")


def test_a_log_pays_for_all_its_tables_and_its_metadata_together():
    log = own_log()
    tables = sum(
        table.memory_usage(deep=True).sum()
        for table in (log.runs, log.losses, log.layers)
    )

    assert child.memory(log) > tables
    assert child.memory(log.replace(theory=log)) == 2 * child.memory(log)
    assert child.memory(log.replace(metadata={"a": [[]] * 1000})) > tables + 64_000
    assert child.memory(log.replace(metadata={})) - tables < 1000


def test_a_log_of_more_bytes_than_it_may_take_is_refused():
    log = logs.load(saved(own_log()))

    assert child.reply(saved(log), child.memory(log))[0] == 0
    code, answer = child.reply(saved(log), child.memory(log) - 1)

    assert code == strangers.TOO_LARGE
    assert answer.decode() == f"it takes {child.memory(log):,} bytes"


def within_limits(code, *, max_bytes, seconds):
    """How a process ends that runs some code after it set its limits."""
    lines = [
        "from vgkeras.logs.__main__ import limit",
        f"limit({max_bytes}, {seconds})",
        inspect.cleandoc(code),
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@LINUX
def test_the_child_cannot_take_more_memory_than_it_may():
    most = f"bytes({4 * 10**7 + 2**26 + 2**22})"  # something may be given back

    assert "MemoryError" in within_limits(most, max_bytes=10**7, seconds=60).stderr
    assert within_limits(most, max_bytes=2 * 10**7, seconds=60).returncode == 0


@LINUX
def test_the_child_cannot_take_more_time_than_it_may():
    ended = within_limits("while True: pass", max_bytes=10**7, seconds=1)

    assert ended.returncode == -signal.SIGXCPU


@LINUX
def test_where_memory_is_short_the_child_goes_first():
    code = "print(open('/proc/self/oom_score_adj').read().strip())"

    assert within_limits(code, max_bytes=10**9, seconds=9).stdout == "1000\n"


@LINUX
def test_a_lower_limit_of_the_system_stays():
    code = """
        import resource
        print(resource.getrlimit(resource.RLIMIT_CPU)[0])
        limit(10**8, 10)
        print(resource.getrlimit(resource.RLIMIT_CPU)[0])
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        limit(10**8, 7)
        print(resource.getrlimit(resource.RLIMIT_CPU)[0])
        print(resource.getrlimit(resource.RLIMIT_CORE)[0])
    """
    assert within_limits(code, max_bytes=10**9, seconds=9).stdout == "9\n9\n5\n0\n"
