import json
from dataclasses import dataclass
from typing import Any

import pytest

from wsrpc.codec import REFLECT_ID, encode
from wsrpc.dialects import JSONRPC, Answer, Batch, Failure, Invalid, Push, Request
from wsrpc.dialects.jsonrpc import INVALID_REQUEST, METHOD_NOT_FOUND

np = pytest.importorskip("numpy")

INVALID = Invalid(None, INVALID_REQUEST, "")


@dataclass
class Tick:
    price: float


@pytest.fixture
def dialect() -> JSONRPC:
    return JSONRPC()


def without_text(incoming: Any) -> Any:
    """Errors without their text, which the standard leaves open."""
    if isinstance(incoming, Batch):
        return Batch([without_text(item) for item in incoming.items])
    return Invalid(incoming.id, incoming.code, "") if isinstance(incoming, Invalid) else incoming


# Asking


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, {"jsonrpc": "2.0", "method": "m", "id": REFLECT_ID}),
        ([], {"jsonrpc": "2.0", "method": "m", "params": [], "id": REFLECT_ID}),
        ({"a": 1}, {"jsonrpc": "2.0", "method": "m", "params": {"a": 1}, "id": REFLECT_ID}),
    ],
)
def test_a_query_is_a_request_object(dialect: JSONRPC, params: Any, message: Any) -> None:
    assert dialect.request("m", params) == message
    del message["id"]
    assert dialect.notification("m", params) == message


def test_a_whole_message_gets_its_id_and_version(dialect: JSONRPC) -> None:
    mine = {"method": "m", "id": "mine", "extra": 1}
    assert dialect.stamp(mine) == {"jsonrpc": "2.0", "method": "m", "id": REFLECT_ID, "extra": 1}
    assert mine["id"] == "mine"
    assert dialect.stamp({"jsonrpc": "1.0"})["jsonrpc"] == "1.0"


@pytest.mark.parametrize("message", [[1], "text", None])
def test_what_is_no_object_cannot_be_stamped(dialect: JSONRPC, message: Any) -> None:
    with pytest.raises(TypeError, match="a JSON-RPC request is an object"):
        dialect.stamp(message)


def test_reflect_ids_count_up(dialect: JSONRPC) -> None:
    assert [dialect.new_id(number) for number in (1, 2)] == [1, 2]


# What a client receives


@pytest.mark.parametrize(
    ("message", "incoming"),
    [
        ({"jsonrpc": "2.0", "result": 19, "id": 1}, Answer(1, 19)),
        ({"jsonrpc": "2.0", "result": None, "id": 1}, Answer(1, None)),
        ({"jsonrpc": "2.0", "result": 5, "error": None, "id": "1"}, Answer("1", 5)),
        ({"id": 1, "result": 5}, Answer(1, 5)),
        ({"jsonrpc": "2.0", "error": {"code": -32601, "message": "no"}, "id": 1}, Failure(1, -32601, "no", None)),
        ({"error": {"code": 1, "message": "no", "data": [2]}, "id": None}, Failure(None, 1, "no", [2])),
        ({"error": {"code": "E1"}, "id": 1}, Failure(1, "E1", "", None)),
        ({"error": {"code": [1], "message": 5}, "id": 1}, Failure(1, None, "5", None)),
        ({"error": "broken", "id": 1}, Failure(1, None, "broken", "broken")),
        ({"error": False, "id": 1}, Failure(1, None, "False", False)),
        ({"jsonrpc": "2.0", "method": "ticks", "params": {"p": 1}}, Push("ticks", {"p": 1})),
        ({"jsonrpc": "2.0", "method": "ticks", "params": [1, 2]}, Push("ticks", [1, 2])),
        ({"jsonrpc": "2.0", "method": "ticks", "params": [{"p": 1}]}, Push("ticks", [{"p": 1}])),
        ({"jsonrpc": "2.0", "method": "ticks", "params": [1.5]}, Push("ticks", 1.5)),
        ({"jsonrpc": "2.0", "method": "ticks", "params": [None]}, Push("ticks", None)),
        ({"jsonrpc": "2.0", "method": "ticks"}, Push("ticks", None)),
        ({"jsonrpc": "2.0", "method": "ask", "params": [1], "id": 5}, Request(5, "ask", [1])),
        ({"jsonrpc": "2.0", "method": 5, "params": [1]}, None),
        ({"jsonrpc": "2.0", "id": 1}, None),
        ({"jsonrpc": "2.0", "error": None, "id": 1}, None),
        ({}, None),
        ([], None),
        ("text", None),
        (None, None),
        ([{"result": 1, "id": 1}, 5, {"method": "t"}], Batch([Answer(1, 1), None, Push("t", None)])),
        ([[{"result": 1, "id": 1}]], Batch([None])),
    ],
)
def test_a_client_tells_answers_errors_pushes_and_requests(dialect: JSONRPC, message: Any, incoming: Any) -> None:
    assert dialect.read(message) == incoming


def test_arrays_nested_without_end_are_no_batches(dialect: JSONRPC) -> None:
    deep = json.loads("[" * 900 + "]" * 900)
    assert dialect.read(deep) == Batch([None])
    assert without_text(dialect.read_request(deep)) == Batch([INVALID])


# What a server receives: https://www.jsonrpc.org/specification, section 7


@pytest.mark.parametrize(
    ("text", "incoming"),
    [
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', Request(1, "subtract", [42, 23])),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
            Request(3, "subtract", {"subtrahend": 23, "minuend": 42}),
        ),
        (
            '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}',
            Request(None, "update", [1, 2, 3, 4, 5], wants_answer=False),
        ),
        ('{"jsonrpc": "2.0", "method": "foobar"}', Request(None, "foobar", None, wants_answer=False)),
        ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', Request("1", "foobar")),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
        ("[]", INVALID),
        ("[1]", Batch([INVALID])),
        ("[1,2,3]", Batch([INVALID, INVALID, INVALID])),
        (
            """[
                {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
                {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
                {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
                {"foo": "boo"},
                {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
                {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
            ]""",
            Batch(
                [
                    Request("1", "sum", [1, 2, 4]),
                    Request(None, "notify_hello", [7], wants_answer=False),
                    Request("2", "subtract", [42, 23]),
                    INVALID,
                    Request("5", "foo.get", {"name": "myself"}),
                    Request("9", "get_data"),
                ]
            ),
        ),
    ],
)
def test_a_server_reads_the_specifications_own_examples(dialect: JSONRPC, text: str, incoming: Any) -> None:
    assert without_text(dialect.read_request(json.loads(text))) == incoming


@pytest.mark.parametrize(
    ("message", "id"),
    [
        ({"method": "m", "id": 1}, 1),
        ({"jsonrpc": 2.0, "method": "m", "id": 1}, 1),
        ({"jsonrpc": "1.0", "method": "m", "id": 1}, 1),
        ({"jsonrpc": "2.0", "method": None, "id": 1}, 1),
        ({"jsonrpc": "2.0", "method": "m", "params": 5, "id": 1}, 1),
        ({"jsonrpc": "2.0", "method": "m", "params": None, "id": 1}, 1),
        ({"jsonrpc": "2.0", "method": "m", "id": True}, None),
        ({"jsonrpc": "2.0", "method": "m", "id": [1]}, None),
        ({"jsonrpc": "2.0", "method": "m", "id": {}}, None),
        ({}, None),
        (5, None),
        (None, None),
        ("text", None),
    ],
)
def test_an_invalid_request_is_answered_with_the_id_where_it_is_known(dialect: JSONRPC, message: Any, id: Any) -> None:
    invalid = dialect.read_request(message)
    assert isinstance(invalid, Invalid)
    assert (invalid.id, invalid.code) == (id, INVALID_REQUEST)
    assert invalid.message.startswith("Invalid Request: ")


@pytest.mark.parametrize("id", [1, "1", "", 0, -1, 1.5, None])
def test_a_request_may_have_any_id_of_the_standard(dialect: JSONRPC, id: Any) -> None:
    assert dialect.read_request({"jsonrpc": "2.0", "method": "m", "id": id}) == Request(id, "m")


@pytest.mark.parametrize("message", [{"result": 1, "id": 1}, {"jsonrpc": "2.0", "error": {}, "id": None}])
def test_a_response_is_passed_over_by_a_server(dialect: JSONRPC, message: Any) -> None:
    assert dialect.read_request(message) is None
    assert dialect.read_request([message]) == Batch([None])


# What a server sends


def test_a_client_reads_what_a_server_sends(dialect: JSONRPC) -> None:
    assert dialect.read(dialect.answer(7, [1])) == Answer(7, [1])
    assert dialect.read(dialect.failure(7, -32000, "no", {"a": 1})) == Failure(7, -32000, "no", {"a": 1})
    assert dialect.failure(None, 5, "no") == {"jsonrpc": "2.0", "error": {"code": 5, "message": "no"}, "id": None}


@pytest.mark.parametrize(
    ("value", "params"),
    [
        ({"p": 1}, {"p": 1}),
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        (Tick(1.5), {"price": 1.5}),
        (np.arange(3), [0, 1, 2]),
        (1.5, [1.5]),
        ("text", ["text"]),
        (None, [None]),
        (np.float64(1.5), [1.5]),
        (np.array(7), [7]),
    ],
    ids=repr,
)
def test_an_event_goes_as_params_and_a_scalar_in_an_array(dialect: JSONRPC, value: Any, params: Any) -> None:
    sent = json.loads(encode(dialect.push("ticks", value)))
    assert sent == {"jsonrpc": "2.0", "method": "ticks", "params": params}
    if not isinstance(value, tuple):
        assert dialect.read(sent) == Push("ticks", json.loads(encode(value)))


# Subscriptions


def test_a_subscription_is_told_by_methods_that_can_be_named(dialect: JSONRPC) -> None:
    assert (dialect.subscribing("t"), dialect.unsubscribing("t")) == (("rpc.on", ["t"]), ("rpc.off", ["t"]))
    named = JSONRPC(subscribe="start", unsubscribe="stop")
    assert (named.subscribing("t"), named.unsubscribing("t")) == (("start", ["t"]), ("stop", ["t"]))
    silent = JSONRPC(subscribe=None)  # what was not told of the beginning is not told of the end
    assert (silent.subscribing("t"), silent.unsubscribing("t")) == (None, None)


@pytest.mark.parametrize(
    ("failure", "lacks"),
    [
        (Failure(1, METHOD_NOT_FOUND, "whatever"), True),
        (Failure(1, 1, "No such method: rpc.on"), True),  # aria2
        (Failure(1, None, "Method rpc.on not found"), True),
        (Failure(1, -32602, "Invalid params"), False),
        (Failure(1, None, ""), False),
    ],
)
def test_an_endpoint_without_the_method_is_recognized(dialect: JSONRPC, failure: Failure, lacks: bool) -> None:
    assert dialect.lacks_method(failure) is lacks
