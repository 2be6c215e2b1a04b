"""Times the default sweep: vgkeras against other ways to write it.

    python tests/benchmarks/sweep.py
    python tests/benchmarks/sweep.py --only vgkeras_sweep jax_grad --repeats 15

Every peer trains the same 21 stacks from the same data and ends in the same
`GradientLog`; the logs are compared before anything is timed. Each peer lives in a
process of its own and they take turns, so that a busy moment of the machine hits them
all. `first` is the first call in a fresh process, tracing and compilation included,
imports not; `repeat` is a later call in the same process. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from agreement import agrees, deviation  # noqa: E402
from problem import Problem  # noqa: E402

from vgkeras.logs import load  # noqa: E402

PEERS = {
    "vgkeras_sweep": "vgkeras.sweep",
    "jax_grad": "JAX, vmap + scan + value_and_grad",
    "jax_scan": "JAX, vmap + a scan each way",
    "jax_scan_by_depth": "JAX, the same, one compilation a depth",
    "numpy_by_hand": "NumPy by hand, batched over scales",
    "numpy_ragged": "NumPy by hand, all runs in one batch",
    "torch_eager": "PyTorch, eager",
    "keras_function": "Keras, a tf.function per model",
    "keras_eager": "Keras, eager",
}
OURS = "vgkeras_sweep"
REFERENCE = "numpy_by_hand"
JAX = ("jax_grad", "jax_scan")  # one compilation for all depths, as ours
# What is compared, with the fastest of which peers, and the largest ratio to it.
GOALS = (
    ("repeat", JAX, 0.5),
    ("repeat", ("numpy_by_hand",), 0.3),
    ("first", JAX, 1.0),
    ("repeat", ("keras_eager",), 1 / 500),
)
PATIENCE = 30  # seconds that all the calls of one kind may take a peer


class Worker:
    """A peer in a process of its own, imported and waiting."""

    def __init__(self, process: subprocess.Popen[str], errors: Any) -> None:
        self._process, self._errors = process, errors
        self.missing: str | None = self._read().get("missing")

    def run(self, path: str = "") -> float:
        """Seconds of one run; saves its log under `path`, if one is given."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return self._read()["seconds"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._errors.seek(0)
        raise SystemExit("".join(self._errors.readlines()[-20:]))


@contextmanager
def worker(peer: str, problem: Problem) -> Iterator[Worker]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    path = os.pathsep.join([str(ROOT), str(HERE)])
    command = [sys.executable, str(HERE / "worker.py"), peer, problem.to_json()]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **quiet, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path},
        ) as process,
    ):
        try:
            yield Worker(process, errors)
        finally:
            process.kill()


def measure(peers: list[str], problem: Problem, repeats: int) -> dict[str, Any]:
    """Everything the table shows: times, deviations and missing packages by peer."""
    timings: dict[str, Any] = {}
    with ExitStack() as open_processes, tempfile.TemporaryDirectory() as folder:
        workers: dict[str, Worker] = {}
        for peer in peers:
            started = open_processes.enter_context(worker(peer, problem))
            if started.missing is None:
                path = f"{folder}/{peer}.parquet"
                timings[peer] = {"first": [started.run(path)], "repeat": []}
                workers[peer] = started
                say(f"{peer}: first call {timings[peer]['first'][0]:.2f} s")
            else:
                timings[peer] = {"missing": started.missing}
        compare(timings, folder)
        time_repeats(timings, workers, repeats)
    time_firsts(timings, problem, repeats)
    return timings


def compare(timings: dict[str, Any], folder: str) -> None:
    present = [peer for peer in timings if "missing" not in timings[peer]]
    chosen = REFERENCE if REFERENCE in present else present[0]
    reference = load(f"{folder}/{chosen}.parquet")
    for peer in present:
        timings[peer]["deviation"] = deviation(
            load(f"{folder}/{peer}.parquet"), reference
        )
        if not agrees(timings[peer]["deviation"]):
            say(f"{peer} disagrees with {chosen}: {timings[peer]['deviation']}")


def time_repeats(
    timings: dict[str, Any], workers: dict[str, Worker], repeats: int
) -> None:
    for peer, started in workers.items():
        if timings[peer]["first"][0] < PATIENCE:
            started.run()  # the second call still fills caches
    for turn in range(repeats):
        say(f"repeats, turn {turn + 1} of {repeats}")
        for peer, started in rotated(list(workers.items()), turn):
            if turn < affordable(timings[peer], "repeat"):
                timings[peer]["repeat"].append(started.run())


def time_firsts(timings: dict[str, Any], problem: Problem, repeats: int) -> None:
    for turn in range(1, min(repeats, 5)):
        say(f"first calls, turn {turn + 1} of {min(repeats, 5)}")
        for peer, times in rotated(list(timings.items()), 2 * turn):
            if "missing" not in times and turn < affordable(times, "first"):
                with worker(peer, problem) as fresh:
                    times["first"].append(fresh.run())


def rotated(peers: list[Any], turn: int) -> list[Any]:
    """Another peer begins each turn: none always follows the same other one."""
    first = turn % len(peers)
    return peers[first:] + peers[:first]


def affordable(times: dict[str, Any], what: str) -> int:
    """Calls that fit the patience; none where a repeat does not fit once."""
    once = (times[what] or times["first"])[0]
    return int(PATIENCE / once)


def medians(times: dict[str, Any]) -> dict[str, float]:
    """Median seconds; a peer too slow to call again repeats its first call."""
    first = statistics.median(times["first"])
    return {
        "first": first,
        "repeat": statistics.median(times["repeat"]) if times["repeat"] else first,
    }


def table(timings: dict[str, Any]) -> str:
    ours = medians(timings[OURS]) if is_there(timings, OURS) else None
    head = (
        f"{'peer':40} {'first s':>9} {'repeat s':>9} {'/ours':>7} {'/ours':>7}"
        f" {'calls':>6}  {'Δ loss':>8} {'Δ log10':>8} {'others':>7}"
    )
    lines = [head, "-" * len(head)]
    for peer, times in timings.items():
        if "missing" in times:
            lines.append(f"{PEERS[peer]:40} {times['missing']} is not installed")
        else:
            lines.append(row(PEERS[peer], times, ours))
    return "\n".join(lines)


def row(title: str, times: dict[str, Any], ours: dict[str, float] | None) -> str:
    own, apart = medians(times), times["deviation"]
    ratios = [f"{own[k] / ours[k]:7.1f}" if ours else " " * 7 for k in own]
    calls = f"{len(times['first'])}+{len(times['repeat'])}"
    return (
        f"{title:40} {own['first']:9.3f} {own['repeat']:9.3f} {' '.join(ratios)}"
        f" {calls:>6}  {apart['loss']:8.1e} {apart['norm']:8.1e}"
        f" {apart['others']:7.1%}"
    )


def goals(timings: dict[str, Any]) -> str:
    lines = []
    for what, peers, limit in GOALS if is_there(timings, OURS) else ():
        present = [peer for peer in peers if is_there(timings, peer)]
        if present:
            best = min(present, key=lambda peer: medians(timings[peer])[what])
            ratio = medians(timings[OURS])[what] / medians(timings[best])[what]
            result = "met" if ratio <= limit else "MISSED"
            lines.append(
                f"{result:6} {ratio:7.4f}  {what} <= {limit:g} x {PEERS[best]}"
            )
    return "\n".join(lines)


def is_there(timings: dict[str, Any], peer: str) -> bool:
    return peer in timings and "missing" not in timings[peer]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="turns of each peer")
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--steps", type=int, default=50, help="updates of each run")
    parser.add_argument("--json", type=Path, help="file for every single time")
    arguments = parser.parse_args()
    problem = Problem(steps=arguments.steps)
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    timings = measure(arguments.only, problem, arguments.repeats)
    print(table(timings))
    print(f"""
/ours: time over that of vgkeras, first and repeat. calls: first + repeat; a peer whose
first call takes over {PATIENCE} s is not repeated. Δ: largest relative difference of a
loss, and of log10 norms, from {REFERENCE} where float32 is normal. others: rows whose
remaining columns agree (elements that are 0 but for rounding differ by peer).
""")
    print(goals(timings))
    if load_average > 0.5:
        print(f"The machine was busy (load {load_average:.1f}): time it again.")
    if arguments.json:
        arguments.json.write_text(json.dumps(timings, indent=1))
    if not all(agrees(t["deviation"]) for t in timings.values() if "deviation" in t):
        raise SystemExit("The logs of the peers disagree.")


if __name__ == "__main__":
    main()
