"""What the page must show for a setting, out of theory; and what is wrong with it.

Nothing here is read from the page but what it shows: settings are those that the
visitor has asked for.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import vgkeras as vg
from tests.load.visitor import Page
from vgkeras import theory

DEFAULTS: dict[str, Any] = {
    "scales": (0.5, 0.9, 1.0, 1.5),
    "depths": (2, 5, 10, 20, 50, 100, 152),
    "steps": 200,
    "learning_rate": 0.01,
    "target": "scaled",
    "seed": 0,
}
SENTENCE = re.compile(r"c = ([\d.]+), L = (\d+): (\w+)\. ")
SPAN = re.compile(r"(?:in|for) (\d+) steps?\b")
GRADIENT_TOLERANCE = 1e-4  # decades
LOSS_TOLERANCE = 0.02  # decades, of a loss after hundreds of steps in float32
NORMAL = (-32.0, 36.0)  # decades of a gradient whose terms are normal in float32
LOSSES = (-8.0, 12.0)  # and those in which a loss is drawn, and more than rounding
Bounds = dict[tuple[float, int], tuple[float, float]]  # by scale and depth


class Seen(NamedTuple):
    """What there is to check of a page, once it stands still."""

    outcomes: list[str]
    exceptions: list[str]
    grid: pd.DataFrame | None
    gradients: pd.DataFrame | None
    losses: pd.DataFrame | None


def seen(page: Page) -> Seen:
    """The outcomes and charts of the lesson that are on the screen."""
    tables = []
    for chart in ("outcome_grid", "gradient_by_depth", "final_loss_by_depth"):
        try:
            tables.append(page.table(chart))
        except KeyError:
            tables.append(None)
    return Seen(page.words("outcomes"), page.exceptions(), *tables)


def wrong(view: Seen, settings: dict[str, Any]) -> list[str]:
    """What does not fit the lesson with these settings; empty if all is well."""
    if view.exceptions:
        return [f"exception: {text}" for text in view.exceptions]
    if view.grid is None or view.gradients is None or view.losses is None:
        return ["a chart is missing"]
    items = tuple(sorted({**DEFAULTS, **settings}.items()))
    return [
        *wrong_cells(view.grid, items),
        *wrong_sentence("\n".join(view.outcomes), items),
        *wrong_points("gradient", view.gradients, first_gradients(items)),
        *wrong_points("last loss", view.losses, last_losses(items)),
    ]


def wrong_cells(table: pd.DataFrame, items: tuple) -> list[str]:
    """Cells of other stacks, or with another outcome, than theory has."""
    expected = outcomes(items)
    if not {"scale", "depth", "outcome"} <= {*table.columns}:
        return [f"outcomes: another chart, of {', '.join(map(str, table.columns))}"]
    cells = {(c.scale, c.depth): c.outcome for c in table.itertuples()}
    if set(cells) != set(expected):
        return [f"outcomes of other stacks: {set(cells) ^ set(expected)}"]
    return [
        f"outcome of c = {c:g}, L = {n}: {cells[c, n]}, in theory {outcome}"
        for (c, n), outcome in expected.items()
        if outcome not in ("", cells[c, n])  # some targets have no theory
    ]


def wrong_sentence(words: str, items: tuple) -> list[str]:
    """A sentence that is missing, or says of its stack what theory does not."""
    sentences, expected = SENTENCE.findall(words), outcomes(items)
    if len(sentences) != 1:
        return [f"{len(sentences)} sentences instead of one: {words[:80]}"]
    c, n, word = float(sentences[0][0]), int(sentences[0][1]), sentences[0][2]
    if expected.get((c, n), "none") not in ("", word):
        return [f"sentence on c = {c:g}, L = {n}: {word}, not as in theory"]
    spans = {int(number) for number in SPAN.findall(words)}
    return [] if spans <= {dict(items)["steps"]} else [f"other steps: {sorted(spans)}"]


def wrong_points(what: str, table: pd.DataFrame, expected: Bounds) -> list[str]:
    """Measured points that are missing, or not where theory has them."""
    if not {"series", "depth", "y", "flag", "origin"} <= {*table.columns}:
        return [f"{what}: another chart, of {', '.join(map(str, table.columns))}"]
    points = table[table["origin"].notna() & (table["origin"] != "theory")]
    decades = {
        (float(point.series), int(point.depth)): place(point)
        for point in points.itertuples()
    }
    if set(decades) != set(expected):
        return [f"{what}: points of other stacks, {set(decades) ^ set(expected)}"]
    return [
        f"{what} of c = {c:g}, L = {n}: 10^{decades[c, n]:.4f}, in theory 10^{low:.4f} "
        f"to 10^{high:.4f}"
        for (c, n), (low, high) in expected.items()
        if not low <= decades[c, n] <= high
    ]


def place(point: Any) -> float:
    """Decades of a point; a flagged one stands at the upper or the lower edge."""
    if point.flag == "":
        return point.y
    return np.inf if point.flag.startswith(("above", "Inf")) else -np.inf


@functools.lru_cache(maxsize=4096)
def predicted(items: tuple) -> vg.GradientLog:
    return vg.predict(**{**dict(items), "every": None})


def outcomes(items: tuple) -> dict[tuple[float, int], str]:
    """By scale and depth, as theory has them."""
    runs = predicted(items).runs
    return dict(
        zip(
            zip(runs["scale"], runs["depth"], strict=True), runs["outcome"], strict=True
        )
    )


@functools.lru_cache(maxsize=4096)
def first_gradients(items: tuple) -> Bounds:
    """Decades of the first weight gradient, out of the algebra."""
    settings = dict(items)
    x, y = vg.make_data(settings["target"], 2, 64, seed=settings["seed"])
    bounds = {}
    for c in settings["scales"]:
        for n in settings["depths"]:
            value = float(theory.closed_form(c, n, x, y).log10_weight_gradient[0])
            bounds[c, n] = around(value, GRADIENT_TOLERANCE, *NORMAL)
    return bounds


@functools.lru_cache(maxsize=4096)
def last_losses(items: tuple) -> Bounds:
    """Decades of the loss after the last step, as far as theory knows them."""
    log = predicted(items)
    last = log.losses.drop_duplicates("run", keep="last").set_index("run")["loss"]
    with np.errstate(divide="ignore"):
        decades = np.log10(last)
    return {
        (run.scale, run.depth): around(decades[run.run], LOSS_TOLERANCE, *LOSSES)
        if run.outcome
        else (-np.inf, np.inf)
        for run in log.runs.itertuples()
    }


def around(
    value: float, tolerance: float, low: float, high: float
) -> tuple[float, float]:
    """Where a value may be; beyond `low` and `high` it is only known to be beyond."""
    if np.isnan(value) or value > high:
        return high - 1, np.inf
    return (-np.inf, low + 1) if value < low else (value - tolerance, value + tolerance)
