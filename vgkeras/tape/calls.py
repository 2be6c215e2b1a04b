"""Methods of a model's parts, replaced for a while by others that watch them."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf


@contextlib.contextmanager
def replaced(owner: Any, name: str, other: Callable[..., Any]) -> Iterator[None]:
    """Calls `other(method, *arguments)` in the place of a method, for a while.

    `owner` is an object or a class; of a class, `arguments` begin with the object.
    """
    missing = object()
    before, method = vars(owner).get(name, missing), getattr(owner, name)
    base = type if isinstance(owner, type) else object  # Keras' own would track it
    base.__setattr__(owner, name, lambda *args, **more: other(method, *args, **more))
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
    context lasts, whatever way the model reaches its layers. A tensor that is put out
    twice, as the state of a recurrent cell, counts once; one of a graph inside of the
    one that is built, as of a loop, has no place outside of it and does not count.
    """
    graph = _graph()

    def call(layer: Any, method: Callable, *args: Any, **more: Any) -> Any:
        outputs = method(*args, **more)
        tensors = {id(t): t for t in tf.nest.flatten(outputs) if _is_floating(t)}
        if _graph() is graph:
            see(layer, list(tensors.values()))
        return outputs

    with contextlib.ExitStack() as stack:
        for layer in layers:
            other = functools.partial(call, layer)
            stack.enter_context(replaced(layer, "call", other))
        yield


def _is_floating(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and value.dtype.is_floating


def _graph() -> Any:
    """The graph that is being built, or `None`."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
