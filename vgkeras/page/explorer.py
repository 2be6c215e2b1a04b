"""The first screen: a network to play with, and what became of others like it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras._text import beginning
from vgkeras.page.controls import Settings, drop, move, slider
from vgkeras.page.figures import draw_once, picture_once
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import OPTIONS, is_default
from vgkeras.page.opening import is_opening
from vgkeras.page.player import player
from vgkeras.page.recordings import recorded_run
from vgkeras.page.trainer import trainer
from vgkeras.theory.edges import FACTORS  # the targets that a network is drawn for

SCALES = [round(0.5 + 0.01 * k, 2) for k in range(101)]
DEPTHS = OPTIONS["depths"]
MARKS = (0.5, 0.9, 1.0, 1.5)  # those of the lecture, and the one between
RECORDED = ":material/history: Points: recorded from Keras. Bars and dashes: theory."
RUN_LIVE = ":material/bolt: Points: run live. Bars and dashes: theory."
CHARTS = ["network", "final_loss_by_depth", "loss_by_step"]


class Explorer:
    """The first screen. It is there at once; a run that takes longer comes later."""

    def __init__(self, settings: Settings) -> None:
        _follow_old_address()
        self.scale, self.depth = two_sliders(
            "Every layer multiplies by c",
            "scale",
            "There are L layers",
            "depth",
            DEPTHS,
        )
        self._one, self._note = _one_run(settings, self.scale, self.depth)
        self._recorded = recorded_run(self._one)
        run = log = None
        if self._recorded is None:
            run = _predicted_if_new(self._one)
        if not is_default(settings):
            log = _predicted_if_new(settings)
        _make_ahead(run, log)
        self._make_rooms(settings["steps"], log is not None)
        if self._recorded is not None:
            self._slot.caption(RECORDED + self._note)
            self._draw_run(self._recorded)
        if run is not None:
            self._draw_run(run)
        if log is not None:
            self.draw_depths(log)

    def draw_depths(self, log: NamedLog) -> None:
        """Draws the runs of all depths."""
        with self._by_depth:
            draw_once(vg.charts.marked_loss_by_depth, log)

    def run(self) -> NamedLog:
        """The run at which the sliders stand; it is made if it is not there."""
        if self._recorded is not None:
            return self._recorded
        run = trainer().log(self._one, self._slot)
        self._slot.caption(RUN_LIVE + self._note)
        self._draw_run(run)
        return run

    def _make_rooms(self, steps: int, has_two_logs: bool) -> None:
        height, has_two_runs = vg.charts.SMALL_HEIGHT, self._recorded is None
        self._network = _room("network", vg.charts.NETWORK_HEIGHT, st, has_two_runs)
        _player(steps, self.scale, self.depth)
        left, right = st.columns(2)
        self._by_depth = _room("final_loss_by_depth", height, left, has_two_logs)
        self._by_step = _room("loss_by_step", height, right, has_two_runs)
        self._slot = st.empty()

    def _draw_run(self, run: NamedLog) -> None:
        with self._network:
            draw_once(vg.charts.network, run)
        if not is_opening():
            with self._by_step:
                draw_once(vg.charts.marked_loss_by_step, run)


def _make_ahead(run: NamedLog | None, log: NamedLog | None) -> None:
    """Makes charts while older ones still stand where they will stand."""
    if run is not None:
        picture_once(vg.charts.network, run)
        picture_once(vg.charts.marked_loss_by_step, run)
    if log is not None:
        picture_once(vg.charts.marked_loss_by_depth, log)


def _one_run(settings: Settings, scale: float, depth: int) -> tuple[Settings, str]:
    """The settings of the network that is drawn, and what to say of them."""
    one = {**settings, "scales": [scale], "depths": [depth]}
    if one["target"] in FACTORS:
        return one, ""
    return {**one, "target": "scaled"}, " The network shown learns y = x / 2."


def _predicted_if_new(settings: Settings) -> NamedLog | None:
    """What theory says of runs that still have to be made, if it says all of it."""
    if trainer().holds(settings) or settings["target"] not in FACTORS:
        return None
    name = f"predicted {sorted(settings.items())}"
    return NamedLog(name, lambda: vg.predict(**settings))


def two_sliders(
    scale: str, scale_key: str, count: str, count_key: str, counts: Sequence[int]
) -> tuple[float, int]:
    """Draws a slider for c, buttons for the lecture's, and a slider for how many."""
    first, marks, second = st.columns([8, 5, 8], vertical_alignment="bottom")
    value = slider(scale, SCALES, 0.9, scale_key, first)
    with marks.container(horizontal=True, key="marks", gap="xxsmall"):
        for mark in MARKS:
            label, setting = f"{mark:g}", {scale_key: mark}
            st.button(label, key=f"c_{label}", on_click=move, args=(setting,))
    return value, slider(count, counts, 50, count_key, second)


def _follow_old_address() -> None:
    """Takes over what these two were called before."""
    for old, new, options in (
        ("stack_scale", "scale", SCALES),
        ("stack_depth", "depth", DEPTHS),
    ):
        value = st.query_params.pop(old, None)
        named = {f"{option:g}": option for option in options}
        if value in named and new not in st.query_params:
            move({new: named[value]})


def _player(steps: int, scale: float, depth: int) -> None:
    """The buttons; the step at which they stand is in the address."""
    text = st.query_params.get("step", "0")
    asked = int(text) if text.isdecimal() and len(text) < 6 else steps + 1
    if asked > steps and "player" not in st.session_state:
        drop("step", f"Training step = {beginning(text, 20)}")
        asked = 0
    first = min(asked, steps)
    run = f"{scale:g} {depth}"
    step = player(CHARTS, run, steps=steps, step=first, scale="scale", depth="depth")
    if step:
        st.query_params["step"] = str(step)
    else:
        st.query_params.pop("step", None)


def _room(name: str, height: int, at: Any, has_two: bool) -> Any:
    """Room for a chart, or for two in turn, kept before it is there: nothing jumps."""
    room = at.container(key=name, height=height, border=False)
    return room.empty() if has_two else room
