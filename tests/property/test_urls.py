"""Any text is a URL of a WebSocket, or an `InvalidURL` that keeps the password to itself."""

from hypothesis import example, given
from hypothesis import strategies as st

from wsrpc.errors import InvalidURL
from wsrpc.framing import ClientHandshake
from wsrpc.urls import parse_url

from .outcome import error_of

SECRET = "Zq9secretZq9"

pieces = st.sampled_from(
    ["ws://", "wss:", "//", "user", ":", "@", "/", "?", "#", "[", "]", "::1", "%", "h", " ", "\n", "\\"]
)
urls = st.lists(pieces | st.text(max_size=3), max_size=10).map("".join)
likely = st.one_of(urls, urls.map(lambda url: "ws://" + url))


@given(likely)
@example("ws://h/\ud800")
@example("ws://\ud800@h/")
@example("ws://[v1.a:b]/")
def test_any_text_is_a_url_or_raises_the_documented_error(url: str) -> None:
    if error_of(InvalidURL, parse_url, url) is not None:
        return
    endpoint = parse_url(url)
    assert parse_url(endpoint.url).url == endpoint.url
    assert endpoint.target.isascii()
    assert endpoint.target.startswith("/")
    assert 0 < endpoint.port < 65_536


@given(likely)
def test_any_url_can_be_asked_for(url: str) -> None:
    if error_of(InvalidURL, parse_url, url) is not None:
        return
    endpoint = parse_url(url)
    request = ClientHandshake(endpoint).request()
    assert request.startswith(b"GET %b HTTP/1.1\r\nHost: " % endpoint.target.encode())
    assert request.count(b"\r\n") == 7


@given(urls, st.sampled_from(["", ":", "@", "/", "#", "[", " ", "\u2100"]), urls)
def test_an_invalid_url_never_shows_its_password(before: str, odd: str, after: str) -> None:
    url = f"{before}:{SECRET}{odd}{SECRET}@{after.replace('@', '')}"
    if (error := error_of(InvalidURL, parse_url, url)) is not None:
        assert SECRET not in f"{error} {error.__cause__} {error.__context__}"
