"""One client of a server: its requests, their answers, and what is pushed to it.

Messages come in on the loop; a request runs where its method says, and whoever has its outcome writes the answer.
Backpressure: with `max_requests` unanswered, or more than `max_buffered_bytes` of answers waiting, the client is not
read. A subscriber that reads too slowly for what is pushed to it is closed with 1013 ("try again later"): it can come
back and know of the gap, which it could not if events were dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from . import codec
from .connection import Connection
from .dialects import Batch, Dialect, Incoming, Invalid, Request
from .dialects.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, PARSE_ERROR
from .errors import ConnectionClosed, DecodeError, EncodeError, ProtocolError, RemoteError, WsrpcError
from .framing import TEXT
from .loop import current_loop
from .methods import Method, Outcome, outcome_of_unknown

log = logging.getLogger("wsrpc")

TRY_AGAIN_LATER = 1013

Send = Callable[[bytes], None]  # an encoded answer


class House(Protocol):
    """What a session needs of its server."""

    dialect: Dialect
    max_requests: int
    max_buffered_bytes: int

    def find(self, name: str) -> Method | None:
        """The method of that name."""

    def run(self, session: Session, method: Method, request: Request, done: Callable[[Outcome], None]) -> None:
        """Have a method run where it belongs; `done` gets its outcome, on that thread."""

    def subscribe(self, session: Session, topic: str) -> None:
        """Push the events of a topic to this session too."""

    def unsubscribe(self, session: Session, topic: str) -> None:
        """Push them no more."""

    def session_ended(self, session: Session) -> None:
        """The connection has ended. On the loop."""


class Session:
    """See the module; a `Sink` of its connection."""

    def __init__(self, house: House, connection: Connection) -> None:
        self._house = house
        self._dialect = house.dialect
        self._connection = connection
        self._loop = current_loop()
        self._lock = threading.Lock()
        self._running = 0  # guarded by _lock; requests without their answer
        self._throttled = False  # guarded by _lock; not read for one of the two bounds
        self._subscribe, self._unsubscribe = _subscription_methods(house.dialect)
        self._closing = False  # set once: requests that were not begun are not performed
        self.topics: set[str] = set()  # loop only

    # From the connection, on the loop

    def message(self, opcode: int, payload: Any) -> None:
        """A message came."""
        if self._closing:
            return
        try:
            message = codec.decode(payload)
        except DecodeError as error:
            if opcode == TEXT and not codec.is_utf8(payload):
                raise ProtocolError("a text message is not UTF-8", code=1007) from error
            self._send(codec.encode(self._dialect.failure(None, PARSE_ERROR, f"Parse error: {error.__cause__}")))
            return
        try:
            incoming = self._dialect.read_request(message)
        except Exception as error:
            log.exception("%r failed to read a message", self._dialect)
            text = f"Internal error: the message cannot be read: {error!r}"
            self._send(codec.encode(self._dialect.failure(None, INTERNAL_ERROR, text)))
            return
        if isinstance(incoming, Batch):
            self._perform_batch(incoming)
        elif incoming is not None:
            self._perform(incoming, self._send)

    def drained(self) -> None:
        """What waited was written."""
        self._reconsider(0)

    def closing(self, end: ConnectionClosed | None) -> None:
        """The closing handshake has begun."""
        self._closing = True

    def closed(self, end: ConnectionClosed, cause: WsrpcError | None) -> None:
        """The connection has ended."""
        self._house.session_ended(self)

    # From the server, on any thread

    def push(self, frame: bytes) -> None:
        """Send an event, framed already."""
        outbound = self._connection.outbound
        if not outbound.has_room(len(frame), self._house.max_buffered_bytes):
            self._connection.close(TRY_AGAIN_LATER, "too slow for what it subscribed to")
            return
        try:
            outbound.write(frame)
        except ConnectionClosed:  # its `closed` is on the way
            return

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        self._closing = True
        self._connection.close(code, reason)
        self._connection.resume()

    # Requests

    def _perform_batch(self, batch: Batch) -> None:
        """One message for all answers, as soon as the last is there; none if only notifications were asked."""
        requests = [item for item in batch.items if item is not None]
        gathering = _Gathering(sum(map(_wants_answer, requests)), self._send)
        for incoming in requests:
            self._perform(incoming, gathering.add)

    def _perform(self, incoming: Incoming, send: Send) -> None:
        if isinstance(incoming, Invalid):
            send(codec.encode(self._dialect.failure(incoming.id, incoming.code, incoming.message)))
            return
        assert isinstance(incoming, Request)
        request = incoming
        if request.method in (self._subscribe, self._unsubscribe):
            self._conclude(request, self._change_topics(request), send)
        elif (method := self._house.find(request.method)) is None:
            self._conclude(request, outcome_of_unknown(request), send)
        else:
            self._reconsider(+1)
            self._house.run(self, method, request, lambda outcome: self._finish(request, outcome, send))

    def _finish(self, request: Request, outcome: Outcome, send: Send) -> None:
        """A method has its outcome. On the thread where it ran."""
        try:
            self._conclude(request, outcome, send)
        finally:
            self._reconsider(-1)

    def _conclude(self, request: Request, outcome: Outcome, send: Send) -> None:
        if request.wants_answer:
            send(self._encoded(request.id, outcome))

    def _encoded(self, request_id: Any, outcome: Outcome) -> bytes:
        """The answer; an error where the result cannot be encoded."""
        error = outcome.error
        try:
            if error is None:
                return codec.encode(self._dialect.answer(request_id, outcome.result))
            code = error.code if isinstance(error.code, int) else INTERNAL_ERROR
            return codec.encode(self._dialect.failure(request_id, code, error.message or str(error), error.data))
        except (EncodeError, TypeError) as cause:
            text = f"Internal error: the result cannot be sent: {cause}"
            return codec.encode(self._dialect.failure(request_id, INTERNAL_ERROR, text))

    def _change_topics(self, request: Request) -> Outcome:
        """`rpc.on` and `rpc.off`: their params are topics."""
        topics = request.params
        if not isinstance(topics, list) or not topics or not all(isinstance(topic, str) for topic in topics):
            text = f"Invalid params: {request.method} takes topics, as strings"
            return Outcome(error=RemoteError(text, code=INVALID_PARAMS, message=text))
        for topic in topics:
            if request.method == self._subscribe:
                self._house.subscribe(self, topic)
            else:
                self._house.unsubscribe(self, topic)
        return Outcome(result=True)

    def _send(self, payload: bytes) -> None:
        try:
            self._connection.outbound.write(self._connection.pack(TEXT, payload))
        except ConnectionClosed:  # nobody is there to be told
            return
        if self._connection.outbound.unsent_bytes > self._house.max_buffered_bytes:
            self._reconsider(0)

    def _reconsider(self, change: int) -> None:
        """Count requests, and stop or go on reading accordingly."""
        with self._lock:
            self._running += change
            unsent = self._connection.outbound.unsent_bytes
            full = self._running >= self._house.max_requests or unsent > self._house.max_buffered_bytes
            if full == self._throttled:
                return
            self._throttled = full
        if self._loop.is_current:
            self._apply()
        else:
            self._loop.call(self._apply)

    def _apply(self) -> None:
        """On the loop: read or do not, as it is decided by now."""
        if self._throttled and not self._closing:
            self._connection.pause()
        else:
            self._connection.read_on()


class _Gathering:
    """The answers of a batch."""

    def __init__(self, expected: int, send: Send) -> None:
        self._expected = expected
        self._send = send
        self._lock = threading.Lock()
        self._answers: list[bytes] = []  # guarded by _lock

    def add(self, answer: bytes) -> None:
        """Take an answer; send all with the last."""
        with self._lock:
            self._answers.append(answer)
            if len(self._answers) < self._expected:
                return
        self._send(b"[" + b",".join(self._answers) + b"]")


def _wants_answer(incoming: Incoming) -> bool:
    return not isinstance(incoming, Request) or incoming.wants_answer


def _subscription_methods(dialect: Dialect) -> tuple[str | None, str | None]:
    on, off = dialect.subscribing(""), dialect.unsubscribing("")
    return on and on[0], off and off[0]
