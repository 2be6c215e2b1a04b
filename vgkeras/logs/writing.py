"""A log as one Parquet file."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from vgkeras.logs.log import GradientLog

MOST_PARTS = 64  # row groups of a table, and columns of it
FORMAT = b"vgkeras.log"
FORMAT_VERSION = 1
_PARTS = (b"vgkeras.metadata", b"vgkeras.runs", b"vgkeras.losses", b"vgkeras.theory")
CHECKSUM = b"vgkeras.crc32"  # of the parts; pages of the tables have their own


def write_log(log: GradientLog, file: Any) -> None:
    """The layers as a Parquet table, the rest in its key-value pairs."""
    parts = {
        b"vgkeras.metadata": json.dumps(log.metadata).encode(),
        b"vgkeras.runs": _encoded(_write_table, log.runs),
        b"vgkeras.losses": _encoded(_write_table, log.losses),
    }
    if log.theory is not None:
        if log.theory.theory is not None:
            raise ValueError(
                "`theory` must not hold a theory of its own. Received: a log with "
                "theory within theory. Use `log.replace(theory=None)` for the inner."
            )
        parts[b"vgkeras.theory"] = _encoded(write_log, log.theory)
    format_version = str(FORMAT_VERSION).encode()
    head = {FORMAT: format_version, CHECKSUM: checksum(parts)}
    _write_table(log.layers, file, {**head, **parts})


def _encoded(write: Callable[[Any, Any], None], what: Any) -> bytes:
    buffer = io.BytesIO()
    write(what, buffer)
    return base64.b64encode(buffer.getvalue())


def _write_table(
    frame: pd.DataFrame, file: Any, pairs: dict[bytes, bytes] | None = None
) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    group = max(2**20, -(-len(frame) // (MOST_PARTS // 2)))
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(file, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=group)
        writer.add_key_value_metadata(pairs or {})


def checksum(parts: Mapping[bytes, bytes]) -> bytes:
    """Of the parts of a file beside its table."""
    return str(zlib.crc32(b"".join(parts.get(name, b"") for name in _PARTS))).encode()
