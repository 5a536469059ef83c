"""Fixtures: peers on loopback that are shut down at the end of their test."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import trustme

import wsrpc

from .peers import Handler, LoopFaults, Peer, RawServer, Recorder, Script


@pytest.fixture
def serve() -> Iterator[Callable[..., Peer]]:
    """Starts servers of the `websockets` package with the handler given."""
    with ExitStack() as stack:

        def start(handler: Handler, **options: Any) -> Peer:
            peer = Peer(handler, **options)
            stack.callback(peer.stop)
            return peer

        yield start


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Starts plain socket servers that play the scripts given."""
    with ExitStack() as stack:

        def start(*scripts: Script, tls: ssl.SSLContext | None = None) -> RawServer:
            server = RawServer(*scripts, tls=tls)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def connect(serve: Any, raw_server: Any) -> Iterator[Callable[..., wsrpc.Client]]:
    """Makes clients that are closed at the end, before the servers are."""
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> wsrpc.Client:
            client = wsrpc.Client(url, **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def open_socket(serve: Any, raw_server: Any) -> Iterator[Callable[..., wsrpc.WebSocket]]:
    """Makes WebSockets that are closed at the end, before the servers are."""
    with ExitStack() as stack:

        def make(url: str, *args: Any, **options: Any) -> wsrpc.WebSocket:
            ws = wsrpc.WebSocket(url, *args, **options)
            stack.callback(ws.wait_closed, 30)
            stack.callback(ws.close)
            return ws

        yield make


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@dataclass
class Authority:
    """A certificate authority of our own."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def authority() -> Authority:
    ca = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return Authority(server, client)


@pytest.fixture(autouse=True)
def _the_loop_is_sound() -> Iterator[None]:
    """Fail a test in which a function on the loop raised, or a task of it crashed."""
    faults = LoopFaults()
    loggers = [logging.getLogger(name) for name in ("wsrpc", "curio")]
    for logger in loggers:
        logger.addHandler(faults)
    yield
    for logger in loggers:
        logger.removeHandler(faults)
    if faults.found:
        pytest.fail("on the loop:\n" + "\n".join(faults.found), pytrace=False)
