import base64

import pytest

from wsrpc.errors import HandshakeError
from wsrpc.framing import (
    TEXT,
    ClientHandshake,
    OpeningRequest,
    ServerHandshake,
    basic_auth,
    check_protocols,
    header_lines,
    refusal,
)
from wsrpc.framing.handshake import MAX_HANDSHAKE_BYTES
from wsrpc.urls import parse_url

from ..wire import frame, upgrade

ENDPOINT = parse_url("ws://me:secret@example.com:8765/chat?room=1")
# RFC 6455, section 1.2
RFC_REQUEST = b"""\
GET /chat HTTP/1.1\r
Host: server.example.com\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Origin: http://example.com\r
Sec-WebSocket-Protocol: chat, superchat\r
Sec-WebSocket-Version: 13\r
\r
"""
RFC_ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def asked(*protocols: str) -> ClientHandshake:
    """A client's handshake, the request sent."""
    return ClientHandshake(ENDPOINT, protocols)


def refused(answer: bytes, *more: bytes, protocols: tuple[str, ...] = ()) -> HandshakeError:
    handshake = asked(*protocols)
    handshake.request()
    try:
        assert not any(handshake.receive(piece) for piece in (answer, *more))
    except HandshakeError as error:
        return error
    pytest.fail("the answer was not refused")


def fields(request: bytes) -> dict[str, str]:
    lines = request.decode().split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


# What a client asks


def test_the_request_is_the_standards() -> None:
    request = ClientHandshake(ENDPOINT, ["a", "b"], [(b"X-Extra", b"1")]).request()  # RFC 6455, section 4.1
    assert request.startswith(b"GET /chat?room=1 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n")
    headers = fields(request)
    key = headers.pop("sec-websocket-key")
    assert len(base64.b64decode(key, validate=True)) == 16
    assert headers == {
        "host": "example.com:8765",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "a, b",
        "x-extra": "1",
    }


def test_every_handshake_has_a_key_of_its_own() -> None:
    assert len({fields(asked().request())["sec-websocket-key"] for _ in range(3)}) == 3


def test_the_credentials_of_the_url_are_not_in_the_request_line_or_host() -> None:
    assert b"secret" not in asked().request()


def test_headers_go_out_as_they_were_given() -> None:
    assert header_lines({"X-Token": " a\tb ", "X-Latin": "grüß", "X-Empty": ""}) == [
        (b"X-Token", b"a\tb"),
        (b"X-Latin", "grüß".encode("latin-1")),
        (b"X-Empty", b""),
    ]


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY", "X\n", "Ü", "X\x00"])
def test_a_name_that_http_does_not_allow_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no header name"):
        header_lines({name: "v"})


@pytest.mark.parametrize(
    "value", ["secret\r\nX-Evil: 1", "secret\n", "\rsecret", "secret\x00", "secret\x7f", "secret€"]
)
def test_a_value_that_http_does_not_allow_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="the value of header 'X-Token'") as caught:
        header_lines({"X-Token": value})
    assert type(caught.value) is ValueError
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["Host", "UPGRADE", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol"])
def test_a_header_that_the_handshake_sets_itself_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="set by the opening handshake itself"):
        header_lines({name: "v"})


@pytest.mark.parametrize("headers", [{"X": 1}, {"X": b"v"}, {1: "v"}, {"X": None}])
def test_headers_must_be_strings(headers: dict) -> None:
    with pytest.raises(TypeError, match="name and value must be str"):
        header_lines(headers)


@pytest.mark.parametrize(
    ("credentials", "value"),
    [
        (("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617, section 2
        (("test", "123£"), "Basic dGVzdDoxMjPCow=="),  # RFC 7617, section 2.1
    ],
)
def test_credentials_go_out_as_the_standard_has_it(credentials: tuple[str, str], value: str) -> None:
    assert basic_auth(credentials) == value


@pytest.mark.parametrize(
    ("protocols", "offered"), [((), []), ("chat", ["chat"]), (["b", "a"], ["b", "a"]), (("v1.json",), ["v1.json"])]
)
def test_subprotocols_are_one_or_several_tokens(protocols: object, offered: list[str]) -> None:
    assert check_protocols(protocols) == offered  # type: ignore[arg-type]


@pytest.mark.parametrize("protocols", ["", "a b", "a,b", ["a", ""], ["a\r\n"], ["ü"], [7], ["a", "a"], ["a", "A"]])
def test_what_is_no_subprotocol_or_comes_twice_is_refused(protocols: object) -> None:
    with pytest.raises(ValueError, match=r"subprotocol"):  # RFC 6455, section 4.1
        check_protocols(protocols)  # type: ignore[arg-type]


# What a server answers


def test_an_accepted_handshake_opens_the_connection() -> None:
    handshake = asked()
    assert handshake.receive(upgrade(handshake))
    assert (handshake.protocol, handshake.rest) == ("", b"")
    assert list(handshake.framing(None).receive(frame(TEXT, b"hi", masked=False))) == [(TEXT, b"hi")]


def test_an_answer_may_be_split_anywhere() -> None:
    rest = frame(TEXT, b"hi", masked=False)
    picks = b"Sec-WebSocket-Protocol: chat"
    for cut in range(1, len(upgrade(asked("chat"), picks))):
        handshake = asked("chat")
        answer = upgrade(handshake, picks)
        assert not handshake.receive(answer[:cut])
        assert handshake.receive(answer[cut:] + rest)
        assert (handshake.protocol, handshake.rest) == ("chat", rest)


def test_an_answer_may_come_byte_by_byte() -> None:
    handshake = asked()
    answer = upgrade(handshake)
    assert [handshake.receive(answer[at : at + 1]) for at in range(len(answer))] == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize(
    ("lines", "replaced", "complaint"),
    [
        ([], {"accept": b"Sec-WebSocket-Accept: " + RFC_ACCEPT}, "accept token"),
        ([], {"accept": None}, "accept token"),
        ([], {"upgrade": None}, "Upgrade"),
        ([], {"upgrade": b"Upgrade: h2c"}, "Upgrade"),
        ([], {"connection": None}, "Connection"),
        ([], {"connection": b"Connection: keep-alive"}, "Connection"),
        ([b"Sec-WebSocket-Extensions: permessage-deflate"], {}, "extension"),
        ([b"Sec-WebSocket-Protocol: other"], {}, "subprotocol"),
        ([b"Sec-WebSocket-Protocol: \xff"], {}, "bad header"),
        ([b"Bad Header: 1"], {}, "Bad HTTP"),
    ],
)
def test_an_answer_that_breaks_the_handshake_is_refused(lines: list[bytes], replaced: dict, complaint: str) -> None:
    handshake = asked("chat")  # RFC 6455, section 4.1: the client must fail the connection
    with pytest.raises(HandshakeError, match=complaint) as caught:
        handshake.receive(upgrade(handshake, *lines, **replaced))
    assert caught.value.status == 101
    assert caught.value.address == "example.com:8765"


def test_a_server_that_picks_no_subprotocol_is_refused() -> None:
    handshake = asked("chat", "superchat")
    with pytest.raises(HandshakeError, match="accepts none of the subprotocols chat, superchat"):
        handshake.receive(upgrade(handshake))


def test_a_server_that_picks_a_subprotocol_unasked_is_refused() -> None:
    handshake = asked()
    with pytest.raises(HandshakeError):
        handshake.receive(upgrade(handshake, b"Sec-WebSocket-Protocol: chat"))


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"\x00",
        b"http/1.1 101 OK\r\n\r\n",
        b"HTTQ",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"\r\n\r\n",
        b"220 ftp ready\r\n",
    ],
)
def test_what_is_no_http_is_refused_at_once_with_an_excerpt(garbage: bytes) -> None:
    error = refused(garbage)
    assert error.status is None
    assert "no HTTP" in str(error)
    assert repr(garbage[:4])[2:-1] in str(error)


@pytest.mark.parametrize(
    ("received", "complaint"),
    [([b""], "without an answer"), ([b"HTTP/1.1 101 Swi", b""], "after 'HTTP/1.1 101 Swi'")],
)
def test_a_server_that_hangs_up_is_reported(received: list[bytes], complaint: str) -> None:
    assert complaint in str(refused(*received))


@pytest.mark.parametrize(
    ("status", "lines", "hints"),
    [
        (b"404 Not Found", [], ["HTTP 404 Not Found", "check the path"]),
        (b"200 OK", [], ["HTTP 200 OK", "a web server's page", "check the path"]),
        (b"302 Found", [b"Location: wss://else.example/ws"], ["HTTP 302 Found", "connect there", "wss://else.example"]),
        (b"401 Unauthorized", [b"WWW-Authenticate: Basic"], ["HTTP 401 Unauthorized"]),
        (b"503 Service Unavailable", [], ["HTTP 503 Service Unavailable"]),
        (b"599 Odd", [], ["HTTP 599"]),
    ],
)
def test_a_refusal_tells_status_headers_body_and_what_to_do(
    status: bytes, lines: list[bytes], hints: list[str]
) -> None:
    head = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"X-Served-BY: me", b"Content-Length: 4", b"", b""])
    error = refused(head + b"body")
    assert error.status == int(status[:3])
    assert error.headers["x-served-by"] == "me"
    assert error.body == b"body"
    assert all(hint in str(error) for hint in hints)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", b"body"),
        (b"HTTP/1.0 404 Not Found\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\ncut", b"cut"),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", b""),
    ],
)
def test_a_refusals_body_may_come_byte_by_byte_and_end_in_any_way(answer: bytes, body: bytes) -> None:
    for pieces in ([answer], [answer[at : at + 1] for at in range(len(answer))]):
        error = refused(*pieces, b"")
        assert (error.status, error.body) == (int(answer[9:12]), body)


def test_of_an_endless_body_the_first_64_kib_are_kept() -> None:
    error = refused(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 10_000] * 10)
    assert error.body == b"x" * MAX_HANDSHAKE_BYTES


@pytest.mark.parametrize("split", [True, False])
def test_an_endless_answer_is_refused(split: bool) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nX-Long: " + b"x" * MAX_HANDSHAKE_BYTES + b"\r\n\r\n"
    assert "over 65536 bytes" in str(refused(*([answer[:-1], answer[-1:]] if split else [answer])))


# A server's side


def requested(request: bytes) -> OpeningRequest:
    opening = ServerHandshake().receive(request)
    assert opening is not None
    return opening


def test_a_request_is_read_as_the_standard_has_it() -> None:
    opening = requested(RFC_REQUEST)
    assert opening.target == "/chat"
    assert opening.protocols == ("chat", "superchat")
    assert opening.headers["host"] == "server.example.com"
    assert opening.headers["origin"] == "http://example.com"
    assert "dGhlIHNhbXBsZSBub25jZQ" not in repr(opening)


def test_a_request_may_be_split_anywhere() -> None:
    for cut in range(len(RFC_REQUEST)):
        handshake = ServerHandshake()
        assert handshake.receive(RFC_REQUEST[:cut]) is None
        assert handshake.receive(RFC_REQUEST[cut:] + b"rest") is not None
        assert handshake.rest == b"rest"


def test_the_answer_has_the_standards_accept_token() -> None:
    handshake = ServerHandshake()
    handshake.receive(RFC_REQUEST)
    answer = handshake.accept("superchat")  # RFC 6455, section 1.3
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert fields(answer) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": RFC_ACCEPT.decode(),
        "sec-websocket-protocol": "superchat",
    }
    assert list(handshake.framing(None).receive(frame(TEXT, b"hi", masked=True))) == [(TEXT, b"hi")]


@pytest.mark.parametrize("protocol", ["", "chat"])
def test_both_sides_agree(protocol: str) -> None:
    client, server = asked("superchat", "chat") if protocol else asked(), ServerHandshake()
    opening = server.receive(client.request())
    assert opening is not None
    assert opening.target == "/chat?room=1"
    assert client.receive(server.accept(protocol))
    assert client.protocol == protocol


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 426),
        (RFC_REQUEST.replace(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n"), 426),
        (RFC_REQUEST.replace(b"Version: 13", b"Version: 8"), 426),  # RFC 6455, section 4.4
        (RFC_REQUEST.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400),
        (RFC_REQUEST.replace(b"Sec-WebSocket-Key", b"X"), 400),
        (RFC_REQUEST.replace(b"Sec-WebSocket-Key", b"X").replace(b"Upgrade: web", b"upgrade:Web"), 400),
        (RFC_REQUEST.replace(b"Connection: Upgrade\r\n", b""), 400),
        (RFC_REQUEST.replace(b"Host: server.example.com\r\n", b""), 400),
        (RFC_REQUEST.replace(b"Host: server.example.com", b"Host: \xff"), 400),
        (RFC_REQUEST.replace(b"GET", b"POST"), 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 400),
        (RFC_REQUEST.replace(b"Origin: ", b"X: " + b"x" * MAX_HANDSHAKE_BYTES), 431),
        (b"x" * (MAX_HANDSHAKE_BYTES + 1), 431),
    ],
)
def test_what_asks_for_no_websocket_is_refused_with_its_status(request_: bytes, status: int) -> None:
    with pytest.raises(HandshakeError) as caught:
        ServerHandshake().receive(request_)
    assert caught.value.status == status


@pytest.mark.parametrize(("status", "phrase"), [(400, b"Bad Request"), (426, b"Upgrade Required"), (503, b"Service")])
def test_a_refusal_is_a_whole_http_answer(status: int, phrase: bytes) -> None:
    answer = refusal(status, "nicht hier: ü")
    assert answer.startswith(b"HTTP/1.1 %d %b" % (status, phrase))
    assert (b"sec-websocket-version: 13\r\n" in answer) is (status == 426)  # RFC 6455, section 4.4
    error = refused(answer)
    assert (error.status, error.body.decode()) == (status, "nicht hier: ü\n")
