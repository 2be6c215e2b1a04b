"""The lesson "Vanishing/Exploding Gradients" as a page: `streamlit run dashboard.py`.

Page config, style and navigation: each section is a module of `vgkeras.page`, and only
the one that is chosen is loaded. The lesson's widget keys are the argument names of
`vgkeras.sweep`, so the address of the page reads like a call of it. TensorFlow is
loaded only when something has to be run live.
"""

from importlib import import_module

import streamlit as st

from vgkeras.page.navigation import navigation
from vgkeras.page.show import mark_chart

# A section is the function of that name, in the module of that name.
SECTIONS = {
    "Lesson": "lesson",
    "Map": "what_trains",
    "Remedies": "remedies",
    "Number formats": "formats",
    "Predict": "predict",
}
MORE = {
    "Your log": "your_log",
    "Published results": "published",
    "Code": "take_away",
}
STYLE = """
.vega-bindings { display: none !important; }  /* the page's own sliders move them */
.st-key-marks button { min-height: 2rem; padding: 0 0.6rem; }
/* A chart's toolbar stands above its container, which keeps room for the chart. */
[data-testid='stVerticalBlock']:has(
  > [data-testid='stElementContainer'] [data-testid='stVegaLiteChart']
) { overflow: visible; }
[data-testid='stElementToolbar']:focus-within { opacity: 1; top: -2.75rem; z-index: 1; }
@media (hover: none) {
  [data-testid='stElementToolbar'] { opacity: 1; top: -2.75rem; z-index: 1; }
}
/* Where numbers come from is a footer; a run at work is told at the top. */
.st-key-source:not(:has([role='progressbar'], [role='alert'])) {
  order: 1; opacity: 0.8; border-top: 1px solid; padding-top: 0.5rem;
}
[class*='st-key-hidden_'] { display: none; }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
"""

st.set_page_config(page_title="Vanishing and exploding gradients", layout="wide")
st.html(f"<style>{STYLE}</style>")
name = {**SECTIONS, **MORE}[navigation(SECTIONS, MORE)]
getattr(import_module(f"vgkeras.page.{name}"), name)()
mark_chart()
