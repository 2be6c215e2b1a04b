"""`python -m vgkeras.logs MAX_BYTES SECONDS`: the child of `strangers.rewrite`.

Reads a file from standard input, within limits, and writes the log in it anew to
standard output, or why it is refused. Nothing of the file is seen before the limits
hold.
"""

import contextlib
import json
import sys
from pathlib import Path

from vgkeras.logs.log import GradientLog
from vgkeras.logs.reading import DAMAGE, read, reason
from vgkeras.logs.strangers import REFUSED, TOO_LARGE

_TIMES = 4  # what it takes to read and write a log, in logs
_ROOM = 2**26  # bytes, beside that
_OBJECT = 32  # bytes that a letter of JSON may take as a Python object


def limit(max_bytes: int, seconds: int) -> None:
    """Holds this process to its limits, as far as the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, seconds)
    statm = Path("/proc/self/statm")
    if statm.exists():  # not on macOS, which would hold nobody to it
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, used + _TIMES * max_bytes + _ROOM)
        _go_first()


def _go_first() -> None:
    """Where memory is short, Linux ends this process, not the server."""
    with contextlib.suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text("1000")


def _lower(kind: int, most: int) -> None:
    """Sets a limit, or leaves the one that is lower."""
    import resource

    now, hard = resource.getrlimit(kind)
    if now == resource.RLIM_INFINITY or most < now:
        resource.setrlimit(kind, (most, hard))


def reply(content: bytes, max_bytes: int) -> tuple[int, bytes]:
    """The exit code, and the log written anew or why it is not."""
    try:
        log = read(content)
        size = memory(log)
        if size > max_bytes:
            return TOO_LARGE, f"it takes {size:,} bytes".encode()
        return 0, log.to_bytes()
    except MemoryError:
        return TOO_LARGE, b"it takes too much to be read"
    except DAMAGE as error:
        return REFUSED, reason(error).encode()


def memory(log: GradientLog) -> int:
    """Bytes that a log takes, its texts and its theory included."""
    tables = (log.runs, log.losses, log.layers)
    size = sum(int(table.memory_usage(deep=True).sum()) for table in tables)
    size += _OBJECT * len(json.dumps(log.metadata))
    return size + (0 if log.theory is None else memory(log.theory))


def main() -> None:
    """Answers one parent, and ends."""
    max_bytes, seconds = (int(argument) for argument in sys.argv[1:])
    limit(max_bytes, seconds)
    code, answer = reply(sys.stdin.buffer.read(), max_bytes)
    sys.stdout.buffer.write(answer)
    sys.exit(code)


if __name__ == "__main__":
    main()
