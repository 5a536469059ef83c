"""Queries past their deadline that nobody waits for: the loop settles them with `QueryTimeout`.

Who waits for a query keeps its own time; this is for replies that were submitted. One timer for all: at the earliest
deadline it looks through what is in flight. Most queries are answered long before, so it rarely has anything to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .correlator import Correlator
from .errors import QueryTimeout
from .loop import Timer, current_loop
from .replies import Entry

_SWEEP_SECONDS = 0.01  # between two looks, at least


class Deadlines:
    """See the module.

    Args:
        correlator: knows what is in flight.
        on_sweep: called with the time at each look, on the loop, for what is not in flight yet.

    Attributes:
        next: when it looks next, on the monotonic clock. Set on the loop.
    """

    def __init__(self, correlator: Correlator[Entry], on_sweep: Callable[[float], object]) -> None:
        self._correlator = correlator
        self._on_sweep = on_sweep
        self._timer: Timer | None = None  # loop only
        self.next = math.inf

    def watch(self, deadline: float | None) -> None:
        """Look by then; `None`: there is nothing to look for. From any thread."""
        if deadline is not None and deadline < self.next:
            current_loop().call(self._look_by, deadline)

    def forget(self) -> None:
        """The loop may be another one from now on, with no timer of ours. From any thread."""
        self.next = math.inf

    def stop(self) -> None:
        """Look no more. From any thread."""
        current_loop().call(self._stop)

    def _look_by(self, deadline: float) -> None:
        if deadline < self.next:
            self._stop()
            self.next = deadline
            self._timer = current_loop().call_later(max(deadline - time.monotonic(), _SWEEP_SECONDS), self._sweep)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.next = None, math.inf

    def _sweep(self) -> None:
        self._timer, self.next = None, math.inf
        now = time.monotonic()
        for key, entry in self._correlator.expired(now):
            self._correlator.fail(key, timed_out(entry, now))
        deadlines = [entry.deadline for _, entry in self._correlator.waiting() if entry.deadline is not None]
        if deadlines:
            self._look_by(min(deadlines))
        self._on_sweep(now)


def timed_out(entry: Entry, now: float) -> QueryTimeout:
    """The error of a query whose deadline has passed."""
    written = entry.key is not None
    what = f"{entry.method} (query {entry.key}) got no answer" if written else f"{entry.method} could not be sent"
    return QueryTimeout(
        f"{what} within {now - entry.asked_at:.3g} s",
        method=entry.method,
        id=entry.key,
        elapsed=now - entry.asked_at,
        may_have_run=written,
    )
