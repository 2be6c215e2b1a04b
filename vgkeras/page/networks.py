"""The stacks of the lesson, as they are set above the charts."""

from typing import Any

import streamlit as st

from vgkeras.page.controls import Settings, control, keys_under, move, several, slider

DEFAULTS: Settings = {
    "scales": [0.5, 0.9, 1.0, 1.5],
    "depths": [2, 5, 10, 20, 50, 100, 152],
    "units": 2,
    "learning_rate": 0.01,
    "steps": 200,
    "target": "scaled",
    "dtype": "float32",
    "seed": 0,
    "samples": 64,
}
TARGETS = {
    "identity": "y = x",
    "scaled": "y = x / 2",
    "negative": "y = x, last sign flipped",
    "rotation": "y = x turned by 45°",
    "teacher": "y = x M, M random",
}
FORMATS = ["float16", "bfloat16", "float32", "float64"]
OPTIONS: Settings = {
    "scales": [round(0.05 * k, 2) for k in range(6, 41)],
    "depths": range(1, 153),
    "units": [2, 4, 8, 16],
    "learning_rate": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
    "steps": range(50, 1001, 50),
    "target": list(TARGETS),
    "dtype": FORMATS,
    "samples": [16, 64, 256],
    "seed": range(100),
}
MOST_WORK = 3e10  # multiplications: half a minute on two cores


def networks() -> Settings:
    """Draws the controls; returns the arguments of `vgkeras.sweep`."""
    with st.expander("Change the networks", icon=":material/tune:"):
        left, right = st.columns(2, gap="medium")
        with left:
            settings = {
                "scales": _numbers("Scale c of every weight matrix", "scales", 6),
                "depths": _numbers("Depth L: number of layers", "depths", 8),
                "learning_rate": _number("Learning rate", "learning_rate"),
                "steps": _number("Training steps", "steps"),
            }
        with right:
            settings |= {
                "target": _name("What to learn", "target", TARGETS),
                "dtype": _name("Number format", "dtype"),
                "units": _number("Units in a layer", "units"),
                "samples": _number("Samples", "samples"),
                "seed": _number("Seed of the data", "seed"),
            }
        st.button("Back to the lecture's setting", on_click=move, args=(DEFAULTS,))
        if keys_under("lock") & set(DEFAULTS):
            st.caption(":material/lock: The link to this page holds some of them.")
    if not settings["scales"] or not settings["depths"]:
        st.info("Choose at least one scale and one depth in “Change the networks”.")
        st.stop()
    return complete(settings)


def complete(settings: Settings) -> Settings:
    """With the steps that are logged."""
    return {**settings, "every": log_interval(settings["steps"])}


def log_interval(steps: int) -> int:
    """About nine logged steps keep charts light; losses are kept at every step."""
    return -(-steps // 8)


def is_default(settings: Settings) -> bool:
    """Whether this is the lecture's setting."""
    return all(settings[name] == value for name, value in DEFAULTS.items())


def refuse_too_much(settings: Settings, slot: Any) -> None:
    """Ends the page, with the way out, where the stacks would take too long."""
    # Multiplications of the matrix products, forward and backward.
    layers = len(settings["scales"]) * sum(settings["depths"])
    per_layer = 3 * settings["samples"] * settings["units"] ** 2
    work = settings["steps"] * layers * per_layer
    if work > MOST_WORK:
        slot.warning(
            f"These stacks take {work:.0e} multiplications, more than the "
            f"{MOST_WORK:.0e} that this server does for a visitor. Take fewer or "
            "shallower stacks, fewer steps, fewer units or fewer samples."
        )
        st.stop()


def _numbers(label: str, key: str, most: int) -> list:
    """Some of the options, sorted. Typing finds them; the lecture's L is 150."""
    return sorted(several(label, OPTIONS[key], DEFAULTS[key], key, most))


def _number(label: str, key: str) -> Any:
    return slider(label, OPTIONS[key], DEFAULTS[key], key)


def _name(label: str, key: str, meanings: Settings | None = None) -> str:
    """A name out of a list, as the address has it; below it what it means."""
    options = OPTIONS[key]
    name = control(
        st.selectbox, label, options, index=options.index(DEFAULTS[key]), key=key
    )
    if meanings is not None:
        st.caption(meanings[name])
    return name
