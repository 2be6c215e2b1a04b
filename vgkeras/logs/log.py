"""GradientLog: the tables that measuring, judging and drawing share."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from vgkeras.logs.html import html_of
from vgkeras.logs.schema import CALL, REQUIRED_COLUMNS, TIME
from vgkeras.logs.writing import write_log


class GradientLog:
    """Holds what was measured (or predicted) in one or more short training runs.

    Three tidy tables, joined by the column `run`. Logarithms are to base 10.

    Args:
        runs: A row per run: its arguments, `loss_zero` (the loss of the zero map,
            `mean(y**2)`) and its `outcome`. `scale` is NaN for a run whose kernels
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
            Rows of one time step of a recurrent layer say in `time` which, from 1;
            others hold 0 there, if there is such a column.
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
        theory: GradientLog | Callable[[], GradientLog | None] | None = None,
    ) -> None:
        self.runs = runs
        self.losses = losses
        self.layers = layers
        self.metadata = {} if metadata is None else metadata
        self._theory = theory
        for name, columns in REQUIRED_COLUMNS.items():
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
        own = {**_tables(self), "metadata": self.metadata, "theory": self._theory}
        return GradientLog(**{**own, **changes})

    def __repr__(self) -> str:
        outcomes = self.runs["outcome"].value_counts().to_dict()
        named = [f"{count} {name}" for name, count in outcomes.items() if name]
        counts = f" ({', '.join(named)})" if named else ""
        noun = "run" if len(self.runs) == 1 else "runs"
        return f"<GradientLog: {len(self.runs)} {noun}{counts}>"

    def _repr_html_(self) -> str:
        """The runs and their outcomes, for a notebook; no more than ten."""
        return html_of(self)

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
        for column, values in conditions.items():
            if column not in self.runs.columns:
                raise ValueError(
                    "`conditions` must name columns of `runs`. "
                    f"Received: {column}={values!r}."
                )
            several = isinstance(values, list | tuple | set)
            keep &= self.runs[column].isin(values if several else [values])
        return self._of_runs(self.runs.loc[keep, "run"])

    def _of_runs(self, runs: pd.Series) -> GradientLog:
        tables = {
            name: table[table["run"].isin(runs)].reset_index(drop=True)
            for name, table in _tables(self).items()
        }
        # Theory is worked out by who looks at it, not by who selects: 1.7 s on a map.
        theory = self._theory and (lambda: self.theory and self.theory._of_runs(runs))
        return GradientLog(**tables, metadata=self.metadata, theory=theory)

    def to_bytes(self) -> bytes:
        """Returns what `save` writes, for instance to be downloaded.

        Raises:
            ValueError: If the theory of the log holds a theory of its own.
        """
        buffer = io.BytesIO()
        write_log(self, buffer)
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
        # Made like any other file, it has the mode that the umask gives to others.
        part = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            with part.open("xb") as file:
                write_log(self, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


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


def _tables(log: GradientLog) -> dict[str, pd.DataFrame]:
    return {name: getattr(log, name) for name in REQUIRED_COLUMNS}


def _renumbered(log: GradientLog, numbers: dict[int, int]) -> GradientLog:
    tables = {
        name: table.assign(run=table["run"].map(numbers))
        for name, table in _tables(log).items()
    }
    return GradientLog(**tables)


def _stacked(logs: list[GradientLog]) -> GradientLog:
    tables = {
        name: pd.concat([_plain(getattr(log, name)) for log in logs], ignore_index=True)
        for name in REQUIRED_COLUMNS
    }
    layers = tables["layers"]
    unknown = {TIME: 0, CALL: 0, "update": 0, "optimizer": ""}  # not every log has them
    for column in unknown.keys() & set(layers):
        full = layers[column].fillna(unknown[column])
        layers[column] = full.astype(type(unknown[column]))
    texts = [text for text in ("name", "kind", "optimizer") if text in layers]
    tables["layers"] = layers.astype(dict.fromkeys(texts, "category"))
    return GradientLog(**tables)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Categories as strings, so that tables with other categories can be stacked."""
    names = table.select_dtypes("category").columns
    return table.astype(dict.fromkeys(names, "str"))
