"""The tables of a swept log."""

import functools
from typing import Any

import numpy as np
import pandas as pd

from vgkeras.logs import KINDS, LAYER_COLUMNS, run_table
from vgkeras.sweeps.grid import Grid
from vgkeras.sweeps.lanes import COLUMNS, Trace
from vgkeras.theory import outcomes_by_loss


def swept_runs(
    grid: Grid, data: dict[int, tuple[np.ndarray, np.ndarray]], traces: list[Trace]
) -> pd.DataFrame:
    """A row per run, in the order of `Grid.starts`, depths counting fastest."""
    starts = grid.starts()
    zeros = {s: float(np.mean(data[s][1] ** 2)) for s in grid.seeds}
    recipe = grid.recipe
    rows: dict[str, list[Any]] = {
        "scale": [start.scale for start in starts],
        "initializer": [_name(start.initializer) for start in starts],
        "seed": [start.seed for start in starts],
        "loss_zero": [zeros[start.seed] for start in starts],
    }
    columns = {name: _repeated(column, grid.depths) for name, column in rows.items()}
    first, last = np.array([[t.losses[0], t.losses[-1]] for t in traces]).T
    return run_table(
        depth=grid.depths * len(starts),
        **columns,
        optimizer=str(recipe.optimizer),
        learning_rate=[rate for start in starts for rate in start.rates],
        **grid.common,
        activation=recipe.activation,
        residual={True: "identity", False: "", "zero": "zero"}[recipe.residual],
        normalization=recipe.normalization or "",
        outcome=outcomes_by_loss(first, last, columns["loss_zero"]).tolist(),
    )


def _repeated(column: list[Any], depths: list[int]) -> list[Any]:
    return [value for value in column for _ in depths]


def _name(initializer: Any) -> str:
    if initializer is None:
        return ""
    return initializer if isinstance(initializer, str) else type(initializer).__name__


def layer_table(
    statistics: np.ndarray, depths: list[int], logged: list[int], common: dict[str, Any]
) -> pd.DataFrame:
    """All statistics as one tidy frame: by run, step, kind, layer."""
    shape = (common["units"], common["output_units"], common["samples"])
    labels = _labels(tuple(depths), tuple(logged), *shape)
    table: dict[str, Any] = {
        **{column: values.copy() for column, values in labels.items()},
        **dict(zip(COLUMNS, statistics, strict=True)),
    }
    dense = [f"dense_{layer}" for layer in range(1, max(depths) + 1)]
    names = [*(f"{layer}/kernel" for layer in dense), *dense]
    for column, words in (("name", names), ("kind", list(KINDS))):
        dtype = pd.CategoricalDtype(words)
        codes = table[column]
        table[column] = pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
    return pd.DataFrame(table, columns=list(LAYER_COLUMNS), copy=False)


@functools.lru_cache(maxsize=8)
def _labels(
    depths: tuple[int, ...],
    logged: tuple[int, ...],
    units: int,
    output_units: int,
    samples: int,
) -> dict[str, np.ndarray]:
    """The columns that say which tensor a row is of; names and kinds as codes.

    They are the same at every repeat of a sweep. The caller copies them.
    """
    weight = np.array([[kind == "weight_gradient"] for kind in KINDS])
    inputs = np.where(weight, units, samples)
    steps = np.array(logged)[:, None, None]
    parts: list[list[np.ndarray]] = []
    for run, depth in enumerate(depths):
        layers = np.arange(1, depth + 1)
        outputs = np.where(layers == depth, output_units, units)
        names = layers - 1 + np.where(weight, 0, max(depths))
        kinds = np.arange(len(KINDS))[:, None]
        block = np.broadcast_arrays(run, steps, layers, names, kinds, inputs * outputs)
        parts.append([values.ravel() for values in block])
    columns = ("run", "step", "layer", "name", "kind", "size")
    joined = (np.concatenate(part) for part in zip(*parts, strict=True))
    table = dict(zip(columns, joined, strict=True))
    # pandas keeps codes in the smallest format that holds them
    formats: dict[str, Any] = dict.fromkeys(columns, np.int32)
    formats |= {"kind": np.int8, "name": np.min_scalar_type(-2 * max(depths))}
    return {column: table[column].astype(formats[column]) for column in columns}
