"""What is put at a path is found there, and nothing else changes."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsrpc.dialects.paths import MISSING, Steps, fill, find, get, parse_path, put

from .strategies import messages, planted

PLACE = object()
names = st.sampled_from(["a", "b", "id", "msg_id"])
steps = st.lists(names | st.integers(0, 3), min_size=1, max_size=4).map(tuple)


@given(messages, steps, messages)
def test_what_is_put_is_found_there(message: Any, steps: Steps, value: Any) -> None:
    before = copy.deepcopy(message)
    try:
        changed = put(message, steps, value)
    except TypeError:
        assert get(message, steps) is MISSING
    else:
        assert get(changed, steps) == value
    assert message == before


@given(steps, messages)
def test_a_growing_put_finds_a_place_for_every_path(steps: Steps, value: Any) -> None:
    assert get(put(MISSING, steps, value, grow=True), steps) == value


@given(planted(1), steps, messages)
def test_putting_back_what_was_there_changes_nothing(there: tuple[Any, Steps], other: Steps, value: Any) -> None:
    message, steps = there
    assert get(message, steps) == 1
    assert put(message, steps, get(message, steps)) == message
    if get(message, other) is not MISSING:
        assert put(put(message, other, value), other, get(message, other)) == message


@given(planted(PLACE), messages)
def test_what_is_filled_in_stands_where_the_placeholder_was_found(there: tuple[Any, Steps], value: Any) -> None:
    template, steps = there
    assert find(template, PLACE) == steps
    filled = fill(template, {id(PLACE): value})
    assert filled == put(template, steps, value)
    assert find(filled, PLACE) is None


@given(messages)
def test_a_template_without_placeholders_is_filled_with_itself(template: Any) -> None:
    assert fill(template, {id(PLACE): 1}) == template


@given(st.lists(names | st.integers(0, 99).map(str), min_size=1))
def test_a_dotted_path_has_the_steps_between_its_dots(steps: list[str]) -> None:
    assert [str(step) for step in parse_path(".".join(steps))] == steps
