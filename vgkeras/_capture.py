"""The gradients of a training step, measured inside the step that computes them.

Nothing is computed twice. While Keras runs or traces `model.train_step`, `apply` of
the model's optimizers is watched, and what passes through it is measured in the same
program. The numbers wait in small rings of variables until the host fetches them, so
that no step waits for the host.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vgkeras import tape
from vgkeras._measures import COLUMNS, MEASURES, changes, measures, quick_statistics

_SLOTS = 64
_RING_BYTES = 2**18
_MOST_LOSSES = 4096
Label = tuple[int, str, str]


class Site:
    """A place in a training step where tensors are measured.

    `labels` names its rows by `(layer, name, kind)`; `present` are the numbers of
    those that exist: a variable that the loss does not depend on has no gradient,
    but a size, as told by `sizes`.
    """

    def __init__(
        self,
        labels: list[Label],
        sizes: list[int],
        present: list[int],
        slots: int,
        dtype: tf.DType,
    ) -> None:
        self.labels, self.present, self.slots = labels, present, slots
        self._sizes = sizes
        shape = [slots, len(present), COLUMNS]
        self._blank = np.full(shape, np.nan, dtype.as_numpy_dtype)
        self._ring = outside(lambda: tf.Variable(self._blank))

    def write(self, slot: tf.Tensor, table: tf.Tensor) -> None:
        """Puts a table `(rows that exist, columns)` into the ring."""
        table = tf.cast(table, self._ring.dtype)
        self._ring.scatter_update(tf.IndexedSlices(table[None], slot[None]))

    def read(self, slots: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Empties the ring: which of `slots` were written, and the rows of those."""
        raw = self._ring.numpy()[slots]
        self._ring.assign(self._blank)
        written = np.flatnonzero(~np.isnan(raw[:, :, 5]).all(axis=1))
        shape = (len(written), len(self.labels), len(MEASURES))
        rows = np.full(shape, np.nan, raw.dtype)
        rows[:, :, -1] = self._sizes
        rows[:, self.present] = measures(raw[written])
        return written, rows


class Fetched(NamedTuple):
    """What the host reads: the losses of some steps, and the rows of some sites."""

    steps: np.ndarray
    losses: np.ndarray | None
    rows: list[tuple[Site, np.ndarray, np.ndarray]]


@dataclass
class _Step:
    """One run, or one trace, of the train step by one replica."""

    graph: Any
    loss: Any = None
    scales: dict[int, Any] = field(default_factory=dict)
    called: list[keras.layers.Layer] = field(default_factory=list)
    captured: bool = False


class Capture:
    """Measures the training steps of one model.

    Args:
        model: A compiled Keras model.
        every: Measure every so many steps.
        updates: Compare the weights before and after the update at every so many
            measured steps, or never (`None`).
    """

    def __init__(self, model: keras.Model, every: int, updates: int | None) -> None:
        self._model, self._every, self._updates = model, every, updates
        self._local = threading.local()
        self._watching = _Shared(self._watch)
        self._order: list[keras.layers.Layer] = []
        self._counter = outside(lambda: tf.Variable(0, dtype=tf.int64))
        self._losses: tf.Variable | None = None
        self._sites: dict[Any, Site] = {}
        self._first_updates: dict[int, int] = {}
        self._fetched = 0
        self._execution = model.steps_per_execution

    @property
    def steps(self) -> int:
        """Training steps done so far."""
        return int(self._counter.numpy())

    @property
    def room(self) -> int:
        """Steps that the rings can hold between two calls of `fetch`."""
        slots = [(site.slots - 1) * self._every + 1 for site in self._sites.values()]
        return min([self._loss_slots, *slots])

    def fetch(self) -> Fetched:
        """Reads what was measured since the last call."""
        steps = np.arange(self._fetched, self.steps)
        self._fetched += len(steps)
        logged = steps[steps % self._every == 0]
        rows = []
        for site in self._sites.values():
            found, table = site.read(list((logged // self._every) % site.slots))
            rows.append((site, logged[found], table))
        losses = None
        if self._losses is not None:
            losses = self._losses.numpy()[steps % self._loss_slots]
        return Fetched(steps, losses, rows)

    # --- Around the step -------------------------------------------------------------

    def wrap(self, train_step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns a train step that does the same, and measures."""

        def measured_train_step(data: Any) -> Any:
            self._local.step = step = _Step(_graph())
            try:
                with self._watching:
                    logs = train_step(data)
                self._finish(step)
            finally:
                self._local.step = None
            return logs

        return measured_train_step

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        """Puts an ear on what the train step calls; the methods do what they did."""
        with contextlib.ExitStack() as stack:
            for optimizer in _optimizers(self._model):
                stack.enter_context(replaced(optimizer, "apply", self._apply))
                stack.enter_context(replaced(optimizer, "scale_loss", self._scale))
            model = self._model
            stack.enter_context(replaced(model, "compute_loss", self._compute_loss))
            for layer in tape.measured_layers(model):
                stack.enter_context(replaced(layer, "call", self._call))
            yield

    def _compute_loss(self, model: Any, original: Callable) -> Callable:
        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            loss = original(*args, **kwargs)
            if self._step is not None:
                self._step.loss = loss
            return loss

        return compute_loss

    def _scale(self, optimizer: Any, original: Callable) -> Callable:
        def scale_loss(loss: Any) -> Any:
            if self._step is not None:
                one = tf.ones([], tf.float32)
                self._step.scales[id(optimizer)] = original(one)
            return original(loss)

        return scale_loss

    def _call(self, layer: keras.layers.Layer, original: Callable) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._step is not None:
                self._step.called.append(layer)
            return original(*args, **kwargs)

        return call

    def _apply(self, optimizer: Any, original: Callable) -> Callable:
        def apply(grads: Any, trainable_variables: Any = None) -> Any:
            step = self._step
            if step is None:
                return original(grads, trainable_variables)
            gradients, variables = list(grads), trainable_variables
            if variables is not None:
                variables = list(variables)
            with self._measured(step, optimizer, gradients, variables):
                return original(gradients, variables)

        return apply

    @property
    def _step(self) -> _Step | None:
        """The step that runs in this thread; other threads may train as well."""
        return getattr(self._local, "step", None)

    # --- In the step ---------------------------------------------------------------

    @contextlib.contextmanager
    def _measured(
        self, step: _Step, optimizer: Any, gradients: list[Any], variables: Any
    ) -> Iterator[None]:
        """Measures gradients, and what is done to the variables inside."""
        step.captured = True
        self._order = self._order or list(dict.fromkeys(step.called))
        if variables is None:
            variables = optimizer._trainable_variables
        present = [i for i, g in enumerate(gradients) if g is not None]
        dense = _summed([_dense(gradients[i], variables[i]) for i in present])
        weights = [variables[i] for i in present]
        if not (present and _is_first_replica()):
            yield
            return
        count = _iterations(optimizer)
        take = self._is_compared(optimizer, count)
        before = self._before(weights, take)
        yield
        updated = tf.not_equal(_iterations(optimizer), count)

        def write() -> None:
            rows = len(present)
            site = self._site(variables, present, _wide(dense))
            scale = step.scales.get(id(optimizer), 1.0)
            done = self._changes(before, weights, take, updated)
            table = quick_statistics(dense)
            scales = tf.fill([rows, 1], tf.cast(scale, table.dtype))
            parts = [table, scales, tf.cast(done, table.dtype)]
            self._write(site, tf.concat(parts, axis=1))

        self._when_logged(write)

    def _before(self, weights: list[Any], take: tf.Tensor) -> list[tf.Tensor]:
        """The weights before the update, flat; nothing where they are not needed.

        A tensor of a variable's value makes the update copy the variable. XLA copies
        anyway, and knows no tensors that may or may not be empty.
        """
        if self._updates is None:
            return []

        def read() -> list[tf.Tensor]:
            return [tf.reshape(_value(weight), [-1]) for weight in weights]

        if self._model.jit_compile:
            return read()
        return tf.cond(
            take, read, lambda: [tf.zeros([0], _value(w).dtype) for w in weights]
        )

    def _changes(
        self, before: list[tf.Tensor], weights: list[Any], take: Any, updated: Any
    ) -> tf.Tensor:
        """What the update did; NaN where there was none or nobody asked."""
        dtype = _wide(before) if before else tf.float32
        unknown = tf.fill([len(weights), 2], tf.constant(np.nan, dtype))
        if not before:
            return unknown
        return tf.cond(
            tf.logical_and(take, updated),
            lambda: changes(before, [_value(weight) for weight in weights]),
            lambda: unknown,
        )

    def _finish(self, step: _Step) -> None:
        """What is left to do at the end of a step."""
        if not step.captured and self._model.trainable_variables:
            raise RuntimeError(_not_captured(self._model))
        if step.loss is not None and _graph_of(step.loss) is step.graph:
            loss = _summed([tf.reduce_sum(tf.cast(step.loss, tf.float64))])[0]
            self._write_loss(tf.stop_gradient(loss))
        if _is_first_replica():
            self._counter.assign_add(1)

    def _write_loss(self, loss: tf.Tensor) -> None:
        if not _is_first_replica():
            return
        if self._losses is None:
            empty = np.zeros(self._loss_slots)
            self._losses = outside(lambda: tf.Variable(empty))
        slot = self._counter % self._loss_slots
        self._losses.scatter_update(tf.IndexedSlices(loss[None], slot[None]))

    @property
    def _loss_slots(self) -> int:
        return max(min(_SLOTS * self._every, _MOST_LOSSES), self._execution)

    def _write(self, site: Site, table: tf.Tensor) -> None:
        site.write((self._counter // self._every) % site.slots, table)

    def _when_logged(self, write: Callable[[], None]) -> None:
        if self._every == 1:
            write()
            return

        def written() -> tf.Tensor:
            write()
            return tf.constant(0)

        tf.cond(self._is_logged(), written, lambda: tf.constant(0))

    def _is_logged(self) -> tf.Tensor:
        return tf.equal(self._counter % self._every, 0)

    def _is_compared(self, optimizer: Any, count: tf.Tensor) -> tf.Tensor:
        """Whether this step is logged, and is one in so many updates."""
        key = id(optimizer)
        if key not in self._first_updates:
            self._first_updates[key] = outside(lambda: int(optimizer.iterations))
        since = tf.cast(count, tf.int64) - self._first_updates[key]
        return tf.equal(since % (self._updates or 1), 0) & self._is_logged()

    def _site(self, variables: list[Any], present: list[int], dtype: Any) -> Site:
        """The ring for the gradients of these variables."""
        key = (*map(id, variables), *present)
        if key not in self._sites:
            labels = tape.weight_labels(self._model, self._order, variables)
            fitting = _RING_BYTES // (len(present) * COLUMNS * dtype.size)
            needed = -(-self._execution // self._every) + 1
            slots = max(min(_SLOTS, fitting), needed)
            sizes = [_value(variable).shape.num_elements() for variable in variables]
            self._sites[key] = Site(labels, sizes, present, slots, dtype)
        return self._sites[key]


class _Shared:
    """A context that replicas of a step, which run in threads, enter together."""

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


@contextlib.contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Hides a method of `owner` behind `make(owner, method)` for a while."""
    own = vars(owner)
    missing = object()
    before = own.get(name, missing)
    own[name] = make(owner, getattr(owner, name))
    try:
        yield
    finally:
        if before is missing:
            del own[name]
        else:
            own[name] = before


def outside(make: Callable[[], Any]) -> Any:
    """What `make` returns, called outside of any graph or distribution strategy.

    These belong to a thread. A variable made here is a plain one, and a function that
    is being traced does not count it as its own (it would be traced a second time).
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def _optimizers(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """All optimizers that are attributes of the model or of its layers."""
    found: dict[int, keras.optimizers.Optimizer] = {}
    for owner in model._flatten_layers(include_self=True, recursive=True):
        for value in vars(owner).values():
            several = value.values() if isinstance(value, dict) else value
            listed = isinstance(value, dict | list | tuple)
            for one in several if listed else [value]:
                if isinstance(one, keras.optimizers.Optimizer):
                    found[id(one)] = one
    inner = {id(getattr(one, "inner_optimizer", None)) for one in found.values()}
    return [one for key, one in found.items() if key not in inner]


def _iterations(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Updates made so far: batches that only accumulate gradients do not count."""
    return tf.identity(keras.ops.convert_to_tensor(optimizer.iterations))


def _value(variable: Any) -> tf.Tensor:
    value = variable.value if isinstance(variable, keras.Variable) else variable
    return tf.convert_to_tensor(value)


def _dense(gradient: Any, variable: Any) -> tf.Tensor:
    """An embedding's sparse gradient as a tensor."""
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.convert_to_tensor(gradient)
    rows = variable.shape[0]
    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)


def _summed(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """The sums over all replicas: of a gradient, that of the whole batch."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tensors:
        return tensors
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def _is_first_replica() -> bool:
    context = tf.distribute.get_replica_context()
    if context is None:
        return True
    return tf.get_static_value(context.replica_id_in_sync_group) in (0, None)


def _wide(tensors: list[tf.Tensor]) -> tf.DType:
    return tf.float64 if any(t.dtype == tf.float64 for t in tensors) else tf.float32


def _graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _graph_of(tensor: Any) -> Any:
    return None if isinstance(tensor, tf.__internal__.EagerTensor) else tensor.graph


def _not_captured(model: keras.Model) -> str:
    return (
        "`model.train_step` must apply its gradients with an optimizer that is an "
        f"attribute of the model. Received: {type(model).__name__}.train_step, which "
        "did not. Call `logger.record(gradients, variables)` in it, before they are "
        "applied."
    )
