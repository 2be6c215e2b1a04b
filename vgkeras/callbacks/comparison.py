"""What an update does to the weights, from their values before and after."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vgkeras.callbacks.step_statistics import (
    CHANGES,
    changes,
    in_matrices,
    one_branch,
    widest,
)


class Comparison:
    """Weights before an update, to be compared with those after it.

    To hold a variable's value makes the update copy the variable, so none is held in
    vain. XLA copies anyway, and knows no tensor that may or may not be empty.

    `is_due` tells from the number of updates made before whether to compare.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        weights: list[Any],
        is_due: Callable[[tf.Tensor], tf.Tensor],
        *,
        xla: bool,
    ) -> None:
        self._optimizer, self.weights = optimizer, weights
        self._count = _updates(optimizer)
        self.due = is_due(self._count)
        self._dtype = widest(weights)
        self._xla = xla
        self._before = self._matrices() if xla else self._matrices_if_due()

    def rows(self, gradients: Callable[[], list[tf.Tensor]]) -> tf.Tensor:
        """The rows of `changes`, `(CHANGES, weights)`, if an update is `due`.

        `gradients` returns them `in_matrices`.

        NaN where there was no update: a batch whose gradients are only accumulated,
        or are not finite and skipped for it.
        """
        updated = tf.not_equal(_updates(self._optimizer), self._count)

        def compare() -> list[tf.Tensor]:
            after = self._values()
            return [changes(self._before, after, gradients(), xla=self._xla)]

        def unknown() -> list[tf.Tensor]:
            shape = [CHANGES, len(self.weights)]
            return [tf.fill(shape, tf.constant(np.nan, self._dtype))]

        branch = tf.cond if self._xla else one_branch
        return branch(tf.logical_and(self.due, updated), compare, unknown)[0]

    def _values(self) -> list[tf.Tensor]:
        return [_value(weight) for weight in self.weights]

    def _matrices(self) -> list[tf.Tensor]:
        return in_matrices(self._values(), self.weights, xla=self._xla)

    def _matrices_if_due(self) -> list[tf.Tensor]:
        count = 0

        def values() -> list[tf.Tensor]:
            nonlocal count
            matrices = self._matrices()
            count = len(matrices)
            return matrices

        def none() -> list[tf.Tensor]:  # traced after `values`, which counts
            return [tf.zeros([0, 0], self._dtype)] * count

        return one_branch(self.due, values, none)


def _value(variable: Any) -> tf.Tensor:
    """The value of a variable of Keras or of TensorFlow."""
    own = variable.value if isinstance(variable, keras.Variable) else variable
    return tf.convert_to_tensor(own)


def _updates(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    return tf.identity(tf.cast(optimizer.iterations, tf.int64))
