"""Tasks side by side, watched and stopped from the thread that asked for them."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")
_MOST = 8  # threads: a container may see more processors than it is given time on


def side_by_side(
    tasks: Sequence[Callable[[Callable[[int], None]], Result]],
    progress: Callable[[int], Any],
) -> list[Result]:
    """Runs tasks in threads, as many at a time as `processors` says.

    Args:
        tasks: Each is called with a function to call as it gets on, with the amount
            of work it has done since it last did.
        progress: Called in the caller's thread with the work done by all of them so
            far. An exception it raises ends each task where that next reports.

    Returns:
        What the tasks return, in their order. If one of them fails, the others end as
        well and its exception is raised.
    """
    news: queue.SimpleQueue[int | Future[Result]] = queue.SimpleQueue()
    stopped = threading.Event()

    def report(work: int) -> None:
        if stopped.is_set():
            raise _Stopped
        news.put(work)

    with ThreadPoolExecutor(max(1, min(len(tasks), processors()))) as pool:
        futures = [pool.submit(task, report) for task in tasks]
        for future in futures:
            future.add_done_callback(news.put)
        try:
            _watch(news, len(tasks), progress)
        finally:
            stopped.set()
            for future in futures:
                future.cancel()
    return [future.result() for future in futures]


def processors() -> int:
    """How many processors this process may use, `_MOST` at most."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST, len(os.sched_getaffinity(0)))
    return min(_MOST, os.cpu_count() or 1)


class _Stopped(Exception):
    """Ends a task; nobody waits for its result any more."""


def _watch(
    news: queue.SimpleQueue, running: int, progress: Callable[[int], Any]
) -> None:
    """Waits for all tasks, and raises what one of them raises."""
    done = 0
    while running:
        item = news.get()
        if isinstance(item, Future):
            item.result()
            running -= 1
        else:
            done += item
            progress(done)
