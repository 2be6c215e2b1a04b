"""The README's Python runs and prints what the README says; its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Each example, and what it prints: the next block of text.
EXAMPLES = re.findall(r"```python\n(.*?)```.*?```text\n(.*?)```", README, re.DOTALL)


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


# Runs an example as a stranger would; a test in it has to fail, and says why.
RUN = """
import sys
names = {"__name__": "__main__"}
exec(compile(sys.stdin.read(), "README.md", "exec"), names)
for test in [value for name, value in names.items() if name.startswith("test_")]:
    try:
        test()
    except AssertionError as failure:
        print(str(failure).rstrip())
"""


def printed_by(code):
    """What an example prints in a fresh Python."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=code,
        capture_output=True,
        cwd=ROOT,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_an_example_prints_what_the_readme_shows(code, shown):
    assert printed_by(code) == shown


def test_each_use_has_an_example():
    assert len(EXAMPLES) == len(blocks("python"))
    assert len([line for line in EXAMPLES[0][0].splitlines() if line]) == 12
    uses = ("vg.sweep(", "vg.GradientLogger(", "vg.testing.", "get_executor(")
    for use in (*uses, "vg.remedies.", "vg.floats."):
        assert any(use in code for code, _ in EXAMPLES)


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
