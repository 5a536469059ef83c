"""Does a long run of queries leave memory where it was?

As a program (``python -m tests.benchmarks.memory URL COUNT``) it asks through wsrpc in an interpreter of its own, one
at a time and then with 64 in flight, and prints what the process held before and after each, once a warm-up is over.
"""

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

from .children import ask_child
from .measure import connected
from .peers import ROSTER, SUBJECT
from .probe import holdings

WARM_UP_QUERIES = 10_000
WINDOW = 64
ALLOWED_GROWTH_KB = 1_024
"""What still counts as "where it was", as allocators keep some pages back: 10 bytes a query in a run of 100,000."""

Held = dict[str, int | None]


def measure(url: str, queries: int) -> dict[str, Any]:
    """Ask in a fresh interpreter, and judge what is left behind."""
    answer = ask_child("-m", "tests.benchmarks.memory", url, str(queries))
    rows = [{**row, **judge(row["before"], row["after"])} for row in answer["rows"]]
    return {"queries": queries, "warm_up": WARM_UP_QUERIES, "allowed_kb": ALLOWED_GROWTH_KB, "rows": rows}


def judge(before: Held, after: Held) -> dict[str, Any]:
    """Return the growth in kB, and whether memory, threads and descriptors are where they were."""
    if before["resident_kb"] is None or after["resident_kb"] is None:
        return {"growth_kb": None, "met": None}
    growth = after["resident_kb"] - before["resident_kb"]
    kept = all(after[name] <= before[name] for name in ("threads", "descriptors"))
    return {"growth_kb": growth, "met": kept and growth <= ALLOWED_GROWTH_KB}


def ask_many(url: str, queries: int) -> list[dict[str, Any]]:
    """Ask one at a time, then with `WINDOW` in flight, on one connection; return what was held around each."""
    with connected(ROSTER[SUBJECT].load(), url) as peer:
        return [
            around("one at a time", peer.one_at_a_time, queries),
            around(f"{WINDOW} in flight", lambda count: peer.in_flight(count, WINDOW), queries),
        ]


def around(name: str, ask: Callable[[int], None], queries: int) -> dict[str, Any]:
    """Warm up, then ask ``queries`` times; return what the process held before and after."""
    ask(WARM_UP_QUERIES)
    before = _settled()
    ask(queries)
    return {"name": name, "before": before, "after": _settled()}


def _settled() -> Held:
    gc.collect()
    return holdings()


if __name__ == "__main__":
    print(json.dumps({"rows": ask_many(sys.argv[1], int(sys.argv[2]))}))
