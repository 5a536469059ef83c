"""A client's line to its endpoint: opens the connection, writes queries on it, and settles them when it ends.

A query takes its reflect ID, is registered and is written in one critical section, the connection's write lock: the
order of IDs is the order on the wire, and no answer can come before its query is known. While there is no connection,
queries wait for it in order. What happens on the loop never waits for `_lock`: all of opening that needs it runs on a
thread of its own.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum

from . import codec
from .backpressure import Backpressure
from .callbacks import CallbackThreads
from .connection import Connection
from .correlator import Correlator
from .deadlines import Deadlines, timed_out
from .dialects import Dialect
from .dialing import Dialing
from .errors import ConnectError, ConnectionClosed, Overflow, QueryTimeout, WsrpcError
from .framing import TEXT
from .incoming import Router
from .leg import Leg, lost
from .loop import current_loop
from .options import Options
from .replies import Entry
from .urls import Endpoint
from .waiting import Flag

_ENDED_AT_ONCE = ConnectionClosed("the connection ended as soon as it was open")


class LinkState(Enum):
    """Where a link is in its life."""

    IDLE = "idle"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class Opening:
    """An attempt to connect, for those who wait for it.

    Attributes:
        flag: set when it has its outcome, which is the connection or the error.
    """

    def __init__(self) -> None:
        self.flag = Flag()
        self.connection: Connection | None = None
        self.error: WsrpcError = ConnectError("not connected")

    def settle(self, connection: Connection | None, error: WsrpcError | None) -> None:
        """Take the outcome; the first one counts."""
        if not self.flag.is_set():
            self.connection = connection
            if error is not None:
                self.error = error
            self.flag.set()


class Link:
    """See the module.

    Args:
        endpoint, options, protocols: for dialing.
        dialect: makes the reflect IDs.
        correlator: knows what is in flight.
        router: gets what is received.

    Attributes:
        backpressure: stops the reading for full inboxes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: Options,
        protocols: Sequence[str],
        dialect: Dialect,
        correlator: Correlator[Entry],
        router: Router,
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._protocols = protocols
        self._dialect = dialect
        self._correlator = correlator
        self._router = router
        self._opener = CallbackThreads("wsrpc-pool")  # its own: nothing that waits for a query runs here
        self._lock = threading.Lock()
        self._state = LinkState.IDLE  # guarded by _lock
        self._leg: Leg | None = None  # guarded by _lock; readers without it check under the write lock
        self._newest: Leg | None = None  # set on the pool before its connection starts; cleared when it is lost
        self._legs: list[Leg] = []  # guarded by _lock; all that have not ended, as far as they were looked at
        self._dialing: Dialing | None = None  # guarded by _lock
        self._opened = Opening()  # guarded by _lock; of the attempt that is under way
        self._unsent: deque[Entry] = deque()  # guarded by _lock; asked while there was no connection
        self.backpressure = Backpressure(correlator)
        self._number = 0  # guarded by the write lock; the last reflect ID's number
        self._deadlines = Deadlines(correlator, self._sweep_unsent)
        self._unsent_bytes = 0  # guarded by _lock
        self._openings = 0  # guarded by _lock
        self._bytes_before = (0, 0)  # guarded by _lock; sent and received on connections that have ended

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
    def reconnects(self) -> int:
        """How many connections there were after the first."""
        return max(self._openings - 1, 0)

    @property
    def bytes(self) -> tuple[int, int]:
        """Sent and received, on the wire, over all connections."""
        with self._lock:
            total = self._bytes_before
            for leg in self._legs:
                total = _plus(total, leg.connection)
        return total

    # Asking

    def ask(self, entry: Entry) -> None:
        """Write a query; where there is no connection, open one and keep the query for it.

        Blocks for room in the send buffer only.

        Raises:
            ConnectionClosed: the link was closed.
            QueryTimeout: no room before the query's deadline.
        """
        while True:
            leg = self._leg
            if leg is not None:
                outbound = leg.connection.outbound
                if outbound.is_busy and outbound.unsent_bytes > self._options.max_buffered_bytes:
                    self._wait_for_room(leg.connection, entry)
                if self._write(leg, entry):
                    break
            if self._keep(entry):
                break
        # Only now: a look before it was there would not have seen it.
        if entry.deadline is not None and entry.deadline < self._deadlines.next:
            self._deadlines.watch(entry.deadline)

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

    def flush(self) -> None:
        """Write what was left for company: somebody is about to wait."""
        leg = self._leg
        if leg is not None:
            leg.connection.outbound.flush()

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
            if self._leg is not None:
                return self._leg.connection
            self._begin_opening()
            opened = self._opened
        if not opened.flag.wait(None if deadline is None else deadline - time.monotonic()):
            raise TimeoutError(f"{self._endpoint.url} was not connected in time")
        if opened.connection is None:
            raise _own_copy(opened.error)
        return opened.connection

    def close(self) -> None:
        """End for good: settle all that waits, and block for the closing handshake."""
        end = ConnectionClosed("the client was closed", code=1000, initiator="us")
        with self._lock:
            self._state = LinkState.CLOSED
            dialing, self._dialing = self._dialing, None
            self._leg = None
            legs = list(self._legs)
            while self._unsent:  # settled first: Ctrl-C must not leave one that nobody settles
                self._unsent[0].settle(None, lost(self._unsent[0], end, may_have_run=False))
                self._unsent.popleft()
            opened = self._opened
        if dialing is not None:
            dialing.abandon()
        opened.settle(None, end)
        for leg in legs:
            leg.connection.close(1000)
            leg.connection.resume()
        for leg in legs:
            leg.settle(end)
        self._deadlines.stop()
        for leg in legs:
            leg.ended.wait()
        self._opener.retire()

    def refuse_closed(self) -> None:
        """Raise `ConnectionClosed` once the link was closed."""
        with self._lock:
            self._refuse_closed()

    def _wait_for_room(self, connection: Connection, entry: Entry) -> None:
        if not connection.outbound.wait_for_room(self._options.max_buffered_bytes, entry.deadline):
            raise QueryTimeout(
                f"{entry.method} was not sent: the send buffer stayed full (max_buffered_bytes is "
                f"{self._options.max_buffered_bytes}): the endpoint reads too slowly",
                method=entry.method,
                elapsed=time.monotonic() - entry.asked_at,
                may_have_run=False,
            )

    def _write(self, leg: Leg, entry: Entry) -> bool:
        """The critical section. Returns false if the connection has ended."""
        outbound = leg.connection.outbound
        with outbound.lock:
            if not outbound.is_open:
                return False
            self._number = number = self._number + 1
            entry.key = key = self._dialect.new_id(number)
            entry.leg, entry.written_at = leg, time.monotonic()
            self._correlator.register(key, entry)
            written = b"%d" % key if type(key) is int else codec.encode(key)
            frame = leg.connection.pack(TEXT, written.join(entry.parts))
            # A reply that is not alone may wait for company; a query is waited for, so it goes now.
            if not outbound.put(frame, entry.may_linger and len(self._correlator) > 1):
                entry.frame = frame
        return True

    def _keep(self, entry: Entry) -> bool:
        """Keep a query until there is a connection. Returns false if there is one by now."""
        with self._lock:
            self._refuse_closed()
            self._forget_ended()
            if self._leg is not None:
                return False
            self._refuse_overflow(entry)
            self._unsent.append(entry)
            self._begin_opening()
            return True

    def _refuse_overflow(self, entry: Entry) -> None:
        """Submitted queries that wait for a connection are bounded as what waits for the network is.

        Those that a thread waits for are bounded by the number of threads.
        """
        size = sum(map(len, entry.parts))
        limit = self._options.max_buffered_bytes
        if entry.may_linger and self._unsent and self._unsent_bytes + size > limit:
            raise Overflow(
                f"{entry.method} was not taken: {self._unsent_bytes} bytes of queries wait for a connection to "
                f"{self._endpoint.url} already, and max_buffered_bytes is {limit}",
                limit=limit,
            )
        self._unsent_bytes += size

    # Opening; under _lock, or on the pool

    def _refuse_closed(self) -> None:
        if self._state is LinkState.CLOSED:
            raise ConnectionClosed(
                f"the client of {self._endpoint.url} was closed; make a new one", code=1000, initiator="us"
            )

    def _is_up(self) -> bool:
        leg = self._leg
        return leg is not None and leg.connection.outbound.is_open

    def _forget_ended(self) -> None:
        if self._leg is not None and not self._is_up():
            self._leg = None
            self._state = LinkState.IDLE

    def _begin_opening(self) -> None:
        if self._state is LinkState.IDLE:
            self._opened = Opening()
            self._dialing = Dialing(
                self._endpoint,
                self._options,
                self._protocols,
                lambda connection, protocol: self._opener.submit(self._take_over, connection),
                lambda error: self._opener.submit(self._opening_failed, error),
            )
            self._state = LinkState.CONNECTING  # last: Ctrl-C before it leaves an attempt that nobody waits for

    def _take_over(self, connection: Connection) -> None:
        """On the pool: a connection is there; what waited goes out first."""
        with self._lock:
            self._dialing = None
            if self._state is not LinkState.CONNECTING:
                connection.abort("nobody waits for it any more")
                return
            self._forget_legs()
            self._openings += 1
            leg = Leg(connection, self._correlator, self._router, self._lost)
            self._legs.append(leg)
            self._newest, self.backpressure.connection = leg, connection
            self._router.connection_opened()
            current_loop().call(connection.start, leg)
            while self._unsent and self._write_kept(leg, self._unsent[0]):
                self._unsent.popleft()
            unsent, self._unsent = list(self._unsent), deque()  # some, only if it has ended already
            self._unsent_bytes = 0
            self._leg = leg
            self._state = LinkState.OPEN
            opened = self._opened
        for entry in unsent:
            entry.settle(None, lost(entry, _ENDED_AT_ONCE, may_have_run=False))
        opened.settle(connection, None)

    def _write_kept(self, leg: Leg, entry: Entry) -> bool:
        try:
            return self._write(leg, entry)
        except Exception as error:  # the dialect's, for this query only
            entry.settle(None, error)
            return True

    def _forget_legs(self) -> None:
        """Keep of the connections that have ended only what they count."""
        for leg in [leg for leg in self._legs if leg.ended.is_set()]:
            self._legs.remove(leg)
            self._bytes_before = _plus(self._bytes_before, leg.connection)

    def _opening_failed(self, error: ConnectError) -> None:
        """On the pool."""
        with self._lock:
            self._dialing = None
            if self._state is LinkState.CONNECTING:
                self._state = LinkState.IDLE
            unsent, self._unsent = list(self._unsent), deque()
            self._unsent_bytes = 0
            opened = self._opened
        for entry in unsent:
            entry.settle(None, _own_copy(error))
        opened.settle(None, error)

    def _lost(self, leg: Leg, end: ConnectionClosed) -> None:
        """On the loop: a connection brings nothing more."""
        self._deadlines.forget()
        if leg is self._newest:
            self._newest = self.backpressure.connection = None
            self._router.end_subscriptions(end)

    def _sweep_unsent(self, now: float) -> None:
        """On the loop: what waits for a connection has its deadlines too."""
        if self._unsent:
            self._opener.submit(self._expire_unsent, now)

    def _expire_unsent(self, now: float) -> None:
        """On the pool."""
        with self._lock:
            expired = [entry for entry in self._unsent if entry.deadline is not None and entry.deadline <= now]
            self._unsent = deque(entry for entry in self._unsent if entry.deadline is None or entry.deadline > now)
            self._unsent_bytes = sum(sum(map(len, entry.parts)) for entry in self._unsent)
            remaining = [entry.deadline for entry in self._unsent]
        for entry in expired:
            entry.settle(None, timed_out(entry, now))
        for deadline in remaining:
            self._deadlines.watch(deadline)


def _plus(total: tuple[int, int], connection: Connection) -> tuple[int, int]:
    return total[0] + connection.outbound.bytes_sent, total[1] + connection.bytes_received


def _own_copy(error: WsrpcError) -> WsrpcError:
    """One for each query: raised in several threads, one object would gather all their tracebacks."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    return own
