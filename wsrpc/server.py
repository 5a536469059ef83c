"""Answer: methods and topics on a listener.

The default dialect is JSON-RPC 2.0 in text frames, so that any client of any language can ask. Plain methods run on a
pool of threads, inline ones on the loop, coroutines on one asyncio loop in a thread of its own.
"""

from __future__ import annotations

import logging
import ssl as _ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from . import codec
from .callbacks import CallbackThreads
from .connection import Connection, Sink
from .dialects import JSONRPC, Dialect, Request
from .errors import StateError
from .framing import TEXT, OpeningRequest, check_protocols, pack
from .listener import Listener
from .loop import current_loop, refuse_on_loop
from .methods import AsyncioThread, Method, Methods, Outcome, Place, outcome_of_error
from .options import MIB, check_positive, make_options
from .sessions import Session
from .subscriptions import Subscriptions
from .waiting import Flag

log = logging.getLogger("wsrpc")

_GOING_AWAY = 1001
_SIGNAL_SECONDS = 0.5
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}

Function = TypeVar("Function", bound=Callable[..., Any])
Done = Callable[[Outcome], None]


class Server:
    """Serves methods and topics. Making one opens nothing; entering `with`, `start` or `serve_forever` listens.

    All methods may be called from any thread.

    Args:
        host: a name or address of this machine.
        port: 0 picks a free one.
        dialect: `JSONRPC()` by default; `Reflect(…)` for endpoints that merely echo a field.
        threads: how many plain methods run at once.
        ssl: a server-side `ssl.SSLContext` for `wss://`.
        protocols: the subprotocols that are spoken.
        max_connections: at once; more are refused with 503.
        max_requests: unanswered ones of one connection; at the bound it is not read.
        options: see `wsrpc.options.Options`; `max_message_bytes` is 16 MiB by default.

    Raises:
        ValueError, TypeError: a bad option.

    Example:
        >>> server = Server("127.0.0.1", 0)
        >>> @server.method
        ... def add(a, b):
        ...     return a + b
        >>> with server, wsrpc.Client(server.url) as client:
        ...     client.query("add", [2, 3])
        5
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8765,
        *,
        dialect: Dialect | None = None,
        threads: int = 32,
        ssl: _ssl.SSLContext | None = None,
        protocols: str | Sequence[str] = (),
        max_connections: int = 1000,
        max_requests: int = 1000,
        **options: Any,
    ) -> None:
        for name, value in (("threads", threads), ("max_connections", max_connections), ("max_requests", max_requests)):
            check_positive(name, value)
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be 0 to 65535, not {port}")
        self._host, self._port = host, port
        self._options = make_options(options, max_message_bytes=16 * MIB)
        self._ssl = ssl
        self._protocols = check_protocols(protocols)
        self._max_connections = max_connections
        self.dialect = _serving(dialect if dialect is not None else JSONRPC())
        self.max_requests = max_requests
        self.max_buffered_bytes = self._options.max_buffered_bytes
        self._methods = Methods()
        self._pool = CallbackThreads("wsrpc-method", threads)
        self._asyncio = AsyncioThread("wsrpc-asyncio")
        self._lock = threading.Lock()
        self._listener: Listener | None = None  # guarded by _lock
        self._sessions: set[Session] = set()  # guarded by _lock
        self._topics = Subscriptions()  # changed under _lock
        self._closing = False  # guarded by _lock
        self._empty = threading.Condition(self._lock)  # notified when a session ends
        self._closed = Flag()

    # Methods and topics

    @overload
    def method(self, function: Function, /) -> Function: ...

    @overload
    def method(self, name: str | None = None, /, *, inline: bool = False) -> Callable[[Function], Function]: ...

    def method(self, function: Any = None, /, *, inline: bool = False) -> Any:
        """Make a function a method: `@server.method`, `@server.method("name")`, `@server.method(inline=True)`.

        Its arguments are the request's params, its return value the result. An exception is answered as an error with
        its text and type; a `RemoteError` with its own code, message and data.

        Args:
            function: the function, or the name to serve it under (its own by default).
            inline: run it on the loop: for cheap functions that do not block, since everything waits for them.

        Raises:
            ValueError: a name that begins with `rpc.`, or an inline coroutine function.
        """
        if function is None or isinstance(function, str):
            return partial(self._add_method, function, inline)
        return self._add_method(None, inline, function)

    def _add_method(self, name: str | None, inline: bool, function: Function) -> Function:
        self._methods.add(function, name, inline=inline)
        return function

    def publish(self, topic: str, value: Any) -> int:
        """Send an event to all who subscribed to the topic; never blocks.

        It is encoded and framed once. Where the dialect has no way to subscribe, all connections get it. A subscriber
        that reads too slowly (over `max_buffered_bytes` wait for it) is closed with 1013.

        Returns:
            To how many.

        Raises:
            EncodeError: the value cannot be put on the wire.
        """
        frame = pack(TEXT, codec.encode(self.dialect.push(topic, value)), client=False)
        if self.dialect.subscribing(topic) is None:
            with self._lock:
                sessions: Sequence[Session] = tuple(self._sessions)
        else:
            sessions = self._topics.of(topic)
        for session in sessions:
            session.push(frame)
        return len(sessions)

    # Living

    @property
    def url(self) -> str:
        """Where clients find it.

        Raises:
            StateError: it has not been started.
        """
        if self._listener is None:
            raise StateError("the server has no URL before it is started: use `with server:`, or start()")
        host = _WILDCARDS.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if self._ssl else 'ws'}://{host}:{self._listener.port}"

    def start(self) -> None:
        """Listen, and serve from the background.

        Raises:
            OSError: host and port cannot be listened on.
            StateError: it runs already, or was closed.
        """
        with self._lock:
            if self._closing:
                raise StateError("the server was closed; make a new one")
            if self._listener is not None:
                raise StateError("the server runs already")
            self._listener = Listener(
                self._host,
                self._port,
                options=self._options,
                context=self._ssl,
                protocols=self._protocols,
                max_connections=self._max_connections,
                on_connection=self._welcome,
            )

    def serve_forever(self) -> None:
        """Serve until `close` is called, or Ctrl-C: then it closes and raises `KeyboardInterrupt`. Blocks."""
        refuse_on_loop("serve_forever()")
        if self._listener is None:
            self.start()
        try:
            while not self._closed.wait(_SIGNAL_SECONDS):  # in slices: a signal may come just before a wait
                pass
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more, and close all connections with 1001. Doing it twice is fine.

        Blocks for their closing handshakes, at most `close_timeout`. May be called from a method, but not from an
        inline one.
        """
        refuse_on_loop("close()")
        with self._lock:
            self._closing = True
            listener, sessions = self._listener, list(self._sessions)
        if listener is not None:
            listener.close()
            listener.closed.wait()
            with self._lock:
                sessions = list(self._sessions)
        for session in sessions:
            session.close(_GOING_AWAY, "the server shuts down")
        with self._lock:
            self._empty.wait_for(lambda: not self._sessions)
        self._pool.retire(drop=True)
        self._asyncio.close(self._options.close_timeout)
        self._closed.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.url if self._listener is not None else f"{self._host}:{self._port}"
        state = "closed" if self._closing else "serving" if self._listener is not None else "idle"
        return f"<Server {where} {state} methods={len(self._methods.names())} connections={len(self._sessions)}>"

    # What sessions need

    def find(self, name: str) -> Method | None:
        """The method of that name."""
        return self._methods.get(name)

    def run(self, session: Session, method: Method, request: Request, done: Done) -> None:
        """Have a method run where it belongs; `done` gets its outcome, on that thread."""
        if method.place is Place.LOOP:
            _perform(method, request, done)
        elif method.place is Place.POOL:
            self._pool.submit(_perform, method, request, done)
        else:
            self._asyncio.run(_coroutine(method, request), partial(_conclude, request, done))

    def subscribe(self, session: Session, topic: str) -> None:
        """Push the events of a topic to this session too. On the loop."""
        if topic not in session.topics:
            session.topics.add(topic)
            with self._lock:
                self._topics.add(topic, session)

    def unsubscribe(self, session: Session, topic: str) -> None:
        """Push them no more. On the loop."""
        if topic in session.topics:
            session.topics.discard(topic)
            with self._lock:
                self._topics.remove(topic, session)

    def session_ended(self, session: Session) -> None:
        """The connection has ended. On the loop."""
        for topic in list(session.topics):
            self.unsubscribe(session, topic)
        with self._lock:
            self._sessions.discard(session)
            self._empty.notify_all()
            listener = self._listener
        if listener is not None:
            listener.connection_ended()

    def _welcome(self, connection: Connection, request: OpeningRequest) -> Sink:
        """A client has come. On the loop."""
        session = Session(self, connection)
        with self._lock:
            self._sessions.add(session)
            closing = self._closing
        if closing:
            current_loop().call(session.close, _GOING_AWAY, "the server shuts down")
        return session


def _serving(dialect: Dialect) -> Dialect:
    """The dialect, if it can serve."""
    if not isinstance(dialect, Dialect):
        raise TypeError(f"dialect must be a wsrpc.Dialect, such as wsrpc.JSONRPC(), not {dialect!r}")
    try:
        dialect.read_request({})
    except NotImplementedError as error:
        raise ValueError(f"{dialect!r} cannot serve: {error}") from error
    return dialect


def _perform(method: Method, request: Request, done: Done) -> None:
    try:
        result = method.start(request.params)
    except BaseException as error:  # also SystemExit: whoever asked gets an answer
        done(outcome_of_error(request, error))
    else:
        done(Outcome(result))


def _coroutine(method: Method, request: Request) -> Coroutine[Any, Any, Any]:
    async def performed() -> Any:
        return await method.start(request.params)

    return performed()


def _conclude(request: Request, done: Done, result: Any, error: BaseException | None) -> None:
    done(Outcome(result) if error is None else outcome_of_error(request, error))
