"""The browser's WebSocket class, in Python: a face on a connection.

Its attributes, methods and events are those of the WHATWG WebSockets standard. Handlers and listeners of one socket run
one at a time on its own callback thread (see `dispatch`).
"""

from __future__ import annotations

import threading
from abc import ABCMeta
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from .connection import Connection
from .dialing import Dialing
from .dispatch import KINDS, Dispatch
from .errors import ConnectError, ConnectionClosed, EncodeError, Overflow, ProtocolError, StateError, WsrpcError
from .events import CloseEvent, ErrorEvent, OpenEvent
from .framing import ABNORMAL, BINARY, TEXT, check_protocols
from .loop import refuse_on_loop
from .options import check_positive, make_options
from .urls import parse_url
from .waiting import Flag

_HANDLERS = {f"on{kind}" for kind in KINDS}

Listener = Callable[[Any], object]
BytesLike = bytes | bytearray | memoryview


class _Gate(ABCMeta):
    """Holds a socket's events until the constructor of its most derived class has returned."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        socket: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]
        try:
            socket.__init__(*args, **kwargs)
        except BaseException:
            if dialing := socket.__dict__.get("_dialing"):
                dialing.abandon()
                socket._discard()
            raise
        socket._dispatch.open_gate()
        return socket


class WebSocket(metaclass=_Gate):
    """A WebSocket, as a browser has it. Making one begins to connect and returns at once.

    Assign handlers, or define them in a subclass; they get plain values: `onopen()`, `onmessage(data)`,
    `onerror(error)`, `onclose()`. Listeners (`addEventListener`) get event objects. Both may block, send, close, and
    ask blocking queries: they run on a thread of their own. What they raise is logged and goes to `onerror`.

    All methods may be called from any thread.

    Args:
        url: `ws://` or `wss://` (`http://` and `https://` are taken for these).
        protocols: the subprotocols to offer, one or several; if the server picks none of them, connecting fails.
        options: see `wsrpc.options.Options`.

    Raises:
        InvalidURL: the URL names no WebSocket.
        ValueError: a bad or repeated subprotocol, a bad option.
        TypeError: an option that does not exist.

    Attributes:
        url: the URL, without credentials.
        protocol: the subprotocol that the server picked, `""` before that and if there is none.
        extensions: the extensions agreed on; `""`, for there are none so far.
        binaryType: `"blob"` (the default) and `"arraybuffer"` give binary messages as bytes, `"memoryview"` as a view;
            anything else is ignored, as in browsers.
        closeCode, closeReason, wasClean: after closing, as in the close event; `None` before.

    Example:
        >>> with wsrpc.WebSocket(url) as ws:                             # doctest: +SKIP
        ...     ws.onmessage = print
        ...     ws.send("hello")
    """

    CONNECTING: ClassVar[int] = 0
    OPEN: ClassVar[int] = 1
    CLOSING: ClassVar[int] = 2
    CLOSED: ClassVar[int] = 3

    onopen: Callable[[], object] | None = None
    onmessage: Callable[[Any], object] | None = None
    onerror: Callable[[BaseException], object] | None = None
    onclose: Callable[[], object] | None = None

    def __init__(self, url: str, protocols: str | Sequence[str] = (), **options: Any) -> None:
        self._endpoint = parse_url(url)
        self._options = make_options(options)
        self._lock = threading.Lock()
        self._dispatch = Dispatch(self, self._endpoint.origin, self._options.max_queue, self._has_room)
        self._opened, self._ended = Flag(), Flag()
        self._failure: WsrpcError | None = None
        self._connection: Connection | None = None
        self._ready_state = WebSocket.CONNECTING
        self._binary_type = "blob"
        self._unsendable_bytes = 0
        self.url = self._endpoint.url
        self.protocol = ""
        self.extensions = ""
        self.closeCode: int | None = None
        self.closeReason: str | None = None
        self.wasClean: bool | None = None
        self._dialing = Dialing(
            self._endpoint, self._options, check_protocols(protocols), self._on_dialed, self._on_dial_failed
        )

    # The standard's attributes and methods

    @property
    def readyState(self) -> int:
        """`CONNECTING`, `OPEN`, `CLOSING` or `CLOSED`."""
        return self._ready_state

    @property
    def dropped(self) -> int:
        """How many messages were dropped because nobody had asked for messages yet."""
        return self._dispatch.dropped

    @property
    def bufferedAmount(self) -> int:
        """Bytes that `send` took and that the network has not; what was sent after closing began stays counted."""
        connection = self._connection
        return self._unsendable_bytes + (connection.outbound.unsent_bytes if connection is not None else 0)

    @property
    def binaryType(self) -> str:
        """How binary messages come; see the class."""
        return self._binary_type

    @binaryType.setter
    def binaryType(self, value: str) -> None:
        if value in ("blob", "arraybuffer", "memoryview"):
            self._binary_type = value

    def send(self, data: str | BytesLike) -> None:
        """Send a message: a str as text, bytes-like as binary. Never blocks.

        After closing began it does nothing but let `bufferedAmount` grow, as in browsers.

        Raises:
            StateError: the connection is not open yet.
            Overflow: more than `max_buffered_bytes` would wait for the network; this message was not taken.
            TypeError: the data is neither.
        """
        opcode, payload = _payload(data)
        connection = self._connection
        if self._ready_state == WebSocket.CONNECTING:
            raise StateError(f"{self!r} is not open yet: send in onopen, or after wait_open()")
        if self._ready_state != WebSocket.OPEN or connection is None:
            self._unsendable_bytes += len(payload)
            return
        limit = self._options.max_buffered_bytes
        if not connection.outbound.has_room(len(payload), limit):
            raise Overflow(
                f"{connection.outbound.unsent_bytes} bytes wait for the network already and max_buffered_bytes is "
                f"{limit}: the peer reads too slowly; send later (see bufferedAmount)",
                limit=limit,
            )
        try:
            connection.outbound.write(connection.pack(opcode, payload))
        except ConnectionClosed:  # it ended just now: as if it had been sent a moment later
            self._unsendable_bytes += len(payload)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Begin the closing handshake, after all that was sent; while connecting, give up. Returns at once.

        Args:
            code: 1000, or 3000 to 4999; `None`: none is sent.
            reason: at most 123 bytes in UTF-8; needs a code.

        Raises:
            ValueError: another code, or a reason that is too long.
        """
        _check_close(code, reason)
        with self._lock:
            if self._ready_state == WebSocket.CLOSED:
                return
            connection = self._connection
            self._ready_state = WebSocket.CLOSING  # in which all that follows is done again, if Ctrl-C cut it off
            self._dispatch.drop_messages()
        if connection is None:
            self._dialing.abandon()
            error = ConnectError("closed before the connection was established", address=self._endpoint.address)
            self._on_dial_failed(error)
        else:
            connection.close(1000 if reason and code is None else code, reason)
            connection.resume()

    def addEventListener(self, type: str, listener: Any, once: bool = False) -> None:
        """Call `listener(event)` (or `listener.handleEvent(event)`) at each event of this type.

        A listener added twice is called once. Types that do not exist are ignored, as in browsers.

        Args:
            type: `"open"`, `"message"`, `"error"` or `"close"`.
            listener: a function, or an object with `handleEvent`.
            once: remove it after its first call.
        """
        self._dispatch.add(type, listener, once)

    def removeEventListener(self, type: str, listener: Any) -> None:
        """Remove a listener; one that is not there is ignored."""
        self._dispatch.remove(type, listener)

    # Python's extras

    def wait_open(self, timeout: float | None = None) -> None:
        """Block until the connection is open.

        Args:
            timeout: seconds; `None`: as long as `open_timeout` allows.

        Raises:
            ConnectError: it did not come about.
            ConnectionClosed: it has ended again.
            TimeoutError: not within `timeout`.
            StateError: called on the wsrpc loop.
        """
        refuse_on_loop("wait_open()")
        check_positive("timeout", timeout, none="no limit")
        if not self._opened.wait(timeout):
            raise TimeoutError(f"{self!r} was not open within {timeout} s")
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._ready_state != WebSocket.OPEN:
            raise ConnectionClosed(f"{self!r} is not open any more")

    def wait_closed(self, timeout: float | None = None) -> None:
        """Block until the connection has ended.

        Raises:
            TimeoutError: not within `timeout` seconds; `None`: no limit.
            StateError: called on the wsrpc loop.
        """
        refuse_on_loop("wait_closed()")
        check_positive("timeout", timeout, none="no limit")
        if not self._ended.wait(timeout):
            raise TimeoutError(f"{self!r} was not closed within {timeout} s")

    def __enter__(self) -> Self:
        try:
            self.wait_open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        self.wait_closed()

    def __repr__(self) -> str:
        state = ("connecting", "open", "closing", "closed")[self._ready_state]
        return f"<{type(self).__name__} {self.url} {state}>"

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _HANDLERS and "_dispatch" in self.__dict__:
            self._dispatch.schedule()

    # From the connection, on the loop

    def _on_dialed(self, connection: Connection, protocol: str) -> None:
        with self._lock:
            if self._ready_state != WebSocket.CONNECTING:
                connection.abort("closed while connecting")
                return
            self._connection, self.protocol = connection, protocol
            self._ready_state = WebSocket.OPEN
        self._dispatch.happen("open", OpenEvent(self))
        self._opened.set()
        connection.start(self)

    def _on_dial_failed(self, error: ConnectError) -> None:
        self._end(error, ABNORMAL, "", clean=False, error=error)

    def message(self, opcode: int, payload: Any) -> None:
        """A message came. On the loop; not to be called by users."""
        if opcode == TEXT:
            try:
                data: Any = payload if isinstance(payload, str) else payload.decode()
            except UnicodeDecodeError as error:
                raise ProtocolError("a text message is not UTF-8", code=1007) from error
        else:
            data = memoryview(payload) if self._binary_type == "memoryview" else payload
        if self._ready_state == WebSocket.OPEN and not self._dispatch.message(data):
            assert self._connection is not None
            self._connection.pause()

    def drained(self) -> None:
        """What waited was written."""

    def closing(self, end: ConnectionClosed | None) -> None:
        """The closing handshake has begun. On the loop; not to be called by users."""
        with self._lock:
            if self._ready_state == WebSocket.OPEN:
                self._ready_state = WebSocket.CLOSING

    def closed(self, end: ConnectionClosed, cause: WsrpcError | None) -> None:
        """The connection has ended. On the loop; not to be called by users."""
        connection = self._connection
        assert connection is not None
        code, reason = connection.received_close or (ABNORMAL, "")
        error = cause if cause is not None else (None if connection.clean else end)
        self._end(end, code, reason, clean=connection.clean, error=error)

    def _end(self, end: WsrpcError, code: int, reason: str, *, clean: bool, error: WsrpcError | None) -> None:
        with self._lock:
            if self._ready_state == WebSocket.CLOSED:
                return
            self._failure = end
            self.closeCode, self.closeReason, self.wasClean = code, reason, clean
            self._ready_state = WebSocket.CLOSED
        if error is not None:
            self._dispatch.happen("error", ErrorEvent(self, error))
        self._dispatch.happen("close", CloseEvent(self, code, reason, clean))
        self._dispatch.retire()
        self._opened.set()
        self._ended.set()

    def _has_room(self) -> None:
        """On the callback thread: enough messages were delivered to read more."""
        if self._connection is not None:
            self._connection.resume()

    def _discard(self) -> None:
        """The constructor of a subclass raised: nobody will ever have this object."""
        with self._lock:
            self._ready_state = WebSocket.CLOSED
        if self._connection is not None:
            self._connection.abort("the constructor raised")


def _payload(data: str | BytesLike) -> tuple[int, bytes]:
    if isinstance(data, str):
        try:
            return TEXT, data.encode()
        except UnicodeEncodeError:  # unpaired surrogates become U+FFFD, as the standard's USVString has it
            return TEXT, data.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return BINARY, bytes(data)
    try:
        return BINARY, bytes(memoryview(data))
    except TypeError:
        raise EncodeError(f"send takes str or a bytes-like object, not {type(data).__name__}") from None


def _check_close(code: int | None, reason: str) -> None:
    """The standard's rules for `close()` (section 3.1, steps 1 and 2)."""
    if code is not None and code != 1000 and not 3000 <= code <= 4999:
        raise ValueError(f"close code must be 1000 or 3000 to 4999, not {code}")
    if len(reason.encode()) > 123:
        raise ValueError("close reason must be at most 123 bytes in UTF-8")
