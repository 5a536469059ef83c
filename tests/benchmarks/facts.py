"""What a result is worth nothing without: the versions, the machine, the date.

Nothing here names a host, a user or a path.
"""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "wsrpc",
    "curio",
    "curio-compat",
    "wsproto",
    "orjson",
    "nwebsocket",
    "websocket-client",
    "websockets",
    "picows",
    "aiofastnet",
    "uvloop",
)


def versions() -> dict[str, str]:
    """Return the version of Python and of every distribution that is installed."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return what kind of machine this is."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "system": f"{platform.system()} {_leading_number(platform.release())}".strip(),
        "architecture": platform.machine(),
    }


def load() -> float | None:
    """Return how many processes wanted a core over the last minute; ``None`` where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def now() -> str:
    """Return the date and time in UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _leading_number(release: str) -> str:
    found = re.match(r"\d+(\.\d+)?", release)
    return found[0] if found else ""
