"""What helps, and against what: with a task, and in the lesson's networks."""

from collections.abc import Callable

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice, several, slider
from vgkeras.page.digits import digits, digits_source
from vgkeras.page.downloads import downloads_below
from vgkeras.page.figures import KEYS, MOST_SENTENCES, draw, figure, picture_of
from vgkeras.page.named_log import NamedLog
from vgkeras.page.networks import OPTIONS
from vgkeras.page.recordings import remedies_log

COMPARISONS = ["one change at a time", "initial weights, by activation"]
FIRST = [
    "Scaled identity",
    "Glorot normal",
    "Orthogonal",
    "He normal + ReLU",
    "Residual, ReZero, rate 0.02",
    "Layer normalization",
    "Clipping by norm 1",
    "Adam",
]
DEPTHS = [2, 10, 50, 152]
SLOW = ("Layer normalization", "Batch normalization")  # live, they come last


def remedies() -> None:
    """Draws the section."""
    st.title("What helps, and against what")
    digits()
    st.header("In the lesson's networks")
    settings = _settings()
    if not settings["names"]:
        st.info("Choose at least one remedy.")
        st.stop()
    with st.container(key="outcomes"):
        sentences = st.empty()
    with st.container(key="remedies_preview"):
        preview = _preview(st.empty())
    run = remedies_log(settings, preview)
    sentences.markdown(_sentences_once(run))
    _figures(run, len(settings["names"]))
    downloads_below(run.log)
    digits_source()


def _preview(slot: st.delta_generator.DeltaGenerator) -> Callable:
    """Draws the remedies that a live run has compared so far."""

    def show(log: vg.GradientLog | None) -> None:
        if log is None:
            slot.empty()
            return
        with slot.container():
            for make in (
                vg.charts.outcome_by_remedy_and_depth,
                vg.charts.remedy_gradient_by_depth,
            ):
                draw(picture_of(make(log)))

    return show


@st.cache_data(max_entries=MOST_SENTENCES, show_spinner=False, hash_funcs=KEYS)
def _sentences_once(run: NamedLog) -> str:
    sentences = vg.remedies.comparison_sentences(run.log)
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _figures(run: NamedLog, count: int) -> None:
    figure(
        vg.charts.outcome_by_remedy_and_depth,
        run,
        height=vg.charts.outcome_height(count),
        read="The first row is no remedy. Marks: what most of five seeds did.",
        misread="A stack that stalls need not have vanished: one of ReLU units cannot "
        "give the negative numbers that this target asks for.",
    )
    figure(
        vg.charts.remedy_gradient_by_depth,
        run,
        name="remedy_gradient_by_depth",
        height=vg.charts.REMEDY_HEIGHT,
        read="A level line keeps the gradient at any depth.",
        misread="A good gradient at the start is not yet a stack that trains, and a "
        "gradient of exactly 0 in layer 1 need not stay so: with ReZero the factors of "
        "the branches learn first.",
    )
    figure(
        vg.charts.activation_by_layer,
        run,
        choice("Depth", DEPTHS, "remedy_depth"),
        height=vg.charts.REMEDY_HEIGHT,
        read="What a layer puts out before training; dashed: the typical stack.",
        misread="The mean of many stacks is not the typical stack: Gaussian weights of "
        "variance 1/n keep the *mean* square for ever, and nearly every single stack "
        "shrinks.",
    )


def _settings() -> Settings:
    """The arguments of `vgkeras.remedies.compare`."""
    settings: Settings = {"names": _names(), "depths": DEPTHS}
    sliders = (
        ("scale", "Scale c of the identity", OPTIONS["scales"], 0.5),
        ("units", "Units in a layer", OPTIONS["units"], 16),
        ("learning_rate", "Learning rate", OPTIONS["learning_rate"], 0.1),
        ("steps", "Training steps", [50, 100, 200, 500], 500),
    )
    for at, (name, label, options, first) in zip(st.columns(4), sliders, strict=True):
        settings[name] = slider(label, options, first, f"remedy_{name}", at)
    return settings


def _names() -> tuple:
    """Names of remedies, or all initial weights with one activation."""
    how = choice("Compare", COMPARISONS, "remedy_compare")
    if how == COMPARISONS[1]:
        activations = list(vg.remedies.ACTIVATIONS)
        return vg.remedies.initial_weights(
            choice("Activation", activations, "remedy_activation")
        )
    names = several("Remedies", vg.remedies.NAMES, FIRST, "remedies", 10)
    order = [name for name in vg.remedies.NAMES if name not in SLOW]
    return tuple(name for name in (*order, *SLOW) if name in names)
