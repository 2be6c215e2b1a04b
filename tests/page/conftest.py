"""What the page's tests leave behind is put back."""

import sys

import pytest

from vgkeras.logs import __main__ as child
from vgkeras.logs import strangers


@pytest.fixture(autouse=True, scope="module")
def main_module():
    """Streamlit puts the page in the place of `__main__`.

    A process spawned afterwards by another test would run the page first, and end.
    """
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def without_child(monkeypatch):
    """Opens a visitor's file as the child does, in this process: half a second less.

    The child has its tests in `tests/logs`, and some of the page wait for it.
    """
    monkeypatch.setattr(
        strangers, "ask_child", lambda source, most, seconds: child.reply(source, most)
    )
