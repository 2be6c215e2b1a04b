"""run_stacks(): many stacks trained side by side by one compiled program.

The stacks lie end to end in *lanes* of equal length (`vgkeras.sweeps.lanes`), a lane is
a tensor axis, and some lanes make a *block*. One XLA program trains all lanes of a
block at once (`vgkeras.sweeps.program`). Blocks run in threads: XLA could share out the
tensors of one block as well, but to wake a thread for each costs more than it saves.
Scales, learning rates, data and the number of steps are inputs of the program, so one
compilation serves every sweep of the same padded shape. What a layer and an update are
is said by a `vgkeras.sweeps.Recipe`.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vgkeras.sweeps.lane_statistics import block_traces
from vgkeras.sweeps.lanes import (
    Arrays,
    Part,
    Stack,
    Trace,
    empty_statistics,
    in_given_order,
    lane_arrays,
    parts_of,
    statistics_views,
)
from vgkeras.sweeps.layers import Recipe
from vgkeras.sweeps.optimizers import initial_slots
from vgkeras.sweeps.plan import Plan, plan_for
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
    statistics: np.ndarray | None = None,
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
        statistics: Where the statistics are written: the traces hold views of it.
            Default: a new array of `vgkeras.sweeps.lanes.empty_statistics`.

    Returns:
        A `Trace` per stack, in the order given.
    """
    logged = len(set(logged_steps))
    if statistics is None:
        statistics = empty_statistics(stacks, logged)
    views = statistics_views(statistics, stacks, logged)
    parts = parts_of(stacks, steps, logged_steps, dtype, recipe)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(parts) * (steps + 1))

    tasks = [
        functools.partial(run_part, part, [views[i] for i in part.block.places])
        for part in parts
    ]
    return in_given_order(parts, side_by_side(tasks, tell))


def run_part(
    part: Part, views: Sequence[np.ndarray], report: Callable[[int], None]
) -> list[Trace]:
    """Trains the stacks of one block, some steps in each call of the program.

    The statistics of each stack are written into its own of the `views`. What is done
    is reported in steps.
    """
    arrays = lane_arrays(part)
    plan = plan_for(arrays, part)
    with _ONE_AT_A_TIME:  # else two threads would compile the same
        program = compiled_program(plan)
    state, logged, losses = _initial_state(arrays, part.recipe), [], []
    for counts in _counts_of_calls(part.steps, plan):
        with garbage.paused():  # the first call builds the graph
            state, rows = program(arrays, state, tf.constant(counts))
        live, _, first = counts
        rows = rows.numpy()[:live]
        losses.append(rows[:, -1])
        mask = part.logged[first : first + live]
        logged.append(rows if mask.all() else rows[mask])
        report(live)
    # One call holds all of a short run: that is not copied.
    rows = logged[0] if len(logged) == 1 else np.concatenate(logged)
    kernels = state[0].numpy()
    return block_traces(part, plan, rows, np.concatenate(losses), kernels, views)


def _counts_of_calls(steps: int, plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Of each call: its passes, how many of them update, and the steps before.

    There is a pass more than there are updates: it measures what the last one left.
    """
    for first in range(0, steps + 1, plan.capacity):
        live = min(plan.capacity, steps + 1 - first)
        yield live, min(live, steps - first), first


def _initial_state(arrays: Arrays, recipe: Recipe) -> list[tf.Tensor]:
    """Parameters and what the optimizer remembers of each, before the first step."""
    parameters = [arrays.kernels]
    if recipe.residual == "zero":
        parameters.append(tf.zeros_like(arrays.rates))
    return [*parameters, *initial_slots(recipe.optimizer, parameters)]
