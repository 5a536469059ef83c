"""Topic to bounded inboxes: overflow policies and counters.

An inbox has one producer (the loop) and any number of consumers; both sides use single deque operations only, which
are atomic under the GIL, so that the loop never waits for a consumer. Waiting and waking are the business of whoever
owns the inbox: this module knows no thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from enum import Enum
from typing import Any, Final

from .errors import Overflow


class _Unmatched:
    """The type of `UNMATCHED`."""

    def __repr__(self) -> str:
        return "wsrpc.UNMATCHED"

    def __reduce__(self) -> str:
        return "UNMATCHED"


#: As a topic: every message that answers no query and fits no other topic.
UNMATCHED: Final = _Unmatched()

Topic = str | _Unmatched


class OverflowPolicy(Enum):
    """What an inbox does when it is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST = "latest"
    ERROR = "error"


def overflow_policy(name: str) -> OverflowPolicy:
    """The policy of that name.

    Raises:
        ValueError: there is none; the text lists those there are.
    """
    try:
        return OverflowPolicy(name)
    except ValueError:
        names = ", ".join(repr(policy.value) for policy in OverflowPolicy)
        raise ValueError(f"overflow must be one of {names}, not {name!r}") from None


class Inbox:
    """Events that wait for one subscription's consumer.

    Args:
        topic: for errors.
        limit: how many events may wait.
        policy: what happens at the limit. `LATEST` keeps one event, the newest, whatever the limit.

    Attributes:
        received: how many events came.
        dropped: how many of them the policy dropped.
        ended: the error to raise after the last event, or `None` while more may come.
    """

    def __init__(self, topic: Topic, limit: int, policy: OverflowPolicy) -> None:
        self.topic = topic
        self.limit = 1 if policy is OverflowPolicy.LATEST else limit
        self.policy = policy
        self.received = 0
        self.dropped = 0
        self.ended: BaseException | None = None
        self._events: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return len(self._events) >= self.limit

    @property
    def blocks(self) -> bool:
        """Whether the socket must not be read now: a full inbox of the policy `BLOCK`."""
        return self.policy is OverflowPolicy.BLOCK and self.ended is None and self.is_full

    def offer(self, event: Any) -> None:
        """Take an event, as the policy says. By the producer only."""
        if self.ended is not None:
            return
        self.received += 1
        if len(self._events) >= self.limit and not self._make_room():
            return
        self._events.append(event)

    def take(self) -> Any:
        """The oldest event.

        Raises:
            IndexError: none waits.
        """
        return self._events.popleft()

    def end(self, error: BaseException) -> None:
        """No more events come: consumers get those that wait, then the error. The first end counts."""
        if self.ended is None:
            self.ended = error

    def _make_room(self) -> bool:
        """Whether the event that came at the limit is to be taken."""
        if self.policy is OverflowPolicy.BLOCK:
            return True  # the socket is not read any more; what was read already is kept
        self.dropped += 1
        if self.policy is OverflowPolicy.DROP_NEWEST:
            return False
        if self.policy is OverflowPolicy.ERROR:
            self.end(
                Overflow(
                    f"the subscription to {self.topic!r} ended: its consumer was slower than its events and more than "
                    f"{self.limit} waited; take a larger buffer, another overflow policy, or a faster consumer",
                    topic=self.topic,
                    limit=self.limit,
                    dropped=self.dropped,
                )
            )
            return False
        try:
            self._events.popleft()
        except IndexError:  # a consumer was quicker, so there is room and nothing was dropped
            self.dropped -= 1
        return True


class Subscriptions:
    """Which inboxes get the events of a topic. `add` and `remove` under the owner's lock; `of` from any thread."""

    def __init__(self) -> None:
        self._inboxes: dict[Hashable, tuple[Any, ...]] = {}  # replaced, never changed: `of` needs no lock

    def add(self, topic: Topic, inbox: Any) -> bool:
        """Returns whether it is the topic's first."""
        before = self._inboxes.get(topic, ())
        self._inboxes[topic] = (*before, inbox)
        return not before

    def remove(self, topic: Topic, inbox: Any) -> bool:
        """Returns whether it was the topic's last; false if it was not there."""
        before = self._inboxes.get(topic, ())
        after = tuple(other for other in before if other is not inbox)
        if after:
            self._inboxes[topic] = after
        else:
            self._inboxes.pop(topic, None)
        return bool(before) and not after

    def of(self, topic: Topic) -> tuple[Any, ...]:
        """The inboxes of a topic, those that came first before."""
        return self._inboxes.get(topic, ())

    def clear(self) -> list[Any]:
        """Forget every inbox; returns them. From any thread."""
        before, self._inboxes = self._inboxes, {}
        return [inbox for inboxes in list(before.values()) for inbox in inboxes]

    def all(self) -> list[Any]:
        """Every inbox."""
        return [inbox for inboxes in list(self._inboxes.values()) for inbox in inboxes]
