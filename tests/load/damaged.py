"""Damaged logs and bombs: each a log or one worded ValueError, and no harm done.

`python -m tests.load.damaged --files 40000` opens damaged files, bombs and files of
other kinds in a process that stands for the server, and prints what came of them.
Bombs and the first 200 damaged files take the whole way, with a child each; the others
meet the child's code in a fork of that process, which is there at once.
`--way load` opens them as a notebook does.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

import vgkeras as vg
from tests.load import damage
from tests.load.report import Goal, told
from vgkeras.logs import __main__ as child
from vgkeras.logs import strangers

REFUSAL = re.compile(
    r"`source` must be [^.]+\. Received: source=<[\d,]+ bytes> \(.+\)\. [^\n]+\."
)
MOST = 50_000_000  # bytes of a log, as on the page
HARMLESS = ("325,000 pages of one value",)  # a log, if an odd one
Open = Callable[[bytes], vg.GradientLog]


class Outcome(NamedTuple):
    """What came of one file."""

    name: str
    kind: str  # "log", "refused: why", "WRONG: what" or "CRASH: exit code"
    seconds: float
    megabytes: float  # of the server, afterwards
    peak: float  # of the server until then


def opened(way: Open, name: str, content: bytes) -> Outcome:
    start = time.perf_counter()
    try:
        way(content)
        kind = "log"
    except ValueError as error:
        kind = refusal(str(error))
    except BaseException as error:  # whatever it is, it is wrong
        kind = f"WRONG: {error!r:.200}"
    seconds = time.perf_counter() - start
    return Outcome(name, kind, seconds, megabytes("VmRSS"), megabytes("VmHWM"))


def refusal(text: str) -> str:
    """The reason with its numbers and names taken out, to be counted."""
    if not REFUSAL.fullmatch(text):
        return f"WRONG: {text:.200}"
    reason = text.partition(" bytes> (")[2].rpartition("). ")[0]
    reason = re.sub(r"b?'.*?'|\"[^\"]*\"", "…", reason)
    return f"refused: {re.sub(r'[0-9][0-9,.]*', '#', reason)[:60]}"


def megabytes(field: str) -> float:
    """Memory of this process as Linux tells it: `VmRSS` now, `VmHWM` at most."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


# --- The process that stands for the server ------------------------------------------


class Server:
    """Opens files one by one; started anew where one of them ends it."""

    def __init__(self, way: Open) -> None:
        self.way = way
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(self.way, theirs, self.pipe))
        self.process.start()
        theirs.close()

    def open(self, name: str, content: bytes) -> Outcome:
        start = time.perf_counter()
        try:
            self.pipe.send((name, content))
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            kind = f"CRASH: {self.process.exitcode}"
            self.start()
            return Outcome(name, kind, time.perf_counter() - start, 0.0, 0.0)

    def close(self) -> None:
        self.pipe.close()
        self.process.join()


def serve(way: Open, pipe: Connection, theirs: Connection) -> None:
    theirs.close()
    for content in damage.sound_files():  # what a server grows by once
        vg.load(content)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        pipe.send(opened(way, *case))


def outcomes(way: Open, cases: Iterable[tuple[str, bytes]]) -> Iterator[Outcome]:
    server = Server(way)
    for name, content in cases:
        yield server.open(name, content)
    server.close()


# --- Figures -------------------------------------------------------------------------


def measure(
    way: Open, cases: Iterable[tuple[str, bytes]]
) -> tuple[list[Goal], list[str]]:
    """The goals for many files in one server, and what went wrong."""
    counts: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    failures, slowest, sizes = [], Outcome("", "", 0.0, 0.0, 0.0), []
    for number, outcome in enumerate(outcomes(way, cases)):
        first = outcome.kind.partition(":")[0]
        counts[first] += 1
        kinds[outcome.kind] += 1
        sizes += [outcome.megabytes] if outcome.megabytes else []
        slowest = max(slowest, outcome, key=lambda one: one.seconds)
        if first in ("WRONG", "CRASH"):
            failures.append(f"{number}, {outcome.name}: {outcome.kind}")
    for kind, count in kinds.most_common(40):
        print(f"  {count:6,}  {kind}")
    files, growth = sum(counts.values()), sizes[-1] - sizes[0]
    return [
        Goal(
            f"{files:,} damaged files: a log or one worded ValueError",
            ", ".join(f"{count:,} {name}" for name, count in counts.most_common()),
            not failures,
        ),
        Goal("the slowest: at most 10 s", f"{slowest.seconds:.2f} s", slowest[2] < 10),
        Goal(
            "the server grows by at most 10 MB",
            f"{growth:+.1f} MB ({sizes[0]:.0f} to {sizes[-1]:.0f})",
            growth < 10,
        ),
    ], failures


def measure_each(
    way: Open, files: dict[str, Callable[[], bytes]]
) -> tuple[list[Goal], list[str]]:
    """A line for each bomb, each in a server of its own."""
    failures = []
    for name, make in files.items():
        content = make()
        (first, outcome) = outcomes(way, [("sound", sound()), (name, content)])
        print(
            f"  {name:42} {len(content):>11,} bytes {outcome.seconds:6.2f} s "
            f"{outcome.peak - first.peak:+7.0f} MB at most  {outcome.kind}",
            flush=True,
        )
        refused = outcome.kind.startswith("refused")
        if not refused and not (name in HARMLESS and outcome.kind == "log"):
            failures.append(f"{name}: {outcome.kind}")
    goal = f"{len(files)} bombs and files of other kinds: refused in words"
    return [Goal(goal, f"{len(failures)} wrong", not failures)], failures


def sound() -> bytes:
    return damage.sound_files()[0]


# --- Ways to open a file -----------------------------------------------------------


def by_child(content: bytes) -> vg.GradientLog:
    return vg.load(strangers.rewrite(content, max_bytes=MOST))


def by_fork(content: bytes) -> vg.GradientLog:
    strangers.ask_child = forked
    return by_child(content)


def forked(source: bytes, max_bytes: int, seconds: int) -> tuple[int, bytes]:
    """The child's exit code and answer, from a fork that has everything loaded."""
    ours, theirs = os.pipe()
    process = os.fork()
    if process == 0:
        os._exit(answered(theirs, source, max_bytes, seconds))
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), answer


def answered(pipe: int, source: bytes, max_bytes: int, seconds: int) -> int:
    """What the child does, whose environment chooses the pool of memory."""
    try:
        pa.set_memory_pool(pa.system_memory_pool())
        child.limit(max_bytes, seconds)
        code, answer = child.reply(source, max_bytes)
        with os.fdopen(pipe, "wb") as file:
            file.write(answer)
        return code
    except BaseException as error:  # a child would end with a traceback and this code
        print(repr(error), file=sys.stderr)
        return 1


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.damaged")
    parser.add_argument("--files", type=int, default=40_000)
    parser.add_argument(
        "--whole", type=int, default=200, help="files with a child each"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=("stranger", "load"), default="stranger")
    return parser.parse_args()


def main() -> None:
    wanted = parsed()
    direct = wanted.way == "load"
    whole, quick = (vg.load, vg.load) if direct else (by_child, by_fork)
    cases = (damage.damaged_file(n, wanted.seed) for n in range(wanted.files))
    results = [
        ([], []) if direct else measure_each(whole, damage.bombs()),
        measure_each(whole, damage.others()),
        measure(whole, itertools.islice(cases, wanted.whole)),
        measure(quick, cases),
    ]
    goals = [goal for part, _ in results for goal in part]
    failures = [failure for _, part in results for failure in part]
    sys.exit(not told(goals, failures))


if __name__ == "__main__":
    main()
