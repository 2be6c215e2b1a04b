"""build_stack(): a real Keras stack of Dense layers without bias, and its remedies."""

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

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "selu", "gelu")
NORMALIZATIONS = ("layer", "batch")
_DEEPEST_GRAPH = 500  # Keras raises RecursionError near 1,000 layers after an `Input`


def build_stack(
    depth: int,
    units: int = 2,
    *,
    scale: float | None = None,
    kernel_initializer: str | dict | keras.Initializer | None = None,
    activation: str = "linear",
    output_units: int | None = None,
    residual: bool | str = False,
    normalization: str | None = None,
    dtype: str = "float32",
    seed: int | None = None,
) -> keras.Sequential | keras.Model:
    """Builds a stack of `depth` `Dense` layers without bias.

    With the defaults it is the network of the lecture, a `Sequential` of linear
    layers: `yhat = W[L] ... W[2] W[1] x`. Every layer gets its own copy of the
    initializer with its own seed: one Keras initializer instance draws the same
    values at each call, so sharing it would make all kernels equal.

    The remedies change the hidden layers, 1 to `depth - 1`, from `W a` to
    `a + alpha * g(N(W a))`: activation `g`, normalization `N`, shortcut `a`. The
    last layer reads out, linearly.

    Args:
        depth: Number of `Dense` layers, `L`.
        units: Width of the input and of every layer but the last.
        scale: Every kernel is `scale` times the identity (the last one
            `scale * eye(units, output_units)`). Default 1.0 if neither this nor
            `kernel_initializer` is given.
        kernel_initializer: Any Keras initializer, its name or its config, instead
            of `scale`.
        activation: Activation of the hidden layers, one of `ACTIVATIONS`.
        output_units: Width of the last layer. Default: `units`.
        residual: `True` adds the input of each hidden layer to its output;
            `"zero"` does so with a trainable factor `alpha` on the new part that
            starts at 0 (ReZero), so that the stack starts as the identity.
        normalization: `"layer"` or `"batch"` puts a `LayerNormalization` or
            `BatchNormalization` without offset and scale between each hidden
            kernel and its activation.
        dtype: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`; weights and
            arithmetic.
        seed: Non-negative seed, from which each layer gets one of its own. With
            `None` each layer draws one from Keras' global generator.

    Returns:
        A built `keras.Sequential` (a functional `keras.Model` with `residual`), its
        layers named `dense_1` ... `dense_L`, `normalization_l`, `activation_l`,
        `shortcut_l`. It is compiled with `SGD` and the mean squared error, in its
        own format; compile it again for anything else.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or both `scale` and
            `kernel_initializer` are given.

    Example:
        >>> model = build_stack(depth=3, units=2, scale=0.5)  # doctest: +SKIP
        >>> model.layers[0].kernel.numpy()  # doctest: +SKIP
        array([[0.5, 0. ],
               [0. , 0.5]], dtype=float32)

    Reference:
        [He et al., 2015](https://arxiv.org/abs/1512.03385) (shortcuts);
        [Bachlechner et al., 2020](https://arxiv.org/abs/2003.04887) (ReZero);
        [Ioffe & Szegedy, 2015](https://arxiv.org/abs/1502.03167);
        [Ba et al., 2016](https://arxiv.org/abs/1607.06450) (normalization).
    """
    depth = check_positive_int("depth", depth)
    widths = _widths(depth, units, output_units)
    check_option("dtype", dtype, DTYPES)
    initializer = _initializer(scale, kernel_initializer)
    check_option("activation", activation, ACTIVATIONS)
    check_remedies(residual, normalization)
    # Behind a normalization the activation is a layer of its own.
    hidden = None if normalization else activation
    dense = _dense_layers(widths, initializer, hidden, dtype, seed)
    inputs = keras.Input((widths[0][0],), dtype=dtype)
    rest = [
        _after(number, activation, normalization, residual, dtype)
        for number in range(1, depth)
    ]
    if residual:
        model = _with_shortcuts(inputs, dense, rest)
    else:
        model = _in_sequence(inputs, dense, rest, widths)
    # In the format of the stack: a loss by its name would round a float64.
    model.compile("sgd", keras.losses.MeanSquaredError(dtype=dtype))
    return model


@keras.saving.register_keras_serializable(package="vgkeras")
class Shortcut(keras.layers.Layer):
    """Adds a layer's input to its output, `a + alpha * f(a)`.

    Args:
        zero: Whether `alpha` is a trainable scalar that starts at 0; else it is 1.
        **options: Of `keras.layers.Layer`.
    """

    def __init__(self, zero: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.zero = zero
        self.alpha = None

    def build(self, input_shape: Any) -> None:
        if self.zero:
            self.alpha = self.add_weight(shape=(), initializer="zeros", name="alpha")

    def call(self, inputs: list[Any]) -> Any:
        shortcut, branch = inputs
        return shortcut + (branch if self.alpha is None else self.alpha * branch)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "zero": self.zero}


def check_remedies(residual: Any, normalization: Any) -> None:
    """Raises unless both are options of `build_stack`."""
    if not isinstance(residual, bool) and residual != "zero":
        raise ValueError(
            "`residual` must be False, True or 'zero'. "
            f"Received: residual={residual!r}."
        )
    if normalization is not None:
        check_option("normalization", normalization, NORMALIZATIONS)


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
        kernels = {shape: _draw(initializer, shape, dtype) for shape in set(widths)}
        return [kernels[shape] for shape in widths]
    return [
        _draw(_reseeded(initializer, seed, index), shape, dtype)
        for index, shape in enumerate(widths)
    ]


def _dense_layers(
    widths: list[tuple[int, int]],
    initializer: keras.Initializer,
    activation: str | None,
    dtype: str,
    seed: int | None,
) -> list[keras.layers.Dense]:
    """The kernels, layer by layer; the last layer is linear."""
    return [
        keras.layers.Dense(
            outputs,
            use_bias=False,
            kernel_initializer=_reseeded(initializer, seed, index),
            activation=activation if index + 1 < len(widths) else None,
            dtype=dtype,
            name=f"dense_{index + 1}",
        )
        for index, (_, outputs) in enumerate(widths)
    ]


def _after(
    number: int, activation: str, normalization: Any, residual: Any, dtype: str
) -> list[keras.layers.Layer]:
    """What follows the kernel of a hidden layer."""
    layers: list[keras.layers.Layer] = []
    if normalization is not None:
        kind = {
            "layer": keras.layers.LayerNormalization,
            "batch": keras.layers.BatchNormalization,
        }[normalization]
        name = f"normalization_{number}"
        layers.append(kind(center=False, scale=False, dtype=dtype, name=name))
        if activation != "linear":
            name = f"activation_{number}"
            layers.append(keras.layers.Activation(activation, dtype=dtype, name=name))
    if residual:
        zero, name = residual == "zero", f"shortcut_{number}"
        layers.append(Shortcut(zero=zero, dtype=dtype, name=name))
    return layers


def _with_shortcuts(
    inputs: Any,
    dense: list[keras.layers.Dense],
    rest: list[list[keras.layers.Layer]],
) -> keras.Model:
    signal = inputs
    for layer, (*between, shortcut) in zip(dense, rest, strict=False):
        branch = layer(signal)
        for step in between:
            branch = step(branch)
        signal = shortcut([signal, branch])
    return keras.Model(inputs, dense[-1](signal), name="residual_stack")


def _in_sequence(
    inputs: Any,
    dense: list[keras.layers.Dense],
    rest: list[list[keras.layers.Layer]],
    widths: list[tuple[int, int]],
) -> keras.Sequential:
    layers: list[keras.layers.Layer] = [dense[0]]
    for after, layer in zip(rest, dense[1:], strict=True):
        layers += [*after, layer]
    if len(layers) > _DEEPEST_GRAPH:
        return _built_layer_by_layer(layers, widths, inputs.dtype)
    name = "linear_stack" if len(layers) == len(dense) else "stack"
    return keras.Sequential([inputs, *layers], name=name)


def _built_layer_by_layer(
    layers: list[keras.layers.Layer], widths: list[tuple[int, int]], dtype: str
) -> keras.Sequential:
    """A `Sequential` without an `Input`, whose graph Keras would walk recursively."""
    signal = (None, widths[0][0])
    for layer in layers:
        layer.build(signal)
        signal = layer.compute_output_shape(signal)
    model = keras.Sequential(layers, name="linear_stack")
    model.dtype_policy = keras.DTypePolicy(dtype)  # or float64 inputs are rounded
    model.built = True
    return model


def _widths(depth: int, units: Any, output_units: Any) -> list[tuple[int, int]]:
    """The kernel shapes `(inputs, outputs)`, layer by layer."""
    units = check_positive_int("units", units)
    last = check_output_units(output_units, units)
    return [(units, units)] * (depth - 1) + [(units, last)]


def check_output_units(output_units: Any, units: int) -> int:
    """Returns the width of the last layer; `None` means that of the others."""
    if output_units is None:
        return units
    return check_positive_int("output_units", output_units)


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
