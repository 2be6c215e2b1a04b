"""Tensors of a graph to be read, so that who reads them does not change the graph.

TensorFlow rewrites a graph before it runs it: `rate * (sum * scale)` becomes
`(rate * sum) * scale` where that is cheaper, which rounds otherwise. It does so only if
nothing else reads what lies between, so that to read a gradient would change the last
bits of the weights. What is read here is therefore a copy: cheap operations are made
twice, down to one that no such rewriting takes apart. Products are reordered with
products, sums with sums and with the products that they add up (whose common factor is
taken out), but no product with the sums that it multiplies: these need no copy.

No copy guards against what TensorFlow does to save memory. Where it estimates that a
step takes more than 0.8 of a device's memory (of a CPU it believes in 256 MiB), it adds
up three terms and more one by one if they are there at the worst moment (TensorFlow
2.21, `grappler/optimizers/memory_optimizer.cc`). So what is read must not stay alive:
an update that waited for its reader changed the last bits of ResNet152.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vgkeras.callbacks.intercept import graphs

_SUMS = frozenset(["Add", "AddN", "AddV2", "Sub"])
_PRODUCTS = frozenset(["Mul", "RealDiv", "DivNoNan", "Square"])
_SEEN_THROUGH = frozenset(
    [
        *("Neg", "Cast", "Identity", "StopGradient", "BroadcastTo", "Tile"),
        *("ExpandDims", "Reshape", "Squeeze", "Transpose"),
    ]
)
_CHEAP = _SUMS | _PRODUCTS | _SEEN_THROUGH
_MARK = "_vgkeras"  # without it, two equal operations would be made one again


def apart(tensors: Sequence[Any]) -> list[Any]:
    """Returns tensors of the same values, which may be read without consequence.

    Those of eager mode are returned as they are. `None` stays `None`.
    """
    copies: dict[Any, tf.Operation] = {}
    return [_copy(tensor, copies) for tensor in tensors]


def _copy(
    tensor: Any, copies: dict[Any, tf.Operation], in_product: bool = False
) -> Any:
    if isinstance(tensor, tf.IndexedSlices):
        parts = [tensor.values, tensor.indices]
        values, indices = (_copy(part, copies) for part in parts)
        return tf.IndexedSlices(values, indices, tensor.dense_shape)
    if not tf.is_symbolic_tensor(tensor) or tensor.op.type not in _CHEAP:
        return tensor
    if in_product and tensor.op.type in _SUMS:
        return tensor
    if all(graph is not tensor.op.graph for graph in graphs()):  # not to be read here
        return tensor
    if tensor.op not in copies:
        copies[tensor.op] = _copied(tensor.op, copies, in_product)
    return copies[tensor.op].outputs[tensor.value_index]


def _copied(
    op: tf.Operation, copies: dict[Any, tf.Operation], in_product: bool
) -> tf.Operation:
    in_product |= op.type in _PRODUCTS
    inputs = [_copy(tensor, copies, in_product) for tensor in op.inputs]
    attributes = dict(op.node_def.attr)
    mark = tf.compat.v1.AttrValue(b=True)
    with tf.control_dependencies(op.control_inputs):
        return tf.compat.v1.get_default_graph().create_op(
            op.type,
            inputs,
            [output.dtype for output in op.outputs],
            attrs={**attributes, _MARK: mark},
            name=f"{op.name.rpartition('/')[2]}_apart",
        )
