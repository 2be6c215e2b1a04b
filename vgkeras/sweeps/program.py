"""The training loop of a block of lanes as one XLA program.

What runs once a pass, for all stacks of all lanes of the block:

1. `_inputs` walks forward, layer by layer, and keeps what enters each layer.
2. `_one_pass` does the rest of the forward pass for *all layers together*: outputs from
   inputs, and the losses where stacks end.
3. `_output_gradients` walks backward, layer by layer: the gradient of the loss by what
   leaves each layer.
4. Again for all layers together: the gradients of the kernels, the updates and the
   statistics.

Only what must wait for the layer before is done in a walk. Layers are small, and one
operation on 152 of them costs far less than 152 operations on one. Tensors have the
axes `(length, lanes, width, samples)`: the walk takes the first one apart, and the
samples are contiguous, so that processors compute many of them at a time.

All derivatives are those of `tf.GradientTape`. There is none around a whole walk: to
differentiate a `tf.while_loop`, TensorFlow keeps every intermediate result of every
turn. The backward walk needs the inputs alone: it computes a layer's output again, on
a tape of that one layer, which costs a product and saves the memory of all the others.

The outer loop runs over steps, as many as the arrays of statistics have room for
(`Plan.capacity`). How many of them are live, and how many of those update, are inputs:
one compilation serves any number of steps.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from vgkeras.sweeps.lane_statistics import layer_statistics
from vgkeras.sweeps.lanes import Arrays
from vgkeras.sweeps.optimizers import update
from vgkeras.sweeps.plan import Plan


@functools.lru_cache(maxsize=48)
def compiled_program(
    plan: Plan,
) -> Callable[[Arrays, list[tf.Tensor], tf.Tensor], tuple[list[tf.Tensor], tf.Tensor]]:
    """Compiles the training loop for one padded shape.

    The returned function maps the lane arrays, the state (parameters, then the slots
    of the optimizer) and three counts (passes, updates among them, and steps before)
    to the new state and the statistics of every pass, `(capacity, rows, length,
    lanes)`.
    """

    @tf.function(jit_compile=True, autograph=False)
    def program(arrays: Arrays, state: list[Any], counts: Any) -> tuple[Any, Any]:
        live, updates, before = tf.unstack(counts)

        def body(t: Any, *variables: Any) -> tuple[Any, ...]:
            *state, table = variables
            after, rows = _one_pass(plan, arrays, state, before + t + 1)
            # A run's last pass only measures: its update is computed and thrown away.
            pairs = zip(after, state, strict=True)
            state = [tf.where(t < updates, new, old) for new, old in pairs]
            return (t + 1, *state, table.write(t, rows))

        start = [0, *state, plan.table()]
        _, *state, table = _loop(live, body, start, most=plan.capacity)
        return state, table.stack()

    return program


def _one_pass(
    plan: Plan, arrays: Arrays, state: list[tf.Tensor], step: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """The updated state, and the statistics of every layer before the update."""
    weights = state[: plan.trained]
    inputs = _inputs(plan, arrays, weights)
    # One tape for two gradients: of the losses by the outputs, which begins the walk
    # backward, and, with what the walk brings, of the outputs by the weights.
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        outputs = plan.layer(inputs, arrays.ends, weights)
        tape.watch(outputs)
        losses = _losses(plan, arrays, outputs)
    errors = tape.gradient(losses, outputs)
    gradients = _output_gradients(plan, arrays, weights, inputs, errors)
    slopes = tape.gradient(outputs, weights, output_gradients=gradients)
    after, changes = _update(plan, arrays, state, slopes, step)
    if not plan.logs:
        return after, losses[None]
    kernels = (weights[0], after[0], slopes[0], changes[0])
    return after, layer_statistics(plan, outputs, gradients, kernels, losses)


def _inputs(plan: Plan, arrays: Arrays, weights: list[tf.Tensor]) -> tf.Tensor:
    """Forward: what enters each layer."""

    def body(p: Any, signal: Any, inputs: Any) -> tuple[Any, ...]:
        # A new stack of the lane begins: what left the one before ends here.
        signal = tf.where(arrays.starts[p], arrays.x, signal)
        leaving = plan.layer(signal, arrays.ends[p], [weight[p] for weight in weights])
        return p + 1, leaving, inputs.write(p, signal)

    return _loop(plan.length, body, [0, arrays.x, plan.signals()])[2].stack()


def _losses(plan: Plan, arrays: Arrays, outputs: tf.Tensor) -> tf.Tensor:
    """The loss of each layer's output, `(length, lanes)`: 0 but where a stack ends."""
    residuals = tf.where(arrays.ends, outputs - arrays.y, 0)
    squares = tf.cast(tf.square(residuals), plan.wide)
    # Samples are averaged last, as Keras does: sums overflow where its sums do.
    share, of_sample = tf.unstack(tf.cast(arrays.shares, plan.wide))
    return tf.reduce_sum(squares * share, [2, 3]) * of_sample


def _output_gradients(
    plan: Plan, arrays: Arrays, weights: list[tf.Tensor], inputs: Any, errors: Any
) -> tf.Tensor:
    """Backward: the gradient of the loss by what leaves each layer."""

    def body(i: Any, gradient: Any, gradients: Any) -> tuple[Any, ...]:
        p = plan.length - 1 - i
        # A stack's last layer: its gradient is the loss's own, not that of the stack
        # behind it in the lane.
        gradient = tf.where(arrays.ends[p], errors[p], gradient)
        with tf.GradientTape() as tape:
            signal = inputs[p]
            tape.watch(signal)
            of_layer = [weight[p] for weight in weights]
            output = plan.layer(signal, arrays.ends[p], of_layer)
        entering = tape.gradient(output, signal, output_gradients=gradient)
        return i + 1, entering, gradients.write(p, gradient)

    start = [0, tf.zeros_like(arrays.x), plan.signals()]
    return _loop(plan.length, body, start)[2].stack()


def _update(
    plan: Plan, arrays: Arrays, state: list[tf.Tensor], slopes: Any, step: tf.Tensor
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """The state after an update, and what was subtracted from each parameter."""
    optimizer = plan.recipe.optimizer
    parameters, slots, changes = [], [], []
    for number, slope in enumerate(slopes):
        first = plan.trained + optimizer.slots * number
        own = state[first : first + optimizer.slots]
        change, own = update(optimizer, slope, own, arrays.rates, step)
        parameters.append(state[number] - change)
        slots += own
        changes.append(change)
    return [*parameters, *slots], changes


def _loop(count: Any, body: Callable, state: list[Any], most: Any = None) -> Any:
    """`body` from index 0 to `count`; XLA wants to know a bound."""
    most = count if most is None else most
    return tf.while_loop(lambda i, *_: i < count, body, state, maximum_iterations=most)
