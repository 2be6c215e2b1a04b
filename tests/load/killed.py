"""A server killed in the middle of a run, and writers in the middle of a file."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import vgkeras as vg
from tests.load.checks import DEFAULTS, seen, wrong
from tests.load.report import Goal
from tests.load.server import ROOT, Server
from tests.load.visitor import Lost, Visitor
from tests.load.visitors import tracebacks

WRITER = """
import sys
import vgkeras as vg
log = vg.load("assets/lesson.parquet")
print("ready", flush=True)
while True:
    log.save(sys.argv[1])
"""
PASSING = {"__pycache__"}


async def fresh_run(address: str, seed: int) -> list[str]:
    """What is wrong with the page as it opens, and with a fresh run."""
    async with Visitor(address) as visitor:
        await visitor.open()
        failures = wrong(seen(visitor.page), DEFAULTS)
        await visitor.move("seed", seed)
        return failures + wrong(seen(visitor.page), {**DEFAULTS, "seed": seed})


async def kill_while_running(server: Server, seconds: float) -> None:
    """Kills the server so many seconds into a run of a thousand steps."""
    async with Visitor(server.address) as visitor:
        await visitor.open()
        await visitor.touch("steps", 1000)
        await visitor.running()
        await asyncio.sleep(seconds)
        server.kill()
        try:
            await visitor.settled()
        except Lost:
            return
    raise RuntimeError("The server outlived kill -9.")


def restarts(server: Server, times: int) -> list[str]:
    """What is wrong after each of some kills."""
    failures, random_ = [], random.Random(0)
    for turn in range(times):
        asyncio.run(kill_while_running(server, random_.uniform(0.2, 1.0)))
        server.start()
        failures += asyncio.run(fresh_run(server.address, 1 + turn))
    return failures


def written(folder: Path) -> dict[str, float]:
    """The files of the page and when they were written."""
    return {
        str(path): path.stat().st_mtime
        for part in ("assets", "vgkeras", ".streamlit")
        for path in (folder / part).rglob("*")
        if path.is_file() and not PASSING & {*path.parts}
    }


def half_written(saves: int) -> list[str]:
    """What is wrong with a log whose writer is killed, again and again."""
    failures, random_ = [], random.Random(0)
    whole = vg.load(ROOT / "assets" / "lesson.parquet")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        for turn in range(saves):
            kill_a_writer(path, random_.uniform(0.0, 0.3))
            try:
                if path.exists() and len(vg.load(path).losses) != len(whole.losses):
                    failures.append(f"save {turn}: a part of a log was read")
            except ValueError as error:
                failures.append(f"save {turn}: {error}")
        if not path.exists():
            failures.append("no writer has ever finished a file")
    return failures


def kill_a_writer(path: Path, seconds: float) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with writer:
        writer.stdout.readline()
        time.sleep(seconds)
        writer.kill()


def measure(server: Server, *, times: int, saves: int) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    before = written(server.folder)
    failures = restarts(server, times)
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    torn = half_written(saves)
    changed = [
        name for name, at in written(server.folder).items() if before.get(name) != at
    ]
    return [
        Goal(
            f"kill -9 in the middle of a run, {times} times: opens and works",
            f"{len(failures)} wrong",
            not failures,
        ),
        Goal(
            f"{saves} writers killed: no half-written log is read",
            f"{len(torn)} wrong",
            not torn,
        ),
        Goal(
            "the server writes no file that it reads",
            f"{len(changed)} changed",
            not changed,
        ),
    ], failures + torn + changed
