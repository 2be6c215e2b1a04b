"""Writes the statistics of a training step into rings, inside the step's own graph.

The host fetches them now and then, so that no step waits for the host.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vgkeras import tape
from vgkeras.callbacks.apart import apart
from vgkeras.callbacks.comparison import Comparison
from vgkeras.callbacks.intercept import is_first_replica, outside, replicas, summed
from vgkeras.callbacks.ring_buffers import MOST_ROUNDS, Label, Numbers, Place, Site
from vgkeras.callbacks.step_statistics import (
    CHANGES,
    as_one_node,
    in_matrices,
    one_branch,
    quick_statistics,
    statistics_and_matrices,
)

Pairs = list[tuple[Any, Any]]  # gradients, `None` among them, and their variables
_LOOKS = 20  # logged steps between close looks where no weights are compared
_EARLY = (1, 2, 5, 10)  # looked at as well, where looks are further apart


class News(NamedTuple):
    """What the host reads: losses and rates of some steps, their batches, and rows.

    `batches` holds steps and `BATCH_STATISTICS`, `rows` place, steps and `MEASURES`.
    """

    steps: np.ndarray
    losses: np.ndarray | None
    batches: tuple[np.ndarray, np.ndarray]
    rows: list[tuple[Place, np.ndarray, np.ndarray]]


class Writer:
    """Counts the steps of one model and measures what it is handed in each.

    Args:
        model: A compiled Keras model.
        every: Measure every so many steps.
        updates: At every so many of these steps, or never (`None`), compare the
            weights before and after the update.
        always: Whether to count zeros and take mean magnitudes at all these steps, or
            only where weights are compared. Where they never are, it is now and then.
    """

    def __init__(
        self, model: keras.Model, *, every: int, updates: int | None, always: bool
    ) -> None:
        self._model, self._every, self._updates = model, every, updates
        self._always = always
        self.counter = outside(lambda: tf.Variable(0, dtype=tf.int64))
        self._execution = model.steps_per_execution
        self._losses = Numbers(2, every, self._execution)
        self._batches = Numbers(len(tape.BATCH_STATISTICS), every, self._execution)
        self._sites: dict[Any, Site] = {}
        self._first_updates: dict[int, int] = {}
        options = {"autograph": False, "reduce_retracing": True}
        self._compiled = tf.function(quick_statistics, **options)
        self._read = 0

    # --- On the host -----------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Training steps done so far."""
        return int(self.counter.numpy())

    @property
    def has_news(self) -> bool:
        """Whether a step was done since the last `fetch`."""
        return self.steps > self._read

    @property
    def room(self) -> int:
        """Steps that the rings can hold between two calls of `fetch`."""
        slots = [(site.slots - 1) * self._every + 1 for site in self._sites.values()]
        return min([self._losses.slots, self._batches.slots, *slots])

    @property
    def rings(self) -> list[tf.Variable]:
        """The variables in which steps leave what they measure."""
        owners: list[Numbers | Site] = [self._losses, self._batches]
        owners += self._sites.values()
        return [owner.ring for owner in owners if owner.ring is not None]

    @property
    def places(self) -> list[Place]:
        """A place for each weight that has a gradient, as far as steps were traced."""
        return [site.places[0] for site in self._sites.values()]

    def fetch(self) -> News:
        """Reads what was written since the last call."""
        steps = np.arange(self._read, self.steps)
        self._read += len(steps)
        logged = steps[steps % self._every == 0]
        rows = []
        for site in list(self._sites.values()):
            for place, numbers, table in site.read(logged // self._every):
                rows.append((place, logged[numbers], table))
        return News(steps, self._losses.read(steps), self._described(logged), rows)

    def _described(self, logged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The steps whose batches were described, and how."""
        rows = self._batches.read(logged)
        if rows is None:
            return logged[:0], np.zeros((0, len(tape.BATCH_STATISTICS)))
        known = ~np.isnan(rows).all(axis=1)
        return logged[known], rows[known]

    # --- In the graph ----------------------------------------------------------------

    def end_step(self, loss: tf.Tensor | None, rate: tf.Tensor | None) -> None:
        """Writes the loss, if there is one, and the learning rate; counts the step."""
        if loss is not None:
            (loss,) = self._apart([loss])
            loss = summed([tf.reduce_sum(tf.cast(loss, tf.float64))])[0]
        if is_first_replica():
            if loss is not None:
                rate = tf.constant(np.nan) if rate is None else rate
                rate = tf.cast(rate, tf.float64)
                row = tf.stack([tf.stop_gradient(loss), rate])
                self._losses.write(self.counter, row)
            for site in self._sites.values():
                site.end_step()
            self.counter.assign_add(1)

    def batch(self, given: dict[str, Any], loss: tf.Tensor) -> None:
        """Describes the batch of a step looked at closely, or whose loss is no number.

        `given` are inputs, targets, outputs and weights of samples; with replicas,
        those of the first one.
        """
        if not is_first_replica():
            return
        logged = self._is_logged()
        look = self._is_look(self.counter // self._every)
        *parts, loss = self._apart([*tf.nest.flatten(given), loss])
        given = tf.nest.pack_sequence_as(given, parts)
        bad = tf.logical_not(tf.reduce_all(tf.math.is_finite(loss)))

        @as_one_node
        def describe() -> tf.Tensor:
            row = tape.batch_statistics(self._model, **given)
            self._batches.write(self.counter, row)
            return tf.constant(True)

        tf.cond(logged & (look | bad), describe, lambda: tf.constant(False))

    @contextlib.contextmanager
    def gradients(
        self,
        pairs: Pairs,
        labels: list[Label],
        scale: Any,
        optimizer: Any,
        in_loop: bool,
    ) -> Iterator[None]:
        """Measures gradients, and what is done inside to their variables.

        `scale` is what the loss was multiplied with, `optimizer` makes the update, if
        it can be watched; `in_loop`, one step may do so several times.
        """
        present = [i for i, (gradient, _) in enumerate(pairs) if gradient is not None]
        variables = [variable for _, variable in pairs]
        weights = [variables[i] for i in present]
        gradients = self._reader([pairs[i][0] for i in present], weights)
        if not is_first_replica():
            yield
            return
        comparison = self._comparison(optimizer, weights)
        measured = None
        if self._every == 1 and present:
            measured = self._measured(gradients(), comparison)
        yield
        sizes = [math.prod(variable.shape) for variable in variables]
        keys = list(map(id, variables))
        site = self._site(
            [*keys, labels[0].update, labels[0].optimizer],
            labels,
            sizes,
            present,
            rounds=MOST_ROUNDS if in_loop else 1,
            keys=keys,
            may_skip=isinstance(optimizer, keras.optimizers.LossScaleOptimizer),
        )
        self._write(site, gradients, [scale] * len(present), comparison, measured)

    def tensors(
        self, labels: list[Label], tensors: list[Any], scales: list[Any]
    ) -> None:
        """Measures tensors of any kind; `None` where there is none."""
        present = [i for i, tensor in enumerate(tensors) if tensor is not None]
        sizes = [0 if t is None else t.shape.num_elements() or 0 for t in tensors]
        site = self._site(labels, labels, sizes, present)
        there = [tf.convert_to_tensor(tensors[i]) for i in present]
        self._write(
            site, self._reader(there, there), [scales[i] for i in present], None
        )

    def _reader(
        self, tensors: list[Any], variables: list[Any]
    ) -> Callable[[], list[tf.Tensor]]:
        """Says how to read gradients of variables, there where it is done.

        Where steps are left out, a branch makes the copies that it reads.
        """

        def read() -> list[tf.Tensor]:
            return [*map(tape.dense_gradient, self._apart(tensors), variables)]

        if replicas() == 1:
            return read
        together = summed(read())  # by all of them, at every step
        return lambda: together

    def _apart(self, tensors: list[Any]) -> list[Any]:
        """The same values, read without consequence. XLA has no such rewriting."""
        return tensors if self._model.jit_compile else apart(tensors)

    def _comparison(self, optimizer: Any, weights: list[Any]) -> Comparison | None:
        every = self._updates
        if optimizer is None or every is None or not weights:
            return None
        first = self._first_updates
        if id(optimizer) not in first:
            done = outside(lambda: keras.ops.convert_to_numpy(optimizer.iterations))
            first[id(optimizer)] = int(done)

        def is_due(updates: tf.Tensor) -> tf.Tensor:
            since = updates - first[id(optimizer)]
            return _is_every(since, every) & self._is_logged()

        return Comparison(optimizer, weights, is_due, xla=self._model.jit_compile)

    def _write(
        self,
        site: Site,
        read: Callable[[], list[tf.Tensor]],
        scales: list[Any],
        comparison: Comparison | None,
        measured: tuple[tf.Tensor, Callable[[], list[tf.Tensor]]] | None = None,
    ) -> None:
        """Writes the rows of tensors that exist, if this step is to be logged."""
        if not scales:
            return

        def write() -> tf.Tensor:
            table, matrices = measured or self._measured(read(), comparison)
            dtype = table.dtype
            row = tf.expand_dims(tf.stack([tf.cast(one, dtype) for one in scales]), 0)
            change = tf.fill([CHANGES, len(scales)], tf.constant(np.nan, dtype))
            if comparison:
                change = tf.cast(comparison.rows(matrices), dtype)
            rows = tf.concat([table, row, change], axis=0)
            site.write(self.counter // self._every, rows)
            return tf.constant(True)

        if self._every == 1:  # a node of its own would wait for the last gradient
            write()
        elif site.is_small and not self._model.jit_compile:
            one_branch(
                self._is_logged(), lambda: [write()], lambda: [tf.constant(False)]
            )
        else:
            tf.cond(self._is_logged(), as_one_node(write), lambda: tf.constant(False))

    def _measured(
        self, tensors: list[tf.Tensor], comparison: Comparison | None
    ) -> tuple[tf.Tensor, Callable[[], list[tf.Tensor]]]:
        """Statistics, and how to get matrices for a comparison with an update."""
        index, xla = self.counter // self._every, self._model.jit_compile
        closely = comparison.due if comparison else self._is_look(index)
        closely |= self._always
        weights = comparison.weights if comparison else tensors
        if comparison and not tf.executing_eagerly() and not xla:
            table, matrices = statistics_and_matrices(
                tensors, closely, comparison.due, like=weights
            )
            return table, lambda: matrices
        if tf.executing_eagerly():
            table = self._compiled(tensors, closely)
        else:
            table = quick_statistics(tensors, closely, xla=xla)
        return table, lambda: in_matrices(tensors, weights, xla=xla)

    def _is_logged(self) -> tf.Tensor:
        return tf.equal(self.counter % self._every, 0)

    def _is_look(self, index: tf.Tensor) -> tf.Tensor:
        """Whether to look closely, from the number of the logged step."""
        return _is_every(index, self._updates or _LOOKS)

    def _site(
        self,
        key: Any,
        labels: list[Label],
        sizes: Sequence[int],
        present: list[int],
        rounds: int = 1,
        **more: Any,
    ) -> Site:
        full_key = (*key, *present, rounds)
        if full_key not in self._sites:
            least = -(-self._execution // self._every) + 1
            self._sites[full_key] = Site(
                labels, list(sizes), present, least, rounds, **more
            )
        return self._sites[full_key]


def _is_every(number: tf.Tensor, every: int) -> tf.Tensor:
    """Whether a number is a multiple; where these are far apart, also early on."""
    multiple = tf.equal(number % every, 0)
    if every <= max(_EARLY):
        return multiple
    return multiple | tf.reduce_any(tf.equal(number, _EARLY))
