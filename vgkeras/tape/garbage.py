"""Garbage collection paused for the moment in which TensorFlow builds a graph."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Keeps the collector from running inside.

    Tracing makes enough objects to set it off again and again, and each time it looks
    at every object of TensorFlow, Keras and pandas: a fifth of a first call's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
