"""The depths at which number formats fail: exact fractions, TensorFlow and Keras."""

import functools
import math
from fractions import Fraction

import hand_backprop
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal

import vgkeras as vg
from vgkeras import floats
from vgkeras.stacks import initial_kernels
from vgkeras.tape import objective_of, tape_pass

SCALES = (0.3, 0.5, 0.9, 1.1, 1.5, 2.0)
DTYPES = ("float16", "bfloat16", "float32", "float64")
# the formats that most stacks are trained in; every run compiles for seconds
COMMON_FIRST = [
    "float32",
    pytest.param("float16", marks=pytest.mark.slow),
    pytest.param("bfloat16", marks=pytest.mark.slow),
    pytest.param("float64", marks=pytest.mark.slow),
]
# binary digits and the exponents of the smallest and largest power of two, IEEE 754
TABLE = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
KINDS = ("activation", "activation_gradient", "weight_gradient")
MEASURED = {("update", "frozen"), ("loss", "inf")}  # in a sweep, beside `KINDS`
SEEN_IN_KERAS = {
    *MEASURED,
    ("loss", "blind"),
    ("gradient_norm", "zero"),
    ("gradient_norm", "inf"),
}
CLAIMS = {
    "Every update on the diagonal is rounded away.": ("update", "frozen"),
    "The output is rounded away next to the target, so that the loss does not depend "
    "on it.": ("loss", "blind"),
}
SUBJECTS = {
    "The output ": "activation",
    "An activation gradient ": "activation_gradient",
    "A weight gradient ": "weight_gradient",
    "`tf.norm` of a weight gradient, which squares first, ": "gradient_norm",
    "An update ": "update",
    "The loss ": "loss",
}
ENDINGS = {
    "is subnormal and loses its digits.": "subnormal",
    "is exactly 0.": "zero",
    "overflows.": "inf",
}
FLUSHING = DTYPES[1:]
GRID = [(dtype, scale) for dtype in DTYPES for scale in (*SCALES, -0.5, -0.9)]


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
            if self.flush and abs(value) < power_of_two(lowest):
                return Fraction(0)
            exponent = max(floor_log2(abs(value)), lowest)
            unit = power_of_two(exponent - digits + 1)
            value = round(value / unit) * unit  # half to even
            if abs(value) >= power_of_two(highest + 1):
                return None
        return value

    def times(self, a, b):
        return None if a is None or b is None else self.rounded(a * b)

    def minus(self, a, b):
        return None if a is None or b is None else self.rounded(a - b)


@functools.cache
def power_of_two(exponent):
    return Fraction(2) ** exponent


def floor_log2(value):
    """The exponent of the power of two at or below a positive fraction."""
    guess = value.numerator.bit_length() - value.denominator.bit_length()
    return guess if power_of_two(guess) <= value else guess - 1


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
    tensors = {
        "activation": [signals[-1]],
        "activation_gradient": [first, last],
        "weight_gradient": gradients,
        "update": updates,
        "loss": [do.times(error, error)],
    }
    smallest = power_of_two(TABLE[dtype][1])
    failures = {(name, state(v, smallest)) for name, vs in tensors.items() for v in vs}
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


def sweep_error(scale, dtype, *, shallowest=2, deepest=152, **arguments):
    """Predicted minus measured depth, for each failure a sweep can show.

    Each failure is looked for from two layers before its depth to one after it. With
    64 whitened samples and a scale of 2, sums are powers of two but for their own
    rounding, and so are the limits; with 50 samples none lies on the edge.
    """
    arguments = {"units": 1, "samples": 50, **arguments}
    table = floats.limits(scale, dtype, **arguments)
    rows = [row for row in table.rows if row[0] in KINDS or row[:2] in MEASURED]
    rows = [row for row in rows if row.depth and shallowest <= row.depth <= deepest]
    depths = {row.depth + k for row in rows for k in (-2, -1, 0, 1)} - {0}
    if not rows:
        return {}
    log = vg.sweep([scale], sorted(depths), steps=1, dtype=dtype, **arguments)
    failures = swept_failures(log, dtype)
    errors = {}
    for row in rows:
        around = range(max(row.depth - 2, 1), row.depth + 2)
        failing = [depth for depth in around if row[:2] in failures[depth]]
        assert failing == [*range(failing[0], around[-1] + 1)]
        errors[scale, *row[:2]] = row.depth - failing[0]
    return errors


def swept_failures(log, dtype):
    """What failed before the first update of each run, by depth."""
    smallest = np.log10(floats.number_format(dtype).smallest_normal)
    failures = {}
    losses = log.losses[log.losses["step"] == 0].set_index("run")["loss"]
    layers = log.layers[log.layers["step"] == 0]
    for run, depth in zip(log.runs["run"], log.runs["depth"], strict=True):
        mine = layers[layers["run"] == run]
        largest = mine.groupby("kind", observed=True)["log10_max"]
        low, high = largest.min() + 1e-9, largest.max()
        failed = {(kind, "inf") for kind in high.index[high == np.inf]}
        failed |= {(kind, "zero") for kind in low.index[low == -np.inf]}
        failed |= {(kind, "subnormal") for kind in low.index[low < smallest]}
        if (mine["frozen_fraction"].dropna() == 1).all():
            failed.add(("update", "frozen"))
        if not np.isfinite(losses[run]):
            failed.add(("loss", "inf"))
        failures[depth] = failed
    return failures


def keras_failures(scale, depth, dtype, data):
    """What fails in a real Keras model before and at its first update."""
    x, y = (tf.cast(values, dtype) for values in data)
    model = vg.build_stack(depth, scale=scale, dtype=dtype)
    taped = tape_pass(objective_of(model, x, y, loss="mse"))
    outputs = taped.tensors[2 * depth - 1]
    before = [layer.kernel.numpy() for layer in model.layers]
    keras.optimizers.SGD(0.01).apply(taped.gradients, model.trainable_variables)
    after = [layer.kernel.numpy() for layer in model.layers]

    failed = set()
    if not np.isfinite(float(taped.loss)):
        failed.add(("loss", "inf"))
    if bool(tf.reduce_all(outputs - y == -y)):
        failed.add(("loss", "blind"))
    norms = np.array([float(tf.norm(gradient)) for gradient in taped.gradients])
    failed |= {("gradient_norm", "zero")} if (norms == 0).any() else set()
    failed |= {("gradient_norm", "inf")} if not np.isfinite(norms).all() else set()
    diagonals = [np.diag(a == b) for a, b in zip(before, after, strict=True)]
    failed |= {("update", "frozen")} if np.all(diagonals) else set()
    return failed


def products_are_rounded(dtype):
    """Whether a layer's products are; some processors cut bfloat16 off, at each layer.

    Here 5/8 of a last digit are left over: rounding makes one of them, cutting none.
    """
    digit = float(floats.stored_in(dtype).epsilon)
    factors = tf.constant([[1 + digit]], dtype), tf.constant([[1.625]], dtype)
    exact = tf.constant([[(1 + digit) * 1.625]], dtype)
    return bool(tf.reduce_all(tf.matmul(*factors) == exact))


def claims_of(sentences):
    """What sentences of a forecast claim, as pairs; the last may be on loss scaling."""
    claims = set()
    for sentence in sentences:
        if sentence in ("Nothing fails.", "The stack starts at its target."):
            continue
        if "loss scale" in sentence or "stores the scale" in sentence:
            continue
        claims.add(CLAIMS.get(sentence) or claim_of(sentence))
    return claims


def claim_of(sentence):
    (quantity,) = [q for words, q in SUBJECTS.items() if sentence.startswith(words)]
    (mode,) = [m for words, m in ENDINGS.items() if sentence.endswith(words)]
    return quantity, mode


@pytest.mark.parametrize("dtype", DTYPES)
def test_formats_are_those_of_the_standard(dtype):
    digits, lowest, highest = TABLE[dtype]

    limits = floats.number_format(dtype)

    assert limits.digits == digits
    assert limits.epsilon == 2.0 ** (1 - digits)
    assert limits.smallest_normal == 2.0**lowest
    assert limits.smallest_subnormal == 2.0 ** (lowest - digits + 1)
    assert limits.largest == (2 - 2.0 ** (1 - digits)) * 2.0**highest


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


@pytest.mark.parametrize("flush", [None, False])
@pytest.mark.parametrize(("dtype", "scale"), GRID)
def test_every_depth_is_that_of_exact_fractions(dtype, scale, flush):
    one, deepest = [[1.0]], 160
    rate = np.float32(0.1)

    table = floats.limits(
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
        for row in table.rows
        for depth in ([row.depth - 1, row.depth] if row.depth else [deepest])
        if depth
    }
    for quantity, mode, depth in table.rows:
        if depth is None:
            assert (quantity, mode) not in exact.get(deepest, ())
        else:
            assert (quantity, mode) in exact[depth]
            assert depth == 1 or (quantity, mode) not in exact[depth - 1]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", COMMON_FIRST)
def test_depths_are_those_of_a_sweep(dtype):
    errors = {}
    for scale in SCALES:
        errors |= sweep_error(scale, dtype)

    assert set(errors.values()) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_depths_of_thousands_of_layers_are_those_of_a_sweep(dtype):
    errors = {}
    for scale in SCALES:
        errors |= sweep_error(scale, dtype, shallowest=153, deepest=7500)

    assert set(errors.values()) <= {0}


def test_a_sweep_of_several_outputs_overflows_a_few_layers_earlier_than_keras():
    """It adds all squares before it divides; Keras takes the mean of each row."""
    scale, outputs = 1.5, 2
    depth = floats.limits(scale).depth("loss", "inf")
    earlier = math.ceil(math.log(outputs) / (2 * math.log(scale)))

    log = vg.sweep([scale], [depth - earlier - 1, depth], steps=1)

    first = log.losses[log.losses["step"] == 0]["loss"]
    assert_array_equal(np.isfinite(first), [True, False])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", COMMON_FIRST)
@pytest.mark.parametrize("scale", SCALES)
def test_depths_are_those_of_a_keras_model(dtype, scale):
    data = vg.make_data("identity")
    table = floats.limits(scale, dtype)
    rows = [row for row in table.rows if row[:2] in SEEN_IN_KERAS and row.depth]
    rows = [row for row in rows if 1 < row.depth <= 66]

    for quantity, mode, depth in rows:
        assert (quantity, mode) in keras_failures(scale, depth, dtype, data)
        before = 1 if products_are_rounded(dtype) else 1 + depth // 25
        earlier = keras_failures(scale, depth - before, dtype, data)
        assert (quantity, mode) not in earlier


def test_weights_of_one_half_freeze_a_layer_earlier_upwards_than_downwards():
    """Above 0.5 float32 numbers lie twice as far apart as below.

    Here the mean over two outputs makes the gradient `scale**(depth - 1)`, as in a
    network of one unit without the factor 2 of the squared error.
    """
    x = [[1.0, 1.0], [1.0, -1.0]]
    rate, half = np.float32(0.1), np.float32(0.5)

    up = floats.limits(0.5, learning_rate=0.1, x=x, y=x)

    assert up.depth("update", "frozen") == 23
    assert half + rate * half**22 == half
    assert half + rate * half**21 > half
    assert half - rate * half**22 < half


def test_a_scale_that_rounds_to_one_starts_at_its_target():
    table = floats.limits(0.999, "bfloat16")

    assert table.stored_scale == 1.0
    assert table.depth("loss", "zero") == table.depth("weight_gradient", "zero") == 1


def test_a_stack_at_its_target_at_one_depth_only_has_not_failed_there():
    table = floats.limits(0.5, target="scaled")  # 0.5**1 is the target

    assert table.depth("weight_gradient", "zero") > 100


def test_a_stack_that_fails_at_every_other_depth_has_no_depth_to_fail_from():
    table = floats.limits(-1.0, deepest=50)

    assert all(row.depth is None for row in table.rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sign_of_the_scale_matters_neither_forward_nor_backward(dtype):
    rows = [("activation", "zero"), ("activation_gradient", "zero")]

    plus, minus = floats.limits(0.5, dtype), floats.limits(-0.5, dtype)

    for row in rows:
        assert plus.depth(*row) == minus.depth(*row)


def test_subnormals_kept_by_numpy_last_longer_than_flushed_ones():
    gradual = floats.limits(0.5, flush_to_zero=False, x=[[1.0]], y=[[1.0]])
    flushed = floats.limits(0.5, flush_to_zero=True, x=[[1.0]], y=[[1.0]])

    assert gradual.depth("activation", "zero") == 150
    assert gradual.depth("activation", "subnormal") == 127
    assert flushed.depth("activation", "zero") == 127
    assert flushed.depth("activation", "subnormal") is None


def test_rounding_can_hold_a_subnormal_above_zero_for_ever():
    """0.9 of 4 units of the last place is 3.6, which rounds to 4 again."""
    table = floats.limits(0.9, "float16")

    assert table.depth("activation", "subnormal") == 101
    assert table.depth("activation", "zero") is None


@pytest.mark.slow
def test_products_that_are_flushed_one_by_one_add_up_to_nothing():
    """Four products of 2**-127 are 0, though their sum would be 2**-125."""
    x = np.full((4, 1), 2.0**-10)
    depth = floats.limits(0.5, x=x, y=x).depth("weight_gradient", "zero")

    for deep, dead in ((depth, True), (depth - 1, False)):
        model = vg.build_stack(deep, 1, scale=0.5)
        rows = vg.gradient_norms(model, np.float32(x), np.float32(x))
        weights = rows[rows["kind"] == "weight_gradient"]
        assert (weights["log10_norm"] == -np.inf).any() == dead


def test_squares_that_are_flushed_one_by_one_add_up_to_nothing():
    """With as many targets as samples, a gradient has entries of one size."""
    ones = np.ones((1, 64))

    wide = floats.limits(0.5, "float16", x=ones, y=ones)

    def squares(depth):  # of the 64 x 64 entries, each 2**(1 - depth) * 2 / 64
        return np.float16(2.0 ** (1 - depth) / 32) ** 2

    depth = wide.depth("gradient_norm", "zero")
    assert squares(depth) == 0 < squares(depth - 1)


def test_weights_are_frozen_once_those_of_every_mode_are():
    """At 0.5 the mode that has to reach 1 moves up, the one for -1 moves down."""
    up = floats.limits(0.5, target="identity").depth("update", "frozen")

    both = floats.limits(0.5, target="negative").depth("update", "frozen")

    assert both == up + 1


def test_weights_are_frozen_once_those_of_every_layer_are():
    """With many samples the first layer's gradient underflows before the last's."""
    table = floats.limits(0.5, "float16", learning_rate=10.0, samples=4096)

    assert table.depth("weight_gradient", "zero") < table.depth("update", "frozen")


def test_the_learning_rate_is_rounded_to_float32_as_keras_does():
    """A hair more than 2**-10 is 2**-10: the update is no more than half a spacing."""
    x = [[1.0, 1.0], [1.0, -1.0]]
    rate = 2.0**-10 * (1 + 2.0**-30)

    table = floats.limits(0.5, "float64", learning_rate=rate, x=x, y=x)

    optimizer = keras.optimizers.SGD(rate)
    assert float(optimizer.learning_rate) == 2.0**-10
    assert 0.5 + 2.0**-10 * 2.0**-44 == 0.5 < 0.5 + rate * 2.0**-44
    assert table.depth("update", "frozen") == 45


def test_a_loss_is_blind_once_every_output_is_rounded_away():
    """Next to a target of 0 an output is seen until it is 0 itself."""
    table = floats.limits(0.5, x=[[1.0, 1.0]], y=[[1.0, 0.0]])

    assert table.depth("loss", "blind") == table.depth("activation", "zero") == 127


def test_nothing_is_looked_for_beyond_the_deepest():
    assert floats.limits(0.5, deepest=19).depth("update", "frozen") is None
    assert floats.limits(0.5, deepest=20).depth("update", "frozen") == 20


def test_other_output_units_change_the_last_layer_only():
    """One output instead of two doubles the mean's weight, and so the gradient."""
    square = floats.limits(0.5, dtype="float64")
    narrow = floats.limits(0.5, dtype="float64", output_units=1)

    assert narrow.depth("update", "frozen") == square.depth("update", "frozen") + 1
    assert narrow.depth("activation_gradient", "zero") == 1020


def test_limits_print_as_a_table():
    lines = repr(floats.limits(0.5)).splitlines()

    assert lines[0] == "float32, scale 0.5: first failing depth (-: none up to 10000)"
    assert lines[1].split() == list(floats.MODES)
    assert [line.split()[0] for line in lines[2:]] == list(floats.QUANTITIES)
    assert lines[6].split() == ["update", "20", "-", "-", "121", "-"]


@pytest.mark.parametrize("rate", [0.001, 0.1])
@pytest.mark.parametrize(("dtype", "scale"), [pair for pair in GRID if pair[1] > 0])
def test_a_forecast_is_true_of_its_own_depth_by_exact_fractions(dtype, scale, rate):
    one = [[1.0]]
    for depth in (1, 7, 12, 20, 50, 120):
        sentences = floats.forecast(
            scale, depth, dtype, learning_rate=rate, x=one, y=one
        )

        exact = exact_failures(dtype, scale, depth, np.float32(rate), dtype in FLUSHING)
        exact = {pair for pair in exact if pair[1] != "normal"}
        claims = claims_of(sentences)
        assert claims <= exact
        assert {name for name, _ in claims} == {name for name, _ in exact}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", COMMON_FIRST)
def test_a_forecast_is_borne_out_by_runs(dtype):
    """White data of one unit, so that all weights are on the diagonal."""
    seen = {*KINDS, "update", "loss"}
    depths = [2, 5, 9, 13, 18, 20, 24, 31]
    for scale in SCALES:
        log = vg.sweep([scale], depths, steps=1, units=1, samples=50, dtype=dtype)
        measured = swept_failures(log, dtype)
        for depth in depths:
            sentences = floats.forecast(scale, depth, dtype, units=1, samples=50)

            claims = {pair for pair in claims_of(sentences) if pair[0] in seen}
            claims -= {("loss", "blind")} | {("update", m) for m in ("zero", "inf")}
            assert claims <= measured[depth]
            failing = {name for name, _ in measured[depth]}
            assert {name for name, _ in claims} == failing


def test_a_forecast_knows_nothing_of_other_depths():
    assert floats.forecast(1.5, 54) == ["Nothing fails."]
    assert floats.forecast(1.5, 55) == [
        "`tf.norm` of a weight gradient, which squares first, overflows."
    ]
    assert floats.forecast(0.5, 48, "float64") == ["Nothing fails."]


def test_weights_beside_the_diagonal_are_not_called_frozen():
    """White data: gradients beside the diagonal are rounding noise, and move zeros."""
    log = vg.sweep([0.5], [20], steps=1)

    (sentence,) = floats.forecast(0.5, 20)

    assert sentence == "Every update on the diagonal is rounded away."
    first = log.layers.query("kind == 'weight_gradient' and step == 0")
    assert first["frozen_fraction"].between(0.5, 0.99).all()


def test_a_forecast_names_the_worst_of_each_quantity():
    sentences = floats.forecast(0.5, 30, "float16")

    assert sentences[0] == "Every update on the diagonal is rounded away."
    assert not any("update is exactly 0" in sentence for sentence in sentences)
    assert sum("activation gradient" in sentence for sentence in sentences) == 1


def test_a_forecast_says_when_a_stack_starts_at_its_target():
    assert floats.forecast(0.999, 100, "bfloat16") == [
        "bfloat16 stores the scale 0.999 as 1.",
        "The stack starts at its target.",
    ]
    assert floats.limits(0.999, "bfloat16").is_solved
    assert not floats.limits(0.5, "bfloat16").is_solved


def test_a_forecast_does_not_call_tiny_data_solved():
    tiny = [[1e-6, 1e-6]]

    sentences = floats.forecast(0.5, 3, "float16", x=tiny, y=tiny)

    assert "The loss is exactly 0." in sentences


def test_a_forecast_copes_with_a_scale_beyond_the_format():
    assert "The output overflows." in floats.forecast(1e6, 3, "float16")


def test_a_forecast_ends_with_a_loss_scale_where_float16_gradients_are_too_small():
    sentences = floats.forecast(0.5, 12, "float16")

    assert sentences[-1] == str(floats.stack_loss_scale(0.5, 12))
    assert sentences[-1].startswith("A loss scale of 2¹")
    assert "loss scale" not in floats.forecast(0.5, 5, "float16")[-1]


@pytest.mark.parametrize("exponents", [(-30, -20), (-24, -4), (10, 12), (3, 3)])
def test_loss_scales_keep_both_ends_normal_and_their_neighbours_do_not(exponents):
    low, high = (2.0**exponent for exponent in exponents)
    smallest, largest = 2.0**-14, 65504.0

    scaling = floats.loss_scale(math.log10(low), math.log10(high))

    for exponent in (scaling.lowest, scaling.highest, math.log2(scaling.scale)):
        assert low * 2.0**exponent >= smallest * (1 - 1e-9)
        assert high * 2.0**exponent <= largest
    assert low * 2.0 ** (scaling.lowest - 1) < smallest
    assert high * 2.0 ** (scaling.highest + 1) > largest


def test_no_loss_scale_stretches_a_format():
    scaling = floats.loss_scale(-20, -5)

    assert scaling.scale is scaling.lowest is scaling.highest is None
    assert str(scaling) == (
        "No loss scale that float32 holds keeps every gradient a normal number of "
        "float16."
    )


def test_a_loss_scale_must_itself_be_a_number_of_float32():
    assert floats.loss_scale(-36, -35).scale == 2.0**116
    assert floats.loss_scale(-60, -59).scale is None


@pytest.mark.parametrize(("scale", "depth"), [(0.5, 20), (0.9, 90), (1.1, 30)])
def test_scaled_gradients_of_a_stack_are_normal(scale, depth):
    x, y = vg.make_data("identity")
    kernels = initial_kernels(depth, scale=scale, dtype="float64")
    run = hand_backprop.backward(kernels, x, y)
    tensors = [*run["weight_gradient"], *run["activation_gradient"]]

    scaling = floats.stack_loss_scale(scale, depth)

    smallest = min(np.sqrt(np.mean(tensor**2)) for tensor in tensors)
    largest = max(np.abs(tensor).max() for tensor in tensors)
    assert smallest * 2.0 ** (scaling.lowest - 1) < 2.0**-14
    assert smallest * 2.0**scaling.lowest >= 2.0**-14
    assert largest * 2.0**scaling.highest <= 65504


SMALL = 2.0**-22  # 1 / the number of outputs of 64 images of 256 x 256 pixels


def float16_run(depth, loss_scale_factor, steps):
    """Trains half-precision layers with float32 weights on a loss in tiny units."""
    x, y = vg.make_data("identity")
    layers = [
        keras.layers.Dense(
            2,
            use_bias=False,
            kernel_initializer=keras.initializers.Identity(0.5),
            dtype="mixed_float16",
        )
        for _ in range(depth)
    ]
    model = keras.Sequential([keras.Input((2,)), *layers])
    inner = keras.optimizers.SGD(0.1 / SMALL)
    optimizer = inner
    if loss_scale_factor is not None:
        optimizer = keras.optimizers.LossScaleOptimizer(
            inner, initial_scale=loss_scale_factor
        )
    model.compile(
        optimizer,
        loss=lambda y, p: (
            SMALL * keras.ops.mean((keras.ops.cast(p, "float32") - y) ** 2)
        ),
        auto_scale_loss=False,
    )
    rows = (np.tile(table, (steps, 1)) for table in (x, y))
    model.fit(*rows, batch_size=len(x), shuffle=False, verbose=0)
    loss = float(np.mean((model(x).numpy().astype(np.float64) - y) ** 2))
    return loss, [layer.kernel.numpy() for layer in layers]


@pytest.mark.slow
def test_a_float16_stack_whose_gradients_underflow_learns_with_a_loss_scale_only():
    depth, steps = 5, 60
    plain = floats.stack_loss_scale(0.5, depth)
    shift = math.log10(SMALL)
    factor = floats.loss_scale(plain.log10_low + shift, plain.log10_high + shift).scale

    loss, kernels = float16_run(depth, None, steps)
    scaled_loss, _ = float16_run(depth, factor, steps)

    assert_array_equal(kernels, np.broadcast_to(0.5 * np.eye(2), (depth, 2, 2)))
    assert loss > 0.9
    assert scaled_loss < 0.01


def test_a_loss_scale_does_not_thaw_weights_kept_in_float16():
    depth = floats.limits(0.5, "float16").depth("update", "frozen")
    x, y = vg.make_data("identity")
    model = vg.build_stack(depth, scale=0.5, dtype="float16")
    optimizer = keras.optimizers.SGD(0.01, loss_scale_factor=2.0**9)
    model.compile(optimizer, loss="mse")

    model.fit(x, y, batch_size=len(x), epochs=2, verbose=0)

    for layer in model.layers:
        assert_array_equal(np.diag(layer.kernel.numpy()), [0.5, 0.5])


def test_unknown_formats_quantities_and_modes_are_refused():
    with pytest.raises(ValueError, match="`dtype` must be one of 'float16'"):
        floats.number_format("float8")
    with pytest.raises(ValueError, match="`quantity` must be one of 'activation'"):
        floats.limits(0.5).depth("weight", "zero")
    with pytest.raises(ValueError, match="`mode` must be one of 'frozen'"):
        floats.limits(0.5).depth("update", "dead")


def test_flush_to_zero_must_be_a_truth_value():
    with pytest.raises(TypeError, match="`flush_to_zero` must be True, False or None"):
        floats.limits(0.5, flush_to_zero="yes")


def test_data_must_be_given_in_one_way():
    with pytest.raises(ValueError, match=r"`x` and `y` must both .* Received: x\."):
        floats.limits(0.5, x=[[1.0]])
    with pytest.raises(ValueError, match=r"beside them\. Received: units, x, y\."):
        floats.forecast(0.5, 3, x=[[1.0]], y=[[1.0]], units=1)
    with pytest.raises(ValueError, match="`x` must be a non-empty table"):
        floats.limits(0.5, x=[1.0], y=[1.0])


def test_a_range_must_not_be_upside_down():
    with pytest.raises(ValueError, match="`log10_low` must not be larger"):
        floats.loss_scale(-3, -4)


def test_a_stack_without_any_gradient_has_no_loss_scale():
    with pytest.raises(ValueError, match="must leave a gradient that is not 0"):
        floats.stack_loss_scale(1.0, 10)
