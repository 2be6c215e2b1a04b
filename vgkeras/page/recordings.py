"""What was measured before and ships with the page."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import DEFAULTS, is_default, refuse_too_much
from vgkeras.page.trainer import LIVE, trainer

# Beside `dashboard.py`, not in the package: Streamlit puts the script's folder first on
# the path, so the page that runs is the one of the clone, with its assets.
ASSETS = Path(__file__).parents[2] / "assets"
LESSON = ASSETS / "lesson.parquet"
DIGITS = ASSETS / "digits.parquet"
REMEDIES = ASSETS / "remedies.parquet"
RESNET = ASSETS / "resnet152.parquet"
RECURRENT = ASSETS / "recurrent.parquet"
PUBLISHED = ASSETS / "published.json"


@st.cache_resource(show_spinner=False)
def recording(path: Path) -> vg.GradientLog:
    """The log in that file, read once for all visitors."""
    return vg.load(path)


def recorded(path: Path) -> NamedLog:
    """The same, under the name of the file."""
    return NamedLog(path.name, lambda: recording(path))


def lesson_log(settings: Settings) -> NamedLog:
    """The recorded lesson if that is what is asked for, else a live run."""
    slot = st.container(key="source").empty()
    refuse_too_much(settings, slot)
    if is_default(settings) and LESSON.exists():
        facts = recording(LESSON).metadata
        slot.markdown(
            f":material/history: **Recorded** on {facts['recorded']} from real Keras "
            f"`Sequential` models: `{facts['command']}`, "
            f"{', '.join(f'{k} {v}' for k, v in facts['versions'].items())}. "
            "Move any control to run it live."
        )
        return recorded(LESSON)
    run = trainer().log(settings, slot)
    slot.markdown(f"{LIVE} by `vgkeras.sweep`, differentiated by `tf.GradientTape`.")
    return run


def recorded_run(settings: Settings) -> NamedLog | None:
    """The run of one scale and depth, if it is among the recorded ones."""
    (scale,), (depth,) = settings["scales"], settings["depths"]
    every = {name: DEFAULTS[name] for name in ("scales", "depths")}
    if not is_default({**settings, **every}) or not LESSON.exists():
        return None
    runs = recording(LESSON).runs
    if not ((runs["scale"] == scale) & (runs["depth"] == depth)).any():
        return None
    return recorded(LESSON).select(scale=scale, depth=depth)


def remedies_log(settings: Settings, preview: Callable) -> NamedLog:
    """The recorded comparison if it holds what is asked for, else a live one.

    A live one hands `preview` the log of the remedies so far, and in the end `None`.
    """
    slot = st.container(key="source").empty()
    facts, names = recording(REMEDIES).metadata, settings["names"]
    same = all(settings[name] == value for name, value in facts["arguments"].items())
    if same and all(isinstance(name, str) for name in names):
        slot.markdown(
            f":material/history: **Recorded** on {facts['recorded']} by "
            f"`{facts['command']}`, five seeds of each. Move a slider to run it live."
        )
        return recorded(REMEDIES).select(remedy=list(names))
    run = trainer().log(settings, slot, vg.remedies.compare, after_each=preview)
    preview(None)
    slot.markdown(
        f"{LIVE}: {len(run.log.runs):,} runs of {settings['steps']} steps, five seeds "
        "of each, by `vgkeras.remedies.compare`."
    )
    return run
