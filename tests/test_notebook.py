"""The notebook in assets/ runs from top to bottom, and shows what it is stored with."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "assets" / "lesson.ipynb"


def outputs(notebook):
    """What the code cells put out, cell by cell: `(text, mime types)`."""
    pairs = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        text, types = "", set()
        for output in cell.outputs:
            if output.get("name") != "stderr":
                text += output.get("text", "")
            text += output.get("data", {}).get("text/plain", "")
            types |= set(output.get("data", {}))
        pairs.append((text, types))
    return pairs


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def fresh(stored):
    notebook = nbformat.from_dict(stored)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": NOTEBOOK.parent}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return notebook


def test_the_notebook_runs_and_shows_its_charts(fresh, stored):
    types = [kinds for _, kinds in outputs(fresh)]

    assert sum("image/png" in kinds for kinds in types) == 5
    assert types == [kinds for _, kinds in outputs(stored)]


def test_activations_and_outcomes_are_those_that_are_stored(fresh, stored):
    now, before = ([text for text, _ in outputs(n)] for n in (fresh, stored))
    signals = next(i for i, text in enumerate(before) if "[[0.03125 0.03125]]" in text)
    outcomes = next(i for i, text in enumerate(before) if text.startswith("scale"))

    assert now[signals] == before[signals]
    assert now[outcomes] == before[outcomes]
    assert outcomes > signals


def test_sigmoid_layers_vanish_and_relu_layers_are_healthy(fresh):
    texts = "\n".join(text for text, _ in outputs(fresh))

    assert "regime='vanishing'" in texts
    assert "regime='healthy'" in texts


def test_pictures_that_the_notebook_shows_are_there(stored):
    words = "\n".join(cell.source for cell in stored.cells)

    assert "](resnet152.png)" in words
    assert (NOTEBOOK.parent / "resnet152.png").exists()
