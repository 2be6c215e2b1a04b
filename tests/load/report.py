"""The table at the end: goal, measured, met or missed; and on which machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

PACKAGES = ("streamlit", "tensorflow-cpu", "tensorflow", "keras", "altair")


class Goal(NamedTuple):
    """One line of the table."""

    goal: str
    measured: str
    met: bool


def print_table(goals: list[Goal], failures: list[str]) -> bool:
    """Prints the table and the first failures; whether every goal was met."""
    for failure in failures[:20]:
        print(f"! {failure}")
    if len(failures) > 20:
        print(f"! and {len(failures) - 20} more")
    widths = [max(len(goal[column]) for goal in goals) for column in (0, 1)]
    print()
    for goal, measured, met in goals:
        print(
            f"{goal:{widths[0]}}  {measured:{widths[1]}}  {'met' if met else 'MISSED'}"
        )
    print(f"\n{machine()}")
    return all(goal.met for goal in goals)


def machine() -> str:
    parts = [f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"]
    parts.append(f"Python {platform.python_version()}")
    for package in PACKAGES:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)
