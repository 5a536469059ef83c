"""One of a link's connections, from opening to end, and the queries that were written on it.

A link's connections may overlap: the next can be open while the one before still waits for its peer to hang up. So each
has a sink of its own, and its end settles its own queries only. They are lost as soon as no answer can come any more:
when the peer has sent its close frame, or broke the rules, or the connection is gone.
"""

from __future__ import annotations

from collections.abc import Callable

from .connection import Connection
from .correlator import Correlator
from .errors import ConnectionClosed, QueryLost, WsrpcError
from .incoming import Router
from .replies import Entry
from .waiting import Flag


class Leg:
    """See the module; the `Sink` of its connection.

    Args:
        connection: not started yet.
        correlator: knows what is in flight.
        router: gets what is received.
        on_lost: called with this leg and the reason, once, on the loop, when nothing more will be received.

    Attributes:
        connection: as given.
        ended: set when the connection has ended.
    """

    def __init__(
        self,
        connection: Connection,
        correlator: Correlator[Entry],
        router: Router,
        on_lost: Callable[[Leg, ConnectionClosed], object],
    ) -> None:
        self.connection = connection
        self.ended = Flag()
        self.message = router.route
        self._correlator = correlator
        self._on_lost = on_lost
        self._is_lost = False

    def settle(self, end: ConnectionClosed, unwritten: frozenset[int] = frozenset()) -> None:
        """Settle what is in flight on it with `QueryLost`. From any thread.

        Args:
            end: why.
            unwritten: the `id` of each frame of which no byte was written.
        """
        for key, entry in self._correlator.waiting():
            if entry.leg is self:
                self._correlator.fail(key, lost(entry, end, may_have_run=id(entry.frame) not in unwritten))

    # From the connection, on the loop

    def drained(self) -> None:
        """What waited was written."""

    def closing(self, end: ConnectionClosed | None) -> None:
        """The closing handshake has begun; with `end` nothing more will be received."""
        if end is not None:
            self._lose(end)

    def closed(self, end: ConnectionClosed, cause: WsrpcError | None) -> None:
        """The connection has ended."""
        self.settle(end, self.connection.outbound.unwritten())
        self._lose(end)
        self.ended.set()

    def _lose(self, end: ConnectionClosed) -> None:
        self.settle(end)
        if not self._is_lost:
            self._is_lost = True
            self._on_lost(self, end)


def lost(entry: Entry, end: ConnectionClosed, *, may_have_run: bool) -> QueryLost:
    """The error of a query whose connection has ended."""
    truth = "it may have run" if may_have_run else "it was not sent"
    error = QueryLost(
        f"{entry.method} (query {entry.key}) was lost, {truth}: {end}",
        method=entry.method,
        id=entry.key,
        may_have_run=may_have_run,
    )
    error.__cause__ = end
    return error
