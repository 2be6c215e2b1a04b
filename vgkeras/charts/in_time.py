"""The network of the first screen in time: a step in the place of a layer."""

import math

import altair as alt

from vgkeras import _checks
from vgkeras._text import number_of, typeset
from vgkeras.charts.explorer import DEEPEST, SCALES, Wording, lanes, resting

_TARGET = 0.5  # what `c**T` has to reach: half of the first state, as in the lesson
_OF_STEPS = Wording(
    {
        "activation": "forward: states h →",
        "activation_gradient": "← backward: ∂L/∂h",
        "weight_gradient": "∂L/∂W: what each step adds, the same",
    },
    " the first state reaches the last",
    total="' a step, ' + L + ' in all'",
)


def network_in_time(scale: float = 0.9, steps: int = 50) -> alt.LayerChart:
    """Draws a linear recurrent network whose time steps follow two sliders.

    It hands its state on by `h_t = c h_(t-1)`: the network of `charts.network`, with
    one matrix for all layers. How to read it: a bar is a time step, and the grey line
    in a lane is a factor of 1. States are factors of the first, `h_0`, their gradients
    factors of the last one's; what a step adds to the gradient of the one matrix is a
    factor of what it adds in a network with c = 1 that answers 0. How to misread it:
    lanes are logarithmic, from a thousandth to a thousand.

    Args:
        scale: The factor c of the recurrent kernel, where the slider stands first.
        steps: The number of time steps, likewise.

    Returns:
        A chart with the parameters `c` and `L` (the number of steps, T), each bound to
        a slider.

    Raises:
        ValueError: If an argument is out of the range of its slider.
    """
    scale = _checks.check_finite("scale", scale)
    steps = _checks.check_positive_int("steps", steps)
    for name, value, (low, high) in (
        ("scale", scale, SCALES),
        ("steps", steps, (1, DEEPEST)),
    ):
        if not low <= value <= high:
            raise ValueError(
                f"`{name}` must be from {low} to {high}. Received: {name}={value!r}."
            )
    chart = lanes(_OF_STEPS, resting(scale, steps, _TARGET, label="T"), [])
    out = typeset(number_of(steps * math.log10(scale)))
    chart.description = (
        f"A recurrent network over {steps} steps, each of which multiplies by "
        f"{scale:g}: {out} of the first state reaches the last, and as much of the "
        "error comes back. Sliders move the scale c and the number of steps T."
    )
    return chart
