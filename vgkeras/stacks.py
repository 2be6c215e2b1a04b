"""build_stack(): a real Keras Sequential of linear Dense layers without bias."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from vgkeras._checks import (
    DTYPES,
    check_finite,
    check_non_negative_int,
    check_option,
    check_positive_int,
)

_DEEPEST_GRAPH = 500  # Keras raises RecursionError near 1,000 layers after an `Input`


def build_stack(
    depth: int,
    units: int = 2,
    *,
    scale: float | None = None,
    kernel_initializer: str | dict | keras.Initializer | None = None,
    output_units: int | None = None,
    dtype: str = "float32",
    seed: int | None = None,
) -> keras.Sequential:
    """Builds a `Sequential` of `depth` linear `Dense` layers without bias.

    This is the network of the lecture: `yhat = W[L] ... W[2] W[1] x`. Every layer
    gets its own copy of the initializer with its own seed: one Keras initializer
    instance draws the same values at each call, so sharing it would make all
    kernels equal.

    Args:
        depth: Number of `Dense` layers, `L`.
        units: Width of the input and of every layer but the last.
        scale: Every kernel is `scale` times the identity (the last one
            `scale * eye(units, output_units)`). Default 1.0 if neither this nor
            `kernel_initializer` is given.
        kernel_initializer: Any Keras initializer, its name or its config, instead
            of `scale`.
        output_units: Width of the last layer. Default: `units`.
        dtype: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`; weights and
            arithmetic.
        seed: Non-negative seed, from which each layer gets one of its own. With
            `None` each layer draws one from Keras' global generator.

    Returns:
        A built `keras.Sequential`, its layers named `dense_1` ... `dense_L`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or both `scale` and
            `kernel_initializer` are given.

    Example:
        >>> model = build_stack(depth=3, units=2, scale=0.5)  # doctest: +SKIP
        >>> model.layers[0].kernel.numpy()  # doctest: +SKIP
        array([[0.5, 0. ],
               [0. , 0.5]], dtype=float32)
    """
    depth = check_positive_int("depth", depth)
    widths = _widths(depth, units, output_units)
    check_option("dtype", dtype, DTYPES)
    initializer = _initializer(scale, kernel_initializer)
    layers = [
        keras.layers.Dense(
            outputs,
            use_bias=False,
            kernel_initializer=_reseeded(initializer, seed, index),
            dtype=dtype,
            name=f"dense_{index + 1}",
        )
        for index, (_, outputs) in enumerate(widths)
    ]
    if depth <= _DEEPEST_GRAPH:
        inputs = keras.Input((widths[0][0],), dtype=dtype)
        return keras.Sequential([inputs, *layers], name="linear_stack")
    return _built_layer_by_layer(layers, widths, dtype)


def initial_kernels(
    depth: int,
    units: int = 2,
    *,
    scale: float | None = None,
    kernel_initializer: str | dict | keras.Initializer | None = None,
    output_units: int | None = None,
    dtype: str = "float32",
    seed: int | None = None,
) -> list[np.ndarray]:
    """Draws the kernels that `build_stack` starts with, without building a model.

    Args:
        depth: See `build_stack`, as for every other argument.
        units: Width of the input and of every layer but the last.
        scale: Factor of the identity.
        kernel_initializer: Any Keras initializer instead of `scale`.
        output_units: Width of the last layer.
        dtype: Format of the kernels.
        seed: Seed of the stack.

    Returns:
        `depth` arrays of shape `(units, units)`; the last is
        `(units, output_units)`.
    """
    widths = _widths(check_positive_int("depth", depth), units, output_units)
    check_option("dtype", dtype, DTYPES)
    initializer = _initializer(scale, kernel_initializer)
    if "seed" not in initializer.get_config():  # every layer of a shape is the same
        drawn = {shape: _draw(initializer, shape, dtype) for shape in set(widths)}
        return [drawn[shape] for shape in widths]
    return [
        _draw(_reseeded(initializer, seed, index), shape, dtype)
        for index, shape in enumerate(widths)
    ]


def _built_layer_by_layer(
    layers: list[keras.layers.Dense], widths: list[tuple[int, int]], dtype: str
) -> keras.Sequential:
    """A `Sequential` without an `Input`, whose graph Keras would walk recursively."""
    for layer, (inputs, _) in zip(layers, widths, strict=True):
        layer.build((None, inputs))
    model = keras.Sequential(layers, name="linear_stack")
    model.dtype_policy = keras.DTypePolicy(dtype)  # or float64 inputs are rounded
    model.built = True
    return model


def _widths(depth: int, units: Any, output_units: Any) -> list[tuple[int, int]]:
    """The kernel shapes `(inputs, outputs)`, layer by layer."""
    units = check_positive_int("units", units)
    last = units
    if output_units is not None:
        last = check_positive_int("output_units", output_units)
    return [(units, units)] * (depth - 1) + [(units, last)]


def _initializer(scale: Any, kernel_initializer: Any) -> keras.Initializer:
    if kernel_initializer is None:
        gain = 1.0 if scale is None else check_finite("scale", scale)
        return keras.initializers.Identity(gain=gain)
    if scale is not None:
        raise ValueError(
            "`scale` and `kernel_initializer` cannot both be given. "
            f"Received: scale={scale!r}, kernel_initializer={kernel_initializer!r}. "
            "Leave one of them out."
        )
    try:
        initializer = keras.initializers.get(kernel_initializer)
    except (ValueError, TypeError) as error:
        raise ValueError(
            "`kernel_initializer` must be a Keras initializer, its name or its "
            f"config. Received: kernel_initializer={kernel_initializer!r}."
        ) from error
    return initializer


def _reseeded(
    initializer: keras.Initializer, seed: int | None, index: int
) -> keras.Initializer:
    """A fresh copy for the layer at `index`, which draws values of its own."""
    config = initializer.get_config()
    if "seed" not in config:  # draws nothing; Identity's config even lacks its gain
        return initializer
    config["seed"] = None if seed is None else _layer_seed(seed, index)
    return type(initializer).from_config(config)


def _layer_seed(seed: int, index: int) -> int:
    """Mixes both numbers: layers of neighbouring seeds must not be equal."""
    entropy = [check_non_negative_int("seed", seed), index]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _draw(
    initializer: keras.Initializer, shape: tuple[int, int], dtype: str
) -> np.ndarray:
    return keras.ops.convert_to_numpy(initializer(shape, dtype=dtype))
