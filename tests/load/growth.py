"""The memory of one server over hundreds of fresh runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.load.checks import DEFAULTS, seen, wrong
from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Visitor
from tests.load.visitors import RATES, tracebacks

GOAL = 60  # megabytes
STAY = 25  # runs until the tab is closed and another visitor comes


def grid() -> Iterator[tuple[str, dict[str, Any]]]:
    """Settings that differ from the one before in one control, and which it is."""
    rates = list(RATES)
    for seed in range(1, 100):
        for place, rate in enumerate(rates):
            moved = "learning_rate" if place else "seed"
            yield moved, {**DEFAULTS, "seed": seed, "learning_rate": rate}
        rates.reverse()


async def run_all(server: Server, count: int, failures: list[str]) -> list[float]:
    """Megabytes of the server after each fresh run of the lesson's grid."""
    settings = grid()
    megabytes: list[float] = []
    while len(megabytes) < count:
        async with Visitor(server.address) as visitor:
            for place in range(min(STAY, count - len(megabytes))):
                moved, setting = next(settings)
                if place:
                    await visitor.move(moved, setting[moved])
                else:
                    changed = {k: setting[k] for k in ("seed", "learning_rate")}
                    await visitor.open(urlencode(changed))
                failures += wrong(seen(visitor.page), setting)[:1]
                megabytes.append(server.megabytes())
        print(f"  after {len(megabytes):4} runs {megabytes[-1]:6.0f} MB", flush=True)
    return megabytes


def measure(server: Server, *, runs: int, after: int) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    failures: list[str] = []
    megabytes = asyncio.run(run_all(server, runs, failures))
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    base = megabytes[after - 1]
    grown = max(megabytes[after - 1 :]) - base
    return [
        Goal(
            f"{runs} fresh runs: memory grows < {GOAL} MB after the first {after}",
            f"{grown:+.0f} MB at most, {megabytes[-1] - base:+.0f} MB at the end",
            grown < GOAL,
        ),
        Goal(
            "each of them as in theory",
            f"{len(failures)} wrong of {runs}",
            not failures,
        ),
    ], failures
