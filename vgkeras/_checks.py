"""Argument checks, worded once: every message names the argument and its value."""

import math
import numbers
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

_Checked = TypeVar("_Checked")
DTYPES = ("float16", "bfloat16", "float32", "float64")


def check_positive_int(name: str, value: Any) -> int:
    """Returns `value` as an `int`, or raises if it is not a positive integer."""
    return _check_int(name, value, lowest=1, rule="a positive integer")


def check_non_negative_int(name: str, value: Any) -> int:
    """Returns `value` as an `int`, or raises if it is not an integer >= 0."""
    return _check_int(name, value, lowest=0, rule="a non-negative integer")


def check_finite(name: str, value: Any) -> float:
    """Returns `value` as a `float`, or raises if it is not a finite real number."""
    return _check_real(name, value, lambda v: True, rule="a finite number")


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a `float`, or raises if it is not finite and > 0."""
    return _check_real(name, value, lambda v: v > 0, rule="a positive, finite number")


def check_non_negative(name: str, value: Any) -> float:
    """Returns `value` as a `float`, or raises if it is not finite and >= 0."""
    rule = "a non-negative, finite number"
    return _check_real(name, value, lambda v: v >= 0, rule=rule)


def check_option(name: str, value: Any, options: tuple[str, ...]) -> str:
    """Returns `value`, or raises if it is not one of `options`."""
    if not isinstance(value, str) or value not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(_message(name, value, f"one of {listed}"))
    return value


def check_non_empty(name: str, values: Any) -> list[Any]:
    """Returns `values` as a list, or raises if it is no collection or empty."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(_message(name, values, "a list or tuple"))
    listed = list(values)
    if not listed:
        raise ValueError(_message(name, values, "a non-empty list or tuple"))
    return listed


def check_unique(name: str, values: Collection[Any]) -> None:
    """Raises if `values` holds the same value twice."""
    if len(set(values)) != len(values):
        raise ValueError(_message(name, values, "free of repeated values"))


def check_each(
    name: str, values: Any, check: Callable[[str, Any], _Checked]
) -> list[_Checked]:
    """Returns what `check` makes of each value; refuses an empty or repeating list."""
    listed = [check(name, value) for value in check_non_empty(name, values)]
    check_unique(name, listed)
    return listed


def check_seeds(name: str, value: Any) -> list[int]:
    """Returns one seed, or a list of seeds, as a list of non-negative integers."""
    several = isinstance(value, list | tuple | range)
    return check_each(name, value if several else [value], check_non_negative_int)


def check_rates(learning_rate: Any, depths: list[int]) -> list[list[float]]:
    """Lists of learning rates by depth: of a function one, else one for each rate."""
    if callable(learning_rate):
        rates = [learning_rate(depth) for depth in depths]
        return [[check_positive("learning_rate(depth)", rate) for rate in rates]]
    several = isinstance(learning_rate, Sequence | np.ndarray)
    listed = learning_rate if several else [learning_rate]
    checked = check_each("learning_rate", listed, check_positive)
    return [[rate] * len(depths) for rate in checked]


def check_every(value: Any) -> int | None:
    """Returns the steps between logged layers; `None` means that none are logged."""
    return None if value is None else check_positive_int("every", value)


def _check_int(name: str, value: Any, *, lowest: int, rule: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(_message(name, value, rule))
    if value < lowest:
        raise ValueError(_message(name, value, rule))
    return int(value)


def _check_real(name: str, value: Any, holds: Any, *, rule: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(_message(name, value, rule))
    number = float(value)
    if not math.isfinite(number) or not holds(number):
        raise ValueError(_message(name, value, rule))
    return number


def _message(name: str, value: Any, rule: str) -> str:
    return f"`{name}` must be {rule}. Received: {name}={value!r}."
