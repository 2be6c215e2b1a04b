"""The file that a visitor opens, in hand for the session: sections may change."""

import streamlit as st

from vgkeras.page.recordings import LESSON

MOST_UPLOAD = 20  # megabytes of a file, as in .streamlit/config.toml


def opened_file() -> bytes | None:
    """Draws the controls; returns what is in the file, if there is one."""
    st.file_uploader(
        f"A gradient log: a Parquet file of at most {MOST_UPLOAD} MB",
        type="parquet",
        max_upload_size=MOST_UPLOAD,
        key="your_file",
        on_change=_keep,
    )
    name, content = st.session_state.get("own_file", ("", None))
    if content is None:
        return _example()
    if st.session_state["your_file"] is None:
        st.text(f"Still open: {name}")
        st.button("Close it", on_click=st.session_state.pop, args=("own_file", None))
    if len(content) > MOST_UPLOAD * 2**20:
        st.error(f"This file is not opened: it has more than {MOST_UPLOAD} MB.")
        return None
    return content


def _keep() -> None:
    file = st.session_state["your_file"]
    content = ("", None) if file is None else (file.name, file.getvalue())
    st.session_state["own_file"] = content


def _example() -> bytes | None:
    is_on = st.toggle(
        "No file at hand? Take the log of the lesson",
        key="example",
        bind="query-params",
    )
    return LESSON.read_bytes() if is_on else None
