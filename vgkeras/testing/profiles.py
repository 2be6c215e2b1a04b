"""Golden profiles: norms in a readable file, matched by name with those of a log."""

import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgkeras.logs import GradientLog, versions
from vgkeras.testing.rows import row_identity

KEYS = ("run", "step", "layer", "name", "kind")
MISSING, NEW = "missing", "new"
_FORMAT = "vgkeras.profile"
_VERSION = 1
_WORDS = {"none": math.nan, "zero": -math.inf, "non-finite": math.inf}
_ABOUT = (
    "log10 of Frobenius norms; none: there is no gradient, zero: exactly 0, "
    "non-finite: holds Inf or NaN"
)


def write(log: GradientLog, path: str | os.PathLike[str]) -> None:
    """Writes the norms of a log as JSON, a line per row; folders are made as needed."""
    rows = log.layers[[*KEYS, "log10_norm"]].to_dict("records")
    lines = ",\n".join(f"  {json.dumps(_encode(row))}" for row in rows)
    head = {
        "format": _FORMAT,
        "version": _VERSION,
        "about": _ABOUT,
        "dtypes": sorted(set(log.runs["dtype"])),
        "versions": versions(),
    }
    text = json.dumps(head, indent=1).removesuffix("\n}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(f'{text},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    partial.replace(target)


def read(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Reads the rows of a profile, and what else its file says."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [_decode(row) for row in content.pop("rows")]
        if content["format"] != _FORMAT or content["version"] != _VERSION or not rows:
            raise ValueError(f"it says {content['format']!r}, {content['version']!r}")
        return pd.DataFrame(rows)[[*KEYS, "log10_norm"]], content
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "`path` must be a profile that this version of vgkeras recorded. "
            f"Received: path={str(path)!r} ({error}). Record it again with "
            "`vgkeras.testing.record_profile`."
        ) from error


def match_profile(recorded: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Puts recorded and measured norms side by side.

    Rows match if run, step, layer, name and kind are equal; a layer called twice has
    rows of one name, which match in their order. Keras counts the layers of a process
    (`dense`, `dense_1`, ...): names are compared with their counters numbered anew.

    Returns:
        A row per step and variable: `run, step, layer, name, kind, recorded,
        log10_norm, note`. The note is empty, `"missing"` in the log or `"new"` to the
        profile, and says whether the whole step is.
    """
    before, now = (_with_identity(rows) for rows in (recorded, measured))
    keys = ["run", "step", "layer", "canonical", "kind", "call"]
    table = now.merge(before, "outer", keys, suffixes=("", "_recorded"), indicator=True)
    for column in ("name", "place"):
        table[column] = table[column].fillna(table[f"{column}_recorded"])
    table["note"] = _notes(table)
    table = table.sort_values(["run", "step", "layer", "place"], kind="stable")
    table = table.rename(columns={"log10_norm_recorded": "recorded"})
    return table[[*KEYS, "recorded", "log10_norm", "note"]].reset_index(drop=True)


def _with_identity(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the canonical name, the number of a call and the place of each."""
    rows = rows.astype({"name": "str", "kind": "str"})
    rows = rows.sort_values(["run", "step", "layer"], kind="stable")
    names = rows.groupby("run")["name"]
    return rows[[*KEYS, "log10_norm"]].assign(
        canonical=names.transform(lambda own: own.map(canonical_names(own.unique()))),
        call=row_identity(rows)[-1],
        place=range(len(rows)),
    )


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Each name with the counters of Keras numbered from 0 on, in order.

    Example:
        >>> canonical_names(["dense_7/kernel", "dense_9/kernel"])
        {'dense_7/kernel': 'dense_0/kernel_0', 'dense_9/kernel': 'dense_1/kernel_0'}
    """
    counters: dict[str, dict[str, int]] = {}

    def renumber(part: str) -> str:
        base = re.sub(r"_\d+$", "", part)
        numbers = counters.setdefault(base, {})
        return f"{base}_{numbers.setdefault(part, len(numbers))}"

    return {name: "/".join(map(renumber, name.split("/"))) for name in names}


def _notes(table: pd.DataFrame) -> np.ndarray:
    """What only one side has: a row, or a step as a whole."""
    gone, new = (table["_merge"] == side for side in ("right_only", "left_only"))
    step_gone, step_new = (
        side.groupby([table["run"], table["step"]]).transform("all")
        for side in (gone, new)
    )
    names = [f"step is {MISSING}", f"step is {NEW}", MISSING, NEW]
    return np.select([step_gone, step_new, gone, new], names, "")


def _encode(row: dict[str, Any]) -> dict[str, Any]:
    norm = row["log10_norm"]
    words = {"nan": "none", "-inf": "zero", "inf": "non-finite"}
    return {**row, "log10_norm": words.get(str(norm), round(norm, 6))}


def _decode(row: dict[str, Any]) -> dict[str, Any]:
    norm = row["log10_norm"]
    if not isinstance(row["name"], str) or not isinstance(row["layer"], int):
        raise ValueError(f"it has the row {row!r}")
    return {**row, "log10_norm": _WORDS[norm] if isinstance(norm, str) else float(norm)}
