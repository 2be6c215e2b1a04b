"""The number format decides: where each one gives out."""

from typing import Any

import streamlit as st

import vgkeras as vg
from vgkeras.page.controls import Settings, slider
from vgkeras.page.figures import figure
from vgkeras.page.networks import DEFAULTS, FORMATS, OPTIONS
from vgkeras.page.outcomes import outcomes
from vgkeras.page.trainer import LIVE, trainer

DEEPEST = 2000  # layers that the chart looks at
STEPS = 100


def formats() -> None:
    """Draws the section."""
    st.title("The number format decides")
    st.markdown(
        "A number is a few digits and an exponent. Digits run out first: an update "
        "below half a digit is rounded away, $w - \\eta\\, g = w$, and that weight is "
        "**frozen**. Exponents run out later: **subnormal**, **exactly 0**, **Inf**."
    )
    settings = _settings()
    figure(
        _failures,
        *settings.values(),
        name="failure_by_depth_and_format",
        read="Six quantities a format, each called at its mark. Shaded: up to "
        "your depth.",
        misread="“float32 reaches down to 10⁻³⁸, so nothing is lost before.” Digits "
        "run out first.",
    )
    scale, depth = settings["scale"], settings["depth"]
    st.header(f"c = {scale:g}, L = {depth}: forecast, and {STEPS} measured steps")
    _measure(settings, _forecasts(settings))


def _settings() -> Settings:
    """Scale, depth and learning rate."""
    first, second, third = st.columns(3)
    scale = slider("Scale c", OPTIONS["scales"], 0.5, "format_scale", first)
    depth = slider("Depth L", OPTIONS["depths"], 20, "format_depth", second)
    rates = OPTIONS["learning_rate"]
    rate = slider("Learning rate", rates, 0.01, "format_learning_rate", third)
    return {"scale": scale, "depth": depth, "learning_rate": rate}


def _failures(scale: float, depth: int, learning_rate: float) -> Any:
    more: Settings = {"learning_rate": learning_rate, "target": DEFAULTS["target"]}
    limits = [
        vg.floats.limits(scale, dtype, deepest=DEEPEST, **more) for dtype in FORMATS
    ]
    return vg.charts.failure_by_depth_and_format(limits, depth)


def _forecasts(settings: Settings) -> dict[str, Any]:
    """A card a format; returns the place in each for what is measured."""
    columns, slots = [*st.columns(2), *st.columns(2)], {}
    for place, dtype in enumerate(FORMATS):
        with columns[place].container(border=True, key=f"forecast_{dtype}"):
            sentences = vg.floats.forecast(
                dtype=dtype, target=DEFAULTS["target"], **settings
            )
            st.markdown(f"**{dtype}.** " + " ".join(sentences))
            slots[dtype] = st.empty()
            slots[dtype].caption("Not measured yet.")
    return slots


def _measure(settings: Settings, slots: dict[str, Any]) -> None:
    """A run in each format, shown as it is done: each compiles a program."""
    bar = st.container(key="source").empty()
    run = {
        "scales": [settings["scale"]],
        "depths": [settings["depth"]],
        "learning_rate": settings["learning_rate"],
        "target": DEFAULTS["target"],
        "steps": STEPS,
        "every": STEPS,
    }
    for dtype, slot in slots.items():
        log = trainer().log({**run, "dtype": dtype}, bar).log
        slot.markdown(outcomes(log))
    bar.markdown(f"{LIVE} by `vgkeras.sweep`.")
