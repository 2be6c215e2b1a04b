"""Exported code is run, and gives the numbers of the run it was made from."""

import contextlib
import functools
import io
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose

import vgkeras as vg
from vgkeras import exports

SETTINGS = {
    "scales": [0.5, 0.95, 1.5],
    "depths": [3, 30],
    "units": 2,
    "learning_rate": 0.02,
    "steps": 20,
    "target": "scaled",
    "dtype": "float32",
    "seed": 4,
    "samples": 16,
    "every": 20,
}


@pytest.fixture(scope="module")
def log():
    return vg.sweep(**SETTINGS)


def run_code(code, name="exported"):
    names = {"__name__": name}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), names)
    return names, printed.getvalue()


@pytest.mark.slow
def test_the_notebook_cell_makes_the_same_sweep(log):
    names, printed = run_code(exports.notebook(SETTINGS))

    assert_allclose(names["log"].losses["loss"], log.losses["loss"], rtol=1e-6)
    assert len(printed.splitlines()) == 7  # the log, and a sentence for each run


def test_the_code_names_what_is_public_today(log):
    code = exports.notebook(SETTINGS) + exports.keras_script(log, 0)
    code += exports.test(log, 0)

    names = re.findall(r"\bvg\.([\w.]+)\(", code)

    assert {"sweep", "charts.run_sentences", "build_stack", "train"} <= set(names)
    for name in names:
        assert callable(functools.reduce(getattr, name.split("."), vg))


@pytest.mark.slow
@pytest.mark.parametrize("run", [0, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_keras_script_gives_the_losses_and_gradients_of_the_run(run, dtype):
    log = vg.sweep(**{**SETTINGS, "dtype": dtype})

    names, printed = run_code(exports.keras_script(log, run))

    mine = log.losses.loc[log.losses["run"] == run, "loss"].to_numpy()
    finite = np.isfinite(mine)
    assert_allclose(np.array(names["losses"])[finite], mine[finite], rtol=2e-5)
    rows = log.layers.query("run == @run and step == 0 and kind == 'weight_gradient'")
    assert_allclose(np.log10(names["norms"][0]), rows["log10_norm"], atol=1e-4)
    assert "loss:" in printed


@pytest.mark.slow
@pytest.mark.parametrize("run", [0, 1, 3, 5])
def test_the_exported_test_passes_and_would_fail_for_another_run(log, run):
    code = exports.test(log, run)
    names, _ = run_code(code)
    (function,) = (f for name, f in names.items() if name.startswith("test_"))

    function()

    depth = int(log.runs["depth"][run])
    other = code.replace(f"build_stack({depth}", f"build_stack({depth + 1}")
    names, _ = run_code(other.replace("scale=", "scale=0.01 + "))
    (function,) = (f for name, f in names.items() if name.startswith("test_"))
    if log.runs["outcome"][run] == "trains":
        with pytest.raises(AssertionError):
            function()


@pytest.mark.slow
def test_runs_that_cannot_be_exported_are_refused(log, as_graph):
    with pytest.raises(ValueError, match="`run` must be one of the 6 runs"):
        exports.keras_script(log, 6)
    with pytest.raises(
        ValueError, match=r"`log` must hold at least one run\. Received"
    ):
        exports.keras_script(log.replace(runs=log.runs[:0]), 0)
    others = [
        vg.sweep([], [2], steps=1, initializers=["orthogonal"]),
        vg.sweep([0.5], [2], steps=1, activation="relu"),
        vg.sweep([0.5], [2], steps=1, optimizer="adam"),
        vg.sweep([0.5], [2], steps=1, residual=True),
    ]
    for other in others:
        with pytest.raises(ValueError, match="`run` must be one of a linear stack"):
            exports.test(other, 0)
