"""Logs read from Parquet files, of which nothing is believed before it is checked."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vgkeras.logs.checks import check_columns, check_log, check_values
from vgkeras.logs.log import GradientLog
from vgkeras.logs.schema import FORMER_NAMES
from vgkeras.logs.writing import (
    CHECKSUM,
    FORMAT,
    FORMAT_VERSION,
    MOST_PARTS,
    checksum,
)

# What pyarrow, base64 and json raise at a damaged file, and what our checks do.
DAMAGE = (ValueError, pa.ArrowException, OSError, RecursionError)
_MAGIC = b"PAR1"
_WRITER = "parquet-cpp-arrow"  # the only writer whose files are opened


def load(source: str | os.PathLike[str] | bytes | BinaryIO) -> GradientLog:
    """Reads a log that `GradientLog.save` wrote, exactly as it was.

    Nothing in the file is believed before it is checked, and nothing in it can run.
    But what it unpacks to is not limited: give the file of a stranger to
    `vgkeras.logs.rewrite` first.

    Args:
        source: The Parquet file: its path, a file opened in binary mode, or its bytes.

    Returns:
        The `GradientLog`, its tables, metadata and theory restored.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `source` is none of these.
        ValueError: If the file is damaged, cut short or no gradient log.

    Example:
        >>> log = vg.load("fit.parquet")  # doctest: +SKIP
    """
    content, received = _content(source)
    try:
        return read(content)
    except DAMAGE as error:
        raise refusal(received, reason(error)) from error


def read(content: bytes) -> GradientLog:
    """The log in a file, or what its reader raised, in no words of ours."""
    log, theory = _log(content)
    if theory is not None:
        inner, further = _log(_unpacked(theory))
        if further is not None:
            raise ValueError("it holds theory within theory")
        check_log(inner)
        log = log.replace(theory=inner)
    check_log(log)
    return log


def refusal(received: str, why: str) -> ValueError:
    """What is raised at a file that is no sound log."""
    return ValueError(
        "`source` must be a whole, undamaged gradient log. "
        f"Received: source={received} ({why}). Write one with `log.save(path)`."
    )


def reason(error: BaseException) -> str:
    """An error in one line without markup of its own: it may quote a file."""
    lines = str(error).splitlines() or [type(error).__name__]
    line = "".join(letter if letter.isprintable() else "?" for letter in lines[0])
    return line[:300].rstrip(".")


def _content(source: Any) -> tuple[bytes, str]:
    """The bytes of a file, and how to call it."""
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes(), repr(str(source))
    content = source.read() if hasattr(source, "read") else source
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(_other_source(source, content))
    return bytes(content), f"<{len(content):,} bytes>"


def _other_source(source: Any, content: Any) -> str:
    kind = type(source).__name__
    if content is source:
        return f"`source` must be a path, a binary file or bytes. Received: {kind}."
    return (
        f"`source` must be opened in binary mode. Received: {kind} that reads "
        f"{type(content).__name__}. Open it with `open(path, 'rb')`."
    )


def _log(content: bytes) -> tuple[GradientLog, bytes | None]:
    """The log in a file, and the file of its theory."""
    file = _opened(content)
    parts = file.metadata.metadata or {}
    _check_format(parts)
    layers = _table("layers", file)
    runs, losses = (
        _table(name, _opened(_unpacked(_part(name, parts))))
        for name in ("runs", "losses")
    )
    log = GradientLog(runs, losses, layers, _metadata(parts))
    return log, parts.get(b"vgkeras.theory")


def _opened(content: bytes) -> pq.ParquetFile:
    if len(content) < 12 or not content[:4] == content[-4:] == _MAGIC:
        raise ValueError("it is no Parquet file, or it is cut short")
    try:
        file = pq.ParquetFile(
            pa.BufferReader(content),
            thrift_container_size_limit=MOST_PARTS,
            thrift_string_size_limit=len(content),
            page_checksum_verification=True,
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"its description is damaged: {reason(error)}") from error
    if not file.metadata.created_by.startswith(_WRITER):
        raise ValueError("it is a Parquet file, but not one that pyarrow wrote")
    return file


def _check_format(parts: Mapping[bytes, bytes]) -> None:
    version = parts.get(FORMAT)
    if version is None:
        raise ValueError("it is a Parquet file, but no gradient log")
    if version != str(FORMAT_VERSION).encode():
        raise ValueError(
            f"its format is {version[:20]!r}, and this version of vgkeras reads "
            f"{FORMAT_VERSION}"
        )
    if parts.get(CHECKSUM, checksum(parts)) != checksum(parts):
        raise ValueError("its checksum is not that of its tables")


def _table(name: str, file: pq.ParquetFile) -> pd.DataFrame:
    """A table of a log, checked: columns, then soundness, then values."""
    schema = file.schema_arrow
    names = _names(name, schema)
    check_columns(name, pa.schema(zip(names, schema.types, strict=True)))
    table = file.read(use_threads=False).rename_columns(names)
    table.validate(full=True)  # indices in range, text that is text
    if len(table) != file.metadata.num_rows:
        raise ValueError(f"table `{name}` has not as many rows as it says")
    check_values(name, table)
    return table.to_pandas(ignore_metadata=True, use_threads=False)


def _names(name: str, schema: pa.Schema) -> list[str]:
    """The names of columns, as they are called today."""
    former = FORMER_NAMES if name == "runs" else {}
    return [
        column if former.get(column, column) in schema.names else former[column]
        for column in schema.names
    ]


def _part(name: str, parts: Mapping[bytes, bytes]) -> bytes:
    part = parts.get(f"vgkeras.{name}".encode())
    if part is None:
        raise ValueError(f"it lacks its {name}")
    return part


def _unpacked(part: bytes) -> bytes:
    return base64.b64decode(part, validate=True)


def _metadata(parts: Mapping[bytes, bytes]) -> dict[str, Any]:
    metadata = json.loads(_part("metadata", parts))
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no dictionary")
    return metadata
