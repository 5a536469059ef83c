import enum
import json
import math
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from wsrpc.codec import REFLECT_ID, decode, encode, encode_query, is_utf8
from wsrpc.errors import DecodeError, EncodeError

np = pytest.importorskip("numpy")


@dataclass
class Point:
    x: Any
    y: Any = 0


class Colour(enum.Enum):
    RED = "red"


GRID = np.arange(12).reshape(3, 4)
DAYS = ["2024-05-01T00:00:00", "2024-05-02T00:00:00"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, "ü", True, None]}, {"a": [1, 2.5, "ü", True, None]}),
        ((1, 2), [1, 2]),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (Point(1, [2]), {"x": 1, "y": [2]}),
        (Colour.RED, "red"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2024, 5, 1, 12, tzinfo=UTC), "2024-05-01T12:00:00+00:00"),
        ("\x00", "\x00"),
        (GRID, GRID.tolist()),
        (GRID[:, ::2], [[0, 2], [4, 6], [8, 10]]),
        (GRID.T, GRID.T.tolist()),
        (np.asfortranarray(GRID), GRID.tolist()),
        (GRID.astype(">i4"), GRID.tolist()),
        ([GRID.astype(">f8")[:, ::2], {"a": GRID.astype("<f8")}], [GRID[:, ::2].tolist(), {"a": GRID.tolist()}]),
        (np.array([GRID.astype(">i2")[0], None], dtype=object), [GRID[0].tolist(), None]),
        (np.array(["2024-05-01", "2024-05-03", "2024-05-02"], "M8[ns]")[::2], DAYS),
        (np.array(["2024-05-01", "2024-05-02"], ">M8[ns]"), DAYS),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([{"a": 1}, None], dtype=object), [{"a": 1}, None]),
        (np.array(5), 5),
        (np.zeros((0, 3)), []),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        ({"rows": [GRID[0, ::2], np.uint8(3)]}, {"rows": [[0, 2], 3]}),
    ],
    ids=repr,
)
def test_what_json_can_say_is_encoded(value: Any, expected: Any) -> None:
    assert json.loads(encode(value)) == expected


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (object(), ""),
        ({"params": {"rows": [0, 1, 2, {1, 2}]}}, "params.rows[3]"),
        ({"params": [[1], [2, 3j]]}, "params[1][1]"),
        ({"params": (b"bytes",)}, "params[0]"),
        ({"params": Point(1, object())}, "params.y"),
        ({"params": {"big": 2**64}}, "params.big"),
        ({"params": {"low": -(2**63) - 1}}, "params.low"),
        ({"params": {"text": "\ud800"}}, "params.text"),
        ({"params": {"keys": {1: 2}}}, "params.keys"),
        ({"params": {"complex": np.array([1j])}}, "params.complex"),
        ({"params": OrderedDict(a=memoryview(b"x"))}, "params.a"),
        ([object()], "[0]"),
        ([GRID.astype(">i4"), [object()]], "[1][0]"),
    ],
    ids=repr,
)
def test_what_json_cannot_say_is_refused_with_its_path(message: Any, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(message)
    assert caught.value.path == path
    assert path in str(caught.value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float32("nan")], ids=repr)
@pytest.mark.parametrize(
    ("place", "path"),
    [
        (lambda number: number, ""),
        (lambda number: {"a": [None, {"b": number}]}, "a[1].b"),
        (lambda number: {"a": (0, number)}, "a[1]"),
        (lambda number: {"a": Point(0, number)}, "a.y"),
        (lambda number: {"a": np.array([[0, 1], [2, number]])}, "a[1][1]"),
        (lambda number: {"a": np.array([0, 1, number, 3])[::2]}, "a[1]"),
    ],
    ids=["alone", "nested", "tuple", "dataclass", "array", "strided array"],
)
def test_nan_and_infinity_are_refused_with_their_path(number: float, place: Any, path: str) -> None:
    with pytest.raises(EncodeError, match="allow_nan") as caught:
        encode(place(number))
    assert caught.value.path == path


def test_allow_nan_sends_null() -> None:
    assert encode({"a": [math.nan, math.inf, np.array([-math.inf])]}, allow_nan=True) == b'{"a":[null,null,[null]]}'


def test_none_and_texts_with_null_are_not_taken_for_nan() -> None:
    assert encode({"null": [None, "null", np.array([1.0])]}) == b'{"null":[null,"null",[1.0]]}'


def test_a_message_that_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EncodeError):
        encode(circle)


def test_the_error_shows_a_short_form_of_the_culprit() -> None:
    with pytest.raises(EncodeError) as caught:
        encode({"params": b"x" * 10_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"id": REFLECT_ID, "a": 1}, [b'{"id":', b',"a":1}']),
        ([2, REFLECT_ID], [b"[2,", b"]"]),
        ({"a": "\x00", "id": REFLECT_ID}, [b'{"a":"\\u0000","id":', b"}"]),
        ({"a": 1}, [b'{"a":1}']),
    ],
)
def test_a_query_is_cut_where_its_reflect_id_will_be(message: Any, parts: list[bytes]) -> None:
    assert encode_query(message) == parts


def test_a_query_refuses_what_encode_refuses() -> None:
    with pytest.raises(EncodeError):
        encode_query({"id": REFLECT_ID, "params": [math.nan]})
    assert encode_query({"id": REFLECT_ID, "params": [math.nan]}, allow_nan=True) == [b'{"id":', b',"params":[null]}']


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode], ids=lambda kind: kind.__name__)
def test_payloads_of_every_kind_are_decoded(kind: Any) -> None:
    assert decode(kind('{"a":"ü"}'.encode())) == {"a": "ü"}


@pytest.mark.parametrize("payload", [b"", b"{", b"NaN", b"{'a': 1}", b"\xff", "\ud800", "[1] [2]", b"[" * 5000])
def test_what_is_no_json_raises_with_the_message_as_it_came(payload: bytes | str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(payload)
    assert caught.value.message == payload
    assert len(str(caught.value)) < 300


def test_a_view_of_a_reused_buffer_is_not_kept_in_the_error() -> None:
    buffer = bytearray(b"{bad")
    with pytest.raises(DecodeError) as caught:
        decode(memoryview(buffer))
    buffer[:] = b"else"
    assert caught.value.message == b"{bad"


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        (b"", True),
        ("ü".encode(), True),
        (memoryview(b"a"), True),
        ("ü", True),
        (b"\xff", False),
        (b"\xed\xa0\x80", False),
        ("\ud800", False),
    ],
)
def test_utf8_is_told_from_what_is_not(payload: Any, verdict: bool) -> None:
    assert is_utf8(payload) is verdict
