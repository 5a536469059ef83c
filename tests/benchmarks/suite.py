"""What is measured, of whom, and the figures that wsrpc has to reach.

A benchmark of rates is a `Race` in `RACES`: what every peer is asked to do, who takes part, and the targets. Memory and
import are measured of wsrpc alone. Each gives a JSON object; ``report.py`` knows how to print its kind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import facts, imports, memory
from .children import echo_server
from .measure import Ask, Runner, interleave, paired, summary
from .peers import ROSTER, SUBJECT, Peer

Tell = Callable[[str], None]
WINDOW = 64


@dataclass(frozen=True)
class Plan:
    """How much of everything a run does.

    Attributes:
        rounds: Of every race, and of the imports.
        seed: Of the orders within the rounds.
        block_seconds: About how long a peer is measured in a round.
        memory_queries: How many queries must leave memory where it was.
        peers: The names of those who can run here.
    """

    rounds: int
    seed: int
    block_seconds: float
    memory_queries: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Race:
    """One thing that every peer does, as fast as it can.

    Attributes:
        title: Its heading in the report.
        about: What the peers do, in a sentence or two.
        ask: Does it a number of times, with one peer.
        peers: Who takes part, wsrpc included.
        targets: The least ratio of wsrpc to a peer, where one is set.
    """

    title: str
    about: str
    ask: Ask
    peers: tuple[str, ...]
    targets: Mapping[str, float] = field(default_factory=dict)

    def run(self, url: str, plan: Plan, tell: Tell) -> dict[str, Any]:
        """Race those peers that are in the plan; return their rates and the ratios of wsrpc to each."""
        names = [name for name in self.peers if name in plan.peers]
        runners = {name: Runner(ROSTER[name].load(), self.ask, url) for name in names}
        interleave(runners, rounds=plan.rounds, seed=plan.seed, block_seconds=plan.block_seconds, tell=tell)
        return {
            "kind": "race",
            "title": self.title,
            "about": self.about,
            "absent": [name for name in self.peers if name not in names],
            "peers": {name: _peer_row(runner) for name, runner in runners.items()},
            "ratios": {name: self._ratio(name, runners) for name in self.peers if name != SUBJECT},
        }

    def _ratio(self, name: str, runners: Mapping[str, Runner]) -> dict[str, Any]:
        ours, theirs, target = runners[SUBJECT], runners.get(name), self.targets.get(name)
        if ours.failed is not None and target is not None:
            return {"target": target, "met": False}
        if ours.failed is not None or theirs is None or theirs.failed is not None:
            return {"target": target, "met": None}
        ratio = paired(ours.rates, theirs.rates)
        return {"target": target, "met": None if target is None else ratio["median"] >= target, **ratio}


def _peer_row(runner: Runner) -> dict[str, Any]:
    row = {"queries_a_block": runner.queries, "rates": [round(rate) for rate in runner.rates]}
    return {**row, **({"failed": runner.failed} if runner.failed is not None else summary(runner.rates))}


def _one_at_a_time(peer: Peer, count: int) -> None:
    peer.one_at_a_time(count)


def _in_flight(peer: Peer, count: int) -> None:
    peer.in_flight(count, WINDOW)


RACES = {
    "one-at-a-time": Race(
        title="One query at a time",
        about="One thread asks, waits for the answer, and asks again.",
        ask=_one_at_a_time,
        peers=(SUBJECT, "nwebsocket", "websocket-client", "websockets threads"),
        targets={"nwebsocket": 3.0, "websockets threads": 1.0},
    ),
    "64-in-flight": Race(
        title=f"{WINDOW} queries in flight",
        about=f"One thread keeps {WINDOW} queries unanswered: it waits for the oldest answer, then asks one more.",
        ask=_in_flight,
        peers=(SUBJECT, "nwebsocket", "websocket-client", "websockets threads"),
        targets={"websockets threads": 1.2},
    ),
}


def _memory(url: str, plan: Plan, tell: Tell) -> dict[str, Any]:
    tell(f"{plan.memory_queries:,} queries one at a time, and as many in flight")
    return {"kind": "memory", "title": "Memory", **memory.measure(url, plan.memory_queries)}


def _imports(_url: str, plan: Plan, tell: Tell) -> dict[str, Any]:
    tell(f"{plan.rounds} imports each, in fresh interpreters")
    return {"kind": "import", "title": "Import", **imports.measure(plan.rounds, plan.seed)}


BENCHMARKS: dict[str, Callable[[str, Plan, Tell], dict[str, Any]]] = {
    **{name: race.run for name, race in RACES.items()},
    "memory": _memory,
    "import": _imports,
}


def run(names: Sequence[str], plan: Plan, tell: Tell) -> dict[str, Any]:
    """Run the named benchmarks against one echo server; return everything that the report needs."""
    before = facts.load()
    with echo_server() as url:
        benchmarks = {name: _run_one(name, url, plan, tell) for name in names}
    return {
        "date": facts.now(),
        "plan": {"rounds": plan.rounds, "seed": plan.seed, "block_seconds": plan.block_seconds},
        "machine": facts.machine(),
        "load": [before, facts.load()],
        "versions": facts.versions(),
        "peers": {name: ROSTER[name].load().how for name in plan.peers},
        "benchmarks": benchmarks,
    }


def _run_one(name: str, url: str, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Run one benchmark; if it fails, that is its result, and the others go on."""
    try:
        return BENCHMARKS[name](url, plan, lambda line: tell(f"{name}: {line}"))
    except Exception as error:
        return {"kind": "failed", "title": name, "error": f"{type(error).__name__}: {error}"}
