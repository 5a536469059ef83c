"""wsrpc: ask any WebSocket endpoint and get the answer as a function call, while unrelated messages keep arriving.

The public names; the reference documents them.
"""

from __future__ import annotations

from .client import Client
from .dialects import (
    ID,
    JSONRPC,
    METHOD,
    PARAMS,
    REFLECT_ID,
    Answer,
    Batch,
    Dialect,
    Failure,
    Invalid,
    Push,
    Reflect,
    Request,
)
from .errors import (
    ConnectError,
    ConnectionClosed,
    DecodeError,
    EncodeError,
    HandshakeError,
    InvalidURL,
    MessageTooBig,
    Overflow,
    ProtocolError,
    QueryError,
    QueryLost,
    QueryTimeout,
    RemoteError,
    StateError,
    WsrpcError,
)
from .events import CloseEvent, ErrorEvent, MessageEvent, OpenEvent
from .replies import Reply
from .server import Server
from .statistics import Stats
from .streams import Subscription
from .subscriptions import UNMATCHED
from .websocket import WebSocket

__version__ = "0.1.0"

__all__ = [
    "ID",
    "JSONRPC",
    "METHOD",
    "PARAMS",
    "REFLECT_ID",
    "UNMATCHED",
    "Answer",
    "Batch",
    "Client",
    "CloseEvent",
    "ConnectError",
    "ConnectionClosed",
    "DecodeError",
    "Dialect",
    "EncodeError",
    "ErrorEvent",
    "Failure",
    "HandshakeError",
    "Invalid",
    "InvalidURL",
    "MessageEvent",
    "MessageTooBig",
    "OpenEvent",
    "Overflow",
    "ProtocolError",
    "Push",
    "QueryError",
    "QueryLost",
    "QueryTimeout",
    "Reflect",
    "RemoteError",
    "Reply",
    "Request",
    "Server",
    "StateError",
    "Stats",
    "Subscription",
    "WebSocket",
    "WsrpcError",
]
