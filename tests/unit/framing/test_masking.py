import os
from collections.abc import Iterator

import pytest

from wsrpc.framing import masking
from wsrpc.framing.masking import forget_keys, mask, new_key

from ..wire import KEY, xor


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 125, 126, 65_537])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_masking_is_the_rfcs_exclusive_or_and_undoes_itself(size: int, kind: type) -> None:
    payload = bytes(index % 251 for index in range(size))  # RFC 6455, section 5.3
    assert mask(kind(payload), KEY) == xor(payload, KEY)
    assert mask(mask(payload, KEY), KEY) == payload


def test_leading_and_trailing_zeros_survive() -> None:
    assert mask(b"\x00\x00\x00", b"\x00\x00\x00\x00") == b"\x00\x00\x00"


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The blocks that were drawn from the operating system."""
    drawn: list[bytes] = []

    def urandom(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    forget_keys()
    monkeypatch.setattr(masking, "os", type("os", (), {"urandom": staticmethod(urandom)}))
    yield drawn
    forget_keys()


def test_keys_are_drawn_in_blocks_and_handed_out_once_each(blocks: list[bytes]) -> None:
    keys = [new_key() for _ in range(2500)]
    assert {len(key) for key in keys} == {4}
    assert b"".join(keys) == b"".join(blocks)[: 4 * 2500]
    assert len(blocks) == 3


def test_forgotten_keys_are_never_handed_out(blocks: list[bytes]) -> None:
    new_key()
    forget_keys()
    assert new_key() == blocks[1][:4]
