"""The tables of a log as files."""

from collections.abc import Callable
from functools import partial

import streamlit as st

import vgkeras as vg


def downloads(log: vg.GradientLog) -> None:
    """Draws a button a file; each is written when it is asked for."""
    _button(
        "All of it (Parquet; opens in “Your log”)",
        "gradients.parquet",
        log.to_bytes,
        "application/vnd.apache.parquet",
    )
    for name in ("runs", "losses", "layers"):
        table = getattr(log, name)
        _button(
            f"The table of {name} (CSV)",
            f"{name}.csv",
            partial(table.to_csv, index=False),
            "text/csv",
        )


def downloads_below(log: vg.GradientLog) -> None:
    """Draws them in an expander, at the end of a section."""
    with st.expander("Take these numbers away", icon=":material/download:"):
        downloads(log)


def _button(label: str, name: str, content: Callable, kind: str) -> None:
    st.download_button(
        label, content, name, kind, key=f"file_{name}", on_click="ignore"
    )
