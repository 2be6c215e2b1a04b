"""Numbers, decades, lists and runs in words, once: for charts, findings, tests, page.

Numbers here span 1e-300 to 1e300 and beyond: they are read from their logarithms, and
none is ever printed as 0.0000.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

ZERO, NONFINITE, NONE = "exactly 0", "Inf or NaN", "none"


def number(value: float) -> str:
    """A number fit to read: `0.25`, `3.2e-20`, or in words what it is instead.

    Example:
        >>> [number(value) for value in (1.0, -0.25, 1234, 3.21e-20, 0.0, math.nan)]
        ['1', '-0.25', '1.2e+03', '3.2e-20', 'exactly 0', 'Inf or NaN']
    """
    if not math.isfinite(value):
        return NONFINITE
    sign = "-" if value < 0 else ""
    return sign + number_of(math.log10(abs(value)) if value else -math.inf)


def number_of(log10: float) -> str:
    """`number` of a positive number from its base-10 logarithm; NaN: there is none.

    Example:
        >>> [number_of(log10) for log10 in (-400.3, -math.inf, math.inf, math.nan)]
        ['5.0e-401', 'exactly 0', 'Inf or NaN', 'none']
    """
    if math.isnan(log10):
        return NONE
    if math.isinf(log10):
        return NONFINITE if log10 > 0 else ZERO
    if -2 - 1e-6 <= log10 < 2.9997:  # rounding; and 999.5 would be written 1000
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.1f}"
    if mantissa == "10.0":
        mantissa, exponent = "1.0", exponent + 1
    return f"{mantissa}e{exponent:+03d}"


def decades(value: float) -> str:
    """A difference of base-10 logarithms.

    Example:
        >>> decades(1.0), decades(0.1234), decades(12.34), decades(math.inf)
        ('1 decade', '0.12 decades', '12 decades', 'infinitely many decades')
    """
    if math.isinf(value):
        return "infinitely many decades"
    text = f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"
    return f"{text} decade" if text == "1" else f"{text} decades"


def power(base: int, exponent: float) -> str:
    """`2¹⁵`."""
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"{base}{str(round(exponent)).translate(digits)}"


def power_of_ten(exponent: float) -> str:
    """`10⁻²⁰`."""
    return power(10, exponent)


def counted(count: int, what: str) -> str:
    """`1 step`, `10,000 steps`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def typeset(text: str) -> str:
    """A text whose numbers are written as powers of ten, not in the words of code.

    Example:
        >>> typeset("from 1.0e-46 to 5.0e-03"), typeset("below 1e-07"), typeset("0.25")
        ('from 10⁻⁴⁶ to 5·10⁻³', 'below 10⁻⁷', '0.25')
    """
    return re.sub(r"(?<![\w.])(\d(?:\.\d+)?)e([+-]\d{2,})(?!\w)", _typeset_number, text)


def _typeset_number(number: re.Match[str]) -> str:
    mantissa, exponent = number[1].removesuffix(".0"), power_of_ten(int(number[2]))
    return exponent if mantissa == "1" else f"{mantissa}·{exponent}"


def listed(values: Iterable[Any]) -> str:
    """`a, b and c`."""
    *most, last = [str(value) for value in values] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def shortened(text: str, most: int = 40) -> str:
    """The end of a name, if it is too long: paths differ in their ends."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def beginning(text: str, most: int = 40) -> str:
    """The beginning of a text, if it is too long: words say most in their first."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def outcome_verb(outcome: str, count: int = 1) -> str:
    """An outcome as the verb of a sentence about so many runs.

    Example:
        >>> [outcome_verb("stalls"), outcome_verb("slow"), outcome_verb("slow", 2)]
        ['stalls', 'is slow', 'are slow']
    """
    if outcome == "slow":
        return "is slow" if count == 1 else "are slow"
    return outcome if count == 1 else outcome.removesuffix("s")


def start_label(run: Mapping[str, Any]) -> str:
    """What a run starts from: `c = 0.5`, its initializer, or else `run 3`."""
    if not math.isnan(run["scale"]):
        return f"c = {run['scale']:g}"
    return shortened(str(run["initializer"])) or f"run {run['run']}"


def run_label(run: Mapping[str, Any], *, seed: bool = False) -> str:
    """What a run is called, `c = 0.5, L = 50`, from its row in the table `runs`."""
    label = f"{start_label(run)}, L = {run['depth']}"
    return f"{label}, seed {run['seed']}" if seed else label
