"""The page opens with its first screen; the rest follows once that is drawn.

A browser that gets all at once shows its first chart half a second later.
"""

from typing import Any

import streamlit as st

EMPTY = {"mark": "point", "data": {"values": []}, "width": 1, "height": 1}
SCRIPT = """
const LONGEST = 3000;  // milliseconds; what is not drawn by then may never be
const MOMENT = 150;  // in which the browser paints it

export default function ({ data, setTriggerValue }) {
  const begun = performance.now();
  const look = () => {
    const drawn = data.every((chart) => document.querySelector(chart + " .marks"));
    if (!drawn && performance.now() - begun < LONGEST) return setTimeout(look, 20);
    setTimeout(() => setTriggerValue("drawn", true), MOMENT);
  };
  look();
}
"""


def is_opening() -> bool:
    """Whether this is a visitor's first look at the page, and as it opens."""
    return bool(st.session_state.get("opening"))


def begin() -> None:
    """Has the browser load what draws charts while the server does the same."""
    first = "opening" not in st.session_state
    st.session_state["opening"] = first and not st.query_params
    with st.container(key="hidden_vega"):  # there or not, nothing else moves
        if is_opening():
            st.vega_lite_chart(EMPTY)


def open_the_rest(charts: list[str]) -> None:
    """Has the browser ask for the rest of the page once it has drawn `charts`."""
    with st.container(key="hidden_opening"):
        component = st.components.v2.component("opening", js=SCRIPT)
        names: Any = [f".st-key-{chart}" for chart in charts]
        component(data=names, key="opening", on_drawn_change=lambda: None)
