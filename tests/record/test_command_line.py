"""`python -m vgkeras.record`: what it offers, and what it refuses at once."""

import subprocess
import sys

import pytest

from vgkeras.record.__main__ import main


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lesson", ["--path", "assets/lesson.parquet"]),
        ("remedies", ["--path", "assets/remedies.parquet"]),
        ("published", ["--path", "assets/published.json"]),
        ("digits", ["--path", "assets/digits.parquet"]),
        ("recurrent", ["--path", "assets/recurrent.parquet"]),
        ("resnet152", ["assets/resnet152.parquet", "assets/resnet152.png"]),
    ],
)
def test_every_recording_says_where_it_writes(capsys, name, words):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])

    text = capsys.readouterr().out
    assert all(word in text for word in words)


def test_help_loads_neither_tensorflow_nor_pandas():
    code = (
        "import atexit, runpy, sys; sys.argv[1:] = ['--help'];"
        "atexit.register(lambda: print({'keras', 'pandas'} & set(sys.modules)));"
        "runpy.run_module('vgkeras.record', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "usage: python -m vgkeras.record " in done.stdout
    assert done.stdout.endswith("set()\n")


def test_a_folder_that_is_not_there_is_refused_before_minutes_are_spent(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["lesson", "--path", "nowhere/lesson.parquet"])

    assert "argument --path: no such folder: nowhere" in capsys.readouterr().err


def test_defaults_are_refused_too_where_there_are_no_assets(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit, match="2"):
        main(["published"])

    assert "argument --path: no such folder: assets" in capsys.readouterr().err


def test_a_recording_must_be_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])

    assert "required: NAME" in capsys.readouterr().err
