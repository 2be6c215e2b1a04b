"""The two scans of `jax_scan`, compiled once for each depth: no padded layers."""

from __future__ import annotations

import jax.numpy as jnp
from peers.jax_common import finish, start
from peers.jax_scan import sweep
from problem import Problem

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    rate = jnp.float32(problem.learning_rate)
    count = len(problem.depths)
    parts = [slice(index, None, count) for index in range(count)]
    results = [sweep(*start(problem, part), rate, problem.steps) for part in parts]
    return finish(problem, *results, parts=parts)
