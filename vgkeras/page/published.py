"""What was published, and what we measured."""

import streamlit as st

import vgkeras as vg
from vgkeras.page.outcomes import SIGNS, UNKNOWN
from vgkeras.page.recordings import PUBLISHED


def published() -> None:
    """Draws the section."""
    st.title("What was published, and what we measured")
    st.markdown(
        "Six results on deep networks, each repeated by a function of "
        "`vgkeras.published`. What was measured is **recorded**, by "
        "`python -m vgkeras.record published`; tests run it again."
    )
    with st.container(key="outcomes"):
        for result in vg.published.load(PUBLISHED):
            with st.container(border=True, key=f"card_{result.name}"):
                sign = SIGNS["trains"] if result.holds else UNKNOWN
                st.markdown(f"{sign} **[{result.source}]({result.url})**")
                st.markdown(f"*The claim.* {result.claim}")
                st.markdown(f"*What we measured.* {result.measured}")
                st.caption(f"It took {result.seconds:.3g} s on two cores.")
