"""The blocks of a sweep on the workers of an executor."""

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
from typing import Any

import numpy as np

from vgkeras.sweeps.blocks import run_part
from vgkeras.sweeps.lanes import (
    Part,
    Stack,
    Trace,
    empty_statistics,
    in_given_order,
    parts_of,
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


def run_on(
    executor: Executor,
    stacks: list[Stack],
    *,
    steps: int,
    logged_steps: list[int],
    dtype: str,
    recipe: Recipe,
    progress: Callable[[int, int], Any] | None,
    statistics: np.ndarray,
) -> list[Trace]:
    """Does what `run_stacks` does, its blocks being the tasks of `executor`.

    A block runs in the same compiled program wherever it runs, and gives the same
    numbers to the last bit. It travels as bytes, with its initial weights and data:
    initializers stay here, and no executor has to look into 100,000 layers.
    """
    parts = parts_of(stacks, steps, logged_steps, dtype, recipe)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done * (steps + 1), len(parts) * (steps + 1))

    results = _gather(executor, [pickle.dumps(part) for part in parts], tell)
    views = statistics_views(statistics, stacks, len(logged_steps))
    traces = in_given_order(parts, results)
    for view, trace in zip(views, traces, strict=True):
        view[...] = trace.statistics
    pairs = zip(traces, views, strict=True)
    return [trace._replace(statistics=view) for trace, view in pairs]


def _run_part(task: bytes) -> list[Trace]:
    """The traces of one part, without its kernels. This is what a worker runs."""
    part: Part = pickle.loads(task)
    logged = int(part.logged.sum())
    statistics = empty_statistics(part.stacks, logged)
    views = statistics_views(statistics, part.stacks, logged)
    traces = run_part(part, views, lambda done: None)
    return [trace._replace(kernels=[]) for trace in traces]


def _gather(
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
