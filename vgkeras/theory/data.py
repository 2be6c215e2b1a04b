"""Seeded inputs and targets for which the theory of a deep linear stack is exact."""

# Else the annotation of a generator would load `numpy.random` with the package.
from __future__ import annotations

import numpy as np

from vgkeras import _checks

TARGETS = ("identity", "scaled", "rotation", "negative", "teacher")
_SCALED = 0.5
_TURN = np.pi / 4


def make_data(
    target: str = "identity",
    units: int = 2,
    samples: int = 64,
    *,
    output_units: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws whitened inputs and the targets a linear map makes of them.

    The inputs are whitened exactly, `x.T @ x / samples = I`: every direction is then
    learned at the same rate, and a stack of scaled identities reduces to one number
    per direction (see `vgkeras.theory.trajectory`).

    Args:
        target: The map from `x` to `y`. `"identity"`: `y = x`. `"scaled"`:
            `y = x / 2`. `"rotation"`: the first two coordinates turned by 45 degrees.
            `"negative"`: as identity, but the last coordinate changes its sign.
            `"teacher"`: a Gaussian matrix of variance `1 / units`.
        units: Number of inputs.
        samples: Number of rows, at least `units`.
        output_units: Number of outputs; `None` means `units`. Outputs beyond the
            inputs are 0, inputs beyond the outputs play no part.
        noise: Standard deviation of Gaussian noise added to `y`.
        seed: Seed of NumPy's `default_rng`; the same seed gives the same data.

    Returns:
        `x` of shape `(samples, units)` and `y` of shape `(samples, output_units)`,
        both float64.

    Raises:
        TypeError: If a number is not of the type asked for.
        ValueError: If a number is out of range, `samples < units`, or a rotation is
            asked for with less than two inputs or outputs.

    Example:
        >>> x, y = make_data("scaled", units=2, samples=4)
        >>> bool(np.allclose(x.T @ x / 4, np.eye(2))), bool(np.allclose(y, x / 2))
        (True, True)
    """
    outputs = _check_map(target, units, output_units)
    _check_samples(samples, units)
    noise = _checks.check_non_negative("noise", noise)
    rng = np.random.default_rng(_checks.check_non_negative_int("seed", seed))
    basis, _ = np.linalg.qr(rng.normal(size=(samples, units)))
    x = basis * np.sqrt(samples)
    y = x @ _matrix(target, units, outputs, rng).T
    if noise:
        y = y + noise * rng.normal(size=y.shape)
    return x, y


def target_modes(
    target: str, units: int = 2, output_units: int | None = None
) -> np.ndarray | None:
    """Returns the eigenvalues of the target map: what each mode has to reach.

    Args:
        target: A target of `make_data`.
        units: Number of inputs.
        output_units: Number of outputs; `None` means `units`.

    Returns:
        Shape `(min(units, output_units),)`, real, or complex for `"rotation"`;
        `None` for `"teacher"`, whose modes do not stay apart.

    Raises:
        TypeError: If a width is not an integer.
        ValueError: If an argument is out of range.

    Example:
        >>> target_modes("negative", units=3)
        array([ 1.,  1., -1.])
    """
    outputs = _check_map(target, units, output_units)
    if target == "teacher":
        return None
    modes = np.ones(min(units, outputs), complex if target == "rotation" else float)
    if target == "scaled":
        modes *= _SCALED
    if target == "negative":
        modes[-1] = -1.0
    if target == "rotation":
        modes[:2] = np.exp([1j * _TURN, -1j * _TURN])
    return modes


def _check_map(target: str, units: int, output_units: int | None) -> int:
    """Checks what defines the map and returns its number of outputs."""
    _checks.check_option("target", target, TARGETS)
    _checks.check_positive_int("units", units)
    outputs = units if output_units is None else output_units
    _checks.check_positive_int("output_units", outputs)
    if target == "rotation" and min(units, outputs) < 2:
        raise ValueError(
            "`units` and `output_units` must be at least 2 for target='rotation'. "
            f"Received: units={units!r}, output_units={outputs!r}."
        )
    return outputs


def _check_samples(samples: int, units: int) -> None:
    _checks.check_positive_int("samples", samples)
    if samples < units:
        raise ValueError(
            "`samples` must be at least `units`, or `x` cannot be whitened. "
            f"Received: samples={samples!r}, units={units!r}."
        )


def _matrix(
    target: str, units: int, outputs: int, rng: np.random.Generator
) -> np.ndarray:
    """The map of `target`, shape `(outputs, units)`, for `y = x @ matrix.T`."""
    if target == "teacher":
        return rng.normal(size=(outputs, units)) / np.sqrt(units)
    matrix = np.eye(outputs, units)
    if target == "scaled":
        matrix *= _SCALED
    if target == "negative":
        last = min(units, outputs) - 1
        matrix[last, last] = -1.0
    if target == "rotation":
        cos, sin = np.cos(_TURN), np.sin(_TURN)
        matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    return matrix
