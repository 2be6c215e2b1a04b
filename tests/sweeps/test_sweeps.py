import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from vgkeras import stacks, sweeps, theory, training
from vgkeras.logs import LAYER_COLUMNS, concat
from vgkeras.sweeps import grid, sweep

SCALES, DEPTHS, STEPS = (0.5, 0.9, 1.5), (2, 15), 60
EPSILON = np.finfo(np.float32).eps


def trained_one_by_one(dtype):
    """The same runs on real Sequential models."""
    x, y = theory.make_data()
    return concat(
        training.train(
            stacks.build_stack(depth, scale=scale, dtype=dtype),
            x,
            y,
            steps=STEPS,
            learning_rate=0.01,
            every=20,
        )
        for scale in SCALES
        for depth in DEPTHS
    )


@pytest.fixture(
    scope="module", params=["float32", pytest.param("float16", marks=pytest.mark.slow)]
)
def pair(request):
    dtype = request.param
    swept = sweeps.sweep(SCALES, DEPTHS, steps=STEPS, every=20, dtype=dtype)
    return swept, trained_one_by_one(dtype), dtype


def test_sweep_and_train_reach_the_same_outcomes(pair):
    swept, trained, _ = pair

    assert swept.runs["outcome"].tolist() == trained.runs["outcome"].tolist()
    assert set(swept.runs["outcome"]) == set(theory.OUTCOMES)


def test_sweep_and_train_log_the_same_losses(pair):
    swept, trained, dtype = pair
    a, b = (log.losses["loss"].to_numpy() for log in pair[:2])

    assert_array_equal(np.isfinite(a), np.isfinite(b))
    assert_array_equal(swept.losses["step"], trained.losses["step"])
    if dtype != "float32":
        return
    # The residual of a converged run is a difference of nearly equal numbers: its
    # rounding, `depth * eps`, is the floor below which no two programs can agree.
    depth = swept.losses["run"].map(swept.runs.set_index("run")["depth"]).to_numpy()
    a, b, depth = (values[np.isfinite(b)] for values in (a, b, depth))
    floor = 2 * np.sqrt(b) * depth * EPSILON
    assert (np.abs(a - b) <= 1e-5 * b + floor).all()


def test_sweep_and_train_log_the_same_norms_where_values_are_normal(pair):
    swept, trained, dtype = pair
    keys = ["run", "step", "layer", "name", "kind"]
    assert_frame_equal(
        swept.layers[keys].astype({"name": "str", "kind": "str"}),
        trained.layers[keys].astype({"name": "str", "kind": "str"}),
        check_dtype=False,
    )
    if dtype != "float32":
        return
    a, b = swept.layers, trained.layers
    normal = (b["log10_norm"].abs() < 35) & np.isfinite(b["log10_norm"])
    losses = trained.losses.set_index(["run", "step"])["loss"]
    start = np.asarray(b.set_index(["run", "step"]).index.map(losses), float)
    converging = (start < 1e-4) & (b["kind"] != "activation").to_numpy()
    assert_array_equal(a["size"], b["size"])
    for column in ("log10_norm", "log10_max", "log10_mean"):
        # gradients of a nearly converged run are rounding noise, see above
        assert_allclose(
            a[column][normal & ~converging], b[column][normal & ~converging], atol=1e-4
        )
    assert_array_equal(a["nonfinite_fraction"] > 0, b["nonfinite_fraction"] > 0)


def test_theory_predicts_the_outcome_and_the_norms_of_a_sweep():
    log = sweeps.sweep(steps=200, every=50, dtype="float64")

    assert log.theory.runs["outcome"].tolist() == log.runs["outcome"].tolist()
    a, b = log.layers, log.theory.layers
    assert_array_equal(a["layer"], b["layer"])
    first = (a["step"] == 0).to_numpy()
    assert_allclose(a["log10_norm"][first], b["log10_norm"][first], atol=1e-9)
    later = np.isfinite(a["log10_norm"]) & (a["log10_norm"] > -8)
    assert_allclose(a["log10_norm"][later], b["log10_norm"][later], atol=2e-2)


@pytest.mark.slow
def test_the_loss_overflows_at_the_depth_at_which_that_of_keras_does():
    x, y = theory.make_data()
    depths = (104, 105)

    swept = sweeps.sweep([1.5], depths, steps=1)

    for run, depth in enumerate(depths):
        model = stacks.build_stack(depth, scale=1.5)
        trained = training.train(model, x, y, steps=1)
        first, reference = (
            log.losses["loss"][0] for log in (swept.select(run=run), trained)
        )
        assert np.isfinite(first) == np.isfinite(reference) == (depth < 105)


@pytest.mark.slow
def test_the_layers_table_is_complete_and_in_order():
    log = sweeps.sweep([0.5], [2, 3], steps=5, every=2)

    assert list(log.layers.columns) == list(LAYER_COLUMNS)
    assert len(log.layers) == 4 * 3 * (2 + 3)
    assert log.layers["name"].head(4).tolist() == [
        "dense_1/kernel",
        "dense_2/kernel",
        "dense_1",
        "dense_2",
    ]
    rows = log.layers[log.layers["run"] == 1]
    assert rows["layer"].head(9).tolist() == [1, 2, 3] * 3
    assert sorted(set(rows["step"])) == [0, 2, 4, 5]
    weights = rows["kind"] == "weight_gradient"
    assert rows.loc[weights, "frozen_fraction"].notna().all()
    assert rows.loc[~weights, "frozen_fraction"].isna().all()


def test_losses_alone_can_be_logged(as_graph):
    log = sweeps.sweep([0.5], [2], steps=5, every=None)

    assert len(log.layers) == 0
    assert len(log.losses) == 6


def test_random_kernels_are_drawn_once_for_sweeps_that_follow(monkeypatch):
    draws, draw = [], grid.initial_kernels
    monkeypatch.setattr(
        grid, "initial_kernels", lambda *a, **k: draws.append(k) or draw(*a, **k)
    )
    options = {"scales": (), "units": 2, "seed": 987, "steps": 2}

    logs = [
        sweep(depths=[3], initializers=[name], learning_rate=rate, **options)
        for rate in (0.1, 0.2)
        for name in ("glorot_normal", "he_normal")
    ]

    assert [k["kernel_initializer"] for k in draws] == ["glorot_normal", "he_normal"]
    starts = [log.losses["loss"][0] for log in logs]
    assert starts[:2] == starts[2:]
    assert starts[0] != starts[1]


def test_seeds_and_initializers_make_further_runs():
    log = sweeps.sweep(
        [0.5], [2, 4], steps=3, seed=[0, 1], initializers=["orthogonal", "he_normal"]
    )

    runs = log.runs
    assert runs["depth"].tolist() == [2, 4] * 6
    assert runs["seed"].tolist() == [0, 0, 1, 1] + [0] * 4 + [1] * 4
    assert runs["initializer"].tolist()[4:8] == ["orthogonal"] * 2 + ["he_normal"] * 2
    assert log.theory.runs["run"].tolist() == [0, 1, 2, 3]
    firsts = log.losses[log.losses["step"] == 0]["loss"]
    assert firsts[4:].nunique() == 8  # every random start is another one


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [2, 1])
def test_a_random_start_is_that_of_the_built_stack(outputs, as_graph):
    x, y = theory.make_data(seed=3, output_units=outputs)
    shape = {"output_units": outputs, "dtype": "float64"}

    log = sweeps.sweep(
        [],
        [3, 5],
        steps=10,
        seed=3,
        initializers=["glorot_uniform"],
        learning_rate=0.05,
        **shape,
    )

    for run, depth in enumerate([3, 5]):
        model = stacks.build_stack(
            depth, seed=3, kernel_initializer="glorot_uniform", **shape
        )
        reference = training.train(model, x, y, steps=10, learning_rate=0.05)
        mine = log.losses.loc[log.losses["run"] == run, "loss"]
        assert_allclose(mine, reference.losses["loss"], rtol=1e-9)


@pytest.mark.parametrize("outputs", [1, 3])
def test_another_last_layer_agrees_with_its_theory(outputs, as_graph):
    log = sweeps.sweep(
        [0.8], [4], output_units=outputs, steps=30, dtype="float64", every=30
    )

    assert_allclose(log.losses["loss"], log.theory.losses["loss"], rtol=1e-6)
    assert_allclose(
        log.layers["log10_norm"], log.theory.layers["log10_norm"], atol=1e-6
    )


REMEDIES = [
    {"activation": "relu", "optimizer": "adam", "initializers": ["he_normal"]},
    {"residual": "zero", "scales": [1.5], "optimizer": "momentum"},
    {"normalization": "layer", "activation": "tanh", "scales": [0.5]},
    {"optimizer": keras.optimizers.SGD(clipnorm=0.1), "scales": [1.5]},
]


@pytest.mark.slow
@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_remedy_in_a_sweep_is_that_of_the_built_stack(remedy, as_graph):
    scales = remedy.get("scales", [])
    swept = sweeps.sweep(
        **{"scales": scales, **remedy},
        depths=[2, 5],
        units=4,
        steps=5,
        learning_rate=0.02,
        dtype="float64",
        seed=3,
    )
    built = {k: v for k, v in remedy.items() if k not in ("optimizer", "initializers")}
    begin = {"kernel_initializer": "he_normal"} if not scales else {"scale": scales[0]}
    built.pop("scales", None)
    model = stacks.build_stack(5, 4, seed=3, dtype="float64", **begin, **built)
    optimizer = remedy.get("optimizer", "sgd")
    if optimizer == "momentum":
        optimizer = keras.optimizers.SGD(momentum=0.9)
    if not isinstance(optimizer, str):
        optimizer.learning_rate = 0.02
    x, y = theory.make_data(units=4, seed=3)
    trained = training.train(
        model, x, y, steps=5, learning_rate=0.02, optimizer=optimizer
    )

    deep = swept.select(depth=5)
    assert swept.theory is None
    assert_allclose(deep.losses["loss"], trained.losses["loss"], rtol=2e-4)


@pytest.mark.slow
def test_remedies_are_told_by_the_runs(as_graph):
    log = sweeps.sweep([0.5], [2], steps=1, residual="zero", normalization="batch")
    remedies = log.runs[["activation", "residual", "normalization"]]
    assert remedies.iloc[0].tolist() == ["linear", "zero", "batch"]

    log = sweeps.sweep([0.5], [2], steps=1, optimizer=keras.optimizers.SGD(clipvalue=2))
    assert log.runs["optimizer"].tolist() == ["sgd, clipvalue 2"]


def test_learning_rates_are_swept_as_single_sweeps_would():
    rates = [0.01, 0.1]
    together = sweeps.sweep([0.9], [2, 15], steps=10, learning_rate=rates)
    apart = concat(
        sweeps.sweep([0.9], [2, 15], steps=10, learning_rate=rate) for rate in rates
    )

    assert together.runs["learning_rate"].tolist() == [0.01, 0.01, 0.1, 0.1]
    for one, other in ((together, apart), (together.theory, apart.theory)):
        assert_allclose(one.losses["loss"], other.losses["loss"], rtol=1e-6)
        assert_allclose(one.layers["log10_norm"], other.layers["log10_norm"], atol=1e-5)
        for name in ("run", "step", "layer"):
            assert_array_equal(one.layers[name], other.layers[name])
        assert_frame_equal(one.runs, other.runs, check_dtype=False)


def test_a_learning_rate_may_depend_on_the_depth():
    by_depth = sweeps.sweep([0.9], [2, 15], steps=10, learning_rate=lambda d: 0.1 / d)
    apart = concat(
        sweeps.sweep([0.9], [depth], steps=10, learning_rate=0.1 / depth)
        for depth in (2, 15)
    )

    for log, other in ((by_depth, apart), (by_depth.theory, apart.theory)):
        assert_allclose(log.losses["loss"], other.losses["loss"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`learning_rate\(depth\)` must be"):
        sweeps.sweep([0.9], [2, 15], steps=10, learning_rate=lambda d: 5.0 - d)


def test_bad_arguments_are_named():
    for options, error, message in [
        ({"scales": []}, ValueError, "`scales` must be a non-empty list"),
        ({"scales": "0.5"}, TypeError, "`scales` must be a list or tuple"),
        ({"scales": [np.inf]}, ValueError, "`scales` must be a finite number"),
        ({"scales": [1.0, 1.0]}, ValueError, "`scales` must be free of repeated"),
        ({"depths": []}, ValueError, "`depths` must be a non-empty list"),
        ({"depths": [0]}, ValueError, "`depths` must be a positive integer"),
        ({"depths": [2, 2]}, ValueError, "`depths` must be free of repeated"),
        ({"units": 0}, ValueError, "`units` must be a positive integer"),
        ({"output_units": 0}, ValueError, "`output_units` must be a positive"),
        ({"steps": 0}, ValueError, "`steps` must be a positive integer"),
        ({"every": -1}, ValueError, "`every` must be a positive integer"),
        ({"learning_rate": -1}, ValueError, "`learning_rate` must be a positive"),
        ({"learning_rate": [0.1, 0.1]}, ValueError, "`learning_rate` must be free of"),
        ({"learning_rate": "0.1"}, TypeError, "`learning_rate` must be a "),
        ({"activation": "swish"}, ValueError, "`activation` must be one of 'linear'"),
        ({"residual": "one"}, ValueError, "`residual` must be False, True or 'zero'"),
        ({"normalization": "group"}, ValueError, "`normalization` must be one of"),
        ({"optimizer": "ftrl"}, ValueError, "`optimizer` must be SGD, RMSprop"),
        ({"optimizer": "moon"}, ValueError, "`optimizer` must be a Keras optimizer"),
        ({"dtype": "int8"}, ValueError, "`dtype` must be one of 'float16'"),
        ({"target": "moon"}, ValueError, "`target` must be one of 'identity'"),
        ({"samples": 1}, ValueError, "`samples` must be at least `units`"),
        ({"noise": -1.0}, ValueError, "`noise` must be a non-negative"),
        ({"seed": -1}, ValueError, "`seed` must be a non-negative integer"),
        ({"seed": []}, ValueError, "`seed` must be a non-empty list"),
        ({"seed": [1, 1]}, ValueError, "`seed` must be free of repeated values"),
        ({"initializers": ["moon"]}, ValueError, "`kernel_initializer` must be a"),
    ]:
        with pytest.raises(error, match=message):
            sweeps.sweep(**({"scales": [0.5], "depths": [2], "steps": 2} | options))
