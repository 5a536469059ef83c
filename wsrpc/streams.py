"""The user's side of a subscription: callbacks, iteration, waiting."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from threading import get_ident
from types import TracebackType
from typing import Any, Protocol, Self

from .errors import ConnectionClosed, StateError
from .loop import refuse_on_loop
from .options import check_positive
from .subscriptions import UNMATCHED, Inbox, Topic, overflow_policy
from .waiting import Waiters

log = logging.getLogger("wsrpc")

_BATCH = 64  # events that one subscription's callback gets before another's turn


class Owner(Protocol):
    """What a subscription needs of its client."""

    timeout: float | None

    def run_callback(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function on the client's callback thread."""

    def is_callback_thread(self, thread: int) -> bool:
        """Whether that is the client's callback thread, by its ident."""

    def end_subscription(self, subscription: Subscription) -> None:
        """Route no more events to it."""

    def unblock(self, subscription: Subscription) -> None:
        """Its inbox has room again."""


class _Default:
    """The type of `DEFAULT`."""

    def __repr__(self) -> str:
        return "the client's timeout"


#: A timeout left out: the client's.
DEFAULT: Any = _Default()


class Subscription:
    """Events of a topic. With a callback they go there; without, iterate it, or `get` them.

    It is a context manager that unsubscribes, and may be used from any thread; several threads that take events from
    one subscription share them.

    Attributes:
        topic: what was subscribed to.
    """

    def __init__(
        self,
        owner: Owner,
        inbox: Inbox,
        callback: Callable[[Any], object] | None,
        decode: Callable[[Any], Any] | None,
    ) -> None:
        self.topic: Topic = inbox.topic
        self._consumer = get_ident()  # who took the last event; at first, who subscribed
        self._owner = owner
        self._inbox = inbox
        self._callback = callback
        self._decode = decode
        self._waiters = Waiters()
        self._scheduled = False
        self._reported = False

    @property
    def received(self) -> int:
        """How many events came."""
        return self._inbox.received

    @property
    def dropped(self) -> int:
        """How many of them the overflow policy dropped."""
        return self._inbox.dropped

    @property
    def pending(self) -> int:
        """How many wait for the consumer."""
        return len(self._inbox)

    def get(self, timeout: float | None = DEFAULT) -> Any:
        """The next event; blocks until there is one.

        Args:
            timeout: seconds; left out: the client's; `None`: no limit; 0 or less polls.

        Raises:
            TimeoutError: none came within `timeout`.
            ConnectionClosed: the subscription has ended.
            Overflow: it ended because its consumer was too slow (`overflow="error"`).
            StateError: it has a callback; or called on the wsrpc loop.
        """
        self._refuse_with_callback()
        seconds = self._owner.timeout if timeout is DEFAULT else timeout
        return self._next(None if seconds is None else time.monotonic() + seconds, seconds)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next event, waiting for it without limit; the iteration ends when we unsubscribe or close."""
        self._refuse_with_callback()
        try:
            return self._next(None, None)
        except ConnectionClosed as error:
            if error.initiator == "us":
                raise StopIteration from None
            raise

    def unsubscribe(self) -> None:
        """End the subscription; events that wait are still there to take. Doing it twice is fine.

        Where it is the topic's last and the dialect says so, the endpoint is told, and its answer waited for.
        """
        refuse_on_loop("unsubscribe()")
        self.end(ConnectionClosed(f"the subscription to {self.topic!r} was ended by unsubscribe()", initiator="us"))
        self._owner.end_subscription(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.unsubscribe()

    def __repr__(self) -> str:
        state = "ended" if self._inbox.ended is not None else "active"
        return (
            f"<Subscription {self.topic!r} {state} received={self.received} dropped={self.dropped} "
            f"pending={self.pending}>"
        )

    # What the client calls

    @property
    def blocks(self) -> bool:
        """Whether the socket must not be read now."""
        return self._inbox.blocks

    @property
    def has_ended(self) -> bool:
        """Whether no more events come."""
        return self._inbox.ended is not None

    @property
    def has_room(self) -> bool:
        """Whether so much of a full inbox was taken that the socket is worth reading again."""
        return len(self._inbox) <= self._inbox.limit // 2 or self.has_ended

    @property
    def limit(self) -> int:
        """The inbox's bound."""
        return self._inbox.limit

    def is_consumed_by(self, thread: int) -> bool:
        """Whether room in the inbox depends on that thread, by its ident."""
        if self._callback is not None:
            return self._owner.is_callback_thread(thread)
        return self._consumer == thread

    def deliver(self, event: Any) -> None:
        """Take an event. On the loop."""
        self._inbox.offer(event)
        self._wake()

    def end(self, error: BaseException) -> None:
        """No more events come. From any thread."""
        if self._inbox.ended is None:
            self._inbox.end(error)
            self._owner.unblock(self)
            self._wake()

    def _wake(self) -> None:
        if self._callback is None:
            self._waiters.wake()
        elif not self._scheduled:
            self._scheduled = True
            self._owner.run_callback(self._run_callback)

    # Taking events

    def _take(self) -> Any:
        """The next event and what follows from taking it; `IndexError` if there is none."""
        self._consumer = get_ident()
        event = self._inbox.take()
        if self.has_room:
            self._owner.unblock(self)
        return event

    def _next(self, deadline: float | None, seconds: float | None) -> Any:
        while True:
            with contextlib.suppress(IndexError):
                return self._decoded(self._take())
            if self._inbox.ended is not None:
                if len(self._inbox):
                    continue
                raise self._inbox.ended.with_traceback(None)
            if deadline is None or deadline > time.monotonic():
                refuse_on_loop("waiting for an event")
            if not self._waiters.wait(lambda: len(self._inbox) or self._inbox.ended is not None, deadline):
                raise TimeoutError(f"no event of {self.topic!r} within {seconds} s")

    def _decoded(self, event: Any) -> Any:
        return event if self._decode is None else self._decode(event)

    def _run_callback(self) -> None:
        """On the callback thread: hand over a few events, then let other subscriptions have theirs."""
        self._scheduled = False
        for _ in range(_BATCH):
            try:
                event = self._take()
            except IndexError:
                self._report_end()
                return
            self._call_back(event)
        if len(self._inbox):
            self._wake()

    def _call_back(self, event: Any) -> None:
        assert self._callback is not None
        try:
            self._callback(self._decoded(event))
        except BaseException:  # also SystemExit: it ends neither this thread nor the subscription
            log.exception("the callback of the subscription to %r failed", self.topic)

    def _report_end(self) -> None:
        """A callback cannot be told by an exception why there are no more events, so the log is."""
        ended = self._inbox.ended
        if ended is None or self._reported or (isinstance(ended, ConnectionClosed) and ended.initiator == "us"):
            return
        self._reported = True
        log.error("no more events of %r: %s", self.topic, ended)

    def _refuse_with_callback(self) -> None:
        if self._callback is not None:
            raise StateError(
                f"the subscription to {self.topic!r} has a callback, which gets its events; there is nothing to take"
            )


def make_inbox(topic: Any, buffer: int, overflow: str) -> Inbox:
    """The inbox of a new subscription.

    Raises:
        ValueError: a bad buffer or overflow policy, an empty topic.
        TypeError: a topic that is no string.
    """
    if topic is not UNMATCHED and not isinstance(topic, str):
        raise TypeError(f"a topic is a str, or wsrpc.UNMATCHED, not {type(topic).__name__}")
    if isinstance(buffer, bool) or not isinstance(buffer, int):
        raise TypeError(f"buffer must be a number of events, not {buffer!r}")
    check_positive("buffer", buffer)
    return Inbox(topic, buffer, overflow_policy(overflow))
