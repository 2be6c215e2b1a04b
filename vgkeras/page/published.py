"""What was published, and what we measured."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.figures import draw_once, figure
from vgkeras.page.outcomes import SIGNS, UNKNOWN
from vgkeras.page.recordings import PUBLISHED, RESNET, recorded


def published() -> None:
    """Draws the section."""
    st.title("What was published, and what we measured")
    _resnet152()
    st.header("Ten results, measured again")
    with st.container(key="outcomes"):
        for result in vg.published.load(PUBLISHED):
            _card(result)
    st.caption(
        ":material/history: **Recorded** by `python -m vgkeras.record published`."
    )


def _resnet152() -> None:
    """The depth that the lecture names, for real."""
    run = recorded(RESNET)
    st.header("The lecture's 152 layers")
    st.markdown(vg.charts.shortcuts_sentence(run.log))
    figure(
        vg.charts.gradient_with_and_without_shortcuts,
        run,
        read="A line that falls to the right is a gradient that grows on its way back "
        "from the output.",
        misread="Batch normalization is in both networks. It keeps the activations in "
        "bounds, not the gradients.",
    )
    facts = run.log.metadata
    st.caption(
        f":material/history: **Recorded** on {facts['recorded']} from Keras' "
        f"`ResNet152` by `{facts['command']}`."
    )


def _card(result: vg.published.Result) -> None:
    """Closed, it says who found what, and whether we did, too."""
    sign = SIGNS["trains"] if result.holds else UNKNOWN
    with (
        st.container(key=f"card_{result.name}"),
        st.expander(f"{sign} **{result.source}**: {result.claim}"),
    ):
        if result.points:
            name = f"picture_{result.name}"
            with st.container(key=name, height=vg.charts.PICTURE_HEIGHT, border=False):
                draw_once(vg.charts.published_picture, result.name, result.points)
        st.markdown(f"*What we measured.* {result.measured}")
        st.markdown(f"[Read it]({result.url})")
        st.caption(f"It took {result.seconds:.3g} s on two cores.")
