"""Steps with a non-blocking socket that wait on the loop: connecting, TLS, sending and receiving.

Used before framing begins, by both roles; from then on the connection reads and writes itself.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

from curio.traps import _io_release, _read_wait, _write_wait

from .outbound import WOULD_BLOCK


async def connect(sock: socket.socket, address: Any) -> None:
    """Connect over TCP.

    Raises:
        OSError: refused, unreachable …
    """
    try:
        sock.connect(address)
    except BlockingIOError:
        await _write_wait(sock)
        await _io_release(sock)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error)) from None


async def shake_hands(sock: ssl.SSLSocket) -> None:
    """The TLS handshake.

    Raises:
        ssl.SSLError: it failed.
    """
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            await _read_wait(sock)
        except ssl.SSLWantWriteError:
            await _write_wait(sock)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all of it.

    Raises:
        OSError: the connection is gone.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except WOULD_BLOCK:
            await _write_wait(sock)


async def receive(sock: socket.socket) -> bytes:
    """What has come, at least a byte; empty at the end.

    Raises:
        OSError: the connection is gone.
    """
    while True:
        try:
            return sock.recv(65536)
        except WOULD_BLOCK:
            await _read_wait(sock)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""


async def release(sock: socket.socket) -> None:
    """Close a socket that the current task has waited on; curio must not find it closed."""
    await _io_release(sock)
    sock.close()


def no_delay(sock: socket.socket) -> None:
    """Send small frames at once (no Nagle)."""
    if sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
