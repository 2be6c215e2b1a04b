"""The lesson: loss stalls or diverges with depth."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice
from vgkeras.page.explorer import CHARTS, Explorer
from vgkeras.page.figures import figure
from vgkeras.page.folded import folded
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import DEFAULTS, complete, networks
from vgkeras.page.opening import is_opening, open_the_rest
from vgkeras.page.outcomes import outcome_grid
from vgkeras.page.recordings import lesson_log
from vgkeras.page.show import show_button
from vgkeras.page.texts import FORMULAS, KINDS, MISCONCEPTIONS, SOURCES


def lesson() -> None:
    """Draws the section."""
    first_screen = st.container(key="first_screen", gap="xsmall")
    with st.container(key="spoken"):  # to see, the figure says it
        st.title("Vanishing and exploding gradients")
    opening = is_opening()
    settings = complete(DEFAULTS) if opening else networks()
    with first_screen:
        explorer = Explorer(settings)
    log = lesson_log(settings)
    explorer.draw_depths(log)
    if opening:
        explorer.run()
        open_the_rest(CHARTS[:2])
        return
    st.header("What became of each network")
    outcome_grid(log, explorer.scale, explorer.depth)
    st.header("The gradient falls or grows with depth")
    _gradient_by_depth(log, settings["scales"])
    st.header("All layers agree, at every step")
    by_step = st.container()
    st.header("What people ask, and get wrong")
    _misconceptions()
    st.header("Read on")
    folded("The formulas, step by step", "function", "formulas", _formulas)
    folded("Sources", "menu_book", "sources", st.markdown, SOURCES)
    run = explorer.run()
    with by_step:
        _gradient_by_step(run)


def _gradient_by_depth(log: NamedLog, scales: list[float]) -> None:
    laws = ["Twice the depth is the square of the factor: exponential."]
    if min(scales) < 1:
        laws.append("Below $c = 1$ the gradient falls like $c^{L-1}$.")
    if max(scales) > 1:
        laws.append("Above $c = 1$ the error explodes too: it grows like $c^{2L-1}$.")
    figure(
        vg.charts.gradient_by_depth,
        log,
        read=" ".join(laws),
        misread="The axis is the depth of the whole network, not a layer in it.",
    )


def _gradient_by_step(run: NamedLog) -> None:
    kind = choice("Colour shows", list(KINDS), "kind", format_func=KINDS.get)
    figure(
        vg.charts.gradient_by_layer_and_step,
        run,
        kind,
        read="A column of one colour: all layers agree. From left to right: training.",
        misread="Small changes of colour can be large factors; see the scale.",
    )


def _misconceptions() -> None:
    for number, card in enumerate(MISCONCEPTIONS):
        question, *rest = card
        folded(question, "help", f"question_{number}", _answer, number, *rest)


def _answer(number: int, text: str, place: str, chart: str, setting: Settings) -> None:
    st.markdown(text)
    show_button(f"Show me: {place}", chart, key=f"show_{number}", **setting)


def _formulas() -> None:
    for words, formula in FORMULAS:
        st.markdown(words)
        if formula:
            st.latex(formula)
