"""Whatever races, each query is settled at most once, and with what is its own."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsrpc.correlator import Correlator, Verdict
from wsrpc.dialects import Answer, Failure
from wsrpc.errors import QueryTimeout, RemoteError

KEYS = range(1, 9)
UNKNOWN = range(9, 12)


class Query:
    """An entry that notes what it is settled with."""

    def __init__(self, key: int) -> None:
        self.method = f"method {key}"
        self.deadline: float | None = None if key % 3 == 0 else float(key)
        self.written_at = 0.0
        self.outcomes: list[str] = []

    def settle(self, result: Any, error: BaseException | None) -> None:
        self.outcomes.append(result if error is None else str(getattr(error, "message", error)))


keys = st.sampled_from([*KEYS, *UNKNOWN])
events = st.lists(
    st.tuples(st.sampled_from(["answer", "more", "failure", "abandon"]), keys)
    | st.tuples(st.just("time"), st.integers(0, 9)),
    min_size=10,
    max_size=40,
)


class Model:
    """What should become of each query."""

    def __init__(self) -> None:
        self.waiting = dict.fromkeys(KEYS)
        self.outcomes: dict[int, list[str]] = {key: [] for key in KEYS}
        self.late = 0

    def take(self, key: int, outcome: Iterable[str]) -> bool:
        """Settle, if the query waits."""
        if key not in self.waiting:
            return False
        del self.waiting[key]
        self.outcomes[key] += outcome
        return True

    def verdict(self, key: int) -> Verdict:
        self.late += key in KEYS
        return Verdict.LATE if key in KEYS else Verdict.UNKNOWN


@given(events)
def test_each_query_settles_at_most_once_with_its_own_outcome(events: list[tuple[str, int]]) -> None:
    correlator: Correlator[Query] = Correlator()
    queries = {key: Query(key) for key in KEYS}
    for key, query in queries.items():
        correlator.register(key, query)
    model, matched = Model(), 0
    for number, (what, key) in enumerate(events):
        text = f"{key}: {number}"
        if what == "time":
            expired = correlator.expired(key)
            assert [late for late, _ in expired] == [k for k in model.waiting if k % 3 and k <= key]
            for late, _ in expired:
                correlator.fail(late, QueryTimeout(f"{late} timed out"))
                model.take(late, [f"{late} timed out"])
        elif what == "abandon":
            assert correlator.abandon(key) is model.take(key, [])
        elif what == "more":
            expected = queries[key] if key in model.waiting else model.verdict(key)
            assert correlator.answer(key, Answer(key, text, final=False)) is expected
        else:
            incoming = Answer(key, text) if what == "answer" else Failure(key, 1, text)
            settled = model.take(key, [text])
            matched += settled
            assert correlator.answer(key, incoming) is (queries[key] if settled else model.verdict(key))
    assert {key: query.outcomes for key, query in queries.items()} == model.outcomes
    assert all(len(query.outcomes) <= 1 for query in queries.values())
    assert (correlator.matched, correlator.late) == (matched, model.late)
    assert correlator.waiting() == [(key, queries[key]) for key in model.waiting]


@given(st.permutations(KEYS), st.data())
def test_any_order_of_answers_settles_each_query_once(order: list[int], data: st.DataObject) -> None:
    correlator: Correlator[Query] = Correlator()
    queries = {key: Query(key) for key in KEYS}
    for key, query in queries.items():
        correlator.register(key, query)
    second = data.draw(st.lists(st.sampled_from(list(KEYS)), max_size=10))
    for key in [*order, *second]:
        correlator.answer(key, Answer(key, f"answer to {key}"))
    assert {key: query.outcomes for key, query in queries.items()} == {key: [f"answer to {key}"] for key in KEYS}
    assert (len(correlator), correlator.matched, correlator.late) == (0, len(KEYS), len(second))


@given(st.none() | st.integers() | st.text(max_size=5), st.text(max_size=5))
def test_an_error_answer_keeps_what_the_endpoint_said(code: int | str | None, text: str) -> None:
    correlator: Correlator[Query] = Correlator()
    caught: list[BaseException | None] = []
    query = Query(1)
    query.settle = lambda result, error: caught.append(error)  # type: ignore[method-assign]
    correlator.register(1, query)
    correlator.answer(1, Failure(1, code, text, [code]))
    [error] = caught
    assert isinstance(error, RemoteError)
    assert (error.id, error.code, error.message, error.data) == (1, code, text, [code])
