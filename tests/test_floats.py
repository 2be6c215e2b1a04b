"""The depths at which number formats fail: exact fractions, TensorFlow and Keras."""

import math
from fractions import Fraction

import hand_backprop
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal

import vgkeras as vg
from vgkeras import batch, floats
from vgkeras.stacks import initial_kernels
from vgkeras.tape import check_loss, tape_pass

SCALES = (0.3, 0.5, 0.9, 1.1, 1.5, 2.0)
DTYPES = ("float16", "bfloat16", "float32", "float64")
# binary digits and the exponents of the smallest and largest power of two, IEEE 754
TABLE = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
KINDS = ("activation", "activation_gradient", "weight_gradient")
GRID = [(dtype, scale) for dtype in DTYPES for scale in SCALES]


class Exact:
    """A format's arithmetic on fractions; infinity is `None`."""

    def __init__(self, dtype, flush):
        self.steps = [TABLE[dtype]]  # half-precision results are float32 ones first
        if dtype in ("float16", "bfloat16"):
            self.steps.insert(0, TABLE["float32"])
        self.flush = flush

    def rounded(self, value):
        for digits, lowest, highest in self.steps:
            if value is None or value == 0:
                return value
            if self.flush and abs(value) < Fraction(2) ** lowest:
                return Fraction(0)
            exponent = max(floor_log2(abs(value)), lowest)
            unit = Fraction(2) ** (exponent - digits + 1)
            value = round(value / unit) * unit  # half to even
            if abs(value) >= Fraction(2) ** (highest + 1):
                return None
        return value

    def times(self, a, b):
        return None if a is None or b is None else self.rounded(a * b)

    def minus(self, a, b):
        return None if a is None or b is None else self.rounded(a - b)


def floor_log2(value):
    """The exponent of the power of two at or below a positive fraction."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if Fraction(2) ** guess <= value else guess - 1


def exact_failures(dtype, scale, depth, rate, flush):
    """What fails in a stack of one unit with one sample, `x = y = 1`."""
    do = Exact(dtype, flush)
    factor, rate = do.rounded(Fraction(scale)), do.rounded(Fraction(float(rate)))
    signals = [Fraction(1)]
    for _ in range(depth):
        signals.append(do.times(signals[-1], factor))
    error = do.minus(signals[-1], Fraction(1))
    last = first = do.times(Fraction(2), error)
    for _ in range(depth - 1):
        first = do.times(first, factor)
    gradients = [do.times(signals[0], first), do.times(signals[-2], last)]
    updates = [do.times(rate, gradient) for gradient in gradients]
    seen = {
        "activation": [signals[-1]],
        "activation_gradient": [first, last],
        "weight_gradient": gradients,
        "update": updates,
        "loss": [do.times(error, error)],
    }
    smallest = Fraction(2) ** TABLE[dtype][1]
    failures = {(name, state(v, smallest)) for name, vs in seen.items() for v in vs}
    squares = [state(do.times(g, g), smallest) for g in gradients]
    failures |= {("gradient_norm", s) for s in squares if s != "subnormal"}
    if all(do.minus(factor, update) == factor for update in updates):
        failures.add(("update", "frozen"))
    if error == -1:
        failures.add(("loss", "blind"))
    return failures


def state(value, smallest):
    if value is None:
        return "inf"
    if value == 0:
        return "zero"
    return "subnormal" if abs(value) < smallest else "normal"


def boundaries(found, deepest=math.inf):
    """The failures found as `(quantity, mode, depth)`."""
    return [row for row in found.rows if row.depth and row.depth <= deepest]


@pytest.mark.parametrize("dtype", DTYPES)
def test_formats_are_those_of_the_standard(dtype):
    digits, lowest, highest = TABLE[dtype]

    found = floats.number_format(dtype)

    assert found.digits == digits
    assert found.epsilon == 2.0 ** (1 - digits)
    assert found.smallest_normal == 2.0**lowest
    assert found.smallest_subnormal == 2.0 ** (lowest - digits + 1)
    assert found.largest == (2 - 2.0 ** (1 - digits)) * 2.0**highest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["eager", "graph", "xla"])
def test_tensorflow_flushes_the_formats_said_to_flush(dtype, way):
    _, lowest, _ = TABLE[dtype]
    halved = {
        "eager": lambda v: v * tf.constant(0.5, dtype),
        "graph": tf.function(lambda v: v * tf.constant(0.5, dtype)),
        "xla": tf.function(lambda v: v * tf.constant(0.5, dtype), jit_compile=True),
    }[way]

    half = halved(tf.constant(2.0**lowest, dtype))

    bits = tf.bitcast(half, {2: tf.int16, 4: tf.int32, 8: tf.int64}[half.dtype.size])
    assert (int(bits) == 0) == floats.number_format(dtype).flushes


@pytest.mark.parametrize("flush", [None, False, True])
@pytest.mark.parametrize(("dtype", "scale"), GRID)
def test_every_depth_is_that_of_exact_fractions(dtype, scale, flush):
    one, deepest = [[1.0]], 300
    rate = np.float32(0.1)

    found = floats.limits(
        scale,
        dtype,
        learning_rate=0.1,
        x=one,
        y=one,
        deepest=deepest,
        flush_to_zero=flush,
    )

    flushes = dtype != "float16" if flush is None else flush
    exact = {
        depth: exact_failures(dtype, scale, depth, rate, flushes)
        for row in found.rows
        for depth in ([row.depth - 1, row.depth] if row.depth else [deepest])
        if depth
    }
    for quantity, mode, depth in found.rows:
        if depth is None:
            assert (quantity, mode) not in exact.get(deepest, ())
        else:
            assert (quantity, mode) in exact[depth]
            assert depth == 1 or (quantity, mode) not in exact[depth - 1]
