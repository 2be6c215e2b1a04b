"""The lesson: loss stalls or diverges with depth."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice
from vgkeras.page.figures import figure
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import networks
from vgkeras.page.outcomes import outcomes_once
from vgkeras.page.recordings import lesson_log
from vgkeras.page.show import show_button
from vgkeras.page.texts import FORMULAS, KINDS, MISCONCEPTIONS, SOURCES
from vgkeras.page.trainer import warm_up


def lesson() -> None:
    """Draws the section."""
    settings = networks()
    _problem(settings)
    _formulas()
    st.header("Measured: loss stalls or diverges with depth")
    run = lesson_log(settings)
    _training(run, settings)
    st.header("Inside one stack: what is flat and what slopes")
    _inside(run, settings)
    st.header("The outcome of every stack")
    _outcomes(run, settings)
    st.header("What people ask, and get wrong")
    _misconceptions()
    st.header("Sources")
    st.markdown(SOURCES)
    warm_up()


def _problem(settings: Settings) -> None:
    st.title("Vanishing and exploding gradients")
    st.markdown(
        "In a very deep network the derivatives can become exponentially small or "
        "exponentially large, and training gets hard. The simplest network that shows "
        "it has $L$ layers, no bias, linear activation $g(z) = z$, and every weight "
        "matrix $c$ times the identity:"
    )
    st.latex(r"\hat y = W^{[L]}\, W^{[L-1]} \cdots W^{[2]}\, W^{[1]}\, x")
    st.latex(r"W^{[l]} = c\,I \quad\Rightarrow\quad \hat y = c^{L} x")
    figure(
        _theory,
        settings,
        name="theory",
        read="Every step up the axis is a factor, so a straight line is exponential "
        "growth or decay: $1.5^L$ explodes, $0.5^L$ vanishes, and $0.9^L$, from "
        "weights just a little smaller than the identity, vanishes too, only later.",
        misread="The axis below is the depth of the whole network, not a layer in "
        "it: within one stack all layers have the same weight gradient.",
    )


def _theory(settings: Settings) -> Any:
    return vg.charts.gradient_by_depth(vg.predict(**settings))


def _formulas() -> None:
    with st.expander("The formulas, step by step", icon=":material/function:"):
        for words, formula in FORMULAS:
            st.markdown(words)
            if formula:
                st.latex(formula)


def _training(run: NamedLog, settings: Settings) -> None:
    figure(
        vg.charts.final_loss_by_depth,
        run,
        read="Low points have learned. Points on the grey line do no better than a "
        "network that always answers 0. Marks above the axis have diverged.",
        misread="A stalled stack is not at its optimum: it takes such tiny steps that "
        f"nothing happens in {settings['steps']} of them.",
    )
    depth = choice("Depth", settings["depths"], "depth_shown")
    figure(
        vg.charts.loss_by_step,
        run.select(depth=depth),
        read="A falling curve trains, a flat one stalls, one that leaves the top "
        "diverges. Points that leave their dashed line far below, and go on level, "
        "have reached the rounding of the number format.",
        misread="Flat does not mean finished. Look at the height: a loss of 1 is the "
        "loss of answering 0.",
    )
    figure(
        vg.charts.gradient_by_depth,
        run,
        read="Points are measured by `tf.GradientTape`, dashed lines are computed "
        "from the formula. They should agree until the number format gives out.",
        misread="A mark in the band at the edge is no missing value: the gradient is "
        "exactly 0, or no number any more.",
    )


def _inside(run: NamedLog, settings: Settings) -> None:
    st.markdown(
        "In this network **the weight gradients are equal in all layers, and they "
        "vanish or explode with the depth of the stack**. What slopes from layer to "
        "layer are the activations and the gradients with respect to them."
    )
    left, right = st.columns(2)
    depth = choice("Depth of the stack", settings["depths"], "stack_depth", left)
    scale = choice("Its scale", settings["scales"], "stack_scale", right)
    stack = run.select(depth=depth, scale=scale)
    figure(
        vg.charts.kinds_by_layer,
        stack,
        read="Follow one colour from the input (left) to the output (right). "
        "Activations carry the factor $c$ forward, their gradients carry it backward; "
        "the weight gradient is the product of the two and stays level.",
        misread="“Early layers get smaller weight gradients” is not true here: that "
        "is the slope of the activation *gradients*, or of the activations.",
    )
    figure(
        vg.charts.gradient_by_layer_and_step,
        stack,
        choice("Colour shows", list(KINDS), "kind", format_func=KINDS.get),
        read="A column of one colour: all layers agree. A change from left to right: "
        "training.",
        misread="Small changes of colour can be large factors; see the scale below.",
    )


def _outcomes(run: NamedLog, settings: Settings) -> None:
    with st.container(key="outcomes"):
        columns = st.columns(min(len(settings["scales"]), 3), gap="medium")
        for place, scale in enumerate(settings["scales"]):
            with columns[place % len(columns)].container(border=True):
                st.subheader(f"Scale {scale:g}")
                st.markdown(outcomes_once(run.select(scale=scale)))


def _misconceptions() -> None:
    for number, card in enumerate(MISCONCEPTIONS):
        question, answer, place, chart, setting = card
        with st.expander(question, icon=":material/help:"):
            st.markdown(answer)
            show_button(f"Show me: {place}", chart, key=f"show_{number}", **setting)
