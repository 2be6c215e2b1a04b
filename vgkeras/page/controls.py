"""A control whose value stands in the address, which may also lock it or hide it."""

from collections.abc import Callable
from typing import Any

import streamlit as st

Settings = dict[str, Any]


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
    more = {**more, "key": key, "disabled": disabled, "bind": "query-params"}
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
    return control(st.multiselect, label, options, key=key, **more)


def move(setting: Settings) -> None:
    """Moves controls, apart from those that the address holds."""
    for key in set(setting) - keys_under("lock") - keys_under("hide"):
        st.session_state[key] = setting[key]
