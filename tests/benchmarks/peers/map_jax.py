"""The map in JAX: `vmap` over runs, `scan` over steps and layers, `value_and_grad`.

One compilation serves every depth: shorter runs pass through the layers that they do
not have. Only losses are kept, and the log holds what that of `vgkeras.sweep` holds.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from peers.jax_common import start
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    kernels, active, x, y = start(problem)
    rate = jnp.float32(problem.learning_rate)
    recorder = Recorder(problem)
    recorder.losses[:] = np.asarray(sweep(kernels, active, x, y, rate, problem.steps))
    return recorder.without_layers()


@partial(jax.jit, static_argnames="steps")
def sweep(kernels, active, x, y, rate, steps):
    def one_run(kernels, active):
        def descend(kernels, _):
            loss, slopes = jax.value_and_grad(loss_of)(kernels, active, x, y)
            return kernels - rate * slopes, loss

        return jax.lax.scan(descend, kernels, length=steps + 1)[1]

    return jax.vmap(one_run)(kernels, active)


def loss_of(kernels, active, x, y):
    def layer(before, inputs):
        kernel, exists = inputs
        return jnp.where(exists, kernel.T @ before, before), None

    outputs, _ = jax.lax.scan(layer, x, (kernels, active))
    return jnp.mean((outputs - y) ** 2)
