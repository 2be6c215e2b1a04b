"""Keras, eager: the model called on a tape, `optimizer.apply`, one run at a time."""

from __future__ import annotations

from functools import partial

import keras
from peers.keras_common import build, descend, every_activation, reset, train_step
from problem import Problem, Recorder

from vgkeras.logs import GradientLog


def run(problem: Problem) -> GradientLog:
    recorder = Recorder(problem)
    for index, (scale, depth) in enumerate(problem.runs):
        model = build(depth, problem.units)
        reset(model, scale)
        optimizer = keras.optimizers.SGD(problem.learning_rate)
        step = partial(train_step, every_activation(model), optimizer)
        descend(step, problem, recorder, index)
    return recorder.to_log()
