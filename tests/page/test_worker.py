"""The processes that make runs for the page: logs, stops, losses, followers."""

import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st

import vgkeras as vg
from tests.page import fake_runs
from vgkeras.page import programs, worker
from vgkeras.page.parcel import Task, pack, unpack
from vgkeras.page.trainer import AGAIN, LOST, Trainer
from vgkeras.page.worker import Lost, Workers

ROOT = Path(__file__).parents[2]
QUICK = Task(fake_runs.predicted, {"depths": [2]})


@pytest.fixture(scope="module")
def workers():
    both = Workers()
    yield both
    both.end()


def heard(workers, task, is_wanted=lambda: True):
    """All that is heard of a run, but for the time in between."""
    return [news for news in workers.run(task, is_wanted) if news[0]]


def facts(workers):
    """What a quick run says of its process."""
    (_, parcel) = heard(workers, QUICK)[-1]
    return unpack(parcel).metadata


def is_there(pid):
    """Whether the process runs; one that nobody has waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")")[-1].split()[0] != "Z"


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def same(first, second):
    tables = ("runs", "losses", "layers")
    for name in tables:
        pd.testing.assert_frame_equal(
            getattr(first, name), getattr(second, name), check_exact=True
        )


# --- Logs ----------------------------------------------------------------------------


def test_a_log_comes_out_of_its_parcel_to_the_bit():
    log = vg.predict(scales=[0.5, 1.5], depths=[2, 152], steps=3, learning_rate=1.0)
    values = [np.nan, np.inf, -np.inf, -0.0, 5e-324]
    log.layers.loc[:4, "log10_norm"] = values
    log = log.replace(theory=log, metadata={"origin": "here"})

    other = unpack(pack(log))

    same(other, log)
    same(other.theory, log.theory)
    assert np.signbit(other.layers["log10_norm"][3])
    assert other.metadata == {"origin": "here"}


def test_a_run_is_heard_as_it_goes_and_its_log_comes_last(workers):
    task = Task(fake_runs.compared, {"depths": [2, 3]}, ("after_each",))

    news = heard(workers, task)

    assert [what for what, _ in news] == [
        *["progress", "called"] * 2,
        "progress",
        "log",
    ]
    assert [list(unpack(p).runs["depth"]) for what, (_, p) in news[1:4:2]] == [[2], [3]]
    same(unpack(news[-1][1]), vg.predict(scales=[0.9], depths=[2, 3], steps=4))


def test_a_run_that_raises_says_so_and_the_next_one_is_made(workers):
    ((what, text),) = heard(workers, Task(fake_runs.failing, {}))

    assert what == "failed"
    assert "ValueError: `depth` must be a positive integer." in text
    assert facts(workers)["pid"] != os.getpid()


def test_a_worker_imports_neither_the_page_nor_streamlit(monkeypatch, tmp_path):
    """Streamlit puts the page in the place of `__main__`, which spawn imports."""
    page = types.ModuleType("__main__")
    page.__file__ = str(tmp_path / "page.py")
    (tmp_path / "page.py").write_text("raise SystemExit('the page was imported')")
    monkeypatch.setitem(sys.modules, "__main__", page)

    both = Workers()
    said = facts(both)
    both.end()

    assert said["main"].endswith("worker_process.py")
    assert not said["streamlit"]


# --- Stops and losses ----------------------------------------------------------------


def test_a_run_that_nobody_wants_stops_within_half_a_second(workers):
    pid = facts(workers)["pid"]
    begun = time.monotonic()

    news = heard(
        workers,
        Task(fake_runs.reporting, {}),
        lambda: time.monotonic() < begun + 0.2,
    )

    assert news[-1][0] == "stopped"
    assert time.monotonic() - begun < 0.7
    assert facts(workers)["pid"] == pid


@pytest.mark.slow
def test_a_run_that_does_not_stop_is_left_for_the_worker_that_is_ready(workers):
    pid = facts(workers)["pid"]
    workers.prepare().is_warm.wait()
    begun = time.monotonic()

    heard(workers, Task(fake_runs.deaf, {}), lambda: time.monotonic() < begun + 0.1)

    assert 0.1 + worker.GRACE <= time.monotonic() - begun < 0.5 + worker.GRACE
    assert not is_there(pid)
    assert facts(workers)["pid"] != pid


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "is_replaced"), [(1.0, False), (60.0, True)])
def test_no_worker_is_started_for_a_run_that_soon_hears_again(
    monkeypatch, seconds, is_replaced
):
    monkeypatch.setattr(worker, "DEAF", 1.5)
    both = Workers()
    pid = facts(both)["pid"]

    begun = time.monotonic()

    task = Task(fake_runs.deaf, {"seconds": seconds})
    heard(both, task, lambda: time.monotonic() < begun + 0.1)

    assert (facts(both)["pid"] != pid) == is_replaced
    assert both._next is None  # it was not started, or has taken over
    both.end()


def test_a_lost_worker_is_followed_by_another(workers):
    with pytest.raises(Lost):
        heard(workers, Task(fake_runs.always_killed, {}))

    assert is_there(facts(workers)["pid"])


def test_a_worker_that_has_grown_is_followed_once_the_next_one_is_warm(
    workers, monkeypatch
):
    pid = facts(workers)["pid"]
    assert facts(workers)["pid"] == pid
    assert workers._worker.memory > 2**20

    monkeypatch.setattr(worker, "MOST_MEMORY", 2**20)
    pids = [facts(workers)["pid"]]  # this one may still be made by the old one
    wait_until(workers.prepare().is_warm.is_set)
    pids.append(facts(workers)["pid"])

    assert pids[0] == pid
    assert pids[1] != pid
    assert not is_there(pid)


@pytest.mark.slow
def test_a_worker_ends_with_a_page_that_is_killed():
    code = (
        "import time; from tests.page.test_worker import *; "
        "print(facts(Workers())['pid'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as page:
        pid = int(page.stdout.readline())
        assert is_there(pid)
        page.send_signal(signal.SIGKILL)

    wait_until(lambda: not is_there(pid), seconds=5)


# --- With the trainer ----------------------------------------------------------------


@pytest.fixture
def trainer():
    one = Trainer(Workers())
    yield one
    one.end()


def test_a_trainer_that_waits_ends_at_once(trainer):
    time.sleep(0.1)  # its thread has begun to wait
    begun = time.monotonic()

    trainer.end()

    assert time.monotonic() - begun < 1


@pytest.mark.slow
def test_a_trainer_ends_a_run_that_does_not_stop_and_begins_no_worker():
    workers = Workers()
    busy = Trainer(workers, lambda: iter([Task(fake_runs.deaf, {})]))
    wait_until(lambda: workers.is_warm)
    time.sleep(0.5)  # the run has begun
    begun = time.monotonic()

    busy.end()

    assert time.monotonic() - begun < 1
    assert workers._next is None


def test_a_worker_that_has_been_ended_is_lost_to_who_still_speaks_to_it():
    both = Workers()
    ended = both.prepare()
    both.end()

    with pytest.raises(Lost):
        ended.stop()


class Bar:
    """A place on the page that remembers what was written there."""

    def __init__(self):
        self.texts = []

    def progress(self, share, text):
        self.texts.append(text)

    def error(self, text):
        self.texts.append(text)


def test_a_killed_worker_costs_a_visitor_one_sentence_and_a_second_try(
    trainer, tmp_path
):
    bar = Bar()

    run = trainer.log({"path": str(tmp_path / "flag")}, bar, fake_runs.killed_once)

    assert list(run.log.runs["depth"]) == [2]
    assert any(text.startswith(AGAIN) for text in bar.texts)
    assert LOST not in bar.texts


@pytest.mark.slow
def test_a_run_that_always_ends_its_process_is_given_up_in_a_sentence(
    trainer, monkeypatch
):
    def stop():
        raise RuntimeError("Streamlit ends the script here")

    monkeypatch.setattr(st, "stop", stop)
    bar = Bar()

    with pytest.raises(RuntimeError, match="ends the script"):
        trainer.log({}, bar, fake_runs.always_killed)

    assert bar.texts[-1] == LOST
    assert trainer.waiting == 0


@pytest.mark.slow
def test_a_visitor_is_shown_what_is_done_and_the_next_one_gets_it_at_once(trainer):
    depths = []

    def ask():
        return trainer.log(
            {"depths": [2, 3, 5], "seconds": 0.5},
            Bar(),
            fake_runs.compared,
            after_each=lambda log: depths.extend(log.runs["depth"]),
        )

    runs = [ask(), ask()]  # another visitor has another callback

    assert depths[:1] == [2]
    assert depths == sorted(set(depths))
    assert [list(run.log.runs["depth"]) for run in runs] == [[2, 3, 5]] * 2


def test_a_visitor_who_leaves_stops_the_run_and_frees_the_worker(trainer):
    class Leaving(Bar):
        def progress(self, share, text):
            if share:
                raise RuntimeError("Streamlit ends the script here")

    def visit():
        with pytest.raises(RuntimeError):
            trainer.log({}, Leaving(), fake_runs.reporting)

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    begun = time.monotonic()
    trainer.log({"depths": [3]}, Bar(), fake_runs.predicted)

    assert time.monotonic() - begun < 1


@pytest.mark.slow
def test_a_worker_computes_the_numbers_of_this_process_to_the_bit(tmp_path):
    settings = {"scales": [0.5, 1.5], "depths": [2, 50], "steps": 70, "every": 25}
    log = vg.sweep(**settings)

    workers = Workers(programs=tmp_path)
    parcels = [heard(workers, Task(None, settings))[-1][1]]
    workers._worker.end()  # its successor finds the program in the cache
    parcels.append(heard(workers, Task(None, settings))[-1][1])
    workers.end()

    assert [*tmp_path.iterdir()]
    for parcel in parcels:
        same(unpack(parcel), log)


# --- Compiled programs ---------------------------------------------------------------


def test_compiled_programs_are_of_one_user_one_machine_and_one_version(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = programs.folder()
    monkeypatch.setattr(programs, "version", lambda package: "another")

    assert own.stat().st_mode & 0o777 == 0o700
    assert own.is_relative_to(tmp_path)
    assert programs.folder() != own


def test_a_page_without_a_folder_for_programs_does_without(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert programs.folder() is None


def test_the_oldest_programs_are_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "MOST", 2)
    for age in (3, 1, 2):
        (tmp_path / f"{age}").touch()
        os.utime(tmp_path / f"{age}", (0, 1000 - age))

    programs.give_up_oldest(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}
