import copy
import pickle

import pytest

from wsrpc.errors import Overflow
from wsrpc.subscriptions import UNMATCHED, Inbox, OverflowPolicy, Subscriptions, overflow_policy


def filled(policy: OverflowPolicy, *, limit: int = 3, events: int = 5) -> Inbox:
    """An inbox to which the events 0, 1, 2 … were offered."""
    inbox = Inbox("ticks", limit, policy)
    for event in range(events):
        inbox.offer(event)
    return inbox


def waiting(inbox: Inbox) -> list[int]:
    return [inbox.take() for _ in range(len(inbox))]


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_a_policy_has_a_name(policy: OverflowPolicy) -> None:
    assert overflow_policy(policy.value) is policy


@pytest.mark.parametrize("name", ["oldest", "DROP_OLDEST", "", None])
def test_an_unknown_policy_is_refused_and_the_known_ones_are_listed(name: str) -> None:
    with pytest.raises(ValueError, match=r"one of 'block', 'drop_oldest', .*'error', not"):
        overflow_policy(name)


@pytest.mark.parametrize("policy", set(OverflowPolicy) - {OverflowPolicy.LATEST})
def test_below_the_limit_events_wait_in_order(policy: OverflowPolicy) -> None:
    inbox = filled(policy, events=3)
    assert (inbox.received, inbox.dropped, inbox.is_full, inbox.ended) == (3, 0, True, None)
    assert waiting(inbox) == [0, 1, 2]


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [
        (OverflowPolicy.DROP_OLDEST, [2, 3, 4], 2),
        (OverflowPolicy.DROP_NEWEST, [0, 1, 2], 2),
        (OverflowPolicy.LATEST, [4], 4),
        (OverflowPolicy.BLOCK, [0, 1, 2, 3, 4], 0),  # what was read already is kept
        (OverflowPolicy.ERROR, [0, 1, 2], 1),
    ],
)
def test_at_the_limit_the_policy_says_what_is_kept(policy: OverflowPolicy, kept: list[int], dropped: int) -> None:
    inbox = filled(policy)
    assert inbox.dropped == dropped
    assert waiting(inbox) == kept


def test_latest_keeps_one_event_whatever_the_limit() -> None:
    assert Inbox("ticks", 1000, OverflowPolicy.LATEST).limit == 1


def test_a_consumer_makes_room() -> None:
    inbox = filled(OverflowPolicy.DROP_NEWEST)
    assert inbox.take() == 0
    inbox.offer("new")
    assert waiting(inbox) == [1, 2, "new"]


def test_an_empty_inbox_has_nothing_to_take() -> None:
    with pytest.raises(IndexError):
        Inbox("ticks", 1, OverflowPolicy.BLOCK).take()


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_only_a_full_inbox_of_the_policy_block_stops_the_reading(policy: OverflowPolicy) -> None:
    assert not filled(policy, events=2).blocks
    assert filled(policy, events=3).blocks is (policy is OverflowPolicy.BLOCK)


def test_a_blocking_inbox_lets_go_when_it_has_room_or_has_ended() -> None:
    inbox = filled(OverflowPolicy.BLOCK, events=3)
    inbox.take()
    assert not inbox.blocks
    inbox.offer(3)
    assert inbox.blocks
    inbox.end(StopIteration())
    assert not inbox.blocks


def test_the_policy_error_ends_the_subscription_with_the_facts() -> None:
    inbox = filled(OverflowPolicy.ERROR, events=10)
    assert isinstance(inbox.ended, Overflow)
    assert (inbox.ended.topic, inbox.ended.limit, inbox.ended.dropped) == ("ticks", 3, 1)
    assert "'ticks'" in str(inbox.ended)
    assert inbox.received == 4
    assert waiting(inbox) == [0, 1, 2]


def test_after_the_end_no_event_is_taken_and_those_that_wait_stay() -> None:
    inbox = filled(OverflowPolicy.DROP_OLDEST, events=2)
    first, second = ValueError(), ValueError()
    inbox.end(first)
    inbox.end(second)
    inbox.offer("late")
    assert inbox.ended is first
    assert inbox.received == 2
    assert waiting(inbox) == [0, 1]


def test_the_first_and_last_inbox_of_a_topic_are_told() -> None:
    subscriptions, one, two = Subscriptions(), object(), object()
    assert [subscriptions.add("ticks", one), subscriptions.add("ticks", two)] == [True, False]
    assert [subscriptions.remove("ticks", one), subscriptions.remove("ticks", two)] == [False, True]
    assert [subscriptions.remove("ticks", two), subscriptions.remove("other", one)] == [False, False]
    assert subscriptions.add("ticks", one)


def test_a_topic_has_its_inboxes_in_order_and_no_other() -> None:
    subscriptions, one, two, three = Subscriptions(), object(), object(), object()
    for topic, inbox in (("ticks", two), ("ticks", one), (UNMATCHED, three)):
        subscriptions.add(topic, inbox)
    assert subscriptions.of("ticks") == (two, one)
    assert subscriptions.of(UNMATCHED) == (three,)
    assert subscriptions.of("other") == ()
    assert subscriptions.all() == [two, one, three]


def test_inboxes_are_told_apart_by_identity() -> None:
    subscriptions = Subscriptions()
    one, equal = [1], [1]
    subscriptions.add("ticks", one)
    assert not subscriptions.remove("ticks", equal)
    assert subscriptions.of("ticks") == (one,)


def test_what_was_looked_up_does_not_change_under_the_reader() -> None:
    subscriptions, one, two = Subscriptions(), object(), object()
    subscriptions.add("ticks", one)
    before = subscriptions.of("ticks")
    subscriptions.add("ticks", two)
    subscriptions.remove("ticks", one)
    assert before == (one,)


def test_clearing_forgets_and_returns_every_inbox() -> None:
    subscriptions, one, two = Subscriptions(), object(), object()
    subscriptions.add("ticks", one)
    subscriptions.add(UNMATCHED, two)
    assert subscriptions.clear() == [one, two]
    assert subscriptions.all() == []
    assert subscriptions.add("ticks", one)


def test_unmatched_is_one_object_and_no_string() -> None:
    assert copy.deepcopy(UNMATCHED) is UNMATCHED
    assert pickle.loads(pickle.dumps(UNMATCHED)) is UNMATCHED
    assert repr(UNMATCHED) == "wsrpc.UNMATCHED"
    assert UNMATCHED != "UNMATCHED"
