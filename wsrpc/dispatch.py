"""Brings a WebSocket's events to its handlers and listeners: one at a time, on its own callback thread.

What happens before the first handler or listener of its kind exists is kept for it, in order; of messages the last
`max_queue`. Nothing is delivered before the gate is opened, which is when the socket's constructor has returned.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .callbacks import CallbackThreads
from .events import ErrorEvent, Event, MessageEvent

if TYPE_CHECKING:
    from .websocket import WebSocket

log = logging.getLogger("wsrpc")

_KEPT_EVENTS = 16  # of a kind other than messages: a handler may fail at each of them

KINDS = ("open", "message", "error", "close")


class Dispatch:
    """See the module.

    Args:
        target: whose handlers are called (`onopen` …), and what events name as their target.
        origin: of its messages.
        max_queue: how many messages may wait.
        on_room: called when so many of `max_queue` waiting messages were delivered that more are welcome.

    Attributes:
        dropped: how many messages were dropped because nobody had asked for messages yet.
    """

    def __init__(self, target: WebSocket, origin: str, max_queue: int, on_room: Callable[[], object]) -> None:
        self._target = target
        self._origin = origin
        self._max_queue = max_queue
        self._on_room = on_room
        self._callbacks = CallbackThreads("wsrpc-callback")
        self._lock = threading.Lock()
        self._kept: dict[str, deque[tuple[int, Any]]] = {kind: deque() for kind in KINDS}  # guarded by _lock
        self._listeners: dict[str, list[tuple[Any, bool]]] = {kind: [] for kind in KINDS}  # guarded by _lock
        self._happened = 0  # guarded by _lock; numbers the events, so that kinds keep their order among them
        self._is_open = False  # guarded by _lock
        self._delivering = False  # guarded by _lock
        self._full = False  # guarded by _lock; `on_room` is owed
        self.dropped = 0

    def open_gate(self) -> None:
        """Deliver from now on."""
        with self._lock:
            self._is_open = True
        self.schedule()

    def retire(self) -> None:
        """The last event has happened: no thread waits for more."""
        self._callbacks.retire()

    def add(self, kind: str, listener: Any, once: bool) -> None:
        """Add a listener, unless it is there."""
        with self._lock:
            listeners = self._listeners.get(kind)
            if listeners is not None and all(known != listener for known, _ in listeners):
                listeners.append((listener, once))
        self.schedule()

    def remove(self, kind: str, listener: Any) -> None:
        """Remove a listener, if it is there."""
        with self._lock:
            listeners = self._listeners.get(kind, [])
            listeners[:] = [entry for entry in listeners if entry[0] != listener]
        self.schedule()

    def happen(self, kind: str, event: Event) -> None:
        """Something other than a message has happened."""
        with self._lock:
            self._happened += 1
            self._kept[kind].append((self._happened, event))
            if len(self._kept[kind]) > _KEPT_EVENTS:
                self._kept[kind].popleft()
        self.schedule()

    def message(self, data: Any) -> bool:
        """A message came. Returns false if no more are welcome, until `on_room` is called."""
        with self._lock:
            messages = self._kept["message"]
            self._happened += 1
            messages.append((self._happened, data))
            if len(messages) >= self._max_queue:
                if self._is_wanted("message"):
                    self._full = True
                elif len(messages) > self._max_queue:
                    messages.popleft()
                    self.dropped += 1
            welcome = not self._full
        self.schedule()
        return welcome

    def drop_messages(self) -> None:
        """Those that wait are not wanted any more."""
        with self._lock:
            self._kept["message"].clear()

    def schedule(self) -> None:
        """Have the callback thread deliver what can be delivered."""
        self._reconsider()
        with self._lock:
            if self._delivering or self._next_kind() is None:
                return
            self._callbacks.submit(self._deliver)  # first: Ctrl-C between leaves a job too many, no less
            self._delivering = True

    def _reconsider(self) -> None:
        """Where nobody wants messages any more, reading must go on, or the end of the connection goes unnoticed."""
        with self._lock:
            if not self._full or self._is_wanted("message"):
                return
            self._full = False
            messages = self._kept["message"]
            while len(messages) > self._max_queue:
                messages.popleft()
                self.dropped += 1
        self._on_room()

    def _is_wanted(self, kind: str) -> bool:
        return getattr(self._target, f"on{kind}") is not None or bool(self._listeners[kind])

    def _next_kind(self) -> str | None:
        """The kind of the oldest event that somebody wants. Under the lock."""
        if not self._is_open:
            return None
        wanted = [(self._kept[kind][0][0], kind) for kind in KINDS if self._kept[kind] and self._is_wanted(kind)]
        return min(wanted)[1] if wanted else None

    def _deliver(self) -> None:
        """On the callback thread: one event after the other, until there is none that somebody wants."""
        while True:
            with self._lock:
                kind = self._next_kind()
                if kind is None:
                    self._delivering = False
                    break
                content = self._kept[kind].popleft()[1]
                has_room = self._full and len(self._kept["message"]) <= self._max_queue // 2
                if has_room:
                    self._full = False
            if has_room:
                self._on_room()
            self._tell(kind, content)
        self._reconsider()

    def _tell(self, kind: str, content: Any) -> None:
        handler = getattr(self._target, f"on{kind}")
        if handler is not None:
            values = (content,) if kind == "message" else (content.error,) if kind == "error" else ()
            self._run(kind, handler, *values)
        with self._lock:
            listeners = list(self._listeners[kind])
        if listeners:
            event = MessageEvent(self._target, content, self._origin) if kind == "message" else content
            for entry in listeners:
                if self._is_due(kind, entry):
                    self._run(kind, getattr(entry[0], "handleEvent", entry[0]), event)

    def _is_due(self, kind: str, entry: tuple[Any, bool]) -> bool:
        """Whether a listener is to be called: an earlier one may have removed it. One that is called once goes now."""
        with self._lock:
            if entry not in self._listeners[kind]:
                return False
            if entry[1]:
                self._listeners[kind].remove(entry)
            return True

    def _run(self, kind: str, function: Callable[..., object], *values: Any) -> None:
        try:
            function(*values)
        except BaseException as error:  # also SystemExit: it does not end this thread
            log.exception("on%s of %r failed", kind, self._target)
            if kind == "error":
                return
            event = ErrorEvent(self._target, error)
            if self._is_wanted("error"):
                self._tell("error", event)
            else:
                self.happen("error", event)
