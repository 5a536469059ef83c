"""However an opening handshake is split, it means the same; and only `HandshakeError` comes of what is none."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from wsrpc.errors import HandshakeError
from wsrpc.framing import ClientHandshake, ServerHandshake, header_lines
from wsrpc.urls import parse_url

from ..unit.framing.test_handshake import RFC_REQUEST
from ..unit.wire import split, upgrade
from .outcome import error_of

ENDPOINT = parse_url("ws://example.com/")
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nnot found\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
REQUEST_WITH_REST = RFC_REQUEST + b"\x81\x85"

cuts = st.lists(st.integers(0, 10**6), max_size=8)
heads = [b"HTTP/1.1 101 X\r\n", b"HTTP/1.1 ", b"200", b" OK\r\n", b"GET / HTTP/1.1\r\n", b"Host: h\r\n", b"\r\n\r\n"]
lines = [b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n"]
odd = [b"Sec-WebSocket-Extensions: x=\xff\r\n", b"Transfer-Encoding: chunked\r\n", b"zz\r\n", b"\xff", b"\x00", b":"]
pieces_of_http = st.sampled_from([*heads, *lines, *odd])
garbage = st.lists(st.binary(max_size=20) | pieces_of_http, max_size=12).map(b"".join)
#: Where to write which bytes over a handshake that is sound, and how many to take away there.
damages = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3)


def damaged(data: bytes, damages: list[tuple[int, int, bytes]]) -> bytes:
    for at, taken, given_ in damages:
        at %= len(data) + 1
        data = data[:at] + given_ + data[at + taken :]
    return data


def as_client(answer: bytes, cuts: list[int]) -> Any:
    """What a client makes of an answer: done, waiting, or the facts of the refusal; and of it all the rest."""
    handshake = ClientHandshake(ENDPOINT, ["chat"])
    answer = answer or upgrade(handshake, b"Sec-WebSocket-Protocol: chat")
    pieces = [piece for piece in split(answer, cuts) if piece]
    try:
        while pieces:
            if handshake.receive(pieces.pop(0)):
                return "done", handshake.protocol, handshake.rest + b"".join(pieces)
    except HandshakeError as error:
        return error.status, error.headers, error.body
    return "waiting"


def as_server(request: bytes, cuts: list[int]) -> Any:
    handshake = ServerHandshake()
    pieces = [piece for piece in split(request, cuts) if piece]
    try:
        while pieces:
            if (opening := handshake.receive(pieces.pop(0))) is not None:
                return opening, handshake.rest + b"".join(pieces)
    except HandshakeError as error:
        return error.status
    return "waiting"


@given(st.sampled_from([b"", REFUSAL, CHUNKED]), cuts)
def test_any_split_of_an_answer_means_the_same_to_a_client(answer: bytes, cuts: list[int]) -> None:
    assert as_client(answer, cuts) == as_client(answer, [])


@given(st.sampled_from([RFC_REQUEST, REQUEST_WITH_REST, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"]), cuts)
def test_any_split_of_a_request_means_the_same_to_a_server(request_: bytes, cuts: list[int]) -> None:
    assert as_server(request_, cuts) == as_server(request_, [])


@given(garbage, cuts)
@example(b"HTTP/1.1 000 X\r\n\r\n", [])
@example(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: \xff\r\n\r\n", [])
def test_garbage_raises_only_the_documented_error_in_a_client(answer: bytes, cuts: list[int]) -> None:
    as_client(answer or b"\x00", cuts)


@given(garbage, cuts)
def test_garbage_raises_only_the_documented_error_in_a_server(request_: bytes, cuts: list[int]) -> None:
    as_server(request_, cuts)


@given(st.sampled_from([REFUSAL, CHUNKED]), damages, cuts)
def test_a_damaged_answer_raises_only_the_documented_error(answer: bytes, damages: Any, cuts: list[int]) -> None:
    as_client(damaged(answer, damages) or b"\x00", cuts)


@given(damages)
def test_a_damaged_acceptance_raises_only_the_documented_error(damages: Any) -> None:
    handshake = ClientHandshake(ENDPOINT)
    error = error_of(HandshakeError, handshake.receive, damaged(upgrade(handshake), damages))
    assert error is None or error.address == "example.com:80"


@given(damages, cuts)
def test_a_damaged_request_raises_only_the_documented_error(damages: Any, cuts: list[int]) -> None:
    assert as_server(damaged(RFC_REQUEST, damages), cuts) == as_server(damaged(RFC_REQUEST, damages), [])


@given(st.text(max_size=10), st.text(max_size=20))
def test_no_header_injects_another_line(name: str, value: str) -> None:
    if (error := error_of(ValueError, header_lines, {name: value})) is not None:
        assert type(error) is ValueError
        return
    request = ClientHandshake(ENDPOINT, (), header_lines({name: value})).request()
    assert request.count(b"\r\n") == ClientHandshake(ENDPOINT).request().count(b"\r\n") + 1
    assert request.count(b"\n") == request.count(b"\r") == request.count(b"\r\n")


@given(st.text(max_size=20).filter(lambda name: name.strip() != "chat"))
def test_a_server_cannot_pick_a_subprotocol_that_was_not_offered(name: str) -> None:
    handshake = ClientHandshake(ENDPOINT, ["chat"])
    answer = upgrade(handshake, b"Sec-WebSocket-Protocol: " + name.encode("utf-8", "replace"))
    assert error_of(HandshakeError, handshake.receive, answer) is not None
