"""A cold server: seconds from its start to the first screen and the first live run."""

from __future__ import annotations

import asyncio
import statistics
import time

from tests.load.checks import DEFAULTS, seen, wrong
from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Visitor

GOAL = 8.0  # seconds
RATE = 0.03


async def first_run(address: str, begun: float) -> tuple[float, float, list[str]]:
    """Seconds until the lesson is there, and until a moved control has its run."""
    async with Visitor(address) as visitor:
        await visitor.open()
        opened = time.perf_counter() - begun
        await visitor.move("learning_rate", RATE)
        moved = time.perf_counter() - begun
        view = seen(visitor.page)
        return opened, moved, wrong(view, {**DEFAULTS, "learning_rate": RATE})


def measure(server: Server, *, repeats: int) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    times, failures = [], []
    for _ in range(repeats):
        server.kill()
        begun = time.perf_counter()
        server.start()
        opened, moved, faults = asyncio.run(first_run(server.address, begun))
        times.append((opened, moved))
        failures += faults
        print(f"  lesson there after {opened:.1f} s, its first live run {moved:.1f} s")
    opened, moved = (statistics.median(column) for column in zip(*times, strict=True))
    return [
        Goal(
            f"first live run on a cold server <= {GOAL:g} s",
            f"{moved:.1f} s; the lesson {opened:.1f} s",
            moved <= GOAL,
        ),
        Goal("as in theory", f"{len(failures)} wrong", not failures),
    ], failures
