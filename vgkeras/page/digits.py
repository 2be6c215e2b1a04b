"""The digits: what carries a network that has a task, and how deep."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import choice
from vgkeras.page.figures import KEYS, draw_once, misreading
from vgkeras.page.named_log import NamedLog
from vgkeras.page.recordings import DIGITS, recorded, recording

NAMES = vg.remedies.DIGITS_ACTIVATIONS
AFTER, BEFORE = "after", "before"
READ = (
    "**How to read it.** Grey: small random weights (deviation 0.05), plain gradient "
    "descent. Dotted: guessing. Points: median of {seeds} seeds, bars: all."
)
MISREAD = (
    "A good gradient at the start is needed, and not enough. And clipping is a remedy "
    "against the opposite: gradients that explode."
)


def digits() -> None:
    """Draws the recorded comparison and says in a sentence what it shows."""
    run = recorded(DIGITS)
    sentence = st.empty()
    with st.container(horizontal=True):
        activation = choice(
            "Hidden units", tuple(NAMES), "digits_units", format_func=NAMES.get
        )
        show = choice("Show", (AFTER, BEFORE), "digits_show")
    sentence.markdown(_sentence_once(run, activation))
    with st.container(key="digits_panels"):
        words = _panels(run, activation, show == BEFORE)
        st.caption(READ.format(seeds=run.log.runs["seed"].nunique()))
        misreading(MISREAD, words)


def digits_source() -> None:
    """Says where the recording comes from."""
    facts = recording(DIGITS).metadata
    st.caption(
        f":material/history: Digits: **recorded** on {facts['recorded']} by "
        f"`{facts['command']}` in {facts['seconds']:,} s."
    )


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=KEYS)
def _sentence_once(run: NamedLog, activation: str) -> str:
    return vg.remedies.digits_sentence(run.log, activation)


def _panels(run: NamedLog, activation: str, before: bool) -> str:
    """As many panels in a row as there is room for; returns them in words."""
    sentences = []
    with st.container(horizontal=True, gap="small"):
        for name in vg.charts.digits_remedies(run.log, activation):
            panel = (_panel, run, name, activation, before)
            sentences.append(draw_once(*panel, width="content"))
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _panel(log: vg.GradientLog, name: str, activation: str, before: bool) -> Any:
    return vg.charts.digits_panel(log, name, activation, before=before)
