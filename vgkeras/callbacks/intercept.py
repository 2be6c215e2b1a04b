"""Where a training step can be listened to: optimizers, graphs, replicas, threads."""

import concurrent.futures
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


class Shared:
    """A context that the replicas of a step, which run in threads, enter together."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._inside, self._lock = make, 0, threading.Lock()
        self._context: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._context.__exit__(None, None, None)


def outside(make: Callable[[], Any]) -> Any:
    """Returns what `make` does, called outside of any graph or distribution strategy.

    These belong to a thread. A variable made here is a plain one, and a function that
    is being traced does not count it as its own (it would be traced a second time).
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def optimizers_of(
    model: keras.Model,
) -> list[tuple[str, keras.optimizers.Optimizer]]:
    """All optimizers that are attributes of the model or of its layers, by name.

    An optimizer within another is left out: it is handed the same gradients.
    """
    optimizers: dict[int, tuple[str, keras.optimizers.Optimizer]] = {}
    for owner in model._flatten_layers(include_self=True, recursive=True):
        # What TensorFlow notes of them begins with an underscore.
        attributes = sorted(vars(owner).items(), key=lambda pair: pair[0][:1] == "_")
        for attribute, value in attributes:
            for name, item in _items(attribute, value):
                if isinstance(item, keras.optimizers.Optimizer):
                    optimizers.setdefault(id(item), (name, item))
    inner = {
        id(getattr(one, "inner_optimizer", None)) for _, one in optimizers.values()
    }
    return [pair for key, pair in optimizers.items() if key not in inner]


def _items(name: str, value: Any) -> list[tuple[str, Any]]:
    """The items of an attribute and what to call them."""
    if isinstance(value, dict):
        return [(f"{name}/{key}", item) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{name}/{number}", item) for number, item in enumerate(value)]
    return [(name, value)]


def is_variable(source: Any) -> bool:
    """Whether something is a variable of TensorFlow or of Keras."""
    return isinstance(source, tf.Variable | keras.Variable)


def graph() -> Any:
    """The graph that is being built, or `None`."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def graphs() -> Iterator[Any]:
    """The graph that is being built, and those around it, inside out."""
    here = graph()
    while here is not None:
        yield here
        here = getattr(here, "outer_graph", None)


def in_loop(outer: Any) -> bool:
    """Whether what is being built will run several times each time `outer` does."""
    inside = itertools.takewhile(lambda one: one is not outer, graphs())
    return any(type(one).__name__ == "WhileBodyFuncGraph" for one in inside)


def graph_of(tensor: Any) -> Any:
    """The graph that a tensor belongs to, or `None`."""
    return None if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.graph


def summed(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over all replicas: of a gradient, that of the whole batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tensors:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def replicas() -> int:
    """How many replicas share a step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def is_first_replica() -> bool:
    """Whether this replica is the one that keeps the log."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return True
    return tf.get_static_value(context.replica_id_in_sync_group) in (0, None)
