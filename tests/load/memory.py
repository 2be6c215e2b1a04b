"""The memory of one server after every section was used, live runs included.

Private memory is what a process cannot do without. The rest of what is resident are
pages of files, most of them TensorFlow's library: the system takes them back when
memory is short. A limit on both is set from outside, for instance by a container.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from tests.load.report import Goal
from tests.load.server import Server
from tests.load.visitor import Visitor
from tests.load.visitors import tracebacks
from tests.load.watch import Watch

VIEWS = (
    {},
    {"steps": 100},
    {"section": "Predict", "looked": "0.1"},
    {"section": "Map"},
    {"section": "Map", "map_by": "learning rate"},
    {"section": "Remedies"},
    {"section": "Remedies", "remedy_steps": 50},
    {"section": "Number formats"},
    {"section": "Published results"},
    {"section": "Your log", "example": "true"},
    {"section": "Code"},
)


async def visit_all(server: Server, watch: Watch, failures: list[str]) -> None:
    """Prints the private megabytes after each view."""
    for view in VIEWS:
        async with Visitor(server.address) as visitor:
            await visitor.open(urlencode(view))
            failures += visitor.page.exceptions()
        look = watch.last
        workers = " and ".join(f"{megabytes:.0f}" for megabytes in look.workers)
        name = urlencode(view) or "the lesson"
        print(f"  {name:44} {look.page:4.0f} MB, workers {workers} MB", flush=True)


def measure(server: Server) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    failures: list[str] = []
    with Watch(server) as watch:
        asyncio.run(visit_all(server, watch, failures))
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    wrong = Goal("no exception", f"{len(failures)} wrong", not failures)
    return [*watch.goals(), wrong], failures
