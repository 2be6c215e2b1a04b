"""Predict what a stack does, then look; scored in decades."""

from math import log10

import streamlit as st

import vgkeras as vg
from vgkeras._text import power_of_ten
from vgkeras.page.controls import Settings, control, keys_under, move, slider
from vgkeras.page.curves import curves
from vgkeras.page.named_log import NamedLog
from vgkeras.page.outcomes import outcomes
from vgkeras.page.poll import poll
from vgkeras.page.trainer import LIVE, trainer

NUMBERS = range(1, 100)
OPEN = "?"  # not yet guessed
GRADIENTS = (OPEN, *(10.0**exponent for exponent in vg.quiz.EXPONENTS))


def predict() -> None:
    """Draws the section."""
    st.title("Predict, then look")
    left, right = st.columns(2)
    number = slider("Question", NUMBERS, 1, "stack", left)
    series = slider("Series of questions", range(10), 0, "series", right)
    settings = vg.quiz.question(number, series)
    name = f"{series}.{number}"
    is_open = st.query_params.get("looked") == name
    with st.container(key="card_question"):
        _ask(settings)
        guess = _guess(is_open)
        if is_open:
            run = _answer(settings, guess, name)
        else:
            _wait(guess, name)
    _score()
    if is_open:
        _next(number)
        curves(run)


def _ask(settings: Settings) -> None:
    scale, depth = settings["scales"][0], settings["depths"][0]
    st.markdown(
        f"A network of **L = {depth}** linear layers, all of them **W = {scale:g}·I**. "
        f"It learns y = x by {settings['steps']} steps of gradient descent with the "
        f"learning rate {settings['learning_rate']:g}. Say first, then look."
    )


def _guess(is_open: bool) -> vg.quiz.Guess | None:
    """The visitor's guess, if they have made it; once they look it stays."""
    left, right = st.columns(2)
    outcome = control(
        st.segmented_control,
        "What becomes of it",
        vg.quiz.OUTCOMES,
        key="guess",
        at=left,
        disabled=is_open,
    )
    gradient = slider(
        "The norm of dL/dW, in any layer, before the first step",
        GRADIENTS,
        OPEN,
        "guess_exponent",
        right,
        format_func=lambda norm: norm if norm == OPEN else power_of_ten(log10(norm)),
        disabled=is_open,
    )
    if outcome is None or gradient == OPEN:
        return None
    return vg.quiz.Guess(outcome, round(log10(gradient)))


def _wait(guess: vg.quiz.Guess | None, name: str) -> None:
    """What there is before the answer: in a class poll that is the teacher's."""
    if "look" in keys_under("hide"):
        st.caption("The answer comes by a second link.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Look" if guess else "Look: choose both first",
            type="primary",
            key="look",
            disabled=guess is None,
            on_click=_look,
            args=(name,),
        )
        poll(name)


def _answer(settings: Settings, guess: vg.quiz.Guess | None, name: str) -> NamedLog:
    """Draws what was measured, beside the guess, in words."""
    slot = st.container(key="source").empty()
    run = trainer().log(settings, slot)
    slot.markdown(f"{LIVE} by `vgkeras.sweep`.")
    answer = vg.quiz.answer(run.log)
    if guess and st.session_state.pop("asked", None) == name:
        _scores().setdefault(name, vg.quiz.score(guess, answer))
    with st.container(key="outcomes", border=True):
        if guess:
            st.markdown(f"**{vg.quiz.result(guess, answer)}**")
        scale, depth = settings["scales"][0], settings["depths"][0]
        st.markdown(outcomes(run.log))
        st.markdown(vg.quiz.reason(scale, depth, answer))
    return run


def _next(number: int) -> None:
    if number < NUMBERS[-1] and "stack" not in keys_under("hide"):
        st.button("Next question", type="primary", on_click=_go_to, args=(number + 1,))


def _look(name: str) -> None:
    st.query_params["looked"] = name
    st.session_state["asked"] = name


def _go_to(number: int) -> None:
    del st.query_params["looked"]
    st.session_state.update(guess=None, guess_exponent=OPEN)
    move({"stack": number})


def _score() -> None:
    st.caption(f"So far: {vg.quiz.summary(_scores().values())}")


def _scores() -> dict[str, vg.quiz.Score]:
    """The visitor's scores, by question: the first look counts."""
    return st.session_state.setdefault("scores", {})
