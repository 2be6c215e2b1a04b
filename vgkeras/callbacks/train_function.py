"""Lets `model.fit` run another train step for a while, and surely no longer."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from vgkeras.tape import replaced

_HOOK = "make_train_function"


class Fitting:
    """Puts a train function in the place of a model's own, and back.

    A fit that is interrupted never says so. Whatever happens, the model is put back
    at the latest when Keras asks for a train function again, as each fit does first.

    `step(own, data)` stands for the model's own train step; `fetch` is called before
    the steps that were run since outnumber `room()`, `after` with the number of steps
    just made.
    """

    def __init__(
        self,
        model: keras.Model,
        step: Callable[[Callable[[Any], Any], Any], Any],
        fetch: Callable[[], None],
        room: Callable[[], int],
        after: Callable[[int], None],
    ) -> None:
        self._model, self._step = model, step
        self._fetch, self._room, self._after = fetch, room, after
        self._own: Any = None
        self._other: Any = None
        self._pending = 0

    def begin(self) -> None:
        """Puts the other train function in place; it is compiled only once.

        Raises:
            RuntimeError: If the model is fitted with another such logger.
        """
        model = self._model
        if _HOOK in vars(model):
            raise RuntimeError(
                "`callbacks` must hold one `GradientLogger`. Received: a second one. "
                "One can log every kind: `GradientLogger(kinds=vgkeras.logs.KINDS)`."
            )
        if self._other is None or self._own is not model.train_function:
            self._own = model.train_function
            self._other = self._make_other()
        model.train_function = self._run
        vars(model)[_HOOK] = self._interrupted

    def end(self) -> None:
        """Puts the model's own train function back."""
        vars(self._model).pop(_HOOK, None)
        if self._model.train_function == self._run:
            self._model.train_function = self._own

    def collect(self) -> None:
        """Fetches what the steps so far have left, whether or not it is time to."""
        self._fetch()
        self._pending = 0

    def _make_other(self) -> Callable[[Any], Any]:
        _build_optimizer(self._model)
        with replaced(self._model, "train_step", self._step):
            self._model.make_train_function(force=True)
        return self._model.train_function

    def _run(self, iterator: Iterator[Any]) -> Any:
        steps = self._model.steps_per_execution
        self._pending += steps
        try:
            logs = self._other(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            raise  # the data has come to its end
        except BaseException:
            self.end()
            raise
        if self._pending + steps > self._room():
            self.collect()
        self._after(steps)
        return logs

    def _interrupted(self, force: bool = False) -> Any:
        """Another fit begins, and the last one has not ended."""
        self.end()
        return self._model.make_train_function(force=force)


def _build_optimizer(model: keras.Model) -> None:
    """Makes the optimizer's variables now: a step that makes them is traced twice.

    Only where it is known which weights it will be asked to train, those of Keras' own
    train step on a model whose graph is known: it takes no others afterwards.
    """
    weights, optimizer = model.trainable_variables, model.optimizer
    is_known = type(model).train_step is keras.Model.train_step
    if is_known and getattr(model, "inputs", None) and weights and not optimizer.built:
        optimizer.build(weights)
