"""vgkeras itself: one call, which brings its own log."""

from __future__ import annotations

from dataclasses import asdict

from problem import Problem

import vgkeras as vg
from vgkeras.logs import GradientLog

_sweep = vg.sweep  # loads TensorFlow here, outside of the clock


def run(problem: Problem) -> GradientLog:
    arguments = asdict(problem)
    return _sweep(arguments.pop("scales"), arguments.pop("depths"), **arguments)
