"""The lesson "Vanishing/Exploding Gradients" as a page: `streamlit run dashboard.py`.

Page config, style and navigation: each section is a module of `vgkeras.page`, and only
the one that is chosen is worked out. The lesson's widget keys are the argument names of
`vgkeras.sweep`, so the address of the page reads like a call of it. TensorFlow is
loaded only when something has to be run live.
"""

import streamlit as st

from vgkeras.page.controls import control
from vgkeras.page.formats import formats
from vgkeras.page.lesson import lesson
from vgkeras.page.predict import predict
from vgkeras.page.published import published
from vgkeras.page.remedies import remedies
from vgkeras.page.take_away import take_away
from vgkeras.page.what_trains import what_trains
from vgkeras.page.your_log import your_log

SECTIONS = {
    "The lesson": lesson,
    "Predict": predict,
    "The map": what_trains,
    "Remedies": remedies,
    "Number formats": formats,
    "Published results": published,
    "Your log": your_log,
    "Code": take_away,
}
STYLE = """
[class*='st-key-hidden_'] { display: none; }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
"""

st.set_page_config(page_title="Vanishing and exploding gradients", layout="wide")
st.html(f"<style>{STYLE}</style>")
section = control(
    st.segmented_control,
    "Section",
    tuple(SECTIONS),
    default="The lesson",
    key="section",
    required=True,
    label_visibility="collapsed",
)
# An address such as `?section=` leaves the row without a choice.
SECTIONS.get(section, lesson)()
