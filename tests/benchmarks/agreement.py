"""How far two logs of the same runs are from each other, where numbers are normal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from vgkeras.logs import KINDS, GradientLog

LOSS_TOLERANCE = 1e-5  # relative
NORM_TOLERANCE = 1e-4  # of a base-10 logarithm
# float32 is normal from 10**-37.9 to 10**38.5, but a tensor's smaller elements, and the
# products that its elements are sums of, are flushed to zero before its largest is.
LOWEST, HIGHEST = -36, 38.5


def deviation(log: GradientLog, reference: GradientLog) -> dict[str, float]:
    """The largest difference of losses and of norms, and how much else agrees.

    `loss` is relative to the loss itself, or to the loss of the zero map where the
    loss is smaller than that: a small residual is a difference of large numbers.
    `others` is the share of rows with equal outcome, fractions and update ratio (to
    0.1 %). Entries whose exact value is 0 are rounding noise in one peer and 0 in
    another, so that one is printed and not held to a limit.
    """
    if list(log.runs["depth"]) != list(reference.runs["depth"]):
        raise ValueError("`log` must hold the runs of `reference`, in the same order.")
    ours, theirs = _sorted(log), _sorted(reference)
    return {
        "loss": _loss_deviation(log, reference),
        "norm": _norm_deviation(ours, theirs),
        "others": _agreeing(ours, theirs),
        "outcomes": float(np.mean(_outcomes(log) == _outcomes(reference))),
    }


def agrees(errors: dict[str, float]) -> bool:
    return (
        errors["loss"] <= LOSS_TOLERANCE
        and errors["norm"] <= NORM_TOLERANCE
        and errors["outcomes"] == 1
    )


def _loss_deviation(log: GradientLog, reference: GradientLog) -> float:
    ours, theirs = (
        one.losses.sort_values(["run", "step"])["loss"].to_numpy("float64")
        for one in (log, reference)
    )
    zero = float(reference.runs["loss_zero"].iloc[0])
    normal = np.isfinite(ours) & np.isfinite(theirs) & (theirs < 10.0**HIGHEST)
    with np.errstate(all="ignore"):
        apart = np.abs(ours - theirs) / np.maximum(theirs, zero)
    return float(np.max(apart[normal]))


def _norm_deviation(ours: pd.DataFrame, theirs: pd.DataFrame) -> float:
    normal = np.ones(len(theirs), bool)
    for table in (ours, theirs):
        normal &= table["log10_max"].between(LOWEST, HIGHEST).to_numpy()
        normal &= np.isfinite(table["log10_norm"].to_numpy())
    columns = ["log10_norm", "log10_max", "log10_mean"]
    apart = ours.loc[normal, columns] - theirs.loc[normal, columns]
    return float(apart.abs().to_numpy().max())


def _agreeing(ours: pd.DataFrame, theirs: pd.DataFrame) -> float:
    same = np.ones(len(theirs), bool)
    for column in ("zero_fraction", "nonfinite_fraction", "frozen_fraction"):
        same &= np.isclose(ours[column], theirs[column], atol=1e-3, equal_nan=True)
    ratios = [t["update_ratio"].replace(np.inf, np.nan) for t in (ours, theirs)]
    same &= np.isclose(*ratios, rtol=1e-3, equal_nan=True)
    return float(np.mean(same))


def _sorted(log: GradientLog) -> pd.DataFrame:
    kind = log.layers["kind"].astype(str).map({k: i for i, k in enumerate(KINDS)})
    keys = ["run", "step", "kind", "layer"]
    return log.layers.assign(kind=kind).sort_values(keys, ignore_index=True)


def _outcomes(log: GradientLog) -> np.ndarray:
    return log.runs.sort_values("run")["outcome"].to_numpy()
