"""What does ``import wsrpc`` cost, and does it start or open anything?

Each import runs in a fresh interpreter (``probe.py``), in turn with that of `BESIDE`.
"""

import random
from collections.abc import Sequence
from typing import Any

from .children import ask_child
from .measure import paired, summary

SUBJECT_MODULE = "wsrpc"
BESIDE = "websockets.sync.client"


def measure(runs: int, seed: int) -> dict[str, Any]:
    """Import both modules ``runs`` times each, interleaved; return the times and what the imports started."""
    answers = _interleaved([SUBJECT_MODULE, BESIDE], runs, random.Random(seed))
    modules = {module: _row(given) for module, given in answers.items()}
    ours, theirs = modules[SUBJECT_MODULE], modules[BESIDE]
    return {
        "runs": runs,
        "modules": modules,
        "ratio": {"of": [SUBJECT_MODULE, BESIDE], **paired(ours["ms"], theirs["ms"])},
        "met": not (ours["threads_started"] or ours["descriptors_opened"]),
    }


def _interleaved(modules: list[str], runs: int, chance: random.Random) -> dict[str, list[dict[str, Any]]]:
    answers: dict[str, list[dict[str, Any]]] = {module: [] for module in modules}
    for number in range(runs + 1):
        chance.shuffle(modules)
        for module in modules:
            answer = ask_child("-m", "tests.benchmarks.probe", module)
            if number:  # the first run only fills the caches
                answers[module].append(answer)
    return answers


def _row(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    times = [answer["ms"] for answer in answers]
    return {
        "ms": times,
        "summary": summary(times),
        "threads_started": _most(answers, "threads"),
        "descriptors_opened": _most(answers, "descriptors"),
    }


def _most(answers: Sequence[dict[str, Any]], what: str) -> int | None:
    """Return by how much ``what`` grew in the worst run; ``None`` where the system does not tell."""
    if any(answer["before"][what] is None for answer in answers):
        return None
    return max(int(answer["after"][what]) - int(answer["before"][what]) for answer in answers)
