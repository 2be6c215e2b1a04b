"""ResNet-152 with and without its shortcuts: what is cut, and what is recorded."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from vgkeras import logs
from vgkeras.record import resnet152
from vgkeras.record.__main__ import main

PICTURE = Path(__file__).parents[2] / "assets" / "resnet152.png"


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
    layers = pd.DataFrame(rows, columns=list(logs.LAYER_COLUMNS))
    runs = pd.DataFrame({"run": [0, 1]}, columns=list(logs.RUN_COLUMNS))
    runs["initializer"] = [resnet152.WITH, resnet152.WITHOUT]
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


def test_the_picture_shows_the_first_step_and_tells_the_growth():
    chart = resnet152.draw_shortcuts(hand_made()).to_dict()

    (rows,) = chart["datasets"].values()
    assert len(rows) == 8
    assert {row["number"] for row in rows} == {1, 2, 3, 4}
    subtitle = chart["title"]["subtitle"]
    # from the last convolution, number 3, to the first: number 4 is the classifier
    assert "with shortcuts by 2.0 decades" in subtitle
    assert "without shortcuts by 6.0 decades" in subtitle


def test_the_command_draws_diagnoses_and_writes_its_numbers(
    tmp_path, monkeypatch, capsys
):
    picture, path = tmp_path / "picture.svg", tmp_path / "log.parquet"
    monkeypatch.setattr(resnet152, "record_shortcuts", hand_made)

    main(["resnet152", "--picture", str(picture), "--path", str(path)])

    assert "<svg" in picture.read_text()
    assert "Run 1" in capsys.readouterr().out
    assert len(pd.read_parquet(path)) == 16


def test_without_a_path_the_command_draws_only(tmp_path, monkeypatch):
    monkeypatch.setattr(resnet152, "record_shortcuts", hand_made)

    main(["resnet152", "--picture", str(tmp_path / "picture.svg")])

    assert [path.name for path in tmp_path.iterdir()] == ["picture.svg"]


def test_the_picture_is_there():
    assert PICTURE.read_bytes().startswith(b"\x89PNG")
