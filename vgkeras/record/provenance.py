"""Where a recording comes from."""

import platform
from datetime import UTC, datetime
from typing import Any

from vgkeras.logs import versions


def provenance(name: str) -> dict[str, Any]:
    """Returns metadata of the recording `name`: date, command, versions, platform."""
    return {
        "recorded": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m vgkeras.record {name}",
        "versions": {"python": platform.python_version(), **versions()},
        "platform": f"{platform.system()} {platform.machine()}",
    }
