"""What it costs that a run is made in another process: in turns with one that is not.

`python -m tests.load overhead` loads TensorFlow in its own process, too, and is then as
nice to others as a worker is.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import vgkeras as vg
from tests.load.report import Goal
from tests.load.server import Server
from vgkeras.page.networks import DEFAULTS, log_interval
from vgkeras.page.parcel import Task, unpack
from vgkeras.page.trainer import WARM_UP
from vgkeras.page.worker import Workers
from vgkeras.page.worker_process import NICENESS

GOAL = 1.15


def seconds_of(make: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    make()
    return time.perf_counter() - begun


def measure(server: Server, *, repeats: int) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    server.kill()  # it would only disturb
    os.nice(NICENESS)
    settings = {**DEFAULTS, "every": log_interval(DEFAULTS["steps"])}
    workers = Workers(WARM_UP)

    def here() -> vg.GradientLog:
        return vg.sweep(**settings)

    def there() -> vg.GradientLog:
        *_, (_, parcel) = workers.run(Task(None, settings), lambda: True)
        return unpack(parcel)

    pairs = [(seconds_of(here), seconds_of(there)) for _ in range(repeats + 2)][2:]
    workers.end()
    ratio = statistics.median(second / first for first, second in pairs)
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [
        Goal(
            f"a run through the worker <= {GOAL:g} x one in process",
            f"{ratio:.2f} x of {repeats}, {theirs:.2f} s for {ours:.2f} s",
            ratio <= GOAL,
        )
    ], []
