"""The same argument in time: recurrent networks."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import choice, slider
from vgkeras.page.explorer import two_sliders
from vgkeras.page.figures import draw_once, figure, misreading
from vgkeras.page.folded import folded
from vgkeras.page.named_log import NamedLog
from vgkeras.page.player import player
from vgkeras.page.recordings import RECURRENT, recorded
from vgkeras.page.texts import TIME_QUESTIONS
from vgkeras.page.trainer import LIVE, trainer
from vgkeras.record.live import measured_network

STEPS = list(range(1, 153))


def in_time() -> None:
    """Draws the section."""
    with st.container(key="first_screen", gap="xsmall"):
        with st.container(key="spoken"):
            st.title("The same argument in time")
        scale, steps = _linear_network()
        _measured(recorded(RECURRENT))
    _let_sliders_move_it(scale, steps)  # at the end: it shows nothing
    st.header("Measure one now")
    _live(recorded(RECURRENT))
    st.header("What people ask, and get wrong")
    for number, (question, answer) in enumerate(TIME_QUESTIONS):
        folded(question, "help", f"time_question_{number}", st.markdown, answer)


def _linear_network() -> tuple[float, int]:
    """The first screen's figure, with T for L; and where its sliders stand."""
    label, count = "One matrix multiplies the state by c", "at each of T time steps"
    scale, steps = two_sliders(label, "time_scale", count, "time_steps", STEPS)
    height = vg.charts.NETWORK_HEIGHT
    with st.container(key="network_in_time", height=height, border=False):
        draw_once(vg.charts.network_in_time, scale, steps)
    return scale, steps


def _let_sliders_move_it(scale: float, steps: int) -> None:
    player(
        ["network_in_time"],
        f"{scale:g} {steps}",
        steps=0,
        step=0,
        scale="time_scale",
        depth="time_steps",
    )


def _measured(run: NamedLog) -> None:
    """Recorded networks: how far back their gradients reach, and what they solve."""
    first, second, third = st.columns([5, 5, 3], vertical_alignment="bottom")
    task = choice("Task", _tasks(run), "time_task", first)
    lengths = vg.charts.recurrent_lengths(run.log, task)
    length = choice("T", lengths, "time_length", second)
    after = choice("Training", ["before", "after"], "time_when", third) == "after"
    left, right = st.columns(2)
    with _small_room("gradient_by_network", left):
        words = draw_once(_gradient_by_network, run, task, length, after)
    with _small_room("accuracy_by_length", right):
        words += " " + draw_once(vg.charts.accuracy_by_length, run, task)
    facts, seeds = run.log.metadata, run.log.runs["seed"].nunique()
    count = "one seed" if seeds == 1 else f"medians of up to {seeds} seeds"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "Latch (1994): name the class that the first three inputs tell. Adding "
            "(1997): the sum of two marked inputs. Dashes: the forget gate alone. "
            f":material/history: **Recorded** by `{facts['command']}`, {count}."
        )
        misreading(
            "Before training a gradient says what is easy to learn, not what the "
            "network can do. All had the same few hundred steps.",
            words,
        )


def _gradient_by_network(
    log: vg.GradientLog, task: str, length: int, trained: bool
) -> Any:
    return vg.charts.gradient_by_network(log, task, length, trained=trained)


def _tasks(run: NamedLog) -> list[str]:
    return vg.charts.recurrent_tasks(run.log)


def _small_room(name: str, at: Any) -> Any:
    height = vg.charts.SMALL_HEIGHT
    return at.container(key=name, height=height, border=False)


def _live(run: NamedLog) -> None:
    """One untrained network, measured by the server."""
    names = list(dict.fromkeys(run.log.runs["network"]))
    left, right = st.columns([3, 2])
    network = choice("Network", ["none", *names], "time_network", left)
    length = slider("T", STEPS[9:], 100, "time_live_steps", right)
    slot = st.container(key="source").empty()
    if network == "none":
        return
    task = st.session_state.get("time_task") or "latch"
    setting = {"network": network, "task": task, "length": length}
    log = trainer().log(setting, slot, measured_network)
    slot.markdown(f"{LIVE} by `vgkeras.gradient_through_time`.")
    figure(
        vg.charts.gradient_by_time,
        log,
        read="Backward, from the last time step on the right. A straight line is a "
        "constant factor a step.",
        misread="The state with the largest gradient is the network's memory; of an "
        "LSTM that is `c`.",
    )
