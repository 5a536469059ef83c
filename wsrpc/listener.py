"""Accepts connections and takes them through the opening handshake, on the loop.

Binding happens in the caller's thread, so that its errors do. A client that is slow, or that asks for no WebSocket, is
refused within `open_timeout` and bothers nobody else.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Sequence

import curio
from curio.traps import _read_wait

from .connection import Connection, Sink
from .errors import HandshakeError
from .framing import OpeningRequest, ServerHandshake, refusal
from .loop import Loop, current_loop, within
from .options import Options
from .sockets import no_delay, receive, release, send_all, shake_hands
from .waiting import Flag

log = logging.getLogger("wsrpc")

_BACKLOG = 1024
_PAUSE_SECONDS = 0.1  # after accept failed, mostly for want of file descriptors


class Listener:
    """A listening socket.

    Args:
        host: a name or address of this machine.
        port: 0 picks a free one.
        options: limits and timeouts of its connections.
        context: for TLS.
        protocols: the subprotocols that are spoken; the first that a client offers is picked.
        max_connections: more are refused with 503.
        on_connection: makes the sink of a new connection; called on the loop.

    Attributes:
        port: that it listens on.
        closed: set when it does not any more.

    Raises:
        OSError: host and port cannot be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        options: Options,
        context: ssl.SSLContext | None,
        protocols: Sequence[str],
        max_connections: int,
        on_connection: Callable[[Connection, OpeningRequest], Sink],
    ) -> None:
        self._options = options
        self._context = context
        self._protocols = protocols
        self._max_connections = max_connections
        self._on_connection = on_connection
        self._sock = _bound(host, port)
        self.port: int = self._sock.getsockname()[1]
        self._open = 0  # loop only; connections that were accepted and have not ended
        self._closed = False
        self._acceptor: curio.Task | None = None  # loop only
        self._welcomes: set[curio.Task] = set()  # loop only; opening handshakes under way
        self.closed = Flag()
        self._loop: Loop = current_loop()
        self._loop.call(self._accept)

    def close(self) -> None:
        """Accept no more; what is open stays. From any thread; never blocks."""
        self._loop.call(self._close)

    def connection_ended(self) -> None:
        """One of its connections has ended. On the loop."""
        self._open -= 1

    def going_away(self) -> None:
        """The interpreter exits."""
        self.close()

    def loop_died(self, cause: BaseException) -> None:
        """The loop is gone; nothing is accepted any more."""
        self._sock.close()
        self.closed.set()

    async def _close(self) -> None:
        self._closed = True
        if self._acceptor is not None:
            await self._acceptor.cancel()
        for welcome in list(self._welcomes):
            await welcome.cancel()
        self._loop.dismiss(self)
        self._sock.close()
        self.closed.set()

    async def _accept(self) -> None:
        if self._closed:
            return
        self._acceptor = await curio.current_task()
        self._loop.admit(self)
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                await _read_wait(self._sock)
            except OSError as error:
                log.warning("cannot accept a connection: %s", error)
                await curio.sleep(_PAUSE_SECONDS)
            else:
                sock.setblocking(False)
                self._open += 1
                await self._loop.spawn(self._welcome(sock))

    async def _welcome(self, sock: socket.socket) -> None:
        """From an accepted socket to a connection, or to a refusal."""
        task = await curio.current_task()
        self._welcomes.add(task)
        try:
            sock.getpeername()  # refuses who has gone already: wrap_socket would leave such a socket open
            no_delay(sock)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection, request = await within(self._options.open_timeout, self._open_websocket(sock))
        except (OSError, HandshakeError, curio.CancelledError) as error:
            log.debug("no connection: %s", error)
            await release(sock)
            self._open -= 1
            self._welcomes.discard(task)
        else:
            self._welcomes.discard(task)
            connection.start(self._on_connection(connection, request))

    async def _open_websocket(self, sock: socket.socket) -> tuple[Connection, OpeningRequest]:
        if isinstance(sock, ssl.SSLSocket):
            await shake_hands(sock)
        handshake = ServerHandshake()
        try:
            request = await self._read_request(sock, handshake)
            if self._open > self._max_connections:
                raise HandshakeError(f"this server has its {self._max_connections} connections", status=503)
        except HandshakeError as error:
            await send_all(sock, refusal(error.status or 400, str(error)))
            raise
        protocol = next((offered for offered in request.protocols if offered in self._protocols), "")
        await send_all(sock, handshake.accept(protocol))
        framing = handshake.framing(self._options.max_message_bytes)
        return Connection(self._loop, sock, framing, handshake.rest, client=False, options=self._options), request

    async def _read_request(self, sock: socket.socket, handshake: ServerHandshake) -> OpeningRequest:
        while True:
            data = await receive(sock)
            if not data:
                raise OSError("the client closed the connection in the opening handshake")
            if (request := handshake.receive(data)) is not None:
                return request


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )[0]
    except socket.gaierror as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return sock
