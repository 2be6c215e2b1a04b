"""Methods of a model's parts, replaced for a while by others that watch them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf


@contextlib.contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Hides a method of an object or class behind `make(owner, method)` for a while."""
    missing = object()
    before = vars(owner).get(name, missing)
    base = type if isinstance(owner, type) else object  # Keras' own would track it
    base.__setattr__(owner, name, make(owner, getattr(owner, name)))
    try:
        yield
    finally:
        if before is missing:
            base.__delattr__(owner, name)
        else:
            base.__setattr__(owner, name, before)


@contextlib.contextmanager
def layer_calls(
    layers: Iterable[keras.layers.Layer],
    see: Callable[[keras.layers.Layer, list[tf.Tensor]], None],
) -> Iterator[None]:
    """Hands `see` each layer that is called, and the floating tensors it puts out.

    The instance attribute `call` hides the method of the class for as long as the
    context lasts, whatever way the model reaches its layers.
    """

    def make(layer: keras.layers.Layer, original: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            outputs = original(*args, **kwargs)
            tensors = [t for t in tf.nest.flatten(outputs) if isinstance(t, tf.Tensor)]
            see(layer, [tensor for tensor in tensors if tensor.dtype.is_floating])
            return outputs

        return call

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", make))
        yield
