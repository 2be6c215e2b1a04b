"""Parquet from strangers: decoded only once it is known what it unpacks to.

A file of some kilobytes can claim any number of rows, its pages can unpack to
gigabytes, and pyarrow ends the whole process when it is asked about a column whose
description is damaged. So the description is read here: what the tables will take is
added up from the footer and from the header of every page, and only then is pyarrow
given the file.

Reference:
    [Parquet's footer and page headers](https://github.com/apache/parquet-format),
    structs of [Thrift's compact
    protocol](https://github.com/apache/thrift/blob/master/doc/specs).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

MOST_PARTS = 64  # row groups of a table, and columns of it
_MOST_VALUES = 200_000  # in a footer
_MAGIC = b"PAR1"
_WRITER = b"parquet-cpp-arrow"  # the only writer whose files are opened
_CELL = 8  # bytes of a number, or of a text's place among the texts
_PAGE = 1000  # bytes that stand for the work of a page, however small it is
# Kinds of values in Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _INT32, _INT64, _DOUBLE, _BINARY = 1, 2, 3, 5, 6, 7, 8
_LIST, _SET, _STRUCT = 9, 10, 12


class TooLargeError(ValueError):
    """A table that takes more than it is allowed."""


class Allowance:
    """Bytes that may still be unpacked.

    Args:
        size: Number of bytes, for everything that is paid from it.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def pay(self, size: int) -> None:
        """Takes `size` bytes off, or raises `TooLargeError`."""
        self._left -= size
        if self._left < 0:
            needed = self._size - self._left
            raise TooLargeError(f"it takes {needed:,} bytes or more")


def read_table(
    content: bytes,
    allowance: Allowance,
    check: Callable[[pa.Schema, Mapping[bytes, bytes]], None],
) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Decodes a Parquet file of flat columns.

    Args:
        content: The whole file.
        allowance: What its tables may take in memory.
        check: Is given the schema and the file's own key-value pairs before anything
            is decoded, and raises `ValueError` if they are not what is wanted.

    Returns:
        The table, checked to be sound (indices in range, text that is text), and the
        key-value pairs.

    Raises:
        ValueError: If the file is damaged, takes too much or was written by others.
        pyarrow.ArrowException: If it is damaged where only pyarrow looks.
    """
    footer = _footer(content)
    pairs = _pairs(footer)
    _pay_for(footer, content, allowance)
    schema = _opened(content).schema_arrow
    check(schema, pairs)
    # Read as its dictionary, a text of a megabyte in each of a million rows is one.
    texts = [field for field in schema if is_plain_text(field.type)]
    file = _opened(content, [field.name for field in texts])
    table = file.read(use_threads=False)
    table.validate(full=True)
    for field in texts:
        place = table.schema.get_field_index(field.name)
        column = _spelled_out(table.column(place), field.type, allowance)
        table = table.set_column(place, field.name, column)
    return table, pairs


def is_plain_text(kind: pa.DataType) -> bool:
    """Whether a column holds its texts one by one, not numbers of a dictionary."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _opened(content: bytes, texts: Any = ()) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=list(texts),
        thrift_container_size_limit=MOST_PARTS,
        thrift_string_size_limit=max(len(content), 1),
        page_checksum_verification=True,
    )


def _spelled_out(
    column: pa.ChunkedArray, kind: pa.DataType, allowance: Allowance
) -> pa.ChunkedArray:
    """A column of texts, of which each chunk's dictionary held every text once."""
    for chunk in column.chunks:
        longest = max((len(text) for text in chunk.dictionary.to_pylist()), default=0)
        allowance.pay(4 * longest * len(chunk))
    return column.cast(kind)


class _Field(NamedTuple):
    """A value of a struct, with its kind: readers skip a field of another kind."""

    kind: int
    value: Any


def _footer(content: bytes) -> dict[int, _Field]:
    """The struct at the end of the file that describes the table."""
    ends = (content[:4], content[-4:])
    if len(content) < 12 or ends != (_MAGIC, _MAGIC):
        raise ValueError("it is no Parquet file, or it is cut short")
    (length,) = struct.unpack("<I", content[-8:-4])
    start = len(content) - 8 - length
    if start < 4:
        raise ValueError("its footer is longer than the file")
    footer, _ = _parsed(content, start, _MOST_VALUES)
    if not _of(footer, 6, _BINARY, b"").startswith(_WRITER):
        raise ValueError("it is a Parquet file, but not one that pyarrow wrote")
    return footer


def _pairs(footer: dict[int, _Field]) -> dict[bytes, bytes]:
    found = {}
    for pair in _of(footer, 5, _LIST, []):
        found[_of(pair, 1, _BINARY)] = _of(pair, 2, _BINARY, b"")
    return found


def _pay_for(footer: dict[int, _Field], content: bytes, allowance: Allowance) -> None:
    """Pays for the rows that the footer claims, and for all pages."""
    rows, groups = _of(footer, 3, _INT64), _of(footer, 4, _LIST)
    columns = max((len(_of(group, 1, _LIST)) for group in groups), default=1)
    allowance.pay(max(rows, 0) * columns * _CELL)
    if rows != sum(_of(group, 3, _INT64) for group in groups):
        raise ValueError("its parts have not as many rows as the whole")
    for group in groups:
        for part in _of(group, 1, _LIST):
            column, held = _of(part, 3, _STRUCT), 0
            for page in _pages(content, column):
                held += 0 if page.dictionary else page.values
                allowance.pay(page.unpacked + _PAGE)
                if page.dictionary:  # an entry is a pointer and a length
                    allowance.pay(2 * _CELL * page.values)
            if not held == _of(column, 5, _INT64) == _of(group, 3, _INT64):
                raise ValueError("a column has not as many values as the table rows")


class _Page(NamedTuple):
    unpacked: int  # bytes
    values: int
    dictionary: bool


def _pages(content: bytes, column: dict[int, _Field]) -> Iterator[_Page]:
    """The pages of a part of a column, as their headers describe them."""
    if _of(column, 5, _INT64) == 0:
        return  # a dictionary without data: nothing of it is read
    at, first = _of(column, 9, _INT64), _of(column, 11, _INT64, 0)
    at = first if 0 < first < at else at
    end = at + _of(column, 7, _INT64)
    if not 0 < at <= end <= len(content):
        raise ValueError("its pages lie outside of the file")
    while at < end:
        header, at = _parsed(content, at, most=100)
        dictionary = _of(header, 7, _STRUCT, None)
        data = _of(header, 5, _STRUCT, None) or _of(header, 8, _STRUCT, {})
        values = _of(dictionary or data, 1, _INT32)
        unpacked, packed = _of(header, 2, _INT32), _of(header, 3, _INT32)
        if min(unpacked, packed, values) < 0:
            raise ValueError("a page has a negative size")
        at += packed
        yield _Page(unpacked, values, dictionary is not None)
    if at != end:
        raise ValueError("its pages are longer than it says")


_REQUIRED = object()


def _of(
    fields: dict[int, _Field], number: int, kind: int, default: Any = _REQUIRED
) -> Any:
    found = fields.get(number)
    if found is not None and found.kind == kind:
        return found.value
    if found is not None or default is _REQUIRED:
        raise ValueError(f"its description is damaged (field {number})")
    return default


def _parsed(content: bytes, at: int, most: int) -> tuple[dict[int, _Field], int]:
    """The struct that begins at a place, and the place where it ends."""
    reader = _Reader(content, at, most)
    try:
        return reader.struct(), reader.at
    except (IndexError, RecursionError):
        raise ValueError("its description is damaged or cut short") from None


class _Reader:
    """Reads values one after the other, at most so many of them."""

    def __init__(self, content: bytes, at: int, most: int) -> None:
        self.content, self.at, self.left = content, at, most

    def struct(self) -> dict[int, _Field]:
        fields: dict[int, _Field] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            if number in fields:
                raise ValueError(f"its description gives field {number} twice")
            fields[number] = _Field(head & 15, self.value(head & 15))
        return fields

    def value(self, kind: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError("its description has too many parts")
        if kind in _READ:
            return _READ[kind](self)
        raise ValueError("its description has a value of an unknown kind")

    def list(self) -> list[Any]:
        head = self.byte()
        kind = head & 15
        length = head >> 4 if head >> 4 < 15 else self.varint()
        if length > MOST_PARTS:
            raise ValueError(f"its description lists more than {MOST_PARTS} parts")
        if kind in (_TRUE, _FALSE):  # in a list, a truth value takes a byte
            kind = _BYTE
        return [self.value(kind) for _ in range(length)]

    def binary(self) -> bytes:
        length = self.varint()
        self.at += length
        return self.content[self.at - length : self.at]

    def integer(self) -> int:
        code = self.varint()
        return (code >> 1) ^ -(code & 1)

    def varint(self) -> int:
        """Seven bits a byte, the lowest first; ten bytes at most."""
        value = 0
        for place in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << place
            if byte < 128:
                return value
        raise ValueError("its description has a number that does not end")

    def byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]


_READ: dict[int, Callable[[_Reader], Any]] = {
    _TRUE: lambda reader: True,
    _FALSE: lambda reader: False,
    _BYTE: _Reader.byte,
    4: _Reader.integer,
    _INT32: _Reader.integer,
    _INT64: _Reader.integer,
    _BINARY: _Reader.binary,
    _LIST: _Reader.list,
    _SET: _Reader.list,
    _STRUCT: _Reader.struct,
}
