"""The server, asked by clients that are not ours, by plain sockets, and by our own client."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import itertools
import json
import logging
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect

import wsrpc
from wsrpc import METHOD, PARAMS, Client, Reflect, RemoteError, Server

from .conftest import Authority
from .peers import BINARY, CLOSE, HANG, PING, PONG, TEXT, Recorder, child_environment, frame, in_threads, join, wait

Serving = Callable[..., Server]
Dial = Callable[..., ClientConnection]
DialRaw = Callable[..., "Raw"]
Connect = Callable[..., Client]

POLL = 0.01
KIB = 1024
GOING_AWAY = 1001

#: An opening handshake, RFC 6455's own example.
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: server.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
PROOF = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# Clients that are not ours


class Raw:
    """A plain socket that speaks as much WebSocket as a test wants.

    Args:
        port: on this machine.
        opened: whether the opening handshake is made.
        tls: a client's context.
        receive_bytes: a small receive buffer, for those who read slowly.
    """

    def __init__(
        self, port: int, *, opened: bool = True, tls: ssl.SSLContext | None = None, receive_bytes: int | None = None
    ) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(HANG)
        if receive_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self._received = b""
        if opened:
            self.send(REQUEST + b"\r\n")
            self.read_opening()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(self, method: str, params: Any = None, id: Any = 1) -> None:
        self.send(query(method, params, id))

    def read_opening(self) -> bytes:
        """The answer to the opening handshake, which must accept it."""
        head = self.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert PROOF in head
        return head

    def read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, size = self._take(2)
        assert first & 0x80, "a fragment"
        assert not size & 0x80, "a server must not mask"
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return first & 0xF, self._take(size)

    def read(self) -> Any:
        """The next frame, which must be JSON in text."""
        opcode, payload = self.read_frame()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    def read_close(self) -> tuple[int | None, str]:
        """Code and reason of the close frame; what comes before it is passed over."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == CLOSE:
                return (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (None, "")

    def read_until_end(self) -> bytes:
        """Everything up to the end of the connection, be it orderly or not."""
        parts = [self._received]
        self._received = b""
        with contextlib.suppress(ConnectionError):
            while part := self.sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def finish(self, code: int | None = None) -> None:
        """Read to the end, of which nothing may be left, and hang up; a close frame goes first if there is a code."""
        if code is not None:
            self.send(masked_close(code))
        assert self.read_until_end() == b""
        self.sock.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _receive(self) -> None:
        received = self.sock.recv(1024 * KIB)
        if not received:
            raise EOFError("the server hung up")
        self._received += received

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def request(method: str, params: Any = None, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": id} | ({} if params is None else {"params": params})


def notification(method: str, params: Any = None) -> dict[str, Any]:
    message = request(method, params)
    del message["id"]
    return message


def query(method: str, params: Any = None, id: Any = 1) -> bytes:
    return frame(TEXT, json.dumps(request(method, params, id)).encode(), masked=True)


def masked_close(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode(), masked=True)


def result(value: Any, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


def send(ws: ClientConnection, message: Any) -> None:
    """Send text as it is, anything else as JSON."""
    ws.send(message if isinstance(message, str) else json.dumps(message))


def receive(ws: ClientConnection) -> Any:
    return json.loads(ws.recv(HANG))


def exchange(ws: ClientConnection, message: Any) -> Any:
    send(ws, message)
    return receive(ws)


def ask(ws: ClientConnection, method: str, params: Any = None) -> Any:
    """The result of a query."""
    answer = exchange(ws, request(method, params, "asked"))
    assert answer.get("id") == "asked", answer
    assert "result" in answer, answer
    return answer["result"]


def error_of(ws: ClientConnection, method: str, params: Any = None) -> dict[str, Any]:
    """The error that a query is answered with."""
    answer = exchange(ws, request(method, params, "asked"))
    assert answer["id"] == "asked"
    assert "result" not in answer
    error: dict[str, Any] = answer["error"]
    return error


def close_code(ws: ClientConnection) -> tuple[int, str]:
    """Read up to the end; code and reason of the server's close frame."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            ws.recv(HANG)
    assert ws.close_code is not None
    return ws.close_code, ws.close_reason or ""


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what nothing announces."""
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "it never came true"
        threading.Event().wait(POLL)


def threads_named(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


def log_of(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Starts our servers with the functions given as methods, and closes them at the end."""
    with ExitStack() as stack:

        def start(
            *functions: Callable[..., Any],
            inline: tuple[Callable[..., Any], ...] = (),
            host: str = "127.0.0.1",
            **options: Any,
        ) -> Server:
            server = Server(host, 0, **options)
            for function in functions:
                server.method(function)
            for function in inline:
                server.method(inline=True)(function)
            server.start()
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def dial(serving: Serving) -> Iterator[Dial]:
    """Connects clients of the `websockets` package, and closes them at the end, before the servers are."""
    with ExitStack() as stack:

        def connect(server: Server, **options: Any) -> ClientConnection:
            port = port_of(server)
            host = "::1" if "[" in server.url else "127.0.0.1"
            sock = socket.create_connection((host, port), HANG)  # no proxy of the environment
            url = f"wss://localhost:{port}/" if server.url.startswith("wss") else server.url
            settings = {"open_timeout": HANG, "close_timeout": HANG, "max_size": None, **options}
            return stack.enter_context(websockets_connect(url, sock=sock, **settings))

        yield connect


@pytest.fixture
def dial_raw(serving: Serving) -> Iterator[DialRaw]:
    """Connects plain sockets, and closes them at the end, before the servers are."""
    with ExitStack() as stack:

        def connect(server: Server, **options: Any) -> Raw:
            raw = Raw(port_of(server), **options)
            stack.callback(lambda: raw.sock.close())
            return raw

        yield connect


@pytest.fixture
def connect(serving: Serving) -> Iterator[Connect]:
    """Makes clients of ours, and closes them at the end, before the servers are."""
    with ExitStack() as stack:

        def make(server: Server, **options: Any) -> Client:
            client = Client(server.url, timeout=HANG, **options)
            stack.callback(client.close)
            return client

        yield make


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


# Methods


def add(a: Any, b: Any = 10) -> Any:
    return a + b


def ping() -> str:
    return "pong"


def echo(value: Any) -> Any:
    return value


async def add_later(a: Any, b: Any = 10) -> Any:
    await asyncio.sleep(0)
    return a + b


def where() -> str:
    return threading.current_thread().name


async def where_async() -> str:
    return threading.current_thread().name


def where_inline() -> str:
    return threading.current_thread().name


class Gate:
    """A method that answers once `open` was called. It counts how many run at once; `begun` records their params."""

    def __init__(self) -> None:
        self.__name__ = "gate"
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._running = 0
        self.peak = 0
        self.begun, self.ended = Recorder(), Recorder()

    def __call__(self, value: Any = None) -> Any:
        with self._lock:
            self._running += 1
            self.peak = max(self.peak, self._running)
        self.begun(value)
        wait(self._open)
        with self._lock:
            self._running -= 1
        self.ended(value)
        return value

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Opened at the end in any case."""
    made = Gate()
    yield made
    made.open()


def test_the_three_kinds_of_methods_answer(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(add, add_later, inline=(ping,)))
    assert ask(ws, "add", [2, 3]) == 5
    assert ask(ws, "add_later", [2, 3]) == 5
    assert ask(ws, "ping") == "pong"


def test_each_kind_runs_in_its_place(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(where, where_async, inline=(where_inline,)))
    assert ask(ws, "where").startswith("wsrpc-method")
    assert ask(ws, "where_async") == "wsrpc-asyncio"
    assert ask(ws, "where_inline") == "wsrpc-loop"


def test_threads_begin_at_their_first_method(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(where, where_async, inline=(ping,)))
    ask(ws, "ping")
    assert threads_named("wsrpc-method") == threads_named("wsrpc-asyncio") == []
    ask(ws, "where_async")
    assert threads_named("wsrpc-method") == []
    ask(ws, "where")
    assert len(threads_named("wsrpc-method")) == 1


@pytest.mark.parametrize("method", ["add", "add_later", "add_inline"])
@pytest.mark.parametrize(
    ("params", "sum_"), [([2, 3], 5), ([2], 12), ({"a": 2, "b": 3}, 5), ({"b": "y", "a": "x"}, "xy"), ({"a": 1}, 11)]
)
def test_params_are_positional_or_named_and_defaults_count(
    serving: Serving, dial: Dial, method: str, params: Any, sum_: Any
) -> None:
    server = serving(add, add_later)
    server.method("add_inline", inline=True)(add)
    assert ask(dial(server), method, params) == sum_


@pytest.mark.parametrize("method", ["add", "add_later", "add_inline"])
@pytest.mark.parametrize("params", [None, [], [1, 2, 3], {"b": 1}, {"a": 1, "c": 2}])
def test_params_that_do_not_fit_are_32602_with_the_reason(
    serving: Serving, dial: Dial, caplog: pytest.LogCaptureFixture, method: str, params: Any
) -> None:
    server = serving(add, add_later)
    server.method("add_inline", inline=True)(add)
    error = error_of(dial(server), method, params)
    assert error["code"] == -32602
    assert error["message"].startswith("Invalid params: ")
    assert "(a: " in error["message"], "the signature helps"
    assert log_of(caplog) == []


@pytest.mark.parametrize("kind", ["plain", "inline", "async"])
@pytest.mark.parametrize(
    ("raised", "text", "type_"),
    [
        (ValueError("no such thing"), "no such thing", "ValueError"),
        (TypeError("not that"), "not that", "TypeError"),
        (AssertionError(), "AssertionError", "AssertionError"),
        (SystemExit(3), "3", "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "CancelledError", "CancelledError"),
        (StopIteration(), "StopIteration", "StopIteration"),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit"),
        (ValueError("half \ud800 of a pair"), "", ""),
    ],
)
def test_an_exception_is_32000_with_its_text_and_type(
    serving: Serving, dial: Dial, kind: str, raised: BaseException, text: str, type_: str
) -> None:
    def fail() -> None:
        raise raised

    async def fail_later() -> None:
        raise raised

    server = serving(add)
    if kind == "async":
        server.method("fail")(fail_later)
    else:
        server.method("fail", inline=kind == "inline")(fail)
    ws = dial(server)
    error = error_of(ws, "fail")
    if kind == "async" and isinstance(raised, StopIteration):  # PEP 479
        assert error["data"] == {"type": "RuntimeError"}
    elif type_:
        assert error == {"code": -32000, "message": text, "data": {"type": type_}}
    else:
        assert error["code"] in (-32000, -32603)
    assert ask(ws, "add", [2, 3]) == 5


@pytest.mark.parametrize("kind", ["plain", "inline", "async"])
@pytest.mark.parametrize("data", [None, {"allowed": ["read"]}, [], 0])
def test_a_remote_error_keeps_code_message_and_data(
    serving: Serving, dial: Dial, caplog: pytest.LogCaptureFixture, kind: str, data: Any
) -> None:
    def refuse() -> None:
        raise RemoteError("to whoever logs it", code=403, message="not allowed", data=data)

    async def refuse_later() -> None:
        refuse()

    server = serving()
    if kind == "async":
        server.method("refuse")(refuse_later)
    else:
        server.method(inline=kind == "inline")(refuse)
    error = error_of(dial(server), "refuse")
    assert (error["code"], error["message"], error.get("data")) == (403, "not allowed", data)
    assert log_of(caplog) == []


def test_our_client_raises_what_the_method_raised(serving: Serving, connect: Connect) -> None:
    def refuse() -> None:
        raise RemoteError("no", code=403, message="not allowed", data=[1])

    def fail() -> None:
        raise LookupError("nothing there")

    client = connect(serving(refuse, fail, add))
    with pytest.raises(RemoteError, match="not allowed") as refused:
        client.query("refuse")
    assert (refused.value.code, refused.value.message, refused.value.data) == (403, "not allowed", [1])
    with pytest.raises(RemoteError, match="nothing there") as failed:
        client.query("fail")
    assert (failed.value.code, failed.value.data) == (-32000, {"type": "LookupError"})
    with pytest.raises(RemoteError) as misfit:
        client.query("add", [1, 2, 3])
    assert misfit.value.code == -32602
    with pytest.raises(RemoteError) as unknown:
        client.query("no_such")
    assert unknown.value.code == -32601
    assert client.query("add", [2, 3]) == 5


def test_a_failed_method_is_logged_with_its_traceback(
    serving: Serving, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("no such thing")

    error_of(dial(serving(fail)), "fail")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "fail" in record.getMessage()
    assert record.exc_info is not None


def test_an_exception_whose_text_cannot_be_had_is_answered_too(serving: Serving, dial: Dial) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text either")

    def fail() -> None:
        raise MuteError

    ws = dial(serving(fail))
    send(ws, request("fail"))
    assert json.loads(ws.recv(5))["error"]["code"] == -32000


def test_an_unknown_method_is_32601(serving: Serving, dial: Dial) -> None:
    error = error_of(dial(serving()), "foobar")
    assert error["code"] == -32601
    assert "foobar" in error["message"]


def test_methods_can_be_added_while_it_serves(serving: Serving, dial: Dial) -> None:
    server = serving()
    ws = dial(server)
    assert error_of(ws, "add", [1])["code"] == -32601
    server.method(add)
    assert ask(ws, "add", [1]) == 11


def test_a_method_may_ask_another_of_its_own_server(serving: Serving, dial: Dial, connect: Connect) -> None:
    server = serving(add)

    @server.method
    def add_by_asking(a: int, b: int) -> Any:
        return client.query("add", [a, b])

    client = connect(server)
    assert ask(dial(server), "add_by_asking", [2, 3]) == 5


def test_requests_of_one_connection_run_at_once(serving: Serving, connect: Connect) -> None:
    meeting = threading.Barrier(8)

    def meet() -> int:
        return meeting.wait(HANG)

    client = connect(serving(meet))
    replies = [client.submit("meet") for _ in range(8)]
    assert sorted(reply.result(HANG) for reply in replies) == list(range(8))


def test_no_more_plain_methods_run_at_once_than_there_are_threads(serving: Serving, dial_raw: DialRaw) -> None:
    both, free = threading.Barrier(2), threading.Event()
    lock = threading.Lock()
    counts = {"running": 0, "peak": 0}

    def work() -> None:
        with lock:
            counts["running"] += 1
            counts["peak"] = max(counts["peak"], counts["running"])
        if not free.is_set():
            both.wait(HANG)
            free.set()
        with lock:
            counts["running"] -= 1

    raw = dial_raw(serving(work, threads=2))
    raw.send(b"".join(query("work", id=number) for number in range(20)))
    assert {raw.read()["id"] for _ in range(20)} == set(range(20))
    assert counts["peak"] == 2


def test_async_methods_run_concurrently(serving: Serving, connect: Connect) -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def one() -> str:
        first.set()
        await second.wait()
        return "one"

    async def other() -> str:
        await first.wait()
        second.set()
        return "other"

    client = connect(serving(one, other))
    replies = [client.submit("one"), client.submit("other")]
    assert [reply.result(HANG) for reply in replies] == ["one", "other"]


def test_async_methods_of_several_connections_share_one_loop(serving: Serving, dial: Dial) -> None:
    loops = []

    async def which() -> int:
        loops.append(asyncio.get_running_loop())
        return len(loops)

    server = serving(which)
    assert [ask(dial(server), "which") for _ in range(3)] == [1, 2, 3]
    assert loops[0] is loops[1] is loops[2]


def test_an_async_method_that_is_cancelled_by_itself_is_answered(serving: Serving, dial: Dial) -> None:
    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    ws = dial(serving(give_up, add_later))
    assert error_of(ws, "give_up")["data"] == {"type": "CancelledError"}
    assert ask(ws, "add_later", [2, 3]) == 5


def test_a_blocked_method_holds_up_no_other(serving: Serving, dial: Dial, gate: Gate) -> None:
    ws = dial(serving(gate, add, add_later, inline=(ping,)))
    send(ws, request("gate", ["held"], "held"))
    gate.begun.wait(1)
    assert (ask(ws, "add", [1]), ask(ws, "add_later", [1]), ask(ws, "ping")) == (11, 11, "pong")
    gate.open()
    assert receive(ws) == result("held", "held")


# Results


def test_numpy_results_are_sent(serving: Serving, dial: Dial) -> None:
    server = serving()
    table = np.arange(6).reshape(2, 3)
    for name, value in {
        "array": table,
        "slice": table[:, ::2],
        "scalar": np.float64(1.5),
        "integer": np.int32(7),
        "inside": {"rows": [table[0], np.bool_(True)]},
        "swapped": np.array([1, 2], dtype=">i4"),
    }.items():
        server.method(name)(lambda value=value: value)
    ws = dial(server)
    assert ask(ws, "array") == [[0, 1, 2], [3, 4, 5]]
    assert ask(ws, "slice") == [[0, 2], [3, 5]]
    assert ask(ws, "scalar") == 1.5
    assert ask(ws, "integer") == 7
    assert ask(ws, "inside") == {"rows": [[0, 1, 2], True]}
    assert ask(ws, "swapped") == [1, 2]


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, None),
        (False, False),
        (0, 0),
        ("", ""),
        ([], []),
        ({}, {}),
        (2**63, 2**63),
        (-(2**63), -(2**63)),
        ("\N{SNOWMAN}\0\U0001f600", "\N{SNOWMAN}\0\U0001f600"),
        ((1, [2, {"a": None}]), [1, [2, {"a": None}]]),
        (Point(1, 2), {"x": 1, "y": 2}),
        ("x" * 3_000_000, "x" * 3_000_000),
    ],
)
def test_results_of_all_kinds_are_sent(serving: Serving, dial: Dial, value: Any, seen: Any) -> None:
    def give() -> Any:
        return value

    assert ask(dial(serving(give)), "give") == seen


@pytest.mark.parametrize("kind", ["plain", "inline", "async"])
@pytest.mark.parametrize(
    "value", [{1, 2}, object(), float("nan"), 2**64, {"deep": [{1: 2}]}, b"bytes", "\ud800"], ids=repr
)
def test_a_result_that_cannot_be_encoded_is_32603(serving: Serving, dial: Dial, kind: str, value: Any) -> None:
    def give() -> Any:
        return value

    async def give_later() -> Any:
        return value

    server = serving(add)
    if kind == "async":
        server.method("give")(give_later)
    else:
        server.method("give", inline=kind == "inline")(give)
    ws = dial(server)
    error = error_of(ws, "give")
    assert error["code"] == -32603
    assert error["message"].startswith("Internal error")
    assert ask(ws, "add", [1]) == 11


def test_a_result_that_contains_itself_is_32603(serving: Serving, dial: Dial) -> None:
    def ring() -> Any:
        items: list[Any] = []
        items.append(items)
        return items

    assert error_of(dial(serving(ring)), "ring")["code"] == -32603


def test_error_data_that_cannot_be_encoded_is_32603(serving: Serving, dial: Dial) -> None:
    def refuse() -> None:
        raise RemoteError("no", code=1, message="no", data=object())

    assert error_of(dial(serving(refuse)), "refuse")["code"] == -32603


@pytest.mark.parametrize("id", [0, 1, -7, 2**53, 1.5, "", "text", "7", "\N{SNOWMAN}", None])
def test_ids_come_back_as_they_were(serving: Serving, dial: Dial, id: Any) -> None:
    answer = exchange(dial(serving(add)), request("add", [1], id))
    assert answer == result(11, id)
    assert type(answer["id"]) is type(id)


# The JSON-RPC 2.0 specification's examples


def subtract(minuend: int, subtrahend: int) -> int:
    return minuend - subtrahend


def sum_(*numbers: int) -> int:
    return sum(numbers)


def get_data() -> list[Any]:
    return ["hello", 5]


def take_anything(*params: Any) -> str:
    return "nobody wants to know"


NOTHING = ""

#: https://www.jsonrpc.org/specification, section 7, what is sent and what comes back, by their names there.
SPECIFICATION = {
    "rpc call with positional parameters, 1": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    "rpc call with positional parameters, 2": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    "rpc call with named parameters, 3": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    "rpc call with named parameters, 4": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    "a notification, update": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', NOTHING),
    "a notification, foobar": ('{"jsonrpc": "2.0", "method": "foobar"}', NOTHING),
    "rpc call of non-existent method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    "rpc call with invalid JSON": (
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "rpc call with invalid Request object": (
        '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "rpc call Batch, invalid JSON": (
        '[\n  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},\n  {"jsonrpc": "2.0", "method"\n]',
        '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
    ),
    "rpc call with an empty Array": (
        "[]",
        '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
    ),
    "rpc call with an invalid Batch (but not empty)": (
        "[1]",
        '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]',
    ),
    "rpc call with invalid Batch": (
        "[1,2,3]",
        """[
          {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
          {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
          {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}
        ]""",
    ),
    "rpc call Batch": (
        """[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
            {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
            {"foo": "boo"},
            {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
            {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        """[
            {"jsonrpc": "2.0", "result": 7, "id": "1"},
            {"jsonrpc": "2.0", "result": 19, "id": "2"},
            {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
            {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
            {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
        ]""",
    ),
    "rpc call Batch (all notifications)": (
        """[
            {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        NOTHING,
    ),
}


def as_specified(answer: Any) -> Any:
    """An answer without what we add to the specification's text of an error, and batches in an order of their own."""
    if isinstance(answer, list):
        return sorted(map(as_specified, answer), key=json.dumps)
    if "error" in answer:
        code, message = answer["error"]["code"], answer["error"]["message"]
        answer = {**answer, "error": {"code": code, "message": message.partition(":")[0]}}
    return dict(sorted(answer.items()))


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("example", SPECIFICATION)
def test_the_specifications_examples_hold(serving: Serving, dial: Dial, example: str, inline: bool) -> None:
    sent, expected = SPECIFICATION[example]
    server = serving(threads=1)  # so that an answer to a notification would come before the one asked for then
    for name, function in {
        "subtract": subtract,
        "sum": sum_,
        "get_data": get_data,
        "update": take_anything,
        "notify_hello": take_anything,
        "notify_sum": take_anything,
    }.items():
        server.method(name, inline=inline)(function)
    ws = dial(server)
    send(ws, sent)
    if expected is not NOTHING:
        assert as_specified(receive(ws)) == as_specified(json.loads(expected))
    assert ask(ws, "get_data") == ["hello", 5]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "hello",
        "nan",
        '{"a": 1}}',
        '"\\ud800"',
        "[" * 5000,
        "\N{BYTE ORDER MARK}{}",
        '{"jsonrpc": "2.0",}',
    ],
)
def test_text_that_is_no_json_is_32700(serving: Serving, dial: Dial, text: str) -> None:
    ws = dial(serving(add))
    answer = exchange(ws, text)
    assert (answer["error"]["code"], answer["id"]) == (-32700, None)
    assert ask(ws, "add", [1]) == 11


@pytest.mark.parametrize(
    ("message", "id"),
    [
        (1, None),
        ("null", None),
        ('"text"', None),
        ({}, None),
        ({"id": 7}, 7),
        ({"method": "add", "params": [1], "id": 7}, 7),
        ({"jsonrpc": "1.0", "method": "add", "params": [1], "id": 7}, 7),
        ({"jsonrpc": 2.0, "method": "add", "params": [1], "id": 7}, 7),
        ({"jsonrpc": "2.0", "id": 7}, 7),
        ({"jsonrpc": "2.0", "method": None, "id": 7}, 7),
        ({"jsonrpc": "2.0", "method": "add", "params": "text", "id": 7}, 7),
        ({"jsonrpc": "2.0", "method": "add", "params": None, "id": 7}, 7),
        ({"jsonrpc": "2.0", "method": "add", "params": [1], "id": [7]}, None),
        ({"jsonrpc": "2.0", "method": "add", "params": [1], "id": {}}, None),
        ({"jsonrpc": "2.0", "method": "add", "params": [1], "id": True}, None),
    ],
)
def test_what_is_no_request_is_32600(serving: Serving, dial: Dial, message: Any, id: Any) -> None:
    ws = dial(serving(add))
    answer = exchange(ws, message)
    assert (answer["error"]["code"], answer["id"]) == (-32600, id)
    assert ask(ws, "add", [1]) == 11


def test_responses_from_a_client_are_not_answered(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(inline=(ping,)))
    send(ws, {"jsonrpc": "2.0", "result": 1, "id": 1})
    send(ws, {"jsonrpc": "2.0", "error": {"code": 1, "message": "no"}, "id": 1})
    send(ws, [{"jsonrpc": "2.0", "result": 1, "id": 1}])
    assert ask(ws, "ping") == "pong"


def test_requests_in_binary_messages_are_answered_in_text(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(add))
    ws.send(json.dumps(request("add", [1])).encode())
    answer = ws.recv(HANG)
    assert isinstance(answer, str)
    assert json.loads(answer) == result(11)
    ws.send(b"\xff\xfe")
    assert receive(ws)["error"]["code"] == -32700


@pytest.mark.parametrize("kind", ["plain", "inline", "async"])
@pytest.mark.parametrize("fails", [False, True])
def test_notifications_are_performed_and_not_answered(serving: Serving, dial: Dial, kind: str, fails: bool) -> None:
    seen = Recorder()

    def note(value: Any) -> Any:
        seen(value)
        return 1 / 0 if fails else value

    async def note_later(value: Any) -> Any:
        return note(value)

    server = serving(threads=1)
    server.method("note", inline=kind == "inline")(note_later if kind == "async" else note)
    server.method("last", inline=kind == "inline")(where_async if kind == "async" else where)
    ws = dial(server)
    send(ws, notification("note", ["once"]))
    send(ws, notification("note", ["misfit", 1]))
    send(ws, notification("no_such_method"))
    seen.wait_for("once")
    ask(ws, "last")  # the first thing that comes is its answer
    assert seen.items == ["once"]


def test_a_batch_of_all_kinds_has_one_answer(serving: Serving, dial: Dial) -> None:
    noted = Recorder()

    def note(value: Any) -> None:
        noted(value)

    def unencodable() -> Any:
        return object()

    def leave() -> None:
        raise SystemExit("leaving")

    ws = dial(serving(add, add_later, note, unencodable, leave, inline=(ping,)))
    answers = exchange(
        ws,
        [
            request("add", [1, 1], 1),
            request("add_later", [1, 2], 2),
            request("ping", None, 3),
            notification("note", ["noted"]),
            request("unencodable", None, 4),
            request("leave", None, 5),
            request("no_such", None, 6),
            request("add", [], 7),
            {"jsonrpc": "2.0", "result": 1, "id": 8},
            "no request",
            [request("ping")],
            request("rpc.on", ["ticks"], 9),
        ],
    )
    assert isinstance(answers, list)
    results = {answer["id"]: answer["result"] for answer in answers if "result" in answer}
    codes = sorted((str(answer["id"]), answer["error"]["code"]) for answer in answers if "error" in answer)
    assert results == {1: 2, 2: 3, 3: "pong", 9: True}
    assert codes == [
        ("4", -32603),
        ("5", -32000),
        ("6", -32601),
        ("7", -32602),
        ("None", -32600),
        ("None", -32600),
    ]
    noted.wait_for("noted")
    assert ask(ws, "ping") == "pong"


def test_a_batch_is_answered_when_its_last_method_has_ended(serving: Serving, dial: Dial, gate: Gate) -> None:
    ws = dial(serving(gate, inline=(ping,)))
    send(ws, [request("ping", None, 1), request("gate", ["held"], 2)])
    gate.begun.wait(1)
    assert ask(ws, "ping") == "pong"
    gate.open()
    assert sorted(answer["id"] for answer in receive(ws)) == [1, 2]


def test_a_large_batch_is_answered_whole(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(add, add_later, inline=(ping,)))
    batch = [request(("add", "add_later")[number % 2], [number, 1], number) for number in range(3000)]
    answers = exchange(ws, batch)
    assert {answer["id"]: answer["result"] for answer in answers} == {number: number + 1 for number in range(3000)}
    assert ask(ws, "ping") == "pong"


def test_equal_ids_in_one_batch_are_all_answered(serving: Serving, dial: Dial) -> None:
    answers = exchange(dial(serving(add)), [request("add", [number], "same") for number in range(5)])
    assert sorted(answer["result"] for answer in answers) == [10, 11, 12, 13, 14]


# Topics


@pytest.mark.parametrize(
    ("value", "params"),
    [
        (1, [1]),
        (1.5, [1.5]),
        ("text", ["text"]),
        (True, [True]),
        (None, [None]),
        ([], []),
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        ({}, {}),
        ({"price": 1.0}, {"price": 1.0}),
        (Point(1, 2), {"x": 1, "y": 2}),
        (np.arange(3), [0, 1, 2]),
        (np.float64(1.5), [1.5]),
    ],
)
def test_an_event_is_a_notification(serving: Serving, dial: Dial, value: Any, params: Any) -> None:
    server = serving()
    ws = dial(server)
    assert ask(ws, "rpc.on", ["ticks"]) is True
    assert server.publish("ticks", value) == 1
    assert receive(ws) == {"jsonrpc": "2.0", "method": "ticks", "params": params}


@pytest.mark.parametrize("value", [1, "text", True, None, 1.5, [], [1, 2], [[1]], {}, {"price": 1.0}])
def test_our_client_gets_what_was_published(serving: Serving, connect: Connect, value: Any) -> None:
    server = serving()
    client = connect(server)
    with client.subscribe("ticks") as ticks:
        assert server.publish("ticks", value) == 1
        assert ticks.get(HANG) == value


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan")])
def test_what_cannot_be_published_raises_and_reaches_nobody(serving: Serving, dial: Dial, value: Any) -> None:
    server = serving()
    ws = dial(server)
    ask(ws, "rpc.on", ["ticks"])
    with pytest.raises(wsrpc.EncodeError):
        server.publish("ticks", value)
    assert server.publish("ticks", "fine") == 1
    assert receive(ws)["params"] == ["fine"]


def test_events_go_to_those_who_subscribed(serving: Serving, dial: Dial) -> None:
    server = serving()
    one, both, none = dial(server), dial(server), dial(server)
    ask(one, "rpc.on", ["a"])
    ask(both, "rpc.on", ["a", "b"])
    assert [server.publish(topic, topic) for topic in "abc"] == [2, 1, 0]
    assert receive(one)["method"] == "a"
    assert [receive(both)["method"], receive(both)["method"]] == ["a", "b"]
    assert ask(both, "rpc.off", ["a"]) is True
    assert [server.publish(topic, topic) for topic in "ab"] == [1, 1]
    assert receive(one)["method"] == "a"
    assert receive(both)["method"] == "b"
    assert error_of(none, "no_such")["code"] == -32601  # nothing came before


def test_subscribing_twice_is_as_once(serving: Serving, dial: Dial) -> None:
    server = serving()
    ws = dial(server)
    ask(ws, "rpc.on", ["a", "a"])
    ask(ws, "rpc.on", ["a"])
    assert server.publish("a", 1) == 1
    assert receive(ws)["params"] == [1]
    assert ask(ws, "rpc.off", ["a", "never subscribed"]) is True
    assert ask(ws, "rpc.off", ["a"]) is True
    assert server.publish("a", 2) == 0


@pytest.mark.parametrize("method", ["rpc.on", "rpc.off"])
@pytest.mark.parametrize("params", [None, [], {}, {"topic": "a"}, [1], ["a", None], [["a"]]])
def test_bad_topics_are_32602_and_change_nothing(serving: Serving, dial: Dial, method: str, params: Any) -> None:
    server = serving()
    ws = dial(server)
    ask(ws, "rpc.on", ["b"])
    error = error_of(ws, method, params)
    assert error["code"] == -32602
    assert method in error["message"]
    assert [server.publish(topic, topic) for topic in "ab"] == [0, 1]


def test_subscribing_by_notification_works_and_is_not_answered(serving: Serving, dial: Dial) -> None:
    server = serving(inline=(ping,))
    ws = dial(server)
    send(ws, notification("rpc.on", ["a"]))
    send(ws, notification("rpc.on", [7]))
    assert ask(ws, "ping") == "pong"
    assert server.publish("a", 1) == 1
    assert receive(ws)["method"] == "a"


def test_an_event_published_by_a_method_comes_before_its_answer(serving: Serving, dial: Dial) -> None:
    server = serving(add)

    def announce() -> int:
        return server.publish("a", "first")

    async def announce_later() -> int:
        return server.publish("a", "first")

    server.method(announce)
    server.method(announce_later)
    server.method("announce_inline", inline=True)(announce)
    ws = dial(server)
    ask(ws, "rpc.on", ["a"])
    for name in ("announce", "announce_later", "announce_inline"):
        send(ws, request(name))
        assert receive(ws)["params"] == ["first"]
        assert receive(ws) == result(1)


def test_many_threads_publish_at_once_each_in_its_order(serving: Serving, dial: Dial) -> None:
    publishers, events = 8, 500
    server = serving()
    subscribers = [dial(server, max_queue=None) for _ in range(2)]
    for ws in subscribers:
        ask(ws, "rpc.on", ["a"])

    def publish(publisher: int) -> None:
        for event in range(events):
            assert server.publish("a", [publisher, event]) == 2

    def read(ws: ClientConnection) -> None:
        seen: dict[int, list[int]] = {publisher: [] for publisher in range(publishers)}
        for _ in range(publishers * events):
            publisher, event = receive(ws)["params"]
            seen[publisher].append(event)
        assert seen == {publisher: list(range(events)) for publisher in range(publishers)}

    publishing = [lambda publisher=publisher: publish(publisher) for publisher in range(publishers)]
    in_threads(*publishing, *(lambda ws=ws: read(ws) for ws in subscribers))


def test_a_subscriber_that_left_gets_nothing_and_disturbs_nobody(
    serving: Serving, dial: Dial, dial_raw: DialRaw, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving()
    stays, leaves, vanishes = dial(server), dial(server), dial_raw(server)
    for ws in (stays, leaves):
        ask(ws, "rpc.on", ["a"])
    vanishes.ask("rpc.on", ["a"])
    assert vanishes.read() == result(True)
    assert server.publish("a", "all") == 3
    leaves.close()
    vanishes.reset()
    published = ["all"]

    def one_is_left() -> bool:
        published.append(f"number {len(published)}")
        return server.publish("a", published[-1]) == 1

    eventually(one_is_left)
    assert [receive(stays)["params"] for _ in published] == [[event] for event in published]
    assert log_of(caplog) == []


def test_a_slow_subscriber_is_closed_with_1013_and_others_go_on(
    serving: Serving, dial: Dial, dial_raw: DialRaw
) -> None:
    server = serving(max_buffered_bytes=256 * KIB, close_timeout=HANG, ping_interval=None)
    quick = dial(server)
    slow = dial_raw(server, receive_bytes=4 * KIB)
    ask(quick, "rpc.on", ["a"])
    slow.ask("rpc.on", ["a"])
    assert slow.read() == result(True)
    filler = "x" * (256 * KIB)
    for number in range(64):  # far more than the operating system takes for the slow one
        server.publish("a", [number, filler])
        assert receive(quick)["params"][0] == number
    seen = []
    while True:
        opcode, payload = slow.read_frame()
        if opcode == CLOSE:
            break
        seen.append(json.loads(payload)["params"][0])
    assert seen == list(range(len(seen))), "an event is missing before the close frame"
    assert 0 < len(seen) < 64
    assert struct.unpack("!H", payload[:2])[0] == 1013
    slow.finish(1013)
    eventually(lambda: "connections=1" in repr(server))
    assert server.publish("a", "after") == 1
    assert receive(quick)["params"] == ["after"]


def test_a_subscriber_that_never_reads_is_dropped_after_close_timeout(
    serving: Serving, dial_raw: DialRaw, dial: Dial
) -> None:
    server = serving(max_buffered_bytes=64 * KIB, close_timeout=0.2, ping_interval=None)
    slow = dial_raw(server, receive_bytes=4 * KIB)
    slow.ask("rpc.on", ["a"])
    assert slow.read() == result(True)
    filler = "x" * (256 * KIB)
    eventually(lambda: server.publish("a", filler) == 0)


# The Reflect dialect


def test_a_reflect_server_serves_a_template(serving: Serving, dial: Dial, connect: Connect) -> None:
    dialect = Reflect(
        id="d.requestId",
        request={"op": 6, "d": {"requestType": METHOD, "requestData": PARAMS}},
        result="d.responseData",
        error="d.error",
    )
    server = serving(add, add_later, inline=(ping,), dialect=dialect)
    ws = dial(server)
    asked = {"op": 6, "d": {"requestType": "add", "requestData": {"a": 2, "b": 3}, "requestId": 7}}
    assert exchange(ws, asked) == {"d": {"responseData": 5, "requestId": 7}}
    assert exchange(ws, {"op": 6, "d": {"requestType": "ping", "requestId": 8}}) == {
        "d": {"responseData": "pong", "requestId": 8}
    }
    unknown = exchange(ws, {"op": 6, "d": {"requestType": "no_such", "requestId": 9}})
    assert (unknown["d"]["requestId"], unknown["d"]["error"]["code"]) == (9, -32601)
    client = connect(server, dialect=dialect)
    assert client.query("add", [2, 3]) == 5
    assert client.query("add_later", {"a": 2}) == 12
    with pytest.raises(RemoteError, match="no_such"):
        client.query("no_such")


def test_scalar_params_are_one_argument(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(echo, dialect=Reflect(id="id", result="result", error="error")))
    for value in (7, "text", False, 0, 1.5):
        assert exchange(ws, {"method": "echo", "params": value, "id": 1}) == {"result": value, "id": 1}
    for params in (None, []):
        assert exchange(ws, {"method": "echo", "params": params, "id": 1})["error"]["code"] == -32602
    assert exchange(ws, {"method": "echo", "params": [[7]], "id": 1}) == {"result": [7], "id": 1}
    assert exchange(ws, {"method": "echo", "params": {"value": 7}, "id": 1}) == {"result": 7, "id": 1}


def test_a_reflect_server_speaks_in_arrays(serving: Serving, dial: Dial, connect: Connect) -> None:
    dialect = Reflect(id=1, request=[2, wsrpc.ID, METHOD, PARAMS], result=2, error=3)
    server = serving(add, dialect=dialect)
    ws = dial(server)
    answer = exchange(ws, [2, 7, "add", [2, 3]])
    assert (answer[1], answer[2]) == (7, 5)
    failed = exchange(ws, [2, 8, "no_such", []])
    assert (failed[1], failed[3]["code"]) == (8, -32601)
    client = connect(server, dialect=dialect)
    assert client.query("add", [2, 3]) == 5
    with pytest.raises(RemoteError) as raised:
        client.query("no_such", [])
    assert raised.value.code == -32601


def test_without_a_place_for_results_they_are_merged_with_the_id(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(echo, dialect=Reflect(id="req")))
    for value, answer in (
        ({"users": ["a"]}, {"users": ["a"], "req": 7}),
        ({}, {"req": 7}),
        ({"req": "not the id"}, {"req": 7}),
        ([1, 2], {"result": [1, 2], "req": 7}),
        ("text", {"result": "text", "req": 7}),
        (None, {"result": None, "req": 7}),
    ):
        assert exchange(ws, {"method": "echo", "params": {"value": value}, "req": 7}) == answer


def test_merging_does_not_change_the_methods_own_result(serving: Serving, dial: Dial) -> None:
    kept = {"users": ["a"]}

    def users() -> dict[str, Any]:
        return kept

    ws = dial(serving(users, dialect=Reflect(id="req")))
    for number in (1, 2):
        assert exchange(ws, {"method": "users", "req": number}) == {"users": ["a"], "req": number}
    assert kept == {"users": ["a"]}


def test_a_result_that_leaves_no_place_for_the_id_is_answered_with_an_error(serving: Serving, dial: Dial) -> None:
    def header() -> Any:
        return {"header": 1}

    ws = dial(serving(header, echo, dialect=Reflect(id="id", echo="header.id", error="error")))
    answer = exchange(ws, {"method": "header", "id": 7})
    assert (answer["header"]["id"], answer["error"]["code"]) == (7, -32603)


def test_reflect_errors_carry_code_message_and_data(serving: Serving, dial: Dial) -> None:
    def refuse() -> None:
        raise RemoteError("no", code=403, message="not allowed", data=[1])

    ws = dial(serving(refuse, echo, dialect=Reflect(id="id", error="status.error")))
    answer = exchange(ws, {"method": "refuse", "id": 7})
    assert answer == {"id": 7, "status": {"error": {"code": 403, "message": "not allowed", "data": [1]}}}
    for message in ({"id": 7}, {"method": 1, "id": 7}, {"method": None, "id": 7}):
        answer = exchange(ws, message)
        assert (answer["id"], answer["status"]["error"]["code"]) == (7, -32600)
    assert exchange(ws, "no JSON")["status"]["error"]["code"] == -32700
    for message in (7, [], ["echo"], "null"):
        assert exchange(ws, message)["status"]["error"]["code"] == -32600
    assert exchange(ws, {"method": "echo", "params": [{"a": 1}], "id": 8}) == {"a": 1, "id": 8}


def test_reflect_requests_without_an_id_are_notifications(serving: Serving, dial: Dial) -> None:
    seen = Recorder()
    server = serving(echo, dialect=Reflect(id="id"), threads=1)
    server.method("note")(seen)
    ws = dial(server)
    send(ws, {"method": "note", "params": ["noted"]})
    assert exchange(ws, {"method": "echo", "params": [{}], "id": 1}) == {"id": 1}
    assert seen.items == ["noted"]


def test_without_a_way_to_subscribe_events_go_to_all(serving: Serving, dial: Dial, connect: Connect) -> None:
    dialect = Reflect(id="id", topic="channel", event="data")
    server = serving(dialect=dialect)
    assert server.publish("ticks", 0) == 0
    sockets = [dial(server), dial(server)]
    client = connect(server, dialect=dialect)
    with client.subscribe("ticks") as ticks:
        client.wait_open(HANG)
        eventually(lambda: "connections=3" in repr(server))
        assert server.publish("ticks", 1.5) == 3
        for ws in sockets:
            assert receive(ws) == {"channel": "ticks", "data": 1.5}
        assert ticks.get(HANG) == 1.5


def test_with_a_way_to_subscribe_events_go_to_subscribers(serving: Serving, dial: Dial, connect: Connect) -> None:
    dialect = Reflect(
        id="id", result="result", error="error", topic="channel", subscribe="sub.scribe", unsubscribe="unsub"
    )
    server = serving(inline=(ping,), dialect=dialect)
    ws, other = dial(server), dial(server)
    assert exchange(ws, {"method": "sub.scribe", "params": ["a", "b"], "id": 1}) == {"result": True, "id": 1}
    assert [server.publish("a", {"price": 1}), server.publish("b", 2), server.publish("c", 3)] == [1, 1, 0]
    assert receive(ws) == {"channel": "a", "price": 1}
    assert receive(ws)["channel"] == "b"
    assert exchange(ws, {"method": "unsub", "params": ["a"], "id": 2}) == {"result": True, "id": 2}
    assert exchange(ws, {"method": "unsub", "params": [], "id": 3})["error"]["code"] == -32602
    assert server.publish("a", 4) == 0
    assert exchange(other, {"method": "ping", "id": 4}) == {"result": "pong", "id": 4}
    client = connect(server, dialect=dialect)
    with client.subscribe("a") as events:
        assert server.publish("a", {"price": 5}) == 1
        assert events.get(HANG)["price"] == 5


# Bounds


@pytest.mark.parametrize("tls", [False, True])
def test_no_more_requests_are_taken_than_max_requests(
    serving: Serving, dial_raw: DialRaw, dial: Dial, gate: Gate, authority: Authority, tls: bool
) -> None:
    server = serving(gate, inline=(ping,), max_requests=4, ssl=authority.server if tls else None)
    other = dial(server, ssl=authority.client) if tls else dial(server)
    raw = dial_raw(server, tls=authority.client if tls else None)
    raw.send(b"".join(query("gate", [number], number) for number in range(20)) + query("ping", id="ping"))
    gate.begun.wait(4)
    for _ in range(3):  # the loop comes round
        assert ask(other, "ping") == "pong"
    assert len(gate.begun.items) == 4
    gate.open()
    answers = [raw.read() for _ in range(21)]
    assert sorted(map(str, (answer["id"] for answer in answers))) == sorted([*map(str, range(20)), "ping"])
    assert gate.peak <= 4


def test_requests_past_max_requests_stay_unread(serving: Serving, dial_raw: DialRaw, dial: Dial, gate: Gate) -> None:
    server = serving(gate, echo, inline=(ping,), max_requests=2, ping_interval=None)
    raw, other = dial_raw(server), dial(server)
    raw.send(query("gate", [0], 0) + query("gate", [1], 1))
    gate.begun.wait(2)
    filler = query("echo", ["x" * (1024 * KIB)], "filler")
    total, sent = 32 * len(filler), 0
    data = memoryview(filler * 32)
    while sent < total and select.select([], [raw.sock], [], 0.5)[1]:
        sent += raw.sock.send(data[sent : sent + 65536])
    assert sent < total, "the server read on"
    assert ask(other, "ping") == "pong"
    gate.open()
    ended = threading.Thread(target=raw.send, args=(bytes(data[sent:]),), daemon=True)
    ended.start()
    assert sorted(str(raw.read()["id"]) for _ in range(34)) == ["0", "1", *["filler"] * 32]
    join(ended)


@pytest.mark.parametrize("method", ["add", "add_later", "ping_with"])
def test_one_request_at_a_time_is_enough(serving: Serving, dial_raw: DialRaw, method: str) -> None:
    server = serving(add, add_later, max_requests=1)
    server.method("ping_with", inline=True)(add)
    raw = dial_raw(server)
    raw.send(b"".join(query(method, [number], number) for number in range(300)))
    assert [raw.read() for _ in range(300)] == [result(number + 10, number) for number in range(300)]


def test_notifications_count_as_requests(serving: Serving, dial_raw: DialRaw, dial: Dial, gate: Gate) -> None:
    server = serving(gate, inline=(ping,), max_requests=3)
    raw, other = dial_raw(server), dial(server)
    text = json.dumps(notification("gate", ["noted"])).encode()
    raw.send(frame(TEXT, text, masked=True) * 10 + query("ping"))
    gate.begun.wait(3)
    assert ask(other, "ping") == "pong"
    assert len(gate.begun.items) == 3
    gate.open()
    assert raw.read() == result("pong")
    gate.ended.wait(10)


@pytest.mark.parametrize("method", ["echo", "echo_inline"])
def test_a_client_that_does_not_read_its_answers_is_not_read(
    serving: Serving, dial_raw: DialRaw, dial: Dial, method: str
) -> None:
    server = serving(echo, inline=(ping,), max_buffered_bytes=256 * KIB, ping_interval=None)
    server.method("echo_inline", inline=True)(echo)
    raw, other = dial_raw(server, receive_bytes=4 * KIB), dial(server)
    one = query(method, ["x" * (512 * KIB)])
    data, sent = memoryview(one * 100), 0
    while sent < len(data) and select.select([], [raw.sock], [], 0.5)[1]:
        sent += raw.sock.send(data[sent : sent + 65536])
    assert sent < len(data), "the server read on"
    assert ask(other, "ping") == "pong"
    ended = threading.Thread(target=raw.send, args=(bytes(data[sent:]),), daemon=True)
    ended.start()
    for _ in range(100):
        assert len(raw.read()["result"]) == 512 * KIB
    join(ended)


def test_connections_past_max_connections_are_refused_with_503(serving: Serving, dial: Dial) -> None:
    server = serving(inline=(ping,), max_connections=2)
    first, second = dial(server), dial(server)
    for _ in range(3):
        with pytest.raises(InvalidStatus) as raised:
            dial(server)
        assert raised.value.response.status_code == 503
        assert b"2 connections" in raised.value.response.body
    assert (ask(first, "ping"), ask(second, "ping")) == ("pong", "pong")
    first.close()
    third = []

    def there_is_room() -> bool:
        with contextlib.suppress(InvalidStatus):
            third.append(dial(server))
        return bool(third)

    eventually(there_is_room)
    assert ask(third[0], "ping") == "pong"


def test_refused_handshakes_give_their_place_back(serving: Serving, dial: Dial, dial_raw: DialRaw) -> None:
    server = serving(inline=(ping,), max_connections=1)
    for _ in range(5):
        raw = dial_raw(server, opened=False)
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 426 " in raw.read_until_end()
        dial_raw(server, opened=False).reset()
    admitted = []

    def there_is_room() -> bool:
        with contextlib.suppress(InvalidStatus):
            admitted.append(dial(server))
        return bool(admitted)

    eventually(there_is_room)
    assert ask(admitted[0], "ping") == "pong"


# The opening handshake


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_says_nothing_is_dropped(
    serving: Serving, dial_raw: DialRaw, authority: Authority, tls: bool
) -> None:
    server = serving(open_timeout=0.2, ssl=authority.server if tls else None)
    assert dial_raw(server, opened=False).read_until_end() == b""


def test_a_client_that_sends_byte_after_byte_is_dropped(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(open_timeout=0.3), opened=False)
    end = time.monotonic() + HANG
    with contextlib.suppress(ConnectionError):
        for byte in itertools.chain(REQUEST, itertools.repeat(ord("x"))):
            raw.send(bytes([byte]))
            if select.select([raw.sock], [], [], 0.02)[0]:
                break
            assert time.monotonic() < end, "it still listens"
    assert raw.read_until_end() == b""


def test_a_slow_handshake_holds_up_no_other(serving: Serving, dial: Dial, dial_raw: DialRaw) -> None:
    server = serving(inline=(ping,))
    raw = dial_raw(server, opened=False)
    raw.send(REQUEST)
    assert ask(dial(server), "ping") == "pong"
    raw.send(b"\r\n")
    raw.read_opening()


@pytest.mark.parametrize("size", [64 * KIB + 1, 200 * KIB, 2000 * KIB])
def test_a_handshake_over_64_kib_is_refused_with_431(serving: Serving, dial_raw: DialRaw, size: int) -> None:
    raw = dial_raw(serving(), opened=False)
    head = REQUEST + b"X-Long: "
    with contextlib.suppress(ConnectionError):
        raw.send(head + b"x" * (size - len(head) - 4) + b"\r\n\r\n")
    assert raw.read_until_end().startswith(b"HTTP/1.1 431 ")


def test_a_handshake_of_64_kib_is_taken(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(), opened=False)
    raw.send(REQUEST + b"".join(b"X-Long-%d: %s\r\n" % (number, b"x" * 1000) for number in range(60)) + b"\r\n")
    raw.read_opening()


def test_a_handshake_may_come_in_pieces_and_with_frames_behind_it(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(add), opened=False)
    data = REQUEST + b"\r\n" + query("add", [1], 1) + query("add", [2], 2)
    for start in range(0, len(data), 7):
        raw.send(data[start : start + 7])
    raw.read_opening()
    assert sorted(raw.read()["result"] for _ in range(2)) == [11, 12]
    raw = dial_raw(serving(add), opened=False)
    raw.send(data)
    raw.read_opening()
    assert sorted(raw.read()["result"] for _ in range(2)) == [11, 12]


def test_a_browsers_page_request_is_answered_readably(serving: Serving) -> None:
    server = serving()
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=HANG)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    assert response.status == 426
    assert response.getheader("upgrade") == "websocket"
    assert (response.getheader("content-type") or "").startswith("text/plain")
    assert "WebSocket" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_http_methods_are_refused_readably(serving: Serving, method: str) -> None:
    server = serving()
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=HANG)
    try:
        connection.request(method, "/rpc", body=json.dumps(request("add", [1])))
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    assert 400 <= response.status < 500
    assert "WebSocket" in body


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00\xff" * 50 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short") + b"\r\n",
        REQUEST.replace(b"GET", b"POST") + b"\r\n",
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
        REQUEST.replace(b"Host: server.example\r\n", b"") + b"\r\n",
        REQUEST.replace(b"Host:", b"Host :") + b"\r\n",
        REQUEST + b"no colon\r\n\r\n",
        REQUEST + b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=x\r\n\r\n",
    ],
)
def test_a_bad_handshake_is_refused_or_taken_and_the_server_goes_on(
    serving: Serving, dial: Dial, dial_raw: DialRaw, head: bytes
) -> None:
    server = serving(inline=(ping,))
    raw = dial_raw(server, opened=False)
    raw.send(head)
    answer = raw.read_head()
    if b"deflate" not in head:
        assert answer.startswith(b"HTTP/1.1 4"), answer
        raw.read_until_end()
    assert ask(dial(server), "ping") == "pong"


def test_another_version_of_the_protocol_is_told_ours(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(), opened=False)
    raw.send(REQUEST.replace(b"Version: 13", b"Version: 12") + b"\r\n")
    head = raw.read_head()  # RFC 6455, section 4.4
    assert head.startswith(b"HTTP/1.1 426 ")
    assert b"sec-websocket-version: 13" in head.lower()


@pytest.mark.parametrize("tls", [False, True])
def test_clients_that_are_gone_before_they_are_accepted_disturb_nobody(
    serving: Serving, dial: Dial, dial_raw: DialRaw, gate: Gate, authority: Authority, tls: bool
) -> None:
    server = serving(inline=(gate,), ssl=authority.server if tls else None)
    ws = dial(server, ssl=authority.client) if tls else dial(server)
    send(ws, request("gate", ["held"]))
    gate.begun.wait(1)  # the loop is held, nothing is accepted
    for _ in range(10):
        dial_raw(server, opened=False).reset()
        Raw(port_of(server), opened=False).sock.close()
    gate.open()
    assert receive(ws) == result("held")
    other = dial(server, ssl=authority.client) if tls else dial(server)
    assert ask(other, "gate", ["after"]) == "after"


@pytest.mark.parametrize(
    ("offered", "picked"),
    [(None, None), (["chat"], "chat"), (["other", "super.chat", "chat"], "super.chat"), (["other"], None)],
)
def test_a_subprotocol_is_picked(serving: Serving, dial: Dial, offered: Any, picked: str | None) -> None:
    ws = dial(serving(inline=(ping,), protocols=["chat", "super.chat"]), subprotocols=offered)
    assert ws.subprotocol == picked
    assert ask(ws, "ping") == "pong"


def test_no_extension_is_agreed_on(serving: Serving, dial: Dial) -> None:
    ws = dial(serving(echo), compression="deflate")
    assert "sec-websocket-extensions" not in ws.response.headers
    assert ask(ws, "echo", ["x" * 10_000]) == "x" * 10_000


# Breaking the rules


def test_a_message_over_the_limit_closes_with_1009(serving: Serving, dial: Dial) -> None:
    server = serving(echo, max_message_bytes=1000)
    ws = dial(server)
    text = json.dumps(request("echo", [""]))
    filler = "x" * (1000 - len(text))
    assert ask(dial(server), "echo", ["x"]) == "x"
    send(ws, json.dumps(request("echo", [filler])))
    assert receive(ws) == result(filler)
    send(ws, json.dumps(request("echo", [filler + "x"])))
    assert close_code(ws)[0] == 1009


def test_fragments_over_the_limit_close_with_1009(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(max_message_bytes=1000))
    raw.send(frame(TEXT, b"x" * 600, fin=False, masked=True) + frame(0, b"x" * 600, fin=False, masked=True))
    assert raw.read_close()[0] == 1009
    assert raw.read_until_end() == b""


def test_text_that_is_no_utf8_closes_with_1007(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving())
    raw.send(frame(TEXT, b'"\xff"', masked=True))
    assert raw.read_close()[0] == 1007
    assert raw.read_until_end() == b""


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"{}"),
        frame(PING, b""),
        frame(0x3, b"", masked=True),
        frame(0x0, b"", masked=True),
        frame(PING, b"", fin=False, masked=True),
        frame(PING, b"x" * 126, masked=True),
        frame(CLOSE, b"\x03", masked=True),
        frame(TEXT, b"{", fin=False, masked=True) + frame(TEXT, b"}", masked=True),
    ],
    ids=[
        "unmasked text",
        "unmasked ping",
        "reserved opcode",
        "continuation of nothing",
        "fragmented ping",
        "long ping",
        "half a close code",
        "text within text",
    ],
)
def test_broken_frames_close_with_1002(serving: Serving, dial: Dial, dial_raw: DialRaw, data: bytes) -> None:
    server = serving(inline=(ping,))
    raw = dial_raw(server)
    raw.send(data)
    assert raw.read_close()[0] == 1002
    assert raw.read_until_end() == b""
    assert ask(dial(server), "ping") == "pong"


def test_what_comes_after_a_broken_frame_is_not_performed(serving: Serving, dial: Dial, dial_raw: DialRaw) -> None:
    seen = Recorder()
    server = serving(inline=(ping,))
    server.method("note", inline=True)(seen)
    raw = dial_raw(server)
    raw.send(query("note", ["before"]) + frame(TEXT, b"{}") + query("note", ["after"]))
    assert raw.read_close()[0] == 1002
    raw.read_until_end()
    assert ask(dial(server), "ping") == "pong"
    assert seen.items == ["before"]


@pytest.mark.parametrize("payload", [b"", b"\x00\xff payload", b"x" * 125])
def test_a_ping_is_answered_with_its_payload(serving: Serving, dial_raw: DialRaw, payload: bytes) -> None:
    raw = dial_raw(serving())
    raw.send(frame(PING, payload, masked=True))
    assert raw.read_frame() == (PONG, payload)


def test_a_ping_between_fragments_is_answered(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(add))
    text = json.dumps(request("add", [1])).encode()
    raw.send(frame(TEXT, text[:9], fin=False, masked=True) + frame(PING, b"p", masked=True))
    assert raw.read_frame() == (PONG, b"p")
    raw.send(frame(0, text[9:], masked=True) + frame(PONG, b"unasked", masked=True))
    assert raw.read() == result(11)


def test_a_silent_client_is_pinged_and_dropped(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving(ping_interval=0.1, ping_timeout=0.1))
    opcode, payload = raw.read_frame()
    assert opcode == PING
    raw.send(frame(PONG, payload, masked=True))
    assert raw.read_frame()[0] == PING  # and no pong
    raw.read_until_end()


# Ends


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "leaving"), (3000, "ours"), (4999, "\N{SNOWMAN}")])
def test_the_client_closes(serving: Serving, dial_raw: DialRaw, code: int, reason: str) -> None:
    server = serving()
    raw = dial_raw(server)
    raw.send(masked_close(code, reason))
    assert raw.read_close()[0] == code
    raw.finish()  # the server ends the TCP connection first (RFC 6455, section 7.1.1)
    eventually(lambda: "connections=0" in repr(server))


def test_the_client_closes_without_a_code(serving: Serving, dial_raw: DialRaw) -> None:
    raw = dial_raw(serving())
    raw.send(frame(CLOSE, b"", masked=True))
    assert raw.read_close() == (None, "")
    assert raw.read_until_end() == b""


def test_the_server_closes_with_1001(serving: Serving, dial: Dial, dial_raw: DialRaw, connect: Connect) -> None:
    server = serving(inline=(ping,), close_timeout=HANG)
    sockets, raw, client = [dial(server) for _ in range(3)], dial_raw(server), connect(server)
    assert client.query("ping") == "pong"
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    code, reason = raw.read_close()
    assert (code, reason) == (GOING_AWAY, "the server shuts down")
    raw.finish(GOING_AWAY)
    for ws in sockets:
        assert close_code(ws)[0] == GOING_AWAY
    join(closing)
    assert "closed" in repr(server)
    assert "connections=0" in repr(server)


@pytest.mark.parametrize("how", ["hang up", "reset"])
def test_a_client_that_vanishes_while_its_method_runs_disturbs_nobody(
    serving: Serving, dial: Dial, dial_raw: DialRaw, gate: Gate, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    server = serving(gate, inline=(ping,))

    @server.method
    async def forever() -> None:
        await asyncio.Event().wait()

    ws, raw = dial(server), dial_raw(server)
    raw.send(query("gate", ["held"]) + query("gate", ["too"], 2) + query("forever", id=3))
    gate.begun.wait(2)
    if how == "reset":
        raw.reset()
    else:
        raw.sock.close()
    eventually(lambda: "connections=1" in repr(server))
    gate.open()
    gate.ended.wait(2)
    assert ask(ws, "gate", ["after"]) == "after"
    assert ask(ws, "ping") == "pong"
    assert log_of(caplog) == []


def test_close_does_not_wait_for_methods(serving: Serving, dial: Dial, gate: Gate) -> None:
    server = serving(gate)
    ws = dial(server)
    send(ws, request("gate", ["held"]))
    gate.begun.wait(1)
    in_threads(server.close)
    assert close_code(ws)[0] == GOING_AWAY
    assert gate.ended.items == []
    gate.open()
    eventually(lambda: not threads_named("wsrpc-method"))


def test_close_cancels_async_methods(serving: Serving, dial: Dial, caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = threading.Event(), Recorder()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended(type(sys.exc_info()[1]))

    server = serving(forever)
    ws = dial(server)
    send(ws, request("forever"))
    wait(begun)
    server.close()
    assert ended.items == [asyncio.CancelledError]
    assert threads_named("wsrpc-asyncio") == []
    assert close_code(ws)[0] == GOING_AWAY
    assert log_of(caplog) == []


def test_close_returns_though_an_async_method_will_not_be_cancelled(serving: Serving, dial: Dial) -> None:
    begun, free = threading.Event(), threading.Event()

    async def stubborn() -> None:
        begun.set()
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(POLL)

    server = serving(stubborn, close_timeout=0.2)
    send(dial(server), request("stubborn"))
    wait(begun)
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    closing.join(5)
    hangs = closing.is_alive()
    free.set()
    join(closing)
    eventually(lambda: not threads_named("wsrpc-asyncio"))
    assert not hangs, "close() waits for the method"


@pytest.mark.parametrize("method", ["gate", "gate_later"])
def test_what_was_not_begun_at_close_is_not_performed(
    serving: Serving, dial: Dial, dial_raw: DialRaw, gate: Gate, method: str
) -> None:
    async def gate_later(value: Any) -> None:
        gate.begun(value)
        await asyncio.Event().wait()

    server = serving(gate, gate_later, inline=(ping,), max_requests=2)
    raw, other = dial_raw(server), dial(server)
    raw.send(b"".join(query(method, [number], number) for number in range(10)))
    gate.begun.wait(2)
    assert ask(other, "ping") == "pong"
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    assert raw.read_close()[0] == GOING_AWAY
    raw.finish(GOING_AWAY)
    join(closing)
    gate.open()
    eventually(lambda: not threads_named("wsrpc-method"))
    assert sorted(gate.begun.items) == [0, 1]


def test_what_waited_for_a_thread_at_close_is_not_performed(serving: Serving, dial: Dial, gate: Gate) -> None:
    server = serving(gate, inline=(ping,), threads=1)
    ws = dial(server)
    for number in range(5):
        send(ws, request("gate", [number], number))
    assert ask(ws, "ping") == "pong"
    gate.begun.wait(1)
    server.close()
    gate.open()
    eventually(lambda: not threads_named("wsrpc-method"))
    assert gate.begun.items == [0]


def test_close_drops_clients_that_do_not_answer(serving: Serving, dial_raw: DialRaw) -> None:
    server = serving(close_timeout=0.2)
    raw = dial_raw(server)
    in_threads(server.close)
    assert raw.read_close()[0] == GOING_AWAY
    raw.read_until_end()


@pytest.mark.parametrize("sent", [b"", REQUEST])
def test_close_drops_clients_in_their_opening_handshake(serving: Serving, dial_raw: DialRaw, sent: bytes) -> None:
    server = serving(open_timeout=None, close_timeout=0.2)
    raw = dial_raw(server, opened=False)
    raw.send(sent)
    dial_raw(server)  # it was accepted later, so the first one is in its handshake
    in_threads(server.close)
    raw.sock.settimeout(5)
    raw.read_until_end()


def test_close_twice(serving: Serving, dial: Dial) -> None:
    server = serving(inline=(ping,))
    ask(dial(server), "ping")
    server.close()
    server.close()


def test_close_from_several_threads(serving: Serving, dial: Dial) -> None:
    server = serving(add, add_later)
    for _ in range(5):
        ws = dial(server)
        ask(ws, "add", [1])
        ask(ws, "add_later", [1])
    in_threads(*[server.close] * 8)
    assert "connections=0" in repr(server)
    eventually(lambda: not threads_named("wsrpc-method") and not threads_named("wsrpc-asyncio"))


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_close_from_a_method(serving: Serving, dial: Dial, kind: str) -> None:
    server, closed = serving(), threading.Event()

    def leave() -> None:
        server.close()
        closed.set()

    async def leave_later() -> None:
        leave()

    server.method("leave")(leave_later if kind == "async" else leave)
    ws = dial(server)
    send(ws, request("leave"))
    assert close_code(ws)[0] == GOING_AWAY
    wait(closed)
    eventually(lambda: not threads_named("wsrpc-method") and not threads_named("wsrpc-asyncio"))


def test_close_from_an_inline_method_is_refused(serving: Serving, dial: Dial) -> None:
    server = serving(inline=(ping,))
    server.method("leave", inline=True)(server.close)
    ws = dial(server)
    error = error_of(ws, "leave")
    assert (error["code"], error["data"]) == (-32000, {"type": "StateError"})
    assert ask(ws, "ping") == "pong"


def test_the_port_is_free_after_close() -> None:
    with Server("127.0.0.1", 0) as server:
        port = port_of(server)
    for _ in range(20):
        with Server("127.0.0.1", port) as server:
            assert port_of(server) == port
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), HANG):
            pass


def test_after_close_nothing_starts(serving: Serving) -> None:
    server = serving()
    server.close()
    with pytest.raises(wsrpc.StateError, match="closed"):
        server.start()
    with pytest.raises(wsrpc.StateError, match="closed"), server:
        pass
    assert server.publish("ticks", 1) == 0


def test_start_twice_is_refused_and_it_serves_on(serving: Serving, dial: Dial) -> None:
    server = serving(inline=(ping,))
    url = server.url
    with pytest.raises(wsrpc.StateError, match="runs already"):
        server.start()
    assert server.url == url
    assert ask(dial(server), "ping") == "pong"


def test_a_port_in_use_is_named(serving: Serving, dial: Dial) -> None:
    first = serving(inline=(ping,))
    second = Server("127.0.0.1", port_of(first))
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port_of(first)}"):
        second.start()
    with pytest.raises(wsrpc.StateError):
        _ = second.url
    assert ask(dial(first), "ping") == "pong"
    port = port_of(first)
    first.close()
    eventually(lambda: not is_listening(port))
    with second:
        assert port_of(second) == port


def is_listening(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), HANG):
        return True
    return False


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_a_host_that_is_not_this_machine_is_named(host: str) -> None:
    with pytest.raises(OSError, match=f"{host}:0"):
        Server(host, 0).start()


# Addresses


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_the_url_of_a_wildcard_host_can_be_connected_to(serving: Serving, dial: Dial, host: str) -> None:
    server = serving(inline=(ping,), host=host)
    assert server.url.startswith("ws://127.0.0.1:")
    assert ask(dial(server), "ping") == "pong"


def test_a_host_may_be_a_name(serving: Serving, connect: Connect) -> None:
    server = serving(inline=(ping,), host="localhost")
    assert server.url.startswith("ws://localhost:")
    assert connect(server).query("ping") == "pong"


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(serving: Serving, dial: Dial, connect: Connect, host: str) -> None:
    server = serving(inline=(ping,), host=host)
    assert server.url.startswith("ws://[::1]:")
    assert ask(dial(server), "ping") == "pong"
    assert connect(server).query("ping") == "pong"


# TLS


def test_tls(serving: Serving, dial: Dial, connect: Connect, authority: Authority) -> None:
    server = serving(add, add_later, echo, inline=(ping,), ssl=authority.server)
    assert server.url.startswith("wss://127.0.0.1:")
    ws = dial(server, ssl=authority.client)
    assert (ask(ws, "ping"), ask(ws, "add", [1]), ask(ws, "add_later", [1])) == ("pong", 11, 11)
    assert ask(ws, "echo", ["x" * 3_000_000]) == "x" * 3_000_000
    client = connect(server, ssl=authority.client)
    with client.subscribe("ticks") as ticks:
        assert server.publish("ticks", "y" * 3_000_000) == 1
        assert ticks.get(HANG) == "y" * 3_000_000
    server.close()
    assert close_code(ws)[0] == GOING_AWAY


def test_what_is_no_tls_is_dropped(serving: Serving, dial: Dial, dial_raw: DialRaw, authority: Authority) -> None:
    server = serving(inline=(ping,), ssl=authority.server)
    raw = dial_raw(server, opened=False)
    raw.send(REQUEST + b"\r\n")
    assert b"101" not in raw.read_until_end()
    assert ask(dial(server, ssl=authority.client), "ping") == "pong"


def test_a_client_that_does_not_trust_the_certificate_disturbs_nobody(
    serving: Serving, dial: Dial, dial_raw: DialRaw, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serving(inline=(ping,), ssl=authority.server)
    with socket.create_connection(("127.0.0.1", port_of(server)), HANG) as sock, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
    assert ask(dial(server, ssl=authority.client), "ping") == "pong"
    assert log_of(caplog) == []


# Serving for ever


@pytest.mark.parametrize("started", [False, True])
def test_serve_forever_ends_by_close(started: bool) -> None:
    server, begun = Server("127.0.0.1", 0), threading.Event()
    server.method("ping", inline=True)(ping)
    if started:
        server.start()

    def serve() -> None:
        begun.set()
        server.serve_forever()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    wait(begun)
    eventually(lambda: "serving" in repr(server))
    with Client(server.url) as client:
        assert client.query("ping") == "pong"
    assert serving.is_alive()
    server.close()
    join(serving)


def test_serve_forever_ends_by_a_method_that_closes() -> None:
    server = Server("127.0.0.1", 0)
    server.method("leave")(server.close)
    server.start()
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    raw = Raw(port_of(server))
    try:
        raw.ask("leave")
        assert raw.read_close()[0] == GOING_AWAY
    finally:
        raw.sock.close()
    join(serving)


FOREVER = """
    import asyncio, threading
    import wsrpc

    server = wsrpc.Server("127.0.0.1", 0)

    @server.method
    def block():
        threading.Event().wait()

    @server.method
    async def forever():
        await asyncio.Event().wait()

    server.start()
    print(server.url, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print(server, flush=True)
        raise
"""


@pytest.mark.parametrize("busy", [False, True])
def test_serve_forever_ends_by_ctrl_c(busy: bool) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FOREVER)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )
    try:
        assert child.stdout is not None
        raw = Raw(int(child.stdout.readline().strip().rpartition(":")[2]))
        try:
            if busy:
                raw.send(query("block") + query("forever", id=2))
                raw.send(query("no_such", id=3))
                assert raw.read()["id"] == 3
            child.send_signal(signal.SIGINT)
            assert raw.read_close()[0] == GOING_AWAY
            raw.finish(GOING_AWAY)
        finally:
            raw.sock.close()
        output, errors = child.communicate(timeout=HANG)
    finally:
        child.kill()
        with child:  # closes its pipes
            child.wait(HANG)
    assert child.returncode == -signal.SIGINT
    assert " closed " in output
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors


# Many at once


def test_two_hundred_connections_at_once(serving: Serving, dial_raw: DialRaw) -> None:
    server = serving(add, add_later)
    raws = [dial_raw(server, opened=False) for _ in range(200)]
    for number, raw in enumerate(raws):
        raw.send(REQUEST + b"\r\n" + query(("add", "add_later")[number % 2], [number], number))
    for number, raw in enumerate(raws):
        raw.read_opening()
        assert raw.read() == result(number + 10, number)
    assert "connections=200" in repr(server)
    for raw in raws:
        raw.send(query("rpc.on", ["ticks"]))
        assert raw.read() == result(True)
    assert server.publish("ticks", "to all") == 200
    for raw in raws:
        assert raw.read()["params"] == ["to all"]
    closing = threading.Thread(target=server.close, daemon=True)
    closing.start()
    for raw in raws:
        assert raw.read_close()[0] == GOING_AWAY
        raw.finish(GOING_AWAY)
    join(closing)


def test_many_clients_ask_from_many_threads(serving: Serving, dial: Dial, connect: Connect) -> None:
    server = serving(add, add_later, inline=(ping,))
    ours, theirs = [connect(server) for _ in range(4)], [dial(server) for _ in range(4)]

    def ask_ours(client: Client) -> None:
        for number in range(100):
            assert client.query(("add", "add_later")[number % 2], [number, number]) == 2 * number

    def ask_theirs(ws: ClientConnection) -> None:
        for number in range(100):
            assert ask(ws, ("add", "add_later")[number % 2], [number, number]) == 2 * number

    in_threads(
        *(lambda client=client: ask_ours(client) for client in ours * 2),
        *(lambda ws=ws: ask_theirs(ws) for ws in theirs),
    )


def test_two_servers_are_strangers(serving: Serving, dial: Dial) -> None:
    one, other = serving(add), serving(inline=(ping,))
    first, second = dial(one), dial(other)
    ask(first, "rpc.on", ["a"])
    ask(second, "rpc.on", ["a"])
    assert (one.publish("a", 1), other.publish("a", 2)) == (1, 1)
    assert (receive(first)["params"], receive(second)["params"]) == ([1], [2])
    one.close()
    assert close_code(first)[0] == GOING_AWAY
    assert ask(second, "ping") == "pong"


def test_binary_garbage_at_a_server_ends_nothing_but_its_connection(
    serving: Serving, dial: Dial, dial_raw: DialRaw
) -> None:
    server = serving(inline=(ping,))
    raw = dial_raw(server)
    raw.send(frame(BINARY, bytes(range(256)), masked=True))
    assert raw.read()["error"]["code"] == -32700
    raw.send(bytes(range(256)))
    raw.read_until_end()
    assert ask(dial(server), "ping") == "pong"
