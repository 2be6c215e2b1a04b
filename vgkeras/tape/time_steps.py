"""What enters a recurrent layer and what it hands on, at every time step.

Keras runs the steps of a layer in a loop, and what is inside a loop belongs to no tape.
So zeros are added to the states, one for each step: they enter the loop as part of the
inputs, and the gradient by the zero of a step is that by the state it is added to. All
numbers stay as they are.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vgkeras.logs import BACKWARDS, TIME_KINDS
from vgkeras.tape.calls import replaced
from vgkeras.tape.models import recurrent_layers, unrolled

_STATE, _INPUT = TIME_KINDS
# Cells that make nothing else of a state, but for an LSTM's `c`, which leaves one of
# these methods on its way to `h`.
_KNOWN = (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell)
_CARRIES = ("_compute_carry_and_output", "_compute_carry_and_output_fused")


class TimeSteps(NamedTuple):
    """One state of a layer, or its input, at all time steps.

    A tape's gradient by `source` is that by the state or the input: of a tensor of
    shape `(samples, steps, ...)`, or of one of each step where `source` is a list.
    """

    layer: keras.layers.RNN
    name: str
    kind: str
    source: Any


def anchor() -> tf.Variable:
    """Returns a variable for `time_steps`; of no layer, and of no gradient but 0.

    Tapes watch trained variables by themselves. Zeros that are made from one are
    watched with it.
    """
    return tf.Variable(0.0, trainable=True)


@contextlib.contextmanager
def time_steps(
    model: keras.Model, watched: tf.Variable, see: Callable[[TimeSteps], None]
) -> Iterator[None]:
    """Hands `see` the states and the input of each recurrent layer that is called.

    Args:
        model: Any Keras model.
        watched: What `anchor` returns, made outside of any graph.
        see: Is called once for each state and input, before the layer's loop runs,
            or after it where the loop had to be unrolled.
    """
    with contextlib.ExitStack() as stack:
        for layer in recurrent_layers(model):
            other = partial(_inner_loop, layer, watched, see)
            stack.enter_context(replaced(layer, "inner_loop", other))
        yield


def _inner_loop(
    layer: Any,
    watched: tf.Variable,
    see: Callable[[TimeSteps], None],
    own: Callable,
    sequences: tf.Tensor,
    initial_state: Any,
    mask: Any = None,
    training: Any = False,
) -> Any:
    """Runs a layer's own loop over inputs and zeros that a tape has on record."""
    own = partial(own, initial_state=initial_state, mask=mask, training=training)
    sequences = _on_record(sequences, watched)
    see(TimeSteps(layer, "x", _INPUT, sequences))
    way = f" {BACKWARDS}" if layer.go_backwards else ""
    states = len(keras.tree.flatten(initial_state))
    names = [name + way for name in _state_names(layer.cell, states)]
    with _without_cudnn(layer):
        if _reads_its_state(layer.cell, sequences[:, 0], initial_state):
            return _unrolled(layer, names, see, own, sequences)
        zeros = []
        for name, state in zip(names, keras.tree.flatten(initial_state), strict=True):
            zeros.append(_on_record(_zeros(sequences, state), watched))
            see(TimeSteps(layer, name, _STATE, zeros[-1]))
        joined = tf.concat([_flat(t) for t in (sequences, *zeros)], axis=2)
        shapes = [tensor.shape[2:] for tensor in (sequences, *zeros)]
        with _cell_with_zeros(layer.cell, shapes):
            return own(joined)


def _unrolled(
    layer: Any, names: list[str], see: Callable, own: Callable, sequences: tf.Tensor
) -> Any:
    """Runs the loop step by step, so that the states themselves are on record.

    For a cell that makes something else of its new state, where no zero can be added.
    """
    states: list[list[tf.Tensor]] = []

    def call(own: Callable, *args: Any, **more: Any) -> Any:
        output, new = own(*args, **more)
        states.append(keras.tree.flatten(new))
        return output, new

    with unrolled([layer]), replaced(layer.cell, "call", call):
        result = own(sequences)
    order = states[::-1] if layer.go_backwards else states
    for name, source in zip(names, zip(*order, strict=True), strict=True):
        see(TimeSteps(layer, name, _STATE, list(source)))
    return result


@contextlib.contextmanager
def _cell_with_zeros(cell: Any, shapes: list[tf.TensorShape]) -> Iterator[None]:
    """Takes a step's zeros from its inputs, and adds them to the new states."""
    sizes = [shape.num_elements() for shape in shapes]
    waiting: list[tf.Tensor] = []
    early: list[tf.Tensor] = []  # states that have their zero already

    def split(own: Callable, inputs: tf.Tensor, *args: Any, **more: Any) -> Any:
        parts = tf.split(inputs, sizes, axis=1)
        inputs, *waiting[:] = [
            part if shape.rank == 1 else tf.reshape(part, [-1, *shape])
            for part, shape in zip(parts, shapes, strict=True)
        ]
        return own(inputs, *args, **more)

    def add(own: Callable, *args: Any, **more: Any) -> Any:
        early.clear()
        output, new = own(*args, **more)
        old = keras.tree.flatten(new)
        moved = [
            state if any(state is one for one in early) else _moved(state, zero)
            for state, zero in zip(old, waiting, strict=False)
        ]
        del waiting[: len(old)]
        pairs = zip(old, moved, strict=True)
        output = next((state for before, state in pairs if before is output), output)
        return output, keras.tree.pack_sequence_as(new, moved)

    def carry(own: Callable, *args: Any) -> Any:
        cell_state, gate = own(*args)  # the state that h is made of, in an LSTM
        early.append(_moved(cell_state, waiting[1]))
        return early[-1], gate

    with contextlib.ExitStack() as stack:
        for leaf in dict.fromkeys(_leaves(cell)):  # one may be used twice
            stack.enter_context(replaced(leaf, "call", add))
            for name in _CARRIES if _is_lstm(leaf) else ():
                stack.enter_context(replaced(leaf, name, carry))
        stack.enter_context(replaced(cell, "call", split))
        yield


def _moved(state: tf.Tensor, zero: tf.Tensor) -> tf.Tensor:
    """The sum of both, of one shape: back through `+` shapes would be compared."""
    return tf.add_n([state, tf.cast(zero, state.dtype)])


def _reads_its_state(cell: Any, inputs: tf.Tensor, states: Any) -> bool:
    """Whether a cell makes anything else of a state that it has just computed.

    Then a zero that is added to what it hands on does not reach the loss in all ways.
    The cell is traced to find out, and not run.
    """
    leaves = _leaves(cell)
    if all(type(leaf) in _KNOWN for leaf in leaves):
        return False
    answers = []

    def call(own: Callable, *args: Any, **more: Any) -> Any:
        output, new = own(*args, **more)
        answers.append(_are_connected([output, *keras.tree.flatten(new)]))
        return output, new

    with contextlib.ExitStack() as stack:
        for leaf in dict.fromkeys(leaves):
            stack.enter_context(replaced(leaf, "call", call))
        stack.enter_context(tf.__internal__.FuncGraph("not_run").as_default())
        cell(inputs, states)
    return any(answers)


def _are_connected(tensors: list[tf.Tensor]) -> bool:
    """Whether one of some symbolic tensors, the output first, is made of a state."""
    rest, seen = [tensor for tensor in tensors], set()
    states = {id(state.op) for state in tensors[1:]}
    while rest:
        for source in rest.pop().op.inputs:
            if id(source.op) in states:
                return True
            if id(source) not in seen:
                seen.add(id(source))
                rest.append(source)
    return False


def _leaves(cell: Any) -> list[Any]:
    """The cells that hold a state, in the order in which they are called."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [leaf for part in cell.cells for leaf in _leaves(part)]
    return [cell]


def _is_lstm(cell: Any) -> bool:
    return isinstance(cell, keras.layers.LSTMCell)


def _state_names(cell: Any, states: int) -> list[str]:
    """What the states are called: `h` for one, `h` and `c` of an LSTM."""
    leaves = _leaves(cell)
    names = []
    for number, leaf in enumerate(leaves):
        sizes = leaf.state_size
        count = len(sizes) if isinstance(sizes, list | tuple) else 1
        if len(leaves) == 1:
            count = states  # Keras' own cell of a ConvLSTM says that it has one
        own = [f"state_{number}" for number in range(1, count + 1)]
        if count == 1:
            own = ["h"]
        elif count == 2 and (_is_lstm(leaf) or type(leaf).__name__ == "ConvLSTMCell"):
            own = ["h", "c"]
        again = leaves[:number].count(leaf)  # a cell may stand in several places
        path = f"{leaf.name}/{again + 1}" if again else leaf.name
        names += own if len(leaves) == 1 else [f"{path}/{name}" for name in own]
    return names


@tf.custom_gradient
def _on_record(tensor: tf.Tensor, watched: tf.Tensor) -> Any:
    """The tensor as it is, on the record of every tape that watches the variable."""

    def back(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return gradient, tf.zeros_like(watched)

    return tf.identity(tensor), back


def _zeros(sequences: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
    """A zero for each entry of the state at each time step."""
    zeros = tf.zeros(
        tf.concat([tf.shape(sequences)[:2], state.shape[1:]], axis=0), sequences.dtype
    )
    zeros.set_shape([*sequences.shape[:2], *state.shape[1:]])
    return zeros


def _flat(tensor: tf.Tensor) -> tf.Tensor:
    """Samples, steps, and all the rest in one axis."""
    if tensor.shape.rank == 3:
        return tensor
    size = tensor.shape[2:].num_elements()
    flat = tf.reshape(tensor, tf.concat([tf.shape(tensor)[:2], [size]], axis=0))
    flat.set_shape([*tensor.shape[:2], size])
    return flat


@contextlib.contextmanager
def _without_cudnn(layer: Any) -> Iterator[None]:
    """Keeps a layer from a kernel that runs the whole loop, on a graphics processor."""
    if not hasattr(layer, "use_cudnn"):
        yield
        return
    before, layer.use_cudnn = layer.use_cudnn, False
    try:
        yield
    finally:
        layer.use_cudnn = before
