"""The number format decides: where each one gives out."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import slider
from vgkeras.page.figures import figure
from vgkeras.page.outcomes import outcomes
from vgkeras.page.sidebar import FORMATS, OPTIONS
from vgkeras.page.trainer import LIVE, trainer

DEEPEST = 2000  # layers that the forecast looks at


def formats() -> None:
    """Draws the section."""
    st.title("The number format decides")
    st.markdown(
        "A computer keeps a number as a few digits and an exponent, and both run out. "
        "The gradient of a deep stack may be too small for the exponent, so it becomes "
        "**subnormal**, then **exactly 0**; too large, and it becomes **Inf**. Long "
        "before that the *update* is rounded away: $w - \\eta\\, g$ gives $w$ again, "
        "and the weight is **frozen**. All depths below follow from the format alone."
    )
    scale, depth, rate = _settings()
    figure(
        _failures,
        scale,
        depth,
        rate,
        name="failure_by_depth_and_format",
        read="A row is a number format. Each mark is the first depth at which "
        "something fails for good; the line is the depth that you chose.",
        misread="“float32 reaches down to 1e-38, so nothing is lost before.” Digits "
        "run out first: an update below half a digit of the weight changes nothing.",
    )
    st.header(f"The forecast for c = {scale:g}, L = {depth}")
    _forecasts(scale, depth, rate)
    st.header("The same stack, run in all four formats")
    _runs(scale, depth, rate)


def _settings() -> tuple[float, int, float]:
    """Scale, depth and learning rate."""
    first, second, third = st.columns(3)
    scale = slider("Scale c", OPTIONS["scales"], 0.5, "format_scale", first)
    depth = slider("Depth L", OPTIONS["depths"], 20, "format_depth", second)
    rates = OPTIONS["learning_rate"]
    rate = slider("Learning rate", rates, 0.01, "format_learning_rate", third)
    return scale, depth, rate


def _failures(scale: float, depth: int, rate: float) -> Any:
    limits = [
        vg.floats.limits(scale, dtype, learning_rate=rate, deepest=DEEPEST)
        for dtype in FORMATS
    ]
    return vg.charts.failure_by_depth_and_format(limits, depth)


def _forecasts(scale: float, depth: int, rate: float) -> None:
    columns = st.columns(2, gap="medium")
    for place, dtype in enumerate(FORMATS):
        with columns[place % 2].container(border=True, key=f"forecast_{dtype}"):
            st.subheader(dtype)
            sentences = vg.floats.forecast(
                scale, depth, dtype, learning_rate=rate, deepest=DEEPEST
            )
            st.markdown("\n".join(f"- {sentence}" for sentence in sentences))
    st.caption(
        "**Loss scaling** multiplies the loss before the backward pass and divides the "
        "gradients by the same number once they are in float32. It saves float16 "
        "gradients that are too small. It does not help weights that are themselves "
        "kept in float16, nor the forward pass, and no number helps where gradients "
        "span more decades than the format has."
    )


def _runs(scale: float, depth: int, rate: float) -> None:
    slot = st.container(key="source").empty()
    settings = {
        "scales": [scale],
        "depths": [depth],
        "learning_rate": rate,
        "steps": 100,
        "every": 100,
    }
    runs = [trainer().log({**settings, "dtype": dtype}, slot) for dtype in FORMATS]
    slot.markdown(f"{LIVE} by `vgkeras.sweep`: 100 steps.")
    with st.container(key="outcomes"):
        for dtype, run in zip(FORMATS, runs, strict=True):
            st.markdown(outcomes(run.log, f"**{dtype}** "))
