"""Listens to updates that nobody but a loop of one's own makes, or `train_on_batch`.

No train step says where a step begins, and of two networks one may be updated more
often. So a step is an update here, and each network counts its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from vgkeras import tape
from vgkeras.callbacks.intercept import graph, is_variable, optimizers_of
from vgkeras.callbacks.listener import Listener
from vgkeras.callbacks.networks import Networks


class OwnLoop:
    """Hands the updates of a model to listeners, one for each network.

    `make(network)` makes a listener, `fetch` reads what they have written.
    """

    def __init__(
        self,
        model: keras.Model,
        make: Callable[[str], Listener],
        fetch: Callable[[], None],
    ) -> None:
        self._model, self._make, self._fetch = model, make, fetch
        self._networks = Networks()
        self._listeners: dict[str, Listener] = {}
        self._targets: dict[int, Any] = {}  # what was differentiated last, by variable
        self._scales: dict[int, Any] = {}
        self._inside = False
        self._updates = 0

    @contextlib.contextmanager
    def listen(self, models: tuple[keras.Model, ...]) -> Iterator[None]:
        """Listens to optimizers and tapes, whoever they belong to, for a while."""
        functions = [model.train_function for model in models]
        with contextlib.ExitStack() as stack:
            gradient = tf.GradientTape, "gradient", self._gradient
            stack.enter_context(tape.replaced(*gradient))
            for kind in _kinds_of(keras.optimizers.Optimizer):
                for name in ("apply", "scale_loss"):
                    if name in vars(kind) or kind is keras.optimizers.Optimizer:
                        other = getattr(self, f"_{name}")
                        stack.enter_context(tape.replaced(kind, name, other))
            for model in models:  # what `train_on_batch` compiled did not listen
                model.train_function = None
            try:
                yield
            finally:
                for model, function in zip(models, functions, strict=True):
                    model.train_function = function

    def record(self, gradients: Any, variables: Any, loss: Any = None) -> None:
        """Takes gradients that no optimizer applies as those of an update."""
        variables = list(variables)
        listener = self._listener("", variables)
        listener.update_alone(lambda: listener.record(gradients, variables, loss))
        self._end_update(listener)

    def _apply(
        self,
        own: Callable,
        optimizer: keras.optimizers.Optimizer,
        grads: Any,
        trainable_variables: Any = None,
    ) -> Any:
        gradients, variables = list(grads), optimizer._trainable_variables
        if trainable_variables is not None:
            variables = trainable_variables = list(trainable_variables)
        known = {id(variable) for variable in self._model.trainable_variables}
        if self._inside or known.isdisjoint(map(id, variables)):
            return own(optimizer, gradients, trainable_variables)
        name = _name_of(optimizer, self._model)
        listener = self._listener(name, variables)
        self._inside = True
        try:
            result = listener.update_alone(
                lambda: listener.apply(
                    name,
                    optimizer,
                    lambda *arguments: own(optimizer, *arguments),
                    gradients,
                    trainable_variables,
                ),
                {id(t): t for t in map(self._target, variables) if t is not None},
                {id(optimizer): self._scales.pop(id(optimizer), 1.0)},
            )
        finally:
            self._inside = False
        self._end_update(listener)
        return result

    def _listener(self, name: str, variables: list[Any]) -> Listener:
        network = self._networks.name(name, variables)
        if network not in self._listeners:
            self._listeners[network] = self._make(network)
        return self._listeners[network]

    def _end_update(self, listener: Listener) -> None:
        """Has the host read before a ring is full: after so many runs of a graph."""
        every = max(listener.writer.room // 2, 1)
        if graph() is None:
            self._updates += 1
            if self._updates % every == 0:
                self._fetch()
        elif not GraphOrParentsInXlaContext(graph()):
            due = tf.equal(listener.writer.counter % every, 0)
            tf.cond(due, lambda: _run(self._fetch, listener.writer.rings), tf.no_op)

    def _scale_loss(
        self, own: Callable, optimizer: keras.optimizers.Optimizer, loss: Any
    ) -> Any:
        self._scales[id(optimizer)] = own(optimizer, tf.ones([], tf.float32))
        return own(optimizer, loss)

    def _gradient(
        self, own: Callable, recorder: Any, target: Any, sources: Any, *a: Any, **k: Any
    ) -> Any:
        for source in tf.nest.flatten(sources):
            if is_variable(source):
                self._targets[_key(source)] = target
        return own(recorder, target, sources, *a, **k)

    def _target(self, variable: Any) -> Any:
        return self._targets.pop(_key(variable), None)


class Several(keras.Model):
    """Models that one loop trains, as one."""

    def __init__(self, models: tuple[keras.Model, ...]) -> None:
        super().__init__(name="several")
        self.models = list(models)


def _kinds_of(kind: type) -> list[type]:
    """A class and all that are derived from it."""
    kinds = [kind]
    children: list[type] = kind.__subclasses__()
    for child in children:
        kinds += _kinds_of(child)
    return list(dict.fromkeys(kinds))


def _name_of(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> str:
    """The attribute that holds an optimizer, or its own name."""
    names = {id(one): name for name, one in optimizers_of(model)}
    return names.get(id(optimizer), optimizer.name)


def _key(variable: Any) -> int:
    """The same number for a variable of Keras and the one of TensorFlow in it."""
    return id(getattr(variable, "_value", variable))


def _run(function: Callable[[], None], after: list[tf.Variable]) -> tf.Operation:
    """Runs Python from a graph, once everything is in these variables."""
    with tf.control_dependencies([variable.read_value() for variable in after]):
        done = tf.py_function(function, [], [])
    with tf.control_dependencies([done]):
        return tf.no_op()
