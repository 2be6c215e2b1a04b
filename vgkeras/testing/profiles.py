"""Golden profiles: norms written to a readable file, and found again by name."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vgkeras.logs import GradientLog, versions

KEYS = ("run", "step", "layer", "name", "kind")
MISSING, NEW, RENAMED = "missing", "new", "renamed"
_FORMAT = "vgkeras.profile"
_VERSION = 1
_WORDS = {"none": math.nan, "zero": -math.inf, "non-finite": math.inf}
_ABOUT = (
    "log10 of Frobenius norms; none: there is no gradient, zero: exactly 0, "
    "non-finite: holds Inf or NaN"
)


def write(log: GradientLog, path: str | os.PathLike[str]) -> None:
    """Writes the norms of a log as JSON, a line per row.

    Args:
        log: The log; every row of its table `layers` is written.
        path: The file, conventionally `*.json`; folders are made as needed.
    """
    columns = [*KEYS, *(c for c in ("size", "log10_norm") if c in log.layers)]
    rows = log.layers[columns].to_dict("records")
    lines = ",\n".join(f"  {json.dumps(_encoded(row))}" for row in rows)
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
    """Reads the rows of a profile, and what else its file says.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no profile.
    """
    try:
        held = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [_decoded(row) for row in held.pop("rows")]
        if held["format"] != _FORMAT or held["version"] != _VERSION or not rows:
            raise ValueError(f"it says {held['format']!r}, {held['version']!r}")
        frame = pd.DataFrame(rows)
        return frame[[*KEYS, *frame.columns.difference(KEYS)]], held
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "`path` must be a profile that this version of vgkeras recorded. "
            f"Received: path={str(path)!r} ({error}). Record it again with "
            "`vgkeras.testing.record_profile`."
        ) from error


def joined(recorded: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Puts recorded and measured norms side by side.

    Variables are matched by run, kind and name. Keras counts the layers of a process
    (`dense`, `dense_1`, ...), so where names differ, variables are matched by place,
    which is layer number, last part of the name, kind and size, if that matches all;
    else by names with their counters taken from the first on, if that matches more.
    What is left is matched by place.

    Args:
        recorded: Rows of a profile.
        measured: Rows of a log, with the same columns.

    Returns:
        A row per step and variable: `run, step, layer, name, kind, recorded,
        log10_norm, note`. The note is empty or tells `"missing"`, `"new"`,
        `"renamed from ..."` and a step that only one side has.
    """
    before, now = _numbered(recorded), _numbered(measured)
    notes: dict[Hashable, str] = {}
    twins: dict[Hashable, Hashable] = {}
    for run in sorted({*before["run"], *now["run"]}):
        of_run = [_variables(side[side["run"] == run]) for side in (before, now)]
        _match(of_run[0], of_run[1], twins, notes)
    before["variable"] = [twins.get(key, (MISSING, key)) for key in before["variable"]]
    codes: dict[Hashable, int] = {}
    for side in (before, now):
        side["code"] = [codes.setdefault(key, len(codes)) for key in side["variable"]]
    keys = ["run", "step", "code"]
    norms = before[[*keys, "log10_norm", "layer", "name", "kind", "order"]]
    table = now.merge(norms, on=keys, how="outer", suffixes=("", "_recorded"))
    variables = list(codes)
    return _told(table, [notes.get(variables[code], "") for code in table["code"]])


def _told(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Fills in where one side is missing, and orders the rows."""
    gone, new = table["name"].isna(), table["name_recorded"].isna()
    note = pd.Series(notes, index=table.index, dtype="str")
    note = note.mask(note.eq("") & gone, "step is missing")
    note = note.mask(note.eq("") & new, "step is new")
    for column in ("layer", "name", "kind", "order"):
        table[column] = table[column].where(~gone, table[f"{column}_recorded"])
    table = table.assign(note=note, layer=table["layer"].astype(int))
    table = table.rename(columns={"log10_norm_recorded": "recorded"})
    table = table.sort_values(["run", "step", "layer", "order"], kind="stable")
    columns = [*KEYS, "recorded", "log10_norm", "note"]
    return table[columns].reset_index(drop=True)


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a key `variable`; a layer called twice has two rows of one name."""
    rows = rows.astype({"name": "str", "kind": "str"}).reset_index(drop=True)
    call = rows.groupby(["run", "step", "name", "kind"]).cumcount()
    columns = (rows["run"], rows["name"], rows["kind"], call)
    rows["variable"] = pd.Series(
        list(zip(*(column.tolist() for column in columns), strict=True)), dtype=object
    )
    if "size" not in rows:
        rows["size"] = np.nan
    rows["order"] = range(len(rows))
    return rows[[*KEYS, "size", "log10_norm", "variable", "order"]]


def _variables(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return rows.drop_duplicates("variable").to_dict("records")


def _match(
    before: list[dict[str, Any]],
    now: list[dict[str, Any]],
    twins: dict[Hashable, Hashable],
    notes: dict[Hashable, str],
) -> None:
    """Finds each recorded variable among the measured ones, and notes what differs."""
    pairs = _best_pairs(before, now)
    old = [row for row in before if row["variable"] not in pairs]
    found = set(pairs.values())
    new = [row for row in now if row["variable"] not in found]
    pairs = {**pairs, **_paired(old, new, _places(old), _places(new))}
    names = {row["variable"]: row["name"] for row in now}
    for row in before:
        twin = pairs.get(row["variable"])
        if twin is None:
            notes[MISSING, row["variable"]] = MISSING
        elif _base(names[twin]) != _base(row["name"]):
            notes[twin] = f"{RENAMED} from {row['name']}"
    found = set(pairs.values())
    notes.update({key: NEW for key in names if key not in found})
    twins.update(pairs)


def _best_pairs(
    before: list[dict[str, Any]], now: list[dict[str, Any]]
) -> dict[Hashable, Hashable]:
    """Pairs by name; by place if that pairs all; else by counted names if more."""
    by_name, by_place, by_count = (
        _paired(before, now, keys(before), keys(now))
        for keys in (_exact, _places, _counted)
    )
    if len(by_name) < len(by_place) == len(before) == len(now):
        return by_place
    return by_count if len(by_count) > len(by_name) else by_name


def _paired(
    before: Iterable[dict[str, Any]],
    now: Iterable[dict[str, Any]],
    keys_before: Iterable[Hashable],
    keys_now: Iterable[Hashable],
) -> dict[Hashable, Hashable]:
    """Pairs of variables with equal keys, in order where a key comes repeatedly."""
    waiting: dict[Hashable, list[Hashable]] = {}
    for row, key in zip(now, keys_now, strict=True):
        waiting.setdefault(key, []).append(row["variable"])
    return {
        row["variable"]: waiting[key].pop(0)
        for row, key in zip(before, keys_before, strict=True)
        if waiting.get(key)
    }


def _exact(rows: list[dict[str, Any]]) -> list[Hashable]:
    return [row["variable"] for row in rows]


def _counted(rows: list[dict[str, Any]]) -> list[Hashable]:
    """Keys in which `dense_7`, `dense_8` are `dense+0`, `dense+1`."""
    split = [[_part(part) for part in row["name"].split("/")] for row in rows]
    lowest: dict[tuple[int, str], int] = {}
    for parts in split:
        for place, (base, count) in enumerate(parts):
            key = (place, base)
            lowest[key] = min(count, lowest.get(key, count))
    names = [
        "/".join(f"{base}+{n - lowest[i, base]}" for i, (base, n) in enumerate(parts))
        for parts in split
    ]
    return [(name, *row["variable"][2:]) for name, row in zip(names, rows, strict=True)]


def _part(part: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.*?)_(\d+)", part)
    return (found[1], int(found[2])) if found else (part, 0)


def _base(name: str) -> str:
    """A name without Keras' counters."""
    return "/".join(_part(part)[0] for part in name.split("/"))


def _places(rows: list[dict[str, Any]]) -> list[Hashable]:
    """Layer number, kind, last part of the name and size of each variable."""
    return [
        (
            row["layer"],
            row["kind"],
            row["name"].rsplit("/", 1)[-1] if "/" in row["name"] else "",
            None if pd.isna(row["size"]) else int(row["size"]),
        )
        for row in rows
    ]


def _encoded(row: dict[str, Any]) -> dict[str, Any]:
    norm = row["log10_norm"]
    words = {"nan": "none", "-inf": "zero", "inf": "non-finite"}
    row = {**row, "log10_norm": words.get(str(norm), round(norm, 6))}
    return {key: _plain(value) for key, value in row.items() if not _absent(key, value)}


def _absent(key: str, value: Any) -> bool:
    return key == "size" and pd.isna(value)


def _plain(value: Any) -> Any:
    """A NumPy number as the number that JSON knows."""
    return value.item() if isinstance(value, np.generic) else value


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    norm = row["log10_norm"]
    if not isinstance(row["name"], str) or not isinstance(row["layer"], int):
        raise ValueError(f"it has the row {row!r}")
    return {**row, "log10_norm": _WORDS[norm] if isinstance(norm, str) else float(norm)}
