"""What the two Keras peers share: the models, the tape, the statistics."""

from __future__ import annotations

import keras
import tensorflow as tf
from problem import Problem


def build(depth: int, units: int) -> keras.Sequential:
    dense = [keras.layers.Dense(units, use_bias=False) for _ in range(depth)]
    return keras.Sequential([keras.Input((units,)), *dense])


def reset(model: keras.Sequential, scale: float) -> None:
    for kernel in model.trainable_variables:
        kernel.assign(scale * tf.eye(*kernel.shape))


def every_activation(model: keras.Sequential) -> keras.Model:
    """The same layers as a model whose outputs are all activations."""
    return keras.Model(model.inputs, [layer.output for layer in model.layers])


def train_step(probe: keras.Model, optimizer, x, y):
    """One tape pass, its statistics and the update: loss and three arrays."""
    kernels = [kernel.value for kernel in probe.trainable_variables]
    with tf.GradientTape() as tape:
        activations = probe(x, training=True)
        activations = activations if isinstance(activations, list) else [activations]
        loss = tf.reduce_mean(tf.square(activations[-1] - y))
    gradients, deltas = tape.gradient(loss, [probe.trainable_variables, activations])
    before = tf.stack(kernels)
    optimizer.apply(gradients, probe.trainable_variables)
    weights = weight_summary(before, tf.stack(gradients), optimizer.learning_rate)
    return loss, weights, summary(tf.stack(activations)), summary(tf.stack(deltas))


def descend(step, problem: Problem, recorder, index: int) -> None:
    """Records what `step(x, y)` returns, for every step of a run."""
    x, y = map(tf.constant, problem.data())
    for number in range(problem.steps + 1):
        loss, *kinds = step(x, y)
        recorder.losses[index, number] = loss
        for kind, rows in enumerate(kinds):
            columns, layers = rows.shape
            recorder.statistics[:columns, kind, index, number, :layers] = rows


def weight_summary(kernels, gradients, rate):
    updates = rate * gradients
    frozen = tf.reduce_mean(tf.cast(kernels - updates == kernels, "float32"), (1, 2))
    ratio = 10 ** (summary(updates)[0] - summary(kernels)[0])
    return tf.stack([*tf.unstack(summary(gradients)), frozen, ratio])


def summary(tensors):
    """Five statistics of each tensor, `(layers, ...)` -> `(5, layers)`."""
    flat = tf.reshape(tf.abs(tensors), (len(tensors), -1))
    largest = tf.reduce_max(flat, 1)
    ratio = flat / tf.where(largest > 0, largest, 1.0)[:, None]
    finite = tf.math.is_finite(flat)
    broken = 1 - tf.reduce_mean(tf.cast(finite, "float32"), 1)
    log_max = tf.where(broken > 0, float("inf"), log10(largest))
    plain = (broken == 0) & (largest > 0)
    half = log10(tf.reduce_sum(tf.square(ratio), 1)) / 2
    log_norm = tf.where(plain, log_max + half, log_max)
    log_mean = tf.where(plain, log_max + log10(tf.reduce_mean(ratio, 1)), log_max)
    zeros = tf.reduce_mean(tf.cast(flat == 0, "float32"), 1)
    return tf.stack([log_norm, log_max, log_mean, zeros, broken])


def log10(x):
    return tf.math.log(x) / tf.math.log(10.0)
