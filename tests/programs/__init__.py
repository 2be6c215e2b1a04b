"""Small training programs with a known fault, repaired by one change, and sound ones.

Most are cut down from public reports, which `source` names; the others are further
programs of the same kinds.
"""

from tests.programs import (
    data,
    depth,
    formats,
    losses,
    outputs,
    rates,
    scales,
    sound,
    starts,
    time,
)
from tests.programs.registry import FAULTY, SOUND, Fit, Program

__all__ = ["FAULTY", "SOUND", "Fit", "Program"]
_MODULES = (data, depth, formats, losses, outputs, rates, scales, sound, starts, time)
