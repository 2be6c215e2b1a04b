"""The README's Python runs and prints what the README says; its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# Each example, and what it prints: the next block of text.
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n.*?```text\n(.*?)```", README, re.DOTALL)
MAPS = sorted([*ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md")])


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


# Runs examples as strangers would, one after the other; a test in one has to fail, and
# says why in its first line.
RUN = """
import sys
names = {"__name__": "__main__"}
for code in sys.stdin.read().split("\\0"):
    exec(compile(code, "README.md", "exec"), names)
    for test in [value for name, value in names.items() if name.startswith("test_")]:
        try:
            test()
        except AssertionError as failure:
            print(str(failure).splitlines()[0])
    print(end="\\0")
"""


@pytest.fixture(scope="module")
def outputs():
    """What the examples print in one fresh Python."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input="\0".join(code for code, _ in EXAMPLES),
        capture_output=True,
        cwd=ROOT,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_the_readme_shows(number, outputs):
    assert outputs[number] == EXAMPLES[number][1]


@pytest.mark.slow
def test_the_sweep_on_a_cluster_runs_there():
    from distributed import LocalCluster

    (code,) = (code for code in blocks("python") if "get_executor(" in code)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False) as cluster:
        code = code.replace("tcp://scheduler:8786", cluster.scheduler_address)
        names = {}
        exec(compile(f"import vgkeras as vg\n{code}", "README.md", "exec"), names)

    assert names["log"].runs["scale"].tolist() == [0.9, 0.9, 1.1, 1.1]


def test_each_use_has_an_example():
    assert len(EXAMPLES) == len(blocks("python")) - 1  # that of the cluster
    assert len([line for line in EXAMPLES[0][0].splitlines() if line]) == 12
    for use in ("vg.sweep(", "vg.GradientLogger(", "vg.testing."):
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


@pytest.mark.parametrize("path", [ROOT / "README.md", *MAPS], ids=str)
def test_whatever_a_readme_points_at_is_there(path):
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", MAPS, ids=str)
def test_a_map_names_files_that_are_there(path):
    for name in re.findall(r"`([\w/]+/\w+\.py)`", path.read_text()):
        assert (path.parent / name).exists() or (ROOT / name).exists(), name
