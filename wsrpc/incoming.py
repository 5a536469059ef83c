"""Where a client's received messages go: to the query that waits, to subscriptions, or to `UNMATCHED`.

Runs on the loop, once a message, so it is quick and never blocks; a dialect that raises is counted and its message is
unmatched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from . import codec
from .correlator import Correlator, Verdict
from .dialects import Answer, Batch, Dialect, Failure, Incoming, Invalid, Push, Request
from .errors import ConnectionClosed, DecodeError, ProtocolError
from .framing import TEXT
from .subscriptions import UNMATCHED, Subscriptions, Topic

log = logging.getLogger("wsrpc")

_LATENCIES = 1024  # how many of the last answers' latencies are kept for the quantiles


class Router:
    """Sorts what comes in.

    Args:
        dialect: says what a message is.
        correlator: gets the answers.
        subscriptions: gets the rest.
        on_blocked: called with a subscription whose inbox wants the socket not to be read.
        on_ended: called with a subscription that its overflow policy has ended, and whether it was its topic's last.

    Attributes:
        received: messages that came.
        unmatched: those that answered no query and fitted no topic.
        undecodable: those of them that were no JSON, or that the dialect failed on.
        latencies: of the last answers, in seconds.
    """

    def __init__(
        self,
        dialect: Dialect,
        correlator: Correlator[Any],
        subscriptions: Subscriptions,
        on_blocked: Callable[[Any], object],
        on_ended: Callable[[Any, bool], object],
    ) -> None:
        self._dialect = dialect
        self._correlator = correlator
        self._subscriptions = subscriptions
        self._on_blocked = on_blocked
        self._on_ended = on_ended
        self._routing = threading.Lock()  # held for moments only, to change what goes where; the loop takes it too
        self._warned = False
        self.received = 0
        self.unmatched = 0
        self.undecodable = 0
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)

    def connection_opened(self) -> None:
        """A new connection: what cannot be decoded is warned of once on it."""
        self._warned = False

    def end_subscriptions(self, end: ConnectionClosed) -> None:
        """No more events come: subscriptions end after those that wait. From any thread."""
        with self._routing:
            subscriptions = self._subscriptions.clear()
        for subscription in subscriptions:
            subscription.end(end)

    def add(self, topic: Topic, subscription: Any) -> bool:
        """Route a topic's events to a subscription too. Returns whether it is the topic's first. From any thread."""
        with self._routing:
            return self._subscriptions.add(topic, subscription)

    def remove(self, topic: Topic, subscription: Any) -> bool:
        """Route them there no more. Returns whether it was the topic's last. From any thread."""
        with self._routing:
            return self._subscriptions.remove(topic, subscription)

    def route(self, opcode: int, payload: Any) -> None:
        """Take a whole message.

        Raises:
            ProtocolError: text that is not UTF-8.
        """
        self.received += 1
        try:
            message = codec.decode(payload)
        except DecodeError as error:
            if opcode == TEXT and not codec.is_utf8(payload):
                raise ProtocolError("a text message is not UTF-8", code=1007) from error
            self._undecodable(payload.decode() if opcode == TEXT and isinstance(payload, bytes) else payload, error)
            return
        try:
            incoming = self._dialect.read(message)
        except Exception as error:
            self._undecodable(message, error)
            return
        if type(incoming) is Answer:  # the way of most messages
            self._answer(incoming, message)
        else:
            self._sort(incoming, message)

    def _sort(self, incoming: Incoming | None, message: Any) -> None:
        if isinstance(incoming, Answer | Failure):
            self._answer(incoming, message)
        elif isinstance(incoming, Push):
            self._push(incoming, message)
        elif isinstance(incoming, Batch):
            for part, item in zip(incoming.items, message, strict=True):
                self._sort(part, item)
        else:
            assert incoming is None or isinstance(incoming, Request | Invalid)
            self._unmatched(message)

    def _answer(self, incoming: Answer | Failure, message: Any) -> None:
        key = self._dialect.key(incoming.id)
        if key is None:
            self._unanswerable(incoming, message)
            return
        entry = self._correlator.answer(key, incoming)
        if entry is Verdict.LATE:
            log.debug("dropped a late or second answer to query %s", key)
        elif entry is not Verdict.UNKNOWN:
            self.latencies.append(time.monotonic() - entry.written_at)
        elif (push := self._dialect.read_push(message)) is not None:
            self._push(push, message)
        else:
            self._unmatched(message)

    def _unanswerable(self, incoming: Answer | Failure, message: Any) -> None:
        """An answer without a reflect ID: JSON-RPC's way to say that a request could not even be read."""
        if isinstance(incoming, Failure):
            log.warning("the endpoint reports an error without saying of which query: %s", incoming.message)
        self._unmatched(message)

    def _push(self, push: Push, message: Any) -> None:
        inboxes = self._subscriptions.of(push.topic)
        if inboxes:
            self._deliver(inboxes, push.value)
        else:
            self._unmatched(message)

    def _unmatched(self, message: Any) -> None:
        self.unmatched += 1
        self._deliver(self._subscriptions.of(UNMATCHED), message)

    def _undecodable(self, message: Any, error: Exception) -> None:
        self.undecodable += 1
        if not self._warned:
            self._warned = True
            log.warning(
                "a message cannot be read and goes to UNMATCHED as it came (further ones on this connection are only "
                "counted): %s",
                error,
            )
        self._unmatched(message)

    def _deliver(self, inboxes: tuple[Any, ...], event: Any) -> None:
        for inbox in inboxes:
            inbox.deliver(event)
            if inbox.blocks:
                self._on_blocked(inbox)
            elif inbox.has_ended:
                self._on_ended(inbox, self.remove(inbox.topic, inbox))
