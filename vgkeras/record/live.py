"""A network of the recording `recurrent`, measured anew; Keras is loaded when used."""

from collections.abc import Callable
from typing import Any

from vgkeras.logs import GradientLog


def measured_network(
    network: str,
    task: str,
    length: int,
    seed: int = 0,
    *,
    progress: Callable[[int, int], Any] | None = None,
) -> GradientLog:
    """Measures an untrained recurrent network at every time step.

    Args:
        network: A name of `vgkeras.record.recurrent.NETWORKS`.
        task: `"latch"` or `"adding"`.
        length: Number of time steps.
        seed: Of the weights and of the sequences.
        progress: Called as `progress(done, total)`, before and after.

    Returns:
        What `vgkeras.gradient_through_time` does, of 32 sequences.
    """
    from vgkeras.record.recurrent import Cell, fresh_measurement

    if progress is not None:
        progress(0, 1)
    log = fresh_measurement(Cell(seed, task, length, network))
    if progress is not None:
        progress(1, 1)
    return log
