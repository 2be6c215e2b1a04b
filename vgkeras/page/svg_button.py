"""A button that saves a chart as SVG. The browser makes it of what it shows."""

import streamlit as st

HTML = "<button type='button'>Save as SVG</button>"
STYLE = """
button {
  font: inherit; font-size: 0.8rem; color: var(--st-link-color); cursor: pointer;
  background: none; border: 0; padding: 0.25rem 0; text-decoration: underline;
}
"""
SCRIPT = """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.setAttribute("aria-label", "Save as SVG: " + data.replaceAll("_", " "));
  button.onclick = () => {
    const chart = document.querySelector(".st-key-" + data + " svg.marks");
    const copy = chart.cloneNode(true);
    const behind = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    behind.setAttribute("width", "100%");
    behind.setAttribute("height", "100%");
    const page = document.querySelector('[data-testid="stApp"]');
    behind.setAttribute("fill", getComputedStyle(page).backgroundColor);
    copy.insertBefore(behind, copy.firstChild);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const text = new XMLSerializer().serializeToString(copy);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
    link.download = data + ".svg";
    link.click();
    URL.revokeObjectURL(link.href);
  };
}
"""


def svg_button(name: str) -> None:
    """Draws the button for the chart in the container `name`."""
    button = st.components.v2.component("svg_button", html=HTML, css=STYLE, js=SCRIPT)
    button(data=name, key=f"svg_{name}")
