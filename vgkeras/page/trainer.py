"""The server's one trainer: a live run at a time, for all visitors."""

import ctypes
import gc
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import DEFAULTS

MOST_WAITING = 30  # visitors in the queue
MOST_LOGS = 24  # of finished runs
LIVE = ":material/bolt: **Run live** on this server"


class Trainer:
    """A queue of visitors, and the logs of the last runs.

    Visitors see their place in the queue. One who leaves or moves a control is noticed
    at the next progress report: that is a Streamlit call, and Streamlit ends the script
    there.
    """

    def __init__(self) -> None:
        self._queue: deque[object] = deque()  # the first one is at work
        self._logs: OrderedDict[str, vg.GradientLog] = OrderedDict()
        self._lock = threading.Lock()  # of the logs

    @property
    def visitors(self) -> int:
        """How many are at work or wait."""
        return len(self._queue)

    def log(
        self,
        settings: Settings,
        bar: Any,
        make: Callable | None = None,
        **callbacks: Callable,
    ) -> NamedLog:
        """The log of `make`, `vg.sweep` if it is not said, with these arguments.

        `callbacks` are arguments, too, that play no part in what comes out.
        """
        name = _name(settings, make)
        log = self._find(name)
        if log is None:
            log = self._run_in_turn(name, settings, bar, make, callbacks)
        return NamedLog(name, lambda: log)

    def holds(self, settings: Settings) -> bool:
        """Whether `log` has the runs of `vgkeras.sweep` at hand."""
        return self._find(_name(settings, None)) is not None

    def _find(self, name: str) -> vg.GradientLog | None:
        """The log of that name; the last to be asked for is the last to be given up."""
        with self._lock:
            if name in self._logs:
                self._logs.move_to_end(name)
            return self._logs.get(name)

    def _keep(self, name: str, log: vg.GradientLog) -> None:
        with self._lock:
            self._logs[name] = log
            while len(self._logs) > MOST_LOGS:
                self._logs.popitem(last=False)

    def _run_in_turn(
        self,
        name: str,
        settings: Settings,
        bar: Any,
        make: Callable | None,
        callbacks: dict[str, Callable],
    ) -> vg.GradientLog:
        self._refuse_if_full(bar)
        turn = object()
        self._queue.append(turn)
        try:
            self._wait(turn, bar)
            # Another visitor may have asked for the same meanwhile.
            log = self._find(name)
            if log is None:
                log = _run({**settings, **callbacks}, bar, make)
                self._keep(name, log)
            return log
        finally:
            _give_memory_back()
            self._queue.remove(turn)

    def _refuse_if_full(self, bar: Any) -> None:
        if self.visitors >= MOST_WAITING:
            bar.warning(
                f"{MOST_WAITING} visitors wait for a run. Come back in a minute, or "
                "look at what is recorded: the lecture's setting."
            )
            st.stop()

    def _wait(self, turn: object, bar: Any) -> None:
        while self._queue[0] is not turn:
            before = self._queue.index(turn)
            bar.progress(0.0, f"In the queue: {before} before you.")
            time.sleep(0.1)


def _name(settings: Settings, make: Callable | None) -> str:
    return repr((make, sorted(settings.items())))


@st.cache_resource(show_spinner=False)
def trainer() -> Trainer:
    """The one of this server."""
    return Trainer()


@st.cache_resource(show_spinner=False)
def warm_up() -> None:
    """Loads TensorFlow and compiles the program once, when the page is drawn."""
    vg.sweep(**{**DEFAULTS, "steps": 1})
    # Streamlit collects garbage after each run of a page that knows Keras. What has
    # been loaded by now stays for good: looking through it took a quarter of a second.
    gc.collect()
    gc.freeze()


@st.cache_resource(show_spinner=False)
def let_the_browser_draw() -> None:
    """Sleeps, once for a server, when there is a first chart to draw.

    The first visitor's browser is asking for the files that it draws charts with.
    Another thread of this process hands them out, and would wait for seconds for all
    that follows: other charts, then TensorFlow. Nothing tells a script when they have
    arrived. `tests/benchmarks/page.py` measures what the sleep gains; a trainer in a
    process of its own would need none.
    """
    time.sleep(2)


def _run(settings: Settings, bar: Any, make: Callable | None) -> vg.GradientLog:
    """One live run under a progress bar."""
    bar.progress(0.0, "Starting TensorFlow and compiling…")
    let_the_browser_draw()

    def progress(done: int, total: int) -> None:
        share = done / total
        bar.progress(share, f"Training: {share:.0%}. Move a control to stop it.")

    # Not a default value: `vg.sweep` loads TensorFlow when it is first looked at.
    return (make or vg.sweep)(**settings, progress=progress)


def _give_memory_back() -> None:
    """To the system, of what was freed: the C library of Linux keeps it otherwise."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
