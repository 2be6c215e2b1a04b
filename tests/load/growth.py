"""The memory of one server over a thousand requests of hundreds of shapes.

A shape is a program of its own, which a worker keeps for good: units, samples, number
format, depth, and how many networks are trained side by side. Each is asked for as a
visitor asks, by an address; what theory knows for sure is held to it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any
from urllib.parse import urlencode

from tests.load.checks import DEFAULTS, seen, wrong
from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Visitor
from tests.load.visitors import tracebacks
from tests.load.watch import Watch

GOAL = 30  # megabytes
STEPS, SCALE = 50, 0.9
# Programs are compiled for networks of up to 8, 32 and 152 layers, few or many.
DEPTHS = ((5,), (20,), (50,), (5, 6), (20, 21), (50, 100))
MANY = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FORMATS = ("float32", "float64", "bfloat16", "float16")


def all_shapes() -> list[dict[str, Any]]:
    """Every combination, in an order that looks like that of visitors."""
    names = ("units", "samples", "dtype", "depths")
    grid = itertools.product((2, 4, 8, 16), (16, 64, 256), FORMATS, DEPTHS)
    combinations = [dict(zip(names, values, strict=True)) for values in grid]
    random.Random(0).shuffle(combinations)
    return combinations


def all_requests(count: int, several: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each shape once, then again with other seeds: programs are the same."""
    rounds = ({**shape, "seed": seed} for seed in range(100) for shape in several)
    return list(itertools.islice(rounds, count))


async def ask_all(
    server: Server, watch: Watch, asked: list[dict[str, Any]], failures: list[str]
) -> list[float]:
    """Private megabytes of the page after each request."""
    megabytes = []
    for number, request in enumerate(asked, 1):
        scales = (SCALE,) if len(request["depths"]) == 1 else MANY
        request = {**request, "scales": scales, "steps": STEPS}
        view = {**request, "scale": SCALE, "depth": request["depths"][0]}
        async with Visitor(server.address) as visitor:
            await visitor.open(urlencode(view, doseq=True))
            failures += faults(visitor, request)
        megabytes.append(watch.last.page)
        if number % 25 == 0:
            workers = " and ".join(f"{each:.0f}" for each in watch.last.workers)
            print(
                f"  after {number:4} requests {megabytes[-1]:4.0f} MB, workers "
                f"{workers} MB",
                flush=True,
            )
    return megabytes


def faults(visitor: Visitor, request: dict[str, Any]) -> list[str]:
    """What is wrong with a page; what is checked further are the lesson's networks."""
    page = visitor.page
    problems = page.exceptions()
    lesson = {"units": 2, "samples": 64, "dtype": "float32"}
    if not problems and lesson.items() <= request.items():
        problems = wrong(seen(page), {**DEFAULTS, **request})
    elif not problems and not page.words("outcomes"):
        problems = ["no outcome"]
    return [f"{request}: {text}" for text in problems[:1]]


def measure(
    server: Server, *, requests: int, shapes: int, after: int
) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    failures: list[str] = []
    several = all_shapes()[:shapes]
    asked = all_requests(requests, several)
    with Watch(server) as watch:
        megabytes = asyncio.run(ask_all(server, watch, asked, failures))
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    base = megabytes[after - 1]
    grown = max(megabytes[after - 1 :]) - base
    return [
        Goal(
            f"{requests} requests of {min(requests, len(several))} shapes: the page "
            f"grows < {GOAL} MB after the first {after}",
            f"{grown:+.0f} MB at most, {megabytes[-1] - base:+.0f} MB at the end",
            grown < GOAL,
        ),
        *watch.goals(),
        Goal("nothing wrong", f"{len(failures)} wrong of {requests}", not failures),
    ], failures
