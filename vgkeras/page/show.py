"""“Show me”: leads to a chart and marks it. The chart stands in the address."""

from typing import Any

import streamlit as st

from vgkeras.page.controls import Settings, move

# Scrolls once for each click, when the page has been drawn.
SCRIPT = """
export default function ({ data, parentElement }) {
  if (parentElement.shown === data.click + data.chart) return;
  parentElement.shown = data.click + data.chart;
  const scroll = () => {
    const chart = document.querySelector(".st-key-" + data.chart);
    const app = document.querySelector('[data-testid="stApp"]');
    const runs = app.getAttribute("data-test-script-state") !== "notRunning";
    if (!parentElement.isConnected) return;
    if (runs || !chart?.querySelector(".marks")) return setTimeout(scroll, 100);
    chart.tabIndex = -1;
    chart.focus({ preventScroll: true });
    const block = chart.offsetHeight > innerHeight ? "start" : "center";
    chart.scrollIntoView({ block });
  };
  setTimeout(scroll, 100);
}
"""
STYLE = """<style>.st-key-{chart} {{
  outline: 3px solid #3D8FC7; outline-offset: 0.5rem; border-radius: 0.25rem;
}}</style>"""


def show_button(
    label: str, chart: str, *, key: str, section: str = "", **setting: Any
) -> None:
    """Draws a button that leads to a chart.

    Args:
        label: What is to be seen, in words.
        chart: Name of the chart's container.
        key: Name of the button.
        section: Where the chart stands, if elsewhere.
        **setting: Controls to be moved. A list is added to what is chosen.
    """
    st.button(label, key=key, on_click=_show, args=(chart, section, setting))


def mark_chart() -> None:
    """Marks the chart that the address asks for and brings it into view."""
    chart = st.query_params.get("show", "")
    if not (chart.isidentifier() and chart.isascii()):
        return
    st.html(STYLE.format(chart=chart))
    with st.container(key="hidden_show"):
        component = st.components.v2.component("show", js=SCRIPT)
        click = st.session_state.get("show_clicks", 0)
        component(data={"chart": chart, "click": click}, key="show_script")


def _show(chart: str, section: str, setting: Settings) -> None:
    view = {"show": chart, **({"section": section} if section else {})}
    st.query_params.update(view)
    st.session_state["show_clicks"] = st.session_state.get("show_clicks", 0) + 1
    move({key: _added(key, value) for key, value in setting.items()})


def _added(key: str, value: Any) -> Any:
    """A list with what was chosen before behind it, as far as there is room."""
    if not isinstance(value, list):
        return value
    before = st.session_state.get(key, [])
    both = [*value, *(old for old in before if old not in value)]
    return both[: max(len(before), 6)]
