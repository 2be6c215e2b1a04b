"""The directions in which a stack of scaled identities learns, and its runs in them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vgkeras.logs import KINDS, logged_steps
from vgkeras.theory.closed_form import ClosedForm
from vgkeras.theory.modes import log_gap, log_power, trajectory

_TOLERANCE = 1e-6  # of moments that should vanish: the rounding of float32 data


@dataclass(frozen=True)
class Modes:
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
class Run:
    """Losses of steps 0, 1, ...; natural log-norms, `(len(steps), 3, depth)`."""

    losses: np.ndarray
    steps: np.ndarray
    log_norms: np.ndarray


def modes_of_targets(
    targets: np.ndarray, units: int, output_units: int, samples: int
) -> Modes:
    """The modes of `make_data` without noise; equal ones are taken together."""
    targets, copies = np.unique(targets, return_counts=True)
    return Modes(
        eigenvalues=np.ones(len(targets)),
        targets=targets,
        copies=copies,
        noise=np.zeros(len(targets)),
        idle=float(max(units - output_units, 0)),
        unseen=0.0,
        samples=samples,
        outputs=output_units,
    )


def modes_of_data(x: np.ndarray, y: np.ndarray) -> Modes | None:
    """The modes of any data, or `None` if its directions do not stay apart."""
    rank = min(x.shape[1], y.shape[1])
    sigma, cross = x.T @ x / len(x), x.T @ y / len(x)
    coupled = (
        _is_part(sigma[:rank, rank:], sigma)
        or _is_part(cross[rank:], cross)
        or _is_part(cross[:, rank:], cross)
    )
    eigen = _common_eigenvectors(sigma[:rank, :rank], cross[:rank, :rank])
    if coupled or eigen is None:
        return None
    basis, eigenvalues, gains = eigen
    with np.errstate(divide="ignore", invalid="ignore"):
        targets = np.where(eigenvalues > 0, gains / eigenvalues, 0)
    rotated = y[:, :rank] @ basis
    rest = rotated - (x[:, :rank] @ basis) * targets
    rest = np.where(np.abs(rest) > _TOLERANCE * np.abs(rotated).max(), rest, 0)
    return Modes(
        eigenvalues=eigenvalues,
        targets=targets,
        copies=np.ones(rank),
        noise=np.mean(np.abs(rest) ** 2, axis=0),
        idle=float(np.trace(sigma[rank:, rank:])),
        unseen=float(np.sum(np.mean(y[:, rank:] ** 2, axis=0))),
        samples=len(x),
        outputs=y.shape[1],
    )


def _common_eigenvectors(
    sigma: np.ndarray, cross: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Common orthonormal eigenvectors of two matrices and their eigenvalues.

    They are those of a Hermitian mixture of the parts of both: the odd weights keep
    different pairs of eigenvalues apart. `None` if there are none.
    """
    norm, cross_norm = np.linalg.norm(sigma) or 1.0, np.linalg.norm(cross) or 1.0
    even, odd = (cross + cross.T) / 2, (cross - cross.T) / 2
    mixture = sigma / norm + (0.7310585 * even + 0.4142136j * odd) / cross_norm
    turns = _is_part(odd, cross)
    _, basis = np.linalg.eigh(mixture if turns else mixture.real)
    own, mutual = (basis.conj().T @ matrix @ basis for matrix in (sigma, cross))
    for matrix in (own, mutual):
        if _is_part(matrix - np.diag(np.diag(matrix)), matrix):
            return None
    return basis, np.diag(own).real.clip(min=0), np.diag(mutual)


def _is_part(part: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a part of a matrix is more than rounding."""
    return bool(np.linalg.norm(part) > _TOLERANCE * np.linalg.norm(whole))


def first_step(form: ClosedForm, every: int | None) -> Run:
    """A run of which the state before the first update is known, and no more."""
    norms = np.array([[getattr(form, f"log10_{kind}") for kind in KINDS]])
    logged = np.array(logged_steps(0, every), int)
    return Run(np.array([form.loss]), logged, norms[logged] * math.log(10))


def run_modes(
    modes: Modes,
    scales: Sequence[float],
    depth: int,
    steps: int,
    every: int | None,
    learning_rates: Sequence[float],
) -> Iterator[Run]:
    """The runs of one depth, each of a scale and a learning rate."""
    start, rates = (np.array(v, float)[:, None] for v in (scales, learning_rates))
    rates = rates * 2 / modes.outputs * modes.eigenvalues
    path = trajectory(start, depth, rate=rates, steps=steps, target=modes.targets)
    path = np.moveaxis(path, -1, 1)  # (scales, steps + 1, modes)
    gaps = log_gap(path, depth, modes.targets)
    lost = ~np.isfinite(path).all(-1)
    losses = mode_losses(gaps, modes)
    losses[lost] = np.inf
    logged = np.array(logged_steps(steps, every), int)
    norms = _log_norms(path[:, logged], gaps[:, logged], start, depth, modes)
    norms[lost[:, logged]] = np.inf
    for loss, norm in zip(losses, norms, strict=True):
        yield Run(loss, logged, norm)


def mode_losses(gaps: np.ndarray, modes: Modes) -> np.ndarray:
    """The losses of modes, the last axis, from how far they are from their targets."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors = modes.eigenvalues * np.exp(2 * gaps) + modes.noise
        return (errors @ modes.copies + modes.unseen) / modes.outputs


def log_weight_norms(
    path: np.ndarray, gaps: np.ndarray, depth: Any, modes: Modes
) -> np.ndarray:
    """Natural log-norm of the weight gradient, equal in all layers, of each state."""
    with np.errstate(all="ignore"):
        spread = np.log(modes.eigenvalues) * 2 + np.log(modes.copies)
        squares = 2 * log_power(path, depth - 1) + 2 * gaps + spread
        return _log_sum(squares) / 2 + math.log(2 / modes.outputs)


def _log_norms(
    path: np.ndarray, gaps: np.ndarray, start: np.ndarray, depth: int, modes: Modes
) -> np.ndarray:
    """Natural log-norms in the order of `KINDS`, `(scales, steps, 3, depth)`."""
    layer, value = np.arange(1, depth + 1)[:, None], path[..., None, :]
    inner = layer[:, 0] < depth
    with np.errstate(all="ignore"):
        eigen, copies = np.log(modes.eigenvalues), np.log(modes.copies)
        error = np.logaddexp(2 * gaps + eigen, np.log(modes.noise)) + copies
        idle = np.log(modes.idle) + 2 * layer[:, 0] * np.log(np.abs(start))
        idle = np.where(inner, idle, -np.inf)[:, None, :]
        unseen = np.where(inner, -np.inf, np.log(modes.unseen))
        squares = [
            2 * log_power(value, layer) + eigen + copies,
            2 * log_power(value, depth - layer) + error[..., None, :],
        ]
        forward = np.logaddexp(_log_sum(squares[0]), idle)
        backward = np.logaddexp(_log_sum(squares[1]), unseen)
    weight = log_weight_norms(path, gaps, depth, modes)[..., None]
    rate, rows = math.log(2 / modes.outputs), math.log(modes.samples)
    weight = np.repeat(weight, depth, axis=-1)
    norms = [weight, (forward + rows) / 2, (backward - rows) / 2 + rate]
    return np.stack(norms, axis=2)


def _log_sum(logarithms: np.ndarray) -> np.ndarray:
    """`ln` of the sum over the modes, the last axis."""
    if logarithms.shape[-1] == 1:
        return logarithms[..., 0]
    return np.logaddexp.reduce(logarithms, axis=-1)
