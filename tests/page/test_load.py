"""The load script in small: two visitors, a damaged log, a server that is killed."""

import asyncio

import pytest

from tests.load import checks, hostile, killed, visitors
from tests.load.server import Server
from tests.load.visitor import Visitor

pytestmark = pytest.mark.slow

SMALL = {"scales": (0.9,), "depths": (2, 10), "steps": 50}
LINK = "scales=0.9&depths=2&depths=10&steps=50"


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


async def look(address, rate):
    """What a visitor sees who moves the learning rate."""
    async with Visitor(address) as visitor:
        await visitor.open(LINK)
        await visitor.move("learning_rate", rate)
        return checks.seen(visitor.page)


def test_two_visitors_get_what_each_has_asked_for(server):
    async def both():
        return await asyncio.gather(
            look(server.address, 0.03), look(server.address, 0.003)
        )

    first, second = asyncio.run(both())

    assert checks.wrong(first, {**SMALL, "learning_rate": 0.03}) == []
    assert checks.wrong(second, {**SMALL, "learning_rate": 0.003}) == []
    assert checks.wrong(first, {**SMALL, "learning_rate": 0.003}) != []
    assert checks.wrong(first, {**SMALL, "depths": (2, 5)}) != []


def test_a_damaged_log_gets_a_sentence(server):
    failures, refused = asyncio.run(hostile.files(server, 2))

    assert failures == []
    assert refused == 2


def test_a_server_killed_in_a_run_opens_again(server):
    async def outcomes():
        async with Visitor(server.address) as visitor:
            await visitor.open("section=Code&stack_scale=0.9")
            return visitor.page.words("outcomes")

    asyncio.run(killed.kill_while_running(server, 0.1))
    server.start()

    assert any("c = 0.9, L = 20: trains" in said for said in asyncio.run(outcomes()))
    assert visitors.tracebacks(server.log()) == []
