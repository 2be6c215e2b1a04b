"""Addresses and files that are made to break the page, over real sessions."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.load.checks import SENTENCE
from tests.load.report import Goal
from tests.load.server import ROOT, Server
from tests.load.visitor import Lost, Page, Visitor
from tests.load.visitors import tracebacks
from tests.page.test_hostile import hostile_queries

REFUSED = "This file is not opened."
REASON = "What is wrong with it: "
LIVE = ("Map", "Number formats")  # sections that run something when they open
Damage = Callable[[bytes, random.Random], bytes]


async def open_all(server: Server, count: int) -> list[str]:
    """What is wrong with pages opened at hostile addresses, a visitor each."""
    failures = []
    for number, query in enumerate(hostile_queries(count)):
        if number % 10 == 9:
            query["section"] = LIVE[number // 10 % 2]
        address = urlencode(query, doseq=True)
        try:
            async with Visitor(server.address) as visitor:
                await visitor.open(address)
                faults = wrong(visitor.page)
        except Lost as error:
            faults = [str(error)]
        failures += [f"address {number}, ?{address[:200]}: {what}" for what in faults]
    return failures


def wrong(page: Page) -> list[str]:
    """Exceptions, or a page that shows nothing that a visitor could use."""
    if page.exceptions():
        return page.exceptions()
    words = page.words()
    if any("Traceback" in line for line in words):
        return ["a traceback is shown"]
    elements = [*page.of("vegalitechart", "alert", "fileuploader", "code")]
    useful = elements or page.words("outcomes") or page.words("card_question")
    return [] if words and useful else ["nothing is shown"]


async def files(server: Server, count: int) -> tuple[list[str], int]:
    """What is wrong with pages that were handed damaged logs; how many were refused."""
    content = (ROOT / "assets" / "lesson.parquet").read_bytes()
    failures, refused = [], 0
    async with Visitor(server.address) as visitor:
        await visitor.open("section=Your+log")
        await visitor.upload("your_file", "log.parquet", content)
        whole = results(visitor.page)
        for number, (name, damaged) in enumerate(damaged_logs(content, count)):
            await visitor.upload("your_file", "log.parquet", damaged)
            page = visitor.page
            refused += REFUSED in page.words()
            if what := wrong_file(page, whole):
                failures.append(f"log {number}, {name}: {what}")
    return failures, refused


def wrong_file(page: Page, whole: list[str]) -> str:
    """Why this is no good answer to a damaged log; empty if it is one.

    Damage that leaves every number as it was may be overlooked.
    """
    if page.exceptions():
        return page.exceptions()[0]
    words = page.words()
    if REFUSED in words:
        reasons = [line for line in words if line.startswith(REASON)]
        return "" if reasons and len(reasons[0]) > len(REASON) + 10 else "no reason"
    return "" if results(page) == whole else "opened, with other results"


def results(page: Page) -> list[str]:
    """The sentences on a log, and how much is drawn."""
    sentences = [line for line in page.words("outcomes") if SENTENCE.search(line)]
    return [*sentences, str(len(list(page.of("vegalitechart"))))]


# --- Damage --------------------------------------------------------------------------


def damaged_logs(content: bytes, count: int, seed: int = 0) -> Iterator[tuple]:
    """Pairs of a name and damaged bytes; every kind in turn."""
    random_ = random.Random(seed)
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        yield damage.__name__, damage(content, random_)


def cut_short(content: bytes, random_: random.Random) -> bytes:
    return content[: random_.randrange(len(content))]


def head_lost(content: bytes, random_: random.Random) -> bytes:
    return content[random_.randrange(1, len(content)) :]


def bits_flipped(content: bytes, random_: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(random_.randint(1, 40)):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    return bytes(data)


def footer_flipped(content: bytes, random_: random.Random) -> bytes:
    """Damage where a Parquet file says what it holds."""
    data = bytearray(content)
    length = int.from_bytes(content[-8:-4], "little")
    for _ in range(random_.randint(1, 10)):
        data[len(data) - 9 - random_.randrange(length)] ^= random_.randrange(1, 256)
    return bytes(data)


def block_zeroed(content: bytes, random_: random.Random) -> bytes:
    data, start = bytearray(content), random_.randrange(len(content))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    return bytes(data)


def footer_claims_more(content: bytes, random_: random.Random) -> bytes:
    claim = random_.choice([2**31 - 1, 2**32 - 1, len(content), 0])
    return content[:-8] + claim.to_bytes(4, "little") + b"PAR1"


def other_columns(content: bytes, random_: random.Random) -> bytes:
    """A log one of whose columns is gone, or has another name or type."""
    table = pq.read_table(io.BytesIO(content))
    name = random_.choice(table.column_names)
    place = table.column_names.index(name)
    how = random_.randrange(3)
    if how == 0:
        table = table.drop_columns(name)
    elif how == 1:
        names = [*table.column_names]
        names[place] = "<script>alert(1)</script>"
        table = table.rename_columns(names)
    else:
        words = pa.array(["=1+1"] * len(table))
        table = table.set_column(place, name, words)
    return parquet(table)


def other_metadata(content: bytes, random_: random.Random) -> bytes:
    """A log whose other tables, kept beside the columns, are rubbish."""
    table = pq.read_table(io.BytesIO(content))
    pairs = dict(table.schema.metadata or {})
    name = random_.choice(sorted(pairs))
    pairs[name] = random_.choice([b"", b"{", b"\xff" * 99, b"A" * 1_000_000])
    return parquet(table.replace_schema_metadata(pairs))


def huge_claim(content: bytes, random_: random.Random) -> bytes:
    """Kilobytes that become gigabytes when they are read."""
    rows = 3_000_000
    column = pa.array(np.zeros(rows)).dictionary_encode()
    names = pq.read_schema(io.BytesIO(content)).names
    table = pa.table(dict.fromkeys(names, column))
    return parquet(
        table.replace_schema_metadata(pq.read_schema(io.BytesIO(content)).metadata)
    )


def other_table(content: bytes, random_: random.Random) -> bytes:
    return parquet(pa.table({"x": [random_.random()], "y": [["nested"]]}))


def other_format(content: bytes, random_: random.Random) -> bytes:
    """Nothing, or files of other kinds."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../etc/passwd", "root")
    kinds = [
        b"",
        b"PAR1",
        b"PAR1PAR1",
        b"\x89PNG\r\n\x1a\n" + content[:500],
        archive.getvalue(),
        pickle.dumps({"runs": []}),
        json.dumps({"runs": [1, 2]}).encode(),
        pd.DataFrame({"run": [0]}).to_csv().encode(),
        b"PAR1" + random_.randbytes(1000) + b"PAR1",
    ]
    return random_.choice(kinds)


DAMAGES: tuple[Damage, ...] = (
    cut_short,
    bits_flipped,
    other_format,
    footer_flipped,
    other_columns,
    head_lost,
    block_zeroed,
    other_metadata,
    footer_claims_more,
    huge_claim,
    other_table,
)


def parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def measure(
    server: Server, *, addresses: int, logs: int
) -> tuple[list[Goal], list[str]]:
    """The goals, and what went wrong."""
    first = asyncio.run(open_all(server, addresses))
    second, refused = asyncio.run(files(server, logs))
    third = [f"server: {line}" for line in tracebacks(server.log())]
    if not server.healthy():
        third.append("the server is not healthy any more")
    return [
        Goal(
            f"{addresses} hostile addresses: a default or a clear sentence",
            f"{len(first)} wrong",
            not first,
        ),
        Goal(
            f"{logs} damaged logs: each gets a clear sentence",
            f"{len(second)} wrong, {refused} refused",
            not second,
        ),
        Goal("no traceback, and healthy", f"{len(third)} wrong", not third),
    ], first + second + third
