"""What two tools must read is said the same way; a built wheel is whole."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def requirements(path):
    lines = (ROOT / path).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_page_and_the_package_ask_for_the_same_versions():
    page = requirements("requirements.txt")
    package = project()["dependencies"]
    extra = project()["optional-dependencies"]["dashboard"]

    tensorflow = {line.split(";")[0].replace("-cpu", "") for line in page[:2]}
    assert tensorflow == {package[0]}
    assert page[2:] == package[1:] + extra


def test_the_tests_ask_for_the_same_versions():
    page = requirements("requirements.txt")
    tests = requirements("tests/requirements.txt")

    assert project()["optional-dependencies"]["test"] == [page[-1], *tests]


def test_one_tensorflow_is_chosen_on_every_machine():
    from packaging.requirements import Requirement

    for system, machine in [
        ("linux", "x86_64"),
        ("linux", "aarch64"),
        ("darwin", "arm64"),
        ("darwin", "x86_64"),
        ("win32", "AMD64"),
    ]:
        where = {"sys_platform": system, "platform_machine": machine}
        asked = [Requirement(line) for line in requirements("requirements.txt")[:2]]
        chosen = [r.name for r in asked if r.marker.evaluate(where)]
        light = (system, machine) == ("linux", "x86_64")
        assert chosen == ["tensorflow-cpu" if light else "tensorflow"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Python of a new environment that holds the built wheel, and borrows the rest."""
    folder = tmp_path_factory.mktemp("fresh")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    source = folder / "source"
    shutil.copytree(ROOT / "vgkeras", source / "vgkeras")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env")
    python = folder / "env" / "bin" / "python"
    pip += ["--python", python]
    subprocess.run([*pip, "install", "--no-deps", wheel], check=True)
    (site,) = (folder / "env" / "lib").glob("python3*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return python, wheel


def module_names():
    files = (ROOT / "vgkeras").rglob("*.py")
    return {str(path.relative_to(ROOT)) for path in files}


@pytest.mark.slow
def test_the_wheel_holds_every_part(fresh):
    _, wheel = fresh

    names = set(zipfile.ZipFile(wheel).namelist())

    assert {name for name in names if name.endswith(".py")} == module_names()
    assert "vgkeras/py.typed" in names


@pytest.mark.slow
def test_all_but_the_page_works_without_streamlit(fresh, tmp_path):
    python, _ = fresh
    parts = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in module_names()
        if "/page/" not in name and not name.endswith("__main__.py")
    )
    code = (
        "import importlib, sys; sys.modules['streamlit'] = None\n"
        f"for part in {parts!r}: importlib.import_module(part)\n"
        "import vgkeras as vg; [getattr(vg, name) for name in vg.__all__]\n"
        "print(vg.__file__, 'vgkeras.page' in sys.modules)"
    )

    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    path, has_page = done.stdout.rsplit(maxsplit=1)
    assert str(python.parents[1]) in path  # not the checkout
    assert has_page == "False"
