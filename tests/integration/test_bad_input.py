"""Bad input: a clear error, and nothing lost. One test, or a few, for each thing that can be bad."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

import wsrpc
from wsrpc import UNMATCHED, Client, WebSocket

from .peers import (
    BINARY,
    HANG,
    SILENCE,
    TEXT,
    Peer,
    RawServer,
    Recorder,
    RemoteFault,
    Wire,
    answer,
    child_environment,
    close,
    frame,
    http,
    requests,
    rpc,
    send_json,
    text,
)

Serve = Callable[..., Peer]
Raw = Callable[..., RawServer]
Connect = Callable[..., Client]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "wsrpc" and record.levelname == "WARNING"
    ]


def asks_and_fails(url: str, **options: Any) -> wsrpc.ConnectError:
    """What a query, a submitted one and a WebSocket all get from an endpoint that does not connect."""
    with contextlib.closing(Client(url, **options)) as client:
        with pytest.raises(wsrpc.ConnectError) as raised:
            client.query("hello")
        error = client.submit("hello").exception(HANG)
        assert client.state == "idle"
    assert type(error) is type(raised.value)
    assert str(error) == str(raised.value)
    ws = WebSocket(url, **options)
    errors = Recorder()
    ws.onerror = errors
    with pytest.raises(type(raised.value)):
        ws.wait_open(HANG)
    assert type(errors.wait(1)[0]) is type(raised.value)
    assert raised.value.address.removesuffix(":80") in url
    return raised.value


# Bad URLs and endpoints


@pytest.mark.parametrize(
    "url", ["", "host", "host:80", "ftp://host/", "ws://", "ws:///path", "ws://host:port/", "ws://host:0/", "ws://h/#f"]
)
def test_bad_url(url: str) -> None:
    for maker in (Client, WebSocket):
        with pytest.raises(wsrpc.InvalidURL, match="invalid URL") as raised:
            maker(url)
        assert isinstance(raised.value, ValueError)


def test_nothing_listening(closed_port: int) -> None:
    error = asks_and_fails(f"ws://127.0.0.1:{closed_port}/")
    assert isinstance(error.__cause__, ConnectionRefusedError)
    assert f"nothing listens on 127.0.0.1:{closed_port}" in str(error)


def test_nothing_listening_and_then_something(raw_server: Raw, connect: Connect) -> None:
    def refuses(wire: Wire) -> None:
        wire.read_head()

    def serves(wire: Wire) -> None:
        wire.accept()
        wire.answer("here now")
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(refuses, serves).url)
    with pytest.raises(wsrpc.ConnectError):
        client.query("hello")
    assert client.state == "idle"
    assert client.query("hello") == "here now"


def test_an_unknown_host_name() -> None:
    error = asks_and_fails("ws://no-such-host.invalid/")
    assert "no-such-host.invalid" in str(error)
    assert isinstance(error.__cause__, OSError)


def plays(data: bytes) -> Callable[[Wire], None]:
    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(data)

    return script


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (http("404 Not Found", body=b"nothing here"), 404, "HTTP 404 Not Found"),
        (http("200 OK", "Content-Type: text/html", body=b"<html>welcome"), 200, "web server's page"),
        (http("302 Found", "Location: wss://elsewhere.example/ws"), 302, "wss://elsewhere.example/ws"),
        (http("401 Unauthorized", body=b"who are you?"), 401, "HTTP 401"),
        (http("503 Service Unavailable"), 503, "HTTP 503"),
    ],
    ids=["404", "200", "302", "401", "503"],
)
def test_plain_http(raw_server: Raw, data: bytes, status: int, said: str) -> None:
    error = asks_and_fails(raw_server(plays(data)).url)
    assert isinstance(error, wsrpc.HandshakeError)
    assert error.status == status
    assert said in str(error)
    assert error.body == data.partition(b"\r\n\r\n")[2]
    assert int(error.headers["content-length"]) == len(error.body)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x01\x02\xff" * 100,
        b"garbage without an end",
        b"HTTP/9.9 bananas\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n"
        ),
        b"HTTP/1.1 101 Switching",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs",
        b"HTTP/1.1 200 OK\r\nX-Endless: " + b"x" * 100_000,
        b"",
    ],
    ids=["ssh", "binary", "text", "version", "bare", "accept", "half a line", "half", "endless", "nothing"],
)
def test_garbage_in_the_opening_handshake(raw_server: Raw, data: bytes) -> None:
    error = asks_and_fails(raw_server(plays(data)).url)
    assert isinstance(error, wsrpc.HandshakeError)


def test_a_server_that_accepts_and_says_nothing(raw_server: Raw) -> None:
    def silent(wire: Wire) -> None:
        wire.read_until_end()

    error = asks_and_fails(raw_server(silent).url, open_timeout=0.2)
    assert "open_timeout" in str(error)


def test_a_server_that_stops_in_the_middle_of_its_answer(raw_server: Raw) -> None:
    def half(wire: Wire) -> None:
        wire.read_head()
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")
        wire.read_until_end()

    error = asks_and_fails(raw_server(half).url, open_timeout=0.2)
    assert "open_timeout" in str(error)


def test_garbage_after_the_opening_handshake(raw_server: Raw, connect: Connect) -> None:
    told = Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        wire.read_request()
        wire.send(b"\xff" * 100)
        told(wire.read_close()[0])

    with pytest.raises(wsrpc.QueryLost) as raised:
        connect(raw_server(script).url).query("hello")
    assert isinstance(raised.value.__cause__, wsrpc.ConnectionClosed)
    assert isinstance(raised.value.__cause__.__cause__, wsrpc.ProtocolError)
    assert told.wait(1) == [1002]


# Bad messages


@pytest.mark.parametrize(
    ("sent", "raw"),
    [
        (frame(TEXT, b"no JSON"), "no JSON"),
        (frame(TEXT, b""), ""),
        (frame(TEXT, b'{"id": 1, "result"'), '{"id": 1, "result"'),
        (frame(TEXT, b'{"a": NaN}'), '{"a": NaN}'),
        (frame(TEXT, "größer".encode()), "größer"),
        (frame(BINARY, b"\x00\xff"), b"\x00\xff"),
    ],
)
def test_a_message_that_is_not_json_goes_to_unmatched_as_it_came(
    raw_server: Raw, connect: Connect, caplog: pytest.LogCaptureFixture, sent: bytes, raw: str | bytes
) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        request = wire.read_request()
        wire.send(sent * 3 + text({"jsonrpc": "2.0", "id": request["id"], "result": "answer"}))
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(script).url)
    unmatched = client.subscribe(UNMATCHED)
    assert client.query("hello") == "answer"
    assert [unmatched.get() for _ in range(3)] == [raw] * 3
    assert client.stats().unmatched == 3
    assert len(warnings_in(caplog)) == 1


def test_a_dialect_that_raises_is_a_message_that_cannot_be_read(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    class Picky(wsrpc.JSONRPC):
        def read(self, message: Any) -> Any:
            if message == {"bad": True}:
                raise ValueError("mine")
            return super().read(message)

    def bad(connection: ServerConnection, request: dict[str, Any]) -> None:
        send_json(connection, {"bad": True})

    client = connect(serve(rpc(bad=bad)).url, dialect=Picky())
    unmatched = client.subscribe(UNMATCHED)
    client.query("bad")
    assert unmatched.get() == {"bad": True}
    assert len(warnings_in(caplog)) == 1


def answering_with(*messages: Any) -> Callable[[ServerConnection], None]:
    """An endpoint that sends these messages before each answer; `ID` in them is the query's id."""

    def handle(connection: ServerConnection) -> None:
        for request in requests(connection):
            for message in messages:
                connection.send(json.dumps(message).replace('"ID"', str(request["id"])))
            answer(connection, request, "its own")

    return handle


def test_an_answer_with_an_unknown_id_goes_to_unmatched(serve: Serve, connect: Connect) -> None:
    stranger = {"jsonrpc": "2.0", "id": 999, "result": "whose?"}
    client = connect(serve(answering_with(stranger)).url)
    unmatched = client.subscribe(UNMATCHED)
    assert client.query("hello") == "its own"
    assert unmatched.get() == stranger
    assert (client.stats().unmatched, client.stats().late) == (1, 0)


def test_an_id_of_a_query_that_was_not_asked_yet_is_unknown(serve: Serve, connect: Connect) -> None:
    def ahead(connection: ServerConnection) -> None:
        for request in requests(connection):
            answer(connection, {"id": request["id"] + 1}, "too early")
            answer(connection, request, request["params"])

    client = connect(serve(ahead).url)
    unmatched = client.subscribe(UNMATCHED)
    assert [client.query("echo", [n]) for n in range(3)] == [[0], [1], [2]]
    assert unmatched.received == 3


def test_a_second_answer_to_the_same_id_is_late_and_dropped(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wsrpc")

    def twice(connection: ServerConnection) -> None:
        for request in requests(connection):
            for result in ("first", "second"):
                answer(connection, request, result)

    client = connect(serve(twice).url)
    unmatched = client.subscribe(UNMATCHED)
    assert [client.query("hello") for _ in range(3)] == ["first"] * 3
    late = [record for record in caplog.records if "late or second answer" in record.getMessage()]
    assert client.stats().late >= 2
    assert {record.levelname for record in late} == {"DEBUG"}
    assert unmatched.received == 0


def test_an_answer_after_the_timeout_is_late_and_dropped(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "wsrpc")
    held: list[dict[str, Any]] = []

    def hold(connection: ServerConnection, request: dict[str, Any]) -> Any:
        held.append(request)
        return SILENCE

    def release(connection: ServerConnection, request: dict[str, Any]) -> str:
        for late in held:
            answer(connection, late, "late")
        return "released"

    client = connect(serve(rpc(hold=hold, release=release)).url)
    unmatched = client.subscribe(UNMATCHED)
    with pytest.raises(wsrpc.QueryTimeout):
        client.query("hold", timeout=0.1)
    with pytest.raises(wsrpc.QueryTimeout):
        client.submit("hold", timeout=0.1).result()
    assert client.query("release") == "released"
    assert client.stats().late == 2
    late = [record.levelname for record in caplog.records if "late or second answer" in record.getMessage()]
    assert late == ["DEBUG", "DEBUG"]
    assert unmatched.received == 0


def test_an_id_that_comes_back_as_text_matches(serve: Serve, connect: Connect) -> None:
    def as_text(connection: ServerConnection) -> None:
        for request in requests(connection):
            answer(connection, {"id": str(request["id"])}, request["params"])

    client = connect(serve(as_text).url)
    assert [client.query("echo", [n]) for n in range(3)] == [[0], [1], [2]]


def test_an_id_that_comes_back_as_text_does_not_match_a_strict_dialect(serve: Serve, connect: Connect) -> None:
    stranger = {"jsonrpc": "2.0", "id": "1", "result": "as text"}
    client = connect(serve(answering_with(stranger)).url, dialect=wsrpc.JSONRPC(strict=True))
    assert client.query("hello") == "its own"
    assert client.stats().unmatched == 1


@pytest.mark.parametrize("returned", [True, 1.0, "1.0", "01", " 1", "1 ", "+1", "", [1], {"id": 1}, -1, "\u0661"])
def test_an_id_that_comes_back_as_another_type_does_not_match(serve: Serve, connect: Connect, returned: Any) -> None:
    stranger = {"jsonrpc": "2.0", "id": returned, "result": "not this"}
    client = connect(serve(answering_with(stranger)).url)
    unmatched = client.subscribe(UNMATCHED)
    assert client.query("hello") == "its own"
    assert unmatched.get() == stranger


def test_an_error_answer_raises_remote_error(serve: Serve, connect: Connect) -> None:
    def fails(connection: ServerConnection, request: dict[str, Any]) -> None:
        raise RemoteFault(-32602, "bad params", {"why": "because"})

    client = connect(serve(rpc(fails=fails)).url)
    for ask in (client.query, lambda method: client.submit(method).result()):
        with pytest.raises(wsrpc.RemoteError, match="bad params") as raised:
            ask("fails")
        error = raised.value
        assert (error.code, error.message, error.data) == (-32602, "bad params", {"why": "because"})
        assert error.method == "fails"
    assert client.query("echo", [1]) == [1]
    assert client.stats().in_flight == 0


@pytest.mark.parametrize("error", ["just text", 7, True, [1], {}, {"code": None}, {"code": [1], "message": 5}])
def test_an_error_answer_of_an_odd_form_is_an_error_all_the_same(serve: Serve, connect: Connect, error: Any) -> None:
    client = connect(serve(answering_with({"jsonrpc": "2.0", "id": "ID", "error": error})).url)
    with pytest.raises(wsrpc.RemoteError):
        client.query("hello")


def test_an_error_answer_with_id_null_goes_to_unmatched(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    nobodys = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}
    client = connect(serve(answering_with(nobodys)).url)
    unmatched = client.subscribe(UNMATCHED)
    assert client.query("hello") == "its own"
    assert unmatched.get() == nobodys
    assert any("Parse error" in warning for warning in warnings_in(caplog))


def test_an_answer_with_id_null_goes_to_unmatched(serve: Serve, connect: Connect) -> None:
    nobodys = {"jsonrpc": "2.0", "id": None, "result": 1}
    client = connect(serve(answering_with(nobodys)).url)
    unmatched = client.subscribe(UNMATCHED)
    assert client.query("hello") == "its own"
    assert unmatched.get() == nobodys


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ([object()], "params[0]"),
        ({"rows": [1, {"x": {1, 2}}]}, "params.rows[1].x"),
        ([2**64], "params[0]"),
        ([float("nan")], "params[0]"),
        ([float("-inf")], "params[0]"),
        ({"a": "\ud800"}, "params.a"),
        ([b"bytes"], "params[0]"),
    ],
)
def test_params_that_cannot_be_encoded_raise_in_the_caller_and_the_connection_lives_on(
    serve: Serve, connect: Connect, params: Any, path: str
) -> None:
    peer = serve(rpc())
    client = connect(peer.url)
    assert client.query("echo", ["before"]) == ["before"]
    for ask in (client.query, client.submit, client.notify):
        with pytest.raises(wsrpc.EncodeError, match="cannot encode") as raised:
            ask("echo", params)
        assert isinstance(raised.value, TypeError)
        assert raised.value.path == path
    assert client.query("echo", ["after"]) == ["after"]
    assert len(peer.connections) == 1
    assert (client.stats().sent, client.stats().in_flight) == (2, 0)


def test_a_list_that_holds_itself_raises_encode_error(serve: Serve, connect: Connect) -> None:
    endless: list[Any] = []
    endless.append(endless)
    client = connect(serve(rpc()).url)
    with pytest.raises(wsrpc.EncodeError):
        client.query("echo", endless)
    assert client.query("echo", [1]) == [1]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_over_the_limit_loses_the_query_and_says_1009(raw_server: Raw, connect: Connect, opcode: int) -> None:
    told = Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        wire.read_request()
        wire.send(frame(opcode, b'"' + b"x" * 999 + b'"'))
        told(wire.read_close()[0])

    client = connect(raw_server(script).url, max_message_bytes=1000)
    with pytest.raises(wsrpc.QueryLost) as raised:
        client.query("hello")
    assert told.wait(1) == [1009]
    closed = raised.value.__cause__
    assert isinstance(closed, wsrpc.ConnectionClosed)
    too_big = closed.__cause__
    assert isinstance(too_big, wsrpc.MessageTooBig)
    assert (too_big.size, too_big.limit) == (1001, 1000)


def test_text_that_is_not_utf8_loses_the_query_and_says_1007(raw_server: Raw, connect: Connect) -> None:
    told = Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        wire.read_request()
        wire.send(frame(TEXT, b'{"id": 1, "result": "\xff"}'))
        told(wire.read_close()[0])

    with pytest.raises(wsrpc.QueryLost):
        connect(raw_server(script).url).query("hello")
    assert told.wait(1) == [1007]


# Connections that break


SERVER = """
    import sys
    from websockets.sync.server import serve

    def handler(connection):
        for message in connection:
            print("got", flush=True)

    with serve(handler, "127.0.0.1", 0) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )


def test_the_server_is_killed_in_the_middle_of_a_query() -> None:
    with start(SERVER) as server:
        assert server.stdout is not None
        try:
            client = Client(f"ws://127.0.0.1:{server.stdout.readline().strip()}/", timeout=None)
            reply = client.submit("slow")
            assert server.stdout.readline() == "got\n"
            killer = threading.Thread(target=lambda: (server.stdout.readline(), server.kill()))  # type: ignore[union-attr]
            killer.start()
            with pytest.raises(wsrpc.QueryLost) as raised:
                client.query("slow")
            killer.join(HANG)
        finally:
            server.kill()
    assert raised.value.may_have_run
    assert isinstance(raised.value.__cause__, wsrpc.ConnectionClosed)
    error = reply.exception(HANG)
    assert isinstance(error, wsrpc.QueryLost)
    assert error.may_have_run
    with pytest.raises(wsrpc.ConnectError):
        client.query("again")
    client.close()


@pytest.mark.parametrize("how", ["hang up", "reset", "in a frame", "close frame", "close frame of a broken server"])
def test_a_connection_that_breaks_loses_every_query_in_flight_and_the_next_use_connects_anew(
    raw_server: Raw, connect: Connect, how: str
) -> None:
    def breaks(wire: Wire) -> None:
        wire.accept()
        for _ in range(3):
            wire.read_request()
        if how == "reset":
            wire.reset()
        elif how == "in a frame":
            wire.send(text({"jsonrpc": "2.0", "id": 1, "result": "cut off"})[:-3])
        elif how == "close frame":
            wire.send(close(1012, "restarting"))
            wire.read_close()
        elif how == "close frame of a broken server":
            wire.send(close(1011))

    def works(wire: Wire) -> None:
        wire.accept()
        wire.answer("works")
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(breaks, works).url, timeout=None)
    replies = [client.submit("hello") for _ in range(2)]
    with pytest.raises(wsrpc.QueryLost):
        client.query("hello")
    for reply in replies:
        error = reply.exception(HANG)
        assert isinstance(error, wsrpc.QueryLost)
        assert error.may_have_run
    assert client.query("hello", timeout=HANG) == "works"
    assert client.stats().in_flight == 0


FAILING_WRITES = """
    import sys
    import wsrpc
    from wsrpc.connection import Connection
    from wsrpc.loop import current_loop

    start_connection = Connection.start

    def start_and_fail(connection, sink):
        start_connection(connection, sink)
        connection._write_failed(BrokenPipeError("broken pipe"))

    Connection.start = start_and_fail
    loop = current_loop()
    for _ in range(10):
        sockets = [wsrpc.WebSocket(sys.argv[1]) for _ in range(20)]
        for ws in sockets:
            ws.wait_closed(5)
    assert current_loop() is loop
"""


def test_a_write_that_fails_the_moment_a_connection_opens_does_not_kill_the_loop(raw_server: Raw) -> None:
    """The socket must not be closed under the reading task: the next connection gets its descriptor.

    In a process of its own, for a loop that dies leaves much behind.
    """

    def script(wire: Wire) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            wire.accept()
            wire.read_until_end()

    with start(FAILING_WRITES, raw_server(script).url) as process:
        try:
            out, err = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


# Callbacks that fail


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_is_logged_and_called_again(
    serve: Serve, connect: Connect, recorder: Recorder, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    def callback(event: Any) -> None:
        recorder(event)
        raise kind("mine")

    client = connect(serve(rpc()).url)
    client.subscribe("ticks", callback)
    client.query("push", ["ticks", [[1], [2]]])
    assert recorder.wait(2) == [1, 2]
    assert client.query("echo", [3]) == [3]
    assert any(record.exc_info and record.exc_info[0] is kind for record in caplog.records)


def test_a_decode_function_that_raises_fails_the_consumer_only(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks", decode=int)
    client.query("push", ["ticks", [["no number"], ["7"]]])
    with pytest.raises(ValueError, match="no number"):
        subscription.get()
    assert subscription.get() == 7


# Ctrl-C


def test_ctrl_c_during_query_raises_keyboard_interrupt_and_the_client_stays_usable(
    serve: Serve, connect: Connect
) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupts(connection: ServerConnection, request: dict[str, Any]) -> Any:
        signal.pthread_kill(main, signal.SIGINT)
        return SILENCE

    client = connect(serve(rpc(interrupts=interrupts)).url)
    with pytest.raises(KeyboardInterrupt):
        client.query("interrupts", timeout=None)
    with pytest.raises(KeyboardInterrupt):
        client.submit("interrupts", timeout=None).result()
    assert client.stats().in_flight in (0, 1), "it goes on, unless Ctrl-C struck while it was being submitted"
    assert client.query("echo", [1]) == [1]


def test_ctrl_c_while_connecting_raises_keyboard_interrupt(raw_server: Raw, connect: Connect) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupts(wire: Wire) -> None:
        wire.read_head()
        signal.pthread_kill(main, signal.SIGINT)
        wire.read_until_end()

    client = connect(raw_server(interrupts).url)
    with pytest.raises(KeyboardInterrupt):
        client.query("hello", timeout=None)
    assert client.stats().in_flight == 0


def test_ctrl_c_while_waiting_for_an_event_raises_keyboard_interrupt(serve: Serve, connect: Connect) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupts(connection: ServerConnection, request: dict[str, Any]) -> None:
        signal.pthread_kill(main, signal.SIGINT)

    client = connect(serve(rpc(interrupts=interrupts)).url)
    subscription = client.subscribe("ticks")

    def notify_and_wait() -> None:
        client.notify("interrupts")
        subscription.get(None)

    with pytest.raises(KeyboardInterrupt):
        notify_and_wait()
    client.query("push", ["ticks", [[1]]])
    assert subscription.get() == 1


HAMMER = """
    import json, random, signal, sys, time
    import wsrpc

    url, way, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    armed = False

    def strike(number, frame):
        global armed
        if armed:  # once, and only inside the block that expects it
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, strike)
    counts = {"interrupted": 0, "answered": 0, "lost": 0, "foreign": 0, "deaf": 0}
    padding = "x" * 300_000 if way == "big" else ""
    longest = {"big": 0.02, "connecting": 0.006}.get(way, 0.0006)

    def ask(client, params):
        if way == "submit":
            return client.submit("echo", params).result()
        if way == "notify":
            client.notify("log", params)
            return params
        return client.query("echo", params)

    client = wsrpc.Client(url, timeout=10)
    client.query("echo", [0])
    clients, n, end = [client], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        n += 1
        params = [n, padding]
        if way == "connecting":
            client.close()
            client = wsrpc.Client(url, timeout=10)
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, longest))
            result = ask(client, params)
            armed = False
        except KeyboardInterrupt:
            counts["interrupted"] += 1
        except wsrpc.QueryLost:
            armed = False
            counts["lost"] += 1
        else:
            counts["answered"] += 1
            counts["foreign"] += result != params
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        if way == "connecting" or n % 50 == 0:
            try:
                counts["foreign"] += client.query("echo", [-n]) != [-n]
            except wsrpc.QueryTimeout:
                counts["deaf"] += 1
                break
    try:
        counts["usable"] = client.query("echo", ["at the end"]) == ["at the end"]
    except wsrpc.QueryTimeout:
        counts["usable"] = False
    if way == "submit":  # these go on, and nobody waits for them
        client.query("echo", ["a barrier"])
    counts["in_flight"] = client.stats().in_flight
    client.close()
    print(json.dumps(counts))
"""


@pytest.mark.parametrize(
    ("way", "seconds"), [("query", 5), ("submit", 2), ("big", 3), ("notify", 2), ("connecting", 4)]
)
def test_ctrl_c_hammering_at_random_instants_mixes_no_answers_and_breaks_nothing(
    serve: Serve, way: str, seconds: float
) -> None:
    with start(HAMMER, serve(rpc()).url, way, str(seconds)) as hammer:
        try:
            out, err = hammer.communicate(timeout=seconds + 2 * HANG)
        finally:
            hammer.kill()
    assert hammer.returncode == 0, err  # Python itself reports an interrupt that struck in a __del__
    counts = json.loads(out)
    assert counts.pop("interrupted") > 50, "the hammer missed"
    counts.pop("answered")
    assert counts == {"lost": 0, "foreign": 0, "deaf": 0, "usable": True, "in_flight": 0}


# Scripts that end


ENDINGS = {
    "an open client": """
        client = wsrpc.Client(url)
        assert client.query("echo", [1]) == [1]
    """,
    "a query in flight": """
        client = wsrpc.Client(url, timeout=None)
        client.query("echo", [1])
        reply = client.submit("silent")
        reply.add_done_callback(lambda reply: None)
    """,
    "a query that waits for a connection": """
        client = wsrpc.Client(url, timeout=None)
        reply = client.submit("silent")
    """,
    "a subscription with a callback": """
        client = wsrpc.Client(url)
        client.subscribe("ticks", lambda event: None)
        client.query("push", ["ticks", [[n] for n in range(1000)]])
    """,
    "a callback that never returns": """
        import threading
        begun = threading.Event()
        client = wsrpc.Client(url)
        client.subscribe("ticks", lambda event: (begun.set(), threading.Event().wait()))
        client.query("push", ["ticks", [[1]]])
        begun.wait()
    """,
    "an open WebSocket": """
        ws = wsrpc.WebSocket(url)
        ws.onmessage = lambda data: None
        ws.wait_open()
        ws.send("hello")
    """,
    "a WebSocket that connects": """
        ws = wsrpc.WebSocket(url)
    """,
    "an open client in a reference cycle": """
        class Holder: pass
        holder = Holder()
        holder.me, holder.client = holder, wsrpc.Client(url)
        holder.client.query("echo", [1])
        del holder
    """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_ends_without_closing_exits_at_once_and_silently(serve: Serve, ending: str) -> None:
    def endpoint(connection: ServerConnection) -> None:
        for message in connection:
            if message != "hello":
                request = json.loads(message)
                for event in request.get("params", [0, []])[1:] if request["method"] == "push" else ():
                    for params in event:
                        send_json(connection, {"jsonrpc": "2.0", "method": "ticks", "params": params})
                if request["method"] != "silent":
                    answer(connection, request, request.get("params"))

    script = "import sys, wsrpc\nurl = sys.argv[1]\n" + textwrap.dedent(ENDINGS[ending])
    with start(script, serve(endpoint).url) as process:
        try:
            out, err = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_script_that_ends_by_an_exception_shows_that_exception_only(serve: Serve) -> None:
    script = "import sys, wsrpc\nwsrpc.Client(sys.argv[1]).query('echo', [1])\nraise SystemExit('mine')"
    with start(script, serve(rpc()).url) as process:
        try:
            out, err = process.communicate(timeout=HANG)
        finally:
            process.kill()
    assert (process.returncode, out, err.strip()) == (1, "", "mine")


def test_importing_starts_no_thread_and_opens_nothing() -> None:
    script = """
        import os, threading
        before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        import wsrpc
        wsrpc.Client("ws://127.0.0.1:9/")
        after = set(os.listdir("/proc/self/fd")) if before else set()
        assert after == before, (before, after)
        assert threading.active_count() == 1
    """
    with start(script) as process:
        out, err = process.communicate(timeout=HANG)
    assert (process.returncode, out, err) == (0, "", "")
