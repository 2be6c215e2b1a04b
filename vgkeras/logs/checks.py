"""What the tables of a file must hold to be a gradient log: columns, types, values."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from vgkeras._text import beginning
from vgkeras.logs.log import GradientLog
from vgkeras.logs.schema import (
    COUNTS,
    INTEGERS,
    KINDS,
    KNOWN_COLUMNS,
    REQUIRED_COLUMNS,
    TEXTS,
    TIME_KINDS,
)

_MOST_COUNT = 2**53  # beyond it, charts could not tell neighbours apart
_MOST_LETTERS = 1000  # of a name


def check_columns(name: str, schema: pa.Schema) -> None:
    """Holds the columns of a table, before it is decoded, to what we write."""
    missing = [c for c in REQUIRED_COLUMNS[name] if c not in schema.names]
    if missing:
        raise ValueError(f"table `{name}` lacks {', '.join(missing)}")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"table `{name}` has two columns of one name")
    for field in schema:
        rule = _rule(field.name, KNOWN_COLUMNS[name])
        # A column of nothing has no type: `check_values` sees that it has no rows.
        if not (pa.types.is_null(field.type) or _TYPES[rule](field.type)):
            raise ValueError(
                f"table `{name}`: column {beginning(field.name)!r} must hold {rule}, "
                f"not {beginning(str(field.type))}"
            )


def check_values(name: str, table: pa.Table) -> None:
    """Holds the values of our columns to what they mean."""
    for column in (c for c in KNOWN_COLUMNS[name] if c in table.column_names):
        values = table.column(column)
        where = f"table `{name}`: column '{column}'"
        whole = column in INTEGERS or column in TEXTS
        if (whole or pa.types.is_null(values.type)) and values.null_count:
            raise ValueError(f"{where} has empty fields")
        if column in COUNTS and len(values):
            ends = pc.min_max(values).as_py()
            if ends["min"] < 0 or ends["max"] > _MOST_COUNT:
                raise ValueError(f"{where} must hold counts of 0 to {_MOST_COUNT:,}")
        if column in TEXTS and _longest(values) > _MOST_LETTERS:
            raise ValueError(f"{where} has a text of more than {_MOST_LETTERS} letters")


def check_log(log: GradientLog) -> None:
    """Holds the tables of a log to each other."""
    numbers = log.runs["run"]
    if numbers.duplicated().any():
        raise ValueError("table `runs` has two runs of one number")
    inner = {} if log.theory is None else {"theory": log.theory.runs}
    for name, table in {"losses": log.losses, "layers": log.layers, **inner}.items():
        if not table["run"].isin(numbers).all():
            raise ValueError(f"table `{name}` has a run that table `runs` has not")
    unknown = sorted(set(log.layers["kind"].unique()) - {*KINDS, *TIME_KINDS})
    if unknown:
        raise ValueError(
            f"table `layers` has the unknown kind {beginning(unknown[0])!r}; known are "
            f"{', '.join((*KINDS, *TIME_KINDS))}"
        )


def _rule(column: str, known: tuple[str, ...]) -> str:
    if column not in known:
        return "numbers, truth values or text"
    if column in INTEGERS:
        return "integers"
    return "text" if column in TEXTS else "numbers"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_text(kind: pa.DataType) -> bool:
    letters = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(letters) or pa.types.is_large_string(letters)


def _is_plain(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind)


_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "integers": pa.types.is_integer,
    "numbers": _is_number,
    "text": _is_text,
    "numbers, truth values or text": _is_plain,
}


def _longest(values: pa.ChunkedArray) -> int:
    """Letters of the longest text of a column."""
    if pa.types.is_null(values.type):
        return 0
    parts = [
        chunk.dictionary if pa.types.is_dictionary(values.type) else chunk
        for chunk in values.chunks
    ]
    return max((pc.max(pc.utf8_length(part)).as_py() or 0 for part in parts), default=0)
