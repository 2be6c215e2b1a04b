"""The memory of one server after every section was used, live runs included.

Private memory is what the server cannot do without. The rest of what is resident are
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

GOAL = 900  # megabytes
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


async def visit_all(server: Server, failures: list[str]) -> list[tuple[float, float]]:
    """Private and resident megabytes after each view."""
    views = []
    for view in VIEWS:
        async with Visitor(server.address) as visitor:
            await visitor.open(urlencode(view))
            failures += visitor.page.exceptions()
        views.append((server.megabytes("RssAnon"), server.megabytes()))
        line = "  {:60} {:5.0f} MB private, {:5.0f} MB resident"
        print(line.format(urlencode(view) or "the lesson", *views[-1]), flush=True)
    return views


def measure(server: Server) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    failures: list[str] = []
    views = asyncio.run(visit_all(server, failures))
    failures += [f"server: {line}" for line in tracebacks(server.log())]
    private, resident = (max(values) for values in zip(*views, strict=True))
    return [
        Goal(
            f"every section used: private memory < {GOAL} MB",
            f"{private:.0f} MB, {resident:.0f} MB resident",
            private < GOAL,
        ),
        Goal("no exception", f"{len(failures)} wrong", not failures),
    ], failures
