"""Times the pass through time against a plain training step, both compiled.

    python tests/benchmarks/through_time.py

An LSTM of 64 units over 200 time steps, batches of 32. The step is that of Keras:
forward, backward, Adam. The pass takes the gradient by the state and by the input at
every time step as well as those of the weights. They take turns; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf

from vgkeras.tape import objective_of
from vgkeras.tape.through_time import through_time_pass
from vgkeras.tape.time_steps import anchor

GOAL = 2.0  # times a training step
UNITS, STEPS, BATCH = 64, 200, 32


def programs() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The training step and the pass, each of a model of its own."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(BATCH, STEPS, 1)).astype("float32"))
    y = tf.constant(rng.normal(size=(BATCH, 1)).astype("float32"))
    trained, measured = (model() for _ in range(2))
    trained.compile("adam", "mse", jit_compile=False)
    objective, state = objective_of(measured, x, y, loss="mse"), anchor()
    compiled = tf.function(lambda: through_time_pass(objective, state))
    return lambda: trained.train_on_batch(x, y), compiled


def model() -> keras.Model:
    layers = [keras.layers.LSTM(UNITS), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((STEPS, 1)), *layers])


def seconds(run: Callable[[], Any], calls: int) -> float:
    begun = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begun) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--calls", type=int, default=10)
    arguments = parser.parse_args()
    both = programs()
    for run in both:
        seconds(run, 3)  # compiled, and warm
    turns = [
        [seconds(run, arguments.calls) for run in both] for _ in range(arguments.turns)
    ]
    plain, through = (statistics.median(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(turn[1] / turn[0] for turn in turns)
    print(f"A training step {plain * 1e3:.1f} ms, a pass {through * 1e3:.1f} ms")
    print(f"{'met' if ratio <= GOAL else 'MISSED':6} {ratio:.2f}  <= {GOAL:g} x a step")


if __name__ == "__main__":
    main()
