from typing import Any

import pytest

from wsrpc.correlator import REMEMBERED, Correlator, Verdict
from wsrpc.dialects import Answer, Failure
from wsrpc.errors import QueryLost, RemoteError


class Query:
    """An entry that notes what it is settled with."""

    def __init__(self, method: str = "add", deadline: float | None = None) -> None:
        self.method = method
        self.deadline = deadline
        self.written_at = 0.0
        self.outcomes: list[tuple[Any, BaseException | None]] = []

    def settle(self, result: Any, error: BaseException | None) -> None:
        self.outcomes.append((result, error))


@pytest.fixture
def correlator() -> Correlator[Query]:
    return Correlator()


@pytest.fixture
def query(correlator: Correlator[Query]) -> Query:
    """Waits for its answer as 7."""
    query = Query()
    correlator.register(7, query)
    return query


def test_an_answer_settles_its_query(correlator: Correlator[Query], query: Query) -> None:
    assert correlator.answer(7, Answer(7, 5)) is query
    assert query.outcomes == [(5, None)]
    assert (len(correlator), correlator.matched, correlator.late) == (0, 1, 0)


def test_each_query_gets_its_own_answer_in_any_order(correlator: Correlator[Query]) -> None:
    queries = {key: Query() for key in (1, "a", 2, "b")}
    for key, query in queries.items():
        correlator.register(key, query)
    for key in reversed(queries):
        correlator.answer(key, Answer(key, key))
    assert {key: query.outcomes for key, query in queries.items()} == {key: [(key, None)] for key in queries}


def test_an_error_answer_settles_with_what_the_endpoint_said(correlator: Correlator[Query], query: Query) -> None:
    assert correlator.answer(7, Failure(7, -32000, "no", [1])) is query
    [(result, error)] = query.outcomes
    assert result is None
    assert isinstance(error, RemoteError)
    assert (error.method, error.id, error.code, error.message, error.data) == ("add", 7, -32000, "no", [1])
    assert str(error) == "add (query 7) was answered with error -32000: no"


def test_an_error_answer_may_say_nothing(correlator: Correlator[Query], query: Query) -> None:
    correlator.answer(7, Failure(7))
    assert str(query.outcomes[0][1]) == "add (query 7) was answered with error: no text"


def test_an_answer_that_is_not_the_last_leaves_its_query_waiting(correlator: Correlator[Query], query: Query) -> None:
    assert correlator.answer(7, Answer(7, 1, final=False)) is query
    assert query.outcomes == []
    assert (len(correlator), correlator.matched) == (1, 0)
    correlator.answer(7, Answer(7, 2))
    assert query.outcomes == [(2, None)]
    assert correlator.answer(7, Answer(7, 3, final=False)) is Verdict.LATE


def test_a_second_answer_is_late(correlator: Correlator[Query], query: Query) -> None:
    correlator.answer(7, Answer(7, 5))
    assert correlator.answer(7, Answer(7, 6)) is Verdict.LATE
    assert correlator.answer(7, Failure(7)) is Verdict.LATE
    assert query.outcomes == [(5, None)]
    assert (correlator.matched, correlator.late) == (1, 2)


def test_an_answer_that_nobody_waits_for_any_more_is_late(correlator: Correlator[Query], query: Query) -> None:
    assert correlator.abandon(7)
    assert correlator.answer(7, Answer(7, 5)) is Verdict.LATE
    assert query.outcomes == []
    assert len(correlator) == 0


def test_an_answer_after_an_error_is_late(correlator: Correlator[Query], query: Query) -> None:
    lost = QueryLost("lost")
    correlator.fail(7, lost)
    correlator.fail(7, QueryLost("again"))
    assert correlator.answer(7, Answer(7, 5)) is Verdict.LATE
    assert query.outcomes == [(None, lost)]


def test_an_unknown_id_is_told_from_a_late_one(correlator: Correlator[Query], query: Query) -> None:
    assert correlator.answer(8, Answer(8, 5)) is Verdict.UNKNOWN
    assert correlator.answer("7", Answer("7", 5)) is Verdict.UNKNOWN  # keys come from the dialect, which makes it 7
    assert correlator.late == 0
    assert query.outcomes == []


def test_what_has_its_outcome_cannot_be_abandoned(correlator: Correlator[Query], query: Query) -> None:
    correlator.answer(7, Answer(7, 5))
    assert not correlator.abandon(7)
    assert not correlator.abandon(8)


def test_a_query_can_be_abandoned_once(correlator: Correlator[Query], query: Query) -> None:
    assert [correlator.abandon(7), correlator.abandon(7)] == [True, False]


def test_what_waits_is_told_in_the_order_of_writing(correlator: Correlator[Query]) -> None:
    queries = [Query() for _ in range(4)]
    for key, query in enumerate(queries):
        correlator.register(key, query)
    correlator.answer(1, Answer(1, 5))
    assert correlator.waiting() == [(0, queries[0]), (2, queries[2]), (3, queries[3])]


@pytest.mark.parametrize(("now", "keys"), [(0.0, []), (0.9, []), (1.0, [1]), (1.5, [1]), (2.0, [1, 2]), (9e9, [1, 2])])
def test_a_query_expires_at_its_deadline_and_without_one_never(
    correlator: Correlator[Query], now: float, keys: list[int]
) -> None:
    for key, deadline in enumerate([None, 1.0, 2.0]):
        correlator.register(key, Query(deadline=deadline))
    assert [key for key, _ in correlator.expired(now)] == keys
    assert len(correlator) == 3


def test_waiting_can_be_failed_while_it_is_walked_through(correlator: Correlator[Query]) -> None:
    for key in range(3):
        correlator.register(key, Query())
    for key, _ in correlator.waiting():
        correlator.fail(key, QueryLost("lost"))
    assert len(correlator) == 0


def test_the_last_settled_ids_are_remembered_and_no_more_than_twice_as_many(correlator: Correlator[Query]) -> None:
    count = 5 * REMEMBERED
    for key in range(count):
        correlator.register(key, Query())
        correlator.answer(key, Answer(key, None))
    remembered = [key for key in range(count) if correlator.answer(key, Answer(key, None)) is Verdict.LATE]
    assert remembered[-REMEMBERED:] == list(range(count - REMEMBERED, count))
    assert len(remembered) <= 2 * REMEMBERED


def test_the_last_abandoned_ids_are_remembered_too(correlator: Correlator[Query]) -> None:
    count = 3 * REMEMBERED
    for key in range(count):
        correlator.register(key, Query())
        correlator.abandon(key)
    verdicts = [correlator.answer(key, Answer(key, None)) for key in range(count)]
    assert verdicts[-REMEMBERED:] == [Verdict.LATE] * REMEMBERED
    assert verdicts[0] is Verdict.UNKNOWN
