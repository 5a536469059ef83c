"""The options that WebSocket, Client and Server share, checked once.

Pure data. Sizes are in bytes, times in seconds; `None` means no limit, or off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl as _ssl

MIB = 1024 * 1024

Headers = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a connection is made and bounded; see the reference for each option.

    Attributes:
        headers: extra headers of the opening handshake, or a function that returns them, called at each connection.
        cookies: likewise, sent as one `Cookie` header.
        origin: the `Origin` header.
        auth: user and password for HTTP Basic authentication; credentials in the URL count as this.
        ssl: the TLS settings; `None` verifies with the system's trust store.
        proxy: `None`: no proxy.
        compression: `None`: no compression.
        open_timeout: from the name look-up to the end of the opening handshake.
        close_timeout: of the closing handshake; then the socket is dropped.
        ping_interval: a ping after so long without a received byte; `None`: no pings.
        ping_timeout: the connection is dropped when nothing came for so long after a ping; `None`: never.
        max_message_bytes: of one message received, inclusive; more closes the connection with 1009.
        max_queue: how many messages wait for handlers before the socket is no longer read.
        max_buffered_bytes: how many bytes may wait for the network.
    """

    headers: Headers | Callable[[], Headers] | None = field(default=None, repr=False)
    cookies: Headers | Callable[[], Headers] | None = field(default=None, repr=False)
    origin: str | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)
    ssl: _ssl.SSLContext | None = None
    proxy: None = None
    compression: None = None
    open_timeout: float | None = 10.0
    close_timeout: float | None = 5.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    max_message_bytes: int | None = 64 * MIB
    max_queue: int = 1024
    max_buffered_bytes: int = 16 * MIB

    def __post_init__(self) -> None:
        for name in ("open_timeout", "close_timeout", "ping_interval", "ping_timeout", "max_message_bytes"):
            check_positive(name, getattr(self, name), none="no limit")
        for name in ("max_queue", "max_buffered_bytes"):
            check_positive(name, getattr(self, name))
        for name in ("proxy", "compression"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)!r} is not supported by this version; use None")


def make_options(given: Mapping[str, Any], **defaults: Any) -> Options:
    """The options that a caller named, over the defaults of the class it called.

    Raises:
        TypeError: an option that does not exist; the text lists those that do.
        ValueError: a value that an option cannot have.
    """
    known = [option.name for option in fields(Options)]
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    return Options(**{**defaults, **given})


def check_positive(name: str, value: Any, *, none: str | None = None) -> None:
    """Refuse what is no number over 0.

    Args:
        name: how the error names it.
        value: the value.
        none: what `None` means, where it is allowed.

    Raises:
        ValueError: 0 or less, or not a number.
        TypeError: not a number.
    """
    if value is None and none is not None:
        return
    hint = f" (None: {none})" if none else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number{hint}, not {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} must be over 0{hint}, not {value}")
