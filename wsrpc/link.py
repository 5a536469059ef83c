"""A client's line to its endpoint: opens the connection, writes queries on it, and settles them when it ends.

A query takes its reflect ID, is registered and is written in one critical section, the connection's write lock: the
order of IDs is the order on the wire, and no answer can come before its query is known. While there is no connection,
queries wait for it in order. What happens on the loop (`message`, `closing`, `closed`) never waits for `_lock`: the
rest of opening and ending runs on the client's pool.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from enum import Enum
from typing import Any

from . import codec
from .callbacks import CallbackThreads
from .connection import Connection
from .correlator import Correlator
from .dialects import Dialect
from .dialing import Dialing
from .errors import ConnectError, ConnectionClosed, Overflow, QueryLost, QueryTimeout, WsrpcError
from .framing import TEXT
from .incoming import Router
from .loop import Timer, current_loop
from .options import Options
from .replies import Reply, Slot
from .streams import Subscription
from .urls import Endpoint

Entry = Slot | Reply

_SWEEP_SECONDS = 0.01  # deadlines are swept at most so often


class LinkState(Enum):
    """Where a link is in its life."""

    IDLE = "idle"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class Link:
    """See the module.

    Args:
        endpoint, options, protocols: for dialing.
        dialect: makes the reflect IDs.
        correlator: knows what is in flight.
        router: gets what is received.
        pool: where opening and ending run.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: Options,
        protocols: Sequence[str],
        dialect: Dialect,
        correlator: Correlator[Entry],
        router: Router,
        pool: CallbackThreads,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._protocols = protocols
        self._dialect = dialect
        self._correlator = correlator
        self._router = router
        self._pool = pool
        self._lock = threading.Lock()
        self._state = LinkState.IDLE  # guarded by _lock
        self._connection: Connection | None = None  # guarded by _lock; readers without it check under the write lock
        self._dialing: Dialing | None = None  # guarded by _lock
        self._opened: Future[Connection] = Future()  # guarded by _lock; of the attempt that is under way
        self._ended = threading.Event()  # set while no connection lives
        self._ended.set()
        self._unsent: deque[Entry] = deque()  # guarded by _lock; asked while there was no connection
        self._blocked: frozenset[Subscription] = frozenset()  # guarded by _lock; replaced, so readers need none
        self._number = 0  # guarded by the write lock; the last reflect ID's number
        self._sweeper: Timer | None = None  # loop only
        self._sweep_at = math.inf  # loop only; read without
        self._bytes_before = (0, 0)  # loop only; sent and received on earlier connections

    @property
    def state(self) -> LinkState:
        """Where it is in its life; an ended connection shows as idle."""
        state = self._state
        if state is LinkState.OPEN and not self._is_up():
            return LinkState.IDLE
        return state

    @property
    def sent(self) -> int:
        """How many queries were written."""
        return self._number

    @property
    def bytes(self) -> tuple[int, int]:
        """Sent and received, on the wire, over all connections."""
        (sent, received), connection = self._bytes_before, self._connection
        if connection is None:
            return sent, received
        return sent + connection.outbound.bytes_sent, received + connection.bytes_received

    # Asking

    def ask(self, entry: Entry) -> None:
        """Write a query; where there is no connection, open one and keep the query for it.

        Blocks for room in the send buffer only.

        Raises:
            ConnectionClosed: the link was closed.
            QueryTimeout: no room before the query's deadline.
        """
        if entry.deadline is not None and entry.deadline < self._sweep_at:
            current_loop().call(self._sweep_by, entry.deadline)
        while True:
            connection = self._connection
            if connection is not None and self._write(connection, entry):
                return
            if self._keep(entry):
                return

    def give_up(self, entry: Entry) -> bool:
        """Stop waiting for an entry, written or not. Returns false if it has its outcome already."""
        key = entry.key
        if key is not None:
            return self._correlator.abandon(key)
        with self._lock:
            if entry in self._unsent:
                self._unsent.remove(entry)
                return True
        return entry.key is not None and self._correlator.abandon(entry.key)

    def open(self, deadline: float | None) -> Connection:
        """The open connection; opens one if need be, and blocks until it is there.

        Raises:
            ConnectError: it did not come about.
            ConnectionClosed: the link was closed.
            TimeoutError: not before the deadline.
        """
        with self._lock:
            self._refuse_closed()
            self._forget_ended()
            if self._connection is not None:
                return self._connection
            self._begin_opening()
            opened = self._opened
        try:
            return opened.result(None if deadline is None else max(deadline - time.monotonic(), 0))
        except TimeoutError:
            raise TimeoutError(f"{self._endpoint.url} was not connected in time") from None

    def close(self) -> None:
        """End for good: settle all that waits, and block for the closing handshake."""
        end = ConnectionClosed("the client was closed", code=1000, initiator="us")
        with self._lock:
            self._state = LinkState.CLOSED
            dialing, self._dialing = self._dialing, None
            connection = self._connection
            unsent, self._unsent = list(self._unsent), deque()
            opened = self._opened
        if dialing is not None:
            dialing.abandon()
            _fail(opened, end)
        if connection is not None:
            connection.close(1000)
            connection.resume()
        for entry in unsent:
            entry.settle(None, _lost(entry, end, may_have_run=False))
        self._settle_all(end, set())
        if connection is not None:
            self._ended.wait()

    def refuse_closed(self) -> None:
        """Raise `ConnectionClosed` once the link was closed."""
        with self._lock:
            self._refuse_closed()

    def _write(self, connection: Connection, entry: Entry) -> bool:
        """The critical section. Returns false if the connection has ended."""
        outbound = connection.outbound
        if not outbound.wait_for_room(self._options.max_buffered_bytes, entry.deadline):
            raise QueryTimeout(
                f"{entry.method} was not sent: the send buffer stayed full (max_buffered_bytes is "
                f"{self._options.max_buffered_bytes}): the endpoint reads too slowly",
                method=entry.method,
                may_have_run=False,
            )
        with outbound.lock:
            if not outbound.is_open:
                return False
            self._number = number = self._number + 1
            entry.key = key = self._dialect.new_id(number)
            entry.written_at = time.monotonic()
            self._correlator.register(key, entry)
            frame = connection.pack(TEXT, _wire_form(key).join(entry.parts))
            if not outbound.write_locked(frame):
                entry.frame = frame
        return True

    def _keep(self, entry: Entry) -> bool:
        """Keep a query until there is a connection. Returns false if there is one by now."""
        with self._lock:
            self._refuse_closed()
            self._forget_ended()
            if self._connection is not None:
                return False
            self._unsent.append(entry)
            self._begin_opening()
            return True

    # Opening; under _lock, or on the pool

    def _refuse_closed(self) -> None:
        if self._state is LinkState.CLOSED:
            raise ConnectionClosed(
                f"the client of {self._endpoint.url} was closed; make a new one", code=1000, initiator="us"
            )

    def _is_up(self) -> bool:
        return self._connection is not None and self._connection.outbound.is_open

    def _forget_ended(self) -> None:
        if self._connection is not None and not self._is_up():
            self._connection = None
            self._state = LinkState.IDLE

    def _begin_opening(self) -> None:
        if self._state is LinkState.IDLE:
            self._state = LinkState.CONNECTING
            self._opened = Future()
            self._dialing = Dialing(
                self._endpoint,
                self._options,
                self._protocols,
                lambda connection, protocol: self._pool.submit(self._take_over, connection),
                lambda error: self._pool.submit(self._opening_failed, error),
            )

    def _take_over(self, connection: Connection) -> None:
        """On the pool: a connection is there; what waited goes out first."""
        with self._lock:
            self._dialing = None
            if self._state is not LinkState.CONNECTING:
                connection.abort("the client was closed")
                current_loop().call(connection.start, self)
                return
            self._ended.clear()
            self._router.connection_opened()
            current_loop().call(connection.start, self)
            while self._unsent:
                if not self._write_kept(connection, self._unsent[0]):
                    break
                self._unsent.popleft()
            self._connection = connection
            self._state = LinkState.OPEN
            self._opened.set_result(connection)

    def _write_kept(self, connection: Connection, entry: Entry) -> bool:
        try:
            return self._write(connection, entry)
        except WsrpcError as error:
            entry.settle(None, error)
            return True

    def _opening_failed(self, error: ConnectError) -> None:
        """On the pool."""
        with self._lock:
            self._dialing = None
            if self._state is LinkState.CONNECTING:
                self._state = LinkState.IDLE
            unsent, self._unsent = list(self._unsent), deque()
            opened = self._opened
        for entry in unsent:
            entry.settle(None, _own_copy(error))
        _fail(opened, error)

    # From the connection, on the loop

    def message(self, opcode: int, payload: Any) -> None:
        """A message came."""
        self._router.route(opcode, payload)

    def drained(self) -> None:
        """What waited was written."""

    def closing(self) -> None:
        """The closing handshake has begun."""

    def closed(self, end: ConnectionClosed, cause: WsrpcError | None) -> None:
        """The connection has ended: all that is in flight is lost."""
        connection = self._connection
        unwritten: set[int] = set()
        if connection is not None:
            sent, received = self._bytes_before
            unwritten = connection.outbound.unwritten()
            self._bytes_before = sent + connection.outbound.bytes_sent, received + connection.bytes_received
        end.__cause__ = cause
        self._settle_all(end, unwritten)
        self._router.connection_ended(end)
        self._ended.set()

    def _settle_all(self, end: ConnectionClosed, unwritten: set[int]) -> None:
        for key, entry in self._correlator.waiting():
            self._correlator.fail(key, _lost(entry, end, may_have_run=id(entry.frame) not in unwritten))

    # Deadlines that nobody watches

    def _sweep_by(self, deadline: float) -> None:
        """On the loop: make sure that deadlines are looked at by then."""
        if deadline < self._sweep_at:
            if self._sweeper is not None:
                self._sweeper.cancel()
            self._sweep_at = deadline
            delay = max(deadline - time.monotonic(), _SWEEP_SECONDS)
            self._sweeper = current_loop().call_later(delay, self._sweep)

    def _sweep(self) -> None:
        self._sweep_at, self._sweeper = math.inf, None
        now = time.monotonic()
        for key, entry in self._correlator.expired(now):
            self._correlator.fail(key, timed_out(entry, now))
        if self._unsent:
            self._pool.submit(self._sweep_unsent)
        deadlines = [entry.deadline for _, entry in self._correlator.waiting() if entry.deadline is not None]
        if deadlines:
            self._sweep_by(min(deadlines))

    def _sweep_unsent(self) -> None:
        now = time.monotonic()
        with self._lock:
            expired = [entry for entry in self._unsent if entry.deadline is not None and entry.deadline <= now]
            self._unsent = deque(entry for entry in self._unsent if entry not in expired)
            deadlines = [entry.deadline for entry in self._unsent if entry.deadline is not None]
        for entry in expired:
            entry.settle(None, timed_out(entry, now))
        if deadlines:
            current_loop().call(self._sweep_by, min(deadlines))

    # Full inboxes of the policy "block"

    def block(self, subscription: Subscription) -> None:
        """On the loop: do not read until the subscription's inbox has room."""
        with self._lock:
            self._blocked |= {subscription}
            connection = self._connection
        if connection is not None:
            connection.pause()
        if subscription.has_room:  # its consumer was quicker
            self.unblock(subscription)
            return
        for _, entry in self._correlator.waiting():
            if entry.thread == subscription.consumer:
                entry.interrupt(_stuck(subscription))

    def unblock(self, subscription: Subscription) -> None:
        """The inbox has room again, or its subscription has ended. From any thread."""
        if subscription not in self._blocked:
            return
        with self._lock:
            self._blocked -= {subscription}
            resume = not self._blocked
            connection = self._connection
        if resume and connection is not None:
            connection.resume()

    def stuck(self) -> Overflow | None:
        """The error to raise if the calling thread is the one that must make room before any answer can be read."""
        for subscription in self._blocked:
            if subscription.consumer == threading.get_ident():
                return _stuck(subscription)
        return None


def timed_out(entry: Entry, now: float) -> QueryTimeout:
    """The error of a query whose deadline has passed."""
    written = entry.key is not None
    elapsed = now - (entry.written_at if written else entry.asked_at)
    what = f"{entry.method} (query {entry.key}) got no answer" if written else f"{entry.method} could not be sent"
    return QueryTimeout(
        f"{what} within {now - entry.asked_at:.3g} s",
        method=entry.method,
        id=entry.key,
        elapsed=elapsed,
        may_have_run=written,
    )


def _lost(entry: Entry, end: ConnectionClosed, *, may_have_run: bool) -> QueryLost:
    truth = "it may have run" if may_have_run else "it was not sent"
    error = QueryLost(
        f"{entry.method} (query {entry.key}) was lost, {truth}: {end}",
        method=entry.method,
        id=entry.key,
        may_have_run=may_have_run,
    )
    error.__cause__ = end
    return error


def _stuck(subscription: Subscription) -> Overflow:
    return Overflow(
        f"this thread consumes {subscription.topic!r}, whose inbox is full and blocks the connection: the answer that "
        "it would wait for can never be read; take the events first, or ask from another thread",
        topic=subscription.topic,
        limit=subscription.limit,
    )


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _own_copy(error: ConnectError) -> ConnectError:
    """One for each query: raised in several threads, one object would gather all their tracebacks."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own


def _wire_form(key: int | str) -> bytes:
    return b"%d" % key if isinstance(key, int) else codec.encode(key)
