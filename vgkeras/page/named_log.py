"""A log under the name of what it was made from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import vgkeras as vg


class NamedLog:
    """A log that caches tell apart by its name: equal names, equal logs.

    The name says all that the log was made from. Key and content of a cache so come
    as one object, and looking a log up costs nothing: a selection is made, with its
    theory, only if what is shown of it is not in the cache.
    """

    def __init__(self, name: str, make: Callable[[], vg.GradientLog]) -> None:
        self.name = name
        self._make = make

    def __repr__(self) -> str:
        return f"NamedLog({self.name!r})"

    @functools.cached_property
    def log(self) -> vg.GradientLog:
        return self._make()

    def select(self, **columns: Any) -> NamedLog:
        """The runs with these values, as `vgkeras.GradientLog.select`."""
        name = f"{self.name} {sorted(columns.items())}"
        return NamedLog(name, lambda: self.log.select(**columns))
