"""Files of strangers: read in a child process, within limits of memory and time.

A file of some kilobytes can claim any number of rows and unpack to gigabytes, and a
damaged one can meet a fault of the decoder that ends its process. So this process
decodes nothing of it: a child does, holds the numbers to what they mean, and writes
the log anew.
"""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

from vgkeras._checks import check_positive, check_positive_int
from vgkeras.logs.reading import refusal

REFUSED, TOO_LARGE = 3, 4  # exit codes of a child that says why
_MODULE = ("-P", "-m", "vgkeras.logs")  # not of the folder that this runs in
_ROOT = Path(__file__).parents[2]
_PATIENCE = 3  # seconds by the clock for one of a processor, which others share
# No threads, and memory that is asked of the system only when it is used.
_SETTINGS = {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def rewrite(source: bytes, *, max_bytes: int, seconds: float = 10) -> bytes:
    """Rewrites the log of a stranger's file as `GradientLog.save` would.

    About 0.6 s, most of it the start of the child: do it once a file, and keep the
    result. The child holds itself to its limits before it sees the file. They stop
    bombs and faults of the decoder; they are no sandbox against an attack that takes
    the child over: for that, run the server in a container. macOS does not enforce
    the limit of memory and Windows has none: there the time alone is limited.

    Args:
        source: The whole file.
        max_bytes: Refuse a log that takes more memory than this. The child may take
            four times as much and 64 MB, beside Python and its packages.
        seconds: Refuse a file that takes more time of a processor, the start of the
            child included, or three times as long by the clock.

    Returns:
        A file of the same log for `load`, of which nothing needs to be feared.

    Raises:
        TypeError: If `max_bytes` is no integer or `seconds` no number.
        ValueError: If the file is damaged, cut short, too large or no gradient log.

    Example:
        >>> ours = vg.logs.rewrite(content, max_bytes=50_000_000)  # doctest: +SKIP
        >>> log = vg.load(ours)  # doctest: +SKIP
    """
    most = check_positive_int("max_bytes", max_bytes)
    limit = math.ceil(check_positive("seconds", seconds))
    code, answer = ask_child(source, most, limit)
    if code == 0:
        return answer
    received = f"<{len(source):,} bytes>"
    why = _why(code, answer, limit)
    if code != TOO_LARGE:
        raise refusal(received, why) from ValueError(why)
    raise ValueError(
        f"`source` must be a gradient log of at most {most:,} bytes in memory. "
        f"Received: source={received} ({why}). Log fewer steps, or open it with a "
        "larger `max_bytes`."
    ) from ValueError(why)


def _why(code: int | None, answer: bytes, seconds: int) -> str:
    """Why a child did not write a log, in its own words if it came to that."""
    if code in (REFUSED, TOO_LARGE):
        return answer.decode(errors="replace")
    if code in (None, -getattr(signal, "SIGXCPU", 0)):
        return f"it takes more than {seconds} s to read"
    return f"it ends the process that reads it, with code {code}"


def ask_child(source: bytes, max_bytes: int, seconds: int) -> tuple[int | None, bytes]:
    """The exit code of a child that was given a file, `None` if late; its answer."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {**_SETTINGS, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        child = subprocess.run(
            [sys.executable, *_MODULE, str(max_bytes), str(seconds)],
            input=source,
            stdout=subprocess.PIPE,
            env={**os.environ, **settings},
            timeout=_PATIENCE * seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, b""
    return child.returncode, child.stdout
