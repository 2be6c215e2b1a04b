"""GradientLog: the tables that measuring, judging and drawing share."""

from __future__ import annotations

import base64
import functools
import io
import json
import math
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vgkeras import _parquet
from vgkeras._checks import check_positive_int

KINDS = ("weight_gradient", "activation", "activation_gradient")
RUN_COLUMNS = (
    "run",
    "depth",
    "units",
    "output_units",
    "scale",
    "initializer",
    "optimizer",
    "learning_rate",
    "steps",
    "dtype",
    "target",
    "samples",
    "seed",
    "loss_zero",
    "verdict",
)
# A sweep says these of its runs too; other runs, and older logs, lack them.
REMEDY_COLUMNS = ("activation", "residual", "normalization")
LOSS_COLUMNS = ("run", "step", "loss")
LAYER_COLUMNS = (
    "run",
    "step",
    "layer",
    "name",
    "kind",
    "log10_norm",
    "log10_max",
    "log10_mean",
    "zero_fraction",
    "nonfinite_fraction",
    "frozen_fraction",
    "update_ratio",
    "size",
)
OPTIONAL_COLUMNS = ("log10_mean", "size")  # of `layers`; logs of version 0.1 lack them
MOST_BYTES = 2**31  # that a log may take in memory, unless one says otherwise
_FORMAT = b"vgkeras.log"
_FORMAT_VERSION = 1
_PARTS = (b"vgkeras.metadata", b"vgkeras.runs", b"vgkeras.losses", b"vgkeras.theory")
_CHECKSUM = b"vgkeras.crc32"  # of the parts; pages of the tables have their own
_COUNTS = ("run", "depth", "units", "output_units", "steps", "samples", "step", "layer")
_INTEGERS = (*_COUNTS, "seed")
_TEXTS = (
    *("initializer", "optimizer", "dtype", "target", "verdict", "name", "kind"),
    *(*REMEDY_COLUMNS, "remedy"),
)
_MOST_COUNT = 2**53  # beyond it, charts could not tell neighbours apart
_MOST_LETTERS = 1000  # of a name
_OBJECT = 32  # bytes that a letter of JSON may take as a Python object
_MOST_SHOWN = 10  # runs in a notebook's table
_PACKAGES = ("vgkeras", "tensorflow", "tensorflow-cpu", "keras", "numpy", "pandas")


class GradientLog:
    """Holds what was measured (or predicted) in one or more short training runs.

    Three tidy tables, joined by the column `run`. Logarithms are to base 10.

    Args:
        runs: A row per run: its arguments, `loss_zero` (the loss of the zero map,
            `mean(y**2)`) and its `verdict`. `scale` is NaN for a run whose kernels
            are not a scaled identity; `initializer` then names the initializer.
        losses: `run, step, loss`. Step 0 is before the first update, step `steps`
            after the last one. NaN and Inf are results and are kept.
        layers: `run, step, layer, name, kind` and the statistics of that tensor.
            Layer 1 is next to the input. `log10_norm` is the Frobenius norm over
            the whole tensor, batch included: `-inf` where every element is 0,
            `+inf` where any element is Inf or NaN. `log10_max` is the same for the
            largest magnitude, `log10_mean` for the mean magnitude; `size` is the
            number of elements (these two may be absent). `frozen_fraction` is the
            share of weights with `w - update == w` in the model's dtype,
            `update_ratio` is `||update|| / ||w||`; both are NaN for activations.
            These two, `log10_mean` and `zero_fraction` are NaN where they were not
            taken.
        metadata: Arguments, package versions and where the numbers come from.
        theory: The same tables as theory predicts them, where theory exists, or a
            function without arguments that returns them when they are first used.

    Raises:
        ValueError: If a table lacks a column.
    """

    def __init__(
        self,
        runs: pd.DataFrame,
        losses: pd.DataFrame,
        layers: pd.DataFrame,
        metadata: dict[str, Any] | None = None,
        theory: GradientLog | Callable[[], GradientLog] | None = None,
    ) -> None:
        self.runs = runs
        self.losses = losses
        self.layers = layers
        self.metadata = {} if metadata is None else metadata
        self._theory = theory
        for name, columns in _COLUMNS.items():
            missing = [c for c in columns if c not in getattr(self, name).columns]
            if missing:
                raise ValueError(
                    f"`{name}` must have the columns {', '.join(columns)}. "
                    f"Received: {name} without {', '.join(missing)}."
                )

    @property
    def theory(self) -> GradientLog | None:
        """The same tables as theory predicts them, or `None`."""
        if self._theory is not None and not isinstance(self._theory, GradientLog):
            self._theory = self._theory()
        return self._theory

    def replace(self, **changes: Any) -> GradientLog:
        """Returns a log with other tables, metadata or theory.

        Args:
            **changes: Arguments of `GradientLog`; the others stay.

        Returns:
            A new `GradientLog`; this one is unchanged.
        """
        kept = {**_tables(self), "metadata": self.metadata, "theory": self._theory}
        return GradientLog(**{**kept, **changes})

    def __repr__(self) -> str:
        verdicts = self.runs["verdict"].value_counts().to_dict()
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        noun = "run" if len(self.runs) == 1 else "runs"
        return f"<GradientLog: {len(self.runs)} {noun} ({told})>"

    def _repr_html_(self) -> str:
        """The runs and their verdicts, for a notebook; no more than ten."""
        shown = self.runs.head(_MOST_SHOWN)
        rows = [_html_row(_HEADINGS, "th")]
        rows += [_html_row(_html_cells(self, run), "td") for run in _records(shown)]
        more = len(self.runs) - len(shown)
        under = _told_below(self) + (f" Not shown: {more:,} more runs." if more else "")
        # No colours of its own: it takes those of the notebook, light or dark.
        return (
            f"<div><table>{''.join(rows)}</table>"
            f'<p style="max-width: 60em">{escape(under)}</p></div>'
        )

    def select(self, **conditions: Any) -> GradientLog:
        """Returns the log of the runs that meet every condition.

        Args:
            **conditions: A column of `runs` and the value, or the list of values,
                that it must have, e.g. `scale=0.5, depth=[10, 20]`.

        Returns:
            A `GradientLog` with the same columns; it may hold no run.

        Raises:
            ValueError: If `runs` has no such column.
        """
        keep = pd.Series(True, index=self.runs.index)
        for column, wanted in conditions.items():
            if column not in self.runs.columns:
                raise ValueError(
                    "`conditions` must name columns of `runs`. "
                    f"Received: {column}={wanted!r}."
                )
            wanted = wanted if isinstance(wanted, list | tuple | set) else [wanted]
            keep &= self.runs[column].isin(wanted)
        return self._of_runs(self.runs.loc[keep, "run"])

    def _of_runs(self, kept: pd.Series) -> GradientLog:
        tables = {
            name: table[table["run"].isin(kept)].reset_index(drop=True)
            for name, table in _tables(self).items()
        }
        theory = None if self.theory is None else self.theory._of_runs(kept)
        return GradientLog(**tables, metadata=self.metadata, theory=theory)

    def to_bytes(self) -> bytes:
        """Returns what `save` writes, for instance to be downloaded.

        Raises:
            ValueError: If the theory of the log holds a theory of its own.
        """
        buffer = io.BytesIO()
        _write(self, buffer)
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole log as one Parquet file, atomically.

        `pandas.read_parquet` opens the file as the `layers` table; `load` restores
        everything. The file appears under its name only once it is complete, so an
        interrupted save leaves an older file of that name whole.

        Args:
            path: File to write, conventionally `*.parquet`.

        Raises:
            ValueError: If the theory of the log holds a theory of its own.
        """
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                _write(self, file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


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
        return _from_parquet(content, _parquet.Allowance(most))
    except _parquet.TooLargeError as error:
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


def concat(logs: Iterable[GradientLog]) -> GradientLog:
    """Joins logs into one, numbering the runs anew in the order given.

    Args:
        logs: Logs to join. The metadata of the first one is kept. Theory is kept
            for the runs that have it.

    Returns:
        One `GradientLog` whose column `run` counts from 0.

    Raises:
        ValueError: If `logs` is empty.
    """
    listed = list(logs)
    if not listed:
        raise ValueError("`logs` must not be empty. Received: logs=[].")
    parts, theories, first = [], [], 0
    for log in listed:
        numbers = {old: first + new for new, old in enumerate(log.runs["run"])}
        parts.append(_renumbered(log, numbers))
        if log.theory is not None:
            theories.append(_renumbered(log.theory, numbers))
        first += len(numbers)
    theory = _stacked(theories) if theories else None
    return _stacked(parts).replace(metadata=listed[0].metadata, theory=theory)


def logged_steps(steps: int, every: int | None) -> list[int]:
    """Returns the steps whose layers a log holds: every so many, and the last.

    Args:
        steps: Number of updates.
        every: Steps between rows; `None` for no rows.

    Returns:
        0, `every`, 2 `every`, ... and `steps`, in order.

    Example:
        >>> logged_steps(steps=5, every=2)
        [0, 2, 4, 5]
    """
    if every is None:
        return []
    return sorted({*range(0, steps + 1, every), steps})


def versions() -> dict[str, str]:
    """Returns the installed version of each package that shapes the numbers."""
    return dict(_installed())


@functools.cache
def _installed() -> tuple[tuple[str, str], ...]:
    found = []
    for package in _PACKAGES:
        try:
            found.append((package, package_metadata.version(package)))
        except package_metadata.PackageNotFoundError:
            continue
    return tuple(found)


_COLUMNS = {
    "runs": RUN_COLUMNS,
    "losses": LOSS_COLUMNS,
    "layers": tuple(c for c in LAYER_COLUMNS if c not in OPTIONAL_COLUMNS),
}


def _tables(log: GradientLog) -> dict[str, pd.DataFrame]:
    return {name: getattr(log, name) for name in _COLUMNS}


def _renumbered(log: GradientLog, numbers: dict[int, int]) -> GradientLog:
    tables = {
        name: table.assign(run=table["run"].map(numbers))
        for name, table in _tables(log).items()
    }
    return GradientLog(**tables)


def _stacked(logs: list[GradientLog]) -> GradientLog:
    tables = {
        name: pd.concat([_plain(getattr(log, name)) for log in logs], ignore_index=True)
        for name in _COLUMNS
    }
    tables["layers"] = tables["layers"].astype({"name": "category", "kind": "category"})
    return GradientLog(**tables)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Categories as strings, so that tables with other categories can be stacked."""
    names = table.select_dtypes("category").columns
    return table.astype(dict.fromkeys(names, "str"))


# --- Writing -----------------------------------------------------------------------


def _write(log: GradientLog, file: Any) -> None:
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
        parts[b"vgkeras.theory"] = _encoded(_write, log.theory)
    format_version = str(_FORMAT_VERSION).encode()
    head = {_FORMAT: format_version, _CHECKSUM: _checksum(parts)}
    _write_table(log.layers, file, {**head, **parts})


def _encoded(write: Callable[[Any, Any], None], what: Any) -> bytes:
    buffer = io.BytesIO()
    write(what, buffer)
    return base64.b64encode(buffer.getvalue())


def _write_table(
    frame: pd.DataFrame, file: Any, pairs: dict[bytes, bytes] | None = None
) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    group = max(2**20, -(-len(frame) // (_parquet.MOST_PARTS // 2)))
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(file, table.schema, **options) as writer:
        writer.write_table(table, row_group_size=group)
        writer.add_key_value_metadata(pairs or {})


def _checksum(parts: Mapping[bytes, bytes]) -> bytes:
    return str(zlib.crc32(b"".join(parts.get(name, b"") for name in _PARTS))).encode()


# --- Reading: nothing is believed ----------------------------------------------------


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
    content: bytes, allowance: _parquet.Allowance, *, inner: bool = False
) -> GradientLog:
    """The log in a file; `inner` for the theory within a log, which holds no other."""
    allowance.pay(len(content))
    table, parts = _parquet.read_table(content, allowance, _check_layers)
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
    name: str, parts: dict[bytes, bytes], allowance: _parquet.Allowance
) -> pd.DataFrame:
    """The table that is kept, as a Parquet file of its own, in the file's metadata."""
    content = _unpacked(_part(name, parts))
    check = functools.partial(_check_columns, name)
    table, _ = _parquet.read_table(content, allowance, check)
    _check_values(name, table)
    return table.to_pandas(ignore_metadata=True)


def _unpacked(value: bytes) -> bytes:
    return base64.b64decode(value, validate=True)


def _part(name: str, parts: dict[bytes, bytes]) -> bytes:
    found = parts.get(f"vgkeras.{name}".encode())
    if found is None:
        raise ValueError(f"it lacks its {name}")
    return found


def _read_metadata(
    parts: dict[bytes, bytes], allowance: _parquet.Allowance
) -> dict[str, Any]:
    text = _part("metadata", parts)
    allowance.pay(_OBJECT * len(text))
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("its metadata is no dictionary")
    return found


def _check_layers(schema: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
    version = pairs.get(_FORMAT)
    if version is None:
        raise ValueError("it is a Parquet file, but no gradient log")
    if version != str(_FORMAT_VERSION).encode():
        raise ValueError(
            f"its format is {version[:20]!r}, and this version of vgkeras reads "
            f"{_FORMAT_VERSION}"
        )
    if pairs.get(_CHECKSUM, _checksum(pairs)) != _checksum(pairs):
        raise ValueError("its checksum is not that of its tables")
    _check_columns("layers", schema, pairs)


def _check_columns(name: str, schema: pa.Schema, pairs: Mapping[bytes, bytes]) -> None:
    """Holds the columns of a table, before it is decoded, to what we write."""
    missing = [column for column in _COLUMNS[name] if column not in schema.names]
    if missing:
        raise ValueError(f"table `{name}` lacks {', '.join(missing)}")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"table `{name}` has two columns of one name")
    for field in schema:
        wanted = _wanted(field.name, _KNOWN[name])
        # A column of nothing has no type: `check_values` sees that it has no rows.
        if not (pa.types.is_null(field.type) or _TYPES[wanted](field.type)):
            raise ValueError(
                f"table `{name}`: column {_cut(field.name)!r} must hold {wanted}, not "
                f"{_cut(str(field.type))}"
            )


def _wanted(column: str, known: tuple[str, ...]) -> str:
    if column not in known:
        return "numbers, truth values or text"
    if column in _INTEGERS:
        return "integers"
    return "text" if column in _TEXTS else "numbers"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _parquet.is_plain_text(kind.value_type)
    return _parquet.is_plain_text(kind)


def _is_plain(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind)


def _check_values(name: str, table: pa.Table) -> None:
    """Holds the values of our columns to what they mean."""
    for column in (c for c in _KNOWN[name] if c in table.column_names):
        values = table.column(column)
        told = f"table `{name}`: column '{column}'"
        whole = column in _INTEGERS or column in _TEXTS
        if (whole or pa.types.is_null(values.type)) and values.null_count:
            raise ValueError(f"{told} has empty fields")
        if column in _COUNTS and len(values):
            ends = pc.min_max(values).as_py()
            if ends["min"] < 0 or ends["max"] > _MOST_COUNT:
                raise ValueError(f"{told} must hold counts of 0 to {_MOST_COUNT:,}")
        if column in _TEXTS and _longest(values) > _MOST_LETTERS:
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
            f"table `layers` has the unknown kind {_cut(unknown[0])!r}; known are "
            f"{', '.join(KINDS)}"
        )


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


# --- In a notebook -------------------------------------------------------------------

_HEADINGS = ("run", "stack", "depth", "optimizer", "rate", "steps", "dtype", "verdict")


def _html_cells(log: GradientLog, run: dict[str, Any]) -> list[str]:
    if not math.isnan(run["scale"]):
        stack = f"c = {run['scale']:g}"
    else:
        stack = run["initializer"] or str(log.metadata.get("model") or "")
    return [
        str(run["run"]),
        _cut(stack),
        str(run["depth"]),
        _cut(run["optimizer"]),
        f"{run['learning_rate']:g}",
        f"{run['steps']:,}",
        _cut(run["dtype"]),
        run["verdict"] or "not judged",
    ]


def _html_row(cells: Iterable[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.to_dict("records")


def _told_below(log: GradientLog) -> str:
    """How much was logged, where it comes from, and with what."""
    kinds = [str(kind).replace("_", " ") for kind in log.layers["kind"].unique()]
    steps = log.layers["step"].nunique()
    told = f"{len(log.runs):,} {'run' if len(log.runs) == 1 else 'runs'}, "
    told += f"{len(log.layers):,} rows of layers at {steps:,} steps"
    told += f" ({', '.join(kinds)})" if kinds else ""
    told += ", with theory." if log.theory is not None else ", without theory."
    if log.metadata.get("origin"):
        told += f" Origin: {log.metadata['origin']}."
    found = log.metadata.get("versions")
    if isinstance(found, dict):
        told += f" Versions: {', '.join(f'{k} {v}' for k, v in found.items())}."
    return told if len(told) <= 1000 else f"{told[:999]}…"


_KNOWN = {"runs": RUN_COLUMNS, "losses": LOSS_COLUMNS, "layers": LAYER_COLUMNS}
_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "integers": pa.types.is_integer,
    "numbers": _is_number,
    "text": _is_text,
    "numbers, truth values or text": _is_plain,
}


def _umask() -> int:
    """The process's file mode mask; reading it needs setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
