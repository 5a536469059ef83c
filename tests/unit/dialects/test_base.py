import copy
import pickle
from typing import Any

import pytest

from wsrpc.dialects import ID, JSONRPC, METHOD, PARAMS, Dialect, Reflect

loose = pytest.mark.parametrize("dialect", [Dialect(), JSONRPC(), Reflect(id="id")], ids=repr)
strict = pytest.mark.parametrize("dialect", [JSONRPC(strict=True), Reflect(id="id", strict=True)], ids=repr)
NEVER = [
    True,
    False,
    7.0,
    0.0,
    None,
    [7],
    {"id": 7},
    "",
    "07",
    "7.0",
    "+7",
    " 7",
    "7 ",
    "-7",
    "7\n",
    "\u0667",
    "x",
    "²",
]


@loose
@pytest.mark.parametrize("value", [7, "7"])
def test_ids_match_by_their_text(dialect: Dialect, value: Any) -> None:
    assert dialect.key(value) == 7
    assert type(dialect.key(value)) is int


@loose
@pytest.mark.parametrize("value", [*NEVER, "9" * 5000], ids=lambda value: repr(value)[:20])
def test_what_has_another_text_or_is_no_id_never_matches(dialect: Dialect, value: Any) -> None:
    assert dialect.key(value) is None


@strict
def test_strict_ids_match_by_their_type_too(dialect: Dialect) -> None:
    assert dialect.key(7) == 7
    assert [dialect.key(value) for value in ["7", *NEVER]] == [None] * (len(NEVER) + 1)


@pytest.mark.parametrize("ids", ["str", "uuid"])
def test_string_ids_match_by_their_text_too(ids: Any) -> None:
    assert Reflect(id="id", ids=ids).key("07") == "07"
    assert Reflect(id="id", ids=ids).key(7) == "7"
    assert Reflect(id="id", ids=ids, strict=True).key(7) is None
    assert [Reflect(id="id", ids=ids).key(value) for value in (True, 7.0, None, ["7"])] == [None] * 4


@pytest.mark.parametrize("placeholder", [METHOD, PARAMS, ID], ids=repr)
def test_placeholders_are_the_same_after_copying(placeholder: Any) -> None:
    assert copy.deepcopy(placeholder) is placeholder
    assert pickle.loads(pickle.dumps(placeholder)) is placeholder


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda dialect: dialect.request("add", None), "give a whole message"),
        (lambda dialect: dialect.stamp({}), "give a method name"),
        (lambda dialect: dialect.notification("add", None), "no notifications"),
        (lambda dialect: dialect.read_request({}), "cannot serve"),
        (lambda dialect: dialect.answer(1, 2), "cannot serve"),
        (lambda dialect: dialect.failure(1, 2, "text"), "cannot serve"),
        (lambda dialect: dialect.push("topic", 1), "cannot serve"),
    ],
)
def test_what_a_dialect_leaves_out_says_so(ask: Any, complaint: str) -> None:
    with pytest.raises(NotImplementedError, match=complaint):
        ask(Dialect())


def test_by_default_nothing_is_sent_for_a_subscription() -> None:
    assert Dialect().subscribing("ticks") is None
    assert Dialect().unsubscribing("ticks") is None
