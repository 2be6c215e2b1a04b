"""One run of a log as arrays: what its tensors were, and whether its loss was learned.

A log of a sweep has half a million rows; arrays make a finding on each run quick.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras.diagnosis.facts import Facts
from vgkeras.logs import KINDS, LOSS_COLUMNS, TIME_KINDS, GradientLog
from vgkeras.theory import LEARNED

IMPROVED = 0.5  # a run with a last loss below this share of its start learns
HIGH = 0.9  # a step with a loss above this share of the start has learned nothing yet
IGNORED = 0.05  # a mean output that costs no more than this share says it all
TINY = -3.0  # log10 of the root mean square of weights next to 0
DEAD = 0.95  # share of exact zeros
LARGE_UPDATE = 10.0  # relative to the weights
UNSCALED = 30.0  # root mean square of inputs or targets; a scaled one is 1
STILL = 0.01  # a loss that lost less than this share has not moved
FEWEST_STEPS = 10  # a run of fewer updates cannot be called stalled
PATIENCE = 100  # updates after which an output may be asked to depend on its input


_LABELS = ("step", "layer", "name", "optimizer", "update")


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
    log10_weight: np.ndarray
    cosine: np.ndarray
    optimizer: np.ndarray
    update: np.ndarray

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
        keys = (self.log10_norm, self.size, self.layer, self.update, self.step)
        order = np.lexsort(keys)
        rows = self.where(order)
        last = np.ones(len(order), bool)
        changes = [np.diff(part) != 0 for part in (rows.layer, rows.update, rows.step)]
        last[:-1] = np.logical_or.reduce(changes)
        return rows.where(last | (rows.layer == 0))  # 0: of no layer

    def moved(self) -> Tensors:
        """The rows at which weights were compared, and had moved by a known ratio."""
        return self.where(np.isfinite(self.update_ratio) & (self.update_ratio > 0))

    def are_tiny(self) -> np.ndarray:
        """Whether weights start next to 0, as factors that let nothing through do."""
        with np.errstate(all="ignore"):
            return self.log10_weight - 0.5 * np.log10(self.size) < TINY

    def as_rms(self) -> Tensors:
        """The same with root mean squares in the place of norms: sizes differ."""
        return self._replace(log10_norm=self.log10_rms())

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
    facts: Facts
    batches: dict[str, np.ndarray]  # what a step was given, by step; NaN: not taken

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
        return median(self.losses[-tail:])

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
        """Whether the loss came down to 1%, and not by an answer that is always one."""
        if self.row["outcome"] and self.row["outcome"] != "diverges":
            return bool(self.row["outcome"] == "trains")
        return self.last <= self._goal and not self.ignores_input

    @property
    def improved(self) -> bool:
        """Whether the loss came down to half, or was learned; or does so elsewhere.

        A second fit begins where the first one ended: its outputs tell inputs apart.
        """
        halved = self.last <= self._share(IMPROVED) and not self.ignores_input
        return self.learned or halved

    def first_rms(self, what: str) -> float:
        """Root mean square of the first batch's `"input"` or `"target"`, or NaN."""
        return math.hypot(
            self.first_batch(f"{what}_mean"), self.first_batch(f"{what}_std")
        )

    def batch(self, name: str) -> np.ndarray:
        """What each step was given, by its column in `losses`; NaN: not taken."""
        return self.batches.get(name, np.full(len(self.steps), np.nan))

    def first_batch(self, name: str) -> float:
        """The first of these numbers that was taken, or NaN."""
        taken = self.batch(name)
        taken = taken[~np.isnan(taken)]
        return float(taken[0]) if len(taken) else math.nan

    def rates_at(self, steps: np.ndarray) -> np.ndarray:
        """The learning rate at each of some steps, or NaN."""
        return self._at(steps, self.batch("learning_rate"))

    @functools.cached_property
    def excess(self) -> np.ndarray:
        """What the mean output would cost, relative to the loss, less 1; by look.

        0 if every input gets the same answer. Left out where the targets of a batch
        are all the same, or a loss has a sign.
        """
        loss, mean = self.losses - self.batch("penalty"), self.batch("loss_of_mean")
        varied = self.batch("target_code_std") > 0
        with np.errstate(all="ignore"):
            excess = mean / loss - 1
        return np.where(varied & (loss > 0) & (mean > 0), excess, np.nan)

    @property
    def late_excess(self) -> float:
        """The median of these shares over the second half of the run, or NaN.

        Of its last fifth, where that is clear: a plateau may come before it.
        """
        late = self.excess[len(self.excess) // 2 :]
        late = late[np.isfinite(late)]
        if len(late) < 3:
            return math.nan
        end = float(np.median(late[-max(3, 2 * len(late) // 5) :]))
        return end if end > 2 * IGNORED else float(np.median(late))

    @property
    def ignores_input(self) -> bool:
        """Whether one answer for all inputs would do as well, after many updates."""
        patient = len(self.steps) > 0 and self.steps[-1] - self.steps[0] >= PATIENCE
        return bool(patient and self.late_excess < IGNORED)

    @property
    def uses_input(self) -> bool:
        """Whether an answer that is always the same would be worse."""
        return bool(self.late_excess >= IGNORED)

    @functools.cached_property
    def fall(self) -> float:
        """The share of the loss that was lost, from the first tenth to the last."""
        if not len(self.losses):
            return math.nan
        start = self.start
        if math.isnan(self.zero_map):
            start = median(self.losses[: max(1, len(self.losses) // 10)])
        return 1 - self.last / start if start > 0 else math.nan

    @property
    def stalls(self) -> bool:
        """Whether the loss did not move, by more than the noise of batches hides."""
        moved = not self.fall < STILL or len(self.losses) <= FEWEST_STEPS
        if moved or self.last < 0:
            return False
        third = len(self.losses) // 3
        first, last = median(self.losses[:third]), median(self.losses[-third:])
        error = math.sqrt(2) * self.loss_error  # of their difference
        return bool(0 < first < math.inf and 1 - last / first + 2 * error < STILL)

    @functools.cached_property
    def stuck(self) -> bool:
        """Whether it does not learn: what would be harmless elsewhere may be why."""
        if self.improved or self.uses_input:
            return False
        return self.stalls or self.ignores_input

    @functools.cached_property
    def still_falls(self) -> bool:
        """Whether the last third of the losses is below the one before, for sure."""
        third = len(self.losses) // 3
        if third < 2 or not np.isfinite(self.losses).all():
            return False
        losses = self.losses / (np.abs(self.losses).max() or 1.0)
        middle, late = (np.mean(losses[-n * third :][:third]) for n in (2, 1))
        return bool(middle - late > 3 * self.loss_error * abs(middle))

    @functools.cached_property
    def loss_error(self) -> float:
        """Standard error of the mean loss of a third of the run, relative to it.

        From differences of neighbours, so that a trend is no noise; from their median,
        so that a jump is none.
        """
        loss = self.losses[np.isfinite(self.losses)]
        if len(loss) < 3:
            return math.inf
        scale = np.abs(loss).max() or 1.0
        noise = 1.48 * np.median(np.abs(np.diff(loss / scale, n=2))) / math.sqrt(6)
        third, level = max(len(loss) // 3, 1), np.abs(np.median(loss / scale))
        return float(noise / math.sqrt(third) / level) if level else 0.0

    @property
    def scaled(self) -> bool:
        """Whether the loss was multiplied for the sake of small gradients."""
        return "lossscale" in str(self.row["optimizer"]).lower().replace("_", "")

    def rows_before_learning(self, tensors: Tensors) -> Tensors:
        """The rows of steps whose loss is not learned: an exact 0 is a fault there."""
        return tensors.where(~(self._loss_at(tensors.step) <= self._goal))

    def rows_to_judge(self, tensors: Tensors) -> Tensors:
        """The rows of steps at which a small gradient is no sign of success.

        Those with a loss about as high as at the start. Of a run that learned, or has
        no loss to tell, the first, so that there is something to say about it.
        """
        if self.learned or not np.isfinite(self.losses).any():
            return tensors.where(tensors.step == tensors.step[:1])
        high = self._share(HIGH)
        return tensors.where(~(self._loss_at(tensors.step) <= high))

    @property
    def _goal(self) -> float:
        """The loss that counts as learned; a loss with a sign has none."""
        if (self.losses < 0).any():
            return -math.inf
        return LEARNED * (self.first if math.isnan(self.zero_map) else self.zero_map)

    def _share(self, share: float) -> float:
        """The loss at which `share` of the start is left, whatever its sign."""
        return self.start - (1 - share) * abs(self.start)

    def _loss_at(self, step: np.ndarray) -> np.ndarray:
        """The last loss known at each step; NaN if there is none."""
        return self._at(step, self.losses)

    def _at(self, step: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The last of the values, one for each loss, known at each step; or NaN."""
        if not len(self.steps):
            return np.full(len(step), np.nan)
        place = np.searchsorted(self.steps, step, side="right") - 1
        return values[np.maximum(place, 0)]


def runs(log: GradientLog) -> Iterator[Run]:
    """The runs of a log, in its order; one without rows in a table has empty arrays."""
    layers = with_known_zeros(log.layers)
    kinds = [
        dict(_by_run(layers[layers["kind"] == kind]))
        for kind in (*KINDS, TIME_KINDS[0])
    ]
    facts = Facts(log.metadata if len(log.runs) == 1 else {})
    more = [c for c in log.losses.columns if c not in LOSS_COLUMNS]
    ordered = log.losses.sort_values(["run", "step"], kind="stable")
    losses = dict(iter(ordered.groupby("run")))
    nothing = _tensors(layers.iloc[:0])
    for row in log.runs.to_dict("records"):
        own = losses.get(row["run"], ordered.iloc[:0])
        weights, activations, gradients, states = (
            kind.get(row["run"], nothing) for kind in kinds
        )
        yield Run(
            row,
            own["step"].to_numpy(),
            own["loss"].to_numpy(float),
            weights,
            activations,
            gradients,
            states,
            facts,
            {name: own[name].to_numpy(float) for name in more},
        )


def median(losses: np.ndarray) -> float:
    """The median; Inf where two losses of 1e308 are added up for it."""
    with np.errstate(over="ignore"):
        return float(np.median(losses))


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
        if name not in rows:  # some are optional
            return np.zeros(len(rows), int) if name in _LABELS else unknown
        return rows[name].to_numpy() if name in _LABELS else rows[name].to_numpy(float)

    unknown = np.full(len(rows), np.nan)

    return Tensors(*map(column, Tensors._fields))


def root_mean_square(layers: pd.DataFrame) -> pd.Series:
    """log10 of the root mean square of the elements that are not 0, row by row."""
    return pd.Series(_tensors(layers).log10_rms(), layers.index)
