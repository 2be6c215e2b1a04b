"""The order of the house: imports run one way, TensorFlow and Streamlit stay upstairs.

The order is read from `vgkeras/README.md`, which tells it to newcomers.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vgkeras"
ORDER = re.findall(r"^- `(\w+)` ", (PACKAGE / "README.md").read_text(), re.MULTILINE)
FILES = sorted(PACKAGE.rglob("*.py"))
LIGHT = (
    *("logs", "theory", "charts", "floats", "rules", "diagnosis", "testing"),
    *("exports", "quiz", "remedies", "published", "record"),
)


def room(path):
    """The package, or the module at the top, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """What a file imports of vgkeras, wherever it does: dotted, with the names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "vgkeras"
        ):
            for alias in node.names:
                yield f"{node.module}.{alias.name}".removeprefix("vgkeras.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("vgkeras."):
                    yield alias.name.removeprefix("vgkeras.")


def loaded_by(statement):
    """The top-level packages that a fresh Python has loaded after `statement`."""
    code = f"{statement}; import sys; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_every_room_has_its_place_in_the_order():
    assert sorted(ORDER) == sorted({room(path) for path in FILES} - {"__init__"})


@pytest.mark.parametrize("name", ORDER)
def test_imports_run_one_way_room_by_room(name):
    below = ORDER[: ORDER.index(name)]

    for path in FILES:
        if room(path) == name:
            others = {dotted.split(".")[0] for dotted in imports(path)} - {name}
            assert others <= set(below), path


@pytest.mark.parametrize("name", ORDER)
def test_imports_within_a_room_make_no_circle(name):
    parts = {path.stem: path for path in FILES if room(path) == name}
    parts.pop("__init__", None)
    needs = {
        stem: {dotted.split(".")[1] for dotted in at_the_top(path, name)} & set(parts)
        for stem, path in parts.items()
    }

    while free := [stem for stem, below in needs.items() if not below]:
        for stem in free:
            del needs[stem]
        needs = {stem: below - set(free) for stem, below in needs.items()}

    assert not needs


def at_the_top(path, name):
    """What a file imports of its own room when it is loaded; types do not count."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}".removeprefix("vgkeras.")
                if dotted.startswith(f"{name}."):
                    yield dotted


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_private_name_crosses_the_border_of_a_room(path):
    shared = {"_checks", "_text"}

    for dotted in imports(path):
        *_, name = dotted.split(".")
        if dotted.split(".")[0] != room(path):
            assert not name.startswith("_") or name in shared, dotted
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            assert not (private and node.value.id in ORDER), node.attr


def test_only_two_modules_at_the_top_are_private():
    private = {path.stem for path in PACKAGE.glob("_*.py")}

    assert private == {"__init__", "_checks", "_text"}


def test_the_lower_rooms_do_not_load_tensorflow():
    rooms = ", ".join(f"vgkeras.{name}" for name in LIGHT)

    loaded = loaded_by(f"import vgkeras as vg; dir(vg); import {rooms}")

    assert not {"tensorflow", "keras"} & loaded


def test_theory_loads_nothing_but_numpy():
    loaded = loaded_by("import vgkeras.theory")

    assert "numpy" in loaded
    assert not {"pandas", "altair", "pyarrow", "scipy", "tensorflow"} & loaded


def test_the_package_alone_loads_not_even_numpy():
    assert "numpy" not in loaded_by("import vgkeras")


def test_formats_load_no_pandas():
    assert not {"pandas", "pyarrow", "scipy"} & loaded_by("import vgkeras.floats")


def test_only_the_page_knows_streamlit():
    for path in FILES:
        if room(path) != "page":
            assert "streamlit" not in path.read_text(), path


def test_no_name_is_a_participle():
    words = {"told", "found", "kept", "drawn", "shown"}
    files = [*FILES, *(PACKAGE.parent / "tests").rglob("*.py")]

    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    names |= {n.arg or "" for n in nodes if isinstance(n, ast.arg | ast.keyword)}
    names |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names = {name for name in names if not name.startswith("test_")}  # sentences
    assert not {name for name in names if name.split("_")[-1] in words}


def test_every_public_name_can_be_reached():
    import vgkeras as vg

    for name in vg.__all__:
        assert getattr(vg, name) is not None

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        vg.nonsense  # noqa: B018
