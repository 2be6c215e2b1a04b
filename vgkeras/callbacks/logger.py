"""GradientLogger: the gradients of `model.fit`, as the training step computed them."""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd

from vgkeras._checks import check_each, check_option, check_positive, check_positive_int
from vgkeras.callbacks.alerts import Alerts
from vgkeras.callbacks.intercept import outside
from vgkeras.callbacks.listener import OUTSIDE, Listener
from vgkeras.callbacks.own_loop import OwnLoop, Several
from vgkeras.callbacks.scalars import SCALAR_COLUMNS, Scalars
from vgkeras.callbacks.storage import Store
from vgkeras.callbacks.train_function import Fitting
from vgkeras.callbacks.writer import News, Writer
from vgkeras.logs import KINDS, TIME_KINDS, GradientLog, run_table, versions
from vgkeras.tape import check_backend, measured_layers, model_facts, policy_name

SCALARS = ("all", "global", "none")


class GradientLogger(keras.callbacks.Callback):
    """Logs the gradients that `model.fit` computes.

    No gradient is computed a second time: each is measured inside the training step
    that computed it, before it is clipped. Every update of a step is logged, and the
    columns `update` and `optimizer` say which one of which network. With loss scaling,
    what is logged is the gradient of the loss itself; under `tf.distribute`, that of
    the whole batch.

    The weights after a fit are the same to the last bit with the logger and without
    it wherever it was tried without XLA: of networks of convolutions, dense layers,
    batch and layer normalization with all kinds logged, of LSTM and GRU with weight
    gradients and kinds by time step, of Keras' ResNet152 with weight gradients.
    TensorFlow may fuse layers whose outputs nobody reads, so that other networks may
    differ in the last bits if activations are logged; so may any that XLA compiles.

    A loop of your own, and `train_on_batch`, are logged by `watch`.

    After each epoch Keras' `logs` hold the mean norms of the gradients over its
    logged steps, `l2_norm/grad/global` and `l2_norm/grad/<variable>`, for callbacks
    that come after this one in the list (`CSVLogger`, `TensorBoard`, `EarlyStopping`)
    and for the `History` that `fit` returns. They are NaN after an epoch without a
    logged step; steps that a loss scale skips do not count. To stop or to save by a
    norm needs `mode=`: Keras cannot guess it, as in
    `EarlyStopping("l2_norm/grad/global", mode="max")`. The progress bar shows the
    first only.

    Args:
        every: Log at steps 0, `every`, 2 `every`, ... A step is a batch; the count
            goes on from one `fit` to the next.
        kinds: What to log: `"weight_gradient"`, `"activation"` (what each layer puts
            out), `"activation_gradient"` (the loss differentiated by it); of recurrent
            layers, a row a time step, `"state_gradient"` and `"input_gradient"`, as
            `vgkeras.gradient_through_time` has them.
        layers: Names of the layers to log, those inside them included, or a function
            that tells from a layer whether to log it. By default all.
        updates: Look closely at every so many updates among the logged steps: compare
            the weights before and after (`frozen_fraction`, `update_ratio`), count
            zeros (`zero_fraction`) and take mean magnitudes (`log10_mean`). At the
            others these columns are NaN. But a gradient that is all zero has a
            `zero_fraction` of 1 at every step, and zeros and means are taken wherever
            magnitudes are extreme, and at every logged step if `kinds` names more
            than weight gradients. `None` never compares weights, and looks at every
            twentieth logged step. Such a step takes about a sixth longer, where
            layers are wide; with millions of weights and a batch of two or three,
            as long as several.
        memory: Megabytes (10^6 bytes) that the log may take, whatever the number of
            steps. When it is full, the newest half stays whole and the older half is
            thinned out. The frames of `log` take about three times as much while you
            hold them.
        path: New folder for a run that is longer than its memory. Nothing is thinned
            out then: what does not fit is written to Parquet files in the folder,
            gradient logs all; `pandas.read_parquet(path)` reads their layers. `log`
            reads everything.
        scalars: What goes into Keras' `logs`: `"all"` norms, the `"global"` one, or
            `"none"`.
        scalar_columns: Which columns of the log do so, if all scalars: `"log10_norm"`
            (as norms, not as logarithms), `"update_ratio"`, `"zero_fraction"`.
        scalar_steps: Hand the scalars to `on_train_batch_end` as well, every so many
            steps, for trackers that look at batches. The fit waits there for the step
            to end. At others the scalars are absent.
        alerts: What to do while `fit` runs about a regime that `vg.diagnose` finds, as
            in `{"non-finite": "stop", "vanishing": "warn"}`. Each is acted on once.
        alert_steps: Steps between two such looks. A look reads the whole log, so that
            it takes as long as `vg.diagnose(logger.log)`, and the fit waits for it.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> logger = vg.GradientLogger()  # doctest: +SKIP
        >>> model.fit(x, y, epochs=5, callbacks=[logger])  # doctest: +SKIP
        >>> logger.log.layers  # doctest: +SKIP
        >>> logger.log.save("fit.parquet")  # doctest: +SKIP
    """

    def __init__(
        self,
        every: int = 1,
        kinds: Iterable[str] = KINDS[:1],
        *,
        layers: Collection[str] | Callable[[keras.layers.Layer], bool] | None = None,
        updates: int | None = 20,
        memory: float = 64,
        path: str | os.PathLike[str] | None = None,
        scalars: str = "all",
        scalar_columns: Iterable[str] = ("log10_norm",),
        scalar_steps: int | None = None,
        alerts: Mapping[str, str] | None = None,
        alert_steps: int = 200,
    ) -> None:
        super().__init__()
        check_backend()
        self._every = check_positive_int("every", every)
        check_kind = functools.partial(check_option, options=(*KINDS, *TIME_KINDS))
        self._kinds = tuple(check_each("kinds", kinds, check_kind))
        self._layers = _check_layers(layers)
        self._updates = (
            None if updates is None else check_positive_int("updates", updates)
        )
        self._store = Store(check_positive("memory", memory) * 1e6, self._every, path)
        check_column = functools.partial(check_option, options=tuple(SCALAR_COLUMNS))
        columns = check_each("scalar_columns", scalar_columns, check_column)
        self._scalars = Scalars(check_option("scalars", scalars, SCALARS), columns)
        if scalar_steps is not None:  # Keras waits for each step where this is defined
            check_positive_int("scalar_steps", scalar_steps)
            self.on_train_batch_end = functools.partial(self._hand, scalar_steps)
        self._alerts = Alerts(alerts or {}, alert_steps)
        self._epochs: list[list[int]] = []
        self._fitted: Any = None  # the model, once there is one
        self._watched: tuple[keras.Model, ...] = ()
        self._loop: OwnLoop | None = None
        self._facts: dict[str, Any] = {}
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watch(self, *models: keras.Model) -> Iterator[None]:
        """Logs a loop of your own, or `train_on_batch`, for as long as it lasts.

        Every update that a Keras optimizer makes to the models' weights is logged,
        with the loss that a `tf.GradientTape` differentiated for it. A step is an
        update; where several networks are updated by turns (an actor and a critic),
        each counts its own steps, and has no loss in the log: theirs are not one. The
        column `optimizer` tells the networks apart. What `tf.function` compiled before
        is not heard. Functions that XLA compiles are read from only when you ask for
        `log`: do so every 100 steps.

        Args:
            *models: The models that the loop trains.

        Raises:
            TypeError: If one of `models` is no Keras model.
            RuntimeError: If the logger logs a `fit`, or other models, or kinds other
                than weight gradients; or if no update was heard.

        Example:
            >>> with logger.watch(model):  # doctest: +SKIP
            ...     for x, y in batches:
            ...         model.train_on_batch(x, y)
        """
        loop = self._loop_of(models)
        with loop.listen(models):
            yield
        self._collect()
        if not any(writer.steps for writer in self._writers):
            raise RuntimeError(
                "`watch` must surround updates of `models` by a Keras optimizer. "
                "Received: none. Have functions compiled inside of it, or call "
                "`logger.record(gradients, variables, loss)` for each update."
            )

    def record(self, gradients: Any, variables: Any, loss: Any = None) -> None:
        """Logs gradients from inside a `train_step` or a loop of your own.

        Only for those that `fit` and `watch` cannot see by themselves: where no Keras
        optimizer (in `fit`, one that is an attribute of the model) applies the
        gradients, or where `train_step` changes them before. Call it before they are
        applied.

        Args:
            gradients: A gradient per variable; `None` where there is none.
            variables: The variables.
            loss: The loss of the batch, if it is not that of `compute_loss`.

        Raises:
            RuntimeError: If it is called outside of a `fit` or loop with this logger.
        """
        inside = [one for one in self._listeners if one.listens]
        if inside:
            inside[0].record(gradients, variables, loss)
        elif self._loop is not None or (self._fitted is None and self.model):
            self._loop_of(self._watched or (self.model,)).record(
                gradients, variables, loss
            )
        else:
            raise RuntimeError(OUTSIDE)

    @property
    def log(self) -> GradientLog:
        """What was logged so far, also while `fit` runs or after it was interrupted.

        Raises:
            RuntimeError: If no step was logged yet.
        """
        if not any(writer.steps for writer in self._writers):
            raise RuntimeError(
                "No training step was logged yet. Call "
                "`model.fit(..., callbacks=[logger])` first, or train in "
                "`with logger.watch(model):`."
            )
        self._collect()
        return self._log_of(*self._store.frames())

    # --- What Keras calls ------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        if self._fitted is None:
            self._begin(self.model)
        elif self._fitted is not self.model or self._loop is not None:
            raise RuntimeError(
                "A `GradientLogger` logs one model. "
                f"Received: model {self.model.name!r} after {self._fitted.name!r}. "
                "Make a new logger."
            )
        self._fitting.begin()
        self._scalars.keep_off_the_progress_bar(self.model)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._fitting.collect()
        self._epochs.append([epoch, self._writer.steps])
        self._scalars.epoch.clear()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._fitting.collect()
        if logs is not None:
            logs.update(self._scalars.of(self._scalars.epoch, self._writer.places))

    def on_train_end(self, logs: Any = None) -> None:
        self._fitting.end()
        self._fitting.collect()
        self._store.flush(self._log_of)

    def _hand(self, every: int, batch: int, logs: Any = None) -> None:
        """Puts the scalars of the steps since the last time into the `logs`."""
        if (batch + 1) % every or logs is None:
            return
        self._fitting.collect()
        logs.update(self._scalars.of(self._scalars.batch, self._writer.places))
        self._scalars.batch.clear()

    @property
    def _writers(self) -> list[Writer]:
        return [listener.writer for listener in self._listeners]

    @property
    def _writer(self) -> Writer:
        return self._listeners[0].writer

    def _begin(self, model: keras.Model) -> None:
        _check_model(model, self._kinds)
        listener = self._listen(model)
        self._fitting = Fitting(
            model,
            listener.train_step,
            self._collect,
            lambda: self._writer.room,
            lambda steps: self._alerts.after(steps, lambda: self.log, model),
        )
        self._fitted = model

    def _loop_of(self, models: tuple[keras.Model, ...]) -> OwnLoop:
        """What listens to a loop over these models, from the first time on."""
        if self._loop is None and self._fitted is None:
            _check_watched(models, self._kinds)
            model = models[0] if len(models) == 1 else Several(models)
            self._loop = OwnLoop(
                model, lambda network: self._listen(model, network), self._collect
            )
            self._fitted, self._watched = model, models
        elif self._loop is None or list(map(id, models)) != list(
            map(id, self._watched)
        ):
            raise RuntimeError(
                "A `GradientLogger` logs one fit, or one loop over the same models. "
                "Received: another one. Make a new logger."
            )
        return self._loop

    def _listen(self, model: keras.Model, network: str | None = None) -> Listener:
        """One more listener; of several networks, nobody knows the loss."""
        writer = Writer(
            model,
            every=self._every,
            updates=self._updates,
            always=self._kinds != KINDS[:1],
        )
        is_logged = _layer_filter(self._layers, model)
        listener = Listener(model, writer, self._kinds, is_logged, network)
        self._listeners.append(listener)
        if len(self._listeners) == 1:
            self._described = model
            if all(layer.built for layer in model._flatten_layers()):
                self._facts = outside(lambda: model_facts(model))
        if len(self._listeners) > 1:
            self._store.forget_losses()
        return listener

    def _collect(self) -> None:
        """Fetches what the training steps have left for the host."""
        with self._lock:
            for writer in self._writers:
                if writer.has_news:
                    self._take(writer.fetch())

    def _take(self, news: News) -> None:
        if not self._facts:  # its first batch has built the model
            self._facts = model_facts(self._described)
        self._scalars.add(news)
        if len(self._listeners) > 1:
            news = news._replace(losses=None)
        self._store.add(news)
        if self._store.is_full:
            self._store.flush(self._log_of)

    def _log_of(self, losses: pd.DataFrame, layers: pd.DataFrame) -> GradientLog:
        runs = self._run_row(losses, layers)
        return GradientLog(runs, losses, layers, self._metadata())

    def _run_row(self, losses: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
        """A fit as a run, of any model and any data."""
        weights = layers.loc[layers["kind"] == KINDS[0], "layer"]
        optimizers = list(dict(self._optimizers()).values())
        last = losses["loss"].to_numpy()[-1:]
        return run_table(
            depth=weights.nunique(),
            optimizer="+".join(map(_name, optimizers)),
            learning_rate=_rate(*optimizers[:1]),
            steps=max(writer.steps for writer in self._writers),
            dtype=policy_name(self._fitted),
            outcome="" if np.isfinite(last).all() else "diverges",
        )

    def _optimizers(self) -> Iterator[tuple[int, keras.optimizers.Optimizer]]:
        for listener in self._listeners:
            yield from listener.optimizers.items()

    def _metadata(self) -> dict[str, Any]:
        """What no table says."""
        return {
            "origin": "measured by vgkeras.GradientLogger in "
            f"{'a loop' if self._loop else 'model.fit'}",
            "versions": versions(),
            "model": self._fitted.name,
            "every": self._every,
            "epochs": self._epochs,
            "frozen_layers": _frozen(self._fitted),
            "facts": self._facts,
        }


def _check_layers(layers: Any) -> Any:
    """Returns names as a set, a function or `None` as it is, or raises."""
    if layers is None or callable(layers):
        return layers
    return set(check_each("layers", layers, _check_text))


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"`{name}` must be names of layers, or a function of a layer. "
            f"Received: {name}={value!r}."
        )
    return value


def _layer_filter(layers: Any, model: keras.Model) -> Callable[[Any], bool]:
    """Whether to log a layer; `None` owns the variables of no layer."""
    if layers is None:
        return lambda layer: True
    if callable(layers):
        return lambda layer: layer is not None and bool(layers(layer))
    parts = {
        layer.name: list(map(id, layer._flatten_layers()))
        for layer in model._flatten_layers(include_self=False)
        if not isinstance(layer, keras.layers.InputLayer)
    }
    if unknown := sorted(layers - set(parts)):
        raise ValueError(
            f"`layers` must name layers of {model.name!r}: {', '.join(parts)}. "
            f"Received: {', '.join(unknown)}."
        )
    logged = {number for name in layers for number in parts[name]}
    return lambda layer: id(layer) in logged


def _check_model(model: keras.Model, kinds: tuple[str, ...]) -> None:
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            "`keras.backend.backend()` must be 'tensorflow'. "
            f"Received: {keras.backend.backend()!r}."
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1 and kinds != KINDS[:1]:
        raise RuntimeError(
            f"`kinds` must be ('{KINDS[0]}',) where replicas share a batch. "
            f"Received: kinds={kinds!r} with {replicas} replicas."
        )


def _check_watched(models: tuple[Any, ...], kinds: tuple[str, ...]) -> None:
    if not models or not all(isinstance(model, keras.Model) for model in models):
        raise TypeError(
            f"`models` must be one or more Keras models. Received: models={models!r}."
        )
    if kinds != KINDS[:1]:
        raise RuntimeError(
            f"`kinds` must be ('{KINDS[0]}',) where a loop is watched. "
            f"Received: kinds={kinds!r}. `vgkeras.gradient_norms` measures the others."
        )
    _check_model(models[0], kinds)


def _name(optimizer: keras.optimizers.Optimizer) -> str:
    inner = getattr(optimizer, "inner_optimizer", None)
    own = type(optimizer).__name__.lower()
    return own if inner is None else f"{own}({_name(inner)})"


def _rate(first: keras.optimizers.Optimizer | None = None) -> float:
    if first is None:
        return np.nan
    return float(keras.ops.convert_to_numpy(first.learning_rate))  # maybe mirrored


def _frozen(model: keras.Model) -> list[str]:
    """Layers that are not trained, whose gradients therefore nobody computes."""
    layers = measured_layers(model)
    return [la.path for la in layers if la.weights and not la.trainable]
