"""One run of a log as arrays: what its tensors were, and whether its loss was learned.

A log of a sweep has half a million rows; arrays make a finding on each run quick.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras.logs import KINDS, TIME_KINDS, GradientLog
from vgkeras.theory import LEARNED

IMPROVED = 0.5  # a run with a last loss below this share of its start learns
HIGH = 0.9  # a step with a loss above this share of the start has learned nothing yet
TINY = 1e-6  # counts as learned where the loss of the zero map is unknown


class Tensors(NamedTuple):
    """Rows of one kind in one run, by step and layer; each column is an array."""

    step: np.ndarray
    layer: np.ndarray
    name: np.ndarray
    log10_norm: np.ndarray
    log10_max: np.ndarray
    zero_fraction: np.ndarray
    nonfinite_fraction: np.ndarray
    frozen_fraction: np.ndarray
    update_ratio: np.ndarray
    size: np.ndarray

    def where(self, chosen: Any) -> Tensors:
        """The rows of a mask, of a list of indices or of a slice."""
        return Tensors(*(column[chosen] for column in self))

    def at(self, step: int) -> Tensors:
        """The rows of one step."""
        return self.where(self.step == step)

    def finite(self) -> Tensors:
        """Without tensors that are all zero, hold Inf or NaN, or do not exist."""
        return self.where(np.isfinite(self.log10_norm))

    def main(self) -> Tensors:
        """The largest variable of each layer at each step: its kernel.

        A bias in front of a normalization has a gradient of rounding errors only, and
        a bias that starts at 0 an update that is infinitely larger than itself.
        """
        order = np.lexsort((self.log10_norm, self.size, self.layer, self.step))
        rows = self.where(order)
        last = np.ones(len(order), bool)
        last[:-1] = (np.diff(rows.layer) != 0) | (np.diff(rows.step) != 0)
        return rows.where(last | (rows.layer == 0))  # 0: of no layer

    def log10_rms(self) -> np.ndarray:
        """log10 of the root mean square of the elements that are not 0.

        An embedding's gradient is 0 in all rows but a few. Where sizes or zeros are
        not logged it is the largest element, or else the norm: neither is smaller.
        """
        with np.errstate(all="ignore"):
            count = np.maximum(self.size * (1 - self.zero_fraction), 1)
            rms = self.log10_norm - 0.5 * np.log10(count)
        upper = np.where(np.isnan(self.log10_max), self.log10_norm, self.log10_max)
        return np.where(np.isnan(rms), upper, rms)


@dataclass(frozen=True)
class Run:
    """One run of a log; `row` is its row in `runs`."""

    row: dict[str, Any]
    steps: np.ndarray
    losses: np.ndarray
    weights: Tensors
    activations: Tensors
    gradients: Tensors  # with respect to the activations
    states: Tensors  # gradients by the states of recurrent layers, in order of time

    @property
    def first(self) -> float:
        """The first finite loss."""
        finite = self.losses[np.isfinite(self.losses)]
        return float(finite[0]) if len(finite) else math.nan

    @property
    def last(self) -> float:
        """The last loss; of batches, the median of the last tenth: one may be odd."""
        if not len(self.losses):
            return math.nan
        tail = 1 if self.row["outcome"] else max(1, len(self.losses) // 10)
        return float(np.median(self.losses[-tail:]))

    @property
    def start(self) -> float:
        """The smaller of the first loss and that of the zero map, if it is known."""
        if math.isnan(self.zero_map):
            return self.first
        return min(self.first, self.zero_map)

    @property
    def zero_map(self) -> float:
        """The loss of the map that answers 0 to everything, or NaN."""
        return float(self.row["loss_zero"])

    @property
    def learned(self) -> bool:
        """Whether the loss came down to 1%."""
        if self.row["outcome"]:
            return bool(self.row["outcome"] == "trains")
        return self.last <= self._goal

    @property
    def improved(self) -> bool:
        """Whether the loss came down to half, or was learned."""
        return self.learned or self.last <= self._share(IMPROVED)

    @property
    def scaled(self) -> bool:
        """Whether the loss was multiplied for the sake of small gradients."""
        return "lossscale" in str(self.row["optimizer"]).lower().replace("_", "")

    def rows_before_learning(self, tensors: Tensors) -> Tensors:
        """The rows of steps whose loss is not learned: an exact 0 is a fault there."""
        return tensors.where(~(self._loss_at(tensors.step) <= self._goal))

    def rows_to_judge(self, tensors: Tensors) -> Tensors:
        """The rows of steps at which a small gradient is no sign of success.

        Those with a loss about as high as at the start. Of a run that learned, the
        first, so that there is something to say about it.
        """
        if self.learned:
            return tensors.where(tensors.step == tensors.step[:1])
        high = self._share(HIGH)
        return tensors.where(~(self._loss_at(tensors.step) <= high))

    @property
    def _goal(self) -> float:
        """The loss that counts as learned; a loss with a sign has none."""
        if (self.losses < 0).any():
            return -math.inf
        if math.isnan(self.zero_map):
            return max(LEARNED * self.first, TINY)
        return LEARNED * self.zero_map

    def _share(self, share: float) -> float:
        """The loss at which `share` of the start is left, whatever its sign."""
        return self.start - (1 - share) * abs(self.start)

    def _loss_at(self, step: np.ndarray) -> np.ndarray:
        """The last loss known at each step; NaN if there is none."""
        if not len(self.steps):
            return np.full(len(step), np.nan)
        place = np.searchsorted(self.steps, step, side="right") - 1
        return self.losses[np.maximum(place, 0)]


def runs(log: GradientLog) -> Iterator[Run]:
    """The runs of a log, in its order; one without rows in a table has empty arrays."""
    layers = with_known_zeros(log.layers)
    kinds = [
        dict(_by_run(layers[layers["kind"] == kind]))
        for kind in (*KINDS, TIME_KINDS[0])
    ]
    ordered = log.losses.sort_values(["run", "step"], kind="stable")
    losses = dict(iter(ordered.groupby("run")))
    nothing = _tensors(layers.iloc[:0])
    for row in log.runs.to_dict("records"):
        own = losses.get(row["run"], ordered.iloc[:0])
        yield Run(
            row,
            own["step"].to_numpy(),
            own["loss"].to_numpy(float),
            *(kind.get(row["run"], nothing) for kind in kinds),
        )


def with_known_zeros(layers: pd.DataFrame) -> pd.DataFrame:
    """Fills in the share of zeros where it was not taken: the latest of that tensor.

    A `GradientLogger` does not count zeros at every step. What the share is for, the
    size of an element that is not 0, changes with its square root only.
    """
    norm, zeros = layers["log10_norm"].astype(float), layers["zero_fraction"]
    unknown = zeros.isna() & norm.notna()
    own = zeros.where(np.isfinite(norm))
    if not unknown.any() or own.isna().all():
        return layers
    order = np.argsort(layers["step"].to_numpy(), kind="stable")
    tensor = [layers[key].iloc[order] for key in ("run", "kind", "layer", "name")]
    latest = np.empty(len(layers))
    latest[order] = own.iloc[order].groupby(tensor, observed=True).ffill()
    return layers.assign(zero_fraction=zeros.mask(unknown, latest))


def _by_run(rows: pd.DataFrame) -> Iterator[tuple[int, Tensors]]:
    """The rows of each run, by step and layer."""
    keys = [rows[key].to_numpy() for key in ("layer", "step", "run")]
    rows = rows.iloc[np.lexsort(keys)]
    numbers, starts = np.unique(rows["run"].to_numpy(), return_index=True)
    everything = _tensors(rows)
    stops = [*starts[1:], len(rows)][: len(starts)]
    for number, start, stop in zip(numbers.tolist(), starts, stops, strict=True):
        yield number, everything.where(slice(start, stop))


def _tensors(rows: pd.DataFrame) -> Tensors:
    """The rows of a table of layers, in its order."""

    def column(name: str) -> np.ndarray:
        if name not in rows:  # `size` is optional
            return np.full(len(rows), np.nan)
        label = name in ("step", "layer", "name")
        return rows[name].to_numpy() if label else rows[name].to_numpy(float)

    return Tensors(*map(column, Tensors._fields))


def root_mean_square(layers: pd.DataFrame) -> pd.Series:
    """log10 of the root mean square of the elements that are not 0, row by row."""
    return pd.Series(_tensors(layers).log10_rms(), layers.index)


class Slope(NamedTuple):
    """A straight line through the logarithms of the norms at each step.

    `total` is its change in decades from end to end, in the way of travel (forward,
    or backward for gradients), `rate` its change per layer, `whole` whether every
    tensor of that step was finite, and `place` the row at which the change is first
    larger than `decades`, or the end.
    """

    total: np.ndarray
    rate: np.ndarray
    whole: np.ndarray
    place: Tensors


def slope(rows: Tensors, decades: float, *, backward: bool = False) -> Slope | None:
    """Fits the growth from layer to layer at each step with three finite layers.

    `decades` is what counts as a change, for `place`; `backward` travels from the last
    layer to the first. `None` if there is no such step.
    """
    broken = np.unique(rows.step[rows.log10_norm == np.inf])
    rows = rows.finite()
    rows = rows.where(np.lexsort((-rows.layer if backward else rows.layer, rows.step)))
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
    return Slope(rate * (counts[enough] - 1), rate, whole, place)


DECADES = 2.0  # from the first layer to the last, or back


def slopes(run: Run) -> tuple[Slope | None, Slope | None]:
    """Slopes of the activations, and backward of their gradients."""
    return (
        slope(run.rows_to_judge(run.activations), DECADES),
        slope(run.rows_to_judge(run.gradients), DECADES, backward=True),
    )
