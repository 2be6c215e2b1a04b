"""The section that is shown: it stands in the address, and Back leads to the last."""

from collections.abc import Iterable

import streamlit as st

from vgkeras.page.controls import keys_under

# Streamlit makes an entry of the browser's history for each setting that the server
# puts into the address. Only these make a view that Back should lead to; those that
# change together make one.
SCRIPT = """
export default function () {
  if (window.entriesAreViews) return;
  window.entriesAreViews = true;
  const push = history.pushState.bind(history);
  const view = (address) => {
    const query = new URL(address, location.href).searchParams;
    return ["section", "show", "looked"].map((name) => query.get(name)).join();
  };
  let pushed = -Infinity;
  history.pushState = (state, title, address) => {
    const together = performance.now() - pushed < 200;  // milliseconds
    if (together || view(address) === view(location.href))
      return history.replaceState(state, title, address);
    pushed = performance.now();
    push(state, title, address);
  };
}
"""
MORE = "More"
OLD_NAMES = {"The lesson": "Lesson", "The map": "Map"}


def navigation(names: Iterable[str], more: Iterable[str]) -> str:
    """Draws the names of the sections; returns the one that the address asks for.

    Args:
        names: Sections of the first row; the first of all is where the page opens.
        more: Sections of a second row, which opens by a button at the end of the first.
    """
    names, more = list(names), list(more)
    asked = st.query_params.get("section", "")
    st.session_state["section_asked"] = asked
    section = OLD_NAMES.get(asked, asked)
    if section not in (*names, *more):
        section = names[0]
    with st.container(
        key="hidden_section" if "section" in keys_under("hide") else None
    ):
        _row("section", [*names, MORE], MORE if section in more else section, more[0])
        if section in more:
            _row("more", more, section, more[0])
    with st.container(key="hidden_history"):
        st.components.v2.component("history", js=SCRIPT)(key="history", data=section)
    return section


def _row(key: str, names: list[str], chosen: str, first_of_more: str) -> None:
    # The address decides, also when it changes by Back: a widget would keep its own.
    st.session_state[key] = chosen
    st.segmented_control(
        "Section" if key == "section" else "More sections",
        names,
        key=key,
        required=True,
        label_visibility="collapsed",
        on_change=_follow,
        args=(key, first_of_more),
    )


def _follow(key: str, first_of_more: str) -> None:
    """Another section: the server writes it into the browser's history.

    But not when the address has changed as well: then Back was pressed twice, quicker
    than the browser's buttons could follow, and they still say what was left.
    """
    if st.query_params.get("section", "") != st.session_state["section_asked"]:
        return
    chosen = st.session_state[key]
    st.session_state.pop("dropped", None)
    for name in ("show", "slide"):
        st.query_params.pop(name, None)
    st.query_params["section"] = first_of_more if chosen == MORE else chosen
