"""Predict what a stack does, then look; scored in decades."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice, move, slider
from vgkeras.page.curves import curves
from vgkeras.page.named_log import NamedLog
from vgkeras.page.outcomes import outcomes
from vgkeras.page.trainer import LIVE, trainer, warm_up

NUMBERS = range(1, 100)


def predict() -> None:
    """Draws the section."""
    st.title("Predict, then look")
    left, right = st.columns(2)
    number = slider("Stack number", NUMBERS, 1, "stack", left)
    series = slider("Series of stacks", range(10), 0, "series", right)
    settings = vg.quiz.question(number, series)
    _ask(settings)
    name = f"{series}.{number}"
    is_open = st.query_params.get("looked") == name
    guess = _guess(is_open)
    if is_open:
        _answer(settings, guess, name, number)
    else:
        st.button("Look", type="primary", on_click=_look, args=(name,))
        _score()
        warm_up()


def _ask(settings: Settings) -> None:
    scale, depth = settings["scales"][0], settings["depths"][0]
    st.markdown(
        f"A stack of **L = {depth}** linear layers, all of them **W = {scale:g}·I**. "
        f"It learns y = x by {settings['steps']} steps of gradient descent with the "
        f"learning rate {settings['learning_rate']:g}. Say first, then look."
    )


def _guess(is_open: bool) -> vg.quiz.Guess:
    """The visitor's guess; once they have looked it stays as it was."""
    left, right = st.columns(2)
    outcome = choice(
        "What becomes of it",
        vg.quiz.OUTCOMES,
        "guess",
        left,
        first="stalls",
        disabled=is_open,
    )
    exponent = slider(
        "The norm of its gradient dL/dW, in any layer, before the first step",
        vg.quiz.EXPONENTS,
        0,
        "guess_exponent",
        right,
        format_func="1e{:+03d}".format,
        disabled=is_open,
    )
    return vg.quiz.Guess(outcome, exponent)


def _answer(settings: Settings, guess: vg.quiz.Guess, name: str, number: int) -> None:
    run = _run(settings, guess, name)
    _score()
    if number < NUMBERS[-1]:
        st.button("Next stack", type="primary", on_click=_go_to, args=(number + 1,))
    curves(run)


def _run(settings: Settings, guess: vg.quiz.Guess, name: str) -> NamedLog:
    """Draws what was measured, beside the guess, in words."""
    slot = st.container(key="source").empty()
    run = trainer().log(settings, slot)
    slot.markdown(f"{LIVE} by `vgkeras.sweep`.")
    answer = vg.quiz.answer(run.log)
    if st.session_state.pop("asked", None) == name:
        _scores().setdefault(name, vg.quiz.score(guess, answer))
    with st.container(key="outcomes", border=True):
        st.markdown(f"**{vg.quiz.result(guess, answer)}**")
        scale, depth = settings["scales"][0], settings["depths"][0]
        st.markdown(vg.quiz.reason(scale, depth, answer))
        st.markdown(outcomes(run.log))
    return run


def _look(name: str) -> None:
    st.query_params["looked"] = name
    st.session_state["asked"] = name


def _go_to(number: int) -> None:
    del st.query_params["looked"]
    move({"stack": number})


def _score() -> None:
    st.caption(f"So far: {vg.quiz.summary(_scores().values())}")


def _scores() -> dict[str, vg.quiz.Score]:
    """The visitor's scores, by question: the first look counts."""
    return st.session_state.setdefault("scores", {})
