"""What is swept: starts, learning rates, seeds, and the stack of each run."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vgkeras._checks import check_each, check_finite
from vgkeras.stacks import initial_kernels
from vgkeras.sweeps.lanes import Stack
from vgkeras.sweeps.layers import Recipe
from vgkeras.sweeps.lsuv import unit_variance

_MOST_CACHED = 2**20  # weights of a stack whose initial kernels are cached


class _Start(NamedTuple):
    """What the runs of all depths begin with; `initializer` is `None` for `scale * I`.

    `rates` are the learning rates, one for each depth.
    """

    rates: list[float]
    seed: int
    scale: float
    initializer: Any


@dataclass(frozen=True)
class Grid:
    """What is swept, and what all runs share."""

    scales: list[float]
    depths: list[int]
    rates: list[list[float]]  # each of them by depth
    seeds: list[int]
    initializers: list[Any]
    recipe: Recipe
    common: dict[str, Any]

    def starts(self) -> list[_Start]:
        """Scaled identities first, as in `predict`; depths count fastest."""
        orders = ((scale, None) for scale in self.scales)
        identities = itertools.product(self.rates, self.seeds, orders)
        orders = ((np.nan, initializer) for initializer in self.initializers)
        others = itertools.product(self.rates, self.seeds, orders)
        return [_Start(r, s, *order) for r, s, order in (*identities, *others)]


def check_scales(scales: Any, initializers: Any) -> list[float]:
    """Returns the scales; none may be given beside `initializers`."""
    if initializers is not None and not isinstance(scales, str) and not list(scales):
        return []
    return check_each("scales", scales, check_finite)


def initial_stacks(
    grid: Grid, data: dict[int, tuple[np.ndarray, np.ndarray]]
) -> list[Stack]:
    """The stack of each run, in the order of `Grid.starts`, depths counting fastest."""
    kernels_of: dict[Any, list[list[np.ndarray]]] = {}
    stacks = []
    for start in grid.starts():
        key = (start.seed, start.scale, id(start.initializer))
        if key not in kernels_of:
            kernels_of[key] = _kernels(grid, start, data[start.seed][0])
        stacks += [
            Stack(kernels, *data[start.seed], rate)
            for kernels, rate in zip(kernels_of[key], start.rates, strict=True)
        ]
    return stacks


def _kernels(grid: Grid, start: _Start, x: np.ndarray) -> list[list[np.ndarray]]:
    """The initial kernels for every depth."""
    shapes = {key: grid.common[key] for key in ("units", "output_units", "dtype")}
    rescale = start.initializer == "lsuv"
    initializer = "orthogonal" if rescale else start.initializer

    def draw(depth: int) -> list[np.ndarray]:
        scale = start.scale if initializer is None else None
        named = isinstance(initializer, str)
        small = depth * shapes["units"] ** 2 <= _MOST_CACHED
        kernels = (_cached_kernels if named and small else initial_kernels)(
            depth,
            scale=scale,
            kernel_initializer=initializer,
            seed=start.seed,
            **shapes,
        )
        return unit_variance(kernels, x, grid.recipe) if rescale else kernels

    if shapes["output_units"] != shapes["units"]:
        return [draw(depth) for depth in grid.depths]
    deepest = draw(max(grid.depths))  # layers are seeded one by one
    return [deepest[:depth] for depth in grid.depths]


@functools.lru_cache(maxsize=20)
def _cached_kernels(depth: int, **arguments: Any) -> list[np.ndarray]:
    """Keras takes a millisecond for each: as long as to train all for some steps."""
    kernels = initial_kernels(depth, **arguments)
    for kernel in kernels:
        kernel.flags.writeable = False
    return kernels
