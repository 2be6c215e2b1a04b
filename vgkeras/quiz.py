"""Predict, then look: stacks to guess at, and how far off a guess is, in decades.

A question is a stack, given as arguments of `vgkeras.sweep`; its answer is read from
the log of that run. Nothing is run here.
"""

import math
import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from vgkeras import _checks, theory
from vgkeras._text import decades, number_of, outcome_verb, power_of_ten
from vgkeras.logs import GradientLog
from vgkeras.theory import OUTCOMES

EXPONENTS = tuple(range(-40, 41))  # powers of ten that a gradient may be guessed at
_SCALES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.2, 1.5)
_DEPTHS = (2, 3, 5, 8, 10, 15, 20, 30, 50, 75, 100, 125, 152)
_LEARNING_RATES = (0.003, 0.01, 0.03)
_STEPS, _EVERY = 200, 25
# Decades of c^(2L-1), about the gradient's: worth a guess, and a number in float32.
_FEWEST, _MOST = 0.3, 37


class Guess(NamedTuple):
    """What somebody expects of a stack.

    Args:
        outcome: One of `vgkeras.theory.OUTCOMES`.
        exponent: Base-10 logarithm of the norm of dL/dW at the start.
    """

    outcome: str
    exponent: float


class Score(NamedTuple):
    """How good a guess was.

    Args:
        right: Whether the outcome was the measured one.
        decades_off: Distance of the gradients in decades, 0 or more.
    """

    right: bool
    decades_off: float


def question(number: int, seed: int = 0) -> dict[str, Any]:
    """A stack to guess at. Of four in a row each has an outcome of its own.

    Args:
        number: Which question, from 1.
        seed: Seed of the series of questions.

    Returns:
        Arguments of `vgkeras.sweep` for a single run. Its gradient at the start is a
        normal number of float32.

    Raises:
        TypeError: If an argument is no integer.
        ValueError: If `number` is not positive or `seed` is negative.

    Example:
        >>> [question(1)[name] for name in ("scales", "depths", "learning_rate")]
        [[0.5], [30], 0.01]
    """
    number = _checks.check_positive_int("number", number)
    seed = _checks.check_non_negative_int("seed", seed)
    rounds, place = divmod(number - 1, len(OUTCOMES))
    # A series of its own for each round, so that a question depends on nothing before.
    dice = random.Random(f"{seed}/{rounds}")
    order = dice.sample(OUTCOMES, len(OUTCOMES))
    stacks = {outcome: _stack(outcome, dice) for outcome in order}
    scale, depth, rate = stacks[order[place]]
    return {
        "scales": [scale],
        "depths": [depth],
        "learning_rate": rate,
        "steps": _STEPS,
        "every": _EVERY,
    }


def _stack(outcome: str, dice: random.Random) -> tuple[float, int, float]:
    """A stack of which theory says `outcome`."""
    while True:
        scale, depth = dice.choice(_SCALES), dice.choice(_DEPTHS)
        rate = dice.choice(_LEARNING_RATES)
        if not _FEWEST < (2 * depth - 1) * abs(math.log10(scale)) < _MOST:
            continue
        if theory.outcome(scale, depth, rate=rate, steps=_STEPS) == outcome:
            return scale, depth, rate


def answer(log: GradientLog) -> Guess:
    """What was measured: the guess that would have been right.

    Args:
        log: The log of a question's run; its first run counts.

    Returns:
        The outcome, and the base-10 logarithm of the norm of dL/dW of layer 1 before
        the first update: `-inf` for a gradient of exactly 0, `inf` for Inf or NaN.

    Raises:
        ValueError: If the log holds no run or no weight gradient of step 0.
    """
    rows = log.layers[(log.layers["layer"] == 1) & (log.layers["step"] == 0)]
    first = rows[rows["kind"] == "weight_gradient"]
    if log.runs.empty or first.empty:
        raise ValueError(
            "`log` must hold a run with its weight gradients at step 0. "
            f"Received: log={log!r}. Run the question with `every=1` or more."
        )
    run = log.runs.iloc[0]
    exponent = float(first.loc[first["run"] == run["run"], "log10_norm"].iloc[0])
    return Guess(str(run["outcome"]), math.inf if math.isnan(exponent) else exponent)


def score(guess: Guess, measured: Guess) -> Score:
    """Compares a guess with what was measured.

    Example:
        >>> score(Guess("stalls", -10), Guess("stalls", -14.5))
        Score(right=True, decades_off=4.5)
    """
    outcome = _checks.check_option("outcome", guess.outcome, OUTCOMES)
    exponent = _checks.check_finite("exponent", guess.exponent)
    return Score(outcome == measured.outcome, abs(exponent - measured.exponent))


def result(guess: Guess, measured: Guess) -> str:
    """What became of the two guesses, in a sentence for each.

    Example:
        >>> print(result(Guess("trains", -6), Guess("stalls", -14.6)))
        You said that it trains, but it stalls. You said 10⁻⁶; the gradient is 2.5·10⁻¹⁵: you were 8.6 decades off.
    """  # noqa: E501
    right, off = score(guess, measured)
    guessed, outcome = outcome_verb(guess.outcome), outcome_verb(measured.outcome)
    ending = f"but it {outcome}"
    if right:
        ending = "and it is" if outcome.startswith("is") else "and it does"
    if off == math.inf:
        gradient = number_of(measured.exponent)
    else:
        distance = "that is within a factor of ten"
        if off > 1:
            distance = f"you were {decades(off)} off"
        gradient = f"{_typeset(measured.exponent)}: {distance}"
    return (
        f"You said that it {guessed}, {ending}. "
        f"You said {power_of_ten(guess.exponent)}; the gradient is {gradient}."
    )


def reason(scale: float, depth: int, measured: Guess) -> str:
    """Where the norm of the gradient comes from: dL/dW = c^(L-1) times the rest.

    The rest is the error at the output times the input (see
    `vgkeras.theory.closed_form`).

    Example:
        >>> print(reason(0.5, 50, Guess("stalls", -14.6)))
        The other 49 matrices multiply to 1.8·10⁻¹⁵. The rest, 1.41, is the error at the output times the input.
    """  # noqa: E501
    scale = _checks.check_positive("scale", scale)
    depth = _checks.check_positive_int("depth", depth)
    product = (depth - 1) * math.log10(scale)
    others = f"The other {depth - 1} matrices multiply to {_typeset(product)}."
    if depth == 2:
        others = f"The other matrix is {scale:g}·I."
    if depth == 1:
        others = "There is no other matrix."
    if math.isinf(measured.exponent):
        return others
    rest = _typeset(measured.exponent - product)
    return f"{others} The rest, {rest}, is the error at the output times the input."


def _typeset(log10: float) -> str:
    """A positive number from its logarithm, to two digits: `0.25`, `2.5·10⁻¹⁵`.

    A power of ten alone would hide up to half a decade, and no sum would come out.
    """
    mantissa, small_or_large, exponent = number_of(log10).partition("e")
    if not small_or_large:
        return mantissa
    return f"{mantissa}·{power_of_ten(int(exponent))}"


def summary(scores: Iterable[Score]) -> str:
    """Several scores in a sentence; gradients by the median of their decades.

    Example:
        >>> summary([Score(True, 0.5), Score(False, 8.0), Score(True, 2.0)])
        '2 of 3 outcomes right; gradients 2 decades off in the median.'
    """
    scores = list(scores)
    if not scores:
        return "No guess yet."
    right = sum(own.right for own in scores)
    off = float(np.median([own.decades_off for own in scores]))
    return (
        f"{right} of {len(scores)} outcomes right; gradients {decades(off)} off in the "
        "median."
    )
