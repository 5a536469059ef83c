import pickle
import traceback

import pytest

from wsrpc.errors import InvalidURL
from wsrpc.urls import parse_url


@pytest.mark.parametrize(
    ("url", "normal", "address"),
    [
        ("ws://example.com", "ws://example.com/", "example.com:80"),
        ("wss://example.com", "wss://example.com/", "example.com:443"),
        ("http://example.com/a", "ws://example.com/a", "example.com:80"),
        ("https://example.com/a", "wss://example.com/a", "example.com:443"),
        ("WS://EXAMPLE.com/A", "ws://example.com/A", "example.com:80"),
        ("  ws://example.com/ \n", "ws://example.com/", "example.com:80"),
        ("ws://example.com:80/", "ws://example.com/", "example.com:80"),
        ("wss://example.com:80/", "wss://example.com:80/", "example.com:80"),
        ("ws://example.com:/", "ws://example.com/", "example.com:80"),
        ("ws://127.0.0.1:8765/?a=1&b=2", "ws://127.0.0.1:8765/?a=1&b=2", "127.0.0.1:8765"),
        ("ws://example.com?a=1", "ws://example.com/?a=1", "example.com:80"),
        ("ws://[::1]:8765/x", "ws://[::1]:8765/x", "[::1]:8765"),
        ("wss://[2001:DB8::1]", "wss://[2001:db8::1]/", "[2001:db8::1]:443"),
        ("ws://example.com/a b/ü?q=é c", "ws://example.com/a%20b/%C3%BC?q=%C3%A9%20c", "example.com:80"),
        ("ws://example.com/%20%23", "ws://example.com/%20%23", "example.com:80"),
        ("ws://münchen.example/", "ws://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example:80"),
        ("ws://under_score/", "ws://under_score/", "under_score:80"),
        ("ws://example.com/@a:b@c", "ws://example.com/@a:b@c", "example.com:80"),
    ],
)
def test_a_url_names_its_endpoint(url: str, normal: str, address: str) -> None:
    endpoint = parse_url(url)
    assert endpoint.url == normal
    assert endpoint.address == address
    assert parse_url(normal) == endpoint


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://h", "h"),
        ("ws://h:80", "h"),
        ("wss://h:443", "h"),
        ("ws://h:443", "h:443"),
        ("ws://[::1]", "[::1]"),
        ("ws://[::1]:81", "[::1]:81"),
    ],
)
def test_the_host_header_leaves_the_default_port_out(url: str, authority: str) -> None:
    assert parse_url(url).authority == authority  # RFC 6455, section 4.1
    assert parse_url(url).origin == f"{url.partition(':')[0]}://{authority}"


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "must begin with ws://"),
        ("example.com", "must begin with ws://"),
        ("example.com:80", "must begin with ws://"),
        ("ftp://example.com", "must begin with ws://"),
        ("ws://example.com/#part", "no fragment"),  # RFC 6455, section 3
        ("ws://example.com/#", "no fragment"),
        ("ws://", "no host"),
        ("ws:///path", "no host"),
        ("ws:example.com", "no host"),
        ("ws://:80", "no host"),
        ("ws://example.com:0", "port 0"),
        ("ws://example.com:65536", "[Pp]ort"),
        ("ws://example.com:-1", "[Pp]ort"),
        ("ws://example.com:http", "[Pp]ort"),
        ("ws://[::1", "IPv6"),
        ("ws://exa mple.com", "no host name"),
        ("ws://example..com", "no host name"),
        ("ws://exam%00ple.com", "no host name"),
        ("ws://example.com%2Fevil", "no host name"),
        ("ws://" + "a" * 64 + ".com", "no host name"),
        ("ws://example.com/\ud800", "surrogates"),
        ("ws://\ud800.example", "surrogates"),
    ],
)
def test_what_names_no_websocket_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(InvalidURL, match=complaint):
        parse_url(url)


@pytest.mark.parametrize("url", [None, b"ws://h", 7])
def test_a_url_must_be_a_string(url: object) -> None:
    with pytest.raises(TypeError, match="a URL is a str"):
        parse_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("ws://h", None),
        ("ws://me:secret@h", ("me", "secret")),
        ("ws://me@h", ("me", "")),
        ("ws://m%40e:se%2Fcr%3Aet@h", ("m@e", "se/cr:et")),
        ("ws://me:se@cret@h", ("me", "se@cret")),
    ],
)
def test_credentials_are_kept_for_the_handshake(url: str, credentials: tuple[str, str] | None) -> None:
    assert parse_url(url).credentials == credentials


def test_credentials_are_shown_nowhere() -> None:
    endpoint = parse_url("ws://me:secret@h:81/p")
    assert "secret" not in f"{endpoint} {endpoint!r} {endpoint.url} {endpoint.origin} {endpoint.authority}"
    assert pickle.loads(pickle.dumps(endpoint)).credentials == ("me", "secret")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:secret@h",
        "ws://me:secret@h/#part",
        "ws://me:secret@h:99999",
        "ws://me:secret@",
        "ws://me:secret@[::1",
        "ws://me:secret@ho st",
        "ws://me:secret#@h",
        "ws://me:secret/@h",
        "ws://me:secret@cret@h:0",
        "ws://me:\u2100secret@h",
        "ws://me:sec\nret@h:0",
        "me:secret@h",
        "ws:me:secret@h",
        "ws:/me:secret@h",
        "//me:secret@h",
        "secret@h",
    ],
)
def test_an_invalid_url_never_shows_its_password(url: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse_url(url)
    shown = "".join(traceback.format_exception(caught.value, chain=True))
    text = shown[shown.index("InvalidURL") :]
    assert "secret" not in text
    assert "sec\\nret" not in text
    assert "***@" in text
    assert caught.value.__context__ is None or "secret" not in str(caught.value.__context__)


def test_line_breaks_cannot_reach_the_request_line() -> None:
    target = parse_url("ws://h/a\r\nX-Evil: 1\r\n?b=\r\n\x00\x7f").target
    assert target.isascii()
    assert not set(target) & set("\r\n\x00\x7f ")
