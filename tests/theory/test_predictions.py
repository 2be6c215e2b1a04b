import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vgkeras import logs, theory
from vgkeras.theory import make_data, predict, predict_run

EXACT = ("identity", "scaled", "negative", "rotation")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def log10_norm(matrix):
    with np.errstate(divide="ignore"):
        return np.log10(np.linalg.norm(matrix))


def trained_by_hand(scale, depth, x, y, *, steps, learning_rate, last=None):
    """Losses and log-norms of the whole matrix network, layer by layer."""
    units, outputs = x.shape[1], y.shape[1]
    kernels = [scale * np.eye(units)] * (depth - 1)
    kernels.append(scale * np.eye(units, outputs) if last is None else last)
    losses, rows = [], []
    for step in range(steps + 1):
        signals = [x]
        for kernel in kernels:
            signals.append(signals[-1] @ kernel)
        residual = signals[-1] - y
        losses.append(np.mean(residual**2))
        back, gradients = 2 * residual / residual.size, [None] * depth
        for layer in range(depth, 0, -1):
            gradients[layer - 1] = signals[layer - 1].T @ back
            weight = gradients[layer - 1]
            rows.append((step, layer, "weight_gradient", log10_norm(weight)))
            rows.append((step, layer, "activation", log10_norm(signals[layer])))
            rows.append((step, layer, "activation_gradient", log10_norm(back)))
            back = back @ kernels[layer - 1].T
        kernels = [
            k - learning_rate * g for k, g in zip(kernels, gradients, strict=True)
        ]
    table = pd.DataFrame(rows, columns=["step", "layer", "kind", "log10_norm"])
    return losses, table


def assert_norms_equal(layers, expected, atol):
    keys = ["step", "layer", "kind"]
    norms = layers[[*keys, "log10_norm"]].astype({"kind": "str"}).set_index(keys)
    exact = expected.set_index(keys).loc[norms.index]
    assert len(norms) == len(exact)
    assert_allclose(norms, exact, rtol=0, atol=atol)


@pytest.mark.parametrize("target", EXACT)
@pytest.mark.parametrize(("units", "outputs"), [(3, 3), (4, 2), (2, 3)])
@pytest.mark.parametrize(("scale", "depth"), [(0.7, 4), (1.1, 5), (0.9, 1), (-0.8, 3)])
def test_predictions_are_the_training_of_the_whole_network(
    target, units, outputs, scale, depth
):
    log = predict(
        [scale],
        [depth],
        units=units,
        output_units=outputs,
        target=target,
        steps=12,
        learning_rate=0.05,
        samples=8,
        seed=5,
    )

    x, y = make_data(target, units, 8, output_units=outputs, seed=5)
    losses, table = trained_by_hand(scale, depth, x, y, steps=12, learning_rate=0.05)
    assert_allclose(log.losses["loss"], losses, rtol=1e-11)
    assert_norms_equal(log.layers, table, atol=1e-11)
    assert_allclose(log.runs["loss_zero"], np.mean(y**2))


@pytest.mark.parametrize(
    "options", [{"target": "teacher"}, {"noise": 0.5}, {"target": "negative"}]
)
def test_runs_beyond_the_reduction_have_their_first_step_only(options):
    log = predict([0.8, 1.2], [1, 4], units=3, steps=9, seed=[1, 2], **options)

    for run in log.runs.to_dict("records"):
        x, y = make_data(units=3, seed=run["seed"], **{"target": "identity"} | options)
        rows = log.layers[log.layers["run"] == run["run"]]
        whole = options == {"target": "negative"}
        assert set(rows["step"]) == (set(range(10)) if whole else {0})
        _, table = trained_by_hand(
            run["scale"], run["depth"], x, y, steps=0, learning_rate=1
        )
        assert_norms_equal(rows[rows["step"] == 0], table, atol=1e-11)
        assert (run["outcome"] == "") is not whole
        assert_allclose(run["loss_zero"], np.mean(y**2))


def test_runs_count_depth_fastest_then_scale_then_seed():
    log = predict([0.5, 2.0], [3, 1], seed=[7, 8], steps=1)

    order = log.runs[["run", "seed", "scale", "depth"]].to_numpy().tolist()
    assert order == [
        [0, 7, 0.5, 3],
        [1, 7, 0.5, 1],
        [2, 7, 2.0, 3],
        [3, 7, 2.0, 1],
        [4, 8, 0.5, 3],
        [5, 8, 0.5, 1],
        [6, 8, 2.0, 3],
        [7, 8, 2.0, 1],
    ]


def test_tables_have_the_layout_of_a_measurement():
    log = predict([0.5], [2, 3], steps=5, every=2)

    assert tuple(log.runs.columns) == logs.RUN_COLUMNS
    assert tuple(log.losses.columns) == logs.LOSS_COLUMNS
    assert tuple(log.layers.columns) == logs.LAYER_COLUMNS
    first = log.layers[(log.layers["run"] == 0) & (log.layers["step"] == 0)]
    assert first["name"].tolist() == [
        "dense_1/kernel",
        "dense_2/kernel",
        *["dense_1", "dense_2"] * 2,
    ]
    assert first["kind"].tolist() == [kind for kind in logs.KINDS for _ in range(2)]
    assert sorted(set(log.layers["step"])) == [0, 2, 4, 5]
    assert log.losses.groupby("run")["step"].max().tolist() == [5, 5]
    assert log.metadata["origin"] == "theory"
    assert log.metadata["arguments"]["depths"] == [2, 3]


def test_several_learning_rates_are_predicted_one_after_the_other():
    rates, options = [0.1, 0.01], {"steps": 4, "seed": [0, 1]}

    both = predict([0.5, 0.9], [2, 5], learning_rate=rates, **options)

    alone = [predict([0.5, 0.9], [2, 5], learning_rate=r, **options) for r in rates]
    assert both.runs["run"].tolist() == list(range(16))
    for table in ("runs", "losses", "layers"):
        parts = pd.concat([getattr(log, table) for log in alone], ignore_index=True)
        whole = getattr(both, table).drop(columns="run")
        pd.testing.assert_frame_equal(whole, parts.drop(columns="run"))


def test_a_learning_rate_may_follow_the_depth():
    log = predict([0.9], [2, 5], learning_rate=lambda depth: 0.1 / depth, steps=4)

    for depth in (2, 5):
        alone = predict([0.9], [depth], learning_rate=0.1 / depth, steps=4)
        assert_array_equal(log.select(depth=depth).losses["loss"], alone.losses["loss"])
    assert log.runs["learning_rate"].tolist() == [0.05, 0.02]


def test_no_rows_of_layers_where_none_are_asked_for():
    x, y = make_data()

    log = predict([0.5], [2], steps=5, every=None)
    losses, layers = predict_run(
        0.5,
        2,
        x,
        y,
        steps=5,
        learning_rate=0.1,
        every=None,
        last_kernel=np.ones((2, 2)),
    )

    assert len(log.layers) == len(layers) == 0
    assert len(log.losses) == 6
    assert len(losses) == 1


def test_a_saved_prediction_comes_back_whole(tmp_path):
    log = predict([0.5, 1.5], [2, 30], steps=3)

    log.save(tmp_path / "log.parquet")

    back = logs.load(tmp_path / "log.parquet")
    pd.testing.assert_frame_equal(back.layers, log.layers)
    pd.testing.assert_frame_equal(back.runs, log.runs)
    assert back.metadata == log.metadata


def test_vanished_gradients_keep_their_logarithm():
    log = predict([0.5], [2000], steps=2)

    rows = log.layers[log.layers["kind"] == "weight_gradient"]
    expected = 1999 * np.log10(0.5) + np.log10(np.sqrt(2))
    assert_allclose(rows["log10_norm"], expected)


def test_zeros_are_minus_infinity_and_overflows_are_plus_infinity():
    still = predict([1.0], [5], steps=2).layers
    gone = predict([1.8], [152], steps=4)

    zero = still[still["kind"] != "activation"]
    assert np.all(zero["log10_norm"] == -np.inf)
    last = gone.layers[gone.layers["step"] == 4]
    assert np.all(last["log10_norm"] == np.inf)
    assert gone.losses["loss"].iloc[-1] == np.inf
    assert not gone.losses["loss"].isna().any()
    assert not gone.layers["log10_norm"].isna().any()


def test_a_stack_of_zeros_is_predicted_too():
    rows = predict([0.0], [1, 3], steps=1, learning_rate=0.1).layers

    weights = rows[(rows["kind"] == "weight_gradient") & (rows["step"] == 0)]
    assert np.isfinite(weights["log10_norm"]).tolist() == [True, False, False, False]
    assert not rows["log10_norm"].isna().any()


@pytest.mark.parametrize("target", EXACT)
def test_outcomes_of_losses_and_of_the_rule_are_the_same(target):
    log = predict(target=target, steps=200, every=None)

    modes = {
        "identity": 1.0,
        "scaled": 0.5,
        "negative": [1.0, -1.0],
        "rotation": np.exp([0.25j * np.pi, -0.25j * np.pi]),
    }
    words = [
        theory.outcome(run.scale, run.depth, rate=0.01, steps=200, target=modes[target])
        for run in log.runs.itertuples()
    ]
    assert log.runs["outcome"].tolist() == words


# One run on any data


@pytest.mark.parametrize("outputs", [3, 2, 5])
@pytest.mark.parametrize("factor", [1.0, -0.6, 2.0])
def test_one_run_on_any_inputs_with_targets_in_proportion(outputs, factor, rng):
    x = rng.normal(size=(9, 3)) * [1.0, 2.0, 0.5]
    if outputs == 2:
        x = np.linalg.qr(x)[0]  # the inputs left out must not correlate with the others
    y = factor * x @ np.eye(3, outputs)

    losses, layers = predict_run(0.9, 4, x, y, steps=8, learning_rate=0.03)

    expected, table = trained_by_hand(0.9, 4, x, y, steps=8, learning_rate=0.03)
    assert_allclose(losses["loss"], expected, rtol=1e-10)
    assert_norms_equal(layers, table, atol=1e-10)


def test_one_run_on_a_symmetric_map_with_noise_that_no_map_explains(rng):
    basis = np.linalg.qr(np.column_stack([rng.normal(size=(12, 5))]))[0] * np.sqrt(12)
    x, noise = basis[:, :3], 0.3 * basis[:, 3:] @ rng.normal(size=(2, 3))
    symmetric = np.array([[1.0, 0.3, 0.0], [0.3, 0.8, 0.2], [0.0, 0.2, 0.5]])
    y = x @ symmetric + noise  # x.T @ noise = 0

    losses, layers = predict_run(0.9, 4, x, y, steps=8, learning_rate=0.05)

    expected, table = trained_by_hand(0.9, 4, x, y, steps=8, learning_rate=0.05)
    assert_allclose(losses["loss"], expected, rtol=1e-10)
    assert_norms_equal(layers, table, atol=1e-10)


def test_one_run_on_outputs_that_no_input_reaches(rng):
    basis = np.linalg.qr(rng.normal(size=(10, 3)))[0] * np.sqrt(10)
    x, y = basis[:, :2], np.column_stack([basis[:, :2], 2 * basis[:, 2:]])

    losses, layers = predict_run(0.8, 3, x, y, steps=6, learning_rate=0.05)

    expected, table = trained_by_hand(0.8, 3, x, y, steps=6, learning_rate=0.05)
    assert_allclose(losses["loss"], expected, rtol=1e-10)
    assert_norms_equal(layers, table, atol=1e-10)


def test_one_run_with_fewer_samples_than_units_leaves_null_directions_alone(rng):
    x = rng.normal(size=(2, 4))

    losses, layers = predict_run(0.8, 3, x, x, steps=6, learning_rate=0.05)

    expected, table = trained_by_hand(0.8, 3, x, x, steps=6, learning_rate=0.05)
    assert_allclose(losses["loss"], expected, rtol=1e-10)
    assert_norms_equal(layers, table, atol=1e-9)


@pytest.mark.parametrize("target", EXACT)
def test_one_run_on_float32_data_is_recognised(target):
    x, y = (part.astype("float32") for part in make_data(target, units=3))

    losses, layers = predict_run(0.9, 5, x, y, steps=10, learning_rate=0.05)

    wide = (x.astype(float), y.astype(float))
    expected, table = trained_by_hand(0.9, 5, *wide, steps=10, learning_rate=0.05)
    assert_allclose(losses["loss"], expected, rtol=1e-5)
    assert_norms_equal(layers, table, atol=1e-5)


def test_a_last_kernel_that_is_the_scaled_identity_changes_nothing():
    x, y = make_data(units=3)

    plain = predict_run(0.9, 5, x, y, steps=4, learning_rate=0.1)
    explicit = predict_run(
        0.9, 5, x, y, steps=4, learning_rate=0.1, last_kernel=0.9 * np.eye(3)
    )

    pd.testing.assert_frame_equal(plain[0], explicit[0])
    pd.testing.assert_frame_equal(plain[1], explicit[1])


def test_one_run_off_the_reduction_has_its_first_step_only(rng):
    correlated = rng.normal(size=(20, 2)) @ [[1.0, 0.9], [0.0, 0.5]]
    shear, last = np.array([[1.0, 1.0], [0.0, 1.0]]), rng.normal(size=(2, 2))
    white, _ = make_data()
    cases = [
        (correlated, correlated * [1.0, 3.0], None),  # moments do not commute
        (white, white @ shear, None),  # not normal
        (white, white, last),
        (correlated, correlated[:, :1], None),  # the input left out correlates
    ]
    for x, y, kernel in cases:
        losses, layers = predict_run(
            0.8, 3, x, y, steps=5, learning_rate=0.1, last_kernel=kernel
        )

        expected, table = trained_by_hand(
            0.8, 3, x, y, steps=0, learning_rate=1, last=kernel
        )
        assert_allclose(losses["loss"], expected)
        assert_norms_equal(layers, table, atol=1e-11)


def test_a_run_logs_the_steps_of_a_measurement():
    x, y = make_data()

    losses, layers = predict_run(0.9, 3, x, y, steps=7, learning_rate=0.1, every=3)

    assert_array_equal(losses["step"], np.arange(8))
    assert sorted(set(layers["step"])) == [0, 3, 6, 7]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"scales": []}, ValueError, "`scales` must be a non-empty list or tuple"),
        ({"scales": 0.5}, TypeError, "`scales` must be a list or tuple"),
        ({"scales": [np.nan]}, ValueError, "`scales` must be a finite number. Rec"),
        ({"scales": [1, 1.0]}, ValueError, "`scales` must be free of repeated values"),
        ({"depths": [0]}, ValueError, "`depths` must be a positive integer. Rec.*=0"),
        ({"depths": [2, 2]}, ValueError, "`depths` must be free of repeated values"),
        ({"units": 0}, ValueError, "`units` must be a positive integer"),
        ({"output_units": 0}, ValueError, "`output_units` must be a positive integer"),
        ({"steps": -1}, ValueError, "`steps` must be a non-negative integer"),
        ({"learning_rate": 0}, ValueError, "`learning_rate` must be a positive, fin"),
        ({"every": 0}, ValueError, "`every` must be a positive integer"),
        ({"target": "up"}, ValueError, "`target` must be one of 'identity'"),
        ({"samples": 1}, ValueError, "`samples` must be at least `units`"),
        ({"dtype": "int8"}, ValueError, "`dtype` must be one of 'float16', 'bfloat16"),
        ({"seed": -1}, ValueError, "`seed` must be a non-negative integer"),
        ({"seed": [1, 1]}, ValueError, "`seed` must be free of repeated values"),
        ({"noise": -0.1}, ValueError, "`noise` must be a non-negative, finite number"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        predict(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": -1}, "`steps` must be a non-negative integer"),
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive, finite number"),
        ({"every": 0}, "`every` must be a positive integer"),
        ({"last_kernel": [[1.0]]}, "`last_kernel` must have the shape"),
    ],
)
def test_bad_arguments_of_one_run_are_named(arguments, words):
    x, y = make_data()

    with pytest.raises(ValueError, match=words):
        predict_run(0.5, 2, x, y, **{"steps": 1, "learning_rate": 0.1} | arguments)
