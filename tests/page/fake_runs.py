"""Runs without TensorFlow, as a worker's process imports them."""

import os
import sys
import time

import vgkeras as vg


def predicted(depths, progress, **more):
    """Theory in the place of a run, quick to make; the process says who it is."""
    log = vg.predict(scales=[0.9], depths=depths, steps=4)
    progress(1, 2)
    facts = {"pid": os.getpid(), "main": sys.modules["__main__"].__file__, **more}
    return log.replace(metadata={**facts, "streamlit": "streamlit" in sys.modules})


def compared(depths, progress, after_each, seconds=0.0):
    """Hands a log to a callback for each depth, and waits for so long."""
    for depth in depths:
        after_each(predicted([depth], progress))
        time.sleep(seconds)
    return predicted(depths, progress)


def reporting(progress, seconds=60):
    """Reports a hundred times a second."""
    for done in range(100 * seconds):
        progress(done, 100 * seconds)
        time.sleep(0.01)


def deaf(progress, seconds=60):
    """Reports once and then, like a compiler, hears nothing."""
    progress(1, 2)
    time.sleep(seconds)


def failing(progress):
    raise ValueError("`depth` must be a positive integer.")


def killed_once(path, progress):
    """Ends its process, but for the second time."""
    progress(1, 2)
    if not os.path.exists(path):
        with open(path, "w"):
            pass
        os.kill(os.getpid(), 9)
    return predicted([2], progress)


def always_killed(progress):
    progress(1, 2)
    os.kill(os.getpid(), 9)
