"""A control whose value stands in the address, which may also lock it or hide it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import streamlit as st

from vgkeras._text import beginning, listed

Settings = dict[str, Any]
MOST_DIGITS = 12  # of a number in an address


def keys_under(how: str) -> set[str]:
    """Keys of the controls that the address locks, or hides: `?lock=units,steps`."""
    return set(",".join(st.query_params.get_all(how)).split(","))


def control(
    draw: Callable,
    label: str,
    options: Any,
    *,
    key: str,
    at: Any = st,
    disabled: bool = False,
    **more: Any,
) -> Any:
    """Draws a control, in a column or where we are, with its value in the address.

    What is hidden is drawn and not shown: Streamlit checks its value all the same.
    """
    hidden = key in keys_under("hide")
    disabled = disabled or hidden or key in keys_under("lock")
    show = _as_in_the_address(key, label, options, more.pop("format_func", str))
    more |= {"key": key, "disabled": disabled, "bind": "query-params"}
    more["format_func"] = show
    with at.container(key=f"hidden_{key}" if hidden else None):
        return draw(label, options, **more)


def slider(
    label: str, options: Any, first: Any, key: str, at: Any = st, **more: Any
) -> Any:
    """A slider over the options; a number input would raise on `?seed=1e400`."""
    more = {"format_func": "{:g}".format, "value": first, **more}
    return control(st.select_slider, label, options, key=key, at=at, **more)


def choice(
    label: str, options: Any, key: str, at: Any = st, first: Any = None, **more: Any
) -> Any:
    """A row of buttons; the first name, or the middle number, to begin with."""
    if first is None:
        first = options[0 if isinstance(options[0], str) else len(options) // 2]
    show = str if isinstance(first, str) else "{:g}".format
    more = {"format_func": show, "default": first, "required": True, **more}
    value = control(st.segmented_control, label, options, key=key, at=at, **more)
    # An address such as `?depth_shown=` leaves the row without a choice.
    return value if value in options else first


def several(label: str, options: Any, first: list, key: str, most: int) -> list:
    """A choice of at most `most` options."""
    more: Settings = {"default": first, "max_selections": most, "select_all": False}
    if len(st.query_params.get_all(key)) > most:
        drop(key, f"more than {most} of “{label}”")
    return control(st.multiselect, label, options, key=key, **more)


def move(setting: Settings) -> None:
    """Moves controls, apart from those that the address holds."""
    for key in set(setting) - keys_under("lock") - keys_under("hide"):
        st.session_state[key] = setting[key]


def what_was_dropped() -> None:
    """Says what the address asks for in vain, until another section is opened."""
    dropped = st.session_state.get("dropped")
    if dropped:
        # Plain text: whoever made the link wrote it.
        st.text(f"Not an option, so left out: {listed(dropped.values())}.")


def _as_in_the_address(
    key: str, label: str, options: Iterable, show: Callable[[Any], str]
) -> Callable[[Any], str]:
    """How options are shown: a number as the address spells it, `0.50` or `1e-2`.

    Streamlit knows an option by its text alone, and drops what it does not know.
    """
    names = {show(option): option for option in options}
    spelled: dict[Any, str] = {}
    for text in st.query_params.get_all(key):
        if text in names or not text:
            continue
        same = [option for option in names.values() if _is_number(option, text)]
        spelled |= dict.fromkeys(same, text)
        if not same:
            drop(key, f"{label} = {beginning(text, 20)}")
    return lambda option: spelled.get(option) or show(option)


def drop(key: str, what: str) -> None:
    """Notes what the address asks for in vain."""
    st.session_state.setdefault("dropped", {})[key] = what


def _is_number(option: Any, text: str) -> bool:
    """Whether the text is that number."""
    if isinstance(option, str) or len(text) > MOST_DIGITS or not text.isascii():
        return False
    try:
        return math.isclose(float(text), option, rel_tol=1e-9)
    except ValueError:
        return False
