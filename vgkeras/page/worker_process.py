"""`python -m vgkeras.page.worker_process`: makes runs for the page, one at a time.

The page writes to its standard input: a `Task` for each run, `None` to stop the one at
work. It answers on standard output with `(what, value)`: the progress of a run, the
logs that it hands to a callback, and its log or why there is none. Both are pickled,
since both ends are this program's own. When the page ends, however it ends, so does
this process.
"""

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import vgkeras as vg
from vgkeras.page.parcel import Task, pack

NICENESS = 5  # pages are drawn first


class Stopped(Exception):
    """Nobody waits for this run any more."""


class _Process:
    """The runs, in the main thread; a second one hears what the page has to say."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests, self._answers = requests, answers
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def listen(self) -> None:
        """Until the page has ended: then this process ends, whatever it does."""
        try:
            while True:
                task = pickle.load(self._requests)
                if task is None:
                    self._stopped.set()
                else:
                    self._tasks.put(task)
        except EOFError:
            os._exit(0)
        except Exception:
            traceback.print_exc()
            os._exit(1)

    def work(self) -> None:
        """Makes the runs that were asked for, in turn."""
        self._answer("started", None)
        while True:
            task = self._tasks.get()
            self._stopped.clear()
            self._answer(*self._outcome(task))

    def _outcome(self, task: Task) -> tuple[str, Any]:
        """What became of a task."""
        callbacks = {name: self._callback(name) for name in task.callbacks}
        try:
            # Not a default value: `vg.sweep` loads TensorFlow when it is looked at.
            make = task.make or vg.sweep
            log = make(**task.arguments, **callbacks, progress=self._progress)
            if task.make is None:  # the page has the theory of a sweep itself
                log = log.replace(theory=None)
            return "log", pack(log)
        except Stopped:
            return "stopped", None
        except Exception:
            return "failed", traceback.format_exc()

    def _progress(self, done: int, total: int) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._answer("progress", (done, total))

    def _callback(self, name: str) -> Callable[[vg.GradientLog], None]:
        return lambda log: self._answer("called", (name, pack(log)))

    def _answer(self, what: str, value: Any) -> None:
        pickle.dump((what, value), self._answers)
        self._answers.flush()


def _be_modest() -> None:
    """Lets the page go first: on the processor, and where memory is short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the page
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):  # Linux alone has it, and may forbid it
        Path("/proc/self/oom_score_adj").write_text("1000")


def main() -> None:
    """Serves one page, and ends with it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    _be_modest()
    process = _Process(sys.stdin.buffer, answers)
    threading.Thread(target=process.listen, daemon=True).start()
    process.work()


if __name__ == "__main__":
    main()
