"""Listens to a training step for the gradients that it computes.

Nothing is computed twice. While Keras runs or traces `model.train_step`, the methods
that gradients pass through are heard; they do what they did.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from vgkeras import tape
from vgkeras.callbacks.intercept import Shared, graph, graph_of, optimizers_of, replaced
from vgkeras.callbacks.writer import Pairs, Writer, label_outputs
from vgkeras.logs import KINDS

# What is inside is called once for each point in time, maybe in a loop.
_WHOLE = (keras.layers.RNN, keras.layers.TimeDistributed)
OUTSIDE = (
    "`record` must be called in `train_step`, while `fit` runs with this logger. "
    "Received: a call outside of it. Pass the logger to `fit`: "
    "`model.fit(..., callbacks=[logger])`."
)


@dataclass
class _Step:
    """One run, or one trace, of the train step by one replica."""

    graph: Any
    loss: Any = None
    scales: dict[int, Any] = field(default_factory=dict)
    called: list[keras.layers.Layer] = field(default_factory=list)
    outputs: list[tuple[keras.layers.Layer, tf.Tensor]] = field(default_factory=list)
    upstream: dict[int, tf.Tensor] = field(default_factory=dict)
    given: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    heard: bool = False


class Listener:
    """Hears the training steps of one model.

    Args:
        model: A compiled Keras model.
        writer: Measures what was heard.
        kinds: Kinds of tensors to listen for.
        wanted: Whether to measure what belongs to a layer; `None` is no layer.
    """

    def __init__(
        self,
        model: keras.Model,
        writer: Writer,
        kinds: tuple[str, ...],
        wanted: Callable[[keras.layers.Layer | None], bool],
    ) -> None:
        self._model, self._writer = model, writer
        self._kinds, self._wanted = kinds, wanted
        self._local = threading.local()
        self._listening = Shared(self._listen)
        self._layers: list[keras.layers.Layer] = []
        self.optimizers: dict[int, keras.optimizers.Optimizer] = {}

    def wrap(self, train_step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns a train step that does the same, and is heard."""

        def heard_train_step(data: Any) -> Any:
            self._local.step = step = _Step(graph())
            try:
                with self._listening:
                    logs = train_step(data)
                with tf.control_dependencies(_tensors(data)):  # no data is no step
                    self._finish(step)
            finally:
                self._local.step = None
            return logs

        return heard_train_step

    def record(self, gradients: Any, variables: Any, loss: Any = None) -> None:
        """Takes gradients in the place of those that are applied."""
        step = self._step
        if step is None:
            raise RuntimeError(OUTSIDE)
        step.heard = True
        step.loss = step.loss if loss is None else loss
        pairs = zip(gradients, variables, strict=True)
        given = {id(variable): (gradient, variable) for gradient, variable in pairs}
        if graph() is step.graph:
            step.given |= given  # an update may follow
        else:
            self._write(step, list(given.values()))

    @property
    def _step(self) -> _Step | None:
        """The step that runs in this thread; other threads may train as well."""
        return getattr(self._local, "step", None)

    def _finish(self, step: _Step) -> None:
        """Hands on what is known only at the end of a step."""
        if step.given:
            self._write(step, list(step.given.values()))
        if not step.heard and self._model.trainable_variables:
            raise RuntimeError(_unheard(self._model))
        if step.outputs:
            self._write_outputs(step)
        here = step.loss is not None and graph_of(step.loss) is step.graph
        self._writer.end_step(step.loss if here else None)

    def _write(self, step: _Step, pairs: Pairs) -> None:
        with self._writing(step, pairs):
            pass

    def _writing(self, step: _Step, pairs: Pairs, optimizer: Any = None) -> Any:
        layers = self._numbered(step)
        owners = {id(v): layer for layer in layers for v in layer.variables}
        pairs = [(g, v) for g, v in pairs if self._wanted(owners.get(id(v)))]
        if not pairs or KINDS[0] not in self._kinds:
            return contextlib.nullcontext()
        scale = step.scales.get(id(optimizer), 1.0)
        return self._writer.gradients(pairs, layers, scale=scale, optimizer=optimizer)

    def _write_outputs(self, step: _Step) -> None:
        """What layers put out, and the gradients with respect to it."""
        called = [layer for layer, _ in step.outputs]
        labels = label_outputs(self._model, self._numbered(step), called, self._kinds)
        scale = next(reversed(step.scales.values()), 1.0)
        found = {
            KINDS[1]: ([output for _, output in step.outputs], 1.0),
            KINDS[2]: ([step.upstream.get(i) for i in range(len(called))], scale),
        }
        asked = [found[kind] for kind in KINDS[1:] if kind in self._kinds]
        tensors = [tensor for tensors, _ in asked for tensor in tensors]
        scales = [scale for tensors, scale in asked for _ in tensors]
        self._writer.tensors(labels, tensors, scales)

    def _numbered(self, step: _Step) -> list[keras.layers.Layer]:
        """All layers, in the order in which they were first called."""
        if not self._layers:
            layers = tape.measured_layers(self._model, whole=_WHOLE)
            self._layers = list(dict.fromkeys([*step.called, *layers]))
        return self._layers

    # --- The methods that are heard --------------------------------------------------

    @contextlib.contextmanager
    def _listen(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            model = self._model
            for optimizer in optimizers_of(model):
                stack.enter_context(replaced(optimizer, "apply", self._apply))
                stack.enter_context(replaced(optimizer, "scale_loss", self._scale))
            stack.enter_context(replaced(model, "compute_loss", self._compute_loss))
            for layer in tape.measured_layers(model, whole=_WHOLE):
                stack.enter_context(replaced(layer, "call", self._call))
            if KINDS[2] in self._kinds:
                make = self._gradient
                stack.enter_context(replaced(tf.GradientTape, "gradient", make))
            yield

    def _apply(self, optimizer: Any, original: Callable) -> Callable:
        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            step = self._step
            if step is None:
                return original(grads, trainable_variables)
            step.heard = True
            self.optimizers[id(optimizer)] = optimizer
            gradients, variables = list(grads), trainable_variables
            if variables is not None:
                variables = list(variables)
            owned = optimizer._trainable_variables if variables is None else variables
            pairs = [
                step.given.pop(id(variable), (gradient, variable))
                for gradient, variable in zip(gradients, owned, strict=False)
            ]
            with self._writing(step, pairs, optimizer):
                return original(gradients, variables)

        return apply

    def _scale(self, optimizer: Any, original: Callable) -> Callable:
        def scale_loss(loss: Any) -> Any:
            if self._step is not None:
                self._step.scales[id(optimizer)] = original(tf.ones([], tf.float32))
            return original(loss)

        return scale_loss

    def _compute_loss(self, model: Any, original: Callable) -> Callable:
        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            loss = original(*args, **kwargs)
            if self._step is not None:
                self._step.loss = loss
            return loss

        return compute_loss

    def _call(self, layer: keras.layers.Layer, original: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            step, outputs = self._step, original(*args, **kwargs)
            if step is None:
                return outputs
            step.called.append(layer)
            if set(self._kinds) - {KINDS[0]} and self._wanted(layer):
                step.outputs += [
                    (layer, output)
                    for output in tf.nest.flatten(outputs)
                    if isinstance(output, tf.Tensor)
                    and output.dtype.is_floating
                    and graph_of(output) is step.graph  # one in a loop stays there
                ]
            return outputs

        return call

    def _gradient(self, owner: Any, original: Callable) -> Callable:
        """Asks a tape for more of what it computes on its way to the weights."""

        def gradient(
            tape: Any, target: Any, sources: Any, *more: Any, **also: Any
        ) -> Any:
            step = self._step
            if step is None or not step.outputs:
                return original(tape, target, sources, *more, **also)
            outputs = [output for _, output in step.outputs]
            found, upstream = original(tape, target, [sources, outputs], *more, **also)
            step.upstream |= {i: g for i, g in enumerate(upstream) if g is not None}
            return found

        return gradient


def _tensors(data: Any) -> list[tf.Tensor]:
    parts = tf.nest.flatten(data, expand_composites=True)
    return [part for part in parts if isinstance(part, tf.Tensor)]


def _unheard(model: keras.Model) -> str:
    return (
        "`model.train_step` must apply its gradients with an optimizer that is an "
        f"attribute of the model. Received: {type(model).__name__}.train_step, which "
        "did not. Call `logger.record(gradients, variables)` in it, before they are "
        "applied."
    )
