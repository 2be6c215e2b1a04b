"""The map: what trains, and what does not, by depth and scale or learning rate."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras._text import outcome_verb
from vgkeras.page.controls import Settings, choice, slider
from vgkeras.page.curves import curves
from vgkeras.page.downloads import downloads_below
from vgkeras.page.figures import draw, explain, picture_of, picture_once, room
from vgkeras.page.networks import DEFAULTS, log_interval
from vgkeras.page.outcomes import DEFINITION, cells_once, draw_cells, outcomes
from vgkeras.page.trainer import LIVE, trainer

AXES = {"scale": "scale", "learning rate": "learning_rate"}
OPTIONS: Settings = {
    "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1],
    "scale": [round(0.5 + 0.05 * k, 2) for k in range(25)],
    "steps": [50, 100, 200, 500],
}
READ = {
    "scale": "Between “1% left” and “runs away” most networks train. The band narrows "
    "around $c = 1$ as depth grows: a deeper network forgives less.",
    "learning_rate": "Between “1% left” and “never settles” networks train. A deeper "
    "network needs a larger learning rate to be in time, and bears only a smaller one.",
}
MISREAD = {
    "scale": "The edges on the left are of patience: they move with the number of "
    "steps. “Runs away” does not. And the Hessian limit, the textbook's edge, is not "
    "where networks diverge: many survive one or two far too large steps.",
    "learning_rate": "A larger learning rate does not buy depth: the edges come "
    "together until nothing is left between them. What never settles need not diverge: "
    "its loss goes up and down for ever.",
}


def what_trains() -> None:
    """Draws the section."""
    st.title("What trains, and what does not")
    st.markdown(f"Every cell is a run of its own. {DEFINITION}")
    by, settings = _settings()
    name = f"outcome_by_{by}_and_depth"
    above, below = room(name, vg.charts.MAP_HEIGHT)
    place = above.empty()
    slot = st.container(key="source").empty()
    make = getattr(vg.charts, name)
    if not trainer().holds(settings):
        # There at once, and the same but for a few cells.
        with place:
            draw(picture_of(make(vg.predict(**settings))))
    run = trainer().log(settings, slot)
    log, picture = run.log, picture_once(make, run)
    slot.markdown(
        f"{LIVE}: {len(log.runs):,} runs of {settings['steps']} steps, by one call of "
        f"`vgkeras.sweep`. {vg.theory.agreement(log).why()}"
    )
    keys = {by: f"cell_{by}", "depth": "cell_depth"}
    draw_cells(place, picture, cells_once(run, by), keys)
    explain(below, name, READ[by], MISREAD[by], st.markdown, picture.words)
    st.header("One run of the map")
    _one_run(log, by, settings)
    downloads_below(log)


def _settings() -> tuple[str, Settings]:
    """The axis beside depth, and the arguments of `vg.sweep`."""
    first, second, third = st.columns(3)
    by = AXES[choice("Depth and", list(AXES), "map_by", first)]
    settings: Settings = {"depths": vg.charts.MAP_DEPTHS, "samples": 4, "every": None}
    settings["target"] = DEFAULTS["target"]
    if by == "scale":
        settings["scales"] = vg.charts.MAP_SCALES
        settings["learning_rate"] = _option("Learning rate", "learning_rate", 2, second)
    else:
        settings["scales"] = [_option("Scale c", "scale", 8, second)]
        settings["learning_rate"] = vg.charts.MAP_LEARNING_RATES
    settings["steps"] = _option("Training steps", "steps", 2, third)
    return by, settings


def _option(label: str, name: str, first: int, at: Any) -> Any:
    return slider(label, OPTIONS[name], OPTIONS[name][first], f"map_{name}", at)


def _one_run(log: vg.GradientLog, by: str, settings: Settings) -> None:
    st.markdown("Click a cell of the map, or choose it here.")
    left, right = st.columns(2)
    by_scale = by == "scale"
    values = vg.charts.MAP_SCALES if by_scale else vg.charts.MAP_LEARNING_RATES
    label = "Its scale c" if by_scale else "Its learning rate"
    value = slider(label, values, 0.9 if by_scale else 0.01, f"cell_{by}", left)
    depth = slider("Its depth", vg.charts.MAP_DEPTHS, 20, "cell_depth", right)
    with st.container(key="outcomes"):
        cell = log.select(**{by: value, "depth": depth})
        st.markdown(f"{outcomes(cell)} {_theory(cell)}")
    one: Settings = {"scales": [value]} if by_scale else {"learning_rate": value}
    # The samples of the lesson: norms over the batch are then the same as there.
    one |= {"depths": [depth], "samples": DEFAULTS["samples"]}
    one["every"] = log_interval(settings["steps"])
    bar = st.empty()
    run = trainer().log({**settings, **one}, bar)
    bar.empty()
    curves(run)


def _theory(cell: vg.GradientLog) -> str:
    """What theory says of a cell, in a sentence."""
    verb = outcome_verb(cell.theory.runs["outcome"].iloc[0])
    return f"Theory says that it {verb}."
