"""Bytes to whole messages and back, after the opening handshake (RFC 6455, sections 5 to 7).

A whole frame of an unfragmented message takes the short way: header read and written here, payload handed on as bytes.
Every other byte (control frames, fragments, anything incomplete or malformed) goes through wsproto, which stays the
authority on the protocol. This module owns the frame boundaries: wsproto is fed one frame at a time, so that nothing
hides in its buffer, and each length is checked against the limit before its bytes are taken.

Used by one thread (the loop), but for `pack`, which is pure and may be called from any.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsproto import events as ws
from wsproto.connection import Connection as WsprotoConnection
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason

from ..errors import MessageTooBig, ProtocolError
from .masking import mask, new_key

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

NO_STATUS = 1005
ABNORMAL = 1006

_FIN = 0x80
_MASKED = 0x80
_CONTROL = 0x8
_WHOLE_TEXT, _WHOLE_BINARY = _FIN | TEXT, _FIN | BINARY
_SMALL = 125  # bytes; the length of a larger payload is elsewhere

_CLOSE_FRAME_CAME = (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED)

#: An opcode and what came with it: text as `bytes` or `str`, binary as `bytes`, a ping's or pong's payload, or the
#: code and reason of a close frame.
Event = tuple[int, Any]


def pack(opcode: int, payload: bytes, *, client: bool) -> bytes:
    """A whole data frame: final, uncompressed; masked if a client sends it. Pure; from any thread."""
    size = len(payload)
    if not client:
        return _header(opcode, size, 0) + payload
    key = new_key()
    header = _SMALL_MASKED[opcode][size] if size <= _SMALL else _header(opcode, size, _MASKED)
    return header + key + mask(payload, key)


def _header(opcode: int, size: int, masked: int) -> bytes:
    if size < 126:
        return bytes((_FIN | opcode, masked | size))
    if size < 65536:
        return bytes((_FIN | opcode, masked | 126)) + size.to_bytes(2, "big")
    return bytes((_FIN | opcode, masked | 127)) + size.to_bytes(8, "big")


_SMALL_MASKED = {opcode: [_header(opcode, size, _MASKED) for size in range(_SMALL + 1)] for opcode in (TEXT, BINARY)}


class Framing:
    """The framing of one connection, in one role.

    Args:
        wsproto: the connection that the opening handshake left, with nothing in its buffer.
        client: whether we are the client: we mask, the peer must not.
        max_message_bytes: limit of one message's payload, inclusive; `None`: no limit.
    """

    def __init__(self, wsproto: WsprotoConnection, *, client: bool, max_message_bytes: int | None) -> None:
        self._wsproto = wsproto
        self._client = client
        self._limit = max_message_bytes if max_message_bytes is not None else 1 << 64
        self._rest = b""  # bytes received and not yet read: less than a header, or what came while not read
        self._owed = 0  # bytes that wsproto waits for, of the frame it is in
        self._parts: list[Any] | None = None  # of the message that wsproto is in
        self._size = 0  # payload bytes of that message, as its headers say
        self._ended = False  # a close frame came: nothing after it counts

    def ping(self, payload: bytes) -> bytes:
        """A ping frame; empty once a close frame was sent or came."""
        if self._wsproto.state is not ConnectionState.OPEN:
            return b""
        return bytes(self._wsproto.send(ws.Ping(payload=payload)))

    def pong(self, payload: bytes) -> bytes:
        """The answer to a ping; empty once a close frame was sent or came."""
        if self._wsproto.state is not ConnectionState.OPEN:
            return b""
        return bytes(self._wsproto.send(ws.Pong(payload=payload)))

    def close(self, code: int | None, reason: str = "") -> bytes:
        """A close frame; empty if one was sent already. `None` or 1005 as code sends none."""
        if self._wsproto.state not in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            return b""
        if code is None or code == NO_STATUS:
            code = CloseReason.NO_STATUS_RCVD  # wsproto compares by identity: another 1005 it would send as 1000
        return bytes(self._wsproto.send(ws.CloseConnection(code=code, reason=reason or None)))

    def receive(self, received: memoryview) -> Iterator[Event]:
        """The messages and control frames in the bytes received, in order.

        May be left before its end: what was not read yet is kept for the next call.

        Raises:
            ProtocolError: the peer broke the protocol; the connection is to be failed with its `code`.
            MessageTooBig: a message over the limit; to be failed with 1009.
        """
        view = memoryview(self._rest + received) if self._rest else received
        self._rest = b""
        at, end = 0, len(view)
        mask_bit, least_limit = (0, min(self._limit, _SMALL)) if self._client else (_MASKED, -1)
        try:
            while not self._ended and at < end:
                # The way of most messages: a small frame from a server, whole, when no other is begun.
                if (
                    end - at > 1
                    and (size := view[at + 1]) <= least_limit
                    and (stop := at + 2 + size) <= end
                    and self._parts is None
                    and not self._owed
                    and ((first := view[at]) == _WHOLE_TEXT or first == _WHOLE_BINARY)
                ):
                    body, at = at + 2, stop
                    yield first & 0xF, bytes(view[body:stop])
                    continue
                if self._owed:
                    fed = view[at : at + self._owed]
                    at += len(fed)
                    self._owed -= len(fed)
                    yield from self._through_wsproto(fed)
                    continue
                if end - at < 2:
                    return
                first, second = view[at], view[at + 1]
                size, body = second & 0x7F, at + 2
                least = 0
                if size == 126:
                    size, body, least = int.from_bytes(view[body : body + 2], "big"), body + 2, 126
                elif size == 127:
                    size, body, least = int.from_bytes(view[body : body + 8], "big"), body + 8, 65536
                if second & _MASKED:
                    body += 4
                if body > end:
                    return
                stop = body + size
                if (
                    (first != _WHOLE_TEXT and first != _WHOLE_BINARY)
                    or second & _MASKED != mask_bit
                    or self._parts is not None
                    or stop > end
                    or not least <= size <= self._limit
                ):
                    self._begin(first, size)
                    self._owed = stop - at
                    continue
                at = stop
                if mask_bit:
                    yield first & 0xF, mask(view[body:stop], bytes(view[body - 4 : body]))
                else:
                    yield first & 0xF, bytes(view[body:stop])
        finally:
            self._rest = b"" if self._ended else bytes(view[at:])

    def _begin(self, first: int, size: int) -> None:
        """A frame that goes through wsproto: check its length before its bytes are taken."""
        if first & _CONTROL:
            return
        self._size = size if first & 0xF != CONTINUATION else self._size + size
        if self._size > self._limit:
            raise MessageTooBig(
                f"a message of at least {self._size} bytes came; max_message_bytes is {self._limit}",
                size=self._size,
                limit=self._limit,
            )

    def _through_wsproto(self, fed: memoryview) -> Iterator[Event]:
        self._wsproto.receive_data(fed)  # type: ignore[arg-type]
        for event in self._wsproto.events():
            if isinstance(event, ws.Message):
                if self._parts is None:
                    self._parts = []
                if event.data:  # a peer may send empty fragments without end
                    self._parts.append(event.data)
                if event.message_finished:
                    yield self._whole_message(event)
            elif isinstance(event, ws.Ping):
                yield PING, bytes(event.payload)
            elif isinstance(event, ws.Pong):
                yield PONG, bytes(event.payload)
            elif isinstance(event, ws.CloseConnection):
                self._ended = True
                if self._wsproto.state not in _CLOSE_FRAME_CAME:  # wsproto says so of a broken rule as well
                    raise ProtocolError(f"the peer broke the protocol: {event.reason}", code=int(event.code))
                yield CLOSE, (int(event.code), event.reason or "")

    def _whole_message(self, last: ws.Message[Any]) -> Event:
        parts, self._parts, self._size = self._parts or [], None, 0
        if isinstance(last, ws.TextMessage):
            return TEXT, "".join(parts)
        return BINARY, b"".join(parts)
