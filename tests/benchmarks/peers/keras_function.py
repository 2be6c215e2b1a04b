"""Keras with a `tf.function` per model: traced once a depth, kept for repeats."""

from __future__ import annotations

from functools import lru_cache, partial

import keras
import tensorflow as tf
from peers.keras_common import build, descend, every_activation, reset, train_step
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    recorder = Recorder(problem)
    for index, (scale, depth) in enumerate(problem.runs):
        model, step = compiled(depth, problem.units, problem.learning_rate)
        reset(model, scale)
        descend(step, problem, recorder, index)
    return recorder.to_log()


@lru_cache
def compiled(depth: int, units: int, learning_rate: float):
    model = build(depth, units)
    optimizer = keras.optimizers.SGD(learning_rate)
    optimizer.build(model.trainable_variables)
    step = partial(train_step, every_activation(model), optimizer)
    return model, tf.function(step)
