"""Many visitors at once, each moving controls: is all of it right, and soon there?

A visitor thinks for a few seconds, and then moves one control, as a person does. What
the page then shows is checked against theory, once all have left: the check must not
slow down what it checks.

The moves, drawn with a seed for each visitor: a run that nobody has made (`fresh`: the
lesson's grid with another seed or learning rate), one that somebody has made or a
control of the charts (`cached`), another section and back, and leaving in the middle
of a run and coming back. Every fourth visitor has a scale of its own in the grid, and
every fourth a random target, whose first gradient tells its seed.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np

from tests.load.checks import DEFAULTS, Seen, seen, wrong
from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Lost, Visitor

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
SCALES = (0.3, 0.35, 0.4, 0.45, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
BACK = "Back to the lecture's setting"
STAND = {"scale": 0.9, "depth": 50}  # where the sliders of the first screen are
# Sections that need no run, and words that tell them.
TITLES = {
    "Remedies": "What helps, and against what",
    "Published results": "What was published, and what we measured",
    "Your log": "Your log",
    "Code": "Take it away",
}
SHARES = {"look": 0.55, "again": 0.25, "section": 0.13, "leave": 0.07}
ERROR = re.compile(r"^[\w.]+(?:Error|Exception|Exit|Interrupt)\b.*", re.MULTILINE)
CACHED_GOAL, FRESH_GOAL = 0.3, 2.5  # seconds, 95th percentile


class Move(NamedTuple):
    """One move and what came of it."""

    kind: str
    seconds: float
    visitor: int
    settings: dict[str, Any]
    seen: Seen | None
    failure: str = ""


class Plan:
    """Who has run what: a run is fresh once, for one visitor."""

    def __init__(self, seconds: float, think: tuple[float, float], fresh: float):
        self.until = time.monotonic() + seconds
        self.think, self.fresh = think, fresh
        self.done: set[tuple] = {
            key(DEFAULTS, {"scale": scale, "depth": depth})  # all of them recorded
            for scale in DEFAULTS["scales"]
            for depth in DEFAULTS["depths"]
        }
        self.moves: list[Move] = []


def key(settings: dict[str, Any], stand: dict[str, Any]) -> tuple:
    """What has to be run for a page: the lesson's networks, and the one drawn."""
    return tuple(sorted({**settings, **stand}.items()))


class Person:
    """A visitor with a mind: chooses moves, and notes what it asked for."""

    def __init__(self, number: int, count: int, address: str, plan: Plan) -> None:
        self.number, self.address, self.plan = number, address, plan
        self.random = random.Random(number)
        self.seeds = iter(range(1 + number, 100, count))
        self.settings, self.stand = dict(DEFAULTS), dict(STAND)
        if number % 4 == 1:
            scale = SCALES[number // 4 % len(SCALES)]
            self.settings["scales"] = tuple(sorted((scale, 0.9, 1.5)))
        if number % 4 == 3:
            self.settings["target"] = "teacher"

    async def stay(self) -> None:
        """Opens the page and moves controls until the time is over."""
        await self.rest(0.0)
        while time.monotonic() < self.plan.until:
            try:
                async with Visitor(self.address) as self.visitor:
                    await self.note("open", self.visitor.open(self.link()))
                    leaves = False
                    while time.monotonic() < self.plan.until and not leaves:
                        await self.rest()
                        leaves = await self.move()
            except (Lost, KeyError) as error:  # KeyError: a control is not there
                self.keep("lost", np.nan, None, str(error))
                await self.rest()

    async def rest(self, least: float | None = None) -> None:
        low, high = self.plan.think
        await asyncio.sleep(self.random.uniform(low if least is None else least, high))

    def link(self) -> str:
        """The address of this visitor's setting."""
        changed = {k: v for k, v in self.settings.items() if v != DEFAULTS[k]}
        return urlencode({**changed, **self.stand}, doseq=True)

    async def move(self) -> bool:
        """One move of the mix; whether the visitor has left with it."""
        kind = "fresh"
        if self.random.random() >= self.plan.fresh:
            kind = self.random.choices([*SHARES], [*SHARES.values()])[0]
        return bool(await getattr(self, kind)())

    async def look(self) -> None:
        """Moves a control that the networks of the lesson do not depend on."""
        depths, scales = self.settings["depths"], self.settings["scales"]
        name, value = self.random.choice(
            [
                ("scale", self.random.choice(scales)),
                ("depth", self.random.choice(depths)),
                ("grid_depth", self.random.choice(depths)),
                ("grid_scale", self.random.choice(scales)),
                ("kind", self.random.choice(["activation", "weight gradient"])),
            ]
        )
        if name in STAND:
            self.stand[name] = value
        await self.note("", self.visitor.move(name, value))

    async def again(self) -> None:
        """Goes back to a run that this or another visitor has made."""
        near = [{**self.settings, "learning_rate": rate} for rate in RATES]
        done = self.plan.done
        near = [s for s in near if key(s, self.stand) in done and s != self.settings]
        if near and self.settings != DEFAULTS:
            chosen = self.random.choice(near)
            await self.change("learning_rate", chosen["learning_rate"])
        else:
            self.settings = dict(DEFAULTS)
            await self.note("", self.visitor.move(BACK))

    async def fresh(self) -> None:
        """Asks for a run that nobody has made."""
        await self.change(*self.something_new())

    async def leave(self) -> bool:
        """Asks for a run, and closes the tab in the middle of it."""
        name, value = self.something_new()
        await self.visitor.touch(name, value)
        await asyncio.sleep(self.random.uniform(0.05, 1.0))
        await self.visitor.leave()
        self.keep("left", np.nan, None)
        return True

    async def section(self) -> None:
        """Looks at another section, and comes back."""
        name = self.random.choice([*TITLES])
        row = "section" if name == "Remedies" else "more"
        if row == "more":
            await self.visitor.move("section", "More")
        seconds = await self.visitor.move(row, name)
        page = self.visitor.page
        failure = "; ".join(page.exceptions())
        if not failure and TITLES[name] not in page.words():
            failure = f"{name}: another section is shown"
        self.keep("section", seconds, None, failure)
        await self.rest()
        await self.note("", self.visitor.move("section", "Lesson"))

    def something_new(self) -> tuple[str, Any]:
        """A learning rate or, if this seed has had them all, a seed."""
        rates = [
            rate
            for rate in RATES
            if key({**self.settings, "learning_rate": rate}, self.stand)
            not in self.plan.done
        ]
        if self.settings["seed"] and rates and self.random.random() < 0.6:
            return "learning_rate", self.random.choice(rates)
        seed = next(self.seeds, None)
        if seed is None:
            self.seeds = iter(range(1, 100))  # a long visit: others have been there
            seed = next(self.seeds)
        return "seed", seed

    async def change(self, name: str, value: Any) -> None:
        self.settings = {**self.settings, name: value}
        await self.note("", self.visitor.move(name, value))

    async def note(self, kind: str, answer: Any) -> None:
        """Waits for the page and keeps what it shows, to be checked later."""
        name = key(self.settings, self.stand)
        kind = kind or ("cached" if name in self.plan.done else "fresh")
        seconds = await answer
        self.plan.done.add(name)
        self.keep(kind, seconds, seen(self.visitor.page))

    def keep(
        self, kind: str, seconds: float, seen: Seen | None, failure: str = ""
    ) -> None:
        self.plan.moves.append(
            Move(kind, seconds, self.number, self.settings, seen, failure)
        )


async def visit(address: str, count: int, plan: Plan) -> None:
    people = [Person(number, count, address, plan) for number in range(count)]
    await asyncio.gather(*(person.stay() for person in people))


async def warm(address: str) -> None:
    """Loads TensorFlow and compiles, as the first visitor of a server does."""
    async with Visitor(address) as visitor:
        await visitor.open()
        await visitor.move("learning_rate", 0.03)


def measure(
    server: Server, *, visitors: int, seconds: float, think: tuple, fresh: float
) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    asyncio.run(warm(server.address))
    plan = Plan(seconds, think, fresh)
    asyncio.run(visit(server.address, visitors, plan))
    failures = checked(plan.moves)
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    rate = len(plan.moves) / seconds
    print(f"{visitors} visitors for {seconds:g} s, {think[0]:g} to {think[1]:g} s of")
    print(f"thought between moves, {fresh:.0%} of them fresh runs: {rate:.1f} moves/s")
    for kind in ("open", "cached", "fresh", "section", "left", "lost"):
        print(times(kind, plan.moves))
    right = sum(move.seen is not None for move in plan.moves)
    return [
        Goal(
            f"{visitors} visitors, {seconds:g} s: no error, nothing wrong or mixed up",
            f"{len(failures)} wrong, {right} pages checked",
            not failures and right > 0,
        ),
        within("cached change", plan.moves, "cached", CACHED_GOAL),
        within("fresh default run", plan.moves, "fresh", FRESH_GOAL),
    ], failures


def checked(moves: list[Move]) -> list[str]:
    """A line for each move after which the page was wrong."""
    failures = []
    for move in moves:
        faults = [move.failure] if move.failure else []
        if move.seen is not None:
            faults += wrong(move.seen, move.settings)
        if faults:
            changed = {k: v for k, v in move.settings.items() if v != DEFAULTS[k]}
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            who = f"visitor {move.visitor}, {move.kind}, {changed}"
            failures.append(f"{who}: {faults[0]}{more}")
    return failures


def tracebacks(log: str) -> list[str]:
    """The errors of the tracebacks that the server has printed, plain or framed."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", log)  # colours
    parts = plain.split("Traceback (most recent call last)")[1:]
    return [next(iter(ERROR.findall(part)), "a traceback") for part in parts]


def times(kind: str, moves: list[Move]) -> str:
    seconds = [move.seconds for move in moves if move.kind == kind]
    if not seconds or np.isnan(seconds).all():
        return f"  {kind:8}{len(seconds):5}"
    middle, most, worst = np.percentile(seconds, [50, 95, 100])
    summary = f"median {middle:.2f} s, 95% {most:.2f} s, worst {worst:.2f} s"
    return f"  {kind:8}{len(seconds):5}  {summary}"


def within(what: str, moves: list[Move], kind: str, limit: float) -> Goal:
    seconds = [move.seconds for move in moves if move.kind == kind]
    most = float(np.percentile(seconds, 95)) if seconds else np.nan
    return Goal(
        f"{what}, 95% < {limit:g} s", f"{most:.2f} s of {len(seconds)}", most < limit
    )
