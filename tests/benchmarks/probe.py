"""What this process holds: resident memory, threads, open file descriptors.

As a program (``python -m tests.benchmarks.probe MODULE``) it imports one module in a fresh interpreter and prints the
time that took, and what was held before and after. So it imports next to nothing itself.
"""

import importlib
import os
import sys
import time
from typing import Any

PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024 if hasattr(os, "sysconf") else 0


def threads() -> int:
    """Return the number of threads, the operating system's count where it tells one."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return len(sys._current_frames())


def descriptors() -> int | None:
    """Return the number of open file descriptors; ``None`` where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # the listing itself holds one
        except OSError:
            continue
    return None


def resident_kb() -> int | None:
    """Return the resident memory in kB; ``None`` where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE_KB
    except OSError:
        return None


def holdings() -> dict[str, int | None]:
    """Return all three."""
    return {"resident_kb": resident_kb(), "threads": threads(), "descriptors": descriptors()}


def import_one(module: str) -> dict[str, Any]:
    """Import ``module`` here and now; return the milliseconds, and what was held before and after."""
    before = holdings()
    start = time.perf_counter()
    importlib.import_module(module)
    taken = time.perf_counter() - start
    return {"ms": round(taken * 1000, 2), "before": before, "after": holdings()}


if __name__ == "__main__":
    answer = import_one(sys.argv[1])

    import json  # not before: the imported module may need it too

    print(json.dumps(answer))
