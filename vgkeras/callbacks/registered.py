"""What TensorFlow would keep of the graph of a step for good."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework import ops

_REGISTERED_AS = "_gradient_op_type"


@contextlib.contextmanager
def forgotten(graph: tf.Graph | None) -> Iterator[None]:
    """Forgets the gradients of operations of their own that are made inside.

    Keras adds gradients up over replicas by such an operation. TensorFlow registers
    its gradient by name, for good, and with it the whole graph: of a small ResNet 2 MB
    a fit, with what is logged 11 MB. Nobody differentiates an update.
    """
    before = 0 if graph is None else len(graph.get_operations())
    yield
    made = [] if graph is None else graph.get_operations()[before:]
    for operation in made:
        if operation.type == "IdentityN" and _REGISTERED_AS in operation.node_def.attr:
            name = operation.get_attr(_REGISTERED_AS).decode()
            ops.gradient_registry._registry.pop(name, None)
