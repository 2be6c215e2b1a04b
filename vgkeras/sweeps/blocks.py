"""run_stacks(): many stacks trained side by side by one compiled program.

The stacks lie end to end in *lanes* of equal length, so that a sweep over depths
wastes little work: three scales of depths 2 to 152 fill seven lanes of 152 layers.
A lane is a tensor axis; the samples are the contiguous one. Some lanes make a *block*.
One XLA program walks all lanes of a block at once, forward and then backward. In
between and afterwards it treats all layers together: the losses, the weight gradients,
the updates and the statistics. Blocks run in threads: XLA could share out the tensors
of one block as well, but to wake a thread for each costs more than it saves. All
derivatives are taken by `tf.GradientTape`. Scales, learning rates, data and the number
of steps are inputs of the program, so one compilation serves every sweep of the same
padded shape. What a layer and an update are is told by a `vgkeras.sweeps.Recipe`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vgkeras.sweeps.lane_statistics import block_traces
from vgkeras.sweeps.lanes import (
    Arrays,
    Block,
    Stack,
    Trace,
    in_given_order,
    lane_arrays,
    logged_mask,
    packed_blocks,
    statistics_views,
)
from vgkeras.sweeps.layers import Recipe
from vgkeras.sweeps.optimizers import slots
from vgkeras.sweeps.plan import plan_for
from vgkeras.sweeps.program import compiled_program
from vgkeras.sweeps.threads import side_by_side
from vgkeras.tape import garbage

LINEAR = Recipe()  # the lecture: linear layers, plain gradient descent

_ONE_AT_A_TIME = threading.Lock()


def run_stacks(
    stacks: Sequence[Stack],
    *,
    steps: int,
    logged_steps: Sequence[int],
    dtype: str = "float32",
    recipe: Recipe = LINEAR,
    progress: Callable[[int, int], Any] | None = None,
) -> list[Trace]:
    """Trains all stacks on the mean squared error of their one batch.

    Args:
        stacks: The stacks, of any depths but one `units`, output width and number
            of samples.
        steps: Number of updates.
        logged_steps: The steps, 0 to `steps`, whose layer statistics are kept.
            Without any, none are computed.
        dtype: Format of weights and arithmetic.
        recipe: What the hidden layers and the optimizer are.
        progress: Called as `progress(done, total)` after calls of the program,
            counted in steps. An exception it raises stops all runs where they are.

    Returns:
        A `Trace` per stack, in the order given.
    """
    keep = logged_mask(steps, logged_steps)
    blocks = packed_blocks(stacks)
    total = len(blocks) * (steps + 1)
    room = statistics_views(stacks, keep)

    def run(block: Block, told: Callable[[int], None]) -> list[Trace]:
        mine = [stacks[index] for index in block.places]
        into = [room[index] for index in block.places]
        return run_block(mine, block, steps, keep, dtype, recipe, told, into)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total)

    found = side_by_side([functools.partial(run, block) for block in blocks], tell)
    return in_given_order(blocks, found)


def run_block(
    stacks: Sequence[Stack],
    block: Block,
    steps: int,
    keep: np.ndarray,
    dtype: str,
    recipe: Recipe,
    told: Callable[[int], None],
    into: Sequence[np.ndarray],
) -> list[Trace]:
    """Trains the stacks of one block, some steps in each call of the program.

    The statistics of each stack are written `into` an array of its own.
    """
    arrays = lane_arrays(stacks, block, dtype)
    units = stacks[0].x.shape[1]
    plan = plan_for(arrays, units, bool(keep.any()), dtype, recipe)
    capacity = plan.capacity
    with _ONE_AT_A_TIME:  # else two threads would compile the same
        program = compiled_program(plan)
    total = steps + 1  # the last pass measures what the last update left
    state, logged, losses = _start(arrays, recipe), [], []
    for first in range(0, total, capacity):
        live = min(capacity, total - first)
        counts = [live, min(live, steps - first), first]
        with garbage.paused():  # the first call builds the graph
            state, rows = program(arrays, state, tf.constant(counts))
        rows = rows.numpy()[:live]
        losses.append(rows[:, -1])
        kept = keep[first : first + live]
        logged.append(rows if kept.all() else rows[kept])
        told(live)
    together = logged[0] if len(logged) == 1 else np.concatenate(logged)
    kernels = state[0].numpy()
    return block_traces(
        stacks, block, plan, together, np.concatenate(losses), kernels, into
    )


def _start(arrays: Arrays, recipe: Recipe) -> list[tf.Tensor]:
    """Parameters and what the optimizer keeps of each, before the first step."""
    parameters = [arrays.kernels]
    if recipe.residual == "zero":
        parameters.append(tf.zeros_like(arrays.rates))
    return [*parameters, *slots(recipe.rule, parameters)]
