"""Masking of frames (RFC 6455, section 5.3).

A client masks every frame with a fresh 32-bit key from a strong source of entropy. Keys are drawn from the operating
system in blocks, since a system call a frame would cost more than the masking of a small one. The exclusive or is done
on whole payloads as big integers: linear, and the fastest pure way at every size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_KEYS_IN_BLOCK = 1024

_keys: Iterator[bytes] = iter(())  # each step of it is atomic: a key is never handed out twice


def new_key() -> bytes:
    """A masking key: 4 bytes that nobody can foresee. From any thread."""
    global _keys
    for key in _keys:
        return key
    block = os.urandom(4 * _KEYS_IN_BLOCK)
    fresh = iter([block[at : at + 4] for at in range(0, len(block), 4)])
    key = next(fresh)
    _keys = fresh
    return key


def forget_keys() -> None:
    """Draw anew: a forked child must not use its parent's keys."""
    global _keys
    _keys = iter(())


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=forget_keys)


def mask(payload: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """The payload, masked; or unmasked, which is the same."""
    size = len(payload)
    repeated = (key * ((size + 3) // 4))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")
