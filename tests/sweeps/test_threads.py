"""Tasks in threads: results, progress, failure and stop."""

import os
import threading
import time

import pytest

from vgkeras.sweeps import threads
from vgkeras.sweeps.threads import side_by_side


def ignored(done):
    pass


def test_results_come_in_the_order_of_the_tasks_whichever_ends_first(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    ended = [threading.Event() for _ in range(4)]

    def task(number):
        assert ended[number + 1].wait(10)  # those of higher numbers end first
        ended[number].set()
        return number

    ended[3].set()
    tasks = [lambda report, number=number: task(number) for number in range(3)]

    assert side_by_side(tasks, ignored) == [0, 1, 2]


def test_the_caller_s_thread_is_told_of_all_work_so_far():
    heard = []

    def task(report):
        report(2)
        report(3)

    side_by_side(
        [task] * 5, lambda done: heard.append((done, threading.current_thread()))
    )

    numbers, threads = zip(*heard, strict=True)
    assert set(threads) == {threading.current_thread()}
    assert len(numbers) == 10
    assert list(numbers) == sorted(set(numbers))
    assert numbers[-1] == 25


def test_no_more_tasks_run_at_a_time_than_there_are_processors(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    running, most, lock = [], [], threading.Lock()

    def task(report):
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.01)
        with lock:
            running.pop()

    side_by_side([task] * 6, ignored)

    assert max(most) == 2


def test_an_exception_of_tell_ends_running_tasks_and_begins_no_others(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    begun, ended = [], []

    def task(report):
        begun.append(1)
        try:
            for _ in range(2000):
                report(1)
                time.sleep(0.005)
        finally:
            ended.append(1)

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side([task] * 6, stop)

    assert 1 <= len(begun) == len(ended) <= 2
    assert not [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_an_exception_of_a_task_ends_the_others_and_is_raised(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    ended = []

    def endless(report):
        try:
            while True:
                report(1)
                time.sleep(0.005)
        finally:
            ended.append(1)

    def broken(report):
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        side_by_side([endless, broken], ignored)

    assert ended == [1]


def test_no_tasks_have_no_results():
    assert side_by_side([], ignored) == []


def test_processors_are_those_of_the_process_up_to_eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert threads.processors() == 3

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert threads.processors() == 8

    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.processors() == 1
