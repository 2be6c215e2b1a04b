"""The map: what trains, and what does not, by depth and scale or learning rate."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice, slider
from vgkeras.page.curves import curves
from vgkeras.page.downloads import downloads_below
from vgkeras.page.networks import log_interval
from vgkeras.page.outcomes import outcomes
from vgkeras.page.svg_button import svg_button
from vgkeras.page.trainer import LIVE, trainer

AXES = {"scale": "scale", "learning rate": "learning_rate"}
OPTIONS: Settings = {
    "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1],
    "scale": [round(0.5 + 0.05 * k, 2) for k in range(25)],
    "steps": [50, 100, 200, 500],
}
READ = {
    "scale": "Between the lines stacks train. They close in on $c = 1$ as depth grows: "
    "a deeper stack forgives less.",
    "learning_rate": "Between “too slow” and “never settles” stacks train. A deeper "
    "stack needs a larger learning rate to be in time, and bears only a smaller one.",
}
MISREAD = {
    "scale": "The edge on the left is one of patience: it moves with the number of "
    "steps. The one on the right is not. And the Hessian limit, the textbook's edge, "
    "is not where stacks diverge: many survive one or two far too large steps.",
    "learning_rate": "A larger learning rate does not buy depth: the two edges come "
    "together until nothing is left between them. A stack that never settles need not "
    "diverge: its loss goes up and down for ever.",
}


def what_trains() -> None:
    """Draws the section."""
    st.title("What trains, and what does not")
    st.markdown(
        "Each mark is **a run of its own**: a stack of that depth, trained from that "
        "start. Its colour and shape say what became of it. The dashed lines are "
        "computed, not fitted: where the time to learn exceeds the steps given, and "
        "where gradient descent runs away."
    )
    by, settings = _settings()
    slot = st.container(key="source").empty()
    name = f"outcome_by_{by}_and_depth"
    room = st.container(key=name).container(
        height=vg.charts.MAP_HEIGHT + 10, border=False
    )
    log = trainer().log(settings, slot).log
    slot.markdown(
        f"{LIVE}: {len(log.runs):,} runs of {settings['steps']} steps, by one call of "
        "`vgkeras.sweep`."
    )
    chart = getattr(vg.charts, name)(log)
    # No `figure`: what a cache draws answers no clicks.
    room.altair_chart(
        chart,
        on_select=lambda: _move_to_cell(log, by),
        selection_mode=vg.charts.SELECTION,
        key="map_cell",
    )
    st.markdown(vg.charts.description(chart))
    st.caption(f"**How to read it.** {READ[by]}")
    st.caption(f"**How people misread it.** {MISREAD[by]}")
    svg_button(name)
    st.header("One run of the map")
    _one_run(log, by, settings)
    downloads_below(log)


def _settings() -> tuple[str, Settings]:
    """The axis beside depth, and the arguments of `vg.sweep`."""
    first, second, third = st.columns(3)
    by = AXES[choice("Depth and", list(AXES), "map_by", first)]
    settings: Settings = {"depths": vg.charts.MAP_DEPTHS, "samples": 4, "every": None}
    if by == "scale":
        settings["scales"] = vg.charts.MAP_SCALES
        settings["learning_rate"] = _option("Learning rate", "learning_rate", 2, second)
    else:
        settings["scales"] = [_option("Scale c", "scale", 8, second)]
        settings["learning_rate"] = vg.charts.MAP_LEARNING_RATES
    settings["steps"] = _option("Training steps", "steps", 1, third)
    return by, settings


def _option(label: str, name: str, first: int, at: Any) -> Any:
    return slider(label, OPTIONS[name], OPTIONS[name][first], f"map_{name}", at)


def _move_to_cell(log: vg.GradientLog, by: str) -> None:
    """A click on a cell moves the two sliders below, which the keyboard moves too."""
    cells = st.session_state["map_cell"]["selection"].get(vg.charts.SELECTION)
    if cells:
        run = log.select(run=cells[0]["run"]).runs.iloc[0]
        st.session_state[f"cell_{by}"] = run[by]
        st.session_state["cell_depth"] = int(run["depth"])


def _one_run(log: vg.GradientLog, by: str, settings: Settings) -> None:
    st.markdown("Click a mark of the map, or choose it here.")
    left, right = st.columns(2)
    by_scale = by == "scale"
    values = vg.charts.MAP_SCALES if by_scale else vg.charts.MAP_LEARNING_RATES
    label = "Its scale c" if by_scale else "Its learning rate"
    value = slider(label, values, values[8], f"cell_{by}", left)
    depth = slider("Its depth", vg.charts.MAP_DEPTHS, 20, "cell_depth", right)
    with st.container(key="outcomes"):
        st.markdown(outcomes(log.select(**{by: value, "depth": depth})))
    one = {"scales": [value]} if by_scale else {"learning_rate": value}
    every = log_interval(settings["steps"])
    bar = st.empty()
    run = trainer().log({**settings, **one, "depths": [depth], "every": every}, bar)
    bar.empty()
    curves(run)
