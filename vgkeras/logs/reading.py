"""Logs read from Parquet files, of which nothing is believed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from vgkeras._checks import check_positive_int
from vgkeras.logs.html import shortened
from vgkeras.logs.log import GradientLog
from vgkeras.logs.parquet import Allowance, TooLargeError, is_plain_text, read_table
from vgkeras.logs.schema import (
    COUNTS,
    INTEGERS,
    KINDS,
    KNOWN_COLUMNS,
    REQUIRED_COLUMNS,
    TEXTS,
)
from vgkeras.logs.writing import CHECKSUM, FORMAT, FORMAT_VERSION, checksum

MOST_BYTES = 2**31  # that a log may take in memory, unless one says otherwise

_MOST_COUNT = 2**53  # beyond it, charts could not tell neighbours apart
_MOST_LETTERS = 1000  # of a name
_OBJECT = 32  # bytes that a letter of JSON may take as a Python object


def load(
    source: str | os.PathLike[str] | bytes | BinaryIO, *, max_bytes: int = MOST_BYTES
) -> GradientLog:
    """Reads a log that `GradientLog.save` wrote, exactly as it was.

    Nothing in the file is believed before it is checked and nothing in it can run, so
    a stranger's file may be opened. Give a smaller `max_bytes` for those.

    Args:
        source: The Parquet file: its path, a file opened in binary mode, or its bytes.
        max_bytes: Refuse a log that takes more memory than this, before it is taken.

    Returns:
        The `GradientLog`, its tables, metadata and theory restored.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `source` is none of these, or `max_bytes` is no integer.
        ValueError: If the file is damaged, cut short, too large or no gradient log.

    Example:
        >>> log = vg.load("fit.parquet")  # doctest: +SKIP
    """
    most = check_positive_int("max_bytes", max_bytes)
    content, received = _content(source, most)
    try:
        return _from_parquet(content, Allowance(most))
    except TooLargeError as error:
        raise ValueError(
            f"`source` must be a gradient log of at most {most:,} bytes in memory. "
            f"Received: source={received} ({error}). Log fewer steps, or open it with "
            "a larger `max_bytes`."
        ) from error
    except (ValueError, pa.ArrowException, OSError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            "`source` must be a whole, undamaged gradient log. "
            f"Received: source={received} ({reason}). Write one with `log.save(path)`."
        ) from error


def _content(source: Any, most: int) -> tuple[bytes, str]:
    """The bytes of a file, one more than `most` at most, and how to call it."""
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif hasattr(source, "read"):
        content = source.read(most + 1)
        if not isinstance(content, bytes):
            raise TypeError(
                "`source` must be opened in binary mode. "
                f"Received: {type(source).__name__} that reads "
                f"{type(content).__name__}. Open it with `open(path, 'rb')`."
            )
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return file.read(most + 1), repr(str(source))
    else:
        raise TypeError(
            "`source` must be a path, a binary file or bytes. "
            f"Received: {type(source).__name__}."
        )
    return content, f"<{len(content):,} bytes>"


def _from_parquet(
    content: bytes, allowance: Allowance, *, inner: bool = False
) -> GradientLog:
    """The log in a file; `inner` for the theory within a log, which holds no other."""
    allowance.pay(len(content))
    table, parts = read_table(content, allowance, _check_layers)
    _check_values("layers", table)
    theory = parts.get(b"vgkeras.theory")
    if theory is not None and inner:
        raise ValueError("it holds theory within theory")
    log = GradientLog(
        runs=_decoded("runs", parts, allowance),
        losses=_decoded("losses", parts, allowance),
        layers=table.to_pandas(ignore_metadata=True),
        metadata=_read_metadata(parts, allowance),
        theory=_from_parquet(_unpacked(theory), allowance, inner=True)
        if theory is not None
        else None,
    )
    _check_log(log)
    return log


def _decoded(
    name: str, parts: dict[bytes, bytes], allowance: Allowance
) -> pd.DataFrame:
    """The table that is kept, as a Parquet file of its own, in the file's metadata."""
    content = _unpacked(_part(name, parts))
    table, _ = read_table(
        content,
        allowance,
        lambda schema, pairs: _check_columns(name, _as_named_today(schema), pairs),
    )
    table = table.rename_columns(_as_named_today(table.schema).names)
    _check_values(name, table)
    return table.to_pandas(ignore_metadata=True)


def _as_named_today(schema: pa.Schema) -> pa.Schema:
    """Logs of version 0.1 call the outcome of a run its verdict."""
    if "outcome" in schema.names:
        return schema
    return pa.schema(
        field.with_name("outcome") if field.name == "verdict" else field
        for field in schema
    )


def _unpacked(value: bytes) -> bytes:
    return base64.b64decode(value, validate=True)


def _part(name: str, parts: dict[bytes, bytes]) -> bytes:
    found = parts.get(f"vgkeras.{name}".encode())
    if found is None:
        raise ValueError(f"it lacks its {name}")
    return found


def _read_metadata(parts: dict[bytes, bytes], allowance: Allowance) -> dict[str, Any]:
    text = _part("metadata", parts)
    allowance.pay(_OBJECT * len(text))
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("its metadata is no dictionary")
    return found


def _check_layers(schema: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
    version = pairs.get(FORMAT)
    if version is None:
        raise ValueError("it is a Parquet file, but no gradient log")
    if version != str(FORMAT_VERSION).encode():
        raise ValueError(
            f"its format is {version[:20]!r}, and this version of vgkeras reads "
            f"{FORMAT_VERSION}"
        )
    if pairs.get(CHECKSUM, checksum(pairs)) != checksum(pairs):
        raise ValueError("its checksum is not that of its tables")
    _check_columns("layers", schema, pairs)


def _check_columns(name: str, schema: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
    """Holds the columns of a table, before it is decoded, to what we write."""
    missing = [
        column for column in REQUIRED_COLUMNS[name] if column not in schema.names
    ]
    if missing:
        raise ValueError(f"table `{name}` lacks {', '.join(missing)}")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"table `{name}` has two columns of one name")
    for field in schema:
        wanted = _wanted(field.name, KNOWN_COLUMNS[name])
        # A column of nothing has no type: `check_values` sees that it has no rows.
        if not (pa.types.is_null(field.type) or _TYPES[wanted](field.type)):
            raise ValueError(
                f"table `{name}`: column {shortened(field.name)!r} must hold "
                f"{wanted}, not {shortened(str(field.type))}"
            )


def _wanted(column: str, known: tuple[str, ...]) -> str:
    if column not in known:
        return "numbers, truth values or text"
    if column in INTEGERS:
        return "integers"
    return "text" if column in TEXTS else "numbers"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return is_plain_text(kind.value_type)
    return is_plain_text(kind)


def _is_plain(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind)


def _check_values(name: str, table: pa.Table) -> None:
    """Holds the values of our columns to what they mean."""
    for column in (c for c in KNOWN_COLUMNS[name] if c in table.column_names):
        values = table.column(column)
        told = f"table `{name}`: column '{column}'"
        whole = column in INTEGERS or column in TEXTS
        if (whole or pa.types.is_null(values.type)) and values.null_count:
            raise ValueError(f"{told} has empty fields")
        if column in COUNTS and len(values):
            ends = pc.min_max(values).as_py()
            if ends["min"] < 0 or ends["max"] > _MOST_COUNT:
                raise ValueError(f"{told} must hold counts of 0 to {_MOST_COUNT:,}")
        if column in TEXTS and _longest(values) > _MOST_LETTERS:
            raise ValueError(f"{told} has a text of more than {_MOST_LETTERS} letters")


def _longest(values: pa.ChunkedArray) -> int:
    """Letters of the longest text of a column."""
    if pa.types.is_null(values.type):
        return 0
    parts = [
        chunk.dictionary if pa.types.is_dictionary(values.type) else chunk
        for chunk in values.chunks
    ]
    return max((pc.max(pc.utf8_length(part)).as_py() or 0 for part in parts), default=0)


def _check_log(log: GradientLog) -> None:
    """Holds the tables of a log to each other."""
    numbers = log.runs["run"]
    if numbers.duplicated().any():
        raise ValueError("table `runs` has two runs of one number")
    inner = {} if log.theory is None else {"theory": log.theory.runs}
    for name, table in {"losses": log.losses, "layers": log.layers, **inner}.items():
        if not table["run"].isin(numbers).all():
            raise ValueError(f"table `{name}` has a run that table `runs` has not")
    unknown = sorted(set(log.layers["kind"].unique()) - set(KINDS))
    if unknown:
        raise ValueError(
            f"table `layers` has the unknown kind {shortened(unknown[0])!r}; known are "
            f"{', '.join(KINDS)}"
        )


_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "integers": pa.types.is_integer,
    "numbers": _is_number,
    "text": _is_text,
    "numbers, truth values or text": _is_plain,
}
