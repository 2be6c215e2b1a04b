"""A sweep over any executor is the serial sweep, to the last bit."""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import (
    BrokenExecutor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import keras
import numpy as np
import pytest
from distributed import Client, LocalCluster
from pandas.testing import assert_frame_equal

from vgkeras import sweeps
from vgkeras.sweeps import executors

SPAWN = multiprocessing.get_context("spawn")
# 130 lanes of 152 layers: sixteen full blocks and one that is not
WIDE = {"scales": np.linspace(0.3, 1.7, 65).tolist(), "depths": [3, 140, 149]}
WIDE |= {"steps": 150, "every": 50}
PARTS = 17


def assert_same_log(a, b):
    for table in ("runs", "losses", "layers"):
        assert_frame_equal(getattr(a, table), getattr(b, table), check_exact=True)
    assert a.metadata == b.metadata
    assert_frame_equal(a.theory.runs, b.theory.runs)


@pytest.fixture(scope="module")
def serial():
    return sweeps.sweep(**WIDE)


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        yield pool


class Remembering(ThreadPoolExecutor):
    """A thread pool that can be asked for what it was given."""

    def __init__(self, workers):
        super().__init__(workers)
        self.futures = []

    def submit(self, *args, **options):
        self.futures.append(super().submit(*args, **options))
        return self.futures[-1]


@pytest.mark.slow
def test_a_thread_pool_gives_the_numbers_of_a_serial_sweep(serial):
    with Remembering(2) as threads:
        assert_same_log(serial, sweeps.sweep(**WIDE, executor=threads))

    assert len(threads.futures) == PARTS


@pytest.mark.slow
def test_processes_give_the_numbers_of_a_serial_sweep(serial, processes):
    assert_same_log(serial, sweeps.sweep(**WIDE, executor=processes))


@pytest.mark.slow
def test_an_initializer_that_cannot_be_pickled_can_be_swept_by_processes(processes):
    class Tilted(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.eye(*shape, dtype=dtype) + 0.1

        def get_config(self):
            return {}

    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Tilted())
    arguments = {"scales": [], "depths": [3, 140, 149], "seed": list(range(30))}
    arguments |= {"initializers": [Tilted()], "steps": 2}

    log = sweeps.sweep(**arguments, executor=processes)

    assert_frame_equal(log.losses, sweeps.sweep(**arguments).losses, check_exact=True)


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker_loses_nothing(serial):
    killed = []

    def kill_a_busy_worker(done, total):
        if 0 < done < total and not killed:
            busy = [at for at, tasks in client.processing().items() if tasks]
            killed.append(pids[busy[0]])
            os.kill(killed[0], signal.SIGKILL)

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        pids = client.run(os.getpid)
        log = sweeps.sweep(
            **WIDE, executor=client.get_executor(), progress=kill_a_busy_worker
        )
        survivors = set(client.run(os.getpid).values())

    assert len(killed) == 1
    assert killed[0] not in survivors
    assert_same_log(serial, log)


@pytest.mark.slow
def test_a_lost_process_is_reported_with_the_way_out():
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        alive = [pool.submit(os.getpid).result()]

        def kill(done, total):
            if alive:
                os.kill(alive.pop(), signal.SIGKILL)

        message = "lost one, or was shut down, with 0 of 17 parts .* Dask cluster can"
        with pytest.raises(BrokenExecutor, match=message) as caught:
            sweeps.sweep(**WIDE, executor=pool, progress=kill)

    assert isinstance(caught.value.__cause__, BrokenExecutor)


@pytest.mark.slow
def test_progress_counts_the_passes_of_finished_parts():
    reports = []
    with ThreadPoolExecutor(2) as threads:
        sweeps.sweep(
            **WIDE, executor=threads, progress=lambda *numbers: reports.append(numbers)
        )

    passes = WIDE["steps"] + 1
    assert reports == sorted(reports)
    assert {done % passes for done, _ in reports} == {0}
    assert {total for _, total in reports} == {PARTS * passes}
    assert reports[-1][0] == PARTS * passes


@pytest.mark.slow
def test_progress_is_told_while_no_part_is_done():
    reports, release = [], threading.Event()

    def count(done, total):
        reports.append((done, total))
        if len(reports) == 3:
            release.set()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(release.wait)  # keeps the only thread
        sweeps.sweep([0.5], [2], steps=1, executor=threads, progress=count)

    assert reports[:3] == [(0, 2)] * 3
    assert reports[-1] == (2, 2)


def test_an_exception_in_progress_cancels_what_has_not_begun():
    release = threading.Event()

    def stop(done, total):
        raise KeyboardInterrupt

    with Remembering(1) as threads:
        threads.submit(release.wait)  # keeps the only thread
        with pytest.raises(KeyboardInterrupt):
            sweeps.sweep(**WIDE, executor=threads, progress=stop)
        cancelled = [future.cancelled() for future in threads.futures]
        release.set()

    assert cancelled == [False] + [True] * PARTS


@pytest.mark.slow
def test_an_exception_in_a_worker_comes_with_its_cause(processes):
    with pytest.raises(pickle.UnpicklingError) as caught:
        executors._gather(processes, [b"rubbish"], lambda done: None)

    assert "in _run_part" in str(caught.value.__cause__)  # the worker's traceback


def test_an_executor_that_is_none_is_refused():
    for wrong in (2, "threads", ThreadPoolExecutor):
        with pytest.raises(TypeError, match=r"`executor` must be a `concurrent.*Dask"):
            sweeps.sweep([0.5], [2], steps=1, executor=wrong)


def test_forked_processes_are_refused_because_tensorflow_hangs_in_them():
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(ValueError, match=r"`executor` must not fork.*\"spawn\""),
    ):
        sweeps.sweep([0.5], [2], steps=1, executor=pool)


def test_a_pool_that_was_shut_down_says_so():
    with ThreadPoolExecutor(1) as threads:
        pass
    with pytest.raises(RuntimeError, match="after shutdown"):
        sweeps.sweep([0.5], [2], steps=1, executor=threads)
