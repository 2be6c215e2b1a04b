"""The lesson as it is set, to be taken away: code and data."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, choice
from vgkeras.page.downloads import downloads
from vgkeras.page.networks import networks
from vgkeras.page.outcomes import outcomes
from vgkeras.page.recordings import lesson_log


def take_away() -> None:
    """Draws the section."""
    st.title("Take it away")
    st.markdown(
        "The networks that are set here, as **code** that makes the same runs "
        "with the same numbers, and as **data**. *Link* copies the view, and each "
        "chart saves itself as a picture."
    )
    settings = networks()
    log = lesson_log(settings).log
    st.header("As code")
    _code(log, settings)
    st.header("As data")
    downloads(log)


def _code(log: vg.GradientLog, settings: Settings) -> None:
    st.subheader("A notebook cell: all stacks")
    st.code(vg.exports.notebook(settings), language="python", wrap_lines=True)
    left, right = st.columns(2)
    depth = choice("Depth of one stack", settings["depths"], "stack_depth", left)
    scale = choice("Its scale", settings["scales"], "stack_scale", right)
    run = int(log.select(depth=depth, scale=scale).runs["run"].iloc[0])
    # What a model does not know of its run, or knows in float32.
    facts = {name: settings[name] for name in ("target", "seed", "learning_rate")}
    runs = log.replace(runs=log.runs.assign(**facts))
    st.subheader("A script in plain Keras: one stack")
    st.code(vg.exports.keras_script(runs, run), language="python", wrap_lines=True)
    st.subheader("A test for pytest: what became of it")
    st.code(vg.exports.test(runs, run), language="python", wrap_lines=True)
    with st.container(key="outcomes"):
        st.markdown(outcomes(log.select(run=run)))
