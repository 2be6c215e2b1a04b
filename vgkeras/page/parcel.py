"""What travels between the page and its worker: tasks there, logs back.

A log travels as Arrow streams, compressed. A Parquet file of it takes four times as
long to write and to read and is no smaller: it is made to last, and to be checked by
whoever opens it. Arrow and pandas are loaded when the first log is packed or opened:
the page starts its worker before that.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import vgkeras as vg

if TYPE_CHECKING:
    import pandas as pd


class Task(NamedTuple):
    """A run to be made: `make(**arguments)`, `vgkeras.sweep` if it is not said.

    `make` takes `progress`, as a sweep does, and the names in `callbacks`, each to be
    called with a log.
    """

    make: Callable | None
    arguments: dict[str, Any]
    callbacks: tuple[str, ...] = ()


class Parcel(NamedTuple):
    """The tables of a log, each an Arrow stream, and what else it holds."""

    runs: bytes
    losses: bytes
    layers: bytes
    metadata: str
    theory: Parcel | None

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        own = len(self.runs) + len(self.losses) + len(self.layers)
        return own + (self.theory.size if self.theory else 0)


def pack(log: vg.GradientLog) -> Parcel:
    """Packs a log as it is, its theory included."""
    return Parcel(
        runs=stream(log.runs, "lz4"),
        losses=stream(log.losses, "lz4"),
        layers=stream(log.layers, "lz4"),
        metadata=json.dumps(log.metadata),
        theory=None if log.theory is None else pack(log.theory),
    )


def unpack(parcel: Parcel) -> vg.GradientLog:
    """The log, exactly as it was."""
    import pyarrow as pa

    tables = [
        pa.ipc.open_stream(table).read_pandas()
        for table in (parcel.runs, parcel.losses, parcel.layers)
    ]
    theory = None if parcel.theory is None else unpack(parcel.theory)
    return vg.GradientLog(*tables, json.loads(parcel.metadata), theory)


def stream(table: pd.DataFrame, compression: str | None = None) -> bytes:
    """A table as an Arrow stream."""
    import pyarrow as pa

    buffer = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with pa.ipc.new_stream(buffer, arrow.schema, options=options) as writer:
        writer.write_table(arrow)
    return buffer.getvalue()
