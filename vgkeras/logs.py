"""GradientLog: the tables that measuring, judging and drawing share."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata as package_metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
_FORMAT = b"vgkeras.log"
_FORMAT_VERSION = 1
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole log as one Parquet file, atomically.

        `pandas.read_parquet` opens the file as the `layers` table; `load` restores
        everything. The file appears under its name only once it is complete, so an
        interrupted save leaves an older file of that name whole.

        Args:
            path: File to write, conventionally `*.parquet`.
        """
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                pq.write_table(_to_arrow(self), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def load(path: str | os.PathLike[str]) -> GradientLog:
    """Reads a log that `GradientLog.save` wrote, exactly as it was.

    Args:
        path: The Parquet file.

    Returns:
        The `GradientLog`, its tables, metadata and theory restored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, cut short, or not a gradient log.
    """
    try:
        table = pq.read_table(Path(path))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"`path` must be a complete Parquet file. Received: path={str(path)!r} "
            f"({str(error).splitlines()[0]}). Save the log again."
        ) from error
    return _from_arrow(table, path)


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


def _to_arrow(log: GradientLog) -> pa.Table:
    table = pa.Table.from_pandas(log.layers, preserve_index=False)
    extra = {
        _FORMAT: str(_FORMAT_VERSION).encode(),
        b"vgkeras.metadata": json.dumps(log.metadata).encode(),
        b"vgkeras.runs": _encoded(log.runs),
        b"vgkeras.losses": _encoded(log.losses),
    }
    if log.theory is not None:
        buffer = io.BytesIO()
        pq.write_table(_to_arrow(log.theory), buffer, compression="zstd")
        extra[b"vgkeras.theory"] = base64.b64encode(buffer.getvalue())
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **extra})


def _from_arrow(table: pa.Table, path: Any) -> GradientLog:
    extra = table.schema.metadata or {}
    if extra.get(_FORMAT) != str(_FORMAT_VERSION).encode():
        raise ValueError(
            "`path` must be a gradient log that this version of vgkeras saved. "
            f"Received: path={str(path)!r}. Write one with `log.save(path)`."
        )
    try:
        theory = extra.get(b"vgkeras.theory")
        return GradientLog(
            runs=_decoded(extra[b"vgkeras.runs"]),
            losses=_decoded(extra[b"vgkeras.losses"]),
            layers=table.to_pandas(),
            metadata=json.loads(extra[b"vgkeras.metadata"]),
            theory=_from_arrow(_read(theory), path) if theory else None,
        )
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise ValueError(
            "`path` must be an undamaged gradient log. "
            f"Received: path={str(path)!r} ({error}). Save the log again."
        ) from error


def _encoded(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(arrow, buffer, compression="zstd")
    return base64.b64encode(buffer.getvalue())


def _decoded(value: bytes) -> pd.DataFrame:
    return _read(value).to_pandas()


def _read(value: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(base64.b64decode(value, validate=True)))


def _umask() -> int:
    """The process's file mode mask; reading it needs setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
