"""Theory as a log: what a sweep should measure, computed without running it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from vgkeras import _checks
from vgkeras.logs import KINDS, LAYER_COLUMNS, GradientLog, logged_steps, run_table
from vgkeras.theory.closed_form import ClosedForm, closed_form
from vgkeras.theory.data import TARGETS, make_data, target_modes
from vgkeras.theory.modes import log_gap, trajectory
from vgkeras.theory.outcomes import outcomes_by_loss

_TOLERANCE = 1e-6  # of moments that should vanish: the rounding of float32 data


def predict(
    scales: Sequence[float] = (0.5, 0.9, 1.5),
    depths: Sequence[int] = (2, 5, 10, 20, 50, 100, 152),
    *,
    units: int = 2,
    steps: int = 200,
    learning_rate: float = 0.01,
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
        learning_rate: Step size of plain gradient descent.
        every: Steps between the rows of the table `layers`; `None` for no rows.
        target: A target of `vgkeras.make_data`.
        samples: Number of rows of the data.
        output_units: Number of outputs; `None` means `units`.
        dtype: Number format of the run; noted, without effect on the numbers.
        seed: Seed of the data, or a list of them.
        noise: Standard deviation of the noise of the targets.

    Returns:
        A `GradientLog` with a run per seed, scale and depth, depth counting fastest.
        Of the statistics only `log10_norm` is filled; a value beyond float64 is
        `inf`. The column `outcome` is that of the predicted losses.

    Raises:
        TypeError: If an argument is not of the type asked for.
        ValueError: If an argument is out of range.

    Example:
        >>> predict(scales=[0.5], depths=[2, 50])
        <GradientLog: 2 runs (1 trains, 1 stalls)>
    """
    arguments = _Arguments(
        scales=_checks.check_each("scales", scales, _checks.check_finite),
        depths=_checks.check_each("depths", depths, _checks.check_positive_int),
        units=_checks.check_positive_int("units", units),
        steps=_checks.check_non_negative_int("steps", steps),
        learning_rate=_checks.check_positive("learning_rate", learning_rate),
        every=_checks.check_every(every),
        target=_checks.check_option("target", target, TARGETS),
        samples=_checks.check_positive_int("samples", samples),
        output_units=units if output_units is None else output_units,
        dtype=_checks.check_option("dtype", dtype, _checks.DTYPES),
        seeds=_checks.check_seeds("seed", seed),
        noise=_checks.check_non_negative("noise", noise),
    )
    make_data(target, units, samples, output_units=output_units)  # checks them
    modes = None if noise else target_modes(target, units, output_units)
    if modes is None:
        return _log(arguments, *_first_steps(arguments))
    return _log(arguments, *_whole_runs(arguments, _whitened(arguments, modes)))


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
    first = closed_form(scale, depth, x, y, last_kernel=last_kernel)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    modes = None
    if last_kernel is None or _is_scaled_identity(np.asarray(last_kernel), scale):
        modes = _modes_of(x, y)
    if modes is None:
        run = _first_step(first)
    else:
        run = next(_paths([scale], depth, modes, steps, every, rate))
    if every is None:
        run = _Run(run.losses, np.empty(0, int), np.empty((0, 3, depth)))
    return _loss_table([run]), _layer_table([run])


@dataclass(frozen=True)
class _Arguments:
    scales: list[float]
    depths: list[int]
    units: int
    steps: int
    learning_rate: float
    every: int | None
    target: str
    samples: int
    output_units: int
    dtype: str
    seeds: list[int]
    noise: float

    def grid(self) -> Iterator[tuple[int, float, int]]:
        return itertools.product(self.seeds, self.scales, self.depths)


@dataclass(frozen=True)
class _Modes:
    """The directions in which a stack of scaled identities learns, one by one.

    `copies[j]` directions have the second moment `eigenvalues[j]`, the target
    `targets[j]`, and `noise[j]` of mean squared output that no linear map explains.
    `idle` is the second moment of inputs that no output asks for, `unseen` the mean
    square of outputs that no input reaches.
    """

    eigenvalues: np.ndarray
    targets: np.ndarray
    copies: np.ndarray
    noise: np.ndarray
    idle: float
    unseen: float
    samples: int
    outputs: int

    def loss_zero(self) -> float:
        explained = self.eigenvalues * np.abs(self.targets) ** 2 + self.noise
        return float((self.copies @ explained + self.unseen) / self.outputs)


@dataclass(frozen=True)
class _Run:
    """Losses of steps 0, 1, ...; natural log-norms, `(len(steps), 3, depth)`."""

    losses: np.ndarray
    steps: np.ndarray
    log_norms: np.ndarray


def _whitened(arguments: _Arguments, targets: np.ndarray) -> _Modes:
    """The modes of `make_data` without noise; equal ones are taken together."""
    targets, copies = np.unique(targets, return_counts=True)
    return _Modes(
        eigenvalues=np.ones(len(targets)),
        targets=targets,
        copies=copies,
        noise=np.zeros(len(targets)),
        idle=float(max(arguments.units - arguments.output_units, 0)),
        unseen=0.0,
        samples=arguments.samples,
        outputs=arguments.output_units,
    )


def _modes_of(x: np.ndarray, y: np.ndarray) -> _Modes | None:
    """The modes of any data, or `None` if its directions do not stay apart."""
    rank = min(x.shape[1], y.shape[1])
    sigma, cross = x.T @ x / len(x), x.T @ y / len(x)
    size, cross_size = np.linalg.norm(sigma), np.linalg.norm(cross)
    loose = max(
        np.linalg.norm(sigma[:rank, rank:]) / size if size else 0.0,
        np.linalg.norm(cross[rank:]) / cross_size if cross_size else 0.0,
        np.linalg.norm(cross[:, rank:]) / cross_size if cross_size else 0.0,
    )
    joint = _diagonalized(sigma[:rank, :rank], cross[:rank, :rank])
    if loose > _TOLERANCE or joint is None:
        return None
    basis, eigenvalues, gains = joint
    with np.errstate(divide="ignore", invalid="ignore"):
        targets = np.where(eigenvalues > 0, gains / eigenvalues, 0)
    rotated = y[:, :rank] @ basis
    rest = rotated - (x[:, :rank] @ basis) * targets
    rest = np.where(np.abs(rest) > _TOLERANCE * np.abs(rotated).max(), rest, 0)
    return _Modes(
        eigenvalues=eigenvalues,
        targets=targets,
        copies=np.ones(rank),
        noise=np.mean(np.abs(rest) ** 2, axis=0),
        idle=float(np.trace(sigma[rank:, rank:])),
        unseen=float(np.sum(np.mean(y[:, rank:] ** 2, axis=0))),
        samples=len(x),
        outputs=y.shape[1],
    )


def _diagonalized(
    sigma: np.ndarray, cross: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Common orthonormal eigenvectors of two matrices and their eigenvalues.

    They are those of a Hermitian mixture of the parts of both: the odd weights keep
    different pairs of eigenvalues apart. `None` if there are none.
    """
    size, cross_size = np.linalg.norm(sigma) or 1.0, np.linalg.norm(cross) or 1.0
    even, odd = (cross + cross.T) / 2, (cross - cross.T) / 2
    mixture = sigma / size + (0.7310585 * even + 0.4142136j * odd) / cross_size
    turns = np.linalg.norm(odd) > _TOLERANCE * cross_size
    _, basis = np.linalg.eigh(mixture if turns else mixture.real)
    found = [basis.conj().T @ matrix @ basis for matrix in (sigma, cross)]
    for matrix, whole in zip(found, (size, cross_size), strict=True):
        if np.linalg.norm(matrix - np.diag(np.diag(matrix))) > _TOLERANCE * whole:
            return None
    return basis, np.diag(found[0]).real.clip(min=0), np.diag(found[1])


def _is_scaled_identity(kernel: np.ndarray, scale: float) -> bool:
    return bool(np.array_equal(kernel, scale * np.eye(*kernel.shape)))


def _whole_runs(
    arguments: _Arguments, modes: _Modes
) -> tuple[list[_Run], list[float], list[str]]:
    """All steps of all runs; the data's seed plays no part in them."""
    found = {}
    for depth in arguments.depths:
        paths = _paths(
            arguments.scales,
            depth,
            modes,
            arguments.steps,
            arguments.every,
            arguments.learning_rate,
        )
        for scale, run in zip(arguments.scales, paths, strict=True):
            found[scale, depth] = run
    runs = [found[scale, depth] for _, scale, depth in arguments.grid()]
    zero = modes.loss_zero()
    ends = np.array([run.losses[[0, -1]] for run in runs])
    words = outcomes_by_loss(ends[:, 0], ends[:, 1], zero)
    return runs, [zero] * len(runs), words.tolist()


def _first_steps(
    arguments: _Arguments,
) -> tuple[list[_Run], list[float], list[str]]:
    """The state of all runs before the first update, which no outcome follows from."""
    data = {
        seed: make_data(
            arguments.target,
            arguments.units,
            arguments.samples,
            output_units=arguments.output_units,
            noise=arguments.noise,
            seed=seed,
        )
        for seed in arguments.seeds
    }
    runs = [
        _first_step(closed_form(scale, depth, *data[seed]))
        for seed, scale, depth in arguments.grid()
    ]
    zeros = [float(np.mean(data[seed][1] ** 2)) for seed, _, _ in arguments.grid()]
    return runs, zeros, [""] * len(runs)


def _first_step(form: ClosedForm) -> _Run:
    norms = [getattr(form, f"log10_{kind}") for kind in KINDS]
    log_norms = np.array([norms]) * math.log(10)
    return _Run(np.array([form.loss]), np.array([0]), log_norms)


def _paths(
    scales: Sequence[float],
    depth: int,
    modes: _Modes,
    steps: int,
    every: int | None,
    learning_rate: float,
) -> Iterator[_Run]:
    """The runs of one depth, a run per scale."""
    start = np.asarray(scales, dtype=float)[:, None]
    rates = learning_rate * 2 / modes.outputs * modes.eigenvalues
    path = trajectory(start, depth, rate=rates, steps=steps, target=modes.targets)
    path = np.moveaxis(path, -1, 1)  # (scales, steps + 1, modes)
    gaps = log_gap(path, depth, modes.targets)
    lost = ~np.isfinite(path).all(-1)
    losses = _losses(gaps, modes)
    losses[lost] = np.inf
    logged = np.array(logged_steps(steps, every), int)
    norms = _log_norms(path[:, logged], gaps[:, logged], start, depth, modes)
    norms[lost[:, logged]] = np.inf
    for loss, norm in zip(losses, norms, strict=True):
        yield _Run(loss, logged, norm)


def _losses(gaps: np.ndarray, modes: _Modes) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        errors = modes.eigenvalues * np.exp(2 * gaps) + modes.noise
        return (errors @ modes.copies + modes.unseen) / modes.outputs


def _log_norms(
    path: np.ndarray, gaps: np.ndarray, start: np.ndarray, depth: int, modes: _Modes
) -> np.ndarray:
    """Natural log-norms in the order of `KINDS`, `(scales, steps, 3, depth)`."""
    layer = np.arange(1, depth + 1)[:, None]
    inner = layer[:, 0] < depth
    with np.errstate(all="ignore"):
        log_s = np.log(np.abs(path))[..., None, :]
        size, copies = np.log(modes.eigenvalues), np.log(modes.copies)
        error = np.logaddexp(2 * gaps + size, np.log(modes.noise)) + copies
        idle = np.log(modes.idle) + 2 * layer[:, 0] * np.log(np.abs(start))
        idle = np.where(inner, idle, -np.inf)[:, None, :]
        unseen = np.where(inner, -np.inf, np.log(modes.unseen))
        squares = [
            2 * _multiples(depth - 1, log_s[..., 0, :]) + 2 * (gaps + size) + copies,
            2 * _multiples(layer, log_s) + size + copies,
            2 * _multiples(depth - layer, log_s) + error[..., None, :],
        ]
        weight = np.repeat(_log_sum(squares[0])[..., None], depth, axis=-1)
        forward = np.logaddexp(_log_sum(squares[1]), idle)
        backward = np.logaddexp(_log_sum(squares[2]), unseen)
    rate, rows = math.log(2 / modes.outputs), math.log(modes.samples)
    norms = [weight / 2 + rate, (forward + rows) / 2, (backward - rows) / 2 + rate]
    return np.stack(norms, axis=2)


def _multiples(exponent: Any, logarithm: np.ndarray) -> np.ndarray:
    """`exponent * logarithm` with `0**0 = 1`."""
    return np.where(np.equal(exponent, 0), 0.0, exponent * logarithm)


def _log_sum(logarithms: np.ndarray) -> np.ndarray:
    """`ln` of the sum over the modes, the last axis."""
    if logarithms.shape[-1] == 1:
        return logarithms[..., 0]
    return np.logaddexp.reduce(logarithms, axis=-1)


def _log(
    arguments: _Arguments, runs: list[_Run], zeros: list[float], words: list[str]
) -> GradientLog:
    """The tables of a log from the runs of a grid."""
    told = {name: getattr(arguments, name) for name in arguments.__dataclass_fields__}
    told["seed"] = told.pop("seeds")
    if arguments.every is None:
        runs = [_Run(run.losses, run.steps[:0], run.log_norms[:0]) for run in runs]
    return GradientLog(
        runs=_run_table(arguments, zeros, words),
        losses=_loss_table(runs),
        layers=_layer_table(runs),
        metadata={"origin": "theory", "arguments": told},
    )


def _run_table(
    arguments: _Arguments, zeros: list[float], outcomes: list[str]
) -> pd.DataFrame:
    seeds, scales, depths = zip(*arguments.grid(), strict=True)
    shared = ("units", "output_units", "learning_rate", "steps", "dtype", "target")
    return run_table(
        depth=depths,
        scale=scales,
        seed=seeds,
        optimizer="sgd",
        samples=arguments.samples,
        **{name: getattr(arguments, name) for name in shared},
        loss_zero=zeros,
        outcome=outcomes,
    )


def _loss_table(runs: list[_Run]) -> pd.DataFrame:
    lengths = [len(run.losses) for run in runs]
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(len(runs)), lengths),
            "step": np.concatenate([np.arange(length) for length in lengths]),
            "loss": np.concatenate([run.losses for run in runs]),
        }
    )


def _layer_table(runs: list[_Run]) -> pd.DataFrame:
    """Rows by run, step, kind and layer."""
    deepest = max(run.log_norms.shape[2] for run in runs)
    parts = [_layer_codes(run, deepest) for run in runs]
    step, kind, layer, name = (np.concatenate(p) for p in zip(*parts, strict=True))
    sizes = [run.log_norms.size for run in runs]
    dense = [f"dense_{number}" for number in range(1, deepest + 1)]
    names = [*dense, *(f"{layer_name}/kernel" for layer_name in dense)]
    norms = np.concatenate([run.log_norms.ravel() for run in runs]) / math.log(10)
    columns: dict[str, Any] = dict.fromkeys(LAYER_COLUMNS, np.nan)
    columns |= {
        "run": np.repeat(np.arange(len(runs)), sizes),
        "step": step,
        "layer": layer,
        "name": pd.Categorical.from_codes(name, names),
        "kind": pd.Categorical.from_codes(kind, list(KINDS)),
        "log10_norm": norms,
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(norms)))


def _layer_codes(run: _Run, deepest: int) -> tuple[np.ndarray, ...]:
    """The columns step, kind, layer and name, the last three as numbers."""
    steps, kinds, depth = run.log_norms.shape
    step = np.repeat(run.steps, kinds * depth)
    kind = np.tile(np.repeat(np.arange(kinds, dtype=np.int8), depth), steps)
    layer = np.tile(np.arange(1, depth + 1), kinds * steps)
    name = layer - 1 + np.where(kind == KINDS.index("weight_gradient"), deepest, 0)
    return step, kind, layer, name
