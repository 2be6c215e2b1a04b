"""One server of the page on a free port of this machine, and the memory it takes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    "--server.address=127.0.0.1",
    "--server.headless=true",
    "--server.fileWatcherType=none",
    "--browser.gatherUsageStats=false",
)


class Server:
    """`with Server() as server: ...` runs the page of a folder until the end.

    `log` has what it printed. `kill` ends it without a chance to clean up, `start`
    starts it anew on the same port.
    """

    def __init__(self, folder: Path = ROOT) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self.folder = folder
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end(signal.SIGTERM)
        self._log.close()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "dashboard.py"]
        self._process = subprocess.Popen(
            [*command, *OPTIONS, f"--server.port={self._port}"],
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The page did not start:\n{self.log()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9`."""
        self._end(signal.SIGKILL)

    def healthy(self) -> bool:
        health = f"{self.address}/_stcore/health"
        try:
            with urllib.request.urlopen(health, timeout=5) as answer:
                return answer.read() == b"ok"
        except OSError:
            return False

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def megabytes(self, what: str = "VmRSS") -> float:
        """Resident memory, or a part of it as in `/proc`, in units of 2**20 bytes."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            raise RuntimeError(
                "Memory must be read where there is a /proc, that is on Linux. "
                f"Received: platform={sys.platform!r}. Run this part in a container."
            )
        line = next(s for s in status.read_text().splitlines() if what in s)
        return int(line.split()[1]) / 1024

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
