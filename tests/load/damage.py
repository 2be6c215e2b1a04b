"""Damaged logs, bombs and files of other kinds: bytes that a stranger may hand in.

Written by pyarrow and by hand, never by the code that is to read them.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import pickle
import random
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

import vgkeras as vg

Damage = Callable[[bytes, random.Random], bytes]
CHECKED = ("metadata", "runs", "losses", "theory")


def damaged_file(number: int, seed: int = 0) -> tuple[str, bytes]:
    """The name of a kind of damage and a damaged log, by its number."""
    draw = random.Random(f"{seed}/{number}")
    damage = DAMAGES[number % len(DAMAGES)]
    return damage.__name__, damage(draw.choice(sound_files()), draw)


@functools.cache
def sound_files() -> tuple[bytes, ...]:
    """Small logs as `save` writes them, and as others might: without checksums."""
    several = vg.predict(depths=[2, 3], scales=[0.5, 1.0], steps=4)
    single = vg.predict(depths=[4], scales=[0.9], steps=2)
    both = several.replace(theory=several)
    bare: dict[str, Any] = {"compression": "none", "checksum": False}
    return (
        several.to_bytes(),
        single.to_bytes(),
        both.to_bytes(),
        rewritten(single, **bare),
        rewritten(several, **bare, use_dictionary=False),
        rewritten(several, **bare, data_page_version="2.0"),
        rewritten(both, **bare, data_page_size=64, write_batch_size=8),
        rewritten(single, compression="snappy", checksum=False),
    )


def rewritten(
    log: vg.GradientLog,
    *,
    checksum: bool = True,
    layers: pa.Table | None = None,
    parts: dict[str, bytes] | None = None,
    **options: Any,
) -> bytes:
    """A log's file, written with other options, or with parts replaced."""
    pairs = {
        "metadata": json.dumps(log.metadata).encode(),
        "runs": table_bytes(log.runs, **options),
        "losses": table_bytes(log.losses, **options),
    }
    if log.theory is not None:
        pairs["theory"] = rewritten(log.theory, checksum=checksum, **options)
    pairs.update(parts or {})
    plain = {
        name: value if name == "metadata" else base64.b64encode(value)
        for name, value in pairs.items()
    }
    plain["log"] = b"1"
    if checksum:
        whole = b"".join(plain.get(name, b"") for name in CHECKED)
        plain["crc32"] = str(zlib.crc32(whole)).encode()
    table = arrow(log.layers) if layers is None else layers
    named = {f"vgkeras.{name}": value for name, value in plain.items()}
    return table_bytes(table.replace_schema_metadata(named), **options)


def arrow(table: pd.DataFrame | pa.Table) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    return pa.Table.from_pandas(table, preserve_index=False)


def table_bytes(table: pd.DataFrame | pa.Table, **options: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(arrow(table), content, **options)
    return content.getvalue()


# --- Damage ------------------------------------------------------------------------


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def description(content: bytes) -> range:
    """Where a file tells its schema, rows and pages: the footer before its texts."""
    start = footer_start(content)
    end = content.find(b"vgkeras.", start)
    return range(start, end if end > start else len(content) - 8)


def page_heads(content: bytes) -> list[int]:
    """Where the first pages of each column begin."""
    group = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    starts = [(c.dictionary_page_offset, c.data_page_offset) for c in columns]
    return [start for both in starts for start in both if start]


def with_footer(content: bytes, footer: bytes) -> bytes:
    """A file with another footer, of any length."""
    length = len(footer).to_bytes(4, "little")
    return content[: footer_start(content)] + footer + length + b"PAR1"


def pairs_of(content: bytes) -> dict[bytes, bytes]:
    """The texts that a file holds beside its table."""
    pairs = pq.ParquetFile(io.BytesIO(content)).metadata.metadata
    return {name: pairs[name] for name in pairs if name.startswith(b"vgkeras.")}


def flipped(content: bytes, places: range, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        changed[draw.choice(places)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def bits_flipped(content: bytes, draw: random.Random) -> bytes:
    return flipped(content, range(len(content)), draw)


def description_flipped(content: bytes, draw: random.Random) -> bytes:
    return flipped(content, description(content), draw)


def pages_flipped(content: bytes, draw: random.Random) -> bytes:
    return flipped(content, range(4, footer_start(content)), draw)


def heads_flipped(content: bytes, draw: random.Random) -> bytes:
    start = draw.choice(page_heads(content))
    return flipped(content, range(start, start + 24), draw)


def bytes_overwritten(content: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(content)), draw.choice((1, 4, 16, 256, 4096))
    length = min(length, len(content) - start)
    run = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))
    return content[:start] + run + content[start + length :]


def numbers_overwritten(content: bytes, draw: random.Random) -> bytes:
    """Some bytes of the description become a huge number, or a negative one."""
    start, footer = footer_start(content), content[footer_start(content) :][:-8]
    place = draw.choice(description(content)) - start
    number = draw.choice((b"\xfe" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x01"))
    rest = footer[place + draw.choice((0, 1, 2, len(number))) :]
    return with_footer(content, footer[:place] + number + rest)


def head_numbers_overwritten(content: bytes, draw: random.Random) -> bytes:
    """The same in the description of a page."""
    place = draw.choice(page_heads(content)) + draw.randrange(1, 12)
    number = draw.choice((b"\xfe\xff\xff\xff\x0f", b"\xff\xff\x7f", b"\x01"))
    return content[:place] + number + content[place + len(number) :]


def cut_short(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def head_lost(content: bytes, draw: random.Random) -> bytes:
    lost = draw.randrange(1, len(content))
    return draw.choice((b"", b"PAR1")) + content[lost:]


def middle_lost(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(4, len(content) - 8)
    return content[:start] + content[start + draw.randrange(1, 2000) :]


def spliced(content: bytes, draw: random.Random) -> bytes:
    """The pages of one log under the footer of another, or any two pieces."""
    other = draw.choice(sound_files())
    if draw.random() < 0.5:
        return with_footer(content, other[footer_start(other) : -8])
    return content[: draw.randrange(len(content))] + other[draw.randrange(len(other)) :]


def regions_swapped(content: bytes, draw: random.Random) -> bytes:
    places = description(content) if draw.random() < 0.5 else range(4, len(content) - 8)
    a, b, c, d = sorted(draw.choice(places) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def inner_damaged(content: bytes, draw: random.Random) -> bytes:
    """Damage within a table that the footer holds, under a sound checksum."""
    table, pairs = pq.read_table(io.BytesIO(content)), pairs_of(content)
    names = [name for name in CHECKED[1:] if f"vgkeras.{name}".encode() in pairs]
    name = f"vgkeras.{draw.choice(names)}".encode()
    inner = draw.choice(PLACES)(base64.b64decode(pairs[name]), draw)
    pairs[name] = base64.b64encode(inner)
    whole = b"".join(pairs.get(f"vgkeras.{name}".encode(), b"") for name in CHECKED)
    pairs[b"vgkeras.crc32"] = str(zlib.crc32(whole)).encode()
    return table_bytes(table.replace_schema_metadata(pairs))


PLACES: tuple[Damage, ...] = (
    bits_flipped,
    description_flipped,
    pages_flipped,
    heads_flipped,
    bytes_overwritten,
    numbers_overwritten,
    head_numbers_overwritten,
    cut_short,
)
DAMAGES: tuple[Damage, ...] = (
    *PLACES,
    description_flipped,
    pages_flipped,
    head_lost,
    middle_lost,
    spliced,
    regions_swapped,
    inner_damaged,
    inner_damaged,
)


# --- Bombs -------------------------------------------------------------------------


def bombs() -> dict[str, Callable[[], bytes]]:
    """Files that claim, or unpack to, more than a server has; by name."""
    return {
        **{
            f"footer claims 10^12 rows {where}": functools.partial(claims, count)
            for where, count in (("once", 1), ("in two places", 2), ("everywhere", -1))
        },
        "pages claim 2^31 values": pages_claim,
        "pages claim to unpack to 2 GB": pages_unpack,
        "20 million rows of one value": rows_repeated,
        "20 million rows of one value in a theory": rows_in_theory,
        "a text of 1.2 GB": long_text,
        "a text of 10 kB in a million rows": text_repeated,
        "the same in a category": category_repeated,
        "325,000 pages of one value": many_pages,
        "structs within structs": deep_footer,
        "metadata of 2.5 million lists": deep_metadata,
        "metadata of one number": long_number,
        "theory within theory": theory_within_theory,
        "100 levels of theory": theories,
    }


def others() -> dict[str, Callable[[], bytes]]:
    """Files of another kind, or with other tables."""
    return {
        "nothing": bytes,
        "zeros": lambda: bytes(10**6),
        "magic": lambda: b"PAR1" + bytes(100) + b"PAR1",
        "a page": lambda: b"<html><script>alert(1)</script></html>",
        "a CSV": lambda: small().layers.to_csv().encode(),
        "a pickle": lambda: pickle.dumps(small().runs),
        "a zip": lambda: zipped(small().to_bytes()),
        "a feather": lambda: feather(small().layers),
        "another table": lambda: table_bytes(pd.DataFrame({"a": [1]})),
        "lists": lambda: table_bytes(pa.table({"y": [[["nested"]]]})),
        "no column `step`": lambda: with_layers(small().layers.drop(columns="step")),
        "text for a number": lambda: with_column(log10_norm="=1+1"),
        "a column of dates": lambda: with_column(when=pd.Timestamp(0)),
        "negative steps": lambda: with_column(step=-1),
        "a run of nobody": lambda: with_column(run=9),
        "runs that are losses": lambda: with_part(runs=table_bytes(small().losses)),
        "metadata of bytes": lambda: with_part(metadata=b"\xff"),
    }


def with_part(**parts: bytes) -> bytes:
    return rewritten(small(), parts=parts)


def with_layers(layers: pd.DataFrame) -> bytes:
    return rewritten(small(), layers=arrow(layers))


def with_column(**values: Any) -> bytes:
    return with_layers(small().layers.assign(**values))


@functools.cache
def small() -> vg.GradientLog:
    return vg.predict(depths=[2, 3], scales=[0.5, 1.0], steps=4)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first, as Thrift writes a number."""
    head, rest = number & 127, number >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def claims(count: int) -> bytes:
    """Fields of 64 bits that give the number of rows give another."""
    content = small().to_bytes()
    footer = content[footer_start(content) : -8]
    rows = b"\x16" + varint(2 * len(small().layers))
    return with_footer(
        content, footer.replace(rows, b"\x16" + varint(2 * 10**12), count)
    )


def pages_claim() -> bytes:
    """Footer and pages agree on as many values as 32 bits can tell."""
    content = rewritten(small(), compression="none", checksum=False)
    rows = len(small().layers)
    start = footer_start(content)
    most = 2**31 - 1
    footer = content[start:-8].replace(
        b"\x16" + varint(2 * rows), b"\x16" + varint(2 * most)
    )
    pages = content[:start].replace(
        b"\x15" + varint(2 * rows), b"\x15" + varint(2 * most)
    )
    return with_footer(pages + content[start:], footer)


def pages_unpack() -> bytes:
    """Pages that unpack to 400 MB claim that they unpack to 2 GB."""
    # Field 1 is the type of a page, field 2 what it unpacks to.
    large = re.compile(rb"\x15\x00\x15[\x80-\xff]{4}[\x00-\x7f]")
    claim = b"\x15\x00\x15" + varint(2 * (2**31 - 1))
    content, count = large.subn(claim, long_text())
    if not count:
        raise RuntimeError("Found no large page to change.")
    return content


def layer_rows(rows: int, **columns: pa.Array) -> pa.Table:
    """The first row of a log's layers, over and over."""
    plain = small().layers.fillna(0.0).astype({"name": "str", "kind": "str"})
    first = arrow(plain.head(1))
    place = pa.array(np.zeros(rows, "int32"))
    table = {
        name: pa.DictionaryArray.from_arrays(place, column.combine_chunks())
        for name, column in zip(first.column_names, first.columns, strict=True)
    }
    return pa.table({**table, **columns})


def many_groups(table: pa.Table, groups: int, **options: Any) -> bytes:
    """A log's file whose layers are a table over and over."""
    content = io.BytesIO()
    options = {"compression": "zstd", **options}
    with pq.ParquetWriter(content, table.schema, **options) as writer:
        for _ in range(groups):
            writer.write_table(table)
        writer.add_key_value_metadata(pairs_of(small().to_bytes()))
    return content.getvalue()


@functools.cache
def rows_repeated() -> bytes:
    schema = arrow(small().layers.astype({"name": "str", "kind": "str"})).schema
    return many_groups(layer_rows(2**20).cast(schema), 20)


def rows_in_theory() -> bytes:
    return with_part(theory=rows_repeated())


@functools.cache
def long_text() -> bytes:
    """A gigabyte of one letter, in pages of some kilobytes."""
    rows = arrow(small().layers.head(1).astype({"name": "str", "kind": "str"}))
    text = pa.array(["x" * 400_000_000], pa.large_string())
    table = rows.set_column(rows.column_names.index("name"), "name", text)
    return many_groups(table, 3, use_dictionary=False, write_statistics=False)


def repeated(**options: Any) -> bytes:
    place = pa.array(np.zeros(10**6, "int32"))
    text = pa.DictionaryArray.from_arrays(place, ["x" * 10_000])
    return many_groups(layer_rows(10**6, note=text), 1, **options)


def text_repeated() -> bytes:
    """Without Arrow's schema, words come back as plain text however they are kept."""
    return repeated(store_schema=False)


def category_repeated() -> bytes:
    return repeated()


def many_pages() -> bytes:
    rows = 25_000
    table = arrow(small().layers.iloc[np.zeros(rows, int)])
    options = {"data_page_size": 1, "write_batch_size": 1, "use_dictionary": False}
    return rewritten(small(), layers=table, **options)


def deep_footer() -> bytes:
    return with_footer(small().to_bytes(), b"\x1c" * 10**6)


def deep_metadata() -> bytes:
    lists = b'{"a": [' + b"[]," * (25 * 10**5) + b"[]]}"
    return with_part(metadata=lists)


def long_number() -> bytes:
    return with_part(metadata=b'{"a": 1' + b"0" * 5 * 10**6 + b"}")


def theory_within_theory() -> bytes:
    return with_part(theory=with_part(theory=small().to_bytes()))


def theories() -> bytes:
    """As deep as 20 MB go: each level takes a third more than the one within."""
    content = small().to_bytes()
    while len(content) < 10 * 2**20:
        content = with_part(theory=content)
    return content


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("log.parquet", content)
    return buffer.getvalue()


def feather(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(table, buffer)
    return buffer.getvalue()
