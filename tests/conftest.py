"""Fixtures that every test may use."""

import functools
import gc
import os

import numpy as np
import pytest

# Before TensorFlow is imported. Two processes test at a time: threads for each of two
# processors would only wait for one another, a sixth of the time.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")


def pytest_collection_modifyitems(items):
    """The browser's minutes come first: the other worker has all the rest to do."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)


@pytest.fixture(autouse=True, scope="module")
def earlier_objects():
    """What was there before is not searched for garbage: a second, each time.

    Streamlit has everything searched whenever a page has run, a hundred times.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def as_graph(monkeypatch):
    """Runs the program of a sweep as the graph that XLA would compile: seconds less.

    The operations are the same. `test_recipes.py` holds both ways together.
    """
    import tensorflow as tf

    from vgkeras.sweeps import blocks, program

    @functools.cache
    def graph(plan):
        compiled = program.compiled_program(plan)
        return tf.function(compiled.python_function, autograph=False)

    monkeypatch.setattr(blocks, "compiled_program", graph)
