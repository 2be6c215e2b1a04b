"""What a program is compiled for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vgkeras.logs import KINDS
from vgkeras.sweeps.lanes import Arrays, Part
from vgkeras.sweeps.layers import Recipe, layer

_LOG_BYTES = 16 * 2**20  # room for the statistics of one call of the program
_MOST_STEPS = 64  # steps in one call of the program at most
MORE_ROWS = 6  # statistics of a layer beside those of its tensors


class Plan(NamedTuple):
    """What a program is compiled for."""

    capacity: int  # steps in one call
    logs: bool  # whether statistics are taken, or the loss alone
    length: int
    lanes: int
    width: int
    samples: int
    units: int
    dtype: str
    recipe: Recipe

    @property
    def wide(self) -> tf.DType:
        """Format of sums and statistics."""
        return tf.float64 if self.dtype == "float64" else tf.float32

    @property
    def count_base(self) -> int | None:
        """A number above all element counts; see `lane_statistics._counts`.

        `None` if the format of statistics does not hold two counts in one number.
        """
        most = self.width * max(self.width, self.samples)
        base = 2 ** most.bit_length()
        precision = np.finfo(self.wide.as_numpy_dtype).eps
        return base if base * (most + 1) * precision <= 1 else None

    @property
    def rows(self) -> int:
        """Statistics of a layer; see `lane_statistics.layer_statistics`."""
        each = 5 if self.count_base is None else 4
        return each * len(KINDS) + MORE_ROWS if self.logs else 1

    @property
    def trained(self) -> int:
        """Number of parameters of a layer: the kernel, and the factor of a branch."""
        return 2 if self.recipe.residual == "zero" else 1

    def layer(self, signal: Any, last: Any, weights: Sequence[Any]) -> tf.Tensor:
        return layer(self.recipe, self.units, self.wide, signal, last, *weights)

    def signals(self) -> tf.TensorArray:
        """Room for one signal of every layer."""
        shape = [self.lanes, self.width, self.samples]
        return tf.TensorArray(self.dtype, self.length, element_shape=shape)

    def table(self) -> tf.TensorArray:
        """Room for the statistics of every step."""
        shape = [self.rows, self.length, self.lanes]
        return tf.TensorArray(self.wide, self.capacity, element_shape=shape)


def plan_for(arrays: Arrays, part: Part) -> Plan:
    """What the program for some lanes has to be."""
    length, lanes, width, _ = arrays.kernels.shape
    samples, units = part.stacks[0].x.shape
    shape = (length, lanes, width, samples, units)
    plan = Plan(1, bool(part.logged.any()), *shape, part.dtype, part.recipe)
    fitting = _LOG_BYTES // (4 * length * lanes * plan.rows)
    return plan._replace(capacity=min(_MOST_STEPS, max(1, fitting)))
