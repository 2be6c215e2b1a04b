"""What an update does to the weights, from their values before and after."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vgkeras.callbacks.step_statistics import (
    CHANGES,
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
        self._xla, self._branch = xla, tf.cond if xla else one_branch
        self._before = self._values() if xla else [self._joint_if_due(self._values)]

    def rows(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """The rows of `changes`, `(CHANGES, weights)`.

        NaN where there was no update: a batch whose gradients are only accumulated,
        or are not finite and skipped for it.
        """
        updated = tf.not_equal(_updates(self._optimizer), self._count)
        # To wait for the update with them would keep all gradients in memory.
        slopes = gradients if self._xla else [self._joint_if_due(lambda: gradients)]

        def compare() -> tf.Tensor:
            if self._xla:
                return changes(self._before, self._values(), slopes, xla=True)
            before, along = (tf.split(x, self._sizes) for x in (*self._before, *slopes))
            return changes(before, self._values(), along)

        def unknown() -> tf.Tensor:
            return tf.fill([CHANGES, count], tf.constant(np.nan, self._dtype))

        count = len(self._weights)
        return self._branch(tf.logical_and(self.due, updated), compare, unknown)

    def _values(self) -> list[tf.Tensor]:
        return [_value(weight) for weight in self._weights]

    def _joint_if_due(self, tensors: Callable[[], Sequence[tf.Tensor]]) -> tf.Tensor:
        """Tensors in one piece: of many, each would be skipped by itself."""

        def join() -> tf.Tensor:
            cast = [tf.cast(tensor, self._dtype) for tensor in tensors()]
            vector = tf.constant([-1])
            return tf.concat([flat(one, vector) for one in cast], axis=0)

        return one_branch(self.due, join, lambda: tf.zeros([0], self._dtype))


def _value(variable: Any) -> tf.Tensor:
    """The value of a variable of Keras or of TensorFlow."""
    own = variable.value if isinstance(variable, keras.Variable) else variable
    return tf.convert_to_tensor(own)


def _updates(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    return tf.identity(tf.cast(optimizer.iterations, tf.int64))
