"""What recorded networks that read digits say of each remedy.

`python -m vgkeras.record digits` trains them; nothing here needs TensorFlow.
"""

import numpy as np
import pandas as pd

from vgkeras import _checks
from vgkeras._text import listed
from vgkeras.logs import GradientLog

DIGITS_BASELINE = "Small random weights"
DIGITS_RECIPE = "Recipe of today"
DIGITS_ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh"}  # and what they are called
# Careful initial weights, and what they are called in a sentence.
DIGITS_INITIAL = {
    "Glorot": "Glorot's",
    "He": "He's",
    "Orthogonal": "orthogonal ones",
}
DIGITS_CHANCE = 0.1  # of ten digits that are equally frequent
DIGITS_GOOD = 0.9
_ENDS = {"low": "min", "median": "median", "high": "max"}


def digits_table(log: GradientLog) -> pd.DataFrame:
    """Says how well each remedy reads unseen digits at each depth, over seeds.

    Args:
        log: The recording of `python -m vgkeras.record digits`.

    Returns:
        A frame, a row per activation, remedy and depth in the order of the log:
        `activation, remedy, depth, runs`; `accuracy_low, accuracy_median,
        accuracy_high`, shares of unseen digits that were read correctly;
        `gradient_low, gradient_median, gradient_high`, log10 of the rms of the first
        layer's weight gradient before the first step.

    Raises:
        ValueError: If `log` holds no run, or its runs have no column `test_accuracy`.
    """
    runs = log.runs
    if runs.empty or "test_accuracy" not in runs:
        raise ValueError(
            "`log` must hold runs with a column `test_accuracy`. "
            f"Received: log={log!r}. Use the recording of digits."
        )
    first = log.layers[(log.layers["step"] == 0) & (log.layers["layer"] == 1)]
    rms = first["log10_norm"] - np.log10(first["size"]) / 2
    rms.index = pd.Index(first["run"])
    measures = {
        "accuracy": runs["test_accuracy"],
        "gradient": runs["run"].map(rms),
    }
    keys = [runs[name] for name in ("activation", "remedy", "depth")]
    columns = {"runs": runs.groupby(keys, sort=False).size()}
    for name, values in measures.items():
        groups = values.groupby(keys, sort=False)
        columns |= {f"{name}_{end}": groups.agg(how) for end, how in _ENDS.items()}
    return pd.DataFrame(columns).reset_index()


def digits_sentence(log: GradientLog, activation: str = "relu") -> str:
    """Says in words how far careful initial weights carry, and what carries farther.

    Args:
        log: The recording.
        activation: Of the hidden layers, one that `log` holds.

    Returns:
        Two sentences, all of their numbers medians over the seeds of `log`.

    Raises:
        ValueError: If `log` is no such recording, or does not hold the activation.
    """
    rows = digits_table(log)
    _checks.check_option("activation", activation, tuple(rows["activation"].unique()))
    of_depth = rows[rows["activation"] == activation].set_index("depth")
    accuracy = {
        name: own["accuracy_median"].sort_index()
        for name, own in of_depth.groupby("remedy", sort=False)
    }
    careful = max(
        (name for name in DIGITS_INITIAL if name in accuracy),
        key=lambda name: (_reach(accuracy[name]), accuracy[name].iloc[-1]),
    )
    names = {
        DIGITS_BASELINE: "from small random weights",
        careful: f"from {DIGITS_INITIAL[careful]}",
        DIGITS_RECIPE: "with the recipe of today",
    }
    reaches = [_reach(accuracy[name]) for name in names]
    carry = [
        f"to depth {reach} {words}" if reach else f"at no depth {words}"
        for reach, words in zip(reaches, names.values(), strict=True)
    ]
    deepest = max(of_depth.index)
    ends = listed(f"{accuracy[name][deepest]:.0%}" for name in names)
    conclusion = _conclusion(reaches[0], reaches[1], deepest)
    units = DIGITS_ACTIVATIONS.get(activation, activation)
    return (
        f"{conclusion}: {units} networks read 9 of 10 unseen digits {listed(carry)}. "
        f"At depth {deepest} that is {ends}; guessing reads {DIGITS_CHANCE:.0%}."
    )


def _reach(accuracy: pd.Series) -> int:
    """The depth down to which 9 of 10 digits are read, 0 if at none."""
    good = accuracy >= DIGITS_GOOD
    reached = accuracy.index[good.cumprod().astype(bool)]
    return int(max(reached, default=0))


def _conclusion(before: int, careful: int, deepest: int) -> str:
    if careful <= before:
        return "Careful initial weights do not help here"
    how = "are enough" if careful == deepest else "help a lot, not completely"
    return f"Careful initial weights {how}"
