"""Where XLA keeps compiled programs, for the workers to come and the next server.

A program is for the processor it was compiled on and the version that compiled it: each
kind of machine and each version has a folder of its own, which is its user's alone.
"""

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MOST = 200  # programs, of 0.4 MB each
_COMPILERS = ("tensorflow", "tensorflow-cpu", "keras")


def folder() -> Path | None:
    """The folder of this machine and version; `None` where there can be none."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    name = hashlib.sha256(_machine().encode()).hexdigest()[:16]
    path = home / "vgkeras" / f"programs-{name}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return path


def give_up_oldest(path: Path) -> None:
    """Leaves the newest `MOST` programs."""
    times = {program: program.stat().st_mtime for program in path.iterdir()}
    for program in sorted(times, key=lambda program: times[program])[:-MOST]:
        program.unlink(missing_ok=True)


def _machine() -> str:
    """What a compiled program depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    own = {line for line in lines if line.startswith(("model name", "flags", "Feat"))}
    return "\n".join([platform.machine(), *sorted(own), *map(_version, _COMPILERS)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
