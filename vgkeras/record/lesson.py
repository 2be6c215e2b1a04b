"""Records the default lesson on real Keras models: `python -m vgkeras.record --help`.

The page shows this recording before it has trained anything itself. It is made by
`train`, one `keras.Sequential` after the other, not by the compiled sweep.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import altair as alt

from vgkeras import charts
from vgkeras.logs import GradientLog, concat, versions
from vgkeras.stacks import build_stack
from vgkeras.theory import make_data
from vgkeras.training import train

SCALES = (0.5, 0.9, 1.5)
DEPTHS = (2, 5, 10, 20, 50, 100, 152)


def record_lesson(
    scales: Sequence[float] = SCALES,
    depths: Sequence[int] = DEPTHS,
    *,
    steps: int = 200,
    learning_rate: float = 0.01,
    every: int = 10,
) -> GradientLog:
    """Trains a real `keras.Sequential` for each scale and depth, one by one.

    Args:
        scales: Factors of the identity.
        depths: Numbers of `Dense` layers.
        steps: Number of updates of each run.
        learning_rate: Learning rate of plain gradient descent.
        every: Log the layers every so many steps.

    Returns:
        A `GradientLog` with the runs in the order of `vgkeras.sweep`. Its metadata
        says when it was recorded, with which versions and by which command.
    """
    x, y = make_data("identity", units=2, samples=64, seed=0)
    logs = [
        train(
            build_stack(depth, units=2, scale=scale),
            x,
            y,
            steps=steps,
            learning_rate=learning_rate,
            every=every,
        )
        for scale in scales
        for depth in depths
    ]
    log = concat(logs)
    metadata = {
        "origin": "recorded from vgkeras.train on keras.Sequential models",
        "recorded": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": "python -m vgkeras.record assets/lesson.parquet",
        "versions": {"python": platform.python_version(), **versions()},
        "platform": f"{platform.system()} {platform.machine()}",
    }
    runs = log.runs.assign(target="identity", seed=0)
    return log.replace(runs=runs, metadata=metadata)


def draw_lesson(log: GradientLog) -> alt.HConcatChart:
    """Draws the lesson in two charts: the final loss and the gradient, by depth.

    Args:
        log: A log of several scales and depths.

    Returns:
        Both charts side by side, each to be read as in `vgkeras.charts`.
    """
    pair = [charts.final_loss_by_depth(log), charts.gradient_by_depth(log)]
    for chart in pair:
        chart.autosize = alt.Undefined  # the pair as a whole is sized
        chart.config = alt.Undefined
    joined = alt.hconcat(*pair, spacing=40, background="white")
    return joined.resolve_scale(color="independent", shape="independent")


def main() -> None:
    """Writes the recording, and its picture, to the paths on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="Parquet file to write")
    parser.add_argument("--picture", help="PNG or SVG file to draw")
    arguments = parser.parse_args()
    log = record_lesson()
    log.save(arguments.path)
    if arguments.picture:
        draw_lesson(log).save(arguments.picture, scale_factor=1.5)
    print(log)


if __name__ == "__main__":
    main()
