"""Frames and handshakes as a peer would write them, made here byte by byte: a slip in ours cannot hide itself."""

import base64
import hashlib
import itertools
import operator
from collections.abc import Iterable
from typing import Any

from wsproto.connection import Connection, ConnectionType

from wsrpc.errors import ProtocolError
from wsrpc.framing import TEXT, ClientHandshake, Framing

CONTINUATION, BINARY, CLOSE, PING, PONG = 0x0, 0x2, 0x8, 0x9, 0xA
KEY = b"\x12\x34\x56\x78"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def xor(payload: bytes, key: bytes) -> bytes:
    """RFC 6455, section 5.3, to the letter."""
    return bytes(map(operator.xor, payload, itertools.cycle(key)))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    masked: bool,
    fin: bool = True,
    reserved: int = 0,
    length_bytes: int | None = None,
    size: int | None = None,
) -> bytes:
    """One frame (RFC 6455, section 5.2).

    Args:
        opcode, payload, fin: as they are named there.
        masked: with the masking key `KEY`.
        reserved: the bits RSV1 to RSV3, as a number below 8.
        length_bytes: 1, 2 or 8 for the length, be it minimal or not; `None`: the minimum.
        size: what the header says, be it true or not.
    """
    size = len(payload) if size is None else size
    if length_bytes is None:
        length_bytes = 1 if size < 126 else 2 if size < 65536 else 8
    head = bytes([fin << 7 | reserved << 4 | opcode])
    short = {1: size, 2: 126, 8: 127}[length_bytes]
    head += bytes([masked << 7 | short])
    if length_bytes > 1:
        head += size.to_bytes(length_bytes, "big")
    return head + (KEY + xor(payload, KEY) if masked else payload)


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def wsproto_connection(*, client: bool) -> Connection:
    return Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)


def framing(*, client: bool, limit: int | None = None) -> Framing:
    """Our framing in one role, the opening handshake done."""
    return Framing(wsproto_connection(client=client), client=client, max_message_bytes=limit)


def receive(subject: Framing, *pieces: bytes) -> list[tuple[int, Any]]:
    """All that comes of some bytes, text as `str`."""
    return [as_text(event) for piece in pieces for event in subject.receive(piece)]


def as_text(event: tuple[int, Any]) -> tuple[int, Any]:
    """The event with text as `str`: whole text comes as bytes, and who decodes it notices that it is not UTF-8."""
    opcode, content = event
    if opcode == TEXT and isinstance(content, bytes):
        try:
            return opcode, content.decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("text that is not UTF-8", code=1007) from error
    return event


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The bytes in pieces, cut at these places."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def accept_token(request: bytes) -> bytes:
    """What answers the key of an opening handshake (RFC 6455, section 4.2.2)."""
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def upgrade(handshake: ClientHandshake, *lines: bytes, **replaced: bytes | None) -> bytes:
    """A server's answer that opens the connection, with more header lines, or others in place of its own."""
    own = {
        "upgrade": b"Upgrade: websocket",
        "connection": b"Connection: Upgrade",
        "accept": b"Sec-WebSocket-Accept: " + accept_token(handshake.request()),
    }
    kept = [line for line in (own | replaced).values() if line is not None]
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *kept, *lines, b"", b""])
