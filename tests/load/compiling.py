"""One visitor's runs compile, one after the other; another one moves what is there."""

from __future__ import annotations

import asyncio
import random
from urllib.parse import urlencode

import numpy as np

from tests.load.checks import DEFAULTS
from tests.load.growth import SCALE, STEPS, all_shapes
from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Visitor
from tests.load.visitors import tracebacks

GOAL = 0.4  # seconds
THINK = 0.3
BEFORE = 30  # moves while nothing compiles


async def compile_one(address: str, shape: dict) -> None:
    """Asks for a network of a shape that the server has not seen."""
    view = {**shape, "scales": SCALE, "steps": STEPS, "scale": SCALE}
    async with Visitor(address) as visitor:
        await visitor.open(urlencode({**view, "depth": shape["depths"][0]}, doseq=True))


async def look(
    address: str, begun: asyncio.Event, over: asyncio.Event
) -> tuple[list[float], list[float]]:
    """Seconds of each move of two sliders, all of them recorded: before, and during."""
    random_ = random.Random(0)
    before: list[float] = []
    during: list[float] = []
    async with Visitor(address) as visitor:
        await visitor.open()
        moves = [("scale", c) for c in DEFAULTS["scales"]]
        moves += [("depth", n) for n in DEFAULTS["depths"]]
        for scale in DEFAULTS["scales"]:
            await visitor.move("scale", scale)
            for depth in DEFAULTS["depths"]:
                await visitor.move("depth", depth)
        while not over.is_set():
            seconds = await visitor.move(*random_.choice(moves))
            (during if begun.is_set() else before).append(seconds)
            if len(before) == BEFORE:
                begun.set()
            await asyncio.sleep(THINK)
    return before, during


async def both(address: str, count: int) -> tuple[list[float], list[float]]:
    begun, over = asyncio.Event(), asyncio.Event()
    looking = asyncio.create_task(look(address, begun, over))
    await begun.wait()
    for shape in all_shapes()[:count]:
        await compile_one(address, shape)
    over.set()
    return await looking


def measure(server: Server, *, shapes: int) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    before, during = asyncio.run(both(server.address, shapes))
    failures = [f"server: {line}" for line in tracebacks(server.log())]
    middle, most = np.percentile(during, [50, 95])
    print(
        "  while nothing compiles: 95% {1:.2f} s, median {0:.2f} s".format(
            *np.percentile(before, [50, 95])
        )
    )
    return [
        Goal(
            f"while runs compile: cached change, 95% < {GOAL:g} s",
            f"{most:.2f} s of {len(during)}, median {middle:.2f} s",
            most < GOAL,
        ),
        Goal("no traceback", f"{len(failures)} wrong", not failures),
    ], failures
