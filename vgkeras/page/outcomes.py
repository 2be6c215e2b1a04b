"""The outcome of runs, with a sign and the numbers."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.figures import KEYS, MOST_CHARTS, drawing_room
from vgkeras.page.named_log import NamedLog

SIGNS = {
    "trains": ":green[:material/check_circle:]",
    "slow": ":orange[:material/hourglass_bottom:]",
    "stalls": ":blue[:material/pause_circle:]",
    "diverges": ":red[:material/error:]",
}
UNKNOWN = ":gray[:material/help:]"


def outcomes(log: vg.GradientLog, label: str = "") -> str:
    """A paragraph a run."""
    pairs = zip(log.runs["outcome"], vg.charts.run_sentences(log), strict=True)
    return "\n\n".join(f"{SIGNS[word]} {label}{sentence}" for word, sentence in pairs)


@st.cache_data(max_entries=MOST_CHARTS, show_spinner=False, hash_funcs=KEYS)
def outcomes_once(run: NamedLog) -> str:
    """The same, worked out once for all visitors."""
    with drawing_room():
        return outcomes(run.log)
