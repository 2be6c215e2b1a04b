"""Load on a real server: `python -m tests.load visitors`, or another part.

Each part starts a server of its own, speaks Streamlit's protocol with it over real
websockets on this machine, and prints a table: goal, measured, met or MISSED. The exit
code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.load import (
    cold,
    compiling,
    growth,
    hostile,
    killed,
    lost,
    memory,
    overhead,
    report,
    visitors,
)
from tests.load.server import ROOT, Server


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--page", type=Path, default=ROOT, help="folder to serve")
    parser.add_argument("--log", type=Path, help="file for what the server prints")
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("visitors", help="many visitors at once")
    one.add_argument("--visitors", type=int, default=30)
    one.add_argument("--seconds", type=float, default=180)
    one.add_argument("--think", type=float, nargs=2, default=(5, 15), metavar="SECONDS")
    one.add_argument("--fresh", type=float, default=0.1, help="share of fresh runs")
    one = parts.add_parser("growth", help="memory over many runs of many shapes")
    one.add_argument("--requests", type=int, default=1000)
    one.add_argument("--shapes", type=int, default=288)
    one.add_argument("--after", type=int, default=50, help="that may take memory")
    one = parts.add_parser("lost", help="kill -9 of workers under load")
    one.add_argument("--kills", type=int, default=20)
    one.add_argument("--visitors", type=int, default=10)
    one = parts.add_parser("cold", help="the first run of a cold server")
    one.add_argument("--repeats", type=int, default=5)
    one = parts.add_parser("compiling", help="a look around while runs compile")
    one.add_argument("--shapes", type=int, default=20)
    one = parts.add_parser("overhead", help="a run in a worker, and one in process")
    one.add_argument("--repeats", type=int, default=20)
    one = parts.add_parser("killed", help="kill -9 in the middle of a run")
    one.add_argument("--times", type=int, default=3)
    one.add_argument("--saves", type=int, default=20, help="writers killed")
    one = parts.add_parser("hostile", help="hostile addresses and damaged logs")
    one.add_argument("--addresses", type=int, default=300)
    one.add_argument("--logs", type=int, default=50)
    parts.add_parser("memory", help="memory after every section")
    return parser.parse_args()


def main() -> None:
    arguments = vars(parsed())
    part = arguments.pop("part")
    modules = {
        "visitors": visitors,
        "growth": growth,
        "killed": killed,
        "lost": lost,
        "cold": cold,
        "compiling": compiling,
        "overhead": overhead,
        "hostile": hostile,
        "memory": memory,
    }
    with Server(arguments.pop("page").resolve()) as server:
        log = arguments.pop("log")
        try:
            goals, failures = modules[part].measure(server, **arguments)
        finally:
            if log:
                log.write_text(server.log())
    sys.exit(not report.print_table(goals, failures))


if __name__ == "__main__":
    main()
