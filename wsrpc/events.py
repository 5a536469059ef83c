"""The event objects that listeners get, as in a browser (WHATWG HTML and WebSockets standards)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .websocket import WebSocket


@dataclass(frozen=True)
class Event:
    """What all events have.

    Attributes:
        type: `"open"`, `"message"`, `"error"` or `"close"`.
        target: the WebSocket it happened on.
    """

    type: ClassVar[str]
    target: WebSocket = field(repr=False)


@dataclass(frozen=True)
class OpenEvent(Event):
    """The opening handshake is done: `send` works now."""

    type: ClassVar[str] = "open"


@dataclass(frozen=True)
class MessageEvent(Event):
    """A message came.

    Attributes:
        data: `str` for text; for binary `bytes`, or a `memoryview` where `binaryType` says so.
        origin: the server's origin, as `ws://host:port`.
    """

    type: ClassVar[str] = "message"
    data: str | bytes | memoryview
    origin: str


@dataclass(frozen=True)
class ErrorEvent(Event):
    """Something failed: the connection (a close event follows), or a handler.

    Attributes:
        error: the exception.
    """

    type: ClassVar[str] = "error"
    error: BaseException


@dataclass(frozen=True)
class CloseEvent(Event):
    """The connection has ended.

    Attributes:
        code: the peer's close code; 1005 if its close frame had none, 1006 if no close frame came.
        reason: the peer's close reason.
        wasClean: whether the closing handshake was completed.
    """

    type: ClassVar[str] = "close"
    code: int
    reason: str
    wasClean: bool
