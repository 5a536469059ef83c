"""nwebsocket: its `WebSocket` class; `onmessage`, on its thread, hands the answer to the thread that asked."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import count as count_from
from typing import Any, ClassVar

import orjson
from nwebsocket import WebSocket

from ..queries import check, encode
from .base import Peer, slide


class _Link(WebSocket):  # type: ignore[misc]
    """The class that nwebsocket asks a user to write: it settles the future of the answer's id."""

    def __init__(self, url: str) -> None:
        self.opened = threading.Event()
        self.waiting: dict[int, Future[Any]] = {}
        self.answer: bytes | str = b""
        self.answered = threading.Event()
        super().__init__(url)

    def onopen(self) -> None:
        self.opened.set()

    def onmessage(self, message: str) -> None:
        if self.waiting:
            answer = orjson.loads(message)
            self.waiting.pop(answer["id"]).set_result(answer)
        else:
            self.answer = message
            self.answered.set()


class NwebsocketClass(Peer):
    """One `WebSocket`; an event a query one at a time, a future a query in flight."""

    how: ClassVar[str] = "`onmessage` sets a `threading.Event`; in flight: it settles the future of the id"

    def __init__(self, url: str) -> None:
        self._link = _Link(url)
        self._numbers: Iterator[int] = count_from(1)
        if not self._link.opened.wait(10):
            raise TimeoutError("nwebsocket did not open the connection in 10 s")

    def one_at_a_time(self, count: int) -> None:
        link, answered = self._link, self._link.answered
        for number in (next(self._numbers) for _ in range(count)):
            answered.clear()
            link.send(encode(number).decode())
            answered.wait()
            check(orjson.loads(link.answer), number)

    def in_flight(self, count: int, window: int) -> None:
        slide((next(self._numbers) for _ in range(count)), window, self._ask, self._wait)

    def close(self) -> None:
        self._link.close()

    def _ask(self, number: int) -> tuple[int, Future[Any]]:
        answer: Future[Any] = Future()
        self._link.waiting[number] = answer
        self._link.send(encode(number).decode())
        return number, answer

    def _wait(self, asked: tuple[int, Future[Any]]) -> None:
        number, answer = asked
        check(answer.result(), number)


PEER = NwebsocketClass
