"""Times a step of `model.fit`: plain, with GradientLogger, with a second tape.

    python tests/benchmarks/fit.py
    python tests/benchmarks/fit.py --processes 6 --jit
    python tests/benchmarks/fit.py --model resnet

The model is ten Dense(256, relu) layers, a step a batch of 128; or a small ResNet on
images of 16 x 16, or a transformer of two blocks, a step a batch of 32. The second tape
is what one writes without a logger: a callback that computes the gradients of each
batch again, in a compiled function of its own, and keeps their norms. All train in one
process and take turns, so that a busy moment of the machine hits them all. A process
favours one or another for as long as it lives, by up to a tenth, so that many run, one
after the other. A step's time is that of a call of `fit` over its steps, up to the last
callback: after it Keras drops the input pipeline, whose threads take 0 or 50 ms to
stop, whoever is logging. Medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf

from vgkeras.callbacks import GradientLogger

LAYERS, UNITS, STEPS = 10, 256, 100
# By model, the shapes of a batch of inputs and of targets.
SHAPES = {
    "dense": ((128, UNITS), (128, UNITS)),
    "resnet": ((32, 16, 16, 16), (32, 8)),
    "transformer": ((32, 32, 64), (32, 32, 64)),
}
# What is compared with what, and the largest ratio.
GOALS = (
    ("logger", "plain", 1.15),
    ("logger, every=10", "plain", 1.03),
    ("logger", "second tape", 0.60),
)


class SecondTape(keras.callbacks.Callback):
    """Computes the gradients of each batch a second time, after its update."""

    def __init__(self, batches: list[tuple[tf.Tensor, tf.Tensor]], jit: bool) -> None:
        super().__init__()
        self.batches, self.norms = batches, []
        self.function = tf.function(self.measure, autograph=False, jit_compile=jit)

    def measure(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(x, y, self.model(x, training=True))
        gradients = tape.gradient(loss, self.model.trainable_variables)
        return tf.stack([tf.norm(gradient) for gradient in gradients])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.norms.append(self.function(*self.batches[batch]))


class Clock(keras.callbacks.Callback):
    """Tells when all callbacks before it have done their part."""

    def on_train_end(self, logs: Any = None) -> None:
        self.end = time.perf_counter()


def make_data(name: str) -> tuple[tf.data.Dataset, list[tuple[tf.Tensor, tf.Tensor]]]:
    rng = np.random.default_rng(0)
    x, y = (
        tf.constant(rng.normal(size=(STEPS, *shape)).astype("float32"))
        for shape in SHAPES[name]
    )
    return tf.data.Dataset.from_tensor_slices((x, y)).prefetch(2), list(
        zip(x, y, strict=True)
    )


def dense(hidden: Any) -> Any:
    for _ in range(LAYERS):
        hidden = keras.layers.Dense(UNITS, activation="relu")(hidden)
    return hidden


def resnet(hidden: Any) -> Any:
    layers = keras.layers
    for _ in range(4):
        branch = layers.ReLU()(layers.BatchNormalization()(hidden))
        branch = layers.Conv2D(16, 3, padding="same", use_bias=False)(branch)
        hidden = layers.Add()([hidden, branch])
    return layers.Dense(8)(layers.GlobalAveragePooling2D()(hidden))


def transformer(hidden: Any) -> Any:
    layers = keras.layers
    for _ in range(2):
        query = layers.LayerNormalization()(hidden)
        hidden = hidden + layers.MultiHeadAttention(4, 16)(query, query)
        branch = layers.Dense(256, "gelu")(layers.LayerNormalization()(hidden))
        hidden = hidden + layers.Dense(64)(branch)
    return hidden


NETWORKS = {"dense": dense, "resnet": resnet, "transformer": transformer}


def make_model(arguments: argparse.Namespace) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPES[arguments.model][0][1:])
    outputs = NETWORKS[arguments.model](inputs)
    model = keras.Model(inputs, outputs)
    model.compile(arguments.optimizer, "mse", jit_compile=arguments.jit)
    return model


def measure(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds per step of every call of `fit`, by contender."""
    data, batches = make_data(arguments.model)
    callbacks: dict[str, list[keras.callbacks.Callback]] = {
        "plain": [],
        "logger": [GradientLogger(every=1)],
        "logger, no updates": [GradientLogger(every=1, updates=None)],
        "logger, every=10": [GradientLogger(every=10)],
        "second tape": [SecondTape(batches, arguments.jit)],
    }
    models = {name: make_model(arguments) for name in callbacks}
    times: dict[str, list[float]] = {name: [] for name in callbacks}
    clock = Clock()
    for turn in range(-1, arguments.turns):
        names = list(callbacks)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            models[name].fit(data, verbose=0, callbacks=[*callbacks[name], clock])
            if turn >= 0:  # the first turn compiles
                times[name].append((clock.end - start) / STEPS)
    weights = [model.get_weights() for model in models.values()]
    for name, other in zip(models, weights, strict=True):
        if not all(map(np.array_equal, weights[0], other)):
            raise SystemExit(f"The weights differ between plain and {name}.")
    return times


def table(times: dict[str, list[float]]) -> str:
    plain = statistics.median(times["plain"])
    head = f"{'fit':20} {'ms a step':>10} {'/plain':>7} {'quartiles':>17}"
    lines = [head, "-" * len(head)]
    for name, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        lines.append(
            f"{name:20} {1e3 * middle:10.2f} {middle / plain:7.3f}"
            f" {1e3 * low:8.2f} {1e3 * high:8.2f}"
        )
    return "\n".join(lines)


def ratio_of(times: dict[str, list[float]], ours: str, other: str) -> float:
    pairs = zip(times[ours], times[other], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def goals(times: dict[str, list[float]]) -> str:
    lines = []
    for ours, other, limit in GOALS:
        ratio = ratio_of(times, ours, other)
        result = "met" if ratio <= limit else "MISSED"
        lines.append(f"{result:6} {ratio:6.3f}  {ours} <= {limit:g} x {other}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=12, help="one after the other")
    parser.add_argument("--turns", type=int, default=5, help="of a process, all fits")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--model", choices=tuple(NETWORKS), default="dense")
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    arguments = parser.parse_args()
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    times: dict[str, list[float]] = {}
    for number in range(1, arguments.processes + 1):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            here = pool.apply(measure, [arguments])
        ratios = ", ".join(f"{ratio_of(here, *pair):.3f}" for *pair, _ in GOALS)
        print(f"process {number}: {ratios}", flush=True)
        times = {name: times.get(name, []) + here[name] for name in here}
    print(f"\n{table(times)}\n\nMedians of the ratios of one turn:\n{goals(times)}")
    if load_average > 0.5:
        print(f"The machine was busy (load {load_average:.1f}): time it again.")


if __name__ == "__main__":
    main()
