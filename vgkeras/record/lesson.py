"""The default lesson on real Keras models: what the page shows first.

It is made by `train`, one `keras.Sequential` after the other, not by the compiled
sweep.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vgkeras.logs import GradientLog, concat
from vgkeras.record.provenance import provenance
from vgkeras.stacks import build_stack
from vgkeras.theory import make_data
from vgkeras.training import train

SCALES = (0.5, 0.9, 1.0, 1.5)
DEPTHS = (2, 5, 10, 20, 50, 100, 152)
TARGET = "scaled"  # y = x / 2: at c = 1, too, there is something to learn


def record_lesson(
    scales: Sequence[float] = SCALES, depths: Sequence[int] = DEPTHS
) -> GradientLog:
    """Trains a real `keras.Sequential` for each scale and depth, one by one.

    Args:
        scales: Factors of the identity.
        depths: Numbers of `Dense` layers.

    Returns:
        A `GradientLog` with the runs in the order of `vgkeras.sweep`. Its metadata
        says when it was recorded, with which versions and by which command.
    """
    x, y = make_data(TARGET, units=2, samples=64, seed=0)
    models = (build_stack(depth, scale=scale) for scale in scales for depth in depths)
    settings: dict[str, Any] = {"steps": 200, "learning_rate": 0.01, "every": 10}
    log = concat(train(model, x, y, **settings) for model in models)
    origin = "recorded from vgkeras.train on keras.Sequential models"
    return log.replace(
        runs=_with_data(log),
        theory=log.theory and log.theory.replace(runs=_with_data(log.theory)),
        metadata={"origin": origin, **provenance("lesson")},
    )


def _with_data(log: GradientLog) -> pd.DataFrame:
    """The runs, with the name of the data that `train` does not know."""
    return log.runs.assign(target=TARGET, seed=0)
