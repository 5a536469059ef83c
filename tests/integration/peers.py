"""Peers that are not ours: the `websockets` package's server, and a plain socket that plays a script of bytes.

Every wait here is bounded by `HANG`: no test depends on how busy the machine is, only a hang runs into it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

HANG = 20.0  # seconds after which something hangs

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

METHOD_NOT_FOUND = -32601

Handler = Callable[[ServerConnection], object]
Script = Callable[["Wire"], object]


def wait(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(HANG), "it never happened"


def join(*threads: threading.Thread) -> None:
    """Wait for threads that must end."""
    for thread in threads:
        thread.join(HANG)
        assert not thread.is_alive(), f"{thread.name} hangs"


def in_threads(*functions: Callable[[], object]) -> None:
    """Run functions at the same time; what one raises is raised here."""
    failures: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    join(*threads)
    for failure in failures:
        raise failure


class Recorder:
    """Takes what it is called with, and lets a test wait for it."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, *item: Any) -> None:
        with self._changed:
            self._items.append(item[0] if len(item) == 1 else item)
            self._changed.notify_all()

    def named(self, name: str) -> Callable[..., None]:
        """A function that records its arguments after a name."""
        return lambda *item: self(name, *item)

    @property
    def items(self) -> list[Any]:
        with self._changed:
            return list(self._items)

    def wait(self, count: int) -> list[Any]:
        """All that came, once it is at least so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._items) >= count, HANG), f"only {self._items!r:.500} came"
            return list(self._items)

    def wait_for(self, item: Any) -> list[Any]:
        """All that came, once this is among it."""
        with self._changed:
            assert self._changed.wait_for(lambda: item in self._items, HANG), f"only {self._items!r:.500} came"
            return list(self._items)


# The `websockets` package's server


class Peer:
    """A server of the `websockets` package, in threads.

    Attributes:
        url: of its root.
        port: where it listens.
        failures: what handlers raised, but for the end of their connection.
        connections: of which a handler was called.
    """

    def __init__(self, handler: Handler, *, host: str = "127.0.0.1", **options: Any) -> None:
        self._handler = handler
        self._stopping = False
        self.failures: list[BaseException] = []
        self.connections: list[ServerConnection] = []
        self._server = serve(self._handle, host, 0, **{"close_timeout": 2, "max_size": None, **options})
        self.port: int = self._server.socket.getsockname()[1]
        scheme = "wss" if options.get("ssl") else "ws"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="peer", daemon=True)
        self._thread.start()

    def _handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            self._handler(connection)
        except ConnectionClosed:
            pass
        except BaseException as error:
            if not self._stopping:
                self.failures.append(error)

    def stop(self) -> None:
        self._stopping = True
        for connection in self.connections:
            connection.close()
        self._server.shutdown()
        join(self._thread)
        assert not self.failures, self.failures


def echo(connection: ServerConnection) -> None:
    """Sends back what comes."""
    for message in connection:
        connection.send(message)


def send_json(connection: ServerConnection, message: Any) -> None:
    connection.send(json.dumps(message))


def requests(connection: ServerConnection) -> Iterator[dict[str, Any]]:
    """The JSON messages that come."""
    for text in connection:
        yield json.loads(text)


def answer(connection: ServerConnection, request: dict[str, Any], result: Any) -> None:
    send_json(connection, {"jsonrpc": "2.0", "id": request["id"], "result": result})


def refuse(connection: ServerConnection, request: dict[str, Any], code: int, message: str, data: Any = None) -> None:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    send_json(connection, {"jsonrpc": "2.0", "id": request["id"], "error": error})


def push(connection: ServerConnection, topic: str, params: Any) -> None:
    send_json(connection, {"jsonrpc": "2.0", "method": topic, "params": params})


class RemoteFault(Exception):
    """A method raises it to answer with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


Method = Callable[[ServerConnection, dict[str, Any]], Any]

#: A method returns it to answer nothing.
SILENCE = object()


def rpc(**methods: Method) -> Handler:
    """A JSON-RPC endpoint. Each method gets the connection and the request, and returns the result.

    There always are `echo`, which returns its params, `silent`, which answers nothing, and `push`, which sends the
    events `params[1]` of the topic `params[0]` before its answer. Dots in names are written as `__`.
    """
    known = {name.replace("__", "."): method for name, method in methods.items()}

    def handle(connection: ServerConnection) -> None:
        for request in requests(connection):
            method = known.get(request["method"], _COMMON.get(request["method"]))
            if method is None:
                if "id" in request:
                    refuse(connection, request, METHOD_NOT_FOUND, "Method not found")
                continue
            try:
                result = method(connection, request)
            except RemoteFault as fault:
                refuse(connection, request, fault.code, fault.message, fault.data)
                continue
            if "id" in request and result is not SILENCE:
                answer(connection, request, result)

    return handle


def _push(connection: ServerConnection, request: dict[str, Any]) -> int:
    topic, events = request["params"]
    for event in events:
        push(connection, topic, event)
    return len(events)


_COMMON: dict[str, Method] = {
    "echo": lambda connection, request: request.get("params"),
    "silent": lambda connection, request: SILENCE,
    "push": _push,
}


# A plain socket that plays a script


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = False) -> bytes:
    """A frame as a server writes it; masked, as it must not."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    key = b"\x01\x02\x03\x04"
    return head + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def text(message: Any) -> bytes:
    """A text frame; what is no `str` goes as JSON."""
    return frame(TEXT, (message if isinstance(message, str) else json.dumps(message)).encode())


def close(code: int | None = None, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


def http(status: str, *headers: str, body: bytes = b"") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Wire:
    """One accepted connection of a `RawServer`: bytes in, bytes out."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._received = b""

    def read_head(self) -> str:
        """The opening handshake's request."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def accept(self, *headers: str, and_then: bytes = b"") -> str:
        """Answer the opening handshake, with frames right behind; returns the request."""
        head = self.read_head()
        found = re.search(r"^sec-websocket-key: *(\S+)", head, re.IGNORECASE | re.MULTILINE)
        assert found is not None, head
        proof = base64.b64encode(hashlib.sha1((found[1] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {proof.decode()}",
            *headers,
        ]
        self.send("\r\n".join([*lines, "", ""]).encode() + and_then)
        return head

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_until_stuck(self, data: bytes) -> int:
        """Send, until the peer has not taken a byte for half a second or all is out; returns how much is."""
        view, sent = memoryview(data), 0
        while sent < len(data) and select.select([], [self.sock], [], 0.5)[1]:
            sent += self.sock.send(view[sent : sent + 65536])
        return sent

    def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, unmasked."""
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        assert second & 0x80, "a client must mask"
        key = self._take(4)
        payload = self._take(size)
        repeated = (key * (size // 4 + 1))[:size]
        unmasked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        return first & 0xF, unmasked

    def read_request(self) -> dict[str, Any]:
        """The next frame, which must be a query."""
        opcode, payload = self.read_frame()
        assert opcode == TEXT
        request: dict[str, Any] = json.loads(payload)
        return request

    def read_close(self) -> tuple[int | None, str]:
        """Code and reason of the close frame; what comes before it is passed over."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (None, "")

    def answer(self, result: Any) -> dict[str, Any]:
        """Read a query and answer it; returns it."""
        request = self.read_request()
        self.send(text({"jsonrpc": "2.0", "id": request["id"], "result": result}))
        return request

    def read_until_end(self) -> bytes:
        """Everything up to the end of the connection, be it orderly or not."""
        parts = [self._received]
        self._received = b""
        with contextlib.suppress(ConnectionError):
            while part := self.sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> None:
        received = self.sock.recv(65536)
        if not received:
            raise EOFError("the client hung up")
        self._received += received

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        taken, self._received = self._received[:size], self._received[size:]
        return taken


class RawServer:
    """Plays a script of bytes with each connection: the first script with the first one, and so on; the last with all
    further ones. When a script returns, its connection is closed.

    Attributes:
        url: of its root.
        port: where it listens.
        failures: what scripts raised.
        accepted: how many connections came.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._stopping = False
        self._lock = threading.Lock()
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.failures: list[BaseException] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}/"
        self._acceptor = threading.Thread(target=self._accept, name="raw-acceptor", daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            with self._lock:
                if self._stopping:
                    sock.close()
                    return
                script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
                self.accepted += 1
                self._socks.append(sock)
                thread = threading.Thread(target=self._play, args=(script, sock), name="raw-player", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _play(self, script: Script, sock: socket.socket) -> None:
        sock.settimeout(HANG)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._socks.append(sock)
            script(Wire(sock))
        except BaseException as error:
            if not self._stopping:
                self.failures.append(error)
        finally:
            sock.close()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        join(self._acceptor)
        self._listener.close()
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        join(*self._threads)
        assert not self.failures, self.failures


# Watching the loop


class LoopFaults(logging.Handler):
    """Collects what says that a function on the loop raised, or a task crashed: no input may do that."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        about_loop = record.name == "wsrpc" and "wsrpc loop" in record.getMessage()
        if about_loop or (record.name.startswith("curio") and record.levelno >= logging.ERROR):
            self.found.append(logging.Formatter().format(record))


def child_environment() -> dict[str, str]:
    """For a child process that imports what this one does."""
    import wsrpc

    root = os.path.dirname(os.path.dirname(wsrpc.__file__))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
