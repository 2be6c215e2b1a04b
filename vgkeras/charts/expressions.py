"""Vega expressions: numbers that the browser typesets while a slider is dragged.

Each takes and returns the text of an expression. They say what `vgkeras._text` says of
the same number.
"""

_SUPERSCRIPTS = dict(zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True))
_ROUND_UP = 0.0222763947111522  # log10(10 / 9.5): from there on, one digit is 10


def clamp(value: str, low: float, high: float) -> str:
    """The value, or the end that it is beyond."""
    return f"max({low}, min({high}, {value}))"


def superscript(text: str) -> str:
    """An integer, raised: `⁻²⁰`."""
    for digit, raised in _SUPERSCRIPTS.items():
        text = f"replace({text}, regexp('{digit}', 'g'), '{raised}')"
    return text


def typeset(log10: str) -> str:
    """A positive number from its base-10 logarithm: `0.12`, `5·10⁻³`."""
    exponent = f"floor({log10} + {_ROUND_UP})"
    digit = f"round(pow(10, {log10} - {exponent}))"
    power = f"{digit} + '·10' + {superscript(f'toString({exponent})')}"
    plain = f"format(pow(10, {log10}), '.2~r')"
    return f"({log10} >= -2 && {log10} < 3 ? {plain} : {power})"
