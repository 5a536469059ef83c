"""What this library is for, shown in a few seconds: `wsrpc demo`.

A server in this process pushes a thousand prices that nobody asked for, while the same connection carries queries. All
figures are measured: pushes are counted as they come, and every answer is compared with what it has to be. The pauses
are for the reader; no answer waits for them.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from . import codec
from .client import Client
from .dialects import Answer, Dialect, Failure, Push, Request
from .errors import RemoteError
from .server import Server

PUSHES = 1000
PUSH_SECONDS = 0.004
PAUSE_SECONDS = 0.33  # for reading a line
PATIENCE_SECONDS = 30.0  # for the last pushes, on a busy machine
SUBMITTED = 50
IN_TURN = 500
CODE_WIDTH, ANSWER_WIDTH, COUNT_WIDTH = 51, 22, 7
SUBSCRIBING = 'client.subscribe("prices", prices.append)'


def suits(dialect: Dialect) -> bool:
    """Whether a server and a client of this dialect can play the demo: it takes requests, results, errors, topics."""
    try:
        messages = (dialect.answer(1, 5), dialect.failure(1, 2, "no"), dialect.push("prices", {"number": 1}))
        answer, failure, push = (dialect.read(codec.decode(codec.encode(message))) for message in messages)
        request = dialect.read_request(codec.decode(b"1".join(codec.encode_query(dialect.request("add", [2, 3])))))
    except Exception:  # whatever a dialect raises that has no such thing
        return False
    return (
        (isinstance(answer, Answer) and answer.result == 5)
        and (isinstance(failure, Failure) and failure.code == 2)
        and (isinstance(push, Push) and push.topic == "prices")
        and (isinstance(request, Request) and request.params == [2, 3])
    )


def run(dialect: Dialect) -> bool:
    """Play the demo on stdout. Returns whether every answer was right and no push was lost."""
    screen = Screen()
    screen.line(f"Queries get their answers while {PUSHES:,} unrelated messages arrive on the same connection.", "bold")
    with make_server(dialect) as server, Client(server.url, dialect=dialect) as client:
        screen.line("Each line below is a plain function call that returns its own answer: no async, no recv() loop.")
        screen.line(f"(A server in this process answers, and pushes a price every {1000 * PUSH_SECONDS:g} ms.)", "dim")
        screen.line()
        screen.line(f'client = wsrpc.Client("{server.url}")', "bold")
        return _Play(server, client, screen).run()


def make_server(dialect: Dialect) -> Server:
    """The server of the demo, on a free port."""
    server = Server("127.0.0.1", 0, dialect=dialect)

    @server.method(inline=True)
    def add(a: float, b: float) -> float:
        return a + b

    @server.method
    def forecast(days: int) -> list[int]:
        if days > 14:
            raise RemoteError("too far", code=422, message=f"nobody knows the weather in {days} days")
        time.sleep(0.6)  # stands for work
        return [20 + day for day in range(days)]

    @server.method
    def square(n: int) -> int:
        time.sleep(random.uniform(0, 0.3))
        return n * n

    return server


class Screen:
    """Prints piece by piece; bold and dim only where a terminal shows them (https://no-color.org)."""

    def __init__(self) -> None:
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self._styled = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def piece(self, text: str, style: str = "") -> None:
        """Print without ending the line."""
        if self._styled and style:
            text = f"\x1b[{1 if style == 'bold' else 2}m{text}\x1b[0m"
        print(text, end="", flush=True)

    def line(self, text: str = "", style: str = "") -> None:
        """Print and end the line."""
        self.piece(text, style)
        print(flush=True)

    def count(self, number: int) -> None:
        """Print a figure of the table."""
        self.piece(f"{number:{COUNT_WIDTH}}")


class Pusher:
    """A thread that publishes the prices, each at its time; leaving the `with` block ends it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._push, name="demo-pusher", daemon=True)

    def _push(self) -> None:
        began = time.monotonic()
        for number in range(PUSHES):
            if self._stopped.wait(max(0.0, began + number * PUSH_SECONDS - time.monotonic())):
                return
            self._server.publish("prices", {"number": number, "price": round(random.gauss(100, 1), 2)})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()


class Prices(list[Any]):
    """The prices that came; another thread can wait for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = threading.Event()

    def append(self, price: Any) -> None:
        """Take one."""
        super().append(price)
        if len(self) == PUSHES:
            self.complete.set()

    @property
    def in_order(self) -> bool:
        """Whether all came, each once, in the order in which they were published."""
        return [price["number"] for price in self] == list(range(PUSHES))


class _Play:
    """The queries, and what is counted meanwhile."""

    def __init__(self, server: Server, client: Client, screen: Screen) -> None:
        self._server, self._client, self._screen = server, client, screen
        self._prices = Prices()
        self._order: list[int] = []  # of the submitted queries, as they were answered
        self._asked = self._wrong = 0
        self._seconds = 0.0  # that the last line took
        self._error = ""  # the text of the error answer

    def run(self) -> bool:
        self._screen.piece(SUBSCRIBING.ljust(CODE_WIDTH + ANSWER_WIDTH), "bold")
        self._subscription = self._client.subscribe("prices", self._prices.append)
        self._screen.line("     pushes that came", "dim")
        columns = "".join(f"{name:>{COUNT_WIDTH}}" for name in ("before", "while", "after"))
        self._screen.line(f"{'':{CODE_WIDTH + ANSWER_WIDTH}}{columns}", "dim")
        began = time.monotonic()
        with Pusher(self._server):
            time.sleep(PAUSE_SECONDS)
            self._ask_singly()
            self._ask_many()
        self._sum_up(time.monotonic() - began)
        return not self._wrong and self._prices.in_order

    def _ask_singly(self) -> None:
        query, api = self._client.query, self._client.api
        self._row('client.query("add", [2, 3])', lambda: query("add", [2, 3]), 5)
        self._row("client.api.add(a=2, b=3)", lambda: api.add(a=2, b=3), 5)
        self._row('client.query("forecast", {"days": 3})', lambda: query("forecast", {"days": 3}), [20, 21, 22])
        self._note(f"the server worked on it; the answer came after {self._seconds:.2f} s, and the pushes went on")
        self._row('client.query("forecast", [99])', self._ask_too_much, "RemoteError 422")
        self._note(f"raised here, from the server's answer: {self._error}")

    def _ask_too_much(self) -> Any:
        try:
            return self._client.query("forecast", [99])
        except RemoteError as error:
            self._error = error.message
            return f"RemoteError {error.code}"

    def _ask_many(self) -> None:
        self._screen.line(f'replies = [client.submit("square", [n]) for n in range({SUBMITTED})]', "bold")
        self._rows("[reply.result() for reply in replies]", self._submit, [n * n for n in range(SUBMITTED)])
        first = ", ".join(map(str, self._order[:6]))
        self._note(f"{SUBMITTED} at once, answered in the order {first}, ...: each reply got its own")
        code = f'[client.query("add", [n, n]) for n in range({IN_TURN})]'
        self._rows(code, self._ask_in_turn, [n + n for n in range(IN_TURN)], self._wait_for_the_rest)
        self._note(f"{IN_TURN} queries in turn took {self._seconds:.2f} s")

    def _submit(self) -> list[Any]:
        replies = []
        for n in range(SUBMITTED):
            reply = self._client.submit("square", [n])
            reply.add_done_callback(lambda _, n=n: self._order.append(n))  # type: ignore[misc]
            replies.append(reply)
        return [reply.result() for reply in replies]

    def _ask_in_turn(self) -> list[Any]:
        return [self._client.query("add", [n, n]) for n in range(IN_TURN)]

    def _wait_for_the_rest(self) -> None:
        self._prices.complete.wait(PATIENCE_SECONDS)

    def _row(self, code: str, ask: Callable[[], Any], expected: Any) -> None:
        """One query: what is asked, its answer, and the pushes."""
        self._rows(code, lambda: [ask()], [expected])

    def _rows(
        self,
        code: str,
        ask: Callable[[], list[Any]],
        expected: list[Any],
        pause: Callable[[], None] = lambda: time.sleep(PAUSE_SECONDS),
    ) -> None:
        """A line that asks as many queries as it expects answers."""
        self._screen.piece(f"{code:{CODE_WIDTH}}", "bold")
        before, began = self._subscription.received, time.monotonic()
        answers = ask()
        self._seconds, then = time.monotonic() - began, self._subscription.received
        self._check(answers, expected)
        self._screen.piece(f"{_brief(answers):{ANSWER_WIDTH}}")
        self._screen.count(before)
        self._screen.count(then - before)
        pause()
        self._screen.count(self._subscription.received - then)
        self._screen.line()

    def _check(self, answers: list[Any], expected: list[Any]) -> None:
        self._asked += len(expected)
        self._wrong += sum(answer != right for answer, right in zip(answers, expected, strict=True))

    def _note(self, text: str) -> None:
        self._screen.line(f"    {text}", "dim")

    def _sum_up(self, seconds: float) -> None:
        order = "in order" if self._prices.in_order else "NOT in order"
        came = f"{len(self._prices):,} of {PUSHES:,} pushes received, {order}"
        median = 1000 * self._client.stats().latency["p50"]
        self._screen.line()
        self._screen.line(f"In {seconds:.1f} s: {self._asked} queries, {self._wrong} wrong answers; {came}.", "bold")
        self._screen.line(f"Each answer was compared with what it has to be; the median took {median:.2f} ms.")
        self._screen.line("Now your endpoint: wsrpc query ws://HOST:PORT METHOD '[1, 2]'     (more: wsrpc --help)")


def _brief(answers: list[Any]) -> str:
    """An answer; of many the first few and the last."""
    if len(answers) == 1:
        return str(answers[0])
    return f"[{', '.join(map(str, answers[:3]))}, ..., {answers[-1]}]"
