"""diagnose(): what is wrong with the gradients of a run, by which rule, and what helps.

A verdict needs two things: a number beyond a threshold, and a loss that has not been
learned yet. Gradients become small at the end of every good training, and an update
may be huge once and do no harm; neither is called a fault here. `vgkeras.rules` holds
the published rules, which look at the number alone.
"""

from __future__ import annotations

import html
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vgkeras._checks import check_positive
from vgkeras.logs import KINDS, LAYER_COLUMNS, RUN_COLUMNS, GradientLog
from vgkeras.rules import number_format, weight_format

REGIMES = (
    "non-finite",
    "disconnected",
    "dead units",
    "zero",
    "subnormal",
    "frozen",
    "vanishing",
    "exploding",
    "stalled",
    "slow",
    "healthy",
    "unknown",
)

# Thresholds; `diagnose` says where each comes from.
SMALL_GRADIENT = 1e-7  # root mean square
DECADES_BY_LAYER = 2.0  # between the first and the last layer
LARGE_UPDATE = 10.0  # relative to the weights
LOSS_GROWTH = 1000.0  # last loss relative to the first
LEARNED = 0.01  # last loss relative to the first
STILL = 0.01  # a loss that lost less than this share has not moved
HIGH_LOSS = 0.9  # a step whose loss is above this share of the first is judged
IMPROVED = 0.5  # a run that came below this share of its first loss learns
DEAD = 0.95  # share of exact zeros
FEWEST_STEPS = 10  # a shorter run cannot be called stalled
TINY_LOSS = 1e-6  # counts as learned if no loss of the zero map is known


@dataclass(frozen=True)
class Verdict:
    """One finding about one run.

    Args:
        regime: One of `REGIMES`.
        rule: The rule that fired, or for a healthy run the one nearest to firing.
        threshold: The number in that rule.
        measured: What was measured where the rule first fires, in the same unit.
        margin: Base-10 logarithm of how far `measured` lies beyond `threshold`:
            positive where the rule fires, negative where it does not.
        run: Number of the run in the log.
        layer: First layer at which it fires, at `step`; `None` if of the whole run.
        name: Keras path of the variable or layer, or `""`.
        step: First step at which it fires; `None` if of the whole run.
        dtype: Number format of the run.
        remedy: What helps against this cause.
        extent: How far it reaches, e.g. `"in 50 of 50 layers"`, or `""`.
    """

    regime: str
    rule: str
    threshold: float
    measured: float
    margin: float
    run: int
    layer: int | None
    name: str
    step: int | None
    dtype: str
    remedy: str
    extent: str = ""

    def __str__(self) -> str:
        if self.regime == "healthy":
            parts = ("Healthy; the nearest limit lies", self._place())
        else:
            parts = (self.regime.capitalize(), self._place())
        told = f"{' '.join(part for part in parts if part)}: {self._evidence()}"
        details = ", ".join(part for part in (self.dtype, self.extent) if part)
        told += f" ({details})" if details else ""
        return f"{told}; {self.remedy}." if self.remedy else f"{told}."

    def _repr_html_(self) -> str:
        return _table([self])

    def _place(self) -> str:
        named = f" ({self.name})" if self.name else ""
        layer = "" if self.layer is None else f"from layer {self.layer}{named}"
        step = "" if self.step is None else f"at step {self.step}"
        return " ".join(part for part in (layer, step) if part)

    def _evidence(self) -> str:
        """Tells the rule `quantity < number` with what was measured."""
        *quantity, sign, number = self.rule.split(" ")
        if sign not in _SIDES:
            return f"the {self.rule}"
        told = f"the {' '.join(quantity)} is {_number(self.measured)}"
        if not math.isfinite(self.margin):
            return f"{told}, {_SIDES[sign][0]} {number}"
        side = _SIDES[sign][0 if self.margin > 0 else 1]
        return f"{told}, {abs(self.margin):.1f} decades {side} {number}"


_SIDES = {"<": ("below", "above"), ">": ("above", "below")}


class Verdicts(list[Verdict]):
    """A list of `Verdict`, by run and, within a run, gravest first."""

    def __str__(self) -> str:
        several = len({verdict.run for verdict in self}) > 1
        return "\n".join(
            f"Run {verdict.run}. {verdict}" if several else str(verdict)
            for verdict in self
        )

    def _repr_html_(self) -> str:
        return _table(self)


def diagnose(
    log_or_model: Any,
    x: Any = None,
    y: Any = None,
    *,
    loss: Any = "mse",
    learning_rate: float = 0.01,
) -> Verdicts:
    """Says in words what is wrong with the gradients of a log or of a model.

    A model is measured in one tape pass, before any training: there is no later loss
    to tell whether it learns, so the number alone decides.

    - non-finite: a loss or a tensor holds Inf or NaN.
    - disconnected: the gradient is `None`.
    - zero: the gradient is exactly 0 while the loss is not learned.
    - dead units: 95% exact zeros leave a layer, without underflow before it.
    - subnormal: its largest element is below the smallest normal number (IEEE 754).
    - frozen: the update is below half the spacing of numbers at the weights, and some
      of it does round away (IEEE 754).
    - vanishing: root mean square < 1e-7 (the number of SageMaker and DeepDiagnosis,
      and the `epsilon` of Keras' Adam), or 2 decades lost from end to end (craft-bits).
    - exploding: 2 decades gained from end to end, an update of 10 times the weights
      (SageMaker), or a loss of 1000 times its start (`health.run_verdict`).
    - stalled: the loss lost less than 1% in 10 or more updates (SageMaker).
    - slow: the loss falls, but the run `"stalls"` (`health.run_verdict`).

    Args:
        log_or_model: A `GradientLog`, of which every run is diagnosed, or a Keras
            model, which needs `x` and `y`.
        x: Inputs of the model, batch first.
        y: Targets of the model, batch first.
        loss: Loss of the model: a Keras loss, its name, or a callable.
        learning_rate: Learning rate of the step of plain SGD that the model is judged
            by. The default is that of `keras.optimizers.SGD`.

    Returns:
        `Verdicts`: one or more for each run, never none. A run without a fault gets
        the verdict `"healthy"` with the threshold it is nearest to.

    Raises:
        TypeError: If `log_or_model` is neither a log nor a Keras model.
        ValueError: If a model comes without `x` and `y`, a log with them, or a log
            without runs.

    Example:
        >>> from vgkeras import predict
        >>> print(diagnose(predict(scales=[0.5], depths=[50]))[0].regime)
        vanishing
    """
    if isinstance(log_or_model, GradientLog):
        if x is not None or y is not None:
            raise ValueError(
                "`x` and `y` must be left out when a log is diagnosed. "
                "Received: a GradientLog with data."
            )
        log = log_or_model
    else:
        check_positive("learning_rate", learning_rate)
        log = _measured(_checked_model(log_or_model), x, y, loss, learning_rate)
    if not len(log.runs):
        raise ValueError("`log` must hold at least one run. Received: 0 runs.")
    return Verdicts(verdict for run in _runs(log) for verdict in _findings(run))


class _Tensors(NamedTuple):
    """Rows of one kind in one run, by step and layer; a column is an array."""

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

    def where(self, mask: np.ndarray) -> _Tensors:
        return _Tensors(*(column[mask] for column in self))

    def log10_rms(self) -> np.ndarray:
        """Root mean square of the non-zero elements; the largest if sizes are unknown.

        Zeros are left out: an embedding's gradient is zero in all rows but a few.
        """
        with np.errstate(all="ignore"):
            count = self.size * (1 - self.zero_fraction)
            rms = self.log10_norm - 0.5 * np.log10(np.maximum(count, 1))
        return np.where(np.isnan(self.size), self.log10_max, rms)

    def finite(self) -> _Tensors:
        """Without tensors that are all zero, hold Inf or NaN, or have no gradient."""
        return self.where(np.isfinite(self.log10_norm))

    def main(self) -> _Tensors:
        """The largest variable of each layer at each step: its kernel.

        A bias in front of a normalization has a gradient of rounding errors, and a
        bias that starts at 0 an update that is infinitely larger.
        """
        order = np.lexsort((self.log10_norm, self.size, self.layer, self.step))
        rows = self.where(order)
        last = np.ones(len(order), bool)
        last[:-1] = np.diff(rows.layer).astype(bool) | np.diff(rows.step).astype(bool)
        return rows.where(last | (rows.layer == 0))


@dataclass(frozen=True)
class _Run:
    """One run of a log, as arrays."""

    row: dict[str, Any]
    steps: np.ndarray
    losses: np.ndarray
    weights: _Tensors
    activations: _Tensors
    gradients: _Tensors  # with respect to the activations

    @property
    def first(self) -> float:
        finite = self.losses[np.isfinite(self.losses)]
        return float(finite[0]) if len(finite) else math.nan

    @property
    def last(self) -> float:
        """The last loss; of batches, the median of the last tenth: one may be odd."""
        if not len(self.losses):
            return math.nan
        if self.row["verdict"]:
            return float(self.losses[-1])
        return float(np.median(self.losses[-max(1, len(self.losses) // 10) :]))

    @property
    def reference(self) -> float:
        """The smaller of the first loss and that of the zero map, if that is known."""
        zero = float(self.row["loss_zero"])
        return self.first if math.isnan(zero) else min(self.first, zero)

    @property
    def learned(self) -> bool:
        if self.row["verdict"]:
            return bool(self.row["verdict"] == "trains")
        return self.last <= max(LEARNED * self.reference, self._tiny)

    @property
    def improved(self) -> bool:
        known = self.row["verdict"] != ""
        return self.learned or (not known and self.last <= IMPROVED * self.first)

    @property
    def _tiny(self) -> float:
        return TINY_LOSS if math.isnan(self.row["loss_zero"]) else 0.0

    def open(self, share: float, step: np.ndarray) -> np.ndarray:
        """Whether the loss at each step is above `share` of the reference."""
        if not len(self.steps) or math.isnan(self.first):
            return np.ones(len(step), bool)
        place = np.searchsorted(self.steps, step, side="right") - 1
        loss = self.losses[np.maximum(place, 0)]
        reference = self.first if share > LEARNED else self.reference
        return ~(loss <= max(share * reference, self._tiny))

    def judged(self, tensors: _Tensors) -> _Tensors:
        """The rows at steps whose loss is as high as at the start."""
        if self.row["verdict"] in ("stalls", "diverges"):
            return tensors
        if self.learned:
            return tensors.where(tensors.step == tensors.step.min(initial=0))
        return tensors.where(self.open(HIGH_LOSS, tensors.step))


def _runs(log: GradientLog) -> Iterator[_Run]:
    tables = {
        kind: dict(_grouped(log.layers[log.layers["kind"] == kind])) for kind in KINDS
    }
    ordered = log.losses.sort_values(["run", "step"], kind="stable")
    losses = dict(iter(ordered.groupby("run")))
    nothing = _tensors(log.layers.iloc[:0])
    for row in log.runs.to_dict("records"):
        number = row["run"]
        own = losses.get(number, ordered.iloc[:0])
        kinds = [tables[kind].get(number, nothing) for kind in KINDS]
        yield _Run(row, own["step"].to_numpy(), own["loss"].to_numpy(float), *kinds)


def _grouped(rows: pd.DataFrame) -> Iterator[tuple[int, _Tensors]]:
    """The rows of each run, by step and layer."""
    ordered = rows.sort_values(["run", "step", "layer"], kind="stable")
    run = ordered["run"].to_numpy()
    everything = _tensors(ordered)
    numbers, starts = np.unique(run, return_index=True)
    for number, start, stop in zip(
        numbers.tolist(), starts, [*starts[1:], len(run)], strict=True
    ):
        yield number, _Tensors(*(column[start:stop] for column in everything))


def _tensors(rows: pd.DataFrame) -> _Tensors:
    columns = []
    for column in _Tensors._fields:
        if column == "size" and "size" not in rows:
            columns.append(np.full(len(rows), np.nan))
        elif column in ("step", "layer", "name"):
            columns.append(rows[column].to_numpy())
        else:
            columns.append(rows[column].to_numpy(float))
    return _Tensors(*columns)


def _findings(run: _Run) -> list[Verdict]:
    """The verdicts of one run, gravest first."""
    faults = [found for find in _FAULTS if (found := find(run)) is not None]
    limits = [verdict for find in _LIMITS for verdict in find(run)]
    fired = _one_of_each([v for v in limits if v.margin > 0 and not _excused(v, run)])
    found = sorted([*faults, *fired], key=lambda v: REGIMES.index(v.regime))
    return found or [_healthy(run, [v for v in limits if v.margin <= 0])]


def _excused(verdict: Verdict, run: _Run) -> bool:
    """Whether the loss has shown that the number did no harm."""
    if verdict.regime in ("stalled", "slow"):
        return False
    by_layer = verdict.rule.startswith("decades")
    return run.learned or (run.improved and (by_layer or verdict.regime == "exploding"))


def _one_of_each(verdicts: list[Verdict]) -> list[Verdict]:
    """The earliest verdict of each regime; of one step, the first: they are ranked."""
    first: dict[str, Verdict] = {}
    for verdict in sorted(
        verdicts, key=lambda v: math.inf if v.step is None else v.step
    ):
        first.setdefault(verdict.regime, verdict)
    return list(first.values())


def _healthy(run: _Run, limits: list[Verdict]) -> Verdict:
    if not limits:
        rule = "log holds neither a loss nor a gradient of this run"
        return _verdict(run, "unknown", rule, math.nan, math.nan, math.nan)
    nearest = max(limits, key=lambda verdict: verdict.margin)
    return replace(nearest, regime="healthy", remedy="", extent="")


def _verdict(
    run: _Run,
    regime: str,
    rule: str,
    threshold: float,
    measured: float,
    margin: float,
    *,
    rows: _Tensors | None = None,
    index: int = 0,
    step: int | None = None,
    remedy: str = "",
    extent: str = "",
) -> Verdict:
    return Verdict(
        regime=regime,
        rule=rule,
        threshold=float(threshold),
        measured=float(measured),
        margin=float(margin),
        run=int(run.row["run"]),
        layer=None if rows is None else int(rows.layer[index]),
        name="" if rows is None else str(rows.name[index]),
        step=step if rows is None else int(rows.step[index]),
        dtype=str(run.row["dtype"]),
        remedy=remedy,
        extent=extent,
    )


def _limit(
    run: _Run, rows: _Tensors, measured: np.ndarray, margin: np.ndarray, **told: Any
) -> list[Verdict]:
    """The verdict on a limit of each tensor: where it first fires, or comes nearest.

    A layer counts if it is beyond the limit in most of the judged steps.
    """
    if not len(rows.step):
        return []
    layers, code = np.unique(rows.layer, return_inverse=True)
    often = np.bincount(code, margin > 0) > 0.5 * np.bincount(code)
    margin = np.where(often[code], margin, np.minimum(margin, 0))
    index = _first(margin)
    if margin[index] > 0:
        told["extent"] = f"{often.sum()} of {len(layers)} layers"
    return [
        _verdict(
            run,
            measured=measured[index],
            margin=margin[index],
            rows=rows,
            index=index,
            **told,
        )
    ]


def _first(margin: np.ndarray) -> int:
    """Index of the first margin that is positive, or else of the largest."""
    fired = np.flatnonzero(margin > 0)
    return int(fired[0]) if len(fired) else int(np.argmax(margin))


def _vanishing(run: _Run) -> list[Verdict]:
    rows = run.judged(run.weights).finite().main()
    rms = rows.log10_rms()
    return _limit(
        run,
        rows,
        _power(rms),
        np.log10(SMALL_GRADIENT) - rms,
        regime="vanishing",
        rule=f"root mean square of the weight gradient < {SMALL_GRADIENT:.0e}",
        threshold=SMALL_GRADIENT,
        remedy=_vanishing_remedy(run),
    )


def _subnormal(run: _Run) -> list[Verdict]:
    if _loss_is_scaled(run):
        return []  # what is logged was divided by the scale afterwards
    rows = run.judged(run.weights).finite().main()
    limit = number_format(run.row["dtype"]).smallest_normal
    return _limit(
        run,
        rows,
        _power(rows.log10_max),
        np.log10(limit) - rows.log10_max,
        regime="subnormal",
        rule=f"largest element of the weight gradient < {limit:.1e}",
        threshold=limit,
        remedy=_underflow_remedy(run, forward=False),
    )


def _frozen(run: _Run) -> list[Verdict]:
    rows = run.judged(run.weights).finite().main()
    rows = rows.where(~np.isnan(rows.update_ratio) & np.isfinite(rows.update_ratio))
    mixed = str(run.row["dtype"]).startswith("mixed_")
    limit = number_format("float32" if mixed else run.row["dtype"]).rounding
    with np.errstate(divide="ignore"):
        margin = np.log10(limit) - np.log10(rows.update_ratio)
    lost = rows.frozen_fraction > rows.zero_fraction + 1e-9
    told = _limit(
        run,
        rows,
        rows.update_ratio,
        np.where(lost, margin, np.minimum(margin, 0)),
        regime="frozen",
        rule=f"update relative to the weights < {limit:.1e}",
        threshold=limit,
    )
    return [replace(v, remedy=_frozen_remedy(v, mixed)) for v in told]


def _large_update(run: _Run) -> list[Verdict]:
    rows = run.judged(run.weights).finite().main()
    rows = rows.where(np.isfinite(rows.update_ratio) & (rows.update_ratio > 0))
    if not len(rows.step):
        return []
    margin = np.log10(rows.update_ratio / LARGE_UPDATE)
    index = _first(margin)
    return [
        _verdict(
            run,
            "exploding",
            f"update relative to the weights > {LARGE_UPDATE:g}",
            LARGE_UPDATE,
            rows.update_ratio[index],
            margin[index],
            rows=rows,
            index=index,
            remedy=_CLIP,
        )
    ]


def _by_layer(run: _Run) -> list[Verdict]:
    """Growth and decay from layer to layer, forward and backward."""
    forward = _slope(run.judged(run.activations).finite())
    backward = _slope(run.judged(run.gradients).finite(), backward=True)
    found = []
    for rows, ends in (
        (forward, "last / first activation"),
        (backward, "first / last activation gradient"),
    ):
        if rows is None:
            continue
        for sign, regime, side in ((-1, "vanishing", "<"), (1, "exploding", ">")):
            margin = sign * rows.total - DECADES_BY_LAYER
            index = _first(margin)
            found.append(
                _verdict(
                    run,
                    regime,
                    f"log10 of {ends} {side} {sign * DECADES_BY_LAYER:g}",
                    sign * DECADES_BY_LAYER,
                    rows.total[index],
                    margin[index],
                    rows=rows.at,
                    index=index,
                    remedy=_GAIN if sign < 0 else _SHRINK,
                    extent=f"{rows.rate[index]:+.2g} decades a layer",
                )
            )
    return found


class _Slope(NamedTuple):
    """A straight line through the logarithms of each step, in the way of travel."""

    total: np.ndarray  # decades from end to end
    rate: np.ndarray  # decades a layer
    at: _Tensors  # the layer at which the limit is passed, or the end


def _slope(rows: _Tensors, *, backward: bool = False) -> _Slope | None:
    order = np.lexsort((-rows.layer if backward else rows.layer, rows.step))
    rows = rows.where(order)
    totals, rates, places = [], [], []
    starts = np.flatnonzero(np.diff(rows.step, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        count = stop - start
        if count < 3:
            continue
        travelled = np.arange(count) - (count - 1) / 2
        values = rows.log10_norm[start:stop]
        rate = (travelled @ values) / (travelled @ travelled)
        passed = np.abs(values - values[0]) > DECADES_BY_LAYER
        rates.append(rate)
        totals.append(rate * (count - 1))
        places.append(start + (int(np.argmax(passed)) if passed.any() else count - 1))
    if not totals:
        return None
    return _Slope(np.array(totals), np.array(rates), rows.where(np.array(places)))


def _loss_growth(run: _Run) -> list[Verdict]:
    peak = run.losses[np.isfinite(run.losses)].max(initial=-np.inf)
    reached = run.last if math.isfinite(run.last) else peak
    zero = float(run.row["loss_zero"])
    base = max(run.first, 0.0 if math.isnan(zero) else zero)
    if len(run.losses) < 2 or not base > 0 or not reached > 0:
        return []
    return [
        _verdict(
            run,
            "exploding",
            f"last loss relative to the start > {LOSS_GROWTH:g}",
            LOSS_GROWTH,
            reached / base,
            math.log10(reached) - math.log10(base) - math.log10(LOSS_GROWTH),
            remedy=_CLIP,
        )
    ]


def _no_progress(run: _Run) -> list[Verdict]:
    """A loss that does not fall, or not far enough."""
    start = run.reference
    count = max(1, len(run.losses) // 10)
    if math.isnan(run.row["loss_zero"]):
        start = float(np.median(run.losses[:count])) if len(run.losses) else math.nan
    enough = len(run.losses) > FEWEST_STEPS and start > 0 and run.last > 0
    if not enough or run.last > LOSS_GROWTH * start or run.learned:
        return []
    ratio = run.last / start
    lost = max(1 - ratio, 0.0)
    flat = math.log10(STILL / lost) if lost else math.inf
    found = [
        _verdict(
            run,
            "stalled",
            f"share of the loss that was lost < {STILL}",
            STILL,
            lost,
            flat,
            remedy=_STALLED,
        )
    ]
    if run.row["verdict"] == "stalls" and flat <= 0:
        rule = f"last loss relative to the start > {LEARNED}"
        margin = math.log10(ratio / LEARNED)
        found.append(_verdict(run, "slow", rule, LEARNED, ratio, margin, remedy=_SLOW))
    return found


_LIMITS: tuple[Callable[[_Run], list[Verdict]], ...] = (
    _subnormal,
    _frozen,
    _vanishing,
    _by_layer,
    _large_update,
    _loss_growth,
    _no_progress,
)


def _non_finite(run: _Run) -> Verdict | None:
    """The first Inf or NaN: forward before the loss, the loss before backward."""
    if _loss_is_scaled(run) and _recovered(run):
        return None
    places = [
        (rows.where(rows.nonfinite_fraction > 0), what, sign)
        for rows, what, sign in (
            (run.activations, "activation", 1),
            (run.gradients, "activation gradient", -1),
            (run.weights, "weight gradient", -1),
        )
    ]
    lost = run.steps[~np.isfinite(run.losses)]
    steps = [rows.step.min() for rows, *_ in places if len(rows.step)]
    if not steps and not len(lost):
        return None
    first = min([*steps, *lost[:1]])
    remedy = _non_finite_remedy(run, int(first))
    for rows, what, sign in places[: 1 if first in lost else None]:
        here = np.flatnonzero(rows.step == first)
        if len(here):
            index = here[np.argmin(sign * rows.layer[here])]
            share = rows.nonfinite_fraction[index]
            rule = f"share of Inf or NaN in the {what} > 0"
            return _verdict(
                run,
                "non-finite",
                rule,
                0.0,
                share,
                math.inf,
                rows=rows,
                index=index,
                remedy=remedy,
            )
    value = run.losses[run.steps == first][0]
    rule = "loss is Inf" if math.isinf(value) else "loss is NaN"
    return _verdict(
        run, "non-finite", rule, math.inf, value, math.inf, step=first, remedy=remedy
    )


def _recovered(run: _Run) -> bool:
    """Whether loss scaling only skipped a few steps, as it is made to."""
    rows = run.weights
    last = rows.where(rows.step == rows.step.max(initial=0))
    return bool(
        np.isfinite(run.losses).all()
        and not (last.nonfinite_fraction > 0).any()
        and not (run.activations.nonfinite_fraction > 0).any()
    )


def _disconnected(run: _Run) -> Verdict | None:
    rows = run.weights.where(np.isnan(run.weights.log10_norm))
    if not len(rows.step):
        return None
    lost = int((rows.step == rows.step[0]).sum())
    count = int((run.weights.step == rows.step[0]).sum())
    return _verdict(
        run,
        "disconnected",
        "gradient is None: the loss does not depend on this variable",
        math.nan,
        math.nan,
        math.inf,
        rows=rows,
        remedy=_CONNECT,
        extent=f"{lost} of {count} variables",
    )


def _no_signal(run: _Run) -> Verdict | None:
    """Gradients of exactly 0, and which of three causes they have."""
    rows = run.weights.where(~np.isnan(run.weights.log10_norm)).main()
    rows = rows.where(run.open(LEARNED, rows.step))
    zero = _to_the_end(rows)
    if not zero.any():
        return None
    index = int(np.flatnonzero(zero)[0])
    step = rows.step[index]
    extent = (
        f"{len(np.unique(rows.layer[zero]))} of {len(np.unique(rows.layer))} layers"
    )
    cause, place = _cause(run, int(step))
    if cause == "dead":
        return _verdict(
            run,
            "dead units",
            f"share of exact zeros in the activation > {DEAD}",
            DEAD,
            place.zero_fraction[0],
            math.log10(place.zero_fraction[0] / DEAD),
            rows=place,
            remedy=_REVIVE,
            extent=f"no gradient in {extent}",
        )
    return _verdict(
        run,
        "zero",
        "weight gradient is exactly zero",
        0.0,
        0.0,
        math.inf,
        rows=rows,
        index=index,
        remedy=_zero_remedy(run, cause),
        extent=extent,
    )


def _to_the_end(rows: _Tensors) -> np.ndarray:
    """The rows of exact zeros after which a layer never has a gradient again."""
    zero = rows.log10_norm == -np.inf
    _, code = np.unique(rows.layer, return_inverse=True)
    last = np.full(code.max(initial=-1) + 1, -1)
    np.maximum.at(last, code[~zero], rows.step[~zero])
    return zero & (rows.step > last[code])


def _cause(run: _Run, step: int) -> tuple[str, Any]:
    """Why the gradients of a step are 0, and where that is seen.

    `"forward"` or `"backward"` underflow, `"dead"` units, no `"error"` at the output,
    or `""` if the log cannot tell.
    """
    floor = math.log10(number_format(run.row["dtype"]).floor)
    forward = run.activations.where(run.activations.step == step)
    backward = run.gradients.where(run.gradients.step == step)
    silent = np.flatnonzero(forward.zero_fraction >= DEAD)
    if len(silent):
        index = silent[0]
        if _slid(forward.log10_max[:index], floor):
            return "forward", None
        return "dead", forward.where(silent[:1])
    upward = backward.where(np.argsort(-backward.layer, kind="stable"))
    lost = np.flatnonzero(upward.log10_norm == -np.inf)
    if not len(lost):
        return "", None
    if lost[0] == 0:
        return "error", None
    slid = _slid(upward.log10_max[: lost[0]], floor)
    return ("backward" if slid else ""), None


def _slid(log10_max: np.ndarray, floor: float) -> bool:
    """Whether numbers went down to the floor of the format before they became 0.

    A dead layer is an end without warning: the one before it is of ordinary size.
    """
    before = log10_max[np.isfinite(log10_max)]
    if not len(before):
        return False
    fall = min(before[-1] - before[-2], 0.0) if len(before) > 1 else 0.0
    return bool(before[-1] - floor < 2.0 or before[-1] + fall < floor)


_FAULTS: tuple[Callable[[_Run], Verdict | None], ...] = (
    _non_finite,
    _disconnected,
    _no_signal,
)

_GAIN = (
    "let every layer keep the size of what it passes on (orthogonal or variance-scaled "
    "initial weights, residual connections, normalization); clipping does not help"
)
_SHRINK = (
    "use smaller, variance-scaled or orthogonal initial weights or normalization; "
    "clipping (`global_clipnorm=1`) tames the updates only"
)
_CLIP = "use a smaller learning rate or clip the gradient (`global_clipnorm=1`)"
_STALLED = (
    "if no other verdict of this run names a cause, try other learning rates and see "
    "whether the model can learn one small batch by heart"
)
_SLOW = "it needs more steps, or a larger learning rate if the loss falls steadily"
_CONNECT = (
    "is it used by the loss? Look for `stop_gradient`, a cast to integers, `argmax`, "
    "or an output without a loss; or set `trainable = False`"
)
_REVIVE = (
    "use a smaller learning rate, He initial weights, or an activation that is not "
    "flat on one side (leaky ReLU, ELU)"
)


def _vanishing_remedy(run: _Run) -> str:
    slopes = (
        _slope(run.activations.finite()),
        _slope(run.gradients.finite(), backward=True),
    )
    seen = [s for s in slopes if s is not None]
    if seen and min(s.total.min() for s in seen) > -DECADES_BY_LAYER:
        return (
            "no layer loses it, so scale the loss or the targets, or use an optimizer "
            "that divides by the size of the gradient (Adam with a small `epsilon`)"
        )
    return _GAIN


def _underflow_remedy(run: _Run, *, forward: bool) -> str:
    dtype = str(run.row["dtype"])
    if dtype.endswith("float16") and not dtype.endswith("bfloat16"):
        wider = "bfloat16 or float32 have the exponents for it"
        return (
            wider if forward else f"scale the loss (`LossScaleOptimizer`), or {wider}"
        )
    return f"{dtype} ends here, and a wider format would only move the end: {_GAIN}"


def _zero_remedy(run: _Run, cause: str) -> str:
    if cause in ("forward", "backward"):
        what = "activations" if cause == "forward" else "gradients"
        told = f"{what} slide below the smallest number of {run.row['dtype']}"
        return f"{told}; {_underflow_remedy(run, forward=cause == 'forward')}"
    if cause == "error":
        return "the loss itself has no slope here: look at the loss and the targets"
    return (
        "are the inputs or the weights of this layer all 0? Log the activations to "
        "tell dead units from underflow"
    )


def _frozen_remedy(verdict: Verdict, mixed: bool) -> str:
    wider = "keep the weights in a wider format"
    if mixed or verdict.dtype in ("float32", "float64"):
        wider = "find out why the gradient is this small"
    if 0 < verdict.margin < 3:
        return (
            f"a learning rate {10**verdict.margin:.2g} times larger would move them; "
            f"or {wider}"
        )
    return f"no sensible learning rate makes up for it; {wider}"


def _non_finite_remedy(run: _Run, step: int) -> str:
    narrow = str(run.row["dtype"]).removeprefix("mixed_") == "float16"
    wider = ", or bfloat16 or float32" if narrow else ""
    if step == 0:
        return (
            "look for Inf or NaN in the data first; then use smaller initial weights "
            f"or normalization{wider}; clipping cannot repair Inf"
        )
    return (
        f"use a smaller learning rate or clip the gradient before it gets here{wider}"
    )


def _loss_is_scaled(run: _Run) -> bool:
    return "lossscale" in str(run.row["optimizer"]).lower().replace("_", "")


def _power(logarithm: np.ndarray) -> np.ndarray:
    """`10**logarithm`; never 0, as long as the logarithm is finite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.where(
            np.isneginf(logarithm), 0.0, np.maximum(10.0**logarithm, 5e-324)
        )


def _number(value: float) -> str:
    plain = value == 0 or 1e-2 <= abs(value) < 1e4
    return f"{value:.3g}" if plain else f"{value:.1e}"


def _checked_model(model: Any) -> Any:
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise TypeError(
            "`log_or_model` must be a GradientLog or a Keras model. "
            f"Received: log_or_model={model!r}."
        )
    return model


def _measured(model: Any, x: Any, y: Any, loss: Any, rate: float) -> GradientLog:
    """One tape pass over the model as a log of one run without an update."""
    if x is None or y is None:
        missing = " and ".join(n for n, v in (("x", x), ("y", y)) if v is None)
        raise ValueError(
            "`x` and `y` must be given with a model: its gradients depend on them. "
            f"Received: a model without {missing}."
        )
    from vgkeras import tape

    taped = tape.tape_pass(model, x, y, tape.check_loss(loss))
    frame = pd.DataFrame(
        tape.statistics(taped.tensors).numpy(), columns=list(tape.STATISTICS)
    )
    labels = pd.DataFrame(taped.labels, columns=["layer", "name", "kind"])
    frame = pd.concat([labels, frame], axis="columns").assign(
        run=0, step=0, size=taped.sizes, frozen_fraction=np.nan, update_ratio=np.nan
    )
    changes = _changes(model.trainable_variables, taped.gradients, rate)
    frame.loc[: len(changes) - 1, ["frozen_fraction", "update_ratio"]] = changes
    value = float(taped.loss)
    return GradientLog(
        runs=_run_row(model, frame, rate),
        losses=pd.DataFrame({"run": [0], "step": [0], "loss": [value]}),
        layers=frame[list(LAYER_COLUMNS)],
    )


def _changes(variables: Any, gradients: Any, rate: float) -> np.ndarray:
    """Frozen share and relative update of a step of plain SGD, by variable."""
    from vgkeras import tape

    rows = []
    norms = tape.statistics([v.value for v in variables]).numpy()[:, 0]
    steps = tape.statistics(gradients).numpy()[:, 0]
    for variable, gradient, norm, step in zip(
        variables, gradients, norms, steps, strict=True
    ):
        if gradient is None:
            rows.append((np.nan, np.nan))
            continue
        weight = variable.value
        moved = weight - gradient * rate
        with np.errstate(all="ignore"):
            ratio = rate * 10.0 ** (step - norm)
        rows.append((float(np.mean((moved == weight).numpy())), ratio))
    return np.array(rows).reshape(-1, 2)


def _run_row(model: Any, frame: pd.DataFrame, rate: float) -> pd.DataFrame:
    owned = frame.loc[frame["kind"] == "weight_gradient", "layer"]
    row = dict.fromkeys(RUN_COLUMNS, "") | {
        "run": 0,
        "depth": int(owned.nunique()),
        "units": 0,
        "output_units": 0,
        "scale": np.nan,
        "optimizer": "sgd",
        "learning_rate": rate,
        "steps": 0,
        "dtype": str(model.dtype_policy.name),
        "samples": 0,
        "seed": -1,
        "loss_zero": np.nan,
    }
    return pd.DataFrame([row])


_COLUMNS = ("run", "regime", "where", "rule", "measured", "margin, decades", "remedy")


def _table(verdicts: list[Verdict]) -> str:
    """An HTML table without colours of its own: it takes those of the notebook."""
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in _COLUMNS)
    rows = "".join(f"<tr>{_cells(verdict)}</tr>" for verdict in verdicts)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(verdict: Verdict) -> str:
    place = ", ".join(p for p in (verdict._place(), verdict.extent) if p)
    texts = (
        verdict.run,
        verdict.regime,
        place,
        f"{verdict.rule} ({verdict.dtype})",
        _number(verdict.measured),
        f"{verdict.margin:+.1f}",
        verdict.remedy,
    )
    style = "text-align:left;vertical-align:top"
    return "".join(f'<td style="{style}">{html.escape(str(t))}</td>' for t in texts)
