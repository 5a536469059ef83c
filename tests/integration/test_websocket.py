"""The browser's WebSocket class, against servers that are not ours."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

import wsrpc
from wsrpc import WebSocket

from .conftest import Authority
from .peers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    RawServer,
    Recorder,
    Wire,
    close,
    echo,
    frame,
    http,
    in_threads,
    text,
    wait,
)

Serve = Callable[..., Peer]
Raw = Callable[..., RawServer]
Open = Callable[..., WebSocket]

LIMIT = 20.0


def idle(wire: Wire) -> None:
    """Accepts, and answers the closing handshake."""
    wire.accept()
    code, reason = wire.read_close()
    wire.send(close(code, reason))


def whatever(wire: Wire) -> None:
    """As `idle`, for clients that may hang up at any moment."""
    with contextlib.suppress(EOFError, ConnectionError):
        idle(wire)


def sends(*frames: bytes) -> Callable[[Wire], None]:
    """A script that sends frames right behind the opening handshake, and answers the closing handshake."""

    def script(wire: Wire) -> None:
        wire.accept(and_then=b"".join(frames))
        code, reason = wire.read_close()
        wire.send(close(code, reason))

    return script


# Subclasses, handlers and listeners


class ChatProtocol(WebSocket):
    """As people write it who come from a browser."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.messages: list[str] = []
        self.changed = threading.Condition()

    def onmessage(self, m: str | bytes) -> None:
        if isinstance(m, str):
            with self.changed:
                self.messages.append(json.loads(m)["data"])
                self.changed.notify_all()
        else:
            self.send(m)

    def post(self, message: str) -> None:
        self.send(json.dumps({"type": "message", "data": message}))


def test_a_chat_protocol_subclass_collects_text_and_reflects_bytes(serve: Serve) -> None:
    reflected: list[Any] = []

    def chat(connection: ServerConnection) -> None:
        connection.send(b"reflect me")
        for message in connection:
            if isinstance(message, bytes):
                reflected.append(message)
            else:
                connection.send(message)

    with ChatProtocol(serve(chat).url) as protocol:
        for n in range(20):
            protocol.post(f"message {n}")
        with protocol.changed:
            assert protocol.changed.wait_for(lambda: len(protocol.messages) == 20, LIMIT)
    assert protocol.messages == [f"message {n}" for n in range(20)]
    assert reflected == [b"reflect me"]


def test_no_event_fires_before_the_most_derived_constructor_has_returned(raw_server: Raw) -> None:
    sent = threading.Event()

    def script(wire: Wire) -> None:
        wire.accept(and_then=text("early"))
        sent.set()
        wire.read_close()

    fired: list[str] = []

    class Base(WebSocket):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            self.seen = Recorder()
            wait(sent)
            self.wait_open(LIMIT)
            assert fired == []

        def onopen(self) -> None:
            fired.append("open")
            self.seen("open", self.late_attribute)

        def onmessage(self, data: str) -> None:
            self.seen(data, self.late_attribute)

    class Derived(Base):
        def __init__(self, url: str) -> None:
            super().__init__(url)
            assert fired == []
            self.late_attribute = "set"

    with Derived(raw_server(script).url) as ws:
        assert ws.seen.wait(2) == [("open", "set"), ("early", "set")]


def test_a_constructor_that_raises_drops_the_connection_without_an_event(raw_server: Raw) -> None:
    events, ended = Recorder(), threading.Event()

    def script(wire: Wire) -> None:
        wire.accept(and_then=text("early"))
        wire.read_until_end()
        ended.set()

    class Broken(WebSocket):
        onopen = onclose = lambda self: events("event")
        onmessage = onerror = lambda self, value: events("event")

        def __init__(self, url: str) -> None:
            super().__init__(url)
            self.wait_open(LIMIT)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Broken(raw_server(script).url)
    wait(ended)
    assert events.items == []


def test_handlers_set_late_get_what_was_kept_in_order(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=b"".join(text(f"m{n}") for n in range(100)) + close(1000, "bye"))
        wire.read_close()

    ws = WebSocket(raw_server(script).url)
    ws.wait_closed(LIMIT)
    ws.onmessage = recorder
    assert recorder.wait(100) == [f"m{n}" for n in range(100)]
    ws.onopen = recorder.named("open")
    ws.onclose = recorder.named("close")
    assert recorder.wait(102)[100:] == ["open", "close"]


def test_a_listener_added_late_gets_what_was_kept(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=text("kept") + close(1000))
        wire.read_close()

    ws = WebSocket(raw_server(script).url)
    ws.wait_closed(LIMIT)
    ws.addEventListener("message", recorder)
    [event] = recorder.wait(1)
    assert (event.type, event.target, event.data) == ("message", ws, "kept")


def test_of_messages_that_nobody_asked_for_the_last_max_queue_are_kept(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=b"".join(text(f"m{n}") for n in range(10)) + close(1000))
        wire.read_close()

    ws = WebSocket(raw_server(script).url, max_queue=3)
    ws.wait_closed(LIMIT)
    assert ws.dropped == 7
    ws.onmessage = recorder
    assert recorder.wait(3) == ["m7", "m8", "m9"]


def test_events_come_in_the_order_in_which_they_happened(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=text("one") + frame(BINARY, b"two") + close(4000, "enough"))
        wire.read_close()

    ws = WebSocket(raw_server(script).url)
    ws.onmessage = recorder.named("message")
    ws.onerror = recorder.named("error")
    ws.onclose = recorder.named("close")
    ws.onopen = recorder.named("open")
    assert recorder.wait_for("close") == ["open", ("message", "one"), ("message", b"two"), "close"]


def test_listeners_get_event_objects(raw_server: Raw, recorder: Recorder) -> None:
    server = raw_server(sends(text("hello"), close(1000, "bye")))
    ws = WebSocket(server.url)
    for kind in ("open", "message", "close"):
        ws.addEventListener(kind, recorder)
    opened, message, closed = recorder.wait(3)
    assert (type(opened), opened.type, opened.target) == (wsrpc.OpenEvent, "open", ws)
    assert (type(message), message.type, message.data) == (wsrpc.MessageEvent, "message", "hello")
    assert message.origin == f"ws://127.0.0.1:{server.port}"
    assert (closed.type, closed.code, closed.reason, closed.wasClean) == ("close", 1000, "bye", True)


def test_a_listener_added_twice_is_called_once(serve: Serve, recorder: Recorder) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.addEventListener("message", recorder)
        ws.addEventListener("message", recorder)
        ws.addEventListener("message", recorder.named("other"))
        ws.send("a")
        ws.send("b")
        events = [item[0] if isinstance(item, tuple) else item.data for item in recorder.wait(4)]
    assert events == ["a", "other", "b", "other"]


def test_a_once_listener_is_called_once(serve: Serve, recorder: Recorder) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.addEventListener("message", recorder.named("once"), once=True)
        ws.addEventListener("message", recorder.named("always"))
        ws.send("a")
        ws.send("b")
        assert [name for name, _ in recorder.wait(3)] == ["once", "always", "always"]


def test_a_listener_may_be_an_object_with_handle_event(serve: Serve, recorder: Recorder) -> None:
    class Listener:
        def handleEvent(self, event: wsrpc.MessageEvent) -> None:
            recorder(event.data)

    with WebSocket(serve(echo).url) as ws:
        ws.addEventListener("message", Listener())
        ws.send("a")
        assert recorder.wait(1) == ["a"]


def test_a_removed_listener_is_called_no_more(serve: Serve, recorder: Recorder) -> None:
    removed = recorder.named("removed")
    with WebSocket(serve(echo).url) as ws:
        ws.addEventListener("message", removed)
        ws.addEventListener("message", recorder.named("stays"))
        ws.removeEventListener("message", removed)
        ws.removeEventListener("message", removed)
        ws.send("a")
        assert [name for name, _ in recorder.wait(1)] == ["stays"]


def test_a_listener_removed_by_an_earlier_one_is_not_called(serve: Serve, recorder: Recorder) -> None:
    """WHATWG DOM, section 2.9, inner invoke, step 2: a listener's removed flag counts at once."""
    with WebSocket(serve(echo).url) as ws:
        second = recorder.named("second")
        ws.addEventListener("message", lambda event: ws.removeEventListener("message", second))
        ws.addEventListener("message", second)
        ws.addEventListener("message", recorder.named("third"))
        ws.send("a")
        assert [name for name, _ in recorder.wait(1)] == ["third"]


def test_unknown_event_types_are_ignored(serve: Serve) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.addEventListener("nonsense", print)
        ws.removeEventListener("nonsense", print)


def test_an_exception_in_a_handler_goes_to_onerror_and_ends_nothing(serve: Serve, recorder: Recorder) -> None:
    def onmessage(data: str) -> None:
        if data == "bad":
            raise ValueError("mine")
        recorder(data)

    with WebSocket(serve(echo).url) as ws:
        ws.onerror = lambda error: recorder(type(error), str(error))
        ws.onmessage = onmessage
        for data in ("good", "bad", "better"):
            ws.send(data)
        assert recorder.wait(3) == ["good", (ValueError, "mine"), "better"]
        assert ws.readyState == WebSocket.OPEN


def test_an_exception_in_onerror_is_only_logged(
    serve: Serve, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(value: object) -> None:
        raise ValueError(f"of {value!r}")

    with WebSocket(serve(echo).url) as ws:
        ws.onerror = fails
        ws.addEventListener("message", fails)
        ws.addEventListener("message", recorder)
        ws.send("a")
        recorder.wait(1)
    assert len([record for record in caplog.records if record.name == "wsrpc" and record.exc_info]) == 2


def test_sys_exit_in_a_handler_does_not_end_the_delivery(serve: Serve, recorder: Recorder) -> None:
    def onmessage(data: str) -> None:
        recorder(data)
        if data == "exit":
            raise SystemExit

    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = onmessage
        ws.send("exit")
        ws.send("next")
        assert recorder.wait(2) == ["exit", "next"]


def test_handlers_and_listeners_run_one_at_a_time_on_one_thread(serve: Serve, recorder: Recorder) -> None:
    busy = threading.Lock()

    def handler(value: Any) -> None:
        assert busy.acquire(blocking=False), "two at once"
        recorder(threading.current_thread())
        busy.release()

    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = handler
        ws.addEventListener("message", handler)
        ws.onerror = recorder.named("error")
        for n in range(100):
            ws.send(str(n))
        threads = set(recorder.wait(200))
    assert len(threads) == 1
    assert threads != {threading.main_thread()}


def test_a_handler_may_send_and_close(serve: Serve, recorder: Recorder) -> None:
    ws = WebSocket(serve(echo).url)
    ws.onopen = lambda: ws.send("from onopen")

    def onmessage(data: str) -> None:
        recorder(data)
        ws.close(1000, "done")

    ws.onmessage = onmessage
    ws.wait_closed(LIMIT)
    assert recorder.items == ["from onopen"]
    assert (ws.closeCode, ws.closeReason, ws.wasClean) == (1000, "done", True)


def test_a_handler_may_ask_a_blocking_query_of_a_client(serve: Serve, connect: Any, recorder: Recorder) -> None:
    def answering(connection: ServerConnection) -> None:
        for message in connection:
            request = json.loads(message)
            connection.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}))

    client = connect(serve(answering).url)
    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = lambda data: recorder(client.query("echo", [data]))
        ws.send("a")
        assert recorder.wait(1) == [["a"]]


# Closing


def test_ready_state_goes_through_all_its_states(raw_server: Raw) -> None:
    accept, answer = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wait(accept)
        wire.accept()
        wire.read_close()
        wait(answer)
        wire.send(close(1000))

    ws = WebSocket(raw_server(script).url)
    assert ws.readyState == ws.CONNECTING == WebSocket.CONNECTING == 0
    accept.set()
    ws.wait_open(LIMIT)
    assert ws.readyState == ws.OPEN == 1
    ws.close(1000)
    assert ws.readyState == ws.CLOSING == 2
    answer.set()
    ws.wait_closed(LIMIT)
    assert ws.readyState == ws.CLOSED == 3


def test_close_while_connecting_fails_the_connection(raw_server: Raw, recorder: Recorder) -> None:
    def silent(wire: Wire) -> None:
        with contextlib.suppress(EOFError):  # it may give up before it has asked
            wire.read_head()
            wire.read_until_end()

    ws = WebSocket(raw_server(silent).url)
    ws.onopen = recorder.named("open")
    ws.onerror = lambda error: recorder("error", type(error))
    ws.onclose = recorder.named("close")
    ws.close()
    assert ws.readyState in (WebSocket.CLOSING, WebSocket.CLOSED)
    assert recorder.wait(2) == [("error", wsrpc.ConnectError), "close"]
    assert (ws.closeCode, ws.closeReason, ws.wasClean) == (1006, "", False)
    with pytest.raises(wsrpc.ConnectError, match="closed before"):
        ws.wait_open(LIMIT)


@pytest.mark.parametrize("attempt", range(30))
def test_close_at_any_moment_of_connecting_ends_it(raw_server: Raw, recorder: Recorder, attempt: int) -> None:
    ws = WebSocket(raw_server(whatever).url)
    ws.addEventListener("close", recorder)
    moments: list[Callable[[], object]] = [
        lambda: None,
        lambda: threading.Event().wait(attempt / 10_000),
        lambda: ws.wait_open(LIMIT),
    ]
    moments[attempt % 3]()
    ws.close()
    ws.wait_closed(LIMIT)
    [event] = recorder.wait(1)
    assert event.wasClean == (event.code != 1006)


def test_a_close_that_is_too_late_to_stop_the_opening_drops_the_connection(
    raw_server: Raw, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, accept = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        wait(accept)
        wire.accept(and_then=text("too late"))
        wire.read_until_end()
        ended.set()

    monkeypatch.setattr("wsrpc.dialing.Dialing.abandon", lambda dialing: None)
    ws = WebSocket(raw_server(script).url)
    ws.onopen = recorder.named("open")
    ws.onmessage = recorder.named("message")
    ws.onclose = recorder.named("close")
    ws.close()
    accept.set()
    wait(ended)
    assert recorder.wait(1) == ["close"]


def test_close_again_while_closing_or_closed_does_nothing(raw_server: Raw, recorder: Recorder) -> None:
    received = Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        code = wire.read_close()
        received(*code)
        wire.send(close(*code))
        wire.sock.shutdown(socket.SHUT_WR)
        received(wire.read_until_end())

    ws = WebSocket(raw_server(script).url)
    ws.onclose = recorder.named("close")
    ws.wait_open(LIMIT)
    ws.close(3001, "first")
    ws.close(3002, "second")
    ws.wait_closed(LIMIT)
    ws.close(3003, "third")
    recorder.wait(1)
    assert received.wait(2) == [(3001, "first"), b""]
    assert recorder.items == ["close"]


@pytest.mark.parametrize("code", [0, 999, 1001, 1005, 1006, 2999, 5000])
def test_close_takes_only_the_codes_of_the_standard(serve: Serve, code: int) -> None:
    with WebSocket(serve(echo).url) as ws:
        with pytest.raises(ValueError, match="1000 or 3000 to 4999"):
            ws.close(code)
        with pytest.raises(ValueError, match="123 bytes"):
            ws.close(1000, "ü" * 62)
        assert ws.readyState == WebSocket.OPEN


def test_close_without_a_code_sends_none(raw_server: Raw, recorder: Recorder) -> None:
    received: list[Any] = []

    def script(wire: Wire) -> None:
        wire.accept()
        received.append(wire.read_close())
        wire.send(close())

    ws = WebSocket(raw_server(script).url)
    ws.addEventListener("close", recorder)
    ws.wait_open(LIMIT)
    ws.close()
    [event] = recorder.wait(1)
    assert received == [(None, "")]
    assert (event.code, event.reason, event.wasClean) == (1005, "", True)


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (close(1000, "done"), 1000, "done"),
        (close(1001), 1001, ""),
        (close(), 1005, ""),
        (close(1011, "broken"), 1011, "broken"),
        (close(4711, "größer"), 4711, "größer"),
    ],
)
def test_the_close_event_has_the_peers_code_and_reason(
    raw_server: Raw, recorder: Recorder, sent: bytes, code: int, reason: str
) -> None:
    received: list[Any] = []

    def script(wire: Wire) -> None:
        wire.accept(and_then=sent)
        received.append(wire.read_close())

    ws = WebSocket(raw_server(script).url)
    ws.onerror = recorder.named("error")
    ws.addEventListener("close", recorder)
    [event] = recorder.wait(1)
    assert (event.code, event.reason, event.wasClean) == (code, reason, True)
    assert (ws.closeCode, ws.closeReason, ws.wasClean) == (code, reason, True)
    assert received == [(None if code == 1005 else code, received[0][1])], "the close code is echoed"


def hang_up(wire: Wire) -> None:
    wire.accept()


def hang_up_in_a_frame(wire: Wire) -> None:
    wire.accept(and_then=text("a message that is cut off")[:-5])


def reset(wire: Wire) -> None:
    wire.accept()
    wire.send(text("something"))
    wire.reset()


@pytest.mark.parametrize("script", [hang_up, hang_up_in_a_frame, reset])
def test_an_end_without_closing_handshake_is_1006(
    raw_server: Raw, recorder: Recorder, script: Callable[[Wire], None]
) -> None:
    ws = WebSocket(raw_server(script).url)
    ws.onmessage = lambda data: None
    ws.addEventListener("error", recorder)
    ws.addEventListener("close", recorder)
    error, event = recorder.wait(2)
    assert type(error.error) is wsrpc.ConnectionClosed
    assert (error.error.code, error.error.initiator) == (1006, "network")
    assert (event.code, event.reason, event.wasClean) == (1006, "", False)


def test_a_peer_that_does_not_answer_the_closing_handshake_is_dropped(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        wire.read_until_end()

    ws = WebSocket(raw_server(script).url, close_timeout=0.2)
    ws.addEventListener("close", recorder)
    ws.wait_open(LIMIT)
    ws.close(1000)
    [event] = recorder.wait(1)
    assert (event.code, event.wasClean) == (1006, False)


@pytest.mark.parametrize(
    ("frames", "code", "kind"),
    [
        pytest.param(frame(TEXT, b"\xff\xfe"), 1007, wsrpc.ProtocolError, id="bad UTF-8"),
        pytest.param(
            frame(TEXT, b"ok \xc3", fin=False) + frame(CONTINUATION, b"("),
            1007,
            wsrpc.ProtocolError,
            id="bad UTF-8 in fragments",
        ),
        pytest.param(frame(TEXT, b"x", masked=True), 1002, wsrpc.ProtocolError, id="a masked frame"),
        pytest.param(frame(0x3, b"x"), 1002, wsrpc.ProtocolError, id="a reserved opcode"),
        pytest.param(b"\xc1\x01x", 1002, wsrpc.ProtocolError, id="a reserved bit"),
        pytest.param(frame(CONTINUATION, b"x"), 1002, wsrpc.ProtocolError, id="a continuation of nothing"),
        pytest.param(frame(PING, b"x" * 126), 1002, wsrpc.ProtocolError, id="a control frame that is too long"),
        pytest.param(frame(PING, b"x", fin=False), 1002, wsrpc.ProtocolError, id="a fragmented control frame"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, wsrpc.ProtocolError, id="a close frame of one byte"),
        pytest.param(close(1005), 1002, wsrpc.ProtocolError, id="a close code that must not be sent"),
        pytest.param(frame(TEXT, b"x" * 1001), 1009, wsrpc.MessageTooBig, id="a message over the limit"),
        pytest.param(
            frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600),
            1009,
            wsrpc.MessageTooBig,
            id="fragments over the limit",
        ),
        pytest.param(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009, wsrpc.MessageTooBig, id="a length of 2**63"),
    ],
)
def test_what_breaks_the_rules_is_told_by_the_close_code(
    raw_server: Raw, recorder: Recorder, frames: bytes, code: int, kind: type[Exception]
) -> None:
    told: list[Any] = []

    def script(wire: Wire) -> None:
        wire.accept(and_then=text("before") + frames)
        told.append(wire.read_close()[0])

    ws = WebSocket(raw_server(script).url, max_message_bytes=1000)
    ws.onmessage = recorder
    ws.onerror = lambda error: recorder(type(error))
    ws.addEventListener("close", lambda event: recorder(event.code, event.wasClean))
    assert recorder.wait(3) == ["before", kind, (1006, False)]
    assert told == [code]


def test_a_message_of_exactly_the_limit_is_taken(raw_server: Raw, recorder: Recorder) -> None:
    with WebSocket(raw_server(sends(frame(BINARY, b"x" * 1000))).url, max_message_bytes=1000) as ws:
        ws.onmessage = recorder
        assert recorder.wait(1) == [b"x" * 1000]


# Frames


@pytest.mark.parametrize("payload", [b"", b"payload", b"\x00\xff" * 62])
def test_a_ping_is_answered_with_its_payload(raw_server: Raw, payload: bytes) -> None:
    received: list[Any] = []

    def script(wire: Wire) -> None:
        wire.accept(and_then=frame(PING, payload))
        received.append(wire.read_frame())
        wire.send(close(1000))
        wire.read_close()

    ws = WebSocket(raw_server(script).url)
    ws.wait_closed(LIMIT)
    assert received == [(PONG, payload)]


def test_unsolicited_pongs_and_empty_messages_are_fine(raw_server: Raw, recorder: Recorder) -> None:
    frames = [frame(PONG, b"unasked"), frame(TEXT), frame(PONG), frame(BINARY)]
    with WebSocket(raw_server(sends(*frames)).url) as ws:
        ws.onmessage = recorder
        assert recorder.wait(2) == ["", b""]


def test_a_fragmented_message_with_a_ping_in_it_is_one_message(raw_server: Raw, recorder: Recorder) -> None:
    received: list[Any] = []

    def script(wire: Wire) -> None:
        halves = "zwölf Boxkämpfer".encode().partition(b"\xc3")
        wire.accept(
            and_then=frame(TEXT, halves[0] + halves[1], fin=False)
            + frame(PING, b"between")
            + frame(CONTINUATION, halves[2][:4], fin=False)
            + frame(CONTINUATION, halves[2][4:])
        )
        received.append(wire.read_frame())
        wire.send(close(*wire.read_close()))

    with WebSocket(raw_server(script).url) as ws:
        ws.onmessage = recorder
        assert recorder.wait(1) == ["zwölf Boxkämpfer"]
    assert received == [(PONG, b"between")]


def test_frames_that_arrive_byte_by_byte_are_put_together(raw_server: Raw, recorder: Recorder) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        for byte in text("größer") + frame(BINARY, bytes(200)) + text("end"):
            wire.send(bytes([byte]))
        wire.send(close(*wire.read_close()))

    with WebSocket(raw_server(script).url) as ws:
        ws.onmessage = recorder
        assert recorder.wait(3) == ["größer", bytes(200), "end"]


def test_a_silent_peer_is_pinged_and_then_dropped(raw_server: Raw, recorder: Recorder) -> None:
    received: list[int] = []

    def script(wire: Wire) -> None:
        wire.accept()
        received.append(wire.read_frame()[0])
        wire.read_until_end()

    ws = WebSocket(raw_server(script).url, ping_interval=0.1, ping_timeout=0.1)
    ws.onerror = recorder
    ws.wait_closed(LIMIT)
    assert "pong" in str(recorder.wait(1)[0])
    assert received == [PING]
    assert (ws.closeCode, ws.wasClean) == (1006, False)


def test_a_peer_that_answers_pings_is_kept(raw_server: Raw) -> None:
    pings = Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        for _ in range(5):
            opcode, payload = wire.read_frame()
            wire.send(frame(PONG, payload))
            pings(opcode)
        wire.send(close(*wire.read_close()))

    with WebSocket(raw_server(script).url, ping_interval=0.1, ping_timeout=LIMIT) as ws:
        assert pings.wait(5) == [PING] * 5
        assert ws.readyState == WebSocket.OPEN


def test_binary_type_says_how_bytes_come(serve: Serve, recorder: Recorder) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = recorder
        assert ws.binaryType == "blob"
        for count, kind in enumerate(("blob", "arraybuffer", "memoryview", "nonsense"), 1):
            ws.binaryType = kind
            ws.send(b"data")
            recorder.wait(count)
        assert ws.binaryType == "memoryview"
        ws.send("text stays text")
        kinds = [type(item) for item in recorder.wait(5)]
    assert kinds == [bytes, bytes, memoryview, memoryview, str]
    assert [bytes(item) for item in recorder.items[:4]] == [b"data"] * 4


@pytest.mark.parametrize("data", [bytearray(b"data"), memoryview(b"data"), memoryview(b"dxaxtxax")[::2]])
def test_bytes_like_objects_are_sent_as_binary(serve: Serve, recorder: Recorder, data: Any) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = recorder
        ws.send(data)
        assert recorder.wait(1) == [b"data"]


def test_send_refuses_what_is_neither_text_nor_bytes(serve: Serve, recorder: Recorder) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = recorder
        with pytest.raises(TypeError, match="not dict"):
            ws.send({"a": 1})  # type: ignore[arg-type]
        ws.send("the connection lives on")
        assert recorder.wait(1) == ["the connection lives on"]


def test_lone_surrogates_are_replaced_as_in_browsers(serve: Serve, recorder: Recorder) -> None:
    with WebSocket(serve(echo).url) as ws:
        ws.onmessage = recorder
        ws.send("a\ud800b")
        assert recorder.wait(1) == ["a\ufffdb"]


def test_send_while_connecting_raises_state_error(raw_server: Raw) -> None:
    def silent(wire: Wire) -> None:
        wire.read_until_end()

    ws = WebSocket(raw_server(silent).url)
    with pytest.raises(wsrpc.StateError, match="not open yet"):
        ws.send("too early")
    ws.close()
    ws.wait_closed(LIMIT)


def test_send_while_closing_or_closed_only_grows_buffered_amount(raw_server: Raw) -> None:
    answer, received = threading.Event(), Recorder()

    def script(wire: Wire) -> None:
        wire.accept()
        code = wire.read_close()
        wait(answer)
        wire.send(close(*code))
        wire.sock.shutdown(socket.SHUT_WR)
        received(wire.read_until_end())

    ws = WebSocket(raw_server(script).url)
    ws.wait_open(LIMIT)
    assert ws.bufferedAmount == 0
    ws.close(1000)
    before = ws.bufferedAmount
    ws.send("12345")
    assert ws.bufferedAmount - before in (5, 5 - before), "the close frame may still have been in it"
    answer.set()
    ws.wait_closed(LIMIT)
    ws.send(b"12345")
    assert ws.bufferedAmount == 10
    assert received.wait(1) == [b""]


# Addresses and headers


def heard(wire_head: list[str]) -> Callable[[Wire], None]:
    def script(wire: Wire) -> None:
        wire_head.append(wire.accept())
        wire.send(close(1000))
        wire.read_close()

    return script


def headers_of(head: str) -> dict[str, str]:
    lines = [line.partition(":") for line in head.split("\r\n")[1:]]
    return {name.lower(): value.strip() for name, _, value in lines}


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("", "/"),
        ("?q=1", "/?q=1"),
        ("path/of it?a=b&c=%20d&e=ü", "/path/of%20it?a=b&c=%20d&e=%C3%BC"),
    ],
)
def test_path_and_query_string_are_asked_for(raw_server: Raw, target: str, asked: str) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    WebSocket(server.url.removesuffix("/") + ("/" if target and target[0] != "?" else "") + target).wait_closed(LIMIT)
    assert heads[0].split("\r\n")[0] == f"GET {asked} HTTP/1.1"


def test_the_host_header_has_the_port(raw_server: Raw) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    WebSocket(server.url).wait_closed(LIMIT)
    assert headers_of(heads[0])["host"] == f"127.0.0.1:{server.port}"


def test_the_host_header_leaves_out_the_default_port(raw_server: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    look_up = socket.getaddrinfo

    def elsewhere(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host == "default-port.example":
            assert port == 80
            return look_up("127.0.0.1", server.port, *args, **options)
        return look_up(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    WebSocket("ws://default-port.example/").wait_closed(LIMIT)
    assert headers_of(heads[0])["host"] == "default-port.example"


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_literals_work(serve: Serve, recorder: Recorder) -> None:
    hosts: list[str] = []

    def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        hosts.append(connection.request.headers["Host"])
        echo(connection)

    peer = serve(handler, host="::1", family=socket.AF_INET6)
    with WebSocket(peer.url) as ws:
        ws.onmessage = recorder
        ws.send("over IPv6")
        assert recorder.wait(1) == ["over IPv6"]
    assert hosts == [f"[::1]:{peer.port}"]


def test_names_that_resolve_to_several_addresses_are_tried_in_turn(serve: Serve, closed_port: int) -> None:
    port = serve(echo).port
    with WebSocket(f"ws://localhost:{port}/") as ws:  # often ::1 first, where nobody listens
        assert ws.readyState == WebSocket.OPEN


def test_headers_cookies_origin_and_auth_are_sent(raw_server: Raw) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    WebSocket(
        server.url,
        headers={"X-Token": "abc", "User-Agent": "test"},
        cookies={"session": "1", "lang": "de"},
        origin="https://page.example",
        auth=("user", "pass:word"),
    ).wait_closed(LIMIT)
    headers = headers_of(heads[0])
    assert headers["x-token"] == "abc"
    assert headers["user-agent"] == "test"
    assert headers["cookie"] == "session=1; lang=de"
    assert headers["origin"] == "https://page.example"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"user:pass:word").decode()


def test_headers_may_be_functions_that_are_called_at_each_connection(raw_server: Raw) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    tokens = iter(["first", "second"])
    options: dict[str, Any] = {"headers": lambda: {"X-Token": next(tokens)}, "cookies": lambda: {"c": "1"}}
    for _ in range(2):
        WebSocket(server.url, **options).wait_closed(LIMIT)
    assert [headers_of(head)["x-token"] for head in heads] == ["first", "second"]
    assert headers_of(heads[0])["cookie"] == "c=1"


def test_a_header_function_that_raises_fails_the_connection(raw_server: Raw, recorder: Recorder) -> None:
    def expired() -> dict[str, str]:
        raise KeyError("no token")

    ws = WebSocket(raw_server(idle).url, headers=expired)
    ws.onerror = recorder
    with pytest.raises(wsrpc.ConnectError, match="no token") as raised:
        ws.wait_open(LIMIT)
    assert isinstance(raised.value.__cause__, KeyError)


def test_credentials_of_the_url_are_sent_and_never_shown(raw_server: Raw) -> None:
    heads: list[str] = []
    server = raw_server(heard(heads))
    ws = WebSocket(f"ws://user:p%40ss@127.0.0.1:{server.port}/")
    ws.wait_closed(LIMIT)
    assert headers_of(heads[0])["authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert "p@ss" not in ws.url + repr(ws)
    assert "p%40ss" not in ws.url + repr(ws)


def test_the_server_picks_a_subprotocol(serve: Serve) -> None:
    with WebSocket(serve(echo, subprotocols=["v2", "v1"]).url, ["v1", "v0"]) as ws:
        assert ws.protocol == "v1"


def test_a_server_that_picks_no_subprotocol_fails_the_connection(raw_server: Raw) -> None:
    ws = WebSocket(raw_server(whatever).url, "v1")
    with pytest.raises(wsrpc.ConnectError, match="none of the subprotocols v1"):
        ws.wait_open(LIMIT)


@pytest.mark.parametrize("url", ["ftp://host/", "ws://", "ws://host/#part", "ws://host:99999/", "host:80", ""])
def test_a_bad_url_raises_at_once(url: str) -> None:
    with pytest.raises(wsrpc.InvalidURL):
        WebSocket(url)


def test_http_urls_are_mapped(serve: Serve) -> None:
    peer = serve(echo)
    with WebSocket(peer.url.replace("ws://", "http://")) as ws:
        assert ws.url == peer.url


# TLS


def test_wss_with_a_ca_of_our_own(serve: Serve, authority: Authority, recorder: Recorder) -> None:
    peer = serve(echo, ssl=authority.server)
    with WebSocket(f"wss://localhost:{peer.port}/", ssl=authority.client) as ws:
        ws.onmessage = recorder
        ws.send("secret")
        assert recorder.wait(1) == ["secret"]
        assert ws.url.startswith("wss://")
    assert (ws.closeCode, ws.wasClean) == (1005, True)


def untrusting(wire: Wire) -> None:
    raise AssertionError("the client must not speak to a server that it does not trust")


@pytest.mark.filterwarnings("default")
def test_a_certificate_that_nobody_signed_is_refused(serve: Serve, authority: Authority) -> None:
    ws = WebSocket(f"wss://localhost:{serve(echo, ssl=authority.server).port}/")
    with pytest.raises(wsrpc.ConnectError, match="not trusted"):
        ws.wait_open(LIMIT)


def test_wss_to_a_server_without_tls_says_so(raw_server: Raw) -> None:
    def plain(wire: Wire) -> None:
        wire.sock.recv(10)
        wire.send(http("400 Bad Request"))
        wire.read_until_end()

    ws = WebSocket(raw_server(plain).url.replace("ws://", "wss://"))
    with pytest.raises(wsrpc.ConnectError, match="TLS"):
        ws.wait_open(LIMIT)


# Bounds


def test_at_max_queue_the_socket_is_not_read_until_the_handler_goes_on(raw_server: Raw, recorder: Recorder) -> None:
    stuck, go_on = threading.Event(), threading.Event()
    block = bytes(1 << 20)
    everything = frame(BINARY, block) * 48
    sent: list[int] = []

    def script(wire: Wire) -> None:
        wire.accept()
        sent.append(wire.send_until_stuck(everything))
        stuck.set()
        wire.send(everything[sent[0] :])
        wire.send(close(*wire.read_close()))

    def onmessage(data: bytes) -> None:
        wait(go_on)
        recorder(data == block)

    with WebSocket(raw_server(script).url, max_queue=2) as ws:
        ws.onmessage = onmessage
        wait(stuck)
        assert sent[0] < len(everything)
        assert recorder.items == []
        go_on.set()
        assert recorder.wait(48) == [True] * 48
        assert ws.dropped == 0


def test_close_at_max_queue_delivers_no_more_messages(raw_server: Raw, recorder: Recorder) -> None:
    go_on = threading.Event()
    first = threading.Event()

    def script(wire: Wire) -> None:
        wire.accept(and_then=b"".join(text(f"m{n}") for n in range(1000)))
        code = wire.read_close()
        wire.send(close(*code))

    def onmessage(data: str) -> None:
        recorder(data)
        first.set()
        wait(go_on)

    ws = WebSocket(raw_server(script).url, max_queue=2)
    ws.onmessage = onmessage
    ws.onclose = recorder.named("close")
    wait(first)
    ws.close(1000)
    go_on.set()
    assert recorder.wait_for("close") == ["m0", "close"]
    assert ws.wasClean


def test_send_past_max_buffered_bytes_raises_overflow_and_takes_nothing(raw_server: Raw) -> None:
    read, received = threading.Event(), []

    def script(wire: Wire) -> None:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.accept()
        wait(read)
        while (item := wire.read_frame())[0] != CLOSE:
            received.append(item[1])
        wire.send(frame(CLOSE, item[1]))

    ws = WebSocket(raw_server(script).url, max_buffered_bytes=1 << 20)
    ws.wait_open(LIMIT)
    sent = 0

    def flood() -> None:
        nonlocal sent
        for _ in range(1000):
            ws.send(sent.to_bytes(4, "big") + bytes(256 * 1024))
            sent += 1

    with pytest.raises(wsrpc.Overflow, match="max_buffered_bytes") as raised:
        flood()
    assert (raised.value.topic, raised.value.limit) == (None, 1 << 20)
    assert 0 < ws.bufferedAmount <= 1 << 20
    ws.close(1000)
    read.set()
    ws.wait_closed(LIMIT)
    assert [int.from_bytes(item[:4], "big") for item in received] == list(range(sent))
    assert ws.wasClean


def test_one_message_of_any_size_is_taken_when_nothing_is_unsent(serve: Serve, recorder: Recorder) -> None:
    big = bytes(3 << 20)
    with WebSocket(serve(echo).url, max_buffered_bytes=1000) as ws:
        ws.onmessage = recorder
        ws.send(big)
        assert recorder.wait(1) == [big]


@pytest.mark.parametrize("secure", [False, True])
def test_many_megabytes_both_ways_at_once(serve: Serve, authority: Authority, recorder: Recorder, secure: bool) -> None:
    peer = serve(echo, ssl=authority.server) if secure else serve(echo)
    scheme = "wss" if secure else "ws"
    blocks = [bytes([n]) * ((1 << 20) + n) for n in range(16)]
    with WebSocket(f"{scheme}://localhost:{peer.port}/", ssl=authority.client, max_buffered_bytes=1 << 30) as ws:
        ws.onmessage = recorder
        for block in blocks:
            ws.send(block)
        ws.send("end")
        assert recorder.wait(17) == [*blocks, "end"]


@pytest.mark.parametrize("secure", [False, True])
def test_many_threads_may_send_at_once(serve: Serve, authority: Authority, recorder: Recorder, secure: bool) -> None:
    peer = serve(echo, ssl=authority.server) if secure else serve(echo)
    with WebSocket(f"{'wss' if secure else 'ws'}://localhost:{peer.port}/", ssl=authority.client) as ws:
        ws.onmessage = recorder

        def sender(name: int) -> Callable[[], None]:
            def run() -> None:
                for n in range(300):
                    ws.send(json.dumps([name, n]))

            return run

        in_threads(*(sender(name) for name in range(6)))
        pairs = [json.loads(item) for item in recorder.wait(1800)]
    for name in range(6):
        assert [n for who, n in pairs if who == name] == list(range(300))


# Python's extras


def test_a_with_block_opens_and_closes(raw_server: Raw) -> None:
    with WebSocket(raw_server(idle).url) as ws:
        assert ws.readyState == WebSocket.OPEN
    assert ws.readyState == WebSocket.CLOSED
    assert ws.wasClean


def test_a_with_block_raises_if_the_connection_does_not_come_about(closed_port: int) -> None:
    with pytest.raises(wsrpc.ConnectError), WebSocket(f"ws://127.0.0.1:{closed_port}/"):
        raise AssertionError("unreachable")


def test_wait_open_times_out_and_settles_nothing(raw_server: Raw) -> None:
    go_on = threading.Event()

    def script(wire: Wire) -> None:
        wait(go_on)
        idle(wire)

    ws = WebSocket(raw_server(script).url)
    with pytest.raises(TimeoutError, match=r"0\.05"):
        ws.wait_open(0.05)
    go_on.set()
    ws.wait_open(LIMIT)
    with pytest.raises(TimeoutError, match=r"0\.05"):
        ws.wait_closed(0.05)
    ws.close()
    ws.wait_closed(LIMIT)


def test_wait_open_raises_connection_closed_once_it_has_ended(raw_server: Raw) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=close(4000, "over"))
        wire.read_close()

    ws = WebSocket(raw_server(script).url)
    ws.wait_closed(LIMIT)
    with pytest.raises(wsrpc.ConnectionClosed, match="over") as raised:
        ws.wait_open(LIMIT)
    assert (raised.value.code, raised.value.reason, raised.value.initiator) == (4000, "over", "peer")


def test_open_timeout_ends_the_attempt(raw_server: Raw, recorder: Recorder) -> None:
    def silent(wire: Wire) -> None:
        wire.read_until_end()

    ws = WebSocket(raw_server(silent).url, open_timeout=0.2)
    ws.addEventListener("close", recorder)
    with pytest.raises(wsrpc.ConnectError, match="open_timeout"):
        ws.wait_open(LIMIT)
    assert recorder.wait(1)[0].code == 1006


def test_repr_tells_the_state(serve: Serve) -> None:
    peer = serve(echo)
    with WebSocket(peer.url) as ws:
        assert repr(ws) == f"<WebSocket {peer.url} open>"
    assert repr(ws) == f"<WebSocket {peer.url} closed>"
