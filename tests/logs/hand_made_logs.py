"""Small logs whose numbers are known, and their files with parts replaced."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.testing import assert_frame_equal

from vgkeras import logs
from vgkeras.logs import schema


def small_log(scale=0.5, theory=None):
    runs = {
        "run": 0,
        "depth": 1,
        "units": 2,
        "output_units": 2,
        "scale": scale,
        "initializer": "",
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "steps": 1,
        "dtype": "float32",
        "target": "identity",
        "samples": 4,
        "seed": 0,
        "loss_zero": 1.0,
        "outcome": "stalls",
    }
    layers = {
        "run": 0,
        "step": [0, 0, 1],
        "layer": 1,
        "name": pd.Categorical(["dense_1/kernel", "dense_1", "dense_1"]),
        "kind": pd.Categorical(list(logs.KINDS)),
        "log10_norm": [-300.0, -np.inf, np.inf],
        "log10_max": [-300.5, -np.inf, np.inf],
        "zero_fraction": [0.0, 1.0, 0.0],
        "nonfinite_fraction": [0.0, 0.0, 0.5],
        "frozen_fraction": [1.0, np.nan, np.nan],
        "update_ratio": [1e-300, np.nan, np.nan],
    }
    losses = {"run": 0, "step": [0, 1], "loss": [1.0, np.nan]}
    return logs.GradientLog(
        pd.DataFrame([runs]),
        pd.DataFrame(losses),
        pd.DataFrame(layers),
        {"origin": "by hand", "arguments": {"seed": 0}},
        theory,
    )


def assert_equal_logs(left, right):
    for table in ("runs", "losses", "layers"):
        assert_frame_equal(getattr(left, table), getattr(right, table))
    assert left.metadata == right.metadata


def own_log(steps=(0, 5), runs=1):
    """A log as of a callback in `model.fit`: what is unknown is empty, 0 or NaN."""
    row = {
        "depth": 2,
        "units": 0,
        "output_units": 0,
        "scale": np.nan,
        "initializer": "",
        "optimizer": "adam",
        "learning_rate": 0.001,
        "steps": steps[-1],
        "dtype": "mixed_float16",
        "target": "",
        "samples": 0,
        "seed": -1,
        "loss_zero": np.nan,
        "outcome": "",
    }
    names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    layers = [
        {
            "run": run,
            "step": step,
            "layer": 1 + place // 2,
            "name": name,
            "kind": "weight_gradient",
            "log10_norm": np.nan if place == 3 else -place - step / 10,
            **dict.fromkeys(("log10_max", "log10_mean"), -3.0),
            **dict.fromkeys(("zero_fraction", "nonfinite_fraction"), 0.0),
            **dict.fromkeys(("frozen_fraction", "update_ratio"), np.nan),
            "size": 64 if place % 2 == 0 else 8,
        }
        for run in range(runs)
        for step in steps
        for place, name in enumerate(names)
    ]
    losses = [(run, step, 1.0 / (1 + step)) for run in range(runs) for step in steps]
    return logs.GradientLog(
        pd.DataFrame([{"run": run, **row} for run in range(runs)]),
        pd.DataFrame(losses, columns=["run", "step", "loss"]),
        pd.DataFrame(layers).astype({"name": "category", "kind": "category"}),
        {
            "origin": "measured by vgkeras.GradientLogger in model.fit",
            "model": "mlp",
            "versions": {"keras": "3.15.1"},
            "epochs": [[0, 0], [1, 3]],
        },
    )


def plain(log):
    """A log whose words are no categories: an empty table has none."""
    return log.replace(layers=log.layers.astype({"name": "str", "kind": "str"}))


def saved(log):
    """The bytes of the file that a log is saved as."""
    return log.to_bytes()


def parquet(table):
    """A table as Parquet, written by pyarrow alone."""
    buffer = io.BytesIO()
    table = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    # Without the schema, words come back as plain text however they are kept.
    plain = "note" in table.column_names
    pq.write_table(table, buffer, compression="zstd", store_schema=not plain)
    return buffer.getvalue()


def handmade(log=None, *, theory=None, leave_out="", pairs=None, **tables):
    """A log's file as version 0.1 wrote it, without checksum, with parts replaced."""
    log = log or own_log()
    facts = {
        name: tables.get(name, getattr(log, name)) for name in schema.REQUIRED_COLUMNS
    }
    parts = {
        "log": b"1",
        "metadata": json.dumps(log.metadata).encode(),
        "runs": base64.b64encode(parquet(facts["runs"])),
        "losses": base64.b64encode(parquet(facts["losses"])),
        **({} if theory is None else {"theory": base64.b64encode(theory)}),
        **(pairs or {}),
    }
    parts.pop(leave_out, None)
    layers = facts["layers"]
    if not isinstance(layers, pa.Table):
        layers = pa.Table.from_pandas(layers, preserve_index=False)
    extra = {f"vgkeras.{name}": value for name, value in parts.items()}
    return parquet(layers.replace_schema_metadata(extra))


def changed(table, **columns):
    """Another table of the own log: columns replaced, or left out (`None`)."""
    frame = getattr(own_log(), table)
    dropped = [name for name, value in columns.items() if value is None]
    values = {name: value for name, value in columns.items() if value is not None}
    return {table: frame.drop(columns=dropped).assign(**values)}


def with_column(table, name, values):
    """The own log's table with one column of any Arrow type."""
    arrow = pa.Table.from_pandas(getattr(own_log(), table), preserve_index=False)
    place = arrow.schema.get_field_index(name)
    if place < 0:
        return {table: arrow.append_column(name, values)}
    return {table: arrow.set_column(place, name, values)}
