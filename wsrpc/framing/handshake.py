"""The opening handshake, both roles (RFC 6455, section 4): bytes in, an agreed connection or an error out.

wsproto checks what is said; this module bounds how much is read, and feeds wsproto up to the blank line only, since
bytes after it would stay hidden inside. What follows the blank line is `rest`, for the framing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from wsproto import ConnectionType
from wsproto import events as ws
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from ..errors import HandshakeError
from ..urls import Endpoint
from .frames import Framing

MAX_HANDSHAKE_BYTES = 64 * 1024

_BLANK_LINE = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_HTTP_1_1 = re.compile(rb"GET [^\r\n]* HTTP/1\.1\r\n")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_FORBIDDEN_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*websocket", re.IGNORECASE)

#: Headers that the handshake sets itself, and those that would give it a body.
_OWN_HEADER = re.compile(
    r"host|upgrade|connection|content-length|transfer-encoding|sec-websocket-(?:key|version|accept|protocol|extensions)",
    re.IGNORECASE,
)


def header_lines(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as they go on the wire.

    Raises:
        ValueError: a name or value that HTTP does not allow, or a header that the handshake sets itself; the text names
            the header, never its value.
        TypeError: a name or value that is no string.
    """
    lines = []
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r}: name and value must be str")
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no header name (RFC 9110, section 5.1)")
        if _FORBIDDEN_IN_VALUE.search(value):
            raise ValueError(f"the value of header {name!r} has a forbidden character (RFC 9110, section 5.5)")
        if _OWN_HEADER.fullmatch(name):
            raise ValueError(f"the header {name!r} is set by the opening handshake itself")
        lines.append((name.encode("ascii"), value.strip(" \t").encode("latin-1")))
    return lines


def check_protocols(protocols: str | Sequence[str]) -> list[str]:
    """The subprotocols to offer (RFC 6455, section 4.1: tokens, none twice).

    Raises:
        ValueError: one that is no token, or comes twice.
    """
    offered = [protocols] if isinstance(protocols, str) else list(protocols)
    for index, protocol in enumerate(offered):
        if not isinstance(protocol, str) or not _TOKEN.fullmatch(protocol):
            raise ValueError(f"{protocol!r} is no subprotocol name (RFC 6455, section 4.1)")
        if protocol.lower() in (other.lower() for other in offered[:index]):
            raise ValueError(f"the subprotocol {protocol!r} is offered twice")
    return offered


def basic_auth(credentials: tuple[str, str]) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(":".join(credentials).encode()).decode("ascii")


class ClientHandshake:
    """Our side of the handshake with one server.

    Args:
        endpoint: whom we ask.
        protocols: the subprotocols that we offer, best first.
        headers: extra headers, checked by `header_lines`.

    Attributes:
        rest: what came after the handshake.
        protocol: the subprotocol that the server picked, or `""`.
    """

    def __init__(
        self, endpoint: Endpoint, protocols: Sequence[str] = (), headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        self._endpoint = endpoint
        self._protocols = list(protocols)
        self._headers = list(headers)
        self._handshake = H11Handshake(ConnectionType.CLIENT)
        self._received = bytearray()
        self._refusal: ws.RejectConnection | None = None
        self._body = bytearray()
        self.rest = b""
        self.protocol = ""

    def request(self) -> bytes:
        """What we send."""
        return bytes(
            self._handshake.send(
                ws.Request(
                    host=self._endpoint.authority,
                    target=self._endpoint.target,
                    subprotocols=self._protocols,
                    extra_headers=self._headers,
                )
            )
        )

    def receive(self, data: bytes) -> bool:
        """Take bytes of the answer; `b""` says that the server has closed.

        Returns:
            Whether the handshake is done.

        Raises:
            HandshakeError: the server refused, or speaks something else.
        """
        if self._refusal is not None:
            return self._read_body(data)
        self._received += data
        if not self._received.startswith(b"HTTP/"[: len(self._received)]):
            raise self._error(f"answers with something that is no HTTP: {self._excerpt()}")
        end = self._received.find(_BLANK_LINE)
        if _is_too_long(self._received, end):
            raise self._error(f"sent a handshake of over {MAX_HANDSHAKE_BYTES} bytes")
        if end < 0:
            if not data:
                said = f" after {self._excerpt()}" if self._received else " without an answer"
                raise self._error(f"closed the connection{said}, in the opening handshake")
            return False
        head, rest = bytes(self._received[: end + 4]), bytes(self._received[end + 4 :])
        if (status := _STATUS_LINE.match(head)) is None:
            raise self._error(f"answers with something that is no HTTP/1.1: {self._excerpt()}")
        events = self._feed(head, int(status[1]))
        if int(status[1]) == HTTPStatus.SWITCHING_PROTOCOLS:
            return self._accepted(events, rest)
        self._refusal = next((event for event in events if isinstance(event, ws.RejectConnection)), None)
        if self._refusal is None:
            raise self._error(f"answers with something that is no HTTP/1.1: {self._excerpt()}")
        if not self._refusal.has_body:
            raise self._refused()
        return self._read_body(rest, events)

    def framing(self, max_message_bytes: int | None) -> Framing:
        """What goes on from here, once `receive` has returned True."""
        assert self._handshake.connection is not None
        return Framing(self._handshake.connection, client=True, max_message_bytes=max_message_bytes)

    def _feed(self, data: bytes, status: int | None = None) -> list[ws.Event]:
        try:
            self._handshake.receive_data(data)
            return list(self._handshake.events())
        except RemoteProtocolError as error:
            raise self._error(f"breaks the opening handshake: {error}", status=status) from error
        except (ValueError, UnicodeError) as error:  # wsproto lets those of bad extension parameters through
            raise self._error(f"breaks the opening handshake with a bad header: {error}", status=status) from error

    def _accepted(self, events: list[ws.Event], rest: bytes) -> bool:
        accepted = next((event for event in events if isinstance(event, ws.AcceptConnection)), None)
        if accepted is None or self._handshake.connection is None:
            raise self._error("breaks the opening handshake", status=101)
        if self._protocols and not accepted.subprotocol:
            raise self._error(f"accepts none of the subprotocols {', '.join(self._protocols)}", status=101)
        self.protocol = accepted.subprotocol or ""
        self.rest = rest
        return True

    def _read_body(self, data: bytes, events: Sequence[ws.Event] = ()) -> bool:
        """Collect the body of a refusal, for the error, up to a bound."""
        try:
            events = [*events, *(self._feed(data) if data else ())]
        except HandshakeError:  # the refusal itself is the news, not its broken body
            raise self._refused() from None
        for event in events:
            if isinstance(event, ws.RejectData):
                self._body += event.data
                if event.body_finished:
                    raise self._refused()
        if (not data and not events) or len(self._body) > MAX_HANDSHAKE_BYTES:
            raise self._refused()
        return False

    def _refused(self) -> HandshakeError:
        assert self._refusal is not None
        status = self._refusal.status_code
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self._refusal.headers}
        try:
            phrase = f" {HTTPStatus(status).phrase}"
        except ValueError:
            phrase = ""
        text = f"answers the opening handshake with HTTP {status}{phrase}"
        if 300 <= status < 400 and "location" in headers:
            text += f", a redirect to {headers['location']}; redirects are not followed, connect there instead"
        elif 200 <= status < 300:
            text += ": this is a web server's page, not a WebSocket; check the path of the URL"
        elif status == HTTPStatus.NOT_FOUND:
            text += ": no WebSocket there; check the path of the URL"
        error = self._error(text, status=status)
        error.headers, error.body = headers, bytes(self._body[:MAX_HANDSHAKE_BYTES])
        return error

    def _error(self, text: str, *, status: int | None = None) -> HandshakeError:
        return HandshakeError(
            f"cannot connect to {self._endpoint.url}: the server {text}", address=self._endpoint.address, status=status
        )

    def _excerpt(self) -> str:
        return repr(bytes(self._received[:40]))[1:]


@dataclass(frozen=True)
class OpeningRequest:
    """A client's opening handshake, as a server sees it.

    Attributes:
        target: path and query.
        headers: names in lower case; of repeated ones the last.
        protocols: the subprotocols offered.
    """

    target: str
    headers: dict[str, str] = field(repr=False)
    protocols: tuple[str, ...] = ()


class ServerHandshake:
    """The server's side of the handshake with one client.

    Attributes:
        rest: what came after the handshake.
    """

    def __init__(self) -> None:
        self._handshake = H11Handshake(ConnectionType.SERVER)
        self._received = bytearray()
        self.rest = b""

    def receive(self, data: bytes) -> OpeningRequest | None:
        """Take bytes of the request; `None` until it is whole.

        Raises:
            HandshakeError: it asks for no WebSocket; `refusal` makes the answer to it.
        """
        self._received += data
        end = self._received.find(_BLANK_LINE)
        if _is_too_long(self._received, end):
            raise HandshakeError("the request is over 64 KiB", status=431)
        if end < 0:
            return None
        head, self.rest = bytes(self._received[: end + 4]), bytes(self._received[end + 4 :])
        try:
            self._handshake.receive_data(head)
            request = next(event for event in self._handshake.events() if isinstance(event, ws.Request))
        except RemoteProtocolError as error:
            hint = error.event_hint
            status = hint.status_code if isinstance(hint, ws.RejectConnection) else 400
            wants_page = head.startswith(b"GET ") and not _UPGRADE.search(head)
            raise HandshakeError(
                f"this is a WebSocket endpoint: {error}", status=426 if wants_page else status
            ) from error
        except (ValueError, StopIteration) as error:
            raise HandshakeError("this is a WebSocket endpoint, and that was no request for one", status=400) from error
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.extra_headers}
        if not _HTTP_1_1.match(head) or not _is_nonce(headers.get("sec-websocket-key", "")):
            text = "this is a WebSocket endpoint: it takes HTTP/1.1, and a Sec-WebSocket-Key of 16 bytes"
            raise HandshakeError(text, status=400)
        return OpeningRequest(request.target, headers | {"host": request.host}, tuple(request.subprotocols))

    def accept(self, protocol: str = "") -> bytes:
        """The answer that opens the connection, with the subprotocol picked."""
        return bytes(self._handshake.send(ws.AcceptConnection(subprotocol=protocol or None)))

    def framing(self, max_message_bytes: int | None) -> Framing:
        """What goes on from here, after `accept`."""
        assert self._handshake.connection is not None
        return Framing(self._handshake.connection, client=False, max_message_bytes=max_message_bytes)


def _is_nonce(key: str) -> bool:
    """Whether it is 16 bytes in base64 (RFC 6455, section 4.2.1), which wsproto does not check."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _is_too_long(received: bytearray, end: int) -> bool:
    """Whether what came up to the blank line, at `end` if it came, is over the bound; however it was split."""
    return (len(received) if end < 0 else end + len(_BLANK_LINE)) > MAX_HANDSHAKE_BYTES


def refusal(status: int, text: str) -> bytes:
    """A whole HTTP answer that refuses a handshake, for people with a browser to read."""
    body = text.encode() + b"\n"
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if status == HTTPStatus.UPGRADE_REQUIRED:
        lines += ["upgrade: websocket", "sec-websocket-version: 13"]
    return "\r\n".join(lines).encode("ascii") + _BLANK_LINE + body
