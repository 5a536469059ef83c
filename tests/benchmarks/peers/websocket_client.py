"""websocket-client: `create_connection`, then `send` and `recv_data` on the thread that asks; it has no other thread.

In flight it counts on answers in the order of the queries, which this server gives and most endpoints do not.
"""

from itertools import count as count_from
from typing import ClassVar

import orjson
from websocket import create_connection

from ..queries import check, encode
from .base import Peer, slide


class WebsocketClient(Peer):
    """One connection without a second thread, its UTF-8 check left to orjson and its locks off."""

    how: ClassVar[str] = "`send`, `recv_data`, no second thread; in flight: counts on answers in order"

    def __init__(self, url: str) -> None:
        self._socket = create_connection(url, skip_utf8_validation=True, enable_multithread=False)
        self._numbers = count_from(1)

    def one_at_a_time(self, count: int) -> None:
        for _ in range(count):
            self._wait(self._ask(next(self._numbers)))

    def in_flight(self, count: int, window: int) -> None:
        slide((next(self._numbers) for _ in range(count)), window, self._ask, self._wait)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, number: int) -> int:
        self._socket.send(encode(number))
        return number

    def _wait(self, number: int) -> None:
        _, data = self._socket.recv_data()
        check(orjson.loads(data), number)


PEER = WebsocketClient
