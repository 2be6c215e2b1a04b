"""Times the default map, 45 scales x 34 depths x 100 steps: vgkeras against JAX.

    python tests/benchmarks/map.py

Both train the same 1,530 stacks and end in the same `GradientLog` of losses; the logs
are compared first. Each lives in a process of its own and they take turns. `first` is
the first call, compilation included; `repeat` a later one. Medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from problem import Problem
from sweep import rotated, say, worker

from vgkeras import charts
from vgkeras.logs import load

PEERS = {"map_vgkeras": "vgkeras.sweep", "map_jax": "JAX, vmap + scan + value_and_grad"}
GOAL = 1.2  # times JAX's repeat


def measure(problem: Problem, turns: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of every call, the first one first, and the share of equal outcomes."""
    times: dict[str, list[float]] = {}
    with ExitStack() as processes, tempfile.TemporaryDirectory() as folder:
        workers = {
            peer: processes.enter_context(worker(peer, problem)) for peer in PEERS
        }
        for peer, started in workers.items():
            if started.missing:
                raise SystemExit(f"{started.missing} is not installed.")
            times[peer] = [started.run(f"{folder}/{peer}.parquet")]
        outcomes = [load(f"{folder}/{p}.parquet").runs["outcome"] for p in PEERS]
        same = float(np.mean(outcomes[0].to_numpy() == outcomes[1].to_numpy()))
        for turn in range(turns):
            say(f"turn {turn + 1} of {turns}")
            for peer, started in rotated(list(workers.items()), turn):
                times[peer].append(started.run())
    return times, same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    problem = Problem(
        scales=charts.MAP_SCALES, depths=charts.MAP_DEPTHS, samples=4, steps=100
    )
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    times, same = measure(problem, arguments.turns)
    repeats = {peer: statistics.median(seconds[1:]) for peer, seconds in times.items()}
    for peer, title in PEERS.items():
        print(
            f"{title:36} first {times[peer][0]:6.2f} s, repeat {repeats[peer]:6.2f} s"
        )
    print(f"Equal outcomes: {same:.2%} of {len(problem.runs):,} runs.")
    ratio = repeats["map_vgkeras"] / repeats["map_jax"]
    result = "met" if ratio <= GOAL else "MISSED"
    print(f"{result:6} {ratio:6.3f}  repeat <= {GOAL:g} x JAX")
    if load_average > 0.5:
        print(f"The machine was busy (load {load_average:.1f}): time it again.")


if __name__ == "__main__":
    main()
