"""Stops the reading of a connection while an inbox of the policy "block" is full.

Answers wait as well then, so a thread that must make room first must not wait for one: it gets `Overflow` at once,
whether it waits already or is about to.
"""

from __future__ import annotations

import threading

from .connection import Connection
from .correlator import Correlator
from .errors import Overflow
from .replies import Entry
from .streams import Subscription


class Backpressure:
    """See the module.

    Args:
        correlator: knows who waits.

    Attributes:
        connection: the one that lives; `None` while there is none.
        full: the subscriptions whose inboxes block. Guarded by a lock; replaced, so that readers need none.
    """

    def __init__(self, correlator: Correlator[Entry]) -> None:
        self.connection: Connection | None = None
        self._correlator = correlator
        self._lock = threading.Lock()  # held for moments only, so that the loop may take it
        self.full: frozenset[Subscription] = frozenset()

    def block(self, subscription: Subscription) -> None:
        """Do not read until the subscription's inbox has room. On the loop."""
        with self._lock:
            self.full |= {subscription}
        if self.connection is not None:
            self.connection.pause()
        if subscription.has_room:  # its consumer was quicker
            self.unblock(subscription)
            return
        for _, entry in self._correlator.waiting():
            if subscription.is_consumed_by(entry.thread):
                entry.interrupt(_stuck(subscription))

    def unblock(self, subscription: Subscription) -> None:
        """The inbox has room again, or its subscription has ended. From any thread."""
        if subscription not in self.full:
            return
        with self._lock:
            self.full -= {subscription}
            resume = not self.full
        connection = self.connection
        if resume and connection is not None:
            connection.resume()

    def stuck(self) -> Overflow | None:
        """The error to raise if the calling thread is the one that must make room before any answer can be read."""
        for subscription in self.full:
            if subscription.is_consumed_by(threading.get_ident()):
                return _stuck(subscription)
        return None


def _stuck(subscription: Subscription) -> Overflow:
    return Overflow(
        f"this thread consumes {subscription.topic!r}, whose inbox is full and blocks the connection: the answer that "
        "it would wait for can never be read; take the events first, or ask from another thread",
        topic=subscription.topic,
        limit=subscription.limit,
    )
