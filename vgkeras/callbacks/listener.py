"""Listens to the methods that gradients pass through in a training step."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from vgkeras import tape
from vgkeras.callbacks.intercept import (
    Shared,
    graph,
    graph_of,
    in_loop,
    is_variable,
    optimizers_of,
    replicas,
)
from vgkeras.callbacks.networks import Networks
from vgkeras.callbacks.registered import forgotten
from vgkeras.callbacks.ring_buffers import MOST_ROUNDS, Label
from vgkeras.callbacks.step_statistics import as_one_node
from vgkeras.callbacks.writer import Pairs, Writer
from vgkeras.logs import KINDS, TIME_KINDS
from vgkeras.tape import garbage

# What is inside is called once for each point in time, maybe in a loop.
_WHOLE = (keras.layers.RNN, keras.layers.TimeDistributed)
_GIVEN = ("x", "y", "y_pred", "sample_weight")  # to `compute_loss`
OUTSIDE = (
    "`record` must be called in `train_step`, while `fit` runs with this logger, or in "
    "a loop that it watches. Received: a call outside of both. Pass the logger to "
    "`fit`: `model.fit(..., callbacks=[logger])`, or write "
    "`with logger.watch(model):` around the loop."
)


@dataclass
class _Step:
    """One run, or one trace, of the train step by one replica."""

    graph: Any
    loss: Any = None
    targets: list[Any] = field(default_factory=list)  # of the gradients of variables
    batch: dict[str, Any] = field(default_factory=dict)
    rate: Any = None
    updates: Counter[int] = field(default_factory=Counter)  # of each variable
    scales: dict[int, Any] = field(default_factory=dict)
    calls: Counter[keras.layers.Layer] = field(default_factory=Counter)
    outputs: list[tape.Call] = field(default_factory=list)
    upstream: dict[int, tf.Tensor] = field(default_factory=dict)
    times: list[tape.TimeSteps] = field(default_factory=list)
    by_time: dict[int, Any] = field(default_factory=dict)
    records: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    has_gradients: bool = False


class Listener:
    """Hands what the training steps of a model compute to a `Writer`.

    `is_logged` tells of a layer, or of `None` for no layer, whether to measure it;
    `network` is what to call all weights, if it is known that they are one network.
    """

    def __init__(
        self,
        model: keras.Model,
        writer: Writer,
        kinds: tuple[str, ...],
        is_logged: Callable[[keras.layers.Layer | None], bool],
        network: str | None = None,
    ) -> None:
        self._model, self.writer = model, writer
        self._kinds, self._is_logged, self._network = kinds, is_logged, network
        self._anchor = tape.anchor() if {*kinds} & {*TIME_KINDS} else None
        self._local = threading.local()
        self._listening = Shared(self._listen)
        self._layers: list[keras.layers.Layer] = []
        self._networks = Networks()
        self.optimizers: dict[int, keras.optimizers.Optimizer] = {}

    def train_step(self, own: Callable[[Any], Any], data: Any) -> Any:
        """Runs the model's own train step, and listens to it."""
        self._local.step = step = _Step(graph())
        is_traced = step.graph is not None
        try:
            with garbage.paused() if is_traced else contextlib.nullcontext():
                with self._listening:
                    logs = own(data)
                with tf.control_dependencies(_tensors(data)):  # no data is no step
                    self._finish(step, logs)
        finally:
            self._local.step = None
        return logs

    def update_alone(
        self,
        update: Callable[[], Any],
        targets: dict[int, Any] | None = None,
        scales: dict[int, Any] | None = None,
    ) -> Any:
        """Makes an update that is a step of its own, and listens to it.

        `targets` were differentiated for it, after `scales` were put on the loss.
        """
        self._local.step = step = _Step(graph(), scales=scales or {})
        step.targets += (targets or {}).values()
        try:
            result = update()
            self._finish(step, None)
        finally:
            self._local.step = None
        return result

    @property
    def listens(self) -> bool:
        """Whether a step runs in this thread."""
        return self._step is not None

    def record(self, gradients: Any, variables: Any, loss: Any = None) -> None:
        """Takes gradients in the place of those that are applied."""
        step = self._step
        if step is None:
            raise RuntimeError(OUTSIDE)
        step.has_gradients = True
        step.loss = step.loss if loss is None else loss
        pairs = zip(gradients, variables, strict=True)
        records = {id(variable): (gradient, variable) for gradient, variable in pairs}
        if step.records.keys() & records.keys():  # no optimizer makes these updates
            self._write(step, step.records)
            step.records = {}
        if graph() is step.graph:
            step.records |= records  # an update may follow
        else:
            self._write(step, records)

    @property
    def _step(self) -> _Step | None:
        """The step that runs in this thread; other threads may train as well."""
        return getattr(self._local, "step", None)

    def _finish(self, step: _Step, logs: Any) -> None:
        """Writes what only the end of a step can tell."""
        if step.records:
            self._write(step, step.records)
        if not step.has_gradients and self._model.trainable_variables:
            raise RuntimeError(_no_gradients_message(self._model))
        if step.outputs:
            self._write_outputs(step)
        if step.times:
            self._write_time_steps(step)
        loss = step.loss if step.loss is not None else _loss_of(step, logs)
        here = loss is not None and graph_of(loss) is step.graph
        if here and loss is step.loss and step.batch:
            self.writer.batch(step.batch, loss)
        self.writer.end_step(loss if here else None, step.rate)

    def _write(self, step: _Step, records: dict[int, tuple[Any, Any]]) -> None:
        with self._writing(step, list(records.values())):
            pass

    def _writing(
        self, step: _Step, pairs: Pairs, name: str = "", optimizer: Any = None
    ) -> Any:
        layers = self._numbered(step)
        owners = {id(v): layer for layer in layers for v in layer.variables}
        network = self._network
        if network is None:
            network = self._networks.name(name, [variable for _, variable in pairs])
        pairs = [(g, v) for g, v in pairs if self._is_logged(owners.get(id(v)))]
        if not pairs or KINDS[0] not in self._kinds:
            return contextlib.nullcontext()
        variables = [variable for _, variable in pairs]
        loop = in_loop(step.graph)
        first = max(step.updates[id(variable)] for variable in variables)
        step.updates.update(dict.fromkeys(map(id, variables), MOST_ROUNDS**loop))
        labels = tape.weight_labels(self._model, layers, variables)
        return self.writer.gradients(
            pairs,
            [Label(*label, update=first, optimizer=network) for label in labels],
            scale=step.scales.get(id(optimizer), 1.0),
            optimizer=optimizer,
            in_loop=loop,
        )

    def _write_outputs(self, step: _Step) -> None:
        """What layers put out, and the gradients with respect to it."""
        calls = step.outputs
        labels = tape.layer_labels(
            self._model, self._numbered(step), calls, self._kinds
        )
        tensors, scales = [], []
        if KINDS[1] in self._kinds:
            tensors += [call.output for call in calls]
            scales += [1.0] * len(calls)
        if KINDS[2] in self._kinds:
            upstream, own = self._upstream(step)
            tensors += upstream
            scales += own
        networks = self._networks.of_layers([call.layer for call in calls])
        count = len(labels) // len(calls)
        full = [
            Label(*label, optimizer=network, call=call.number)
            for label, network, call in zip(
                labels, networks * count, calls * count, strict=True
            )
        ]
        self.writer.tensors(full, tensors, scales)

    def _upstream(self, step: _Step) -> tuple[list[Any], list[Any]]:
        """The gradients by what layers put out, and the scale of each."""
        scale = next(reversed(step.scales.values()), 1.0)
        upstream = [step.upstream.get(number) for number in range(len(step.outputs))]
        by_outputs = self._by_outputs(step, upstream)
        pairs = [
            (by_outputs.get(id(call.output)), 1.0) if own is None else (own, scale)
            for call, own in zip(step.outputs, upstream, strict=True)
        ]
        gradients, scales = map(list, zip(*pairs, strict=True))
        return gradients, scales

    def _by_outputs(self, step: _Step, upstream: list[Any]) -> dict[int, Any]:
        """The gradients by outputs of the model, if the loss has gone around one."""
        outputs = step.batch.get("y_pred")
        last = {id(part) for part in tf.nest.flatten(outputs)}
        calls = zip(step.outputs, upstream, strict=True)
        if all(own is not None or id(call.output) not in last for call, own in calls):
            return {}
        loss = tape.loss_of_compile(self._model)
        batch = tape.Batch(*map(step.batch.get, tape.Batch._fields))
        return {} if loss is None else tape.gradients_by_outputs(loss, batch, outputs)

    def _write_time_steps(self, step: _Step) -> None:
        """The gradients by states and inputs of recurrent layers, by time step."""
        labels = tape.time_labels(self._model, self._numbered(step), step.times)
        tensors: list[Any] = []
        for number, part in enumerate(step.times):
            count = tape.count_of_steps(part.source)
            rows = tape.by_step(step.by_time.get(number), part.source)
            none = [None] * count
            tensors += none if rows is None else tf.unstack(rows, count)
        scale = next(reversed(step.scales.values()), 1.0)
        full = [Label(*label[:3], time=label[3]) for label in labels]
        self.writer.tensors(full, tensors, [scale] * len(full))

    def _numbered(self, step: _Step) -> list[keras.layers.Layer]:
        """All layers, in the order in which they were first called."""
        if not self._layers:
            layers = tape.measured_layers(self._model, whole=_WHOLE)
            self._layers = list(dict.fromkeys([*step.calls, *layers]))
        return self._layers

    # --- The methods that gradients pass through -------------------------------------

    @contextlib.contextmanager
    def _listen(self) -> Iterator[None]:
        methods: list[Any] = [(self._model, "compute_loss", self._compute_loss)]
        for name, optimizer in optimizers_of(self._model):
            apply = partial(self.apply, name, optimizer)
            scale = partial(self._scale, optimizer)
            methods += [(optimizer, "apply", apply), (optimizer, "scale_loss", scale)]
        methods.append((tf.GradientTape, "gradient", self._gradient))
        layers = tape.measured_layers(self._model, whole=_WHOLE)
        with contextlib.ExitStack() as stack, tape.layer_calls(layers, self._see_call):
            for method in methods:
                stack.enter_context(tape.replaced(*method))
            if self._anchor is not None:
                seen = tape.time_steps(self._model, self._anchor, self._see_time_steps)
                stack.enter_context(seen)
            yield

    def _see_time_steps(self, part: tape.TimeSteps) -> None:
        step = self._step
        if step is None or part.kind not in self._kinds:
            return
        if self._is_logged(part.layer) and tape.is_in(part, step.graph):
            step.times.append(part)

    def apply(
        self,
        name: str,
        optimizer: Any,
        own: Callable,
        grads: Any,
        trainable_variables: Any = None,
    ) -> Any:
        step = self._step
        if step is None:
            return own(grads, trainable_variables)
        step.has_gradients = True
        self.optimizers[id(optimizer)] = optimizer
        gradients, variables = list(grads), optimizer._trainable_variables
        if trainable_variables is not None:
            variables = trainable_variables = list(trainable_variables)
        pairs = [
            step.records.pop(id(variable), (gradient, variable))
            for gradient, variable in zip(gradients, variables, strict=False)
        ]
        if step.rate is None and graph() is step.graph:
            step.rate = _rate(optimizer)
        with self._writing(step, pairs, name, optimizer), forgotten(step.graph):
            return own(gradients, trainable_variables)

    def _scale(self, optimizer: Any, own: Callable, loss: Any) -> Any:
        if self._step is not None:
            self._step.scales[id(optimizer)] = own(tf.ones([], tf.float32))
        return own(loss)

    def _compute_loss(self, own: Callable, *args: Any, **more: Any) -> Any:
        loss = own(*args, **more)
        step = self._step
        if step is not None:
            step.loss = loss
            given = dict(zip(_GIVEN, args, strict=False)) | more
            step.batch = {name: given.get(name) for name in _GIVEN}
        return loss

    def _see_call(self, layer: keras.layers.Layer, outputs: list[tf.Tensor]) -> None:
        step = self._step
        if step is None:
            return
        step.calls[layer] += 1
        if {*self._kinds} & {*KINDS[1:]} and self._is_logged(layer):
            step.outputs += [
                tape.Call(layer, step.calls[layer], number, output)
                for number, output in enumerate(outputs, start=1)
                if graph_of(output) is step.graph  # not those in a loop
            ]

    def _gradient(
        self,
        own: Callable,
        recorder: Any,
        target: Any,
        sources: Any,
        *more: Any,
        **also: Any,
    ) -> Any:
        """Asks a tape for more of what it computes on its way to the weights."""
        step = self._step
        if step is not None and any(map(is_variable, tf.nest.flatten(sources))):
            step.targets.append(target)
        if step is None:
            return own(recorder, target, sources, *more, **also)
        outputs = [call.output for call in step.outputs] * (KINDS[2] in self._kinds)
        times = [part.source for part in step.times]
        if not outputs and not times:
            return own(recorder, target, sources, *more, **also)
        everything = [sources, outputs, times]
        slopes, upstream, by_time = own(recorder, target, everything, *more, **also)
        step.upstream |= {i: g for i, g in enumerate(upstream) if g is not None}
        step.by_time |= {i: g for i, g in enumerate(by_time) if _is_any(g)}
        return slopes


def _is_any(gradient: Any) -> bool:
    return any(part is not None for part in tf.nest.flatten(gradient))


def _tensors(data: Any) -> list[tf.Tensor]:
    parts = tf.nest.flatten(data, expand_composites=True)
    return [part for part in parts if isinstance(part, tf.Tensor)]


def _loss_of(step: _Step, logs: Any) -> Any:
    """The loss of a train step that does not call `compute_loss`, or `None`.

    If all gradients are those of one scalar, it is that: what the step returns may be
    a mean over the epoch so far. Otherwise it is what is returned under that name.
    """
    targets = list({id(target): target for target in step.targets}.values())
    if len(targets) == 1 and _is_scalar_here(targets[0]):
        scale = next(reversed(step.scales.values()), 1.0)
        return targets[0] / tf.cast(scale, targets[0].dtype)
    returned = logs.get("loss") if isinstance(logs, dict) else None
    if returned is None:
        return None
    loss = tf.convert_to_tensor(returned)
    return loss / tf.cast(replicas(), loss.dtype) if loss.shape == () else None


def _is_scalar_here(target: Any) -> bool:
    is_scalar = isinstance(target, tf.Tensor) and target.shape == ()
    return is_scalar and graph_of(target) is graph()


def _rate(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """The learning rate of an update that has yet to be made."""

    def rate() -> tf.Tensor:
        return tf.identity(tf.cast(optimizer.learning_rate, tf.float64))

    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(optimizer._learning_rate, keras.Variable):
        return rate()
    # A schedule computed in the open would be shared with the optimizer's own.
    return as_one_node(rate)()


def _no_gradients_message(model: keras.Model) -> str:
    return (
        "`model.train_step` must apply its gradients with an optimizer that is an "
        f"attribute of the model. Received: {type(model).__name__}.train_step, which "
        "did not. Call `logger.record(gradients, variables)` in it, before they are "
        "applied."
    )
