"""The memory of a server and its workers, looked at all the time."""

from __future__ import annotations

import threading
from typing import NamedTuple, Self

from tests.load.report import Goal
from tests.load.server import RESIDENT, Server, megabytes

PAGE, WORKER, TOGETHER = 350, 1000, 1400  # megabytes


class Look(NamedTuple):
    """Private megabytes at a moment: of the page, and of each worker."""

    page: float
    workers: tuple[float, ...]
    resident: float  # of the largest worker, the pages of files included

    @property
    def together(self) -> float:
        return self.page + sum(self.workers)


class Watch:
    """`with Watch(server) as watch: ...` looks five times a second."""

    def __init__(self, server: Server) -> None:
        self._server, self._over = server, threading.Event()
        self._looks: list[Look] = []
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def last(self) -> Look:
        workers = self._server.workers()
        return Look(
            self._server.megabytes(),
            tuple(megabytes(number) for number in workers),
            max((megabytes(number, RESIDENT) for number in workers), default=0.0),
        )

    def goals(self) -> list[Goal]:
        page = max(look.page for look in self._looks)
        worker = max(max(look.workers, default=0.0) for look in self._looks)
        resident = max(look.resident for look in self._looks)
        together = max(look.together for look in self._looks)
        most = max(len(look.workers) for look in self._looks)
        return [
            Goal(f"page: private < {PAGE} MB", f"{page:.0f} MB", page < PAGE),
            Goal(
                f"a worker: private < {WORKER} MB at any time",
                f"{worker:.0f} MB, {resident:.0f} MB with files",
                worker < WORKER,
            ),
            Goal(
                f"all together: private < {TOGETHER} MB at any time",
                f"{together:.0f} MB, {most} workers at most",
                together < TOGETHER,
            ),
        ]

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self._looks.append(self.last)
