"""Where a training step can be listened to: optimizers, graphs, replicas, threads."""

import concurrent.futures
import threading
from collections.abc import Callable
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


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """All optimizers that are attributes of the model or of its layers.

    An optimizer within another is left out: it is handed the same gradients.
    """
    optimizers = {
        id(item): item
        for owner in model._flatten_layers(include_self=True, recursive=True)
        for value in vars(owner).values()
        for item in _items(value)
        if isinstance(item, keras.optimizers.Optimizer)
    }
    inner = {id(getattr(one, "inner_optimizer", None)) for one in optimizers.values()}
    return [one for key, one in optimizers.items() if key not in inner]


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


def graph() -> Any:
    """The graph that is being built, or `None`."""
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def graph_of(tensor: Any) -> Any:
    """The graph that a tensor belongs to, or `None`."""
    return None if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.graph


def summed(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over all replicas: of a gradient, that of the whole batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tensors:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def is_first_replica() -> bool:
    """Whether this replica is the one that keeps the log."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return True
    return tf.get_static_value(context.replica_id_in_sync_group) in (0, None)
