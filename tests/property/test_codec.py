"""What is encoded comes back, and what cannot be says where."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpc.codec import REFLECT_ID, decode, encode, encode_query, is_utf8
from wsrpc.errors import DecodeError, EncodeError

from .outcome import error_of
from .strategies import messages, planted, unsayable


def written(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


@given(messages)
def test_what_is_encoded_comes_back(message: Any) -> None:
    payload = encode(message)
    assert decode(payload) == decode(payload.decode()) == decode(memoryview(payload)) == message


@given(planted(REFLECT_ID), st.integers(1, 2**53))
def test_a_query_is_the_message_with_its_reflect_id_in_place(query: tuple[Any, Any], reflect_id: int) -> None:
    message, steps = query
    parts = encode_query(message)
    assert len(parts) == 2
    sent = decode((b"%d" % reflect_id).join(parts))
    for step in steps:
        sent = sent[step]
    assert sent == reflect_id


@given(unsayable.flatmap(planted))
def test_what_json_cannot_say_is_refused_with_its_path(culprit: tuple[Any, Any]) -> None:
    message, steps = culprit
    with pytest.raises(EncodeError) as caught:
        encode(message)
    assert caught.value.path == written(steps)


@given(st.recursive(unsayable | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_only_the_documented_error_comes_of_encoding(message: Any) -> None:
    error = error_of(EncodeError, encode, message)
    assert error is None or isinstance(error.path, str)


@given(st.binary(max_size=60) | messages.map(encode).flatmap(lambda payload: st.sampled_from([payload, payload[:-1]])))
def test_only_the_documented_error_comes_of_decoding(payload: bytes) -> None:
    error = error_of(DecodeError, decode, payload)
    assert error.message == payload if error else is_utf8(payload)


@given(st.binary(max_size=20) | st.text(max_size=5).map(lambda text: text.encode("utf-16-le", "surrogatepass")))
def test_utf8_is_what_python_decodes(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        assert not is_utf8(payload)
    else:
        assert is_utf8(payload)
