"""JAX as it is taught: `vmap` over runs, `scan` over layers, `value_and_grad`.

One compilation serves every depth: shorter runs pass through the layers that they
do not have. The gradient of an activation is the gradient of a zero added to it.
Features come first, `(units, samples)`: XLA on a CPU is twice as fast that way.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from peers.jax_common import finish, start, summary, weight_summary
from problem import Problem

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    kernels, active, x, y = start(problem)
    rate = jnp.float32(problem.learning_rate)
    return finish(problem, sweep(kernels, active, x, y, rate, problem.steps))


@partial(jax.jit, static_argnames="steps")
def sweep(kernels, active, x, y, rate, steps):
    def one_run(kernels, active):
        step = partial(descend, active=active, x=x, y=y, rate=rate)
        return jax.lax.scan(step, kernels, length=steps + 1)[1]

    return jax.vmap(one_run)(kernels, active)


def descend(kernels, _, *, active, x, y, rate):
    zeros = jnp.zeros((len(kernels), *x.shape))
    slopes = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
    (loss, activations), (gradients, deltas) = slopes(kernels, zeros, active, x, y)
    moved, weights = weight_summary(kernels, gradients, rate)
    return moved, (loss, weights, summary(activations), summary(deltas))


def loss_of(kernels, zeros, active, x, y):
    def layer(before, inputs):
        kernel, zero, exists = inputs
        after = jnp.where(exists, kernel.T @ before + zero, before)
        return after, after

    outputs, activations = jax.lax.scan(layer, x, (kernels, zeros, active))
    return jnp.mean((outputs - y) ** 2), activations
