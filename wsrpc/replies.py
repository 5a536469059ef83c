"""The two handles of a query: the bare slot that `query` waits on, and the Future that `submit` returns.

Both are entries of the correlator and are settled once, on the loop or by the thread that gives up. Both wait on a bare
lock: a Future costs a query about a sixth of its time, and its `Condition.wait` cannot be interrupted at any instant
(Ctrl-C in the wrong one leaves a lock that is not held to be released).
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from threading import get_ident
from typing import Any, Protocol

from .dialects import ReflectID
from .errors import Overflow
from .loop import refuse_on_loop, wake
from .waiting import LONGEST, Waiters

_FINISHED = "FINISHED"
_NOTIFIED = "CANCELLED_AND_NOTIFIED"
_DONE = ("CANCELLED", _NOTIFIED, _FINISHED)  # Future's own names of its final states


class Owner(Protocol):
    """What a reply needs of its client."""

    def give_up(self, entry: Any) -> bool:
        """Stop waiting for an entry; false if it has its outcome already."""

    def flush(self) -> None:
        """Write what was left for company: this thread is about to wait."""

    def run_callback(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function on the client's callback thread."""

    def stuck(self) -> Overflow | None:
        """The error to raise where waiting on this thread could never end."""


def described(asked: Any) -> str:
    """What is asked, in a few words."""
    return asked if isinstance(asked, str) else f"{asked!r:.60}"


class Slot:
    """A query that one thread waits for.

    Attributes:
        asked: the method's name, or the whole message.
        parts: the encoded message, cut where the reflect ID goes.
        asked_at: on the monotonic clock.
        deadline: on the monotonic clock; `None`: no limit.
        key: the reflect ID; `None` until written.
        leg: the connection that it was written on.
        frame: what waits for the network; `None` if all of it was written at once.
        written_at: on the monotonic clock.
        thread: who waits.
    """

    may_linger = False  # somebody waits for it: it is written at once

    __slots__ = (
        "_lock",
        "asked",
        "asked_at",
        "deadline",
        "error",
        "frame",
        "key",
        "leg",
        "parts",
        "result",
        "thread",
        "written_at",
    )

    def __init__(self, asked: Any, parts: list[bytes], asked_at: float, deadline: float | None) -> None:
        self.asked = asked
        self.parts = parts
        self.asked_at = asked_at
        self.deadline = deadline
        self.key: ReflectID | None = None
        self.leg: object = None
        self.frame: bytes | None = None
        self.written_at = 0.0
        self.thread = get_ident()
        self.result: Any = None
        self.error: BaseException | None = None
        self._lock = allocate_lock()
        self._lock.acquire()

    @property
    def method(self) -> str:
        """What is asked, for errors."""
        return described(self.asked)

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Take the outcome and wake the waiter."""
        self.result = result
        self.error = error
        wake(self._release)

    def interrupt(self, error: Overflow) -> None:
        """Make the waiter raise. It may be settled at the same time; either outcome stands."""
        self.error = error
        wake(self._release)

    def wait(self) -> bool:
        """Block until settled. Returns false if the deadline comes first."""
        if self.deadline is None:
            return self._lock.acquire()
        remaining = self.deadline - time.monotonic()
        return self._lock.acquire(True, min(remaining, LONGEST) if remaining > 0 else 0)

    def _release(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:  # settled and interrupted at the same time: released already
            pass

    def wait_for_settlement(self) -> None:
        """Block for the moment between being taken out of the correlator and being settled."""
        self._lock.acquire()


class Reply(Future[Any]):
    """The answer to come of a query that was submitted: a `concurrent.futures.Future`.

    `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future` work on it. Done callbacks run on the client's
    callback thread. All methods may be called from any thread.

    Attributes:
        asked: the method's name, or the whole message.
        id: the reflect ID; `None` until the query was written.
    """

    may_linger = True  # it may be written together with others

    def __init__(self, owner: Owner, asked: Any, parts: list[bytes], asked_at: float, deadline: float | None) -> None:
        super().__init__()
        self.asked = asked
        self.parts = parts
        self.asked_at = asked_at
        self.deadline = deadline
        self.key: ReflectID | None = None
        self.leg: object = None
        self.frame: bytes | None = None
        self.written_at = 0.0
        self.thread = 0
        self._owner = owner
        self._clock_offset = time.time() - time.monotonic()
        self._settled_at: float | None = None
        self._waiting_here = Waiters()
        self._cancelling = False
        self._interruption: Overflow | None = None

    @property
    def method(self) -> str:
        """What is asked: the method's name, or the beginning of the whole message."""
        return described(self.asked)

    @property
    def id(self) -> ReflectID | None:
        """The reflect ID; `None` until the query was written."""
        return self.key

    @property
    def sent_at(self) -> float | None:
        """When the query was written, in Unix seconds; `None` before."""
        return self.written_at + self._clock_offset if self.key is not None else None

    @property
    def elapsed(self) -> float:
        """Seconds since the query was written, until it was settled; 0 before."""
        if self.key is None:
            return 0.0
        until = self._settled_at if self._settled_at is not None else time.monotonic()
        return until - self.written_at

    def result(self, timeout: float | None = None) -> Any:
        """The query's result; blocks until it is settled.

        Args:
            timeout: seconds to wait here; running out settles nothing. 0 or less polls. `None`: until the query's own
                timeout.

        Raises:
            TimeoutError: not within `timeout`.
            QueryError: the query failed: `RemoteError`, `QueryTimeout` or `QueryLost`.
            ConnectError: no connection came about to send it on.
            concurrent.futures.CancelledError: it was cancelled.
            Overflow: this thread is the consumer of a full `"block"` subscription, so the answer could never be read.
            StateError: called on the wsrpc loop.
        """
        if self._state == _FINISHED and self._exception is None:
            return self._result
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The query's error, or `None` if it has a result; blocks and raises as `result` does."""
        self._wait(timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """Give up waiting: the reply is cancelled at once, and a late answer is dropped. False if already settled."""
        if self._state == _NOTIFIED:
            return True
        resumed, self._cancelling = self._cancelling, True  # Ctrl-C may have cut a cancel off: then this ends it
        if not self._owner.give_up(self) and not resumed:
            self._cancelling = False
            return self.cancelled()
        self._settled_at = time.monotonic()
        if super().cancel():
            self.set_running_or_notify_cancel()
        self._waiting_here.wake()
        return self.cancelled()

    def settle(self, result: Any, error: BaseException | None) -> None:
        """Take the outcome; called by the client."""
        self._settled_at = time.monotonic()
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)
        except InvalidStateError:  # cancelled at the same time
            return
        if self._waiting_here.locks:
            wake(self._waiting_here.wake)

    def interrupt(self, error: Overflow) -> None:
        """Make the thread that waits here raise; nothing is settled."""
        self._interruption = error
        wake(self._waiting_here.wake)

    def _wait(self, timeout: float | None) -> None:
        if self._state in _DONE or (timeout is not None and timeout <= 0):
            return
        refuse_on_loop("waiting for a reply")
        self._interruption = None
        self.thread = get_ident()  # before the look: an inbox that fills up after it finds who waits
        if (overflow := self._owner.stuck()) is not None:
            self.thread = 0
            raise overflow
        self._owner.flush()
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting_here.wait(lambda: self._state in _DONE or self._interruption is not None, deadline)
        self.thread = 0
        if self._interruption is not None and self._state not in _DONE:
            raise self._interruption

    def _invoke_callbacks(self) -> None:
        """As in Future, but on the callback thread: the loop must not run what users wrote."""
        if self._done_callbacks:  # type: ignore[attr-defined]
            self._owner.run_callback(super()._invoke_callbacks)  # type: ignore[misc]

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call `fn(reply)` on the client's callback thread, once it is settled; what it raises is logged."""
        with self._condition:
            if self._state not in _DONE:
                self._done_callbacks.append(fn)  # type: ignore[attr-defined]
                return
        self._owner.run_callback(fn, self)

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "settled" if self.done() else "in flight" if self.key else "unsent"
        return f"<Reply {self.method} id={self.key} {state}>"


Entry = Slot | Reply
