"""Every error that wsrpc raises.

    WsrpcError
    ├── ConnectError                    no connection came about
    │   └── HandshakeError              the server answered, but not with a WebSocket
    ├── InvalidURL(ValueError)
    ├── StateError(RuntimeError)        not now, or not from this thread
    ├── ConnectionClosed                the connection has ended
    ├── ProtocolError                   the peer broke the rules
    ├── EncodeError(TypeError)          what cannot be put on the wire
    ├── DecodeError(ValueError)         a message that cannot be read
    ├── MessageTooBig
    ├── QueryError                      one query failed
    │   ├── RemoteError                 the endpoint answered with an error
    │   ├── QueryTimeout(TimeoutError)
    │   └── QueryLost                   the connection ended before the answer
    └── Overflow                        a bounded queue was full

The text says what happened, to which query or peer, and what to do; the facts are attributes as well.
Each error can be pickled. None of them holds a secret: passwords, headers and cookies stay out.
"""

from __future__ import annotations

from typing import Any, Literal

Initiator = Literal["us", "peer", "network"]


class WsrpcError(Exception):
    """The root of all errors of this library."""


class ConnectError(WsrpcError):
    """No connection came about; `__cause__` is the error of the operating system, of DNS, TLS or the proxy.

    Attributes:
        address: where to, as `host:port`.
    """

    def __init__(self, text: str, *, address: str = "") -> None:
        super().__init__(text)
        self.address = address


class HandshakeError(ConnectError):
    """The server answered the opening handshake with something else than a WebSocket.

    Attributes:
        status: the HTTP status, or `None` where the answer was no HTTP.
        headers: the answer's headers, names in lower case.
        body: the first 64 KiB of the answer's body.
    """

    def __init__(
        self,
        text: str,
        *,
        address: str = "",
        status: int | None = None,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(text, address=address)
        self.status = status
        self.headers = headers or {}
        self.body = body


class InvalidURL(WsrpcError, ValueError):
    """A URL that names no WebSocket."""


class StateError(WsrpcError, RuntimeError):
    """Not now: sending before the connection is open, or blocking on the loop's own thread."""


class ConnectionClosed(WsrpcError):
    """The connection has ended, or the object was closed and used again.

    Attributes:
        code: the close code (RFC 6455, section 7.4); 1005: the peer gave none, 1006: no close frame came.
        reason: the close reason, often empty.
        initiator: who ended it: `"us"`, `"peer"` or `"network"`.
    """

    def __init__(self, text: str, *, code: int = 1006, reason: str = "", initiator: Initiator = "network") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason
        self.initiator: Initiator = initiator


class ProtocolError(WsrpcError):
    """The peer broke the rules of RFC 6455.

    Attributes:
        code: the close code that it was told: 1002, or 1007 for text that is not UTF-8.
    """

    def __init__(self, text: str, *, code: int = 1002) -> None:
        super().__init__(text)
        self.code = code


class EncodeError(WsrpcError, TypeError):
    """Something that cannot be put on the wire.

    Attributes:
        path: where it is in the message, as in `params.rows[3]`; empty for the message itself.
    """

    def __init__(self, text: str, *, path: str = "") -> None:
        super().__init__(text)
        self.path = path


class DecodeError(WsrpcError, ValueError):
    """A message that cannot be read.

    Attributes:
        message: the message as it came.
    """

    def __init__(self, text: str, *, message: Any = None) -> None:
        super().__init__(text)
        self.message = message


class MessageTooBig(WsrpcError):
    """A message is over its limit.

    Attributes:
        size: its size in bytes, as far as it was known.
        limit: the limit in bytes.
    """

    def __init__(self, text: str, *, size: int = 0, limit: int = 0) -> None:
        super().__init__(text)
        self.size = size
        self.limit = limit


class QueryError(WsrpcError):
    """One query failed.

    Attributes:
        method: what was asked: the method's name, or a short form of the message.
        id: its reflect ID; `None` if it was never written.
    """

    def __init__(self, text: str, *, method: str = "", id: int | str | None = None) -> None:
        super().__init__(text)
        self.method = method
        self.id = id


class RemoteError(QueryError):
    """The endpoint answered with an error.

    Attributes:
        code: the endpoint's error code, `None` where it has none.
        message: the endpoint's text.
        data: what else it said.
    """

    def __init__(
        self,
        text: str,
        *,
        method: str = "",
        id: int | str | None = None,
        code: int | str | None = None,
        message: str = "",
        data: Any = None,
    ) -> None:
        super().__init__(text, method=method, id=id)
        self.code = code
        self.message = message
        self.data = data


class QueryTimeout(QueryError, TimeoutError):
    """No answer within the timeout.

    Attributes:
        elapsed: how long it was waited for, in seconds.
        may_have_run: False only if no byte of the query was written.
    """

    def __init__(
        self,
        text: str,
        *,
        method: str = "",
        id: int | str | None = None,
        elapsed: float = 0.0,
        may_have_run: bool = True,
    ) -> None:
        super().__init__(text, method=method, id=id)
        self.elapsed = elapsed
        self.may_have_run = may_have_run


class QueryLost(QueryError):
    """The connection ended before the answer came; `__cause__` is the `ConnectionClosed`.

    Attributes:
        may_have_run: False only if no byte of the query was written.
    """

    def __init__(self, text: str, *, method: str = "", id: int | str | None = None, may_have_run: bool = True) -> None:
        super().__init__(text, method=method, id=id)
        self.may_have_run = may_have_run


class Overflow(WsrpcError):
    """A bounded queue was full, and its policy is to say so.

    Attributes:
        topic: the subscription's topic; `None` where it was the send buffer.
        limit: the queue's bound: events of a subscription, bytes of a send buffer.
        dropped: how many events were lost.
    """

    def __init__(self, text: str, *, topic: Any = None, limit: int = 0, dropped: int = 0) -> None:
        super().__init__(text)
        self.topic = topic
        self.limit = limit
        self.dropped = dropped
