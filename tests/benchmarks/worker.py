"""A process that holds one peer and runs it when told to, so that peers can take turns.

Reads a line from standard input for each run, the path under which to save the log or
an empty line, and answers with a line of JSON. Importing the peer, and starting its
device, is not on the clock.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from types import ModuleType
from typing import Any

from problem import Problem


def main() -> None:
    peer, text = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is not an answer
    try:
        module = importlib.import_module(f"peers.{peer}")
    except ModuleNotFoundError as error:
        _answer(answers, missing=error.name)
        return
    _start_device()
    _answer(answers, ready=True)
    problem = Problem.from_json(text)
    for line in sys.stdin:
        _answer(answers, seconds=_timed(module, problem, line.strip()))


def _timed(module: ModuleType, problem: Problem, path: str) -> float:
    start = time.perf_counter()
    log = module.run(problem)
    seconds = time.perf_counter() - start
    if path:
        log.save(path)
    return seconds


def _start_device() -> None:
    """What a framework does once a process, whatever it is then asked to do."""
    if "jax" in sys.modules:
        sys.modules["jax"].numpy.zeros(1).block_until_ready()
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].zeros(1).numpy()


def _answer(answers: Any, **fields: Any) -> None:
    print(json.dumps(fields), file=answers)


if __name__ == "__main__":
    main()
