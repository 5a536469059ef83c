"""Bytes to whole messages and back: the opening handshake, frames, masking.

The only package that knows wsproto; it knows no socket, no thread and no clock.
"""

from __future__ import annotations

from .frames import ABNORMAL, BINARY, CLOSE, NO_STATUS, PING, PONG, TEXT, Event, Framing, pack
from .handshake import (
    ClientHandshake,
    OpeningRequest,
    ServerHandshake,
    basic_auth,
    check_protocols,
    header_lines,
    refusal,
)

__all__ = [
    "ABNORMAL",
    "BINARY",
    "CLOSE",
    "NO_STATUS",
    "PING",
    "PONG",
    "TEXT",
    "ClientHandshake",
    "Event",
    "Framing",
    "OpeningRequest",
    "ServerHandshake",
    "basic_auth",
    "check_protocols",
    "header_lines",
    "pack",
    "refusal",
]
