"""The rows of a log that a chart draws."""

from collections.abc import Iterable
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from vgkeras import logs
from vgkeras._text import listed, shortened, start_label

KIND_LABELS = {
    "weight_gradient": "weight gradient ∂L/∂W",
    "activation": "activation a",
    "activation_gradient": "activation gradient ∂L/∂a",
}

MOST_POINTS, _MOST_PANELS = 50, 12


def variables(log: logs.GradientLog) -> list[str]:
    """Returns what the variables of a log are called within their layers.

    Args:
        log: Measured, predicted or both.

    Returns:
        The last parts of the names of all variables with a weight gradient, e.g.
        `["kernel", "bias"]`: the most frequent first, then in the order of the log.
    """
    rows = log.layers[log.layers["kind"] == "weight_gradient"]
    return variable_roles(rows).value_counts().index.tolist() if len(rows) else []


def rows_with_runs(
    log: logs.GradientLog, table: str, step: int | None = None
) -> pd.DataFrame:
    """A table of the log, or a step of it, with its runs; measured before theory."""
    if log.runs.empty:
        raise ValueError(
            "`log` must hold at least one run. Received: log=<GradientLog: 0 runs>."
        )
    parts = [_with_runs(log, table, origin_of(log), step)]
    if log.theory is not None:
        parts.append(_with_runs(log.theory, table, "theory", step))
    rows = pd.concat(parts, ignore_index=True)
    if rows.empty:
        raise ValueError(f"`log` must hold {table} of its runs. Received: none.")
    losses = table == "losses"
    return rows.assign(log10=log10_of(rows["loss"]) if losses else rows["log10_norm"])


def origin_of(log: logs.GradientLog) -> str:
    """Whether a log was measured, or is theory."""
    return "theory" if log.metadata.get("origin") == "theory" else "measured"


def _with_runs(
    log: logs.GradientLog, table: str, origin: str, step: int | None
) -> pd.DataFrame:
    rows = getattr(log, table)
    if step is not None:  # before the tables are joined: a log has many steps
        rows = rows[rows["step"] == step]
    runs = log.runs
    at = pd.Index(runs["run"]).get_indexer(rows["run"])
    rows, at = rows[at >= 0], at[at >= 0]
    return rows.assign(
        depth=runs["depth"].to_numpy()[at],
        seed=runs["seed"].to_numpy()[at],
        series=series_names(runs).array[at],
        own=runs["scale"].isna().to_numpy()[at],
        origin=origin,
    )


def series_names(runs: pd.DataFrame) -> pd.Series:
    """What a colour stands for: the scale, else the initializer, else the run."""
    starts = runs[["run", "scale", "initializer"]].to_dict("records")
    names = [start_label(run).removeprefix("c = ") for run in starts]
    return pd.Series(names, index=runs.index, dtype="str")


def only_run(log: logs.GradientLog) -> dict[str, Any]:
    """The run of a log that must hold one, as a row of `runs`."""
    if not isinstance(log, logs.GradientLog):
        raise TypeError(
            "`log` must be a `GradientLog`. "
            f"Received: log={log!r} of type {type(log).__name__}."
        )
    if len(log.runs) != 1:
        raise ValueError(
            f"`log` must hold exactly one run. Received: {len(log.runs)} runs. "
            "Choose one, e.g. `log.select(scale=0.9, depth=20)`."
        )
    return log.runs.to_dict("records")[0]


def rows_of_step(log: logs.GradientLog, step: int | None) -> tuple[pd.DataFrame, int]:
    """The rows of one logged step, and which step that is."""
    tables = [log.layers] if log.theory is None else [log.layers, log.theory.layers]
    logged = sorted(set().union(*(table["step"].unique().tolist() for table in tables)))
    if step is None:
        step = logged[0] if logged else 0
    if logged and step not in logged:
        some = ", ".join(map(str, logged[:8])) + (", ..." if len(logged) > 8 else "")
        raise ValueError(
            f"`step` must be a logged step, one of {some}. Received: step={step!r}."
        )
    return rows_with_runs(log, "layers", step), step


def rows_of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind, or raises if there are none."""
    of_kind = rows[rows["kind"] == kind]
    if of_kind.empty:
        raise ValueError(
            f"`log` must hold layers of the kind {kind!r}. "
            f"Received: only {listed(rows['kind'].unique()) or 'none'}."
        )
    return of_kind


def variable_roles(rows: pd.DataFrame) -> pd.Series:
    """`kernel` of `dense_1/kernel`: what a variable is to its layer."""
    names = rows["name"].astype("category")
    parts = {name: str(name).rsplit("/", 1)[-1] for name in names.cat.categories}
    return names.astype("str").map(parts)


def rows_named(rows: pd.DataFrame, variable: str) -> pd.DataFrame:
    """The rows of the variables of that name, or raises."""
    roles = variable_roles(rows)
    if not (roles == variable).any():
        raise ValueError(
            f"`variable` must be one of {listed(map(repr, roles.unique()[:8]))}. "
            f"Received: variable={variable!r}."
        )
    return rows[roles == variable]


def largest_variable(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A row per layer and step, of its largest variable, and words if others are out.

    The first one of a layer counts as the largest where the log has no `size`.
    """
    within = ["origin", "run", "layer"]
    names = rows.drop_duplicates([*within, "name"])
    one_each = not names.duplicated(within).any()
    if one_each and not rows.duplicated([*within, "step"]).any():
        return rows, ""
    if "size" in names:
        names = names.sort_values("size", ascending=False, kind="stable")
    first = names.drop_duplicates(within)[[*within, "name"]]
    largest = rows.merge(first, on=[*within, "name"])
    largest = largest.drop_duplicates([*within, "step"])
    if len(largest) == len(rows):
        return rows, ""
    return largest, "Of several tensors in a layer the largest is drawn."


def layer_labels(rows: pd.DataFrame, most: int = 40) -> dict[int, str]:
    """`2 dense_1`: the number of a layer and, of a model of one's own, its name.

    What all names begin with, the names of models around them, is left out.
    """
    owners = {
        row.layer: str(row.name).rpartition("/")[0] or str(row.name)
        for row in rows.drop_duplicates("layer").itertuples()
    }
    if not rows["own"].any():
        return {layer: f"layer {layer}" for layer in owners}
    around = zip(*(name.split("/")[:-1] for name in owners.values()), strict=False)
    shared = [parts[0] for parts in takewhile(lambda all: len({*all}) == 1, around)]
    start = len("".join(f"{part}/" for part in shared))
    names = {layer: shortened(name[start:], most) for layer, name in owners.items()}
    return {layer: f"{layer} {name}" for layer, name in names.items()}


def panel_values(what: str, values: Iterable[Any]) -> list[Any]:
    """What there is a panel for, in order; raises if it is too much."""
    unique = sorted(set(values))
    if len(unique) > _MOST_PANELS:
        raise ValueError(
            f"`log` must hold at most {_MOST_PANELS} {what}. "
            f"Received: {len(unique)} {what}. Choose some with `log.select(...)`."
        )
    return unique


def log10_of(values: pd.Series) -> np.ndarray:
    """Base-10 logarithms, `-inf` of 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(values.to_numpy("float64"))
