"""What a benchmark asks of a peer: connect, ask, close.

A peer is used the best way that its own documents show, and asks the queries of `queries.py`. It checks the id of every
answer. It keeps no time and no count but its own ids: the clock is in `measure.py`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar

T = TypeVar("T")


class Peer(ABC):
    """One connection to the echo server, through one library.

    Attributes:
        how: How the library is used, in a line, for the report.
    """

    how: ClassVar[str]

    @abstractmethod
    def __init__(self, url: str) -> None:
        """Connect to ``url``; returns when the connection is open."""

    @abstractmethod
    def one_at_a_time(self, count: int) -> None:
        """Ask ``count`` queries, each after the answer to the one before."""

    def in_flight(self, count: int, window: int) -> None:
        """Ask ``count`` queries, never more than ``window`` unanswered."""
        raise NotImplementedError(f"{type(self).__name__} has no way to keep queries in flight")

    @abstractmethod
    def close(self) -> None:
        """Close the connection and free what it held."""


def slide(numbers: Iterable[int], window: int, ask: Callable[[int], T], wait: Callable[[T], None]) -> None:
    """Ask for each number, waiting for the oldest query whenever ``window`` of them are in flight."""
    waiting: deque[T] = deque()
    for number in numbers:
        if len(waiting) == window:
            wait(waiting.popleft())
        waiting.append(ask(number))
    while waiting:
        wait(waiting.popleft())
