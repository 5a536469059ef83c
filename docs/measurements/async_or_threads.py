"""The figures of docs/guide-async.md, measured on loopback: `python docs/measurements/async_or_threads.py`.

Run it in the root of the repository. It needs the extra `bench` (`pip install -e '.[bench]'`), takes some five minutes,
and prints tables. This process holds the endpoints (but for the echo server of the third table); each client is a fresh
process of its own, so no two of them share an interpreter. Rounds are interleaved; the tables show medians.

1. A client that computes for a while on every message: how long does the endpoint wait for a pong meanwhile? And does
   the connection live, if the endpoint's patience is shorter than the computation?
2. Answers that take their time: one after another, and in flight together.
3. Queries a second, where the answer comes at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.sync.client import connect as connect_sync

import wsrpc

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
CLIENT_TIMEOUT = 60.0  # a client that takes longer hangs

WORK_SECONDS = 0.1  # of computing, for each message
EVENTS = 15  # messages of one run; one comes every 2 * WORK_SECONDS, so the client computes half of its time
PING_SECONDS = 0.01
LONG_WORK_SECONDS = 3.0
IMPATIENCE = {"ping_interval": 0.5, "ping_timeout": 1.0}  # of the endpoint, against LONG_WORK_SECONDS

ANSWER_SECONDS = 0.05
NUMBERS = (1, 8, 64)

RATE_SECONDS = 0.7
RATE_ROUNDS = 21
WINDOW = 64

MODULUS = (1 << 2203) - 1

REFLECT = wsrpc.Reflect(id="req_id", topic="channel")


# Work


def in_python(count: int) -> int:
    """Many small steps: between them the interpreter lets other threads run."""
    total = 0
    for number in range(count):
        total += number
    return total


def in_one_call(count: int) -> int:
    """One call into C that keeps the interpreter's lock (the GIL) until it is done: `count // 100` squarings."""
    return pow(3, 1 << (count // 100), MODULUS)


WORK: dict[str, Callable[[int], int]] = {"in_python": in_python, "in_one_call": in_one_call}


def lasting(kind: str, seconds: float) -> Callable[[], object]:
    """Work of that length, where nothing else runs."""
    work, count = WORK[kind], 100_000
    while (took := _time(work, count)) < 0.05:
        count *= 2
    took = min(took, *(_time(work, count) for _ in range(3)))
    return lambda: work(int(count * seconds / took))


def _time(function: Callable[..., object], *arguments: Any) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


# Clients that compute on every message. Each is what its library's documentation shows.


async def computing_on_asyncio(url: str, work: Callable[[], object]) -> int:
    done = 0
    async with connect(url, compression=None) as connection:
        await connection.send("ready")
        async for _ in connection:
            work()
            done += 1
    return done


async def computing_off_asyncio(url: str, work: Callable[[], object]) -> int:
    done = 0
    async with connect(url, compression=None) as connection:
        await connection.send("ready")
        async for _ in connection:
            await asyncio.to_thread(work)
            done += 1
    return done


def computing_on_websockets_threads(url: str, work: Callable[[], object]) -> int:
    done = 0
    with connect_sync(url, compression=None) as connection:
        connection.send("ready")
        for _ in connection:
            work()
            done += 1
    return done


def computing_on_wsrpc(url: str, work: Callable[[], object]) -> int:
    done = 0
    with wsrpc.Client(url, dialect=REFLECT) as client, client.subscribe("events") as events:
        client.notify("ready")
        with contextlib.suppress(wsrpc.ConnectionClosed):
            for _ in events:
                work()
                done += 1
    return done


COMPUTING: dict[str, Callable[..., Any]] = {
    "asyncio": computing_on_asyncio,
    "asyncio, to_thread": computing_off_asyncio,
    "websockets, threads": computing_on_websockets_threads,
    "wsrpc": computing_on_wsrpc,
}


def computing(url: str, name: str, kind: str, seconds: str) -> dict[str, Any]:
    work = lasting(kind, float(seconds))
    try:
        done = COMPUTING[name](url, work)
        return {"done": asyncio.run(done) if asyncio.iscoroutine(done) else done}
    except websockets.ConnectionClosedError as error:
        return {"lost": str(error)}


# Clients that ask


class Asker:
    """The same as a wsrpc query, on asyncio: a reflect ID for each query, and a task that reads."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)

    async def read(self) -> None:
        async for message in self._connection:
            answer = orjson.loads(message)
            self._futures.pop(answer["req_id"]).set_result(answer)

    async def ask(self) -> Any:
        number = next(self._numbers)
        self._futures[number] = future = asyncio.get_running_loop().create_future()
        await self._connection.send(orjson.dumps({"method": "ask", "req_id": number}), text=True)
        return await future


@contextlib.asynccontextmanager
async def asker(url: str) -> AsyncIterator[Asker]:
    async with connect(url, compression=None) as connection:
        asking = Asker(connection)
        reading = asyncio.create_task(asking.read())
        yield asking
        reading.cancel()


async def waiting_on_asyncio(url: str, number: int) -> float:
    async with asker(url) as asking:
        await asking.ask()  # the first one warms up
        began = time.perf_counter()
        await asyncio.gather(*(asking.ask() for _ in range(number)))
        return time.perf_counter() - began


def waiting_in_turn(url: str, number: int) -> float:
    with wsrpc.Client(url, dialect=REFLECT) as client:
        client.query("ask")
        return _time(lambda: [client.query("ask") for _ in range(number)])


def waiting_in_flight(url: str, number: int) -> float:
    with wsrpc.Client(url, dialect=REFLECT) as client:
        client.query("ask")
        return _time(lambda: [reply.result() for reply in [client.submit("ask") for _ in range(number)]])


WAITING: dict[str, Callable[..., Any]] = {
    "wsrpc, query in turn": waiting_in_turn,
    "wsrpc, submit": waiting_in_flight,
    "asyncio, gather": waiting_on_asyncio,
}


def waiting(url: str, name: str, number: str) -> dict[str, Any]:
    seconds = WAITING[name](url, int(number))
    return {"seconds": asyncio.run(seconds) if asyncio.iscoroutine(seconds) else seconds}


async def rate_on_asyncio(url: str, window: int) -> float:
    async with asker(url) as asking:
        end = time.perf_counter() + RATE_SECONDS

        async def ask_until_the_end() -> int:
            asked = 0
            while time.perf_counter() < end:
                await asking.ask()
                asked += 1
            return asked

        began = time.perf_counter()
        asked = await asyncio.gather(*(ask_until_the_end() for _ in range(window)))
        return sum(asked) / (time.perf_counter() - began)


def rate_on_wsrpc(url: str, window: int) -> float:
    with wsrpc.Client(url, dialect=REFLECT) as client:
        asked, began = 0, time.perf_counter()
        end = began + RATE_SECONDS
        if window == 1:
            while time.perf_counter() < end:
                client.query("ask")
                asked += 1
        else:
            replies = deque(client.submit("ask") for _ in range(window))
            while time.perf_counter() < end:
                replies.popleft().result()
                replies.append(client.submit("ask"))
                asked += 1
            asked += sum(1 for reply in replies if reply.result())
        return asked / (time.perf_counter() - began)


RATES: dict[str, Callable[..., Any]] = {"asyncio": rate_on_asyncio, "wsrpc": rate_on_wsrpc}


def rate(url: str, name: str, window: str) -> dict[str, Any]:
    figure = RATES[name](url, int(window))
    return {"rate": asyncio.run(figure) if asyncio.iscoroutine(figure) else figure}


ROLES: dict[str, Callable[..., dict[str, Any]]] = {"computing": computing, "waiting": waiting, "rate": rate}


async def run_client(role: str, url: str, *arguments: Any) -> dict[str, Any]:
    """Run a client in a process of its own, and return what it says."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *(__file__, role, url, *map(str, arguments)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        printed, _ = await asyncio.wait_for(child.communicate(), CLIENT_TIMEOUT)
    except TimeoutError:
        child.kill()
        raise
    if child.returncode:
        raise RuntimeError(f"{role} {arguments} ended with {child.returncode}; its error is printed above")
    return dict(json.loads(printed))


# The endpoints


class Pusher:
    """Waits until the client is ready, sends it an event at a time, and pings all the while."""

    def __init__(self, events: int, seconds: float) -> None:
        self._events, self._seconds = events, seconds
        self.pongs: list[float] = []  # from ping to pong, in seconds
        self.end = ""

    async def __call__(self, connection: ServerConnection) -> None:
        try:
            await connection.recv()
            pinging = asyncio.create_task(self._ping(connection))
            for number in range(self._events):
                await connection.send(json.dumps({"channel": "events", "number": number}))
                await asyncio.sleep(2 * self._seconds)
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
            self.end = "lived" if connection.close_code is None else "was dropped"
            await connection.close()
        except websockets.ConnectionClosed:
            self.end = "was dropped"

    async def _ping(self, connection: ServerConnection) -> None:
        async def take(pong: Awaitable[float]) -> None:
            with contextlib.suppress(websockets.ConnectionClosed):
                self.pongs.append(await pong)

        waiting: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(take(await connection.ping()))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                await asyncio.sleep(PING_SECONDS)
        except (asyncio.CancelledError, websockets.ConnectionClosed):
            await asyncio.gather(*waiting)


@contextlib.asynccontextmanager
async def endpoint(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    options = {"ping_interval": None, "compression": None} | options
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def slow_answers(connection: ServerConnection) -> None:
    """Sends each message back after ANSWER_SECONDS; as many at once as are asked."""

    async def answer(message: Any) -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        await connection.send(message)

    async with asyncio.TaskGroup() as tasks:
        async for message in connection:
            tasks.create_task(answer(message))


@contextlib.contextmanager
def echo_server() -> Iterator[str]:
    """The benchmark's: picows on uvloop, in a process of its own, so that it is not what is measured."""
    line = [sys.executable, "-m", "tests.benchmarks.echo_server"]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield f"ws://127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.stdin.close()
            child.wait(10)


# The measurements


async def measure_pongs() -> None:
    pongs: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(ROUNDS):
        for kind, name in itertools.product(WORK, COMPUTING):
            pusher = Pusher(EVENTS, WORK_SECONDS)
            async with endpoint(pusher) as url:
                said = await run_client("computing", url, name, kind, WORK_SECONDS)
            assert said.get("done") == EVENTS, f"{name}: {said}, {pusher.end}"
            pongs.setdefault((kind, name), []).append(pusher.pongs)
    heading = (
        f"1. Milliseconds until a pong; the client computes {1000 * WORK_SECONDS:g} ms at a time, half of its time"
    )
    rows = []
    for (kind, name), runs in pongs.items():
        percentiles = [[_quantile(run, rank) for run in runs] for rank in (0.5, 0.9, 0.99, 1)]
        rows.append([kind, name, *(f"{1000 * statistics.median(values):.1f}" for values in percentiles)])
    show(heading, ["work", "client", "p50", "p90", "p99", "max"], rows)


async def measure_patience() -> None:
    rows = []
    for kind, name in itertools.product(WORK, COMPUTING):
        pusher = Pusher(1, 0.75 * LONG_WORK_SECONDS)
        async with endpoint(pusher, **IMPATIENCE) as url:
            await run_client("computing", url, name, kind, LONG_WORK_SECONDS)
        rows.append([kind, name, pusher.end])
    interval, timeout = IMPATIENCE.values()
    heading = f"1b. Computing for {LONG_WORK_SECONDS:g} s, the endpoint pings every {interval:g} s, waits {timeout:g} s"
    show(heading, ["work", "client", "the connection"], rows)


async def measure_waiting() -> None:
    seconds: dict[tuple[str, int], list[float]] = {}
    async with endpoint(slow_answers) as url:
        for _, name, number in itertools.product(range(ROUNDS), WAITING, NUMBERS):
            said = await run_client("waiting", url, name, number)
            seconds.setdefault((name, number), []).append(said["seconds"])
    heading = f"2. Time for so many answers of {1000 * ANSWER_SECONDS:g} ms, in lengths of one answer"
    rows = [
        [name, *(f"{statistics.median(seconds[name, number]) / ANSWER_SECONDS:.2f}" for number in NUMBERS)]
        for name in WAITING
    ]
    show(heading, ["client", *map(str, NUMBERS)], rows)


async def measure_rates() -> None:
    rates: dict[tuple[int, str], list[float]] = {}
    with echo_server() as url:
        for _, window, name in itertools.product(range(RATE_ROUNDS), (1, WINDOW), RATES):
            said = await run_client("rate", url, name, window)
            rates.setdefault((window, name), []).append(said["rate"])
    rows = []
    for (window, name), figures in rates.items():
        ratios = sorted(mine / theirs for mine, theirs in zip(figures, rates[window, "asyncio"], strict=True))
        spread = f"{_quantile(ratios, 0.1):.2f}-{_quantile(ratios, 0.9):.2f}"
        ratio, figure = statistics.median(ratios), statistics.median(figures)
        rows.append([str(window), name, f"{ratio:.2f}", spread, f"{figure:,.0f}"])
    heading = "3. Queries a second, answered at once; ratios to asyncio in the same round: median, and 80 % of them"
    show(heading, ["in flight", "client", "ratio", "80 %", "queries/s"], rows)


def _quantile(values: list[float], rank: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(rank * len(ordered)), len(ordered) - 1)]


def show(heading: str, titles: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    print(f"\n{heading}\n")
    for row in (titles, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


async def measure() -> None:
    versions = f"wsrpc {wsrpc.__version__}, websockets {websockets.__version__}"
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores; {versions}; loopback")
    await measure_pongs()
    await measure_patience()
    await measure_waiting()
    await measure_rates()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(ROLES[sys.argv[1]](*sys.argv[2:])))
    else:
        asyncio.run(measure())
