"""The outcome of runs: with a sign and the numbers, or as cells that answer clicks."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import vgkeras as vg
from vgkeras._text import typeset
from vgkeras.page.controls import choice, move
from vgkeras.page.figures import (
    KEYS,
    MOST_SENTENCES,
    Picture,
    draw,
    drawing_room,
    explain,
    picture_once,
    room,
)
from vgkeras.page.named_log import NamedLog
from vgkeras.page.show import show_button
from vgkeras.theory import EXPLODED, FLAT, LEARNED

SIGNS = {
    "trains": ":green[:material/check_circle:]",
    "slow": ":orange[:material/hourglass_bottom:]",
    "stalls": ":violet[:material/pause_circle:]",
    "diverges": ":red[:material/error:]",
}
UNKNOWN = ":gray[:material/help:]"
DEFINITION = (
    f"A network **trains** if at most {LEARNED:.0%} of its first loss is left, and of "
    f"that of answering 0; it **stalls** if at least {FLAT:.0%} of the first is left, "
    f"**diverges** beyond {EXPLODED:,.0f} times the larger of both, and is **slow** "
    "in between."
)


def outcomes(log: vg.GradientLog, label: str = "") -> str:
    """A paragraph a run."""
    pairs = zip(log.runs["outcome"], vg.charts.run_sentences(log), strict=True)
    words = (f"{SIGNS[word]} {label}{typeset(sentence)}" for word, sentence in pairs)
    return "\n\n".join(words)


@st.cache_data(max_entries=MOST_SENTENCES, show_spinner=False, hash_funcs=KEYS)
def outcomes_once(run: NamedLog) -> str:
    """The same, worked out once for all visitors."""
    with drawing_room():
        return outcomes(run.log)


def outcome_grid(log: NamedLog, scale: float | None, depth: int | None) -> None:
    """Draws a cell for every run of a sweep; of the chosen one what became of it.

    `scale` and `depth` are those to begin with, if there is such a run.
    """
    cells = cells_once(log, "scale")
    scales, depths = set(cells["scale"]), set(cells["depth"])
    place, below = room("outcome_grid", vg.charts.grid_height(len(depths)))
    left, right = st.columns(2)
    scale = _choice("Scale c", scales, scale, "grid_scale", left)
    depth = _choice("Depth L", depths, depth, "grid_depth", right)
    picture = picture_once(_grid, log, scale, depth)
    draw_cells(place, picture, cells, {"scale": "grid_scale", "depth": "grid_depth"})
    explain(
        below,
        "outcome_grid",
        DEFINITION,
        "A run that stalls would move in the end: with more steps, often far more than "
        "anybody can wait for.",
        st.markdown,
        picture.words,
    )
    with st.container(key="outcomes"):
        st.markdown(outcomes_once(log.select(scale=scale, depth=depth)))
    show_button("Its curves", "network", key="grid_curves", scale=scale, depth=depth)


@st.cache_resource(max_entries=30, show_spinner=False, hash_funcs=KEYS)
def cells_once(log: NamedLog, by: str) -> dict[str, list[Any]]:
    """The columns that say where the runs stand, for all visitors: a log is large."""
    return log.log.runs[["run", by, "depth"]].to_dict("list")


def _grid(log: vg.GradientLog, scale: float, depth: int) -> Any:
    run = log.select(scale=scale, depth=depth).runs["run"].iloc[0]
    return vg.charts.outcome_grid(log, selected=run)


def draw_cells(
    place: DeltaGenerator,
    picture: Picture,
    cells: dict[str, list[Any]],
    keys: dict[str, str],
) -> None:
    """Draws cells; a click on one moves the controls `keys` to its run."""
    key = f"{'_'.join(keys.values())}_cell"
    with place:
        draw(
            picture,
            key=key,
            on_select=partial(_move_to_cell, key, cells, keys),
            selection_mode=vg.charts.SELECTION,
        )


def _choice(label: str, values: Iterable, first: Any, key: str, at: Any) -> Any:
    options = sorted(values)
    return choice(label, options, key, at, first if first in options else None)


def _move_to_cell(key: str, cells: dict[str, list[Any]], keys: dict[str, str]) -> None:
    clicked = st.session_state[key]["selection"].get(vg.charts.SELECTION)
    run = clicked[0].get("run") if clicked else None
    if run in cells["run"]:
        row = cells["run"].index(run)
        move({control: cells[column][row] for column, control in keys.items()})
