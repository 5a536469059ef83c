"""An inbox is a list with a bound."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsrpc.errors import Overflow
from wsrpc.subscriptions import Inbox, OverflowPolicy, Subscriptions


class Model:
    """The same, the plain way."""

    def __init__(self, limit: int, policy: OverflowPolicy) -> None:
        self.limit = 1 if policy is OverflowPolicy.LATEST else limit
        self.policy = policy
        self.events: list[int] = []
        self.received = self.dropped = 0
        self.ended = False

    def offer(self, event: int) -> None:
        if self.ended:
            return
        self.received += 1
        self.events.append(event)
        if len(self.events) <= self.limit or self.policy is OverflowPolicy.BLOCK:
            return
        self.dropped += 1
        self.ended = self.policy is OverflowPolicy.ERROR
        drops_oldest = self.policy in (OverflowPolicy.DROP_OLDEST, OverflowPolicy.LATEST)
        del self.events[0 if drops_oldest else -1]


@given(
    st.sampled_from(OverflowPolicy),
    st.integers(1, 4),
    st.lists(st.sampled_from(["offer", "offer", "offer", "take", "end"]), min_size=10, max_size=30),
)
def test_an_inbox_is_a_list_with_a_bound(policy: OverflowPolicy, limit: int, steps: list[str]) -> None:
    inbox, model = Inbox("ticks", limit, policy), Model(limit, policy)
    for number, step in enumerate(steps):
        if step == "offer":
            inbox.offer(number)
            model.offer(number)
        elif step == "take" and model.events:
            assert inbox.take() == model.events.pop(0)
        elif step == "end" and number % 7 == 0:
            inbox.end(StopIteration())
            model.ended = True
        assert (len(inbox), inbox.received, inbox.dropped) == (len(model.events), model.received, model.dropped)
        assert (inbox.ended is not None) is model.ended
        assert inbox.is_full is (len(model.events) >= model.limit)
        assert inbox.blocks is (policy is OverflowPolicy.BLOCK and inbox.is_full and not model.ended)
    assert isinstance(inbox.ended, Overflow | StopIteration | None)
    assert [inbox.take() for _ in range(len(inbox))] == model.events


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 2))))
def test_each_topic_has_the_inboxes_that_were_added_and_not_removed(steps: list[tuple[bool, str, int]]) -> None:
    subscriptions = Subscriptions()
    inboxes = [object() for _ in range(3)]
    model: dict[str, list[Any]] = {"a": [], "b": []}
    for adds, topic, index in steps:
        inbox, there = inboxes[index], model[topic]
        if adds and inbox not in there:
            assert subscriptions.add(topic, inbox) is (not there)
            there.append(inbox)
        elif not adds:
            assert subscriptions.remove(topic, inbox) is (there == [inbox])
            model[topic] = [other for other in there if other is not inbox]
        assert {topic: list(subscriptions.of(topic)) for topic in model} == model
    assert sorted(map(id, subscriptions.all())) == sorted(id(inbox) for there in model.values() for inbox in there)
