"""Workers killed again and again, while visitors ask for runs."""

from __future__ import annotations

import asyncio
import os
import random
import signal

from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitors import Plan, checked, times, tracebacks, visit, warm

FRESH = 0.5  # of the moves: there is nearly always a run at work
THINK = (1.0, 4.0)  # seconds between two moves
APART = (0.5, 4.0)  # seconds from an answered run to the next kill


async def kill_workers(server: Server, plan: Plan, count: int) -> None:
    """Kills the worker that is at work, the oldest, so many times."""
    random_ = random.Random(0)
    for _ in range(count):
        await asyncio.sleep(random_.uniform(*APART))
        for worker in server.workers()[:1]:
            os.kill(worker, signal.SIGKILL)
        before = answered(plan)
        while answered(plan) == before:
            await asyncio.sleep(0.1)


def answered(plan: Plan) -> int:
    return sum(move.kind == "fresh" for move in plan.moves)


async def both(server: Server, visitors: int, plan: Plan, kills: int) -> None:
    visits = asyncio.create_task(visit(server.address, visitors, plan))
    await kill_workers(server, plan, kills)
    plan.until = 0.0  # each finishes the move that it is at
    await visits


def measure(
    server: Server, *, visitors: int, kills: int
) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    asyncio.run(warm(server.address))
    plan = Plan(3600, THINK, FRESH)
    asyncio.run(both(server, visitors, plan, kills))
    failures = checked(plan.moves)
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    print(f"{visitors} visitors, {FRESH:.0%} of their moves fresh runs:")
    for kind in ("open", "cached", "fresh", "lost"):
        print(times(kind, plan.moves))
    runs = answered(plan)
    return [
        Goal(
            f"worker killed {kills} times: no exception, nothing wrong, all answered",
            f"{len(failures)} wrong, {runs} fresh runs answered",
            not failures and runs > 0,
        ),
    ], failures
