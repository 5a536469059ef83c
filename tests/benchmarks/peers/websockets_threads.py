"""websockets: its threaded client (`websockets.sync.client`), without compression and, for orjson, without decoding.

In flight, a reader thread settles the future of each answer's id.
"""

import threading
from concurrent.futures import Future
from contextlib import ExitStack
from itertools import count as count_from
from typing import Any, ClassVar

import orjson
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..queries import check, encode
from .base import Peer, slide


class WebsocketsThreads(Peer):
    """One connection; the reader thread starts with the first query in flight and ends with the connection."""

    how: ClassVar[str] = "`send`, `recv(decode=False)`; in flight: a reader thread and a dict of futures"

    def __init__(self, url: str) -> None:
        self._exits = ExitStack()
        self._socket = self._exits.enter_context(connect(url, compression=None))
        self._numbers = count_from(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._reader: threading.Thread | None = None

    def one_at_a_time(self, count: int) -> None:
        send, recv = self._socket.send, self._socket.recv
        for number in (next(self._numbers) for _ in range(count)):
            send(encode(number), text=True)
            check(orjson.loads(recv(decode=False)), number)

    def in_flight(self, count: int, window: int) -> None:
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="websockets-reader", daemon=True)
            self._reader.start()
        slide((next(self._numbers) for _ in range(count)), window, self._ask, self._wait)

    def close(self) -> None:
        self._exits.close()
        if self._reader is not None:
            self._reader.join()

    def _ask(self, number: int) -> tuple[int, Future[Any]]:
        answer: Future[Any] = Future()
        self._waiting[number] = answer
        self._socket.send(encode(number), text=True)
        return number, answer

    def _wait(self, asked: tuple[int, Future[Any]]) -> None:
        number, answer = asked
        check(answer.result(), number)

    def _read(self) -> None:
        recv, waiting = self._socket.recv, self._waiting
        try:
            while True:
                answer = orjson.loads(recv(decode=False))
                waiting.pop(answer["id"]).set_result(answer)
        except ConnectionClosed:
            return


PEER = WebsocketsThreads
