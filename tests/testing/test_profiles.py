"""Norms held to theory, and to a profile that was recorded."""

import json
import math

import keras
import numpy as np
import pandas as pd
import pytest
from test_assertions import failure, handmade_log

from vgkeras import logs, stacks, sweeps, testing, theory, training
from vgkeras.testing import profiles, theory_match

SPECIAL = [-3.25, math.nan, -math.inf, math.inf]


@pytest.fixture
def lesson():
    return theory.make_data()


@pytest.fixture
def golden(tmp_path):
    return tmp_path / "golden" / "profile.json"


def changed(log, **conditions):
    """The log with 0.3 decades added to the rows that meet the conditions."""
    rows = np.ones(len(log.layers), bool)
    for column, value in conditions.items():
        rows &= (log.layers[column] == value).to_numpy()
    norms = log.layers["log10_norm"] + 0.3 * rows
    return log.replace(layers=log.layers.assign(log10_norm=norms))


def mlp(names=(None, None, None), units=4):
    """A network of dense layers, the same weights every time."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, activation="tanh", name=n) for n in names]
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile("sgd", "mse")
    return model


# Theory.


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("scale", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("depth", [1, 20, 152])
def test_stacks_match_theory_where_their_format_can_follow(dtype, scale, depth, lesson):
    model = stacks.build_stack(depth, scale=scale, dtype=dtype)

    testing.assert_matches_theory(model, *lesson)


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_a_tiny_scale_matches_theory(depth, lesson):
    model = stacks.build_stack(depth, scale=1e-30, dtype="float64")

    testing.assert_matches_theory(model, *lesson)


@pytest.mark.parametrize(
    ("target", "output_units"), [("identity", 1), ("rotation", 2), ("teacher", 2)]
)
def test_a_sweep_matches_its_theory(target, output_units):
    log = sweeps.sweep(
        depths=[1, 2, 10, 152], steps=30, target=target, output_units=output_units
    )

    testing.assert_matches_theory(log)


def test_a_training_run_matches_its_theory(lesson):
    log = training.train(stacks.build_stack(5, scale=0.9), *lesson, steps=20)

    testing.assert_matches_theory(log)


def test_a_norm_off_theory_is_named():
    log = sweeps.sweep([0.5, 0.9], [2, 10], steps=3)
    log = changed(log, run=3, step=2, layer=7, kind="activation")

    text = failure(testing.assert_matches_theory, log)

    # a_7 = 0.9^7 x at the start, ||x|| = sqrt(128)
    assert "The activation of layer 7 (dense_7) at step 2 does not match theory" in text
    assert "Rule: norms within 0.05 decades of theory" in text
    assert "Measured: 0.3 decades, 0.25 decades beyond" in text
    assert "run 3 (c = 0.9, L = 10, float32), step 2; 1 of 30 rows are bad" in text
    testing.assert_matches_theory(log, tolerance_in_decades=0.31)
    testing.assert_matches_theory(log, kinds=["weight_gradient"])
    testing.assert_matches_theory(log, steps=[0, 1, 3])
    testing.assert_matches_theory(log, exclude=[7])


def test_rows_behind_an_overflow_are_not_compared():
    log = sweeps.sweep([1.5], [10], steps=5)
    infinite = log.layers["log10_norm"] == np.inf
    norms = log.layers["log10_norm"].mask(infinite, 0.0)  # where theory knows better

    testing.assert_matches_theory(log)
    testing.assert_matches_theory(
        log.replace(layers=log.layers.assign(log10_norm=norms))
    )


def test_a_run_that_has_overflowed_is_not_compared_again():
    keys = [(step, kind) for step in range(3) for kind in logs.KINDS]
    theory = pd.DataFrame(keys, columns=["step", "kind"]).assign(run=0, layer=1)
    theory["log10_norm"] = np.where(theory["step"] == 1, 6.0, 0.0)
    runs = pd.DataFrame([{"run": 0, "depth": 1, "units": 2, "output_units": 2}])
    runs = runs.assign(samples=4, dtype="float16")

    rows = theory_match.beside_theory(theory.assign(name="x"), theory, runs, 0.05)

    # 1e6 is beyond float16: theory comes back from there, the run cannot
    assert rows["step"].unique().tolist() == [0]
    wider = runs.assign(dtype="float32")
    rows = theory_match.beside_theory(theory.assign(name="x"), theory, wider, 0.05)
    assert rows["step"].unique().tolist() == [0, 1, 2]


def test_an_underflow_where_theory_is_a_normal_number_is_found():
    log = sweeps.sweep([0.5], [100], steps=2)
    lost = log.layers["layer"].eq(1) & log.layers["kind"].eq("weight_gradient")
    norms = log.layers["log10_norm"].mask(lost, -np.inf)

    text = failure(
        testing.assert_matches_theory,
        log.replace(layers=log.layers.assign(log10_norm=norms)),
    )

    # c^99 sqrt(2), a normal number of float32
    assert "norm exactly 0, theory 2.2e-30" in text
    assert "Measured: infinitely many decades" in text


@pytest.mark.slow
def test_a_format_that_rounds_updates_away_does_not_follow_theory():
    log = sweeps.sweep([0.9], [50], steps=100, dtype="float16", every=50)

    text = failure(testing.assert_matches_theory, log)

    assert "does not match theory" in text
    assert "updates were rounded away: try float64" in text
    testing.assert_matches_theory(log, steps=0)


def test_nothing_to_compare_is_a_failure(lesson):
    model = stacks.build_stack(152, scale=0.1, dtype="float16")

    text = failure(
        testing.assert_matches_theory, model, *lesson, kinds=["weight_gradient"]
    )

    assert "None of 152 rows can be compared with theory" in text
    assert "normal numbers of float16" in text


@pytest.mark.slow
def test_theory_is_refused_where_there_is_none(lesson):
    log = training.train(mlp(), lesson[0], np.zeros((64, 4)), steps=1)

    with pytest.raises(ValueError, match=r"must have theory\. Received: a log without"):
        testing.assert_matches_theory(log)
    with pytest.raises(ValueError, match="must be a stack that theory covers"):
        testing.assert_matches_theory(mlp(), lesson[0], np.zeros((64, 4)))


@pytest.mark.parametrize("value", [0, -1, math.inf])
def test_a_tolerance_is_a_positive_number(value, golden):
    log = handmade_log([[0.0]])

    with pytest.raises(ValueError, match="`tolerance_in_decades` must be a positive"):
        testing.assert_matches_theory(log, tolerance_in_decades=value)
    with pytest.raises(ValueError, match="`tolerance_in_decades` must be a positive"):
        testing.assert_matches_profile(log, path=golden, tolerance_in_decades=value)


# The profile.


def test_a_recorded_model_matches_its_profile(golden, lesson):
    x, y = lesson[0], np.zeros((64, 4))
    testing.record_profile(mlp(), x, y, path=golden, loss="mae")

    testing.assert_matches_profile(mlp(), x, y, path=golden, loss="mae")


def test_a_profile_can_be_read(golden):
    testing.record_profile(handmade_log([[-3.25, 0.5]], size=4), path=golden)

    lines = golden.read_text().splitlines()

    held = json.loads(golden.read_text())
    assert held["rows"][1]["name"] == "dense_2/kernel"
    assert held["rows"][1]["log10_norm"] == 0.5
    assert held["dtypes"] == ["float32"]
    assert held["versions"]["keras"] == keras.__version__
    assert len([line for line in lines if "log10_norm" in line]) == 2
    assert not list(golden.parent.glob(".*"))


def test_what_is_no_number_survives(golden):
    log = handmade_log([SPECIAL])
    testing.record_profile(log, path=golden)

    held, _ = profiles.read(golden)

    np.testing.assert_array_equal(held["log10_norm"], SPECIAL)
    assert [row["log10_norm"] for row in json.loads(golden.read_text())["rows"]] == [
        -3.25,
        "none",
        "zero",
        "non-finite",
    ]
    testing.assert_matches_profile(log, path=golden)


@pytest.mark.parametrize("recorded", range(4))
@pytest.mark.parametrize("measured", range(4))
def test_what_is_no_number_matches_only_itself(recorded, measured, golden):
    words = ["5.6e-04", "none", "exactly 0", "Inf or NaN"]
    testing.record_profile(handmade_log([[SPECIAL[recorded]]]), path=golden)
    log = handmade_log([[SPECIAL[measured]]])

    if recorded == measured:
        testing.assert_matches_profile(log, path=golden)
    else:
        text = failure(testing.assert_matches_profile, log, path=golden)
        assert (
            f"has changed: norm {words[measured]}, recorded {words[recorded]}" in text
        )
        assert "Measured: infinitely many decades" in text


def test_a_missing_profile_says_how_to_record_it(golden):
    text = failure(testing.assert_matches_profile, handmade_log([[0.0]]), path=golden)

    assert f"There is no profile {golden} yet. Record it with the same" in text
    assert "VGKERAS_RECORD_PROFILES=1" in text
    assert not golden.exists()


def test_recording_by_the_environment_is_never_green(golden, monkeypatch):
    testing.record_profile(handmade_log([[0.0]]), path=golden)
    monkeypatch.setenv("VGKERAS_RECORD_PROFILES", "1")

    text = failure(testing.assert_matches_profile, handmade_log([[1.0]]), path=golden)

    assert f"Recorded {golden} anew, because VGKERAS_RECORD_PROFILES is set" in text
    monkeypatch.setenv("VGKERAS_RECORD_PROFILES", "0")
    testing.assert_matches_profile(handmade_log([[1.0]]), path=golden)


def test_a_changed_norm_is_named(golden):
    testing.record_profile(handmade_log([[-1.0, -2.0, -3.0]]), path=golden)

    text = failure(
        testing.assert_matches_profile,
        handmade_log([[-1.0, -2.0, -3.3]]),
        path=golden,
    )

    assert (
        "The gradient of layer 3 (dense_3/kernel) at step 0 has changed: norm 5.0e-04, "
        "recorded 1.0e-03." in text
    )
    assert f"Rule: norms within 0.1 decades of {golden} (recorded with keras" in text
    assert "Measured: 0.3 decades, 0.2 decades beyond" in text
    assert "1 of 3 rows are bad" in text
    assert "record it anew" in text


def test_the_tolerance_is_in_decades(golden):
    testing.record_profile(handmade_log([[-1.0]]), path=golden)
    log = handmade_log([[-1.25]])

    testing.assert_matches_profile(log, path=golden, tolerance_in_decades=0.26)
    failure(testing.assert_matches_profile, log, path=golden, tolerance_in_decades=0.24)


def test_names_that_keras_counted_on_match(golden, lesson):
    x, y = lesson[0], np.zeros((64, 4))
    testing.record_profile(mlp(), x, y, path=golden)
    recorded = json.loads(golden.read_text())["rows"][0]["name"]

    model = mlp()

    assert recorded != model.layers[0].kernel.path.split("/", 1)[1]
    testing.assert_matches_profile(model, x, y, path=golden)


def test_a_renamed_layer_is_missing_and_new_and_no_changed_norm(golden, lesson):
    x, y = lesson[0], np.zeros((64, 4))
    testing.record_profile(mlp(["a", "b", "c"]), x, y, path=golden)

    text = failure(
        testing.assert_matches_profile, mlp(["a", "new", "c"]), x, y, path=golden
    )

    assert "layer 2 (b/kernel) at step 0 is not as recorded: missing" in text
    assert "4 of 8 rows are bad: 2 missing, 2 new" in text
    lines = [line for line in text.splitlines() if line.startswith(">")]
    assert len(lines) == 4
    assert all("b/" in line for line in lines if line.endswith("missing"))
    assert all("new/" in line for line in lines if line.endswith(" new"))
    assert "If this is intended, record it anew: `record_profile`, or" in text


def test_a_missing_and_a_new_layer_are_told_apart(golden, lesson):
    x, y = lesson[0], np.zeros((64, 4))
    testing.record_profile(mlp(["a", "b"]), x, y, path=golden)
    deeper, shallower = mlp(["a", "b", "c"]), mlp(["a"])

    new = failure(testing.assert_matches_profile, deeper, x, y, path=golden)
    missing = failure(testing.assert_matches_profile, shallower, x, y, path=golden)

    assert "layer 3 (c/kernel) at step 0 is not as recorded: new" in new
    assert "2 new" in new
    assert "layer 2 (b/kernel) at step 0 is not as recorded: missing" in missing
    assert "2 missing" in missing


def test_a_counted_layer_that_is_gone_is_missing(golden):
    names = ["dense_4/kernel", "dense_5/kernel", "dense_6/kernel"]
    testing.record_profile(handmade_log([[-1.0, -2.0, -3.0]], names=names), path=golden)
    log = handmade_log([[-1.0, -2.0]], names=["dense_6/kernel", "dense_7/kernel"])

    text = failure(testing.assert_matches_profile, log, path=golden)

    assert "(dense_6/kernel) at step 0 is not as recorded: missing" in text
    assert "1 of 3 rows are bad: 1 missing" in text


def test_names_are_matched_within_their_run(golden):
    one = handmade_log([[-1.0]], names=["dense_4/kernel"])
    runs = [one, one.replace(layers=one.layers.assign(run=1, name="dense_5/kernel"))]
    layers, losses = (
        pd.concat([getattr(log, table) for log in runs], ignore_index=True)
        for table in ("layers", "losses")
    )
    both = pd.concat([one.runs, one.runs.assign(run=1)], ignore_index=True)
    log = one.replace(runs=both, losses=losses, layers=layers)
    testing.record_profile(log, path=golden)
    later = layers.assign(name=["dense_8/kernel", "dense_7/kernel"])

    testing.assert_matches_profile(log.replace(layers=later), path=golden)
    moved = layers.assign(log10_norm=[-1.0, -2.0])
    text = failure(
        testing.assert_matches_profile, log.replace(layers=moved), path=golden
    )

    assert "run 1 (run 1, L = 1, float32), step 0; 1 of 1 rows are bad" in text


def test_counters_are_numbered_anew_in_the_order_of_layers(golden):
    names = ["conv/kernel", "dense_9/kernel", "conv_1/kernel", "dense_12/kernel"]
    counted = ["conv_3/kernel", "dense/kernel", "conv_5/kernel", "dense_1/kernel"]
    testing.record_profile(handmade_log([range(4)], names=names), path=golden)
    log = handmade_log([range(4)], names=counted)

    testing.assert_matches_profile(log, path=golden)
    testing.assert_matches_profile(
        log.replace(layers=log.layers.iloc[::-1]), path=golden
    )

    named = handmade_log([range(4)], names=["convolution/kernel", *counted[1:]])
    assert "2 of 4 rows are bad: 1 missing, 1 new" in failure(
        testing.assert_matches_profile, named, path=golden, exclude=[3]
    )


def test_a_profile_of_an_earlier_version_can_be_read(golden):
    head = {"format": "vgkeras.profile", "version": 1, "about": "log10 of norms"}
    head |= {"dtypes": ["float32"], "versions": {"keras": "3.10.0"}}
    row = {"run": 0, "step": 0, "layer": 1, "name": "dense_7/kernel"}
    row |= {"kind": "weight_gradient", "size": 8, "log10_norm": -1.0}
    zero = row | {"layer": 2, "name": "dense_8/kernel", "log10_norm": "zero"}
    golden.parent.mkdir()
    golden.write_text(json.dumps(head | {"rows": [row, zero]}))

    testing.assert_matches_profile(handmade_log([[-1.0, -math.inf]]), path=golden)
    assert "recorded with keras 3.10.0 in float32" in failure(
        testing.assert_matches_profile, handmade_log([[-1.0, 0.0]]), path=golden
    )


def test_a_layer_called_twice_has_two_rows(golden):
    log = handmade_log([[-1.0, -2.0]], names=["shared", "shared"])
    log = log.replace(layers=log.layers.assign(layer=1))
    testing.record_profile(log, path=golden)

    testing.assert_matches_profile(log, path=golden)
    text = failure(
        testing.assert_matches_profile,
        log.replace(layers=log.layers.assign(log10_norm=[-1.0, -3.0])),
        path=golden,
    )

    assert "1 of 2 rows are bad" in text
    assert "norm 1.0e-03, recorded 0.01" in text


def test_steps_that_are_not_there_are_named(golden):
    testing.record_profile(handmade_log([[0.0], [0.0]]), path=golden)

    longer, shorter = handmade_log([[0.0]] * 3), handmade_log([[0.0]])

    assert "(dense_1/kernel) at step 2 is not as recorded: step is new" in failure(
        testing.assert_matches_profile, longer, path=golden
    )
    assert "at step 1 is not as recorded: step is missing" in failure(
        testing.assert_matches_profile, shorter, path=golden
    )
    testing.assert_matches_profile(longer, path=golden, steps=[0, 1])
    testing.assert_matches_profile(shorter, path=golden, steps=0)


def test_excluded_variables_are_left_out_of_both(golden):
    testing.record_profile(handmade_log([[0.0, 0.0]]), path=golden)
    log = handmade_log([[0.0, 1.0]])

    testing.assert_matches_profile(log, path=golden, exclude=["dense_2"])

    testing.record_profile(log, path=golden, exclude=[2])
    testing.assert_matches_profile(log, path=golden, exclude=[2])
    failure(testing.assert_matches_profile, log, path=golden)


@pytest.mark.slow
def test_all_runs_of_a_sweep_are_held_to_their_profile(golden):
    log = sweeps.sweep([0.5, 1.5], [2, 5], steps=2)
    testing.record_profile(log, path=golden, kinds=logs.KINDS)

    testing.assert_matches_profile(log, path=golden, kinds=logs.KINDS)
    text = failure(
        testing.assert_matches_profile,
        changed(log, run=1, step=1, layer=4),
        path=golden,
        kinds=logs.KINDS,
    )

    assert "The gradient of layer 4 (dense_4/kernel) at step 1 has changed" in text
    assert "run 1 (c = 0.5, L = 5, float32), step 1; 3 of 15 rows are bad" in text
    assert "run 3 (only recorded)" in failure(
        testing.assert_matches_profile, log.select(run=[0, 1, 2]), path=golden
    )


def test_a_log_without_sizes_can_be_recorded(golden):
    log = handmade_log([[0.0, 0.0]])
    log = log.replace(layers=log.layers.drop(columns="size"))

    testing.record_profile(log, path=golden)

    testing.assert_matches_profile(log, path=golden)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '{"format": "other", "version": 1, "rows": []}',
        '{"format": "vgkeras.profile", "version": 9, "rows": [{}]}',
        '{"format": "vgkeras.profile", "version": 1, "rows": []}',
        '{"format": "vgkeras.profile", "version": 1, "rows": [{"name": 1}]}',
    ],
)
def test_a_file_that_is_no_profile_is_refused(text, golden):
    golden.parent.mkdir()
    golden.write_text(text)

    with pytest.raises(ValueError, match="`path` must be a profile that this version"):
        testing.assert_matches_profile(handmade_log([[0.0]]), path=golden)


def test_a_profile_cut_short_is_refused(golden):
    testing.record_profile(handmade_log([[0.0]]), path=golden)
    golden.write_text(golden.read_text()[:-10])

    with pytest.raises(ValueError, match=r"Record it again with `vgkeras.testing.reco"):
        testing.assert_matches_profile(handmade_log([[0.0]]), path=golden)


@pytest.mark.parametrize(
    "function", [testing.record_profile, testing.assert_matches_profile]
)
def test_a_path_is_a_file_name(function):
    with pytest.raises(TypeError, match="`path` must be a file name"):
        function(handmade_log([[0.0]]), path=3)
