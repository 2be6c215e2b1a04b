"""The README's Python runs and prints what the README says; its commands exist."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_notebook_example_prints_what_the_readme_shows():
    (code,), printed = blocks("python"), blocks("text")[0]
    written = io.StringIO()

    with contextlib.redirect_stdout(written):
        exec(compile(code, "README.md", "exec"), {})

    assert written.getvalue() == printed
    assert len([line for line in code.splitlines() if line]) == 12


def test_each_command_does_its_own_setup_on_one_line():
    opened, tested = blocks("bash")

    for command in (opened, tested):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv")
        for path in re.findall(r"-r (\S+)", command):
            assert (ROOT / path).exists()
    assert "streamlit run dashboard.py" in opened
    assert tested.rstrip().endswith("python -m pytest")


def test_ci_runs_exactly_the_test_command():
    pattern = re.search(r"s/\^\\\((.*)\\\)\$/", (ROOT / ".ci" / "run").read_text())[1]

    matches = re.findall(f"^{pattern}$", README, flags=re.MULTILINE)

    assert matches == [blocks("bash")[1].rstrip()]


def test_pictures_and_floors_are_those_of_the_project():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).exists()
    floors = next(block for block in blocks("text") if "floor 0" in block)
    named = set(re.findall(r"(\w+)\.py", floors)) - {"dashboard"}
    modules = {path.stem for path in (ROOT / "vgkeras").glob("*.py")} - {"__init__"}
    assert named == modules
