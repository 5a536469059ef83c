"""Interleaved rounds of blocks, and what is computed from them.

A block is one peer asking a fixed count of queries on a connection of its own, after a warm-up. In a round every peer
has one block, in an order shuffled with a fixed seed; the ratio of two peers is taken within each round, so a machine
that drifts moves both. A peer that raises or stands still is out from then on, and the result says why.
"""

import gc
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from .peers import Peer

Ask = Callable[[Peer, int], None]

WARM_UP_QUERIES = 200
CALIBRATION_SECONDS = 0.1
STALL_SECONDS = 5.0
"""A block that takes so long has hung: it should take well under a second."""


class Stalled(Exception):
    """A block did not end in `STALL_SECONDS`."""


@dataclass
class Runner:
    """One peer in one benchmark: how to run a block of it, and the rates so far.

    Attributes:
        queries: The count in a block; 0 until calibrated.
        rates: Queries a second, one a round.
        failed: Why the peer is out; ``None`` while it is not.
    """

    peer: type[Peer]
    ask: Ask
    url: str
    queries: int = 0
    rates: list[float] = field(default_factory=list)
    failed: str | None = None

    def calibrate(self, block_seconds: float) -> None:
        """Find the count of queries that takes about ``block_seconds``."""
        rate = self._guarded(self._rate)
        if rate is not None:
            self.queries = max(50, round(rate * block_seconds))

    def block(self) -> None:
        """Run one block and keep its rate."""
        rate = self._guarded(lambda peer: self.queries / seconds(self.ask, peer, self.queries))
        if rate is not None:
            self.rates.append(rate)

    def _rate(self, peer: Peer) -> float:
        count = 50
        while (taken := seconds(self.ask, peer, count)) < CALIBRATION_SECONDS:
            count *= 2
        return count / taken

    def _guarded(self, measure: Callable[[Peer], float]) -> float | None:
        if self.failed is not None:
            return None
        try:
            with fresh_heap(), connected(self.peer, self.url) as peer, stall_limit():
                self.ask(peer, WARM_UP_QUERIES)
                return measure(peer)
        except Stalled as stalled:
            self.failed = str(stalled)
        except Exception as error:  # whatever a library raises is its result
            self.failed = f"{type(error).__name__}: {error}"
        return None


def interleave(
    runners: Mapping[str, Runner], *, rounds: int, seed: int, block_seconds: float, tell: Callable[[str], None]
) -> None:
    """Calibrate every runner, then run ``rounds`` rounds of one block each, in a shuffled order.

    Args:
        runners: By the peer's name.
        rounds: How many blocks each peer gets.
        seed: Of the order; the same seed gives the same orders.
        block_seconds: About how long a block takes.
        tell: Called with a line of progress before each round.
    """
    for runner in runners.values():
        runner.calibrate(block_seconds)
    order = sorted(runners)
    chance = random.Random(seed)
    for number in range(1, rounds + 1):
        tell(f"round {number} of {rounds}")
        chance.shuffle(order)
        for name in order:
            runners[name].block()


def seconds(ask: Ask, peer: Peer, count: int) -> float:
    """Return how long ``peer`` took for ``count`` queries."""
    start = time.perf_counter()
    ask(peer, count)
    return time.perf_counter() - start


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles of ``values``."""
    if len(values) < 2:
        return dict.fromkeys(("q1", "median", "q3"), values[0])
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return dict(zip(("q1", "median", "q3"), quartiles, strict=True))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the summary of the ratios ``ours / theirs``, taken round by round."""
    return summary([mine / other for mine, other in zip(ours, theirs, strict=True)])


@contextmanager
def connected(peer: type[Peer], url: str) -> Iterator[Peer]:
    """Connect ``peer`` for the length of a ``with`` block; a close that raises or hangs ends it all the same."""
    with stall_limit():
        link = peer(url)
    try:
        yield link
    finally:
        with suppress(Exception), stall_limit():
            link.close()


@contextmanager
def fresh_heap() -> Iterator[None]:
    """Collect the garbage of the block before, and keep the collector from walking what is older than this block."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def stall_limit(limit: float = STALL_SECONDS) -> Iterator[None]:
    """Raise `Stalled` in the main thread if the ``with`` block takes longer than ``limit`` seconds.

    A timer signal, so that no peer pays for timeouts in its waits. Without such signals (Windows) there is no limit.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGALRM, _stalled)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stalled(*_: Any) -> None:
    raise Stalled(f"hung, not done after {STALL_SECONDS:g} s")
