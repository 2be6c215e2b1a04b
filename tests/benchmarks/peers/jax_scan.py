"""JAX with the chain rule as a second `scan`, from the last layer to the first.

Still `vmap` over runs, one compilation for every depth, but
no zeros to differentiate by and nothing kept that the statistics do not need.
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
    outputs, activations = jax.lax.scan(forward, x, (kernels, active))
    loss, last = jax.value_and_grad(lambda a: jnp.mean((a - y) ** 2))(outputs)
    _, deltas = jax.lax.scan(backward, last, (kernels, active), reverse=True)
    inputs = jnp.concatenate([x[None], activations[:-1]])
    gradients = inputs @ deltas.swapaxes(1, 2)
    gradients = jnp.where(active[:, None, None], gradients, 0)
    moved, weights = weight_summary(kernels, gradients, rate)
    return moved, (loss, weights, summary(activations), summary(deltas))


def forward(before, layer):
    kernel, exists = layer
    after = jnp.where(exists, kernel.T @ before, before)
    return after, after


def backward(delta, layer):
    kernel, exists = layer
    return jnp.where(exists, kernel @ delta, delta), delta
