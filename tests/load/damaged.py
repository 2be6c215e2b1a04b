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
from tests.load.report import Goal, print_table
from vgkeras.logs import __main__ as child
from vgkeras.logs import strangers

REFUSAL = re.compile(
    r"`source` must be [^.]+\. Received: source=<[\d,]+ bytes> \(.+\)\. [^\n]+\."
)
MOST = 50_000_000  # bytes of a log, as on the page
HARMLESS = ("325,000 pages of one value",)  # a log, if an odd one
Open = Callable[[bytes], vg.GradientLog]


class Result(NamedTuple):
    """What came of one file."""

    name: str
    kind: str  # "log", "refused: why", "WRONG: what" or "CRASH: exit code"
    seconds: float
    megabytes: float  # of the server, afterwards
    peak: float  # of the server until then


def opened(way: Open, name: str, content: bytes) -> Result:
    start = time.perf_counter()
    try:
        way(content)
        kind = "log"
    except ValueError as error:
        kind = refusal(str(error))
    except BaseException as error:  # whatever it is, it is wrong
        kind = f"WRONG: {error!r:.200}"
    seconds = time.perf_counter() - start
    return Result(name, kind, seconds, megabytes("VmRSS"), megabytes("VmHWM"))


def refusal(text: str) -> str:
    """The reason with its numbers and names taken out, to be counted."""
    if not REFUSAL.fullmatch(text):
        return f"WRONG: {text:.200}"
    reason = text.partition(" bytes> (")[2].rpartition("). ")[0]
    reason = re.sub(r"b?'.*?'|\"[^\"]*\"", "…", reason)
    return f"refused: {re.sub(r'[0-9][0-9,.]*', '#', reason)[:60]}"


def megabytes(field: str) -> float:
    """Memory of this process as Linux tells it: `VmRSS` now, `VmHWM` at most."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


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

    def open(self, name: str, content: bytes) -> Result:
        start = time.perf_counter()
        try:
            self.pipe.send((name, content))
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            kind = f"CRASH: {self.process.exitcode}"
            self.start()
            return Result(name, kind, time.perf_counter() - start, 0.0, 0.0)

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


def results_of(way: Open, cases: Iterable[tuple[str, bytes]]) -> Iterator[Result]:
    server = Server(way)
    for name, content in cases:
        yield server.open(name, content)
    server.close()


# --- Figures -------------------------------------------------------------------------


def measure(
    way: Open, cases: Iterable[tuple[str, bytes]]
) -> tuple[list[Goal], list[str]]:
    """The goals for many files in one server, and what went wrong."""
    results = [*results_of(way, cases)]
    if not results:
        return [], []
    kinds = collections.Counter(one.kind for one in results)
    for kind, count in kinds.most_common(40):
        print(f"  {count:6,}  {kind}")
    failures = [
        f"{number}, {one.name}: {one.kind}"
        for number, one in enumerate(results)
        if first_word(one) in ("WRONG", "CRASH")
    ]
    return [answers(results, not failures), slowest(results), growth(results)], failures


def first_word(result: Result) -> str:
    return result.kind.partition(":")[0]


def answers(results: list[Result], met: bool) -> Goal:
    goal = f"{len(results):,} damaged files: a log or one worded ValueError"
    counts = collections.Counter(map(first_word, results)).most_common()
    return Goal(goal, ", ".join(f"{count:,} {word}" for word, count in counts), met)


def slowest(results: list[Result]) -> Goal:
    most = max(one.seconds for one in results)
    return Goal("the slowest: at most 10 s", f"{most:.2f} s", most < 10)


def growth(results: list[Result]) -> Goal:
    sizes = [one.megabytes for one in results if one.megabytes]
    more = sizes[-1] - sizes[0]
    measured = f"{more:+.1f} MB ({sizes[0]:.0f} to {sizes[-1]:.0f})"
    return Goal("the server grows by at most 10 MB", measured, more < 10)


def measure_each(
    way: Open, files: dict[str, Callable[[], bytes]]
) -> tuple[list[Goal], list[str]]:
    """A line for each bomb, each in a server of its own."""
    failures = []
    for name, make in files.items():
        content = make()
        before, after = results_of(way, [("sound", sound()), (name, content)])
        more = after.peak - before.peak
        line = (
            f"  {name:42} {len(content):>11,} bytes {after.seconds:6.2f} s {more:+5.0f}"
        )
        print(f"{line} MB at most  {after.kind}", flush=True)
        refused = after.kind.startswith("refused")
        if not refused and not (name in HARMLESS and after.kind == "log"):
            failures.append(f"{name}: {after.kind}")
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
    parts = [
        ([], []) if direct else measure_each(whole, damage.bombs()),
        measure_each(whole, damage.others()),
        measure(whole, itertools.islice(cases, wanted.whole)),
        measure(quick, cases),
    ]
    goals = [goal for part, _ in parts for goal in part]
    failures = [failure for _, part in parts for failure in part]
    sys.exit(not print_table(goals, failures))


if __name__ == "__main__":
    main()
