from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest

from wsrpc.dialects.paths import MISSING, fill, find, get, parse_path, put

HERE, THERE = object(), object()


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("id", ("id",)),
        ("header.msg_id", ("header", "msg_id")),
        ("d.0.id", ("d", 0, "id")),
        (1, (1,)),
        (0, (0,)),
        ("10", (10,)),
        (("a.b", 0), ("a.b", 0)),
        ("007", ("007",)),
        ("-1", ("-1",)),
        ("٣", ("٣",)),
    ],
)
def test_a_path_is_dotted_and_a_number_is_a_position(path: Any, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", (), ("a", ""), -1, ("a", -2)])
def test_empty_steps_and_positions_below_zero_are_refused(path: Any) -> None:
    with pytest.raises(ValueError, match="is no path"):
        parse_path(path)


@pytest.mark.parametrize("path", [None, True, 1.5, ["a"], ("a", 1.5), ("a", True), b"a"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(TypeError, match="path"):
        parse_path(path)


@pytest.mark.parametrize(
    ("message", "path", "found"),
    [
        ({"id": 7}, "id", 7),
        ({"id": None}, "id", None),
        ({"d": [{"id": 7}]}, "d.0.id", 7),
        ([2, 7], 1, 7),
        ({"1": 7}, 1, 7),
        ({"007": 7}, "007", 7),
        ({"a.b": 7}, ("a.b",), 7),
        (7, (), 7),
        ({}, "id", MISSING),
        ([], 0, MISSING),
        ([2, 7], 2, MISSING),
        ([2, 7], "id", MISSING),
        ({"id": 7}, "id.deeper", MISSING),
        ("text", 0, MISSING),
        (None, "id", MISSING),
    ],
)
def test_get_finds_what_is_there_or_missing(message: Any, path: Any, found: Any) -> None:
    assert get(message, parse_path(path) if path != () else ()) is found


@pytest.mark.parametrize(
    ("message", "path", "result"),
    [
        ({"a": 1}, "id", {"a": 1, "id": HERE}),
        ({"id": 1}, "id", {"id": HERE}),
        ({"h": {"a": 1}}, "h.id", {"h": {"a": 1, "id": HERE}}),
        ({}, "h.id", {"h": {"id": HERE}}),
        (MISSING, "h.id", {"h": {"id": HERE}}),
        (MISSING, 0, [HERE]),
        ({}, "d.0.id", {"d": [{"id": HERE}]}),
        ([2, 1], 1, [2, HERE]),
        ([2], 1, [2, HERE]),
        ((2, 1), 1, [2, HERE]),
        ({"a": 1}, 5, {"a": 1, "5": HERE}),
        (MappingProxyType({"a": 1}), "id", {"a": 1, "id": HERE}),
        (OrderedDict(a=1), "id", {"a": 1, "id": HERE}),
    ],
)
def test_put_puts_a_value_in_its_place(message: Any, path: Any, result: Any) -> None:
    assert put(message, parse_path(path), HERE) == result


def test_put_leaves_the_message_as_it_was_and_copies_only_what_lies_on_the_path() -> None:
    message = {"h": {"id": 1}, "big": [1, 2]}
    changed = put(message, ("h", "id"), HERE)
    assert message == {"h": {"id": 1}, "big": [1, 2]}
    assert changed["big"] is message["big"]


@pytest.mark.parametrize(
    ("message", "path"), [("text", "id"), (7, "id"), ({"a": 7}, "a.b"), ([], "id"), ([], 1), (MISSING, 1), (None, "id")]
)
def test_put_refuses_where_there_is_no_place(message: Any, path: Any) -> None:
    with pytest.raises(TypeError, match="no place"):
        put(message, parse_path(path), HERE)


@pytest.mark.parametrize(
    ("message", "path", "result"),
    [
        (MISSING, 2, [None, None, HERE]),
        ([1], 2, [1, None, HERE]),
        ([1, 2, 3], 1, [1, HERE, 3]),
        (MISSING, "d.1", {"d": [None, HERE]}),
    ],
)
def test_a_growing_put_fills_arrays_up(message: Any, path: Any, result: Any) -> None:
    assert put(message, parse_path(path), HERE, grow=True) == result


@pytest.mark.parametrize(
    ("template", "steps"),
    [
        (HERE, ()),
        ({"a": {"b": HERE}}, ("a", "b")),
        ([1, (HERE,)], (1, 0)),
        ({"a": 1, "b": [{}, HERE]}, ("b", 1)),
        ({"a": THERE}, None),
        ("text", None),
    ],
)
def test_find_tells_where_an_object_stands(template: Any, steps: Any) -> None:
    assert find(template, HERE) == steps


def test_find_goes_by_identity() -> None:
    wanted: list[int] = []
    assert find([[], wanted], wanted) == (1,)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        (HERE, 7),
        ({"a": HERE, "b": [THERE, {"c": HERE}]}, {"a": 7, "b": [None, {"c": 7}]}),
        ({"a": THERE, "b": 1}, {"b": 1}),
        ([2, THERE, HERE], [2, None, 7]),
        ((HERE,), [7]),
        ("text", "text"),
    ],
)
def test_fill_replaces_and_leaves_missing_entries_out(template: Any, filled: Any) -> None:
    assert fill(template, {id(HERE): 7, id(THERE): MISSING}) == filled


def test_fill_leaves_the_template_and_does_not_look_into_what_it_fills_in() -> None:
    template = {"a": [HERE]}
    assert fill(template, {id(HERE): {"b": [HERE]}}) == {"a": [{"b": [HERE]}]}
    assert template == {"a": [HERE]}


def test_missing_is_false() -> None:
    assert not MISSING
    assert repr(MISSING) == "MISSING"
