"""Charts by time step of a recurrent network."""

import altair as alt
import numpy as np
import pandas as pd

from vgkeras import _checks, logs
from vgkeras._text import listed, start_label
from vgkeras.charts.bins import bin_words, binned
from vgkeras.charts.edge_bands import NORM_VIEW
from vgkeras.charts.points import points_over_lines
from vgkeras.charts.rows import MOST_POINTS, only_run, rows_of_kind, rows_with_runs
from vgkeras.charts.style import HEIGHT, count_axis, sized, titled
from vgkeras.charts.words import from_to, legend_line
from vgkeras.logs import BACKWARDS, TIME
from vgkeras.theory import memory_steps

TIME_LABELS = {
    "state_gradient": "gradient by the state ∂L/∂h",
    "input_gradient": "gradient by the input ∂L/∂x",
}
_MOST_LINES = 6


def gradient_by_time(
    log: logs.GradientLog,
    kind: str = "state_gradient",
    name: str | None = None,
    step: int | None = None,
) -> alt.LayerChart:
    """Draws how a gradient changes on its way back through time.

    How to read it: backward, from the last time step on the right to the first on the
    left. A straight line is a constant factor a step: it falls to the left where the
    network forgets, and rises where the gradient explodes. Up to six states of a
    network have a colour and shape each; of one state, up to six training steps. How
    to misread it: what falls here says how little an early input counts *now*. A
    network may learn to remember, and a task may not need it.

    Args:
        log: Exactly one run, of `vgkeras.gradient_through_time`, or of a
            `GradientLogger` whose `kinds` name `kind`.
        kind: One of `vgkeras.logs.TIME_KINDS`.
        name: The state or input to draw, e.g. `"lstm/c"`. `None` for all.
        step: The training step to draw. `None` for the first one in the log, or, of a
            single name, for up to six of them.

    Returns:
        A chart of log10 Frobenius norm, batch included, by time step.

    Raises:
        ValueError: If `log` does not hold exactly one run, or no such rows.
    """
    run = only_run(log)
    _checks.check_option("kind", kind, logs.TIME_KINDS)
    rows = rows_of_kind(rows_with_runs(log, "layers"), kind)
    rows = _named(rows, name)
    rows, over_training = _of_steps(rows, step)
    rows = rows.assign(line=rows["series"], own=True)
    within = ["origin", "series", "line"]
    measured, line = (rows[rows["origin"] == o] for o in ("measured", "theory"))
    few, width = binned(measured, TIME, within, MOST_POINTS, NORM_VIEW)
    few = pd.concat([few, line])
    label = "" if run["scale"] != run["scale"] else f"{start_label(run)}: "
    chart = points_over_lines(
        few.assign(name=few["series"]),
        count_axis(f"{TIME}:Q", "time step (1 = first input)"),
        y="norm",
        view=NORM_VIEW,
        key="training step" if over_training else "of",
    )
    return sized(
        titled(
            chart,
            f"{label}{TIME_LABELS[kind]} by time step",
            legend_line(rows, bin_words(width, "time steps")),
            f"{label}{TIME_LABELS[kind]}, from time step {rows[TIME].min()} to "
            f"{rows[TIME].max()}: {from_to(rows, TIME)}.",
        ),
        HEIGHT,
    )


def memory_by_state(log: logs.GradientLog, step: int | None = None) -> pd.Series:
    """Returns over how many time steps the gradient by each state keeps a tenth.

    Args:
        log: Exactly one run, as for `gradient_by_time`.
        step: A logged training step; `None` for the first.

    Returns:
        `theory.memory_steps` by name of the state; NaN where no gradient reaches it.

    Raises:
        ValueError: See `gradient_by_time`.
    """
    only_run(log)
    rows = rows_of_kind(log.layers, logs.TIME_KINDS[0])
    step = rows["step"].min() if step is None else _checked_step(rows, step)
    rows = rows[rows["step"] == step].sort_values(TIME)
    names = rows["name"].drop_duplicates().sort_index()
    return pd.Series({name: _memory(rows, name) for name in names}, name="log10_norm")


def _memory(rows: pd.DataFrame, name: str) -> float:
    levels = rows.loc[rows["name"] == name, "log10_norm"].to_numpy()
    return memory_steps(levels[::-1] if name.endswith(BACKWARDS) else levels)


def _checked_step(rows: pd.DataFrame, step: int) -> int:
    logged = np.unique(rows["step"])
    if step not in logged:
        some = listed(map(str, logged[:8]))
        raise ValueError(
            f"`step` must be a logged step, one of {some}. Received: step={step!r}."
        )
    return step


def _named(rows: pd.DataFrame, name: str | None) -> pd.DataFrame:
    names = rows["name"].astype("str")
    if name is None:
        return rows.assign(series=names)
    if not (names == name).any():
        raise ValueError(
            f"`name` must be one of {listed(map(repr, names.unique()[:8]))}. "
            f"Received: name={name!r}."
        )
    return rows[names == name].assign(series=name)


def _of_steps(rows: pd.DataFrame, step: int | None) -> tuple[pd.DataFrame, bool]:
    """The rows of a step or, of a single name, of some; and whether of several."""
    if step is not None:
        return rows[rows["step"] == _checked_step(rows, step)], False
    logged = np.unique(rows["step"])
    if rows["series"].nunique() > 1 or len(logged) == 1:
        return _few_names(rows[rows["step"] == logged[0]]), False
    at = np.linspace(0, len(logged) - 1, min(_MOST_LINES, len(logged))).round()
    some = rows[rows["step"].isin(logged[at.astype(int)])]
    return some.assign(series=some["step"].map("step {}".format)), True


def _few_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of at most six states: a chart has no more colours and shapes."""
    names = rows["series"].unique()
    return rows[rows["series"].isin(names[:_MOST_LINES])]
