import uuid
from typing import Any

import pytest

from wsrpc.codec import REFLECT_ID, decode, encode_query
from wsrpc.dialects import ID, METHOD, PARAMS, Answer, Failure, Invalid, Push, Reflect, Request

OBS: dict[str, Any] = {
    "id": "d.requestId",
    "request": {"op": 6, "d": {"requestType": METHOD, "requestData": PARAMS}},
    "result": "d.responseData",
}
ARRAY: dict[str, Any] = {"id": 1, "request": [2, ID, METHOD, PARAMS], "result": 2}
JUPYTER: dict[str, Any] = {"id": "header.msg_id", "echo": "parent_header.msg_id", "ids": "str", "result": "content"}


def written(message: Any, key: int = 7) -> Any:
    """The message as it goes out for this reflect ID."""
    parts = encode_query(message)
    assert len(parts) == 2, "a query has its reflect ID in one place"
    return decode((b"%d" % key).join(parts))


# Asking


@pytest.mark.parametrize(
    ("settings", "params", "message"),
    [
        ({"id": "req_id"}, [1], {"method": "m", "params": [1], "req_id": 7}),
        ({"id": "req_id"}, None, {"method": "m", "req_id": 7}),
        ({"id": "header.id"}, {}, {"method": "m", "params": {}, "header": {"id": 7}}),
        (OBS, {"a": 1}, {"op": 6, "d": {"requestType": "m", "requestData": {"a": 1}, "requestId": 7}}),
        (OBS, None, {"op": 6, "d": {"requestType": "m", "requestId": 7}}),
        (ARRAY, [1], [2, 7, "m", [1]]),
        (ARRAY, None, [2, 7, "m", None]),
        ({"id": "n", "request": lambda method, params: {"do": method, "with": params}}, [1], None),
    ],
)
def test_a_query_by_method_name_fills_the_template(settings: dict, params: Any, message: Any) -> None:
    expected = {"do": "m", "with": [1], "n": 7} if message is None else message
    assert written(Reflect(**settings).request("m", params)) == expected


@pytest.mark.parametrize(
    ("settings", "message", "stamped"),
    [
        ({"id": "req_id"}, {"type": "query users"}, {"type": "query users", "req_id": 7}),
        ({"id": "req_id"}, {"type": "q", "req_id": 5}, {"type": "q", "req_id": 7}),
        ({"id": "h.id"}, {"h": {"a": 1}}, {"h": {"a": 1, "id": 7}}),
        (ARRAY, [2, None, "m"], [2, 7, "m"]),
        (ARRAY, [2], [2, 7]),
    ],
)
def test_a_whole_message_is_stamped_and_left_as_it_was(settings: dict, message: Any, stamped: Any) -> None:
    before = message.copy()
    assert written(Reflect(**settings).stamp(message)) == stamped
    assert message == before


@pytest.mark.parametrize(("settings", "message"), [({"id": "a"}, "text"), ({"id": "a"}, [1]), (ARRAY, []), (ARRAY, 5)])
def test_a_message_without_a_place_for_the_id_cannot_be_stamped(settings: dict, message: Any) -> None:
    with pytest.raises(TypeError, match="no place"):
        Reflect(**settings).stamp(message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "req_id"}, {"method": "m", "params": [1]}),
        (OBS, {"op": 6, "d": {"requestType": "m", "requestData": [1]}}),
        (ARRAY, [2, None, "m", [1]]),
        ({"id": "n", "request": lambda method, params: {"do": method}}, {"do": "m"}),
    ],
)
def test_a_notification_has_no_reflect_id(settings: dict, message: Any) -> None:
    assert Reflect(**settings).notification("m", [1]) == message


def test_params_that_hold_a_placeholder_are_left_alone() -> None:
    assert Reflect(id="id").notification("m", [METHOD]) == {"method": "m", "params": [METHOD]}


def test_ids_are_numbers_or_their_text_or_uuids() -> None:
    assert Reflect(id="id").new_id(7) == 7
    assert Reflect(id="id", ids="str").new_id(7) == "7"
    first, second = (Reflect(id="id", ids="uuid").new_id(7) for _ in range(2))
    assert uuid.UUID(str(first)) != uuid.UUID(str(second))


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"id": ""}, ValueError, "no path"),
        ({"id": None}, TypeError, "path"),
        ({"id": "a", "error": "b..c"}, ValueError, "no path"),
        ({"id": "a", "request": {"params": PARAMS}}, ValueError, "no wsrpc.METHOD"),
        ({"id": "a", "ids": "random"}, ValueError, "ids must be"),
    ],
)
def test_a_dialect_that_cannot_work_is_refused(settings: dict, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        Reflect(**settings)


# What a client receives


@pytest.mark.parametrize(
    ("settings", "message", "incoming"),
    [
        ({"id": "n"}, {"n": 7, "a": 1}, Answer(7, {"n": 7, "a": 1})),
        ({"id": "n", "result": "r"}, {"n": 7, "r": [1]}, Answer(7, [1])),
        ({"id": "n", "result": "r"}, {"n": "7"}, Answer("7", None)),
        ({"id": "n", "result": "r"}, {"n": 7, "r": None}, Answer(7, None)),
        (OBS, {"op": 7, "d": {"requestId": 7, "responseData": {"a": 1}}}, Answer(7, {"a": 1})),
        (ARRAY, [3, 7, "done"], Answer(7, "done")),
        (ARRAY, [3, 7], Answer(7, None)),
        (ARRAY, [3], None),
        (JUPYTER, {"header": {"msg_id": "x"}, "parent_header": {"msg_id": "7"}, "content": 1}, Answer("7", 1)),
        (JUPYTER, {"header": {"msg_id": "7"}, "parent_header": {}, "content": 1}, None),
        ({"id": "n"}, {"n": None}, None),
        ({"id": "n"}, {"n": True}, None),
        ({"id": "n"}, {"n": 7.0}, None),
        ({"id": "n"}, {"n": "07"}, None),
        ({"id": "n", "strict": True}, {"n": "7"}, None),
        ({"id": "n"}, {"a": 1}, None),
        ({"id": "n"}, [7], None),
        ({"id": "n"}, 7, None),
        ({"id": "n"}, None, None),
    ],
)
def test_an_answer_is_what_has_an_id_where_it_is_echoed(settings: dict, message: Any, incoming: Any) -> None:
    assert Reflect(**settings).read(message) == incoming


@pytest.mark.parametrize(
    ("error", "incoming"),
    [
        ("broken", Failure(7, None, "broken", "broken")),
        ({"code": 5, "message": "no", "data": [1]}, Failure(7, 5, "no", [1])),
        ({"code": "E5"}, Failure(7, "E5", "{'code': 'E5'}", None)),
        ({"message": "no"}, Failure(7, None, "no", None)),
        ({"code": [1], "message": "no"}, Failure(7, None, "no", None)),
        (404, Failure(7, None, "404", 404)),
        (True, Failure(7, None, "True", True)),
        (["a", "b"], Failure(7, None, "['a', 'b']", ["a", "b"])),
    ],
)
def test_an_error_answer_is_read_in_whatever_form_it_comes(error: Any, incoming: Failure) -> None:
    dialect = Reflect(id="n", result="r", error="e")
    assert dialect.read({"n": 7, "r": 1, "e": error}) == incoming


@pytest.mark.parametrize("error", [None, False, "", 0, [], {}])
def test_nothing_where_the_error_would_be_is_no_error(error: Any) -> None:
    assert Reflect(id="n", result="r", error="e").read({"n": 7, "r": 1, "e": error}) == Answer(7, 1)


@pytest.mark.parametrize(
    ("rest", "final"),
    [({"done": True}, True), ({"done": 1}, True), ({"done": False}, False), ({"done": None}, False), ({}, False)],
)
def test_the_last_of_several_answers_says_so_by_something_true(rest: dict, final: bool) -> None:
    assert Reflect(id="n", result="r", final="done").read({"n": 7, "r": 1, **rest}) == Answer(7, 1, final)


def test_each_query_has_one_answer_unless_told_otherwise() -> None:
    assert Reflect(id="n").read({"n": 7, "done": False}) == Answer(7, {"n": 7, "done": False}, final=True)


@pytest.mark.parametrize(
    ("settings", "message", "incoming"),
    [
        ({"topic": "t"}, {"t": "ticks", "a": 1}, Push("ticks", {"t": "ticks", "a": 1})),
        ({"topic": "t", "event": "e"}, {"t": "ticks", "e": 5}, Push("ticks", 5)),
        ({"topic": "t", "event": "e"}, {"t": "ticks"}, Push("ticks", None)),
        ({"topic": "t"}, {"t": 5}, None),
        ({"topic": "t"}, {"a": 1}, None),
        ({"topic": "t"}, {"n": None, "t": "ticks"}, Push("ticks", {"n": None, "t": "ticks"})),
        ({"topic": "t", "ids": "uuid", "strict": True}, {"n": 5, "t": "a"}, Push("a", {"n": 5, "t": "a"})),
        ({}, {"t": "ticks"}, None),
    ],
)
def test_a_push_is_what_has_a_topic_and_no_id(settings: dict, message: Any, incoming: Any) -> None:
    assert Reflect(id="n", **settings).read(message) == incoming


def test_an_unknown_id_on_a_message_with_a_topic_leaves_it_a_push() -> None:
    dialect = Reflect(id="n", topic="t")
    assert dialect.read({"n": 5, "t": "ticks"}) == Answer(5, {"n": 5, "t": "ticks"})
    assert dialect.read_push({"n": 5, "t": "ticks"}) == Push("ticks", {"n": 5, "t": "ticks"})


# A server's side


@pytest.mark.parametrize("settings", [{"id": "n"}, {"id": "a.b.n"}, OBS, ARRAY], ids=repr)
@pytest.mark.parametrize("params", [[1, 2], {"a": 1}, None])
def test_a_server_reads_what_its_own_clients_ask(settings: dict, params: Any) -> None:
    dialect = Reflect(**settings)
    assert dialect.read_request(written(dialect.request("m", params))) == Request(7, "m", params)
    assert dialect.read_request(dialect.notification("m", params)) == Request(None, "m", params, wants_answer=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"id": "n", "result": "r"},
        {"id": "n", "echo": "e", "result": "r"},
        {"id": "a.n", "result": "a.r"},
        {"id": 0, "request": [ID, METHOD], "echo": 3, "result": 1},
        OBS,
        ARRAY,
    ],
    ids=repr,
)
def test_a_client_reads_what_its_own_server_answers(settings: dict) -> None:
    dialect = Reflect(**settings, error="error", topic="topic", event="event")
    assert dialect.read(dialect.answer(7, [1, 2])) == Answer(7, [1, 2])
    assert dialect.read(dialect.failure(7, 5, "no", [1])) == Failure(7, 5, "no", [1])
    assert dialect.read(dialect.push("ticks", 5)) == Push("ticks", 5)


@pytest.mark.parametrize(
    ("settings", "id", "result", "message"),
    [
        ({"id": "n"}, 7, {"a": 1}, {"a": 1, "n": 7}),
        ({"id": "n"}, "7", 5, {"result": 5, "n": "7"}),
        ({"id": "n", "result": "r"}, 7, None, {"r": None, "n": 7}),
        (ARRAY, 7, "done", [None, 7, "done"]),
    ],
)
def test_an_answer_reflects_the_id_as_it_came(settings: dict, id: Any, result: Any, message: Any) -> None:
    assert Reflect(**settings).answer(id, result) == message


def test_an_answer_leaves_the_result_as_it_was() -> None:
    result = {"a": 1}
    Reflect(id="n").answer(7, result)
    assert result == {"a": 1}


def test_an_error_without_an_id_has_none() -> None:
    assert Reflect(id="n").failure(None, 5, "no") == {"error": {"code": 5, "message": "no"}}


@pytest.mark.parametrize(
    ("settings", "value", "message"),
    [
        ({}, {"p": 1}, {"p": 1, "topic": "ticks"}),
        ({}, 5, {"data": 5, "topic": "ticks"}),
        ({"topic": "ch.name", "event": "e"}, 5, {"e": 5, "ch": {"name": "ticks"}}),
    ],
)
def test_a_push_has_its_topic_put_in(settings: dict, value: Any, message: Any) -> None:
    assert Reflect(id="n", **settings).push("ticks", value) == message


@pytest.mark.parametrize(
    ("message", "id"), [({"n": 7}, 7), ({"n": 7, "method": 5}, 7), ({"n": True}, None), ([], None), (5, None)]
)
def test_what_names_no_method_is_invalid(message: Any, id: Any) -> None:
    invalid = Reflect(id="n").read_request(message)
    assert isinstance(invalid, Invalid)
    assert invalid.id == id


def test_a_dialect_whose_request_is_a_function_cannot_serve() -> None:
    with pytest.raises(NotImplementedError, match="cannot serve"):
        Reflect(id="n", request=lambda method, params: {}).read_request({})


# Subscriptions


def test_nothing_is_sent_for_a_subscription_unless_told_to() -> None:
    assert (Reflect(id="n").subscribing("t"), Reflect(id="n").unsubscribing("t")) == (None, None)
    dialect = Reflect(id="n", subscribe="sub", unsubscribe="unsub")
    assert (dialect.subscribing("t"), dialect.unsubscribing("t")) == (("sub", ["t"]), ("unsub", ["t"]))


def test_the_repr_shows_where_the_id_is() -> None:
    assert repr(Reflect(id="d.0.n")) == "Reflect(id='d.0.n')"


def test_the_reflect_id_is_cut_out_only_where_it_stands() -> None:
    assert Reflect(id="n").request("m", ["\x00"])["n"] is REFLECT_ID
    assert written(Reflect(id="n").request("m", ["\x00", None])) == {"method": "m", "params": ["\x00", None], "n": 7}
