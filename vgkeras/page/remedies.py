"""What helps, and against what: one change at a time."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice, several, slider
from vgkeras.page.downloads import downloads_below
from vgkeras.page.figures import figure
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


def remedies() -> None:
    """Draws the section."""
    st.title("What helps, and against what")
    st.markdown(
        "The same stack, the same data, the same seeds, and **one change at a time**. "
        "The lecture calls careful random weights a partial solution: see how far each "
        "remedy carries, and which ones cure something else."
    )
    settings = _settings()
    if not settings["names"]:
        st.info("Choose at least one remedy.")
        st.stop()
    run = remedies_log(settings)
    _figures(run)
    st.header("Which remedy cures what")
    with st.container(key="outcomes"):
        for group, words in vg.remedies.WORDS.items():
            st.markdown(f"**{group.capitalize()}.** {words}")
    downloads_below(run.log)


def _figures(run: NamedLog) -> None:
    figure(
        vg.charts.outcome_by_remedy_and_depth,
        run,
        read="A row is a remedy, a column is a depth. Colour and shape say what most "
        "of the five seeds did, the number beside it how many of them.",
        misread="A stack that stalls need not have vanished: one of ReLU units cannot "
        "give the negative numbers that this target asks for.",
    )
    figure(
        vg.charts.remedy_gradient_by_depth,
        run,
        name="remedy_gradient_by_depth",
        height=vg.charts.REMEDY_HEIGHT,
        read="A flat line keeps the gradient at any depth, a slope loses or gains a "
        "factor with every layer. Bars span half of the seeds.",
        misread="A good gradient at the start is not yet a stack that trains, and a "
        "gradient of exactly 0 in layer 1 need not stay so: with ReZero the factors of "
        "the branches learn first.",
    )
    figure(
        vg.charts.activation_by_layer,
        run,
        choice("Depth", DEPTHS, "remedy_depth"),
        height=vg.charts.REMEDY_HEIGHT,
        read="What a layer puts out, before training. Dashed: exact theory for the "
        "typical stack, where there is one.",
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
    return tuple(name for name in vg.remedies.NAMES if name in names)
