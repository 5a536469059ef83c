"""Reflect ID to the query that waits for it; settles each exactly once.

An entry leaves in one place: it is popped, then settled, by whoever popped it. Popping is atomic (one dict operation
under the GIL), so an answer, a timeout and a cancel may race, and one of them wins. No lock, no clock: `now` comes in.

Who calls what: `register` under the connection's write lock; `abandon` from any thread; the rest on the loop.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from .dialects import Answer, Failure, ReflectID
from .errors import RemoteError, WsrpcError

REMEMBERED = 4096


class Entry(Protocol):
    """A query that waits for its answer."""

    deadline: float | None
    written_at: float

    @property
    def method(self) -> str:
        """What is asked, for errors."""

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Take the outcome; called once. Must not block."""


E = TypeVar("E", bound=Entry)


class Verdict(Enum):
    """Why an answer settled no query."""

    LATE = "late"
    UNKNOWN = "unknown"


class Correlator(Generic[E]):
    """The queries in flight on one client.

    Attributes:
        matched: how many answers settled a query.
        late: how many came after their query was settled.
    """

    def __init__(self) -> None:
        self._entries: dict[ReflectID, E] = {}
        self._abandoned: deque[ReflectID] = deque(maxlen=REMEMBERED)  # popped by callers, not yet in _settled
        self._settled: set[ReflectID] = set()  # loop only
        self._settled_before: set[ReflectID] = set()  # loop only: the generation before, so that both stay bounded
        self.matched = 0
        self.late = 0

    def __len__(self) -> int:
        return len(self._entries)

    def register(self, key: ReflectID, entry: E) -> None:
        """From now on, an answer to `key` settles this entry."""
        self._entries[key] = entry

    def answer(self, key: ReflectID, incoming: Answer | Failure) -> E | Verdict:
        """Settle the query that an answer belongs to, and return it; if none waits, why.

        An answer that is not the last leaves its query waiting.
        """
        if isinstance(incoming, Answer) and not incoming.final and (waiting := self._entries.get(key)) is not None:
            return waiting
        entry = self._entries.pop(key, None)
        if entry is None:
            return self._verdict_on_unknown(key)
        self._remember(key)
        self.matched += 1
        if isinstance(incoming, Answer):
            entry.settle(incoming.result, None)
        else:
            entry.settle(None, _remote_error(entry.method, key, incoming))
        return entry

    def abandon(self, key: ReflectID) -> bool:
        """Nobody waits for `key` any more. Returns whether it was in flight: if not, it has its outcome already."""
        if self._entries.pop(key, None) is None:
            return False
        self._abandoned.append(key)
        return True

    def fail(self, key: ReflectID, error: WsrpcError) -> None:
        """Settle one query with an error, if it waits."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._remember(key)
            entry.settle(None, error)

    def waiting(self) -> list[tuple[ReflectID, E]]:
        """All that is in flight, in the order of its writing."""
        return list(self._entries.items())

    def expired(self, now: float) -> list[tuple[ReflectID, E]]:
        """What is in flight past its deadline."""
        return [(key, entry) for key, entry in self.waiting() if entry.deadline is not None and entry.deadline <= now]

    def _verdict_on_unknown(self, key: ReflectID) -> Verdict:
        while self._abandoned:
            self._remember(self._abandoned.popleft())
        if key in self._settled or key in self._settled_before:
            self.late += 1
            return Verdict.LATE
        return Verdict.UNKNOWN

    def _remember(self, key: ReflectID) -> None:
        if len(self._settled) >= REMEMBERED:
            self._settled, self._settled_before = set(), self._settled
        self._settled.add(key)


def _remote_error(method: str, key: ReflectID, failure: Failure) -> RemoteError:
    code = "" if failure.code is None else f" {failure.code}"
    return RemoteError(
        f"{method} (query {key}) was answered with error{code}: {failure.message or 'no text'}",
        method=method,
        id=key,
        code=failure.code,
        message=failure.message,
        data=failure.data,
    )
