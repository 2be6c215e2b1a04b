"""What is said of a comparison: only what its runs show, from logs made by hand."""

import math
from pathlib import Path

import pandas as pd
import pytest

from vgkeras import logs, remedies

RECORDING = Path(__file__).parents[2] / "assets" / "remedies.parquet"
DEPTHS = (2, 10)


def comparison(**remedies_by_name):
    """A log of one seed: for each remedy, of each depth, (outcome, loss, log10 norm).

    Underscores in the names stand for spaces.
    """
    rows = [
        (name.replace("_", " "), depth, *cell)
        for name, cells in remedies_by_name.items()
        for depth, cell in zip(DEPTHS, cells, strict=True)
    ]
    names, depths, outcomes, losses, norms = map(list, zip(*rows, strict=True))
    runs = logs.run_table(depth=depths, outcome=outcomes, units=16)
    runs = runs.assign(remedy=names, activation="linear")
    runs["initializer"] = [
        name.lower() if name == "Orthogonal" else "" for name in names
    ]
    last = pd.DataFrame({"run": runs["run"], "step": 9, "loss": losses})
    layers = pd.DataFrame({"run": runs["run"], "step": 0, "layer": 1})
    layers = layers.assign(kind="weight_gradient", name="k", log10_norm=norms)
    layers = layers.reindex(columns=list(logs.LAYER_COLUMNS))
    return logs.GradientLog(runs, last, layers)


IDENTITY = (("trains", 0.01, -0.5), ("stalls", 1.0, -15.0))


def said(**by_name):
    return "\n".join(remedies.comparison_sentences(comparison(**by_name)))


def test_the_baseline_is_told_with_its_own_numbers():
    text = said(Scaled_identity=IDENTITY)

    assert "**Scaled identity**, no remedy" in text
    assert "is 0.316 at depth 2 and about 10⁻¹⁵ at depth 10; it trains at depth 2" in (
        text
    )


def test_what_begins_alike_is_said_of_that_and_clipping_only_where_it_did_nothing():
    clipped = said(Scaled_identity=IDENTITY, Clipping_by_norm_1=IDENTITY)
    trained = (IDENTITY[0], ("trains", 1e-3, -15.0))
    cured = said(Scaled_identity=IDENTITY, Clipping_by_norm_1=trained)
    both = said(Scaled_identity=IDENTITY, Clipping_by_norm_1=IDENTITY, Adam=trained)

    assert "**Clipping by norm 1** begins with the same gradient" in clipped
    assert "cannot lengthen" in clipped
    assert "begins with the same gradient" in cured
    assert "cannot lengthen" not in cured
    assert "**Clipping by norm 1 and Adam** begin with the same gradient" in both
    assert "**Clipping by norm 1** ends at the same loss" in both


def test_a_mirror_is_named_only_where_the_loss_rests_at_one_of_all_directions():
    slow = ("slow", 1 / 16, -0.15)
    mirrored = said(Orthogonal=(slow, slow))
    learned = said(Orthogonal=(("trains", 1e-4, -0.15),) * 2)

    assert "rests at a loss of 1/16" in mirrored
    assert "one of 16 directions is never learned" in mirrored
    assert learned == ""


def test_a_zero_that_trains_and_an_explosion_are_named_where_they_are():
    name = "Residual"
    zero = said(**{name: (("trains", 1e-9, -math.inf),) * 2})
    burst = said(**{name: (("trains", 0.1, 0.0), ("diverges", math.inf, 9.0))})

    assert "**Residual** begins with a gradient of exactly 0" in zero
    assert "trains at every depth" in zero
    assert "diverging: **Residual** from depth 10 on." in burst
    assert "exactly 0" not in burst


def test_the_recorded_comparison_names_no_scale_and_is_short():
    log = logs.load(RECORDING)
    text = "\n".join(remedies.comparison_sentences(log))

    assert "0.5" not in text
    assert len(text.split()) < 220  # of all 27 remedies


def test_what_is_no_comparison_is_refused():
    log = comparison(Scaled_identity=IDENTITY)

    with pytest.raises(ValueError, match="`log` must hold runs with a column `remedy`"):
        remedies.comparison_sentences(log.replace(runs=log.runs.drop(columns="remedy")))
