"""ResNet-152 with and without its shortcuts: what is cut, and what is recorded."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from vgkeras import charts, logs
from vgkeras.record import resnet152
from vgkeras.record.__main__ import main

ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def networks():
    return resnet152.resnet152(), resnet152.resnet152(shortcuts=False)


def hand_made():
    """A log of both networks with gradients that can be read off."""
    rows = [
        {"run": run, "step": step, "layer": layer, "name": f"conv_{layer}/kernel"}
        | {"kind": "weight_gradient", "log10_norm": -slope * layer - step}
        for run, slope in enumerate((1.0, 3.0))
        for step in (0, 1)
        for layer in (1, 2, 3, 4)
    ]
    layers = pd.DataFrame(rows, columns=list(logs.LAYER_COLUMNS)).assign(size=100)
    runs = pd.DataFrame({"run": [0, 1]}, columns=list(logs.RUN_COLUMNS))
    runs["initializer"] = [charts.WITH_SHORTCUTS, charts.WITHOUT_SHORTCUTS]
    losses = pd.DataFrame({"run": [0, 1], "step": 0, "loss": 1.0})
    return logs.GradientLog(runs, losses, layers)


@pytest.mark.slow
def test_both_have_the_152_layers_and_only_one_has_shortcuts(networks):
    whole, cut = networks

    for network in networks:
        kernels = [v.path for v in network.trainable_variables if "kernel" in v.path]
        assert len([path for path in kernels if "_0_conv" not in path]) == 152
    assert sum(isinstance(layer, keras.layers.Add) for layer in whole.layers) == 50
    assert not any(isinstance(layer, keras.layers.Add) for layer in cut.layers)
    assert not any("_0_conv" in layer.name for layer in cut.layers)


@pytest.mark.slow
def test_both_start_from_the_same_weights(networks):
    whole, cut = networks

    for layer in cut.layers[::40]:
        pairs = zip(
            layer.get_weights(),
            whole.get_layer(layer.name).get_weights() if layer.weights else [],
            strict=True,
        )
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_the_chart_shows_the_first_step_and_tells_the_growth():
    chart = charts.gradient_with_and_without_shortcuts(hand_made())

    (rows,) = chart.to_dict()["datasets"].values()
    assert len(rows) == 8
    assert {row["layer"] for row in rows} == {1, 2, 3, 4}
    # rms of 100 elements: a tenth of the norm
    assert {row["log10"] for row in rows if row["layer"] == 1} == {-2.0, -4.0}
    # from the last convolution, number 3, to the first: number 4 is the classifier
    assert charts.growth_of_gradient(hand_made()) == {
        charts.WITH_SHORTCUTS: 2.0,
        charts.WITHOUT_SHORTCUTS: 6.0,
    }
    sentence = charts.description(chart)
    assert "grows about 10² times" in sentence
    assert sentence.endswith("weights, 10⁶ times.")


def test_the_title_says_whether_shortcuts_help():
    log = hand_made()
    swapped = log.replace(runs=log.runs.assign(run=[1, 0]))

    titles = [
        charts.gradient_with_and_without_shortcuts(each).title.text[0]
        for each in (log, swapped)
    ]

    assert titles[0].startswith("Shortcuts tame the gradient")
    assert titles[1].startswith("Shortcuts do not tame the gradient")


def test_a_log_of_one_network_is_refused():
    with pytest.raises(ValueError, match="`log` must hold a run with shortcuts and"):
        charts.gradient_with_and_without_shortcuts(hand_made().select(run=0))


def test_the_recording_is_of_both_networks_and_all_their_layers():
    log = logs.load(ASSETS / "resnet152.parquet")

    first = log.layers[log.layers["step"] == 0]
    assert first.groupby("run").size().tolist() == [152, 152]
    growth = charts.growth_of_gradient(log)
    assert growth[charts.WITH_SHORTCUTS] < growth[charts.WITHOUT_SHORTCUTS]
    assert log.metadata["command"] == "python -m vgkeras.record resnet152"
    assert log.metadata["seconds"] > 1
    assert (ASSETS / "resnet152.parquet").stat().st_size < 300_000


def test_the_command_draws_diagnoses_and_writes_its_numbers(
    tmp_path, monkeypatch, capsys
):
    picture, path = tmp_path / "picture.svg", tmp_path / "log.parquet"
    monkeypatch.setattr(resnet152, "record_shortcuts", hand_made)

    main(["resnet152", "--picture", str(picture), "--path", str(path)])

    assert "<svg" in picture.read_text()
    assert "Run 1" in capsys.readouterr().out
    assert len(pd.read_parquet(path)) == 16


def test_the_picture_is_there():
    assert (ASSETS / "resnet152.png").read_bytes().startswith(b"\x89PNG")
