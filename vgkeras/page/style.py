"""How the page looks where Streamlit leaves something to be wished for."""

import streamlit as st

STYLE = """<style>
.vega-bindings { display: none !important; }  /* the page's own sliders move them */
.st-key-marks button { min-height: 2rem; padding: 0 0.6rem; }
/* A chart's toolbar stands below it, where it hides no slider. */
[data-testid='stVerticalBlock']:has(
  > [data-testid='stElementContainer'] [data-testid='stVegaLiteChart']
) { overflow: visible; }
[data-testid='stFullScreenFrame']:has([data-testid='stVegaLiteChart'])
  [data-testid='stElementToolbar'] { top: auto !important; bottom: -0.75rem; }
[data-testid='stElementToolbar']:focus-within { opacity: 1; z-index: 1; }
@media (hover: none) {
  [data-testid='stElementToolbar'] { opacity: 1; z-index: 1; }
  [data-testid='stLayoutWrapper']:has(> .st-key-network) { margin-bottom: 1rem; }
}
/* Where numbers come from is a footer; a run at work is told at the top. */
[data-testid='stLayoutWrapper']:has(> .st-key-source):not(
  :has([data-testid='stProgress'], [data-testid='stAlert'])
) { order: 1; }
/* The sections stand in one row, which a phone scrolls: the chosen one stays. */
.st-key-top { flex-wrap: nowrap; }
.st-key-top > :first-child { flex: 0 1 auto; min-width: 0; }
.st-key-top [role='radiogroup'] { flex-wrap: nowrap; overflow-x: auto; }
.st-key-top [role='radio'] { flex-shrink: 0; }
.st-key-top [role='radio'][aria-checked='true'] {
  position: sticky; left: 0; right: 0; z-index: 1;
  background: color-mix(in srgb, currentColor 10%, Canvas);
}
.st-key-top > :nth-child(2) { margin-left: auto; }
@media (max-width: 640px) {
  .st-key-top { gap: 0.5rem; }
  .st-key-link p { font-size: 0; }
  .st-key-present_button { display: none; }
}
/* The words of charts are as dark on white, and as light on dark, as those around. */
svg.marks :is(.role-axis-label, .role-axis-title, .role-legend-label,
  .role-legend-title, .role-title-subtitle) text, svg.marks text[fill='#70767E' i] {
  fill: currentColor; fill-opacity: 0.85;
}
/* Contrast: Streamlit's captions, buttons, labels and code have too little. */
[data-testid='stCaptionContainer'] { color: inherit; opacity: 0.8; }
[data-testid='stWidgetLabel'] { color: inherit !important; }
[data-testid='stBaseButton-primary']:enabled, [data-tag] {
  background: #0072B2 !important; border-color: #0072B2;
}
[data-testid='stBaseButton-primary']:disabled { color: inherit; opacity: 0.8; }
[data-testid='stCode'] .token { color: inherit !important; }
[data-testid='stCode'] .token.keyword { font-weight: bold; }
[data-testid='stCode'] .token.comment { font-style: italic; }
[class*='st-key-hidden_'], :has(> [class*='st-key-hidden_']) { display: none; }
.st-key-spoken { position: absolute; width: 1px !important; clip-path: inset(50%); }
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
</style>"""


def style() -> None:
    """Writes it into the page."""
    st.html(STYLE)
