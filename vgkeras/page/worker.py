"""The processes that make runs for the page: one at work, and one ready to follow it.

TensorFlow is loaded there. The page's own process so stays small, answers while
something compiles, and outlives a run that does not.

A `ProcessPoolExecutor` would not serve here. Its children import the main module, which
Streamlit has replaced by the page. They outlive a server that is killed. And a server
that is asked to end would first wait for the run at work.
"""

import contextlib
import math
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from vgkeras.page.parcel import Task
from vgkeras.page.programs import give_up_oldest

MOST_MEMORY = 600 * 2**20  # private bytes of a worker: then the next one takes over
FAR_TOO_MUCH = 800 * 2**20  # and then it does so even if it is not warm
GRACE = 0.5  # seconds that a run is given to stop
DEAF = 3.0  # seconds after that until a worker is started in its place
_MODULE = ("-P", "-m", "vgkeras.page.worker_process")  # not of this folder
_ROOT = Path(__file__).parents[2]
_PATIENCE = 0.05  # seconds between two looks at what else has happened
_OVER = ("started", "log", "stopped", "failed")  # the last word on a run


class Lost(Exception):
    """The worker's process has ended in the middle of a run, or before one."""


class Worker:
    """A process that makes runs, one at a time; those of `warm_up` come first."""

    def __init__(self, warm_up: Sequence[Task], programs: Path | None) -> None:
        self.is_warm, self._is_lost = threading.Event(), threading.Event()
        self._news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, *_MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(programs),
        )
        self._requests = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)
        threading.Thread(target=self._listen, args=(warm_up,), daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether it can be heard; a process that ends is so a moment longer."""
        return not self._is_lost.is_set()

    @property
    def memory(self) -> int:
        """Private bytes; 0 where there is no /proc to tell, or no process."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        lines = (line.split() for line in status.splitlines())
        return next((int(n[1]) * 1024 for n in lines if n[0] == "RssAnon:"), 0)

    def run(self, task: Task) -> Iterator[tuple[str, Any]]:
        """What is heard of a run until it is over; in between, `("", None)`.

        Raises:
            Lost: If the process ends before the run does.
        """
        self._tell(task)
        what = ""
        while what not in _OVER:
            try:
                what, value = self._news.get(timeout=_PATIENCE)
            except queue.Empty:
                if not self.is_alive and self._news.empty():
                    raise Lost from None
                what, value = "", None
            yield what, value

    def stop(self) -> None:
        """Asks the run at work to stop; `run` says when it is over."""
        self._tell(None)

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._is_lost.set()
        self._process.kill()
        self._process.wait()
        self._requests.close()

    def _tell(self, what: Task | None) -> None:
        letter = pickle.dumps(what)  # what cannot be sent fails here
        try:
            self._requests.write(letter)
            self._requests.flush()
        except (OSError, ValueError) as error:  # it has ended; `end` has closed it
            raise Lost from error

    def _listen(self, warm_up: Sequence[Task]) -> None:
        """Hears the process; of its first answers only that they are there."""
        cold = 1 + len(warm_up)  # the process itself has to start
        with contextlib.suppress(Lost):
            for task in warm_up:
                self._tell(task)
        while True:
            try:
                what, value = pickle.load(self._answers)
            except (EOFError, OSError, pickle.UnpicklingError):
                self._answers.close()
                self._is_lost.set()
                return
            if cold == 0:
                self._news.put((what, value))
            elif what in _OVER:
                cold -= 1
                if cold == 0:
                    self.is_warm.set()


class Workers:
    """The worker, and one that is warmed up beside it to follow it.

    The first one starts with the first run, which does not wait for a warm-up. It is
    followed when it has grown, when a run does not stop, and when it is lost. All of
    this is for one thread, but for `end`; whoever asks for a run is in another one.
    """

    def __init__(
        self, warm_up: Sequence[Task] = (), programs: Path | None = None
    ) -> None:
        self._warm_up, self._programs = warm_up, programs
        self._worker: Worker | None = None
        self._next: Worker | None = None

    @property
    def is_warm(self) -> bool:
        """Whether a run can begin."""
        return self._worker is not None and self._worker.is_warm.is_set()

    def run(
        self, task: Task, is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[str, Any]]:
        """What is heard of a run, which is stopped once nobody wants it any more.

        Raises:
            Lost: If the worker ends before the run does.
        """
        worker = self._warm_worker(is_wanted)
        if worker is None:
            return
        late = math.inf  # when a run that was asked to stop should have stopped
        for news in worker.run(task):
            yield news
            if late == math.inf and not is_wanted():
                worker.stop()
                late = time.monotonic() + GRACE
            if time.monotonic() > late and self._follow_now(late):
                return

    def prepare(self) -> Worker:
        """The worker that follows; it begins to warm up if it is not there."""
        if self._next is not None and not self._next.is_alive:
            self._next.end()
            self._next = None
        self._next = self._next or self._new(self._warm_up)
        return self._next

    def end(self) -> None:
        """Ends the processes."""
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.end()

    def _warm_worker(self, is_wanted: Callable[[], bool]) -> Worker | None:
        """The worker once it is warm; `None` if nobody wants it any more."""
        if self._worker is None:
            self._worker = self._new(())
        if not self._worker.is_alive or self._worker.memory > FAR_TOO_MUCH:
            self._follow(at_once=True)
        elif self._worker.memory > MOST_MEMORY:
            self._follow()
        worker = self._worker
        while is_wanted():
            if worker.is_warm.wait(_PATIENCE):
                return worker
            if not worker.is_alive:
                raise Lost
        return None

    def _follow_now(self, late: float) -> bool:
        """Whether the next worker has taken over from one that does not hear.

        One that is not there is not started at once: a program is sooner compiled.
        """
        wait = 0.0 if self._next is not None else DEAF
        return time.monotonic() > late + wait and self._follow()

    def _follow(self, at_once: bool = False) -> bool:
        """Whether the next worker has taken over; it does once it is warm."""
        following = self.prepare()
        if not at_once and not following.is_warm.is_set():
            return False
        if self._worker is not None:
            self._worker.end()
        self._worker, self._next = following, None
        return True

    def _new(self, warm_up: Sequence[Task]) -> Worker:
        if self._programs is not None:
            give_up_oldest(self._programs)
        return Worker(warm_up, self._programs)


def _environment(programs: Path | None) -> dict[str, str]:
    """The page's, and where modules and compiled programs are found."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    flags = [f"--tf_xla_persistent_cache_directory={programs}"] if programs else []
    flags += filter(None, [os.environ.get("TF_XLA_FLAGS")])
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "MALLOC_ARENA_MAX": "2",  # of glibc: with one a thread it takes 40 MB more
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "TF_XLA_FLAGS": " ".join(flags),
    }
