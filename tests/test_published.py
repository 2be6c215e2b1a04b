"""Published results, measured again and held to oracles of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vgkeras import published

RECORDED = Path(__file__).parents[1] / "assets" / "published.json"


def test_the_module_reads_findings_without_tensorflow(tmp_path):
    path = tmp_path / "published.json"
    finding = published.Finding("a", "b", "c", "d", "e", {"f": 1.0}, True, 2.0)
    published.save([finding], path)

    code = (
        "import sys; from vgkeras import published; "
        f"print(published.load({str(path)!r})[0].numbers); "
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[:2] == ["{'f': 1.0}", "[]"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"findings": [{"name": "a"}]}'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"`path` must be a file that `vgkeras.publ"):
        published.load(path)
