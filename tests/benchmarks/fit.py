"""Times a step of `model.fit`: plain, with GradientLogger, with a second tape.

    python tests/benchmarks/fit.py
    python tests/benchmarks/fit.py --processes 6 --jit
    python tests/benchmarks/fit.py --model resnet
    python tests/benchmarks/fit.py --model resnet152 --processes 2
    python tests/benchmarks/fit.py --what first
    python tests/benchmarks/fit.py --what memory

The model is ten Dense(256, relu) layers, a step a batch of 128; or a small ResNet on
images of 16 x 16, or a transformer of two blocks, a step a batch of 32; or Keras' own
ResNet152 on two images of 32 x 32. `first` times the first call of `fit` of a fresh
model, tracing included; `memory` says what a fresh model and its fit leave behind for
good. The second tape is what one writes without a logger: a callback that computes the
gradients of each batch again, in a compiled function of its own, and keeps their norms.
All train in one process and take turns, so that a busy moment of the machine hits them
all. A process favours one or another for as long as it lives, by up to a tenth, so that
many run, one after the other; `plain again` shows what of a ratio is chance. A step's
time is that of a call of `fit` over its steps, up to the last callback: after it Keras
drops the input pipeline, whose threads take 0 or 50 ms to stop, whoever is logging.
Medians.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
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

from vgkeras.callbacks import GradientLogger

LAYERS, UNITS = 10, 256
STEPS = {"resnet152": 20}  # of a call of `fit`, with one close look; of others 100
# By model, the shapes of a batch of inputs and of targets.
SHAPES = {
    "dense": ((128, UNITS), (128, UNITS)),
    "resnet": ((32, 16, 16, 16), (32, 8)),
    "transformer": ((32, 32, 64), (32, 32, 64)),
    "resnet152": ((2, 32, 32, 3), (2, 10)),
}
# What is compared with what, and the largest ratio.
GOALS = {
    "step": (
        ("logger", "plain", 1.15),
        ("logger, every=10", "plain", 1.03),
        ("logger", "second tape", 0.60),
    ),
    "first": (("logger", "plain", 1.5),),
}
LARGE_GOALS = (("logger", "plain", 1.25),)  # of a step of `resnet152`
MEMORY_GOAL = 8  # megabytes that a model and its logger leave behind
TRIALS = 12


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


def steps_of(name: str) -> int:
    """Steps of a call of `fit`."""
    return STEPS.get(name, 100)


def make_data(name: str) -> tuple[tf.data.Dataset, list[tuple[tf.Tensor, tf.Tensor]]]:
    rng = np.random.default_rng(0)
    x, y = (
        tf.constant(rng.normal(size=(steps_of(name), *shape)).astype("float32"))
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


def resnet152(hidden: Any) -> Any:
    model = keras.applications.ResNet152
    shape = SHAPES["resnet152"][0][1:]
    return model(weights=None, input_shape=shape, classes=10)(hidden)


NETWORKS = {
    "dense": dense,
    "resnet": resnet,
    "transformer": transformer,
    "resnet152": resnet152,
}


def make_model(arguments: argparse.Namespace) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPES[arguments.model][0][1:])
    outputs = NETWORKS[arguments.model](inputs)
    model = keras.Model(inputs, outputs)
    model.compile(arguments.optimizer, "mse", jit_compile=arguments.jit)
    return model


def contenders(
    arguments: argparse.Namespace, batches: Any
) -> dict[str, list[keras.callbacks.Callback]]:
    callbacks: dict[str, list[keras.callbacks.Callback]] = {
        "plain": [],
        "logger": [GradientLogger(every=1)],
    }
    if arguments.model != "resnet152":
        callbacks |= {
            "plain again": [],
            "logger, no updates": [GradientLogger(every=1, updates=None)],
            "logger, every=10": [GradientLogger(every=10)],
            "second tape": [SecondTape(batches, arguments.jit)],
        }
    return callbacks


def measure_steps(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds per step of every call of `fit`, by contender."""
    data, batches = make_data(arguments.model)
    steps = steps_of(arguments.model)
    callbacks = contenders(arguments, batches)
    models = {name: make_model(arguments) for name in callbacks}
    times: dict[str, list[float]] = {name: [] for name in callbacks}
    clock = Clock()
    for turn in range(-1, arguments.turns):
        names = list(callbacks)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            models[name].fit(data, verbose=0, callbacks=[*callbacks[name], clock])
            if turn >= 0:  # the first turn compiles
                times[name].append((clock.end - start) / steps)
    plain = models["plain"].get_weights()
    models.pop("second tape", None)  # a second pass moves moving averages twice
    for name, model in models.items():
        if not all(map(np.array_equal, plain, model.get_weights())):
            raise RuntimeError(f"The weights differ between plain and {name}.")
    return times


def measure_first(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of the first call of `fit`, of two steps, by contender."""
    data, _ = make_data(arguments.model)
    data = data.take(2)
    times: dict[str, list[float]] = {"plain": [], "logger": []}
    clock = Clock()
    for turn in range(-1, arguments.turns):
        for name in list(times)[:: 1 if turn % 2 else -1]:
            model = make_model(arguments)
            callbacks = [GradientLogger()] if name == "logger" else []
            start = time.perf_counter()
            model.fit(data, verbose=0, callbacks=[*callbacks, clock])
            if turn >= 0:  # the first turn loads what TensorFlow loads when used
                times[name].append(clock.end - start)
    return times


def resident() -> float:
    """Megabytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(arguments: argparse.Namespace) -> dict[str, float]:
    """Megabytes that a fresh model and its fit leave behind, by contender."""
    data, _ = make_data(arguments.model)
    data = data.take(2)
    grown = {}
    for name in ("plain", "logger"):
        sizes = []
        for _ in range(TRIALS):
            callbacks = [GradientLogger()] if name == "logger" else []
            make_model(arguments).fit(data, verbose=0, callbacks=callbacks)
            keras.backend.clear_session()
            gc.collect()
            sizes.append(resident())
        half = TRIALS // 2  # the first ones fill caches
        grown[name] = (sizes[-1] - sizes[half - 1]) / half
    return grown


def table(times: dict[str, list[float]]) -> str:
    plain = statistics.median(times["plain"])
    head = f"{'fit':20} {'ms':>10} {'/plain':>7} {'quartiles':>17}"
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


def goals_of(arguments: argparse.Namespace) -> tuple[tuple[str, str, float], ...]:
    is_large = (arguments.what, arguments.model) == ("step", "resnet152")
    return LARGE_GOALS if is_large else GOALS[arguments.what]


def goals(times: dict[str, list[float]], arguments: argparse.Namespace) -> str:
    lines = []
    for ours, other, limit in goals_of(arguments):
        ratio = ratio_of(times, ours, other)
        result = "met" if ratio <= limit else "MISSED"
        lines.append(f"{result:6} {ratio:6.3f}  {ours} <= {limit:g} x {other}")
    return "\n".join(lines)


def in_process(function: Callable[..., Any], arguments: argparse.Namespace) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, [arguments])


def report_memory(arguments: argparse.Namespace) -> None:
    for number in range(1, arguments.processes + 1):
        grown = in_process(measure_memory, arguments)
        result = "met" if grown["logger"] <= MEMORY_GOAL else "MISSED"
        print(
            f"process {number}: {result}, {grown['logger']:.1f} MB a trial <= "
            f"{MEMORY_GOAL}; plain {grown['plain']:.1f}",
            flush=True,
        )


def report_times(arguments: argparse.Namespace) -> None:
    measure = {"step": measure_steps, "first": measure_first}[arguments.what]
    times: dict[str, list[float]] = {}
    for number in range(1, arguments.processes + 1):
        here = in_process(measure, arguments)
        pairs = [pair for *pair, _ in goals_of(arguments)]
        ratios = ", ".join(f"{ratio_of(here, *pair):.3f}" for pair in pairs)
        print(f"process {number}: {ratios}", flush=True)
        times = {name: times.get(name, []) + here[name] for name in here}
    judged = goals(times, arguments)
    print(f"\n{table(times)}\n\nMedians of the ratios of one turn:\n{judged}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=12, help="one after the other")
    parser.add_argument("--turns", type=int, default=5, help="of a process, all fits")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--model", choices=tuple(NETWORKS), default="dense")
    parser.add_argument("--jit", action="store_true", help="compile with XLA")
    parser.add_argument("--what", choices=("step", "first", "memory"), default="step")
    arguments = parser.parse_args()
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if arguments.what == "memory":
        report_memory(arguments)
    else:
        report_times(arguments)
    if load_average > 0.5:
        print(f"The machine was busy (load {load_average:.1f}): time it again.")


if __name__ == "__main__":
    main()
