"""Straight lines through the tensors of a step: layer by layer, or through time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vgkeras.diagnosis.run_arrays import UNSCALED, Run, Tensors

DECADES = 2.0  # from the first layer to the last, or back
_SEVERAL = 5  # layers, among which one is a place and not the way
_CALLS = 10  # of one layer in one step: that of a cell, at each point in time


class Slope(NamedTuple):
    """A straight line through the logarithms of the norms at each step.

    `total` is its change in decades from end to end, in the way of travel (forward,
    or backward for gradients); if the ends themselves differ by less than half of it,
    as where a branch is closed on the way, it is their difference. `rate` is its
    change per layer, `whole` whether every tensor of that step was finite, and `place`
    the row at which the change is first larger than `decades`, or the end.
    """

    total: np.ndarray
    rate: np.ndarray
    whole: np.ndarray
    place: Tensors


def slope(
    rows: Tensors, decades: float, *, backward: bool = False, jumps: bool = True
) -> Slope | None:
    """Fits the growth from row to row at each step with three finite tensors.

    `decades` is what counts as a change, for `place`; `backward` travels from the last
    layer to the first, and from the last call of a layer to its first. Without `jumps`
    a change of which more than half is made at one place, as by global pooling, counts
    for the rest of the way alone. `None` if there is no such step.
    """
    broken = np.unique(rows.step[rows.log10_norm == np.inf])
    rows = rows.finite()
    way = -1 if backward else 1
    calls = np.arange(len(rows.step))
    rows = rows.where(np.lexsort((way * calls, way * rows.layer, rows.step)))
    _, begin, counts = np.unique(rows.step, return_index=True, return_counts=True)
    enough = counts >= 3
    if not enough.any():
        return None
    count = np.repeat(counts, counts)
    distance = np.arange(len(count)) - np.repeat(begin, counts)
    centred = distance - (count - 1) / 2
    spread = np.add.reduceat(centred**2, begin)[enough]
    rate = np.add.reduceat(centred * rows.log10_norm, begin)[enough] / spread
    change = np.abs(rows.log10_norm - np.repeat(rows.log10_norm[begin], counts))
    end = np.where(change > decades, distance, count - 1)
    place = rows.where((begin + np.minimum.reduceat(end, begin))[enough])
    whole = ~np.isin(place.step, broken)
    total = rate * (counts[enough] - 1)
    ends = rows.log10_norm[begin + counts - 1] - rows.log10_norm[begin]
    total = np.where(np.abs(ends[enough]) < np.abs(total) / 2, ends[enough], total)
    if not jumps:
        steps = np.diff(rows.log10_norm, prepend=np.nan)
        steps[begin] = 0.0
        sides = (np.minimum.reduceat(steps, begin), np.maximum.reduceat(steps, begin))
        jump = np.where(total < 0, *(side[enough] for side in sides))
        single = (counts[enough] >= _SEVERAL) & (np.abs(jump) > np.abs(total) / 2)
        rest = ends[enough] - jump
        rest = np.where(rest * total > 0, rest, 0.0)  # what turns back goes nowhere
        total = np.where(single & (np.abs(rest) < np.abs(total)), rest, total)
    return Slope(total, rate, whole, place)


class Lines(NamedTuple):
    """The lines of one network: activations, and backward their gradients."""

    forward: Slope | None
    backward: Slope | None


def lines(run: Run) -> list[Lines]:
    """The lines from layer to layer of each network in the model.

    Tensors are compared by root mean square: layers differ in size. Those that one
    optimizer updates make a network; of a layer that is called at each point in time,
    the last call stands for all. An output as large as its targets is no growth.
    """
    activations, gradients = (
        one_call(run.rows_to_judge(rows)).as_rms()
        for rows in (run.activations, run.gradients)
    )
    if run.first_rms("target") > UNSCALED:
        activations = activations.where(activations.name != run.facts.output)
    return [
        Lines(
            slope(
                activations.where(activations.optimizer == name),
                DECADES,
                jumps=run.stuck,
            ),
            slope(
                gradients.where(gradients.optimizer == name),
                DECADES,
                backward=True,
                jumps=run.stuck,
            ),
        )
        for name in np.unique([*activations.optimizer, *gradients.optimizer])
    ]


def weight_lines(run: Run, *, biases: bool = False) -> list[Slope | None]:
    """The same of the kernels' gradients, or biases', for each update within a step."""
    rows = run.rows_to_judge(run.weights)
    if biases:
        rows = rows.where([str(name).endswith("/bias") for name in rows.name])
    rows = rows.main().as_rms()
    updates = {(name, n) for name, n in zip(rows.optimizer, rows.update, strict=True)}
    return [
        slope(
            rows.where((rows.optimizer == a) & (rows.update == n)),
            DECADES,
            backward=True,
        )
        for a, n in sorted(updates)
    ]


def one_call(rows: Tensors) -> Tensors:
    """The rows without those of a cell at other points in time than the last."""
    if not len(rows.step):
        return rows
    _, code, counts = _calls(rows)
    last = np.zeros(len(counts), int)
    np.maximum.at(last, code, np.arange(len(code)))
    often = counts[code] >= _CALLS
    return rows.where(~often | (np.arange(len(code)) == last[code]))


def through_time(rows: Tensors, *, backward: bool) -> Iterator[Slope]:
    """A line for each layer that is called at each point in time."""
    if not len(rows.step):
        return
    _, code, counts = _calls(rows)
    for number in np.flatnonzero(counts >= _CALLS):
        line = slope(rows.where(code == number), DECADES, backward=backward)
        if line is not None:
            yield line


def _calls(rows: Tensors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The calls of each layer in each step: their keys, codes and counts."""
    places = rows.step.astype(np.int64) * (1 + rows.layer.max()) + rows.layer
    return np.unique(places, return_inverse=True, return_counts=True)
