"""The floors of the README: imports go down only, TensorFlow stays upstairs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vgkeras"
FLOORS = {
    "_checks": 0,
    "_differences": 0,
    "_garbage": 0,
    "_hooks": 0,
    "_parquet": 0,
    "_special": 0,
    "_threads": 0,
    "logs": 1,
    "theory": 1,
    "data": 1,
    "_fitting": 1,
    "random_theory": 1,
    "_widened": 1,
    "floats": 2,
    "predictions": 2,
    "health": 2,
    "_evidence": 2,
    "_looks": 2,
    "exports": 2,
    "quiz": 2,
    "_profiles": 2,
    "charts": 3,
    "maps": 3,
    "rules": 3,
    "stacks": 3,
    "tape": 3,
    "recipes": 3,
    "batch": 4,
    "lsuv": 4,
    "training": 4,
    "_measures": 4,
    "_passes": 4,
    "sweeps": 5,
    "diagnosis": 5,
    "record": 5,
    "_expected": 5,
    "_rings": 5,
    "_updates": 5,
    "remedies": 6,
    "published": 6,
    "_failures": 6,
    "_selection": 6,
    "_writer": 6,
    "_listener": 7,
    "_numeric": 7,
    "_scalars": 7,
    "_store": 7,
    "callbacks": 8,
    "testing": 8,
    "shortcuts": 9,
}
LIGHT = (
    "logs",
    "theory",
    "data",
    "predictions",
    "health",
    "charts",
    "maps",
    "floats",
    "rules",
    "diagnosis",
    "testing",
    "exports",
    "quiz",
    "random_theory",
    "remedies",
    "published",
)


def imported(module):
    """The modules of this package that `module` imports."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "vgkeras":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vg"):
            names.add(node.module.removeprefix("vgkeras."))
        elif isinstance(node, ast.Import):
            names |= {
                alias.name.removeprefix("vgkeras.")
                for alias in node.names
                if alias.name.startswith("vgkeras.")
            }
    return names & set(FLOORS)


def loaded_by(statement):
    """The top-level packages that a fresh Python has loaded after `statement`."""
    code = f"{statement}; import sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_module_stands_on_a_floor():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}

    assert modules == set(FLOORS)


@pytest.mark.parametrize("module", FLOORS)
def test_imports_go_down_only(module):
    for below in imported(module):
        assert FLOORS[below] < FLOORS[module], f"{module} imports {below}"


@pytest.mark.parametrize("module", ["", *LIGHT])
def test_the_lower_floors_do_not_load_tensorflow(module):
    statement = (
        f"import vgkeras.{module}" if module else "import vgkeras as vg; dir(vg)"
    )

    assert not {"tensorflow", "keras"} & loaded_by(statement)


def test_theory_loads_nothing_but_numpy():
    loaded = loaded_by("import vgkeras.theory, vgkeras.data")

    assert "numpy" in loaded
    assert not {"pandas", "altair", "pyarrow", "scipy", "tensorflow"} & loaded


def test_the_package_alone_loads_not_even_numpy():
    assert "numpy" not in loaded_by("import vgkeras")


def test_formats_load_no_pandas():
    assert not {"pandas", "pyarrow", "scipy"} & loaded_by("import vgkeras.floats")


def test_the_package_does_not_know_the_page():
    for path in PACKAGE.glob("*.py"):
        assert "streamlit" not in path.read_text(), path.name


def test_every_public_name_can_be_reached():
    import vgkeras as vg

    for name in vg.__all__:
        assert getattr(vg, name) is not None

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        vg.nonsense  # noqa: B018
