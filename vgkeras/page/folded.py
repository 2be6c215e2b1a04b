"""What is folded away, and not made until it is opened: a page is sooner there."""

from collections.abc import Callable
from typing import Any

import streamlit as st


def folded(
    label: str, icon: str, key: str, draw: Callable[..., Any], *arguments: Any
) -> None:
    """Draws a fold; `draw(*arguments)` fills it once it is opened."""
    fold = st.expander(label, icon=f":material/{icon}:", key=key, on_change="rerun")
    if fold.open:
        with fold:
            draw(*arguments)
