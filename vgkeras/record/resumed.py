"""A recording of many runs, which goes on where it was interrupted."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras

from vgkeras.logs import GradientLog, concat, load


def record_cells(
    path: str | Path,
    cells: Iterable[Any],
    fit: Callable[[Any], GradientLog],
    finish: Callable[[GradientLog], GradientLog],
) -> GradientLog:
    """Fits a network for each cell that is not there yet, and writes the recording.

    What is there already is kept beside it, as `path` with `.part` at its end.

    Args:
        path: Parquet file to write.
        cells: Named tuples, one for each run; their fields are columns of its row.
        fit: Returns the log of one cell's run.
        finish: Returns the log as it ships.
    """
    part = Path(f"{path}.part")
    logs = [load(part)] if part.exists() else []
    cells = list(cells)
    done = {row for log in logs for row in _rows(log, list(cells[0]._fields))}
    for cell in cells:
        if cell not in done:
            keras.backend.clear_session()
            logs = [concat([*logs, fit(cell)])]
            logs[0].save(part)
    log = finish(logs[0])
    log.save(path)
    part.unlink(missing_ok=True)
    return log


def _rows(log: GradientLog, columns: list[str]) -> list[tuple]:
    return list(log.runs[columns].itertuples(index=False, name=None))
