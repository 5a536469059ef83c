"""A dialect takes any message for something, and reads back what it wrote."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsrpc.codec import decode, encode, encode_query
from wsrpc.dialects import ID, JSONRPC, METHOD, PARAMS, Answer, Dialect, Failure, Reflect, Request

from .strategies import messages, texts

DIALECTS: list[Dialect] = [
    JSONRPC(),
    Reflect(id="id", result="result", error="error", topic="method", event="params", final="done"),
    Reflect(id="d.id", request={"op": 6, "d": {"type": METHOD, "data": PARAMS}}, result="d.data", error="d.error"),
    Reflect(id=1, request=[2, ID, METHOD, PARAMS], result=2, topic=0),
    Reflect(id="h.id", echo="p.id", ids="str", result="content"),
]
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=repr)

fields = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "d", "h", "p", "done", "code"])
#: Messages that look like a dialect's.
likely = st.recursive(
    messages | st.sampled_from(["2.0", "7", "07", 7, True, 7.0]),
    lambda inner: st.dictionaries(fields, inner, max_size=6) | st.lists(inner, max_size=4),
    max_leaves=12,
)
params = st.none() | st.lists(messages, max_size=3) | st.dictionaries(texts, messages, max_size=3)


@every_dialect
@given(message=likely)
def test_any_message_can_be_read_on_either_side(dialect: Dialect, message: Any) -> None:
    dialect.read(message)
    dialect.read_push(message)
    dialect.read_request(message)


@every_dialect
@given(method=texts, params=params, number=st.integers(1, 2**53))
def test_a_server_reads_the_query_that_a_client_wrote(dialect: Dialect, method: str, params: Any, number: int) -> None:
    key = dialect.new_id(number)
    payload = encode(key).join(encode_query(dialect.request(method, params)))
    request = dialect.read_request(decode(payload))
    assert isinstance(request, Request)
    assert (request.method, request.params, dialect.key(request.id), request.wants_answer) == (
        method,
        params,
        key,
        True,
    )


@every_dialect
@given(result=messages, number=st.integers(1, 2**53))
def test_a_client_reads_the_answer_that_a_server_wrote(dialect: Dialect, result: Any, number: int) -> None:
    key = dialect.new_id(number)
    answer = dialect.read(decode(encode(dialect.answer(key, result))))
    assert isinstance(answer, Answer)
    assert (dialect.key(answer.id), answer.result) == (key, result)


@pytest.mark.parametrize("dialect", DIALECTS[:3], ids=repr)
@given(code=st.integers(-40_000, 40_000), text=texts, data=messages)
def test_a_client_reads_the_error_that_a_server_wrote(dialect: Dialect, code: int, text: str, data: Any) -> None:
    failure = dialect.read(decode(encode(dialect.failure(7, code, text, data))))
    assert failure == Failure(7, code, text, data)


@every_dialect
@given(value=messages | st.integers().map(str) | st.sampled_from(["07", "+7", "7 ", "7.0", 7.0, True]))
def test_what_an_id_matches_by_is_its_text(dialect: Dialect, value: Any) -> None:
    key = dialect.key(value)
    assert key is None or (type(value) in (int, str) and str(key) == str(value))
