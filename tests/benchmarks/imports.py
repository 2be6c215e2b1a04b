"""Times `import vgkeras`, and the modules that need no TensorFlow, beyond Python.

    python tests/benchmarks/imports.py

Each import runs in a fresh process, in turns with a bare `python -c pass`; medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATEMENTS = (
    "pass",
    "import vgkeras",
    "import numpy",
    "import vgkeras.theory",
    "import pandas",
    "import vgkeras.logs",
    "import vgkeras.charts",
    "import tensorflow",
    "import vgkeras.sweeps",
)
GOAL = ("import vgkeras", 0.1)  # seconds beyond Python itself


def seconds(statement: str) -> float | None:
    """Wall-clock time of a fresh process; None if the import fails."""
    command = [sys.executable, "-c", statement]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    return time.perf_counter() - start if done.returncode == 0 else None


def medians(repeats: int) -> dict[str, float | None]:
    times: dict[str, list[float | None]] = {s: [] for s in STATEMENTS}
    for statement in STATEMENTS:
        seconds(statement)  # reads the files, writes the .pyc
    for _ in range(repeats):
        for statement in STATEMENTS:
            times[statement].append(seconds(statement))
    return {s: None if None in t else statistics.median(t) for s, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    costs = medians(parser.parse_args().repeats)
    bare = costs.pop("pass")
    print(f"{'python itself':24} {bare:7.3f} s")
    for statement, median in costs.items():
        cost = "failed" if median is None else f"{median - bare:+7.3f} s"
        print(f"{statement:24} {cost}")
    statement, limit = GOAL
    reached = costs[statement] is not None and costs[statement] - bare < limit
    print(f"{'met' if reached else 'MISSED'}: {statement} < {limit} s beyond Python")


if __name__ == "__main__":
    main()
