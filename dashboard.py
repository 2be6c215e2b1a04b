"""The lesson "Vanishing/Exploding Gradients" as a page: `streamlit run dashboard.py`.

Page config, style and navigation: each section is a module of `vgkeras.page`, and only
the one that is chosen is loaded. The lesson's widget keys are the argument names of
`vgkeras.sweep`, so the address of the page reads like a call of it. TensorFlow is
loaded only when something has to be run live.
"""

from importlib import import_module

import streamlit as st

from vgkeras.page import opening
from vgkeras.page.controls import what_was_dropped
from vgkeras.page.link import link
from vgkeras.page.navigation import navigation
from vgkeras.page.present import present
from vgkeras.page.show import mark_chart
from vgkeras.page.style import style
from vgkeras.page.trainer import trainer

# A section is the function of that name, in the module of that name.
SECTIONS = {
    "Lesson": "lesson",
    "Map": "what_trains",
    "In time": "in_time",
    "Remedies": "remedies",
    "Number formats": "formats",
    "Predict": "predict",
}
MORE = {
    "Your log": "your_log",
    "Published results": "published",
    "Code": "take_away",
}

st.set_page_config(page_title="Vanishing and exploding gradients", layout="wide")
style()
trainer()  # loads TensorFlow in a process of its own, once the page is drawn
with st.container(horizontal=True, key="top"):
    section = {**SECTIONS, **MORE}[navigation(SECTIONS, MORE)]
    link()
    present()
opening.begin()
dropped = st.empty()
with st.container(key="stage"):
    getattr(import_module(f"vgkeras.page.{section}"), section)()
with dropped:
    what_was_dropped()
mark_chart()
