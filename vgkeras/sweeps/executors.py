"""The blocks of a sweep on the workers of an executor."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from typing import Any, NamedTuple

import numpy as np

from vgkeras.sweeps.blocks import run_block
from vgkeras.sweeps.lanes import (
    Block,
    Stack,
    Trace,
    in_given_order,
    logged_mask,
    packed_blocks,
    statistics_views,
)
from vgkeras.sweeps.layers import Recipe

_PATIENCE = 0.2  # seconds between two calls of `progress` while no worker is done


def check_executor(executor: Any) -> None:
    """Refuses what takes no tasks, and processes in which TensorFlow would hang."""
    if executor is None:
        return
    if not isinstance(executor, Executor):
        raise TypeError(
            "`executor` must be a `concurrent.futures.Executor`. "
            f"Received: executor={executor!r}. Make one, `ThreadPoolExecutor(2)`; "
            "that of a Dask client is `client.get_executor()`."
        )
    context = getattr(executor, "_mp_context", None)  # only a process pool has one
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork: a forked process hangs in TensorFlow. "
            f"Received: executor={executor!r}. Make it by `ProcessPoolExecutor("
            'mp_context=multiprocessing.get_context("spawn"))`.'
        )


class _Part(NamedTuple):
    """The stacks of one block, as the arguments of `_run_block`."""

    stacks: list[Stack]
    block: Block
    steps: int
    keep: np.ndarray
    dtype: str
    recipe: Recipe


def run_on(
    executor: Executor,
    stacks: list[Stack],
    *,
    steps: int,
    logged_steps: list[int],
    dtype: str,
    recipe: Recipe,
    progress: Callable[[int, int], Any] | None,
) -> list[Trace]:
    """Does what `run_stacks` does, its blocks being the tasks of `executor`.

    A block runs in the same compiled program wherever it runs, and gives the same
    numbers to the last bit. It travels as bytes, with its initial weights and data:
    initializers stay here, and no executor has to look into 100,000 layers.
    """
    keep = logged_mask(steps, logged_steps)
    blocks = packed_blocks(stacks)
    tasks = [
        pickle.dumps(
            _Part([stacks[i] for i in block.places], block, steps, keep, dtype, recipe)
        )
        for block in blocks
    ]

    def tell(done: int) -> None:
        if progress is not None:
            progress(done * (steps + 1), len(tasks) * (steps + 1))

    return in_given_order(blocks, _gathered(executor, tasks, tell))


def _run_part(task: bytes) -> list[Trace]:
    """The traces of one part, without its kernels. This is what a worker runs."""
    part: _Part = pickle.loads(task)
    into = statistics_views(part.stacks, part.keep)
    traces = run_block(*part, lambda done: None, into)
    return [trace._replace(kernels=[]) for trace in traces]


def _gathered(
    executor: Executor, tasks: list[bytes], tell: Callable[[int], None]
) -> list[list[Trace]]:
    """What every task gives, in order; a failure cancels the tasks not yet begun."""
    results: dict[int, list[Trace]] = {}
    pending: dict[Future, int] = {}
    try:
        for number, task in enumerate(tasks):
            pending[executor.submit(_run_part, task)] = number
        while pending:
            for future in wait(pending, _PATIENCE, FIRST_COMPLETED).done:
                results[pending.pop(future)] = future.result()
            tell(len(results))
    except (BrokenExecutor, CancelledError) as error:
        raise BrokenExecutor(
            "`executor` must keep its workers. Received: an executor that lost one, "
            f"or was shut down, with {len(results)} of {len(tasks)} parts of the sweep "
            "done. Sweep again with a new one: a process pool cannot replace a worker, "
            "a Dask cluster can. If a pool fails at once, put the script's own code "
            'under `if __name__ == "__main__":`; if later, give each worker more '
            "memory."
        ) from error
    finally:
        for future in pending:
            future.cancel()
    return [results[number] for number in range(len(tasks))]
