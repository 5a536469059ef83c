"""WebSocket URLs: what they name, and which ones are refused.

Pure: no name look-ups. RFC 6455, section 3, with the WHATWG standard's mapping of `http` and `https`. The password of a
URL is kept for the handshake and shown nowhere: `Endpoint.url` and `repr` have it taken out.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from .errors import InvalidURL

_SECURE = {"ws": False, "http": False, "wss": True, "https": True}
_TARGET_SAFE = "%!$&'()*+,;=:@/?~-._[]|^`{}"
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20#%/<>?@\\^|\x7f]")
_UP_TO_PASSWORD = re.compile(r"^(\s*(?:[a-z][a-z0-9+.\-]*://|(?:wss?|https?):/*)?).*@", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Endpoint:
    """Where a WebSocket is: the parts of its URL.

    Attributes:
        secure: over TLS (`wss`).
        host: name or address, IPv6 literals without brackets.
        port: the URL's, or 80 and 443.
        target: path and query, as the opening handshake asks for it.
        credentials: user and password of the URL, if it has them.
    """

    secure: bool
    host: str
    port: int
    target: str
    credentials: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def authority(self) -> str:
        """What the `Host` header says: the port only where it is not the scheme's own (RFC 6455, section 4.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def address(self) -> str:
        """`host:port`, as errors name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address, if the host is one and no name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def origin(self) -> str:
        """The origin of its messages, as `MessageEvent.origin` has it."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}"

    @property
    def url(self) -> str:
        """The URL in its normal form, without credentials."""
        return self.origin + self.target


def parse_url(url: str) -> Endpoint:
    """What a URL names.

    Raises:
        InvalidURL: it is no `ws`, `wss`, `http` or `https` URL, has a fragment, no host, or a bad port.
        TypeError: it is no string.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    shown = _without_password(url)
    parts, port = _split(url, shown)
    secure = _SECURE.get(parts.scheme)
    if secure is None:
        raise InvalidURL(f"invalid URL {shown!r}: it must begin with ws:// or wss:// (or http://, https://)")
    if "#" in url:
        raise InvalidURL(f"invalid URL {shown!r}: a WebSocket URL has no fragment (write # as %23)")
    if port == 0:
        raise InvalidURL(f"invalid URL {shown!r}: port 0 cannot be connected to")
    query = f"?{parts.query}" if parts.query else ""
    credentials = (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None
    return Endpoint(
        secure=secure,
        host=_host(parts.hostname, shown),
        port=port or (443 if secure else 80),
        target=quote((parts.path or "/") + query, safe=_TARGET_SAFE),
        credentials=credentials,
    )


def _split(url: str, shown: str) -> tuple[SplitResult, int | None]:
    """The parts of a URL, and its port."""
    try:
        url.encode()  # refuses unpaired surrogates
        parts = urlsplit(url.strip())
        return parts, parts.port
    except ValueError as error:
        why = "its host or port is malformed" if "@" in url else str(error)
    raise InvalidURL(f"invalid URL {shown!r}: {why}")  # not `from error`: its text may have the password


def _host(host: str | None, shown: str) -> str:
    if not host:
        raise InvalidURL(f"invalid URL {shown!r}: it names no host")
    if ":" in host:  # an IPv6 literal, which urlsplit has checked
        return host
    try:
        name = unquote(host).encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InvalidURL(f"invalid URL {shown!r}: {host!r} is no host name: {error}") from error
    if _FORBIDDEN_IN_HOST.search(name):
        raise InvalidURL(f"invalid URL {shown!r}: {host!r} is no host name")
    return name


def _without_password(url: str) -> str:
    """The URL as errors show it: all before the last @ hidden, since in a malformed one any of it may be a password."""
    return _UP_TO_PASSWORD.sub(r"\1***@", url)
