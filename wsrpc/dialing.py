"""From a URL to an open connection: name look-up, TCP, TLS, opening handshake, all within one timeout.

Look-ups, the loading of the trust store and users' header functions block, so they run on a thread of their own;
everything else runs on the loop. What fails is a `ConnectError` whose text says what to do and whose cause is the
system's own error.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

import curio

from .callbacks import CallbackThreads
from .connection import Connection
from .errors import ConnectError
from .framing import ClientHandshake, basic_auth, header_lines
from .loop import OutOfTime, current_loop, wait_future, within
from .options import Options
from .sockets import connect, no_delay, receive, release, send_all, shake_hands
from .urls import Endpoint

_threads = CallbackThreads("wsrpc-resolver", limit=8)

Address = tuple[int, Any]  # family, and what `connect` takes
Prepared = tuple[list[Address], ssl.SSLContext | None, list[tuple[bytes, bytes]]]  # … and extra headers


class Dialing:
    """One attempt to connect. Ends in one call of `on_open` or `on_error`, on the loop; in none after `abandon`.

    Args:
        endpoint: where to.
        options: headers, TLS and timeouts.
        protocols: the subprotocols to offer.
        on_open: gets the connection, which is not started yet, and the subprotocol picked.
        on_error: gets a `ConnectError`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: Options,
        protocols: Sequence[str],
        on_open: Callable[[Connection, str], object],
        on_error: Callable[[ConnectError], object],
    ) -> None:
        self._endpoint = endpoint
        self._options = options
        self._protocols = protocols
        self._on_open = on_open
        self._on_error = on_error
        self._task: curio.Task | None = None
        self._sock: socket.socket | None = None
        self._abandoned = False
        self._loop = current_loop()
        self._loop.call(self._run)

    def abandon(self) -> None:
        """Give up; neither function will be called. From any thread; never blocks."""
        self._loop.call(self._cancel)

    def going_away(self) -> None:
        """The interpreter exits."""
        self.abandon()

    def loop_died(self, cause: BaseException) -> None:
        """The loop is gone, and with it this attempt."""
        self._drop_socket()
        if not self._abandoned:
            self._on_error(self._error(f"the background loop died: {cause!r}"))

    async def _cancel(self) -> None:
        self._abandoned = True
        if self._task is not None:
            await self._task.cancel(blocking=False)

    async def _run(self) -> None:
        if self._abandoned:
            return
        self._task = await curio.current_task()
        self._loop.admit(self)
        try:
            connection, protocol = await within(self._options.open_timeout, self._dial())
        except OutOfTime as error:
            await self._give_up(self._timed_out(), error)
        except curio.CancelledError:
            await self._give_up(None, None)
        except ConnectError as error:
            await self._give_up(error, error.__cause__)
        except Exception as error:
            await self._give_up(self._error(_advice(error, self._endpoint)), error)
        else:
            self._loop.dismiss(self)
            if self._abandoned:
                await self._give_up(None, None)
            else:
                self._loop.guard(self._on_open, connection, protocol)

    async def _give_up(self, error: ConnectError | None, cause: BaseException | None) -> None:
        self._loop.dismiss(self)
        if self._sock is not None:
            await release(self._sock)
        if error is not None and not self._abandoned:
            error.__cause__ = cause
            self._loop.guard(self._on_error, error)

    def _drop_socket(self) -> None:
        if self._sock is not None:
            self._sock.close()

    async def _dial(self) -> tuple[Connection, str]:
        addresses, context, headers = await self._prepare()
        sock = await self._connect(addresses)
        if context is not None:
            sock = self._sock = await self._start_tls(sock, context)
        handshake = ClientHandshake(self._endpoint, self._protocols, headers)
        await self._open_websocket(sock, handshake)
        framing = handshake.framing(self._options.max_message_bytes)
        connection = Connection(self._loop, sock, framing, handshake.rest, client=True, options=self._options)
        return connection, handshake.protocol

    async def _prepare(self) -> Prepared:
        """What may block, on a thread."""
        if _is_quick(self._endpoint, self._options):
            return _prepare(self._endpoint, self._options)
        prepared: Future[Any] = Future()
        _threads.submit(_settle, prepared, lambda: _prepare(self._endpoint, self._options))
        return await wait_future(prepared)  # type: ignore[no-any-return]

    async def _connect(self, addresses: list[Address]) -> socket.socket:
        """The first of the addresses that accepts."""
        for index, (family, address) in enumerate(addresses):
            sock = self._sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await connect(sock, address)
            except OSError:
                sock.close()
                if index == len(addresses) - 1:
                    raise
            else:
                no_delay(sock)
                return sock
        raise OSError("the name has no address")

    async def _start_tls(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        secure = context.wrap_socket(sock, server_hostname=self._endpoint.host, do_handshake_on_connect=False)
        self._sock = secure
        await shake_hands(secure)
        return secure

    async def _open_websocket(self, sock: socket.socket, handshake: ClientHandshake) -> None:
        await send_all(sock, handshake.request())
        while not handshake.receive(await receive(sock)):
            pass

    def _timed_out(self) -> ConnectError:
        return self._error(
            f"no WebSocket within {self._options.open_timeout} s (open_timeout): the server accepts and says nothing, "
            "or a firewall drops the packets"
        )

    def _error(self, text: str) -> ConnectError:
        return ConnectError(f"cannot connect to {self._endpoint.url}: {text}", address=self._endpoint.address)


def _settle(future: Future[Any], function: Callable[[], Any]) -> None:
    """Run a function and put its outcome into a future, unless nobody wants it any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)


def _prepare(endpoint: Endpoint, options: Options) -> Prepared:
    context = (options.ssl or _default_context()) if endpoint.secure else None
    return _addresses(endpoint), context, _headers(endpoint, options)


def _is_quick(endpoint: Endpoint, options: Options) -> bool:
    """Whether nothing of it blocks: no name to look up, no trust store to load, no function of the user's."""
    needs_thread = callable(options.headers) or callable(options.cookies) or (endpoint.secure and options.ssl is None)
    return endpoint.literal is not None and not needs_thread


@cache
def _default_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _addresses(endpoint: Endpoint) -> list[Address]:
    flags = 0 if endpoint.literal is None else socket.AI_NUMERICHOST
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _headers(endpoint: Endpoint, options: Options) -> list[tuple[bytes, bytes]]:
    headers: dict[str, str] = {}
    if options.origin is not None:
        headers["Origin"] = options.origin
    if (credentials := options.auth or endpoint.credentials) is not None:
        headers["Authorization"] = basic_auth(credentials)
    if cookies := _called(options.cookies):
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return header_lines({**headers, **_called(options.headers)})


def _called(value: Mapping[str, str] | Callable[[], Mapping[str, str]] | None) -> Mapping[str, str]:
    if callable(value):
        value = value()
    return {} if value is None else value


def _advice(error: Exception, endpoint: Endpoint) -> str:
    """What happened and what to do, in a line."""
    if isinstance(error, socket.gaierror):
        return f"the name {endpoint.host!r} cannot be looked up ({error.strerror}); check it, and the network"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens on {endpoint.address}; check host and port, and that the server runs"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}; see the option ssl"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}; is this a wss:// endpoint?"
    if isinstance(error, OSError):
        return f"the network failed: {error.strerror or error}"
    if isinstance(error, ValueError | TypeError):
        return f"the handshake cannot be made: {error}"
    return f"unexpected {type(error).__name__}: {error}"
