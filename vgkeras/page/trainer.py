"""The server's one trainer: a live run at a time, shared by all who ask for it."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings
from vgkeras.page.durations import Durations
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import DEFAULTS
from vgkeras.page.parcel import Parcel, Task, unpack
from vgkeras.page.programs import folder
from vgkeras.page.recent import Recent
from vgkeras.page.worker import Lost, Workers

MOST_WAITING = 30  # runs in the queue
MOST_BYTES = 6_000_000  # of the logs of the last runs, packed
MOST_OPEN = 2  # of them that are unpacked
MOST_TRIES, MOST_LOSSES = 3, 10  # of a run whose worker is lost, in it or at any time
LIVE = ":material/bolt: **Run live** on this server"
LOADING = "Starting TensorFlow…"
STARTING = "Starting; a program for a new shape is compiled first…"
AGAIN = "The process that made this run has ended; it is made once more. "
LOST = (
    f"The process that made this run has ended {MOST_TRIES} times. Take fewer or "
    "smaller networks, or try again in a minute."
)
_PATIENCE = 0.2  # seconds between two reports to a visitor; that is how one leaves
_IDLE = 2.0  # seconds without a run until the trainer looks ahead: a page is drawn

_ONE: Settings = {**DEFAULTS, "scales": [0.9], "steps": 1}
# Programs are compiled for networks of up to 8, 32 and 152 layers.
WARM_UP = (Task(None, {**DEFAULTS, "steps": 1}), Task(None, {**_ONE, "depths": [50]}))


class Run:
    """A run that is made once, for all the visitors who wait for it."""

    def __init__(self, name: str, task: Task) -> None:
        self.name, self.task = name, task
        self.visitors = 0
        self.begun = 0.0  # by the clock of `time.monotonic`, once it has
        self.share = 0.0  # that is done
        self.calls: dict[str, Parcel] = {}  # the last call of each callback
        self.tries, self.losses = 0, 0  # once it has begun, and at all
        self.log: Parcel | None = None
        self.failure = ""
        self.is_over = threading.Event()

    @property
    def is_wanted(self) -> bool:
        return self.visitors > 0

    def hear(self, what: str, value: Any) -> None:
        """Takes down what a worker says."""
        if what == "progress":
            done, total = value
            self.share = done / total
        elif what == "called":
            name, parcel = value
            self.calls[name] = parcel
        elif what == "log":
            self.log = value
        elif what == "failed":
            self.failure = value


class Trainer:
    """A queue of runs, the thread that has them made, and the logs of the last ones.

    Visitors see their place in the queue. One who leaves or moves a control is noticed
    at the next report: that is a Streamlit call, and Streamlit ends the script there.
    A run that nobody waits for any more is stopped.
    """

    def __init__(
        self, workers: Workers, ahead: Callable[[], Iterator[Task]] = lambda: iter(())
    ) -> None:
        self._workers = workers
        self._ahead = ahead()  # runs that make others quicker
        self._queue: list[Run] = []  # the first one is at work
        self._changed = threading.Condition()  # of the queue
        self._durations = Durations()
        self._logs: Recent[Parcel] = Recent(MOST_BYTES)
        self._open: Recent[vg.GradientLog] = Recent(MOST_OPEN)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        atexit.register(self.end)

    @property
    def waiting(self) -> int:
        """How many runs are at work or wait."""
        return len(self._queue)

    def log(
        self,
        settings: Settings,
        bar: Any,
        make: Callable | None = None,
        **callbacks: Callable,
    ) -> NamedLog:
        """The log of `make`, `vg.sweep` if it is not said, with these arguments.

        `make` is a function of a module: another process imports it. It takes
        `progress` and the names of `callbacks`, which get logs and play no part in
        what comes out.
        """
        name = _name(settings, make)
        parcel = self._logs.get(name)
        if parcel is None:
            task = Task(make, settings, tuple(callbacks))
            parcel = self._wait(self._join(name, task, bar), bar, callbacks)
        return NamedLog(name, lambda: self._unpacked(name, parcel, settings, make))

    def end(self) -> None:
        """Ends the processes, whatever they do, and the thread."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._workers.end()  # the thread would wait for the run at work
        self._thread.join()
        self._workers.end()  # one that it began meanwhile

    def holds(self, settings: Settings) -> bool:
        """Whether `log` has the runs of `vgkeras.sweep` at hand."""
        return self._logs.get(_name(settings, None)) is not None

    def _unpacked(
        self, name: str, parcel: Parcel, settings: Settings, make: Callable | None
    ) -> vg.GradientLog:
        log = self._open.get(name)
        if log is None:
            log = unpack(parcel)
            if make is None:  # worked out when it is first looked at
                log = log.replace(theory=lambda: vg.predict(**settings))
            self._open.put(name, log)
        return log

    # --- What visitors do, each in a thread of their own -----------------------------

    def _join(self, name: str, task: Task, bar: Any) -> Run:
        """The run of that name in the queue, or a new one at its end."""
        with self._changed:
            run = next((run for run in self._queue if run.name == name), None)
            if run is None and self.waiting < MOST_WAITING:
                run = Run(name, task)
                self._queue.append(run)
                self._changed.notify()
            if run is not None:
                run.visitors += 1
                return run
        bar.warning(
            f"{MOST_WAITING} runs are waited for. Come back in a minute, or look at "
            "what is recorded: the lecture's setting."
        )
        st.stop()

    def _wait(self, run: Run, bar: Any, callbacks: dict[str, Callable]) -> Parcel:
        """Reports to one visitor until the run is over."""
        latest: dict[str, Parcel] = {}
        try:
            while True:
                bar.progress(run.share, self._report(run))
                for name, callback in callbacks.items():
                    parcel = run.calls.get(name)
                    if parcel is not None and parcel is not latest.get(name):
                        callback(unpack(parcel))
                        latest[name] = parcel
                if run.is_over.wait(_PATIENCE):
                    break
        finally:
            self._leave(run)
        if run.failure:
            raise RuntimeError(run.failure)
        if run.log is None:
            bar.error(LOST)
            st.stop()
        return run.log

    def _leave(self, run: Run) -> None:
        with self._changed:
            run.visitors -= 1
            if not run.is_wanted and run in self._queue:
                self._queue.remove(run)

    def _report(self, run: Run) -> str:
        again = AGAIN if run.tries else ""
        if run.share:
            return f"{again}Training: {run.share:.0%}. Move a control to stop it."
        with self._changed:
            queue = [*self._queue]
        place = queue.index(run) if run in queue else 0
        if place == 0:
            return again + (STARTING if self._workers.is_warm else LOADING)
        seconds = sum(self._seconds_of(other) for other in queue[:place])
        return f"In the queue: {place} before you, about {max(1, round(seconds))} s."

    def _seconds_of(self, run: Run) -> float:
        """Seconds that a run in the queue will take from now on."""
        if not run.begun:
            return self._durations.expected(run.task.make)
        gone = time.monotonic() - run.begun
        return self._durations.left(run.task.make, gone, run.share)

    # --- What the trainer's own thread does ------------------------------------------

    def _serve(self) -> None:
        while not self._is_over:
            run = self._next()
            if run is None:
                if not self._is_over:
                    self._look_ahead()
                continue
            self._make(run)
            if run.log is not None:
                self._durations.note(run.task.make, time.monotonic() - run.begun)
                self._logs.put(run.name, run.log, run.log.size)
            with self._changed:
                if run in self._queue:
                    self._queue.remove(run)
            run.is_over.set()

    def _next(self) -> Run | None:
        """The first run in the queue; `None` if there is none for a while."""
        with self._changed:
            if not (self._queue or self._is_over):
                self._changed.wait(_IDLE)
            return self._queue[0] if self._queue else None

    def _make(self, run: Run) -> None:
        """Has a run made, and made again if its worker is lost."""

        def is_wanted() -> bool:
            return run.is_wanted and not self._is_over

        while is_wanted() and run.tries < MOST_TRIES and run.losses < MOST_LOSSES:
            try:
                for what, value in self._workers.run(run.task, is_wanted):
                    run.begun = run.begun or time.monotonic()
                    run.hear(what, value)
            except Lost:
                run.losses += 1
                run.tries += bool(run.begun)
                run.begun = run.share = 0.0
            except Exception:  # this thread serves the next visitors, too
                run.failure = traceback.format_exc()
                return
            else:
                return

    def _look_ahead(self) -> None:
        """Has a run made that makes others quicker; then sees to the next worker."""
        task = next(self._ahead, None)
        if task is None:
            self._workers.prepare()
            return
        with contextlib.suppress(Lost):
            for _ in self._workers.run(
                task, lambda: not (self._queue or self._is_over)
            ):
                pass


def _name(settings: Settings, make: Callable | None) -> str:
    return repr((make, sorted(settings.items())))


def _ahead() -> Iterator[Task]:
    """Runs of the shapes that are asked for first: the lesson, few layers, the map."""
    yield from WARM_UP
    yield Task(None, {**_ONE, "depths": [20]})
    yield Task(None, {**_ONE, "depths": [5]})
    every: Settings = {"scales": vg.charts.MAP_SCALES, "depths": vg.charts.MAP_DEPTHS}
    yield Task(None, {**_ONE, **every, "samples": 4, "every": None})


@st.cache_resource(show_spinner=False)
def trainer() -> Trainer:
    """The one of this server. Its worker starts when it is asked, or has time."""
    return Trainer(Workers(WARM_UP, folder()), _ahead)
