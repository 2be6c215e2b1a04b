"""Number formats: the depth at which each quantity of a stack fails, and what helps.

A stack of layers whose kernels are `scale * I` multiplies by the same number again
and again, so every format runs out of exponents, or of digits, at some depth.
`limits` does not estimate that depth: it makes the multiplications, roundings and
flushes that TensorFlow makes on a CPU, without TensorFlow.

What TensorFlow does there, measured for eager, graph and XLA alike: products and sums
of float16 and bfloat16 are formed in float32 and then rounded. Subnormal results of
bfloat16, float32 and float64 are flushed to 0; float16 keeps its own, which are normal
numbers of float32.

Reference:
    [IEEE Standard 754-2019](https://doi.org/10.1109/IEEESTD.2019.8766229), for the
    formats, rounding half to even and gradual underflow;
    [Micikevicius et al., 2018](https://arxiv.org/abs/1710.03740), for loss scaling.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike

from vgkeras import _checks, theory
from vgkeras._text import power
from vgkeras.theory import make_data

QUANTITIES = (
    "activation",
    "activation_gradient",
    "weight_gradient",
    "gradient_norm",
    "update",
    "loss",
)
MODES = ("frozen", "blind", "subnormal", "zero", "inf")

_REPEATS = 64  # layers between two looks at whether anything still changes
_EXPONENTS = range(-126, 127)  # of a loss scale, which Keras keeps in float32
_NOUNS = {
    "activation": "the output",
    "activation_gradient": "an activation gradient",
    "weight_gradient": "a weight gradient",
    "gradient_norm": "`tf.norm` of a weight gradient, which squares first,",
    "update": "an update",
    "loss": "the loss",
}
_PREDICATES = {
    "subnormal": "is subnormal and loses its digits",
    "zero": "is exactly 0",
    "inf": "overflows",
}
_CLAUSES = {
    "frozen": "every update on the diagonal is rounded away",
    "blind": "the output is rounded away next to the target, so that the loss does "
    "not depend on it",
}


class Format(NamedTuple):
    """Holds the limits of a number format, all of them exact.

    Args:
        dtype: Its name.
        digits: Binary digits of the significand, the hidden one included.
        epsilon: Distance from 1 to the next larger number, `2**(1 - digits)`.
        smallest_subnormal: Smallest positive number.
        smallest_normal: Smallest positive number that has all its digits.
        largest: Largest finite number.
        flushes: Whether TensorFlow on a CPU turns subnormal results into 0.
    """

    dtype: str
    digits: int
    epsilon: float
    smallest_subnormal: float
    smallest_normal: float
    largest: float
    flushes: bool


class Limit(NamedTuple):
    """Holds a quantity, a mode of failing and the first depth, `None` if none."""

    quantity: str
    mode: str
    depth: int | None


@dataclass(frozen=True, repr=False)
class Limits:
    """Holds the first failing depth of every quantity and mode; prints as a table.

    Args:
        scale: The scale asked for.
        stored_scale: What the format makes of it: 0.8984375 of 0.9 in bfloat16.
        dtype: The format.
        deepest: The largest depth looked at.
        rows: A `Limit` per quantity and mode, in the order of `QUANTITIES`.
    """

    scale: float
    stored_scale: float
    dtype: str
    deepest: int
    rows: tuple[Limit, ...]

    def depth(self, quantity: str, mode: str) -> int | None:
        """Returns the depth from which on `quantity` fails in the way `mode`.

        Args:
            quantity: One of `QUANTITIES`.
            mode: One of `MODES`.

        Returns:
            The depth, or `None` where it does not fail so up to `deepest`.

        Raises:
            ValueError: If there is no such quantity or mode.
        """
        _checks.check_option("quantity", quantity, QUANTITIES)
        _checks.check_option("mode", mode, MODES)
        return {row[:2]: row.depth for row in self.rows}.get((quantity, mode))

    @property
    def is_solved(self) -> bool:
        """Whether stacks of all depths start at their target: zeros are no failure."""
        return (
            self.depth("weight_gradient", "zero") == 1
            and self.depth("activation", "zero") is None
        )

    def __repr__(self) -> str:
        title = f"{self.dtype}, scale {self.scale:g}: first failing depth"
        table = [["", *MODES]]
        for quantity in QUANTITIES:
            depths = [self.depth(quantity, mode) for mode in MODES]
            table.append([quantity, *("-" if d is None else str(d) for d in depths)])
        lines = [
            f"{row[0]:<20}" + "".join(f"{c:>10}" for c in row[1:]) for row in table
        ]
        return "\n".join([f"{title} (-: none up to {self.deepest})", *lines])


class LossScale(NamedTuple):
    """Holds the powers of two that a loss may be multiplied by; prints as a sentence.

    Args:
        dtype: The format of the gradients.
        log10_low: Base-10 logarithm of the smallest gradient that is to stay normal.
        log10_high: Base-10 logarithm of the largest one.
        lowest: Exponent of the smallest power of two that will do, `None` if none.
        highest: Exponent of the largest one.
    """

    dtype: str
    log10_low: float
    log10_high: float
    lowest: int | None
    highest: int | None

    @property
    def scale(self) -> float | None:
        """The power of two in the middle: room to grow and room to shrink."""
        if self.lowest is None or self.highest is None:
            return None
        return 2.0 ** ((self.lowest + self.highest) // 2)

    def __str__(self) -> str:
        what = f"keeps every gradient a normal number of {self.dtype}"
        if self.lowest is None or self.highest is None:
            return f"No loss scale that float32 holds {what}."
        ends = (self.lowest + self.highest) // 2, self.lowest, self.highest
        middle, low, high = (power(2, exponent) for exponent in ends)
        return f"A loss scale of {middle} {what}; {low} to {high} do."


def number_format(dtype: str) -> Format:
    """Returns the limits of a number format.

    Args:
        dtype: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`.

    Returns:
        A `Format`.

    Raises:
        ValueError: If there is no such format.

    Example:
        >>> number_format("float16").largest, number_format("bfloat16").digits
        (65504.0, 8)

    Reference:
        [IEEE Standard 754-2019](https://doi.org/10.1109/IEEESTD.2019.8766229), table
        3.5; bfloat16 is float32 with the last 16 digits cut off.
    """
    _checks.check_option("dtype", dtype, _checks.DTYPES)
    info = ml_dtypes.finfo(dtype)
    return Format(
        dtype=dtype,
        digits=int(info.nmant) + 1,
        epsilon=float(info.eps),
        smallest_subnormal=float(info.smallest_subnormal),
        smallest_normal=float(info.smallest_normal),
        largest=float(info.max),
        flushes=dtype != "float16",
    )


def computed_in(dtype: str) -> Format:
    """Returns the number format that gradients of `dtype` are computed in.

    Args:
        dtype: A format, or the name of a mixed policy. Anything that is neither is
            taken for float32.

    Example:
        >>> computed_in("mixed_float16").largest
        65504.0
    """
    name = str(dtype).removeprefix("mixed_")
    return number_format(name if name in _checks.DTYPES else "float32")


def stored_in(dtype: str) -> Format:
    """Returns the number format that weights are stored in.

    Args:
        dtype: See `computed_in`. A mixed policy stores weights in float32.

    Example:
        >>> stored_in("mixed_float16").dtype
        'float32'
    """
    return computed_in("float32" if str(dtype).startswith("mixed_") else dtype)


def vanishes_below(number_format: Format) -> float:
    """Returns the absolute value below which TensorFlow makes a result 0.

    Args:
        number_format: Flushes subnormal results, or rounds them.

    Example:
        >>> vanishes_below(computed_in("float32")) == 2.0**-126
        True
    """
    if number_format.flushes:
        return number_format.smallest_normal
    return number_format.smallest_subnormal / 2


def limits(
    scale: float,
    dtype: str = "float32",
    *,
    learning_rate: float = 0.01,
    deepest: int = 10_000,
    flush_to_zero: bool | None = None,
    **data: Any,
) -> Limits:
    """Works out the depth at which each quantity of an untrained stack fails.

    The stack is `vgkeras.build_stack(depth, scale=scale, dtype=dtype)` before its
    first update, with the loss in its own format. (`model.compile(loss="mse")`
    computes the loss in float32 instead.) The modes:

    - `"subnormal"`, `"zero"`: in the first or last layer the largest element is
      smaller than every normal number, or 0; only 0 where subnormals are flushed.
    - `"inf"`: in the first or last layer an element is Inf or NaN.
    - `"frozen"`: `w - learning_rate * gradient == w` in the format, in both layers,
      for every weight on the diagonal. (Off it the weights are 0, where the numbers
      are so dense that rounding noise moves them.)
    - `"blind"`: `output - target == -target` throughout, so that the loss is, to the
      last digit, the one of a network that answers 0.

    `"activation"` is that of the last layer; `"gradient_norm"` is what `tf.norm`, which
    squares first, makes of a weight gradient. From the depth given here on, every
    deeper stack fails; a stack that happens to start at its target counts as sound.
    The order of summation is not TensorFlow's: a sum that lies within its own rounding
    of a limit, as powers of two may, can make it one layer more or less.

    Args:
        scale: The factor of every kernel.
        dtype: `"float16"`, `"bfloat16"`, `"float32"` or `"float64"`.
        learning_rate: Of plain gradient descent.
        deepest: The largest depth to look at.
        flush_to_zero: Whether subnormal results become 0. Default: as TensorFlow
            does it on a CPU, see `number_format`.
        **data: The arguments of `vgkeras.make_data`, with its defaults (`target`,
            `units`, `samples`, `output_units`, `noise`, `seed`); or `x`, shape
            `(samples, units)`, and `y`, shape `(samples, output_units)`.

    Returns:
        A `Limits`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> limits(0.5, learning_rate=0.1, x=[[1.0]], y=[[1.0]])
        float32, scale 0.5: first failing depth (-: none up to 10000)
                                frozen     blind subnormal      zero       inf
        activation                   -         -         -       127         -
        activation_gradient          -         -         -       129         -
        weight_gradient              -         -         -       128         -
        gradient_norm                -         -         -        66         -
        update                      24         -         -       125         -
        loss                         -        25         -         -         -
    """
    if flush_to_zero is not None and not isinstance(flush_to_zero, bool):
        raise TypeError(
            "`flush_to_zero` must be True, False or None. "
            f"Received: flush_to_zero={flush_to_zero!r}."
        )
    deepest = _checks.check_positive_int("deepest", deepest)
    stack = _stack(scale, dtype, learning_rate, flush_to_zero, **data)
    with np.errstate(all="ignore"):
        depths = {pair: _first_depth(stack, pair, deepest) for pair in _PAIRS}
    rows = tuple(Limit(*pair, depth) for pair, depth in _named_once(depths).items())
    return Limits(float(scale), float(stack.scale), dtype, deepest, rows)


def forecast(
    scale: float,
    depth: int,
    dtype: str = "float32",
    *,
    learning_rate: float = 0.01,
    **data: Any,
) -> list[str]:
    """Tells in sentences what fails in an untrained stack of this depth.

    `limits` says from which depth on. Updates are spoken of on the diagonal alone:
    beside it the weights are 0, where any update counts, and where gradients of white
    data are rounding noise.

    Args:
        scale: The factor of every kernel.
        depth: Number of layers.
        dtype: Format of weights and arithmetic.
        learning_rate: Of plain gradient descent.
        **data: The data, see `limits`.

    Returns:
        A sentence for each quantity that fails, or one that none does; for float16
        gradients that are too small, one on loss scaling.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> forecast(0.5, 20)
        ['Every update on the diagonal is rounded away.']
    """
    depth = _checks.check_positive_int("depth", depth)
    stack = _stack(scale, dtype, learning_rate, **data)
    stored = float(stack.scale)
    rounding = _rounding(dtype, float(scale), stored)
    if _is_solved(stored, depth, **data):
        return [*rounding, "The stack starts at its target."]
    with np.errstate(all="ignore"):
        failures = _worst(stack.failures(depth))
    sentences = [f"{_clause(*pair)}." for pair in failures]
    cures = []
    if dtype == "float16" and any(_is_curable(*pair) for pair in failures):
        cures = [str(stack_loss_scale(stored, depth, dtype, **data))]
    return [*rounding, *(sentences or ["Nothing fails."]), *cures]


def loss_scale(
    log10_low: float, log10_high: float, dtype: str = "float16"
) -> LossScale:
    """Returns the powers of two that keep gradients of a given range normal.

    A gradient is proportional to the loss. Multiply the loss, and divide the weight
    gradients by the same number once they are in float32: digits that float16 would
    have lost are kept. A power of two rounds nothing. It cannot help the forward pass,
    nor weights that are themselves kept in float16: their updates are rounded away
    as before.

    Args:
        log10_low: Base-10 logarithm of the smallest gradient that is to stay normal.
        log10_high: Base-10 logarithm of the largest one.
        dtype: Format of the gradients.

    Returns:
        A `LossScale`. Its `scale` is what
        `keras.optimizers.LossScaleOptimizer(inner, initial_scale=...)` and
        `keras.optimizers.SGD(loss_scale_factor=...)` want, or `None` where the range is
        wider than the format, or the scale itself would not be normal in float32.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is out of range.

    Example:
        >>> print(loss_scale(-9, -4))  # doctest: +NORMALIZE_WHITESPACE
        A loss scale of 2²² keeps every gradient a normal number of float16; 2¹⁶ to
        2²⁹ do.

    Reference:
        [Micikevicius et al., 2018](https://arxiv.org/abs/1710.03740), section 3.2.
    """
    low = _checks.check_finite("log10_low", log10_low)
    high = _checks.check_finite("log10_high", log10_high)
    if low > high:
        raise ValueError(
            "`log10_low` must not be larger than `log10_high`. "
            f"Received: log10_low={log10_low!r}, log10_high={log10_high!r}."
        )
    limits = number_format(dtype)
    bits = math.log2(10)
    lowest = math.ceil(math.log2(limits.smallest_normal) - low * bits)
    highest = math.floor(math.log2(limits.largest) - high * bits)
    lowest, highest = max(lowest, _EXPONENTS[0]), min(highest, _EXPONENTS[-1])
    if lowest > highest:
        return LossScale(dtype, low, high, None, None)
    return LossScale(dtype, low, high, lowest, highest)


def stack_loss_scale(
    scale: float, depth: int, dtype: str = "float16", **data: Any
) -> LossScale:
    """Returns the loss scales that keep all gradients of an untrained stack normal.

    The range goes from the smallest root mean square to the largest norm of a
    gradient with respect to an activation or a kernel, by the closed form.

    Args:
        scale: The factor of every kernel.
        depth: Number of layers.
        dtype: Format of the gradients.
        **data: The data, see `limits`.

    Returns:
        A `LossScale`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or every gradient is exactly 0.

    Example:
        >>> stack_loss_scale(0.5, 20).scale, stack_loss_scale(0.5, 60).scale
        (32768.0, None)
    """
    x, y = _data(**data)
    form = theory.closed_form(scale, depth, x, y)
    signals = len(x) * np.array([*[x.shape[1]] * (depth - 1), y.shape[1]])
    kernels = signals * x.shape[1] / len(x)
    norms = np.stack([form.log10_activation_gradient, form.log10_weight_gradient])
    sizes = np.stack([signals, kernels])
    alive = np.isfinite(norms)
    if not alive.any():
        raise ValueError(
            "`scale` and `depth` must leave a gradient that is not 0. "
            f"Received: scale={scale!r}, depth={depth!r}. The stack is at its target."
        )
    low = (norms - np.log10(sizes) / 2)[alive].min()
    return loss_scale(float(low), float(norms[alive].max()), dtype)


_PAIRS = (
    *((q, mode) for q in QUANTITIES for mode in ("subnormal", "zero", "inf")),
    ("update", "frozen"),
    ("loss", "blind"),
)


class _Arithmetic:
    """TensorFlow's arithmetic on a CPU: computed wide, flushed, rounded to `narrow`."""

    def __init__(self, limits: Format, flush_to_zero: bool | None) -> None:
        self.narrow = np.dtype(limits.dtype)  # ml_dtypes has registered bfloat16
        self.wide = np.dtype("float64" if limits.dtype == "float64" else "float32")
        self.smallest_normal = limits.smallest_normal
        self.flushes = limits.flushes if flush_to_zero is None else flush_to_zero

    def rounded(self, values: Any) -> np.ndarray:
        wide = np.asarray(values).astype(self.wide)
        if self.flushes:
            wide = np.where(np.abs(wide) < self.smallest_normal, 0, wide)
        return wide.astype(self.narrow)

    def product(self, a: Any, b: Any) -> np.ndarray:
        return self.rounded(np.multiply(a, b, dtype=self.wide))

    def difference(self, a: Any, b: Any) -> np.ndarray:
        return self.rounded(np.subtract(a, b, dtype=self.wide))

    def total(self, values: np.ndarray, axis: int | None = None) -> np.ndarray:
        """The sum, rounded once; in a format of this range it can still overflow."""
        return values.astype(np.float64).sum(axis).astype(self.wide)

    def contraction(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """`a.T @ b`; a product too small for the wide format adds nothing."""
        terms = a.astype(self.wide)[:, :, None] * b.astype(self.wide)[:, None, :]
        if self.flushes:
            terms = np.where(np.abs(terms) < np.finfo(self.wide).tiny, 0, terms)
        return self.rounded(self.total(terms, axis=0))

    def through(self, values: np.ndarray, factor: np.ndarray, layers: int) -> Any:
        """`values` after `layers` products with `factor`, each rounded.

        Magnitudes alone decide about rounding. They end at 0, at Inf, or where
        rounding undoes each product; then no further layer changes them. A flush can
        be left to the last product: magnitudes that fall below the normal numbers
        do not come back, and those that rise have started there.
        """
        signs = np.sign(values) * (-1 if factor < 0 and layers % 2 else 1)
        values, factor = np.abs(values), np.abs(factor)
        for layer in range(1, layers):
            after = values * factor
            if layer % _REPEATS == 0 and np.array_equal(after, values):
                break
            values = after
        return signs * (self.product(values, factor) if layers else values)


class _Stack:
    """An untrained stack of every depth, element by element."""

    def __init__(
        self,
        arithmetic: _Arithmetic,
        scale: float,
        x: np.ndarray,
        y: np.ndarray,
        learning_rate: float,
    ) -> None:
        self._do = arithmetic
        self.scale = arithmetic.rounded(scale)
        self._x, self._y = arithmetic.rounded(x), arithmetic.rounded(y)
        # a Keras optimizer keeps its learning rate in float32
        self._rate = arithmetic.rounded(np.float32(learning_rate))
        self._weight = arithmetic.rounded(1 / y.size)
        self._cache: dict[int, frozenset[tuple[str, str]]] = {}

    def failures(self, depth: int) -> frozenset[tuple[str, str]]:
        """What fails at this depth, as pairs of a quantity and a mode."""
        if depth not in self._cache:
            self._cache[depth] = frozenset(self._failures(depth))
        return self._cache[depth]

    def _failures(self, depth: int) -> Iterator[tuple[str, str]]:
        do = self._do
        entering = do.through(self._x, self.scale, depth - 1)
        outputs = do.product(_resized(entering, self._y.shape[1]), self.scale)
        errors = do.difference(outputs, self._y)
        last = do.product(self._weight, do.product(2, errors))
        first = last
        if depth > 1:
            first = do.product(_resized(last, self._x.shape[1]), self.scale)
            first = do.through(first, self.scale, depth - 2)
        gradients = [do.contraction(self._x, first), do.contraction(entering, last)]
        gradients = gradients if depth > 1 else gradients[:1]
        updates = [do.product(self._rate, gradient) for gradient in gradients]
        yield from self._states("activation", [outputs])
        yield from self._states("activation_gradient", [first, last])
        yield from self._states("weight_gradient", gradients)
        yield from self._states("gradient_norm", map(self._norm, gradients))
        yield from self._states("update", updates)
        yield from self._states("loss", [self._loss(errors)])
        if all(self._is_frozen(update) for update in updates):
            yield "update", "frozen"
        if (errors == -self._y).all():
            yield "loss", "blind"

    def _states(self, quantity: str, tensors: Any) -> Iterator[tuple[str, str]]:
        for tensor in tensors:
            largest = np.abs(tensor.astype(np.float64)).max()
            if not np.isfinite(largest):
                yield quantity, "inf"
            elif largest < self._do.smallest_normal:
                yield quantity, "subnormal"
                if largest == 0:
                    yield quantity, "zero"

    def _loss(self, errors: np.ndarray) -> np.ndarray:
        """Keras' mean squared error: the mean of each row, then of the rows."""
        squares = self._do.product(errors, errors)
        for axis in (1, 0):
            count = squares.shape[axis]
            squares = self._do.rounded(self._do.total(squares, axis) / count)
        return squares

    def _norm(self, gradient: np.ndarray) -> np.ndarray:
        """`tf.norm`: the squares have the format of the gradient."""
        squares = self._do.product(gradient, gradient)
        return np.sqrt(self._do.rounded(self._do.total(squares)))

    def _is_frozen(self, update: np.ndarray) -> bool:
        weights = np.full(min(update.shape), self.scale)
        return bool((self._do.difference(weights, np.diag(update)) == weights).all())


def _resized(signal: np.ndarray, columns: int) -> np.ndarray:
    """What `signal @ eye` is: cut off, or filled up with 0."""
    missing = max(columns - signal.shape[1], 0)
    return np.pad(signal[:, :columns], ((0, 0), (0, missing)))


def _first_depth(stack: _Stack, pair: tuple[str, str], deepest: int) -> int | None:
    """The depth from which on every deeper stack fails so, at most `deepest`.

    Looks at depths that double, then halves the interval. (Not by
    `theory.search.turning_point`: depths are integers, and a stack that fails may be
    sound again further on.) Two neighbouring depths at the end show a stack that only
    fails at every other depth.
    """

    def fails(depth: int) -> bool:
        return pair in stack.failures(depth)

    doubled = [2**k for k in range(deepest.bit_length())]
    looks = sorted({*doubled, deepest, deepest + 1})
    sound = max((depth for depth in looks if not fails(depth)), default=0)
    if sound >= deepest:
        return None
    failing = min(depth for depth in looks if depth > sound)
    while failing - sound > 1:
        middle = (sound + failing) // 2
        sound, failing = (sound, middle) if fails(middle) else (middle, failing)
    return failing


def _named_once(
    depths: dict[tuple[str, str], int | None],
) -> dict[tuple[str, str], int | None]:
    """The same depths; a number that goes straight to 0 was never subnormal."""
    flushed = {q for q in QUANTITIES if depths[q, "zero"] == depths[q, "subnormal"]}
    return depths | {(quantity, "subnormal"): None for quantity in flushed}


def _rounding(dtype: str, scale: float, stored: float) -> list[str]:
    """A sentence if the format changes the scale by more than a hair."""
    if abs(stored - scale) <= 1e-3 * abs(scale):
        return []
    return [f"{dtype} stores the scale {scale:g} as {stored:g}."]


def _is_solved(scale: float, depth: int, **data: Any) -> bool:
    """Whether the outputs are the targets, in exact arithmetic."""
    if not math.isfinite(scale):
        return False
    return theory.closed_form(scale, depth, *_data(**data)).log10_loss == -math.inf


def _worst(failures: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of each quantity the worst failure; frozen says it all about updates."""
    modes = [*MODES[1:], MODES[0]]
    worst = dict(sorted(failures, key=lambda pair: modes.index(pair[1])))
    pairs = [(name, worst[name]) for name in QUANTITIES if name in worst]
    return sorted(pairs, key=lambda pair: MODES.index(pair[1]))


def _clause(quantity: str, mode: str) -> str:
    clause = _CLAUSES.get(mode) or f"{_NOUNS[quantity]} {_PREDICATES[mode]}"
    return clause[0].upper() + clause[1:]


def _is_curable(quantity: str, mode: str) -> bool:
    """Whether it is a gradient that is too small: a larger loss would mend it."""
    small = mode in ("subnormal", "zero")
    return small and quantity in ("activation_gradient", "weight_gradient")


def _stack(
    scale: float,
    dtype: str,
    learning_rate: float,
    flush_to_zero: bool | None = None,
    **data: Any,
) -> _Stack:
    """The untrained stack of these arguments, which are checked."""
    scale = _checks.check_finite("scale", scale)
    arithmetic = _Arithmetic(number_format(dtype), flush_to_zero)
    rate = _checks.check_positive("learning_rate", learning_rate)
    with np.errstate(all="ignore"):
        return _Stack(arithmetic, scale, *_data(**data), rate)


def _data(
    *, x: ArrayLike | None = None, y: ArrayLike | None = None, **data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs and targets that the caller gave or asked for."""
    if x is None and y is None:
        return make_data(**data)
    if x is None or y is None or data:
        names = [*data, *(n for n, v in (("x", x), ("y", y)) if v is not None)]
        raise ValueError(
            "`x` and `y` must both be given, and no argument of `make_data` beside "
            f"them. Received: {', '.join(names)}."
        )
    theory.closed_form(1.0, 1, x, y)  # refuses what is no pair of tables
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float)
