"""What is said twice, because two tools must read it, is said the same way."""

import tomllib
from pathlib import Path

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
