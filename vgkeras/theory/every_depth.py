"""Theory at every depth, also between the depths of a log."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vgkeras.logs import GradientLog
from vgkeras.theory.data import TARGETS, make_data, target_modes
from vgkeras.theory.mode_paths import (
    Modes,
    log_weight_norms,
    mode_losses,
    modes_of_targets,
)
from vgkeras.theory.modes import log_gap, log_power, trajectory

_START = ["scale", "seed"]
_SETTINGS = ["units", "output_units", "samples", "learning_rate", "steps", "target"]


def curves_by_depth(
    log: GradientLog, depths: Sequence[int], step: int | None = None
) -> pd.DataFrame:
    """Predicts loss and weight gradient of each start of a log at any depths.

    A line from one logged depth to the next would tell of the stacks between what is
    not so: at c = 0.9 and the lecture's settings, 20 layers train, 50 do not.

    Args:
        log: What `predict` returns, or a log with `theory`.
        depths: Numbers of layers.
        step: Number of updates before. `None` for the last step of each run.

    Returns:
        A frame `scale, seed, depth, loss, log10_gradient`, the latter the Frobenius
        norm of `dL/dW_1`. No row of a start of which theory knows only the logged
        depths: kernels, data or learning rates that no formula of the depth tells.

    Example:
        >>> from vgkeras import predict
        >>> curves = curves_by_depth(predict([0.5], [2, 50]), [2, 3, 4], step=0)
        >>> curves["loss"].round(3).tolist()
        [0.562, 0.766, 0.879]
    """
    predicted = log if log.theory is None else log.theory
    noise = predicted.metadata.get("arguments", {}).get("noise", 0.0)
    first = predicted.losses[predicted.losses["step"] == 0].set_index("run")["loss"]
    # What was measured knows its settings, where a theory of its data does not.
    starts = log.runs.drop_duplicates([*_START, *_SETTINGS])
    starts = starts[~starts.duplicated(_START, keep=False)]
    parts = [pd.DataFrame(columns=[*_START, "depth", "loss", "log10_gradient"])]
    for run in starts.itertuples():
        updates = int(run.steps) if step is None else step
        directions = _directions(run, updates, noise)
        if directions and _tells(directions[0], run, first.get(run.run)):
            parts.append(_curve(*directions, run, depths, updates))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _directions(run: Any, steps: int, noise: float) -> tuple[Modes, float] | None:
    """The modes of a start and, before its first step, what couples them, squared."""
    if math.isnan(run.scale) or run.target not in TARGETS:
        return None
    targets = target_modes(run.target, run.units, run.output_units)
    if targets is not None and not noise:
        modes = modes_of_targets(targets, run.units, run.output_units, run.samples)
        return modes, 0.0
    if steps or run.output_units > run.units:
        return None
    shape: dict[str, int] = {"units": run.units, "output_units": run.output_units}
    options: dict[str, Any] = {"samples": run.samples, "noise": noise, "seed": run.seed}
    x, y = make_data(run.target, **shape, **options)
    moments = x.T @ y / len(x)
    own = np.diag(moments)
    ones = np.ones(len(own))
    unseen = float((y**2).sum() / len(x) - own @ own)
    modes = Modes(ones, own, ones, 0 * ones, 0.0, unseen, len(x), y.shape[1])
    return modes, float((moments**2).sum() - own @ own)


def _tells(modes: Modes, run: Any, loss: float | None) -> bool:
    """Whether the first loss of a run of the log is that of these modes."""
    own = mode_losses(log_gap(run.scale, run.depth, modes.targets), modes)
    return loss is not None and bool(np.isclose(own, loss, rtol=1e-6))


def _curve(
    modes: Modes, coupling: float, run: Any, depths: Sequence[int], steps: int
) -> pd.DataFrame:
    depth = np.array(depths, int)[:, None]
    rates = run.learning_rate * 2 / modes.outputs * modes.eigenvalues
    options: dict[str, Any] = {"rate": rates, "target": modes.targets}
    value = trajectory(run.scale, depth, steps=steps, **options)[..., -1]
    gaps = log_gap(value, depth, modes.targets)
    with np.errstate(all="ignore"):
        rest = log_power(run.scale, depth[:, 0] - 1) + math.log(2 / modes.outputs)
        rest += np.log(coupling) / 2
        norms = log_weight_norms(value, gaps, depth, modes)
        norms = np.logaddexp(2 * norms, 2 * rest) / 2
    lost = ~np.isfinite(value).all(-1)
    return pd.DataFrame(
        {
            "scale": run.scale,
            "seed": run.seed,
            "depth": depth[:, 0],
            "loss": np.where(lost, np.inf, mode_losses(gaps, modes)),
            "log10_gradient": np.where(lost, np.inf, norms) / math.log(10),
        }
    )
