"""The training loop of a block of lanes as one XLA program."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vgkeras.sweeps.lane_statistics import layer_statistics
from vgkeras.sweeps.lanes import Arrays
from vgkeras.sweeps.optimizers import slots_of, update
from vgkeras.sweeps.plan import Plan


@functools.lru_cache(maxsize=48)
def compiled_program(
    plan: Plan,
) -> Callable[[Arrays, list[tf.Tensor], tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]:
    """Compiles the training loop for one padded shape.

    The returned function maps the lane arrays, the state of `_start` and three counts
    (passes, updates among them, and steps before) to the new state and the statistics
    of every pass, `(capacity, rows, length, lanes)`.
    """

    @tf.function(jit_compile=True, autograph=False)
    def program(arrays: Arrays, state: list[Any], counts: Any) -> tuple[Any, Any]:
        live, updates, before = tf.unstack(counts)

        def body(t: Any, *carried: Any) -> tuple[Any, ...]:
            *state, table = carried
            moved, new = _one_pass(plan, arrays, state, before + t + 1)
            pairs = zip(moved, state, strict=True)
            state = [tf.where(t < updates, new, old) for new, old in pairs]
            return (t + 1, *state, table.write(t, new))

        start = [0, *state, plan.table()]
        _, *state, table = _loop(live, body, start, most=plan.capacity)
        return state, table.stack()

    return program


def _one_pass(
    plan: Plan, arrays: Arrays, state: list[tf.Tensor], step: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The updated state, and the statistics of every layer."""
    weights = state[: plan.trained]
    inputs = _inputs(plan, arrays, weights)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        outputs = plan.layer(inputs, arrays.ends, weights)
        tape.watch(outputs)
        residuals = tf.where(arrays.ends, outputs - arrays.y, 0)
        squares = tf.cast(tf.square(residuals), plan.wide)
        # Samples are averaged last, as Keras does: sums overflow where its sums do.
        share, of_sample = tf.unstack(tf.cast(arrays.shares, plan.wide))
        losses = tf.reduce_sum(squares * share, [2, 3]) * of_sample
    errors = tape.gradient(losses, outputs)
    gradients = _output_gradients(plan, arrays, weights, inputs, errors)
    slopes = tape.gradient(outputs, weights, output_gradients=gradients)
    moved, changes = _updated(plan, arrays, state, slopes, step)
    if not plan.logs:
        return moved, losses[None]
    change = slopes[0] if plan.recipe.rule.plain else changes[0]
    of_weights = (slopes[0], weights[0], moved[0], change)
    return moved, layer_statistics(plan, outputs, gradients, *of_weights, losses)


def _inputs(plan: Plan, arrays: Arrays, weights: list[tf.Tensor]) -> tf.Tensor:
    """Forward: what enters each layer."""

    def body(p: Any, signal: Any, inputs: Any) -> tuple[Any, ...]:
        signal = tf.where(arrays.starts[p], arrays.x, signal)
        leaving = plan.layer(signal, arrays.ends[p], [weight[p] for weight in weights])
        return p + 1, leaving, inputs.write(p, signal)

    return _loop(plan.length, body, [0, arrays.x, plan.signals()])[2].stack()


def _output_gradients(
    plan: Plan, arrays: Arrays, weights: list[tf.Tensor], inputs: Any, errors: Any
) -> tf.Tensor:
    """Backward: the gradient of the loss by what leaves each layer."""

    def body(i: Any, gradient: Any, gradients: Any) -> tuple[Any, ...]:
        p = plan.length - 1 - i
        gradient = tf.where(arrays.ends[p], errors[p], gradient)
        with tf.GradientTape() as tape:
            signal = inputs[p]
            tape.watch(signal)
            mine = [weight[p] for weight in weights]
            output = plan.layer(signal, arrays.ends[p], mine)
        entering = tape.gradient(output, signal, output_gradients=gradient)
        return i + 1, entering, gradients.write(p, gradient)

    start = [0, tf.zeros_like(arrays.x), plan.signals()]
    return _loop(plan.length, body, start)[2].stack()


def _updated(
    plan: Plan, arrays: Arrays, state: list[tf.Tensor], slopes: Any, step: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The state after an update, and what was subtracted from each parameter."""
    rule = plan.recipe.rule
    kept = slots_of(rule)
    moved, remembered, changes = [], [], []
    for number, slope in enumerate(slopes):
        first = plan.trained + kept * number
        own = state[first : first + kept]
        change, own = update(rule, slope, own, arrays.rates, step)
        moved.append(state[number] - change)
        remembered += own
        changes.append(change)
    return [*moved, *remembered], changes


def _loop(count: Any, body: Callable, state: list[Any], most: Any = None) -> Any:
    """`body` from index 0 to `count`; XLA wants to know a bound."""
    most = count if most is None else most
    return tf.while_loop(lambda i, *_: i < count, body, state, maximum_iterations=most)
