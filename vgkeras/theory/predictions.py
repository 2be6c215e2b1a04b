"""Theory as a log: what a sweep should measure, computed without running it."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vgkeras import _checks
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog, run_table
from vgkeras.theory.closed_form import closed_form
from vgkeras.theory.data import TARGETS, make_data, target_modes
from vgkeras.theory.mode_paths import (
    Run,
    first_step,
    modes_of_data,
    modes_of_targets,
    run_modes,
)
from vgkeras.theory.outcomes import outcomes_by_loss


class _Start(NamedTuple):
    """What tells the runs of a prediction apart."""

    learning_rate: float
    seed: int
    scale: float
    depth: int


def predict(
    scales: Sequence[float] = (0.5, 0.9, 1.5),
    depths: Sequence[int] = (2, 5, 10, 20, 50, 100, 152),
    *,
    units: int = 2,
    steps: int = 200,
    learning_rate: float | Sequence[float] | Callable[[int], float] = 0.01,
    every: int | None = 1,
    target: str = "identity",
    samples: int = 64,
    output_units: int | None = None,
    dtype: str = "float32",
    seed: int | Sequence[int] = 0,
    noise: float = 0.0,
) -> GradientLog:
    """Predicts every loss and every norm of a sweep, without running it.

    The numbers are those of real arithmetic: a loss of 1e-400 is 0 here, but its
    gradients keep their logarithm, and no update is rounded away. A run in `dtype`
    overflows, underflows and freezes where theory goes on. For `"teacher"` and for
    noisy targets the layers do not stay equal; then step 0 alone is predicted, and
    no outcome.

    Args:
        scales: Factors of the kernels `scale * I`.
        depths: Numbers of layers.
        units: Width of every layer and of the inputs.
        steps: Number of updates of each run.
        learning_rate: Step size of plain gradient descent; a list of them; or a
            function of the depth, such as `lambda depth: 0.1 / depth`.
        every: Steps between the rows of the table `layers`; `None` for no rows.
        target: A target of `vgkeras.make_data`.
        samples: Number of rows of the data.
        output_units: Number of outputs; `None` means `units`.
        dtype: Number format of the run; noted, without effect on the numbers.
        seed: Seed of the data, or a list of them.
        noise: Standard deviation of the noise of the targets.

    Returns:
        A `GradientLog` with a run per learning rate, seed, scale and depth, depth
        counting fastest, as in `sweep`.
        Of the statistics only `log10_norm` is filled; a value beyond float64 is
        `inf`. The column `outcome` is that of the predicted losses.

    Raises:
        TypeError: If an argument is not of the type asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> predict(scales=[0.5], depths=[2, 50])
        <GradientLog: 2 runs (1 trains, 1 stalls)>
    """
    arguments: dict[str, Any] = {
        "scales": _checks.check_each("scales", scales, _checks.check_finite),
        "depths": _checks.check_each("depths", depths, _checks.check_positive_int),
        "units": _checks.check_positive_int("units", units),
        "steps": _checks.check_non_negative_int("steps", steps),
        "every": _checks.check_every(every),
        "target": _checks.check_option("target", target, TARGETS),
        "samples": _checks.check_positive_int("samples", samples),
        "output_units": units if output_units is None else output_units,
        "dtype": _checks.check_option("dtype", dtype, _checks.DTYPES),
        "noise": _checks.check_non_negative("noise", noise),
        "seed": _checks.check_seeds("seed", seed),
    }
    make_data(target, units, samples, output_units=output_units)  # checks them
    targets = None if noise else target_modes(target, units, output_units)
    arguments["learning_rate"] = _checks.check_rates(learning_rate, arguments["depths"])
    grid = _grid(arguments)
    if targets is None:
        runs, zeros = _first_steps(grid, arguments)
        outcomes = [""] * len(runs)  # none follows from a state before training
    else:
        runs, zeros = _whole_runs(grid, targets, arguments)
        first, last = np.array([run.losses[[0, -1]] for run in runs]).T
        outcomes = outcomes_by_loss(first, last, zeros).tolist()
    return GradientLog(
        runs=_run_table(grid, arguments, loss_zero=zeros, outcome=outcomes),
        losses=loss_table([run.losses for run in runs]),
        layers=_layer_table(runs),
        metadata={"origin": "theory", "arguments": arguments},
    )


def _grid(arguments: dict[str, Any]) -> list[_Start]:
    """All runs in their order, depths counting fastest."""
    axes = ("learning_rate", "seed", "scales")
    return [
        _Start(rate, seed, scale, depth)
        for rates, seed, scale in itertools.product(*(arguments[n] for n in axes))
        for rate, depth in zip(rates, arguments["depths"], strict=True)
    ]


def predict_run(
    scale: float,
    depth: int,
    x: ArrayLike,
    y: ArrayLike,
    *,
    steps: int,
    learning_rate: float,
    every: int | None = 1,
    last_kernel: ArrayLike | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicts one run on any data: all of it where theory reaches, else step 0.

    All of it: if the last kernel is a scaled identity too, and the second moments
    `x.T @ x` and `x.T @ y` have common orthogonal eigenvectors, to 6 digits. That is
    so for `y = m * x` with any `x`, and for whitened `x` with a symmetric or a
    rotating map.

    Args:
        scale: Factor of the kernels `scale * I`.
        depth: Number of layers.
        x: Inputs, shape `(samples, units)`.
        y: Targets, shape `(samples, output_units)`.
        steps: Number of updates.
        learning_rate: Step size of plain gradient descent.
        every: Steps between the rows of the table `layers`; `None` for no rows.
        last_kernel: Kernel of the last layer, shape `(units, output_units)`.
            Default `scale * eye(units, output_units)`.

    Returns:
        The tables `losses` and `layers` of a log, with `run` 0.

    Raises:
        TypeError: If an argument is not of the type asked for.
        ValueError: If an argument is out of range or the shapes do not fit.

    Example:
        >>> x, y = make_data()
        >>> losses, _ = predict_run(0.5, 2, x, 3 * y, steps=2, learning_rate=0.1)
        >>> losses["loss"].round(4).tolist()
        [7.5625, 6.7267, 5.5481]
    """
    steps = _checks.check_non_negative_int("steps", steps)
    every = _checks.check_every(every)
    rate = _checks.check_positive("learning_rate", learning_rate)
    form = closed_form(scale, depth, x, y, last_kernel=last_kernel)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    modes, identity = None, scale * np.eye(x.shape[1], y.shape[1])
    if last_kernel is None or np.array_equal(np.asarray(last_kernel), identity):
        modes = modes_of_data(x, y)
    if modes is None:
        run = first_step(form, every)
    else:
        (run,) = run_modes(modes, [scale], depth, steps, every, [rate])
    return loss_table([run.losses]), _layer_table([run])


def _whole_runs(
    grid: list[_Start], targets: np.ndarray, arguments: dict[str, Any]
) -> tuple[list[Run], list[float]]:
    """All steps of all runs; the data's seed plays no part in them."""
    names = ("units", "output_units", "samples")
    modes = modes_of_targets(targets, *(arguments[name] for name in names))
    steps, every = arguments["steps"], arguments["every"]
    by_start: dict[_Start, Run] = {}
    for depth in arguments["depths"]:
        own = [start._replace(seed=0) for start in grid if start.depth == depth]
        starts = list(dict.fromkeys(own))
        scales = [start.scale for start in starts]
        rates = [start.learning_rate for start in starts]
        paths = run_modes(modes, scales, depth, steps, every, rates)
        by_start |= dict(zip(starts, paths, strict=True))
    runs = [by_start[start._replace(seed=0)] for start in grid]
    return runs, [modes.loss_zero()] * len(runs)


def _first_steps(
    grid: list[_Start], arguments: dict[str, Any]
) -> tuple[list[Run], list[float]]:
    """The state of all runs before the first update."""
    names = ("target", "units", "samples", "output_units", "noise")
    make = functools.partial(make_data, **{name: arguments[name] for name in names})
    data = {seed: make(seed=seed) for seed in arguments["seed"]}
    forms = (closed_form(own.scale, own.depth, *data[own.seed]) for own in grid)
    runs = [first_step(form, arguments["every"]) for form in forms]
    return runs, [float(np.mean(data[own.seed][1] ** 2)) for own in grid]


def _run_table(
    grid: list[_Start], arguments: dict[str, Any], **columns: Any
) -> pd.DataFrame:
    columns |= dict(zip(_Start._fields, zip(*grid, strict=True), strict=True))
    shared = ("samples", "units", "output_units", "steps", "dtype", "target")
    columns |= {name: arguments[name] for name in shared}
    return run_table(optimizer="sgd", **columns)


def loss_table(losses: Sequence[np.ndarray]) -> pd.DataFrame:
    """The table `losses` of a log, from the losses of each run."""
    lengths = [len(run) for run in losses]
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(len(losses)), lengths),
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "loss": np.concatenate(losses),
        }
    )


def _layer_table(runs: list[Run]) -> pd.DataFrame:
    """Rows by run, step, kind and layer."""
    deepest = max(run.log_norms.shape[2] for run in runs)
    logged = [at for at, run in enumerate(runs) if len(run.steps)] or [0]
    labels = [_labels(number, runs[number], deepest) for number in logged]
    run, step, kind, layer, name = map(np.concatenate, zip(*labels, strict=True))
    dense = [f"dense_{number}" for number in range(1, deepest + 1)]
    names = [*dense, *(f"{layer_name}/kernel" for layer_name in dense)]
    norms = np.concatenate([run.log_norms.ravel() for run in runs]) / math.log(10)
    columns: dict[str, Any] = dict.fromkeys(LAYER_COLUMNS, np.nan)
    columns |= {
        "run": run,
        "step": step,
        "layer": layer,
        "name": pd.Categorical.from_codes(name, names),
        "kind": pd.Categorical.from_codes(kind, list(KINDS)),
        "log10_norm": norms,
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(norms)))


def _labels(number: int, run: Run, deepest: int) -> list[np.ndarray]:
    """The columns run, step, kind, layer and name, the last three as numbers."""
    kind = np.arange(len(KINDS), dtype=np.int8)[:, None]
    layer = np.arange(1, run.log_norms.shape[2] + 1)
    name = layer - 1 + np.where(kind == KINDS.index("weight_gradient"), deepest, 0)
    step = run.steps[:, None, None]
    columns = np.broadcast_arrays(number, step, kind, layer, name)
    return [column.ravel() for column in columns]
