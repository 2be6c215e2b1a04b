"""What the page's tests leave behind is put back."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def main_module():
    """Streamlit puts the page in the place of `__main__`.

    A process spawned afterwards by another test would run the page first, and end.
    """
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
