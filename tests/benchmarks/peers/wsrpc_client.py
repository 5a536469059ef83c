"""wsrpc itself: `Client.query` one at a time, `Client.submit` with a deque of replies in flight."""

from concurrent.futures import Future
from itertools import count as count_from
from typing import Any, ClassVar

import wsrpc

from ..queries import MESSAGE, check
from .base import Peer, slide


class WsrpcClient(Peer):
    """A client that has a connection of its own; its reflect IDs count up from 1."""

    how: ClassVar[str] = "`query`; in flight: `submit` and a window of replies"

    def __init__(self, url: str) -> None:
        self._client = wsrpc.Client(url, dialect=wsrpc.Reflect(id="id"))
        self._numbers = count_from(1)
        self._client.wait_open(10)

    def one_at_a_time(self, count: int) -> None:
        query, numbers = self._client.query, self._numbers
        for _ in range(count):
            check(query(MESSAGE), next(numbers))

    def in_flight(self, count: int, window: int) -> None:
        slide(range(count), window, self._ask, self._wait)

    def close(self) -> None:
        self._client.close()

    def _ask(self, _: int) -> Future[Any]:
        return self._client.submit(MESSAGE)

    def _wait(self, reply: Future[Any]) -> None:
        check(reply.result(), next(self._numbers))


PEER = WsrpcClient
