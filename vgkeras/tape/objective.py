"""What a model is trained to lower: a loss on a batch of data, as `fit` sees it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vgkeras.tape.losses import total_loss, total_of
from vgkeras.tape.models import as_tensors, build_model, check_model


class Batch(NamedTuple):
    """Inputs, targets and sample weights as tensors, each in its structure."""

    x: Any
    y: Any = None
    sample_weight: Any = None


LossByOutputs = Callable[[Batch, Any], tf.Tensor]


@dataclass(frozen=True)
class Objective:
    """A model's loss on a batch.

    Args:
        model: The model.
        batch: The data.
        by_outputs: The loss as a function `(batch, y_pred)`; `None` if the model has
            no other than those that it adds itself.
        adds: Whether regularizers and what `add_loss` was given are added to it.
    """

    model: keras.Model
    batch: Batch
    by_outputs: LossByOutputs | None
    adds: bool = True

    def outputs(self, *, training: bool = True) -> Any:
        """The outputs of the model, as in training."""
        if self.model._call_has_training_arg:
            return self.model(self.batch.x, training=training)
        return self.model(self.batch.x)

    def added(self) -> list[tf.Tensor]:
        """What the model's last call adds to the loss of its outputs, scalars."""
        return [tf.reduce_sum(part) for part in self.model.losses if self.adds]

    def loss(self, y_pred: Any) -> tf.Tensor:
        """The loss of outputs that the model has just put out, a scalar."""
        parts = [] if self.by_outputs is None else [self.by_outputs(self.batch, y_pred)]
        parts += self.added()
        if not parts:
            raise _missing_loss(self.model)
        return total_of(parts)

    def zero_loss(self) -> float:
        """The loss of answering 0 to everything; NaN if it has none."""
        outputs = self.model(self.batch.x)
        value = float(self.loss(keras.tree.map_structure(tf.zeros_like, outputs)))
        return value if value >= 0 else math.nan


def objective_of(
    model: Any, x: Any, y: Any = None, *, loss: Any = None, sample_weight: Any = None
) -> Objective:
    """Checks a model, its data and its loss, and puts them together.

    Args:
        model: Any Keras model. One that was never called is built.
        x: Inputs, batch first: an array or tensor, or a list or dict of them. Without
            `y` also a batch `(x, y)` or `(x, y, sample_weight)`, or a `tf.data.Dataset`
            or `keras.utils.PyDataset`, whose first batch is taken.
        y: Targets, in the structure of the model's outputs.
        loss: A Keras loss, its name, a callable `(y, y_pred)`, or one for each output.
            Default: that of `compile()`, with its weights, or of `compute_loss`.
        sample_weight: Weights of the samples, as in `fit`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If there is no loss, or data are missing or do not match.
    """
    check_model(model)
    by_outputs, adds = _loss_by_outputs(model, loss)
    batch = _as_batch(x, y, sample_weight)
    _check_batch(batch, targets=by_outputs is not None and adds)
    _check_inputs(model, keras.tree.flatten(batch.x))
    build_model(model, batch.x)
    return Objective(model, batch, by_outputs, adds)


def _loss_by_outputs(model: keras.Model, loss: Any) -> tuple[Callable | None, bool]:
    """The loss of given outputs, and whether what the model adds is no part of it."""
    if loss is not None:
        total = total_loss(loss)
        return lambda batch, y_pred: total(batch.y, y_pred, batch.sample_weight), True
    if not model.compiled:
        raise _missing_loss(model)
    if type(model).compute_loss is not keras.Model.compute_loss:
        return lambda batch, y_pred: _own_loss(model, batch, y_pred), False
    return loss_of_compile(model), True


def loss_of_compile(model: keras.Model) -> LossByOutputs | None:
    """The loss that `compile()` gave a model, without side effects; else `None`."""
    has_own = type(model).compute_loss is not keras.Model.compute_loss
    compiled = getattr(model, "_compile_loss", None)
    if compiled is None or has_own:
        return None
    # A copy: the model's own counts, and takes the structure of the first data it sees.
    copy = type(compiled)(
        compiled._user_loss,
        compiled._user_loss_weights,
        compiled.reduction,
        compiled.output_names,
    )
    copy._dtype = "float64"  # of the value alone, which is not to be rounded
    return lambda batch, y_pred: copy(batch.y, y_pred, batch.sample_weight)


def gradients_by_outputs(
    loss: LossByOutputs, batch: Batch, y_pred: Any
) -> dict[int, tf.Tensor | None]:
    """The gradients by outputs, by `id`, also where a loss has gone around them.

    Keras' crossentropies take the logits of a last softmax or sigmoid, so that its
    output is no part of the loss that is computed. A copy of it has no logits.
    """
    outputs = keras.tree.flatten(y_pred)
    copies = [tf.identity(output) for output in outputs]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        value = loss(batch, keras.tree.pack_sequence_as(y_pred, copies))
    gradients = tape.gradient(value, copies)
    return {id(o): g for o, g in zip(outputs, gradients, strict=True)}


def _own_loss(model: keras.Model, batch: Batch, y_pred: Any) -> tf.Tensor:
    """What a model's own `compute_loss` says."""
    x, y, weight = batch
    loss = model._compute_loss(
        x=x, y=y, y_pred=y_pred, sample_weight=weight, training=True
    )
    return tf.convert_to_tensor(loss)


def _missing_loss(model: keras.Model) -> ValueError:
    return ValueError(
        "`loss` must be given with a model that `compile()` gave none. Received: "
        f"loss=None with the model {model.name!r}. Pass it, as in `loss='mse'`, or "
        "compile the model with it."
    )


def _as_batch(x: Any, y: Any, sample_weight: Any) -> Batch:
    if isinstance(x, tf.data.Dataset):
        x = next(iter(x.take(1)))
    elif isinstance(x, keras.utils.PyDataset):
        x = x[0]
    if isinstance(x, tuple) and y is None:
        x, y, own = keras.utils.unpack_x_y_sample_weight(x)
        sample_weight = own if sample_weight is None else sample_weight
    given = Batch(x, y, sample_weight)._asdict()
    return Batch(*(_as_tensors(name, values) for name, values in given.items()))


def _as_tensors(name: str, values: Any) -> Any:
    is_row = isinstance(values, list | tuple)
    if is_row and any(isinstance(v, int | float) for v in keras.tree.flatten(values)):
        received = f"a {type(values).__name__} of numbers"
    else:
        try:
            return as_tensors(values)
        except (TypeError, ValueError) as error:
            received = str(error).splitlines()[0]
    raise ValueError(
        f"`{name}` must hold arrays or tensors of numbers. Received: {received}. "
        f"Make one of it, as in `numpy.asarray({name})`."
    )


def _check_batch(batch: Batch, *, targets: bool) -> None:
    needed = {"x": batch.x, "y": batch.y} if targets else {"x": batch.x}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise ValueError(
            "`x` and `y` must be given with a model: its gradients depend on them. "
            f"Received: a model without {' and '.join(missing)}."
        )
    for name, value in batch._asdict().items():
        for tensor in keras.tree.flatten(value):
            _check_count(batch.x, name, tensor)


def _check_inputs(model: keras.Model, given: list[Any]) -> None:
    """Compares the input with the one that a functional model was built for.

    Of several, which is which may be said by names.
    """
    wanted = getattr(model, "inputs", None) or []
    for tensor in given:
        if 0 in tensor.shape.as_list():
            raise _other_input("at least one sample", tensor)
    if len(wanted) != 1 or len(given) != 1:
        return
    (tensor,), (spec,) = given, wanted
    other = _other_input(f"{spec.dtype} of shape {(None, *spec.shape[1:])}", tensor)
    if tensor.dtype == tf.string and spec.dtype != "string":
        raise other
    if len(tensor.shape) == len(spec.shape) and tensor.shape[-1:] == spec.shape[-1:]:
        return
    try:  # Keras takes more: it adds an axis, or lets a layer work on a longer one
        model.compute_output_spec(keras.KerasTensor(tensor.shape, tensor.dtype.name))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise other from error


def _other_input(wanted: str, tensor: Any) -> ValueError:
    return ValueError(
        f"`x` must hold what the model takes, {wanted}. "
        f"Received: {tensor.dtype.name} of shape {tuple(tensor.shape)}."
    )


def _check_count(x: Any, name: str, tensor: Any) -> None:
    first = keras.tree.flatten(x)[0]
    if tensor is None or 0 in (tensor.shape.rank, first.shape.rank):
        return
    if tensor.shape[0] != first.shape[0]:
        raise ValueError(
            f"`x` and `{name}` must have the same number of samples. "
            f"Received: x.shape={tuple(first.shape)}, "
            f"{name}.shape={tuple(tensor.shape)}."
        )
