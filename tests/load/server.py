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


WORKER = "vgkeras.page.worker_process"
PRIVATE, RESIDENT = "RssAnon", "VmRSS"


def megabytes(process: int, what: str = PRIVATE) -> float:
    """A part of the memory of a process, in units of 2**20 bytes; 0 once it is gone.

    What is private cannot be taken back; the rest of what is resident are pages of
    files, most of them TensorFlow's library, which processes share.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith(what)]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def command(process: int) -> str:
    """The command line of a process; empty once it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


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

    def megabytes(self, what: str = PRIVATE) -> float:
        """Memory of the page's own process; see the function `megabytes`."""
        if not Path("/proc/self/status").exists():
            raise RuntimeError(
                "Memory must be read where there is a /proc, that is on Linux. "
                f"Received: platform={sys.platform!r}. Run this part in a container."
            )
        return megabytes(self._process.pid, what)

    def workers(self) -> list[int]:
        """The processes that make the runs: their numbers, the oldest first."""
        task = Path(f"/proc/{self._process.pid}/task")
        texts = [path.read_text() for path in task.glob("*/children")]
        children = sorted(int(number) for text in texts for number in text.split())
        return [number for number in children if WORKER in command(number)]

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        os.killpg(self._process.pid, how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
