"""All remedies, compared with the settings that the page opens with."""

from collections.abc import Iterable
from typing import Any

from vgkeras import remedies
from vgkeras.logs import GradientLog
from vgkeras.record.provenance import provenance

SETTINGS: dict[str, Any] = {
    "scale": 0.5,
    "units": 16,
    "learning_rate": 0.1,
    "steps": 500,
    "depths": [2, 10, 50, 152],
}


def record_remedies(names: Iterable[str] = remedies.NAMES) -> GradientLog:
    """Trains the same stacks with each remedy in turn.

    Args:
        names: Names of `vgkeras.remedies.REMEDIES`.

    Returns:
        What `vgkeras.remedies.compare` returns. Its metadata says when, by which
        command and with which `arguments` it was recorded.
    """
    log = remedies.compare(names, **SETTINGS)
    origin = {**log.metadata, **provenance("remedies"), "arguments": SETTINGS}
    return log.replace(metadata=origin)
