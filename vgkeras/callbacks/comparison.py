"""What an update does to the weights, from their values before and after."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vgkeras.callbacks.step_statistics import (
    CHANGES,
    Kept,
    changes,
    flat,
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
        self._optimizer, self._weights = optimizer, weights
        self._count = _updates(optimizer)
        self.due = is_due(self._count)
        self._dtype = widest(weights)
        self._sizes = [math.prod(weight.shape) for weight in weights]
        self._xla = xla
        self._before = self._values() if xla else [self._values_if_due()]

    def rows(self, gradients: Sequence[tf.Tensor] | Kept) -> tf.Tensor:
        """The rows of `changes`, `(CHANGES, weights)`, if an update is `due`.

        NaN where there was no update: a batch whose gradients are only accumulated,
        or are not finite and skipped for it.
        """
        updated = tf.not_equal(_updates(self._optimizer), self._count)

        def compare() -> tf.Tensor:
            before = self._before
            if not self._xla:
                before = tf.split(before[0], self._sizes)
            return changes(before, self._values(), gradients, xla=self._xla)

        def unknown() -> tf.Tensor:
            shape = [CHANGES, len(self._weights)]
            return tf.fill(shape, tf.constant(np.nan, self._dtype))

        branch = tf.cond if self._xla else one_branch
        return branch(tf.logical_and(self.due, updated), compare, unknown)

    def _values(self) -> list[tf.Tensor]:
        return [_value(weight) for weight in self._weights]

    def _values_if_due(self) -> tf.Tensor:
        # In one piece: of many, each would be skipped by itself.
        def joint() -> tf.Tensor:
            vector = tf.constant([-1])
            cast = [tf.cast(value, self._dtype) for value in self._values()]
            return tf.concat([flat(one, vector) for one in cast], axis=0)

        return one_branch(self.due, joint, lambda: tf.zeros([0], self._dtype))


def _value(variable: Any) -> tf.Tensor:
    """The value of a variable of Keras or of TensorFlow."""
    own = variable.value if isinstance(variable, keras.Variable) else variable
    return tf.convert_to_tensor(own)


def _updates(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    return tf.identity(tf.cast(optimizer.iterations, tf.int64))
