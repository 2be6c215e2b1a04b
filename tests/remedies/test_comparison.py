"""Remedies compared: what they do is measured; tables are counted by hand.

The long runs are those of the recording. Fresh runs of the same remedies begin like
them, are sweeps, and are real Keras models; `tests/record` repeats some to their end.
"""

import pickle
import re
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from vgkeras import charts, load, remedies, stacks, sweeps, theory
from vgkeras import training as trainings
from vgkeras.logs import LAYER_COLUMNS, RUN_COLUMNS, GradientLog, concat

SEEDS = (0, 1)
NAMES = (
    "Scaled identity",
    "LeCun normal",
    "He normal",
    "Orthogonal",
    "Glorot normal + ReLU",
    "He normal + ReLU",
    "Glorot normal + sigmoid",
    "Residual",
    "Residual, ReZero",
    "Residual, ReZero, rate 0.02",
    "Layer normalization",
    "Clipping by norm 1",
    "Momentum 0.9",
    "Adam",
    "Learning rate 1/depth",
)
RECORDING = Path(__file__).parents[2] / "assets" / "remedies.parquet"
KERNELS = [f"dense_{layer}/kernel" for layer in range(1, 11)]


@pytest.fixture(scope="module")
def measured():
    return load(RECORDING).select(remedy=list(NAMES), seed=list(SEEDS))


@pytest.fixture(scope="module")
def counted(measured):
    return remedies.table(measured).set_index(["remedy", "depth"])


def fates(log, remedy):
    """What became of the runs, by depth, seeds side by side."""
    runs = log.select(remedy=remedy).runs
    return {depth: set(own["outcome"]) for depth, own in runs.groupby("depth")}


def losses(log, remedy, step=500):
    chosen = log.select(remedy=remedy)
    losses_then = chosen.losses[chosen.losses["step"] == step].set_index("run")["loss"]
    return chosen.runs.set_index("run")[["depth", "seed"]].assign(loss=losses_then)


# --- What `compare` runs -------------------------------------------------------------


def test_the_first_remedy_is_none():
    assert remedies.REMEDIES[0] == ("Scaled identity", "baseline", {})


def test_every_remedy_has_a_name_and_a_group_of_its_own():
    assert len(set(remedies.NAMES)) == len(remedies.REMEDIES)
    assert {r.group for r in remedies.REMEDIES} == set(remedies.GROUPS)


def test_remedies_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(remedies.REMEDIES)) == remedies.REMEDIES


@pytest.mark.slow
def test_a_comparison_holds_its_remedies_with_the_same_seeds(as_graph):
    names = ("Scaled identity", "Glorot normal", "Residual, ReZero", "Adam")

    log = remedies.compare(names, seeds=[0, 1], depths=[2, 10], steps=20)

    runs = log.runs
    assert tuple(runs["remedy"].unique()) == names
    grid = [(seed, depth) for seed in (0, 1) for depth in (2, 10)]
    for _, own in runs.groupby("remedy"):
        assert list(zip(own["seed"], own["depth"], strict=True)) == grid
    assert runs.groupby("seed")["loss_zero"].nunique().eq(1).all()  # the same data
    assert set(log.layers["step"]) == {0}
    assert "compare" in log.metadata["origin"]


@pytest.mark.slow
def test_a_fresh_comparison_begins_as_the_recorded_one(measured, as_graph):
    steps = 3

    fresh = remedies.compare(NAMES, seeds=SEEDS, steps=steps)

    keys = ["remedy", "seed", "depth"]
    assert fresh.runs[keys].values.tolist() == measured.runs[keys].values.tolist()
    recorded = measured.losses[measured.losses["step"] <= steps]["loss"].to_numpy()
    losses = fresh.losses["loss"].to_numpy()
    assert_array_equal(np.isfinite(losses), np.isfinite(recorded))
    assert_allclose(losses[np.isfinite(losses)], recorded[np.isfinite(losses)], 1e-2)
    a, b = (log.layers.set_index(["kind", "layer"]) for log in (fresh, measured))
    assert a.index.equals(b.index)
    off = np.abs(a["log10_norm"].clip(-35, 37) - b["log10_norm"].clip(-35, 37))
    assert (off < 0.01).mean() > 0.95
    assert off.max() < 0.2  # what normalization leaves is the rounding of float32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {"optimizer": keras.optimizers.Adam(), "learning_rate": 0.01}),
        ("Residual", {"residual": True}),
        (
            "Glorot normal + ReLU",
            {"initializers": ["glorot_normal"], "activation": "relu"},
        ),
    ],
)
def test_a_remedy_is_a_sweep_with_its_options(name, options, as_graph):
    scales = () if "initializers" in options else (0.5,)
    common = {"learning_rate": 0.1, "steps": 20, "samples": 16, "seed": [0, 1]}
    common = {"depths": (2, 10), "units": 16, "every": None, **common}
    swept = sweeps.sweep(scales, **{**common, **options})

    log = remedies.compare([name], seeds=SEEDS, depths=(2, 10), steps=20)

    assert_array_equal(log.losses["loss"], swept.losses["loss"])
    assert log.runs["outcome"].tolist() == swept.runs["outcome"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stack", "optimizer"),
    [
        ("Clipping by norm 1", {"scale": 0.5}, keras.optimizers.SGD(0.1, clipnorm=1.0)),
        ("Residual, ReZero", {"scale": 0.5, "residual": "zero"}, "sgd"),
        (
            "He normal + ReLU",
            {"kernel_initializer": "he_normal", "activation": "relu", "seed": 0},
            "sgd",
        ),
    ],
)
def test_a_remedy_is_that_of_a_real_keras_model(name, stack, optimizer, as_graph):
    steps = 10
    x, y = theory.make_data(units=16, samples=16, seed=0)
    log = trainings.train(
        stacks.build_stack(10, 16, **stack),
        x,
        y,
        steps=steps,
        learning_rate=0.1,
        optimizer=optimizer,
        every=steps,
    )

    mine = remedies.compare([name], depths=[10], seeds=[0], steps=steps)

    assert_allclose(mine.losses["loss"], log.losses["loss"], rtol=1e-4)
    a, b = (log.layers.query("step == 0") for log in (mine, log))
    a, b = (rows[rows["name"].isin(KERNELS)]["log10_norm"] for rows in (a, b))
    assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
def test_progress_counts_over_all_remedies_and_stops_when_it_raises(as_graph):
    calls = []

    def tell(done, total):
        calls.append((done, total))
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remedies.compare(["Orthogonal", "LSUV"], seeds=[0, 1], progress=tell, steps=3)

    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {total for _, total in calls} == {8}
    assert calls[-1] == (8, 8)


@pytest.mark.slow
def test_what_is_compared_so_far_is_handed_over_after_each_remedy(as_graph):
    names, parts = ["Scaled identity", "Adam", "Orthogonal"], []

    log = remedies.compare(
        names, seeds=[0], depths=[2], units=2, steps=3, after_each=parts.append
    )

    assert [part.runs["remedy"].tolist() for part in parts] == [names[:1], names[:2]]
    for part in parts:
        so_far = log.select(remedy=part.runs["remedy"].tolist())
        assert_frame_equal(part.losses, so_far.losses)
        assert part.metadata == log.metadata


def test_a_remedy_of_ones_own_is_run_under_its_name(as_graph):
    mine = remedies.Remedy("Mine", "shortcut", {"residual": True, "scales": [0.01]})

    log = remedies.compare([mine], seeds=[0, 1], steps=3, every=3)

    assert set(log.runs["remedy"]) == {"Mine"}
    assert set(log.runs["scale"]) == {0.01}
    assert set(log.layers["step"]) == {0, 3}


def test_a_comparison_can_be_saved(measured, tmp_path):
    measured.save(tmp_path / "log.parquet")

    again = load(tmp_path / "log.parquet")

    assert_frame_equal(again.runs, measured.runs)


def test_nonsense_is_refused_in_words(measured):
    with pytest.raises(ValueError, match="`names` must hold known remedies: 'Sca"):
        remedies.compare(["Prayer"])
    with pytest.raises(ValueError, match="`names` must be free of repeated values"):
        remedies.compare(["Adam", "Adam"])
    with pytest.raises(TypeError, match="`names` must be a list or tuple"):
        remedies.compare("Adam")
    with pytest.raises(ValueError, match="`seeds` must be a non-empty list or tuple"):
        remedies.compare(["Adam"], seeds=[])
    with pytest.raises(ValueError, match="`log` must hold runs with a column"):
        remedies.table(measured.replace(runs=measured.runs.drop(columns="remedy")))
    with pytest.raises(ValueError, match="`depth` must be a depth of the log, one"):
        charts.activation_by_layer(measured, 3)
    bare = measured.replace(layers=measured.layers.iloc[:0])
    with pytest.raises(ValueError, match="`log` must hold layers at step 0"):
        charts.remedy_gradient_by_depth(bare)
    with pytest.raises(ValueError, match="`log` must hold layers at step 0"):
        charts.activation_by_layer(bare, 10)


# --- The table -----------------------------------------------------------------------


def hand_made(outcomes, last, gradients):
    """Runs of one remedy and depth, with these last losses and log10 gradients."""
    count = len(outcomes)
    runs = pd.DataFrame({name: [0] * count for name in RUN_COLUMNS})
    runs = runs.assign(run=range(count), depth=3, outcome=outcomes, remedy="R")
    runs = runs.assign(initializer="", target="teacher", units=4, activation="linear")
    runs = runs.assign(residual="", normalization="", scale=0.5)
    steps = pd.DataFrame({"run": range(count), "step": 0, "loss": 7.0})
    steps = pd.concat([steps, steps.assign(step=9, loss=last)], ignore_index=True)
    layers = pd.DataFrame({name: [0.0] * count for name in LAYER_COLUMNS})
    layers = layers.assign(run=range(count), step=0, layer=1, name="dense_1/kernel")
    layers = layers.assign(kind="weight_gradient", log10_norm=gradients)
    return GradientLog(runs, steps, layers)


def test_the_table_counts_outcomes_and_takes_quartiles_of_logarithms():
    outcomes = ["trains", "trains", "stalls", "diverges"]
    log = hand_made(outcomes, [1e-4, 1e-2, 1.0, np.nan], [-3.0, -2.0, 1.0, 5.0])

    row = remedies.table(log).iloc[0]

    assert row[["remedy", "depth", "runs"]].tolist() == ["R", 3, 4]
    assert row[["trains", "stalls", "diverges"]].tolist() == [0.5, 0.25, 0.25]
    assert row[["loss_low", "loss_median", "loss_high"]].tolist() == [-4, -2, 0]
    ends = ["gradient_low", "gradient_median", "gradient_high"]
    assert row[ends].tolist() == [-3, -2, 1]


def test_zeros_and_infinities_keep_their_place_in_the_order():
    log = hand_made(["stalls"] * 3, [0.0, np.nan, np.inf], [-np.inf, -np.inf, np.inf])

    row = remedies.table(log).iloc[0]

    assert row[["loss_low", "loss_median", "loss_high"]].tolist() == [
        -np.inf,
        np.inf,
        np.inf,
    ]
    assert row["gradient_median"] == -np.inf
    assert row["gradient_high"] == np.inf


def test_of_equally_many_outcomes_the_worse_is_drawn():
    log = hand_made(["trains", "diverges", "stalls", "stalls", "trains"], 1.0, 0.0)

    cell = charts.outcome_by_remedy_and_depth(log).to_dict()["datasets"]

    (row,) = next(iter(cell.values()))
    assert (row["outcome"], row["share"]) == ("stalls", "2/5")


# --- What remedies do ----------------------------------------------------------------


def test_the_gradient_of_the_scaled_identity_halves_with_every_layer(measured, counted):
    medians = counted.loc["Scaled identity", "gradient_median"]

    assert_allclose(10 ** medians[[2, 10, 50]], [0.1875, 9.8e-4, 8.9e-16], rtol=0.01)
    assert medians[152] == -np.inf
    ways = fates(measured, "Scaled identity")
    assert ways == {2: {"trains"}, 10: {"stalls"}, 50: {"stalls"}, 152: {"stalls"}}


def test_orthogonal_kernels_keep_the_gradient_and_gaussian_ones_lose_it(counted):
    norms = 10 ** counted.loc["Orthogonal", "gradient_median"]
    lost = counted.loc["LeCun normal", "gradient_median"]

    assert_allclose(norms, 0.7, atol=0.05)
    assert -3 < lost[152] - lost[2] < -1.5


def test_kernels_of_he_explode_in_a_linear_stack(measured):
    ways = fates(measured, "He normal")

    assert ways[10] == ways[50] == ways[152] == {"diverges"}


@pytest.mark.slow
def test_an_orthogonal_stack_that_mirrors_stays_at_a_sixteenth(measured):
    for depth, seed, loss in losses(measured, "Orthogonal").itertuples(index=False):
        kernels = stacks.initial_kernels(
            depth, 16, kernel_initializer="orthogonal", seed=seed
        )
        if np.linalg.det(np.linalg.multi_dot(kernels)) < 0:
            assert 1 / 16.5 < loss < 1 / 14


def test_relu_keeps_more_of_the_gradient_with_kernels_of_he(counted):
    he = counted.loc[("He normal + ReLU", 152), "gradient_median"]
    glorot = counted.loc[("Glorot normal + ReLU", 152), "gradient_median"]

    assert -7.5 < he < -4
    assert -30 < glorot < -26


@pytest.mark.slow
def test_narrow_relu_stacks_are_dead(as_graph):
    log = remedies.compare(["He normal + ReLU"], units=2, depths=[152], steps=3)

    assert_array_equal(remedies.table(log)["gradient_high"], -np.inf)
    assert_allclose(theory.relu_growth(2).alive ** 152, 1e-19, rtol=0.1)


def test_sigmoid_vanishes(counted):
    medians = counted.loc["Glorot normal + sigmoid", "gradient_median"]

    assert_allclose(medians[10], -6, atol=0.3)
    assert medians[152] == -np.inf


@pytest.mark.parametrize("name", ["He normal + ReLU", "Glorot normal + sigmoid"])
def test_what_cannot_be_the_identity_does_not_train(measured, name):
    assert "trains" not in set.union(*fates(measured, name).values())


def test_a_shortcut_around_a_scaled_identity_explodes(measured, counted):
    ways = fates(measured, "Residual")

    assert ways == {
        2: {"trains"},
        10: {"diverges"},
        50: {"diverges"},
        152: {"diverges"},
    }
    assert counted.loc[("Residual", 10), "gradient_median"] > 2


def test_rezero_trains_deep_stacks_at_a_small_learning_rate(measured, counted):
    ways = fates(measured, "Residual, ReZero")
    slow = fates(measured, "Residual, ReZero, rate 0.02")

    assert ways[2] == ways[10] == {"trains"}
    assert "trains" not in ways[50] | ways[152]
    assert set.union(*slow.values()) == {"trains"}
    assert (counted.loc["Residual, ReZero", "gradient_median"] == -np.inf).all()
    others = [n for n in NAMES if "ReZero" not in n]
    assert all(fates(measured, name)[152] != {"trains"} for name in others)


def test_normalization_makes_the_gradient_independent_of_depth(counted):
    rows = counted.loc["Layer normalization"]

    deep = 10 ** rows["gradient_median"][[10, 50, 152]]
    assert_allclose(deep, 3e-8, rtol=0.25)
    assert (rows["loss_low"] > np.log10(1 / 16.1)).all()
    assert rows["loss_low"][152] > -0.05


def test_clipping_cannot_cure_vanishing(measured):
    plain, clipped = (
        losses(measured, name, 100)["loss"]
        for name in ("Scaled identity", "Clipping by norm 1")
    )

    assert_allclose(plain.to_numpy(), clipped.to_numpy(), rtol=1e-5)


@pytest.mark.slow
def test_clipping_cures_exploding():
    names = ["Scaled identity", "Clipping by norm 1"]
    log = remedies.compare(names, scale=1.1, seeds=SEEDS, steps=200)

    plain, clipped = (fates(log, name) for name in names)
    assert plain[50] == plain[152] == {"diverges"}
    assert clipped[50] == clipped[152] == {"trains"}


def test_optimizers_help_as_far_as_there_is_a_gradient(measured, counted):
    rows = 10 ** counted["loss_median"].unstack()

    assert rows.loc["Scaled identity", 10] > 0.99
    # Some of the 16 directions stay lost, each 1/16 of the loss: 2 to 5 of them, as
    # the signs of rounding errors have it, which Adam makes as large as any gradient.
    assert 1.9 / 16 < rows.loc["Adam", 10] < 5.1 / 16
    assert_allclose(rows.loc[["Adam", "Momentum 0.9"], 50], 1, rtol=1e-4)
    assert fates(measured, "Momentum 0.9")[10] == {"trains"}


def test_a_smaller_learning_rate_cures_no_vanishing(measured):
    ways = fates(measured, "Learning rate 1/depth")

    assert ways == fates(measured, "Scaled identity")


@pytest.mark.slow
def test_a_learning_rate_scaled_with_depth_keeps_deep_stacks_stable():
    names = ["Scaled identity", "Learning rate 1/depth"]
    options = {"scale": 1.0, "target": "scaled", "learning_rate": 0.5, "seeds": SEEDS}

    log = remedies.compare(names, **options)

    plain, scaled = (fates(log, name) for name in names)
    assert plain[152] == {"slow"}  # up and down
    assert scaled[152] == {"trains"}


# --- Theory and charts ---------------------------------------------------------------


def marks_of(chart, kind):
    """The rows that a chart draws with marks of this kind."""
    layers = [layer for layer in chart.layer if layer.mark.type == kind]
    return [row for layer in layers for row in layer.data.to_dict("records")]


def theory_of(chart):
    """The rows of its dashed lines, but for those that are off the axis."""
    return [row for row in marks_of(chart, "line") if not row["flag"]]


@pytest.mark.parametrize(
    "name", ["LeCun normal", "He normal", "He normal + ReLU", "Glorot normal + ReLU"]
)
def test_two_seeds_lie_within_two_deviations_of_theory(measured, counted, name):
    chart = charts.remedy_gradient_by_depth(measured.select(remedy=name))

    bands = {row["depth"]: row for row in theory_of(chart)}
    for depth in (2, 10, 50):
        median = counted.loc[(name, depth), "gradient_median"]
        band = bands[depth]
        assert abs(median - band["y"]) < band["high"] - band["low"]


@pytest.mark.parametrize("name", ["Scaled identity", "Residual", "Orthogonal"])
def test_theory_of_isometries_and_scaled_identities_has_no_spread(
    measured, counted, name
):
    chart = charts.remedy_gradient_by_depth(measured.select(remedy=name))

    for row in theory_of(chart):
        if row["depth"] in (2, 10, 50):
            median = counted.loc[(name, row["depth"]), "gradient_median"]
            assert row["low"] == pytest.approx(row["high"])
            assert_allclose(median, row["y"], atol=0.03)


def test_theory_of_tanh_is_its_recursion_however_deep_the_stack():
    log = hand_made(["slow"] * 2, 1.0, [-1.0, -2.0])
    runs = {"initializer": "lecun_normal", "activation": "tanh", "target": "identity"}
    runs |= {"output_units": 4, "samples": 4, "loss_zero": 4.0, "depth": [2, 300]}
    chart = charts.remedy_gradient_by_depth(log.replace(runs=log.runs.assign(**runs)))

    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    weights = weights / weights.sum()
    square, path, expected = 1.0, 0.0, {}
    for depth in range(2, 301):  # a tanh layer more, below the linear one
        squeezed = np.tanh(np.sqrt(square) * nodes)
        square = weights @ squeezed**2
        path += np.log10(weights @ (1 - squeezed**2) ** 2) / 2
        error = np.log10(4.0 + square) / 2
        expected[depth] = np.log10(2 / np.sqrt(4)) + path + error
    line = {row["depth"]: row["y"] for row in theory_of(chart)}
    assert line == pytest.approx(expected, abs=1e-6)


def test_theory_of_the_scaled_identity_is_the_closed_form(measured):
    chart = charts.remedy_gradient_by_depth(measured.select(remedy="Scaled identity"))
    x, y = theory.make_data(units=16, samples=16, seed=0)

    rows = theory_of(chart)
    assert [row["depth"] for row in rows] == list(range(2, 153))
    for row in rows:
        exact = theory.closed_form(0.5, row["depth"], x, y)
        assert_allclose(row["y"], exact.log10_weight_gradient[0], atol=1e-9)


def test_activations_follow_their_theory_layer_by_layer(measured):
    names = ["Scaled identity", "LeCun normal", "Orthogonal", "Residual"]
    chart = charts.activation_by_layer(measured.select(remedy=names), 50)

    lines = {(row["series"], row["layer"]): row for row in theory_of(chart)}
    points = marks_of(chart, "point")
    assert len(points) == 4 * 50
    for row in points:
        line = lines[row["series"], row["layer"]]
        assert line["low"] - 0.1 < row["y"] < line["high"] + 0.1


def test_zeros_and_infinities_are_flagged_at_the_edges(measured):
    names = ["Scaled identity", "He normal"]
    chart = charts.remedy_gradient_by_depth(measured.select(remedy=names))

    flags = {row["series"]: row for row in marks_of(chart, "point") if row["flag"]}
    axes = [layer["encoding"]["y"] for layer in chart.to_dict()["layer"]]
    axis = next(y for y in axes if "scale" in y and y.get("axis"))
    low, high = axis["scale"]["domain"]
    assert flags["Scaled identity"]["flag"] == "exactly 0"
    assert flags["He normal"]["flag"] == "Inf or NaN"
    assert low < flags["Scaled identity"]["y"] < -45
    assert 42 < flags["He normal"]["y"] < high
    assert all(abs(row["y"]) < 100 for row in marks_of(chart, "point"))
    assert '"-40": "10⁻⁴⁰"' in axis["axis"]["labelExpr"]


def test_many_flagged_remedies_share_a_band_of_six_lanes():
    names = [f"R{place}" for place in range(20)]
    flagged = hand_made(["stalls"] * 20, 1.0, -np.inf)
    deeper = hand_made(["stalls"] * 20, 1.0, np.arange(20.0))
    deeper = deeper.replace(runs=deeper.runs.assign(depth=4))
    log = concat([flagged, deeper])
    log = log.replace(runs=log.runs.assign(remedy=2 * names))

    chart = charts.remedy_gradient_by_depth(log)

    heights = {row["y"] for row in marks_of(chart, "point") if row["flag"]}
    assert len(heights) == 20
    assert min(heights) == pytest.approx(-6 * 19 / 14)  # the axis: decades 0 to 19


def test_remedies_that_lie_on_each_other_are_drawn_once_under_all_names():
    log = hand_made(["stalls"] * 4, 1.0, [-3.0, -3.0, -2.0, -3.0])
    names = ["Scaled identity", "Clipping", "Orthogonal", "Adam"]
    log = log.replace(runs=log.runs.assign(remedy=names))

    points = marks_of(charts.remedy_gradient_by_depth(log), "point")

    assert [(row["series"], row["y"]) for row in points] == [
        ("Scaled identity = Clipping = Adam", -3),
        ("Orthogonal", -2),
    ]


@pytest.mark.parametrize(
    ("outcomes", "title"),
    [
        ("tss", "No remedy trains, Scaled identity to depth 3"),
        ("sts", "A trains to depth 3, Scaled identity at no depth"),
        ("stt", "2 of 2 remedies train to depth 3, Scaled identity at no depth"),
    ],
)
def test_what_is_no_remedy_counts_as_none_and_stands_apart(outcomes, title):
    words = ["trains" if letter == "t" else "stalls" for letter in outcomes]
    log = hand_made(words, 1.0, 0.0)
    # wherever it stands in the log
    order = [1, 0, 2]
    runs = log.runs.assign(remedy=["Scaled identity", "A", "B"]).iloc[order]

    chart = charts.outcome_by_remedy_and_depth(log.replace(runs=runs)).to_dict()

    assert " ".join(chart["title"]["text"]) == title
    rows = chart["layer"][0]["encoding"]["y"]["sort"]
    assert rows == ["Scaled identity", "A", "B"]
    line = chart["layer"][-1]
    assert line["mark"]["type"] == "rule"
    assert line["encoding"]["y"]["bandPosition"] == 1
    assert line["encoding"]["y"]["sort"] == rows


def test_charts_say_what_they_show_with_numbers(measured):
    outcome = charts.outcome_by_remedy_and_depth(measured)
    gradient = charts.remedy_gradient_by_depth(measured)
    activation = charts.activation_by_layer(measured, 152)

    assert " ".join(outcome.to_dict()["title"]["text"]) == (
        "Residual, ReZero, rate 0.02 trains to depth 152, Scaled identity to depth 2"
    )
    assert charts.description(outcome).endswith(
        "Most seeds train at depths 2, 10, 50, 152: Residual, ReZero, rate 0.02."
    )
    # 3/16 but for rounding, to three digits either way
    assert re.search(
        r"Scaled identity: 0\.18[78] at depth 2 and exactly 0 at depth 152",
        charts.description(gradient),
    )
    assert "He normal: 2.33 at depth 2 and Inf or NaN at depth 152" in (
        charts.description(gradient)
    )
    assert "Orthogonal: 16 at layer 1 and 16 at layer 152" in (
        charts.description(activation)
    )
    assert "\u2202L/\u2202W" in str(gradient.to_dict())


def test_outcomes_have_a_shape_and_a_colour_of_their_own(measured):
    chart = charts.outcome_by_remedy_and_depth(measured).to_dict()

    marks = chart["layer"][0]["encoding"]
    outcomes = list(theory.OUTCOMES)
    assert marks["shape"]["scale"]["domain"] == outcomes
    assert len(set(marks["shape"]["scale"]["range"])) == len(outcomes)
    assert len(set(marks["color"]["scale"]["range"])) == len(outcomes)
    assert marks["y"]["sort"] == list(NAMES)


@pytest.mark.slow
def test_every_start_can_be_compared_with_every_activation():
    assert set(theory.ACTIVATIONS) == set(stacks.ACTIVATIONS)
    with pytest.raises(ValueError, match="`activation` must be one of 'linear'"):
        remedies.initial_weights("swish")
    for activation in theory.ACTIVATIONS:
        starts = remedies.initial_weights(activation)
        assert len(starts) == 9
        assert all(r.options["activation"] == activation for r in starts)
    starts = remedies.initial_weights("relu")
    chosen = [r for r in starts if r.name in ("He normal, relu", "LSUV, relu")]

    log = remedies.compare(chosen, depths=[2], units=4, steps=3, seeds=[0])

    swept = sweeps.sweep(
        [],
        [2],
        units=4,
        steps=3,
        learning_rate=0.1,
        samples=16,
        initializers=["he_normal", "lsuv"],
        activation="relu",
    )
    assert_allclose(log.losses["loss"], swept.losses["loss"], rtol=1e-6)
