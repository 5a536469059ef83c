"""The one background thread with the curio kernel, and the only door to it.

One loop a process, shared by all connections, started at the first one: a daemon thread named `wsrpc-loop`. Other
threads reach it by `Loop.call` only. That call is one C call inside (an append and a wake byte): Ctrl-C may strike
before or after it, never between, so nothing is left behind that the loop was not told of. curio's own UniversalQueue
cannot promise this: its `put` takes a waiting reader off its list in one bytecode and settles it in a later one.

The kernel dies whole if a trap raises. If it dies, everything on it is told, the cause is logged, and the next use
starts a new loop.
"""

from __future__ import annotations

import atexit
import contextlib
import heapq
import inspect
import itertools
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from operator import call
from types import coroutine
from typing import Any, Protocol

import curio
from curio.traps import _future_wait, _read_wait, _set_timeout, _unset_timeout

from .errors import StateError

log = logging.getLogger("wsrpc")

RECEIVE_BYTES = 256 * 1024
_LONGEST_WAIT = 3600.0  # seconds; epoll refuses more than some 24 days, which would be the kernel's end
EXIT_SECONDS = 1.0  # for all goodbyes together


class Resident(Protocol):
    """What lives on the loop: it is told when the process ends, and if the loop dies."""

    def going_away(self) -> None:
        """The interpreter exits: end soon, and do not wait for a silent peer. Called on the loop."""

    def loop_died(self, cause: BaseException) -> None:
        """The loop is gone. Called on its thread, as its last act."""


class WakingSelector(selectors.DefaultSelector):
    """Wakes the threads whose waiting has ended only when the loop has nothing else to do.

    A thread that is woken while the loop still runs would wake only to wait for the GIL.

    Attributes:
        wakes: what to call before the next wait; must not raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wakes: deque[Callable[[], object]] = deque()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the base, after the wake-ups."""
        self.wake()
        return super().select(timeout)

    def wake(self) -> None:
        """Make the calls."""
        wakes = self.wakes
        while wakes:
            wakes.popleft()()


class Timer:
    """A call that will be made; `cancel` keeps it from being made. Loop thread only."""

    __slots__ = ("cancelled", "function")

    def __init__(self, function: Callable[[], object]) -> None:
        self.function: Callable[[], object] = function
        self.cancelled = False

    def cancel(self) -> None:
        """Do not make the call."""
        self.cancelled = True
        self.function = _nothing


class Loop:
    """The background thread. Use `current_loop()`, never this class itself.

    Attributes:
        buffer: where the loop's connections receive, one at a time. Loop thread only.
        ident: of its thread; 0 until it runs.
        errors: how many exceptions functions on the loop have raised.
        wake_later: takes a function that wakes a thread, to be called before the loop waits. Loop thread only.
    """

    def __init__(self) -> None:
        self._residents: set[Resident] = set()  # loop only
        self._empty = threading.Event()  # set once it goes away and nobody lives on it
        self._leaving = False  # loop only
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.errors = 0
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()  # any thread appends
        self._timers: list[tuple[float, int, Timer]] = []  # loop only; a heap
        self._order = itertools.count()
        self._awake, self._wake = socket.socketpair()
        self._awake.setblocking(False)
        self._wake.setblocking(False)
        self._wake_byte = partial(self._wake.send, b"\0")
        self._selector = WakingSelector()
        self.wake_later = self._selector.wakes.append
        self.ident = 0  # of the thread, once it runs
        self._alive = True
        self.thread = threading.Thread(target=self._run, name="wsrpc-loop", daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes calls."""
        return self._alive and self.thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread."""
        return threading.get_ident() == self.ident

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have the loop call a function soon; a coroutine function becomes a task. From any thread; never blocks.

        Exceptions of the function are logged and counted.
        """
        steps: list[Callable[[], object]] = [partial(self._calls.append, (function, args)), self._wake_byte]
        try:
            deque(map(call, steps), maxlen=0)  # one C call: see the module's docstring
        except BlockingIOError:  # full of wake bytes: it will wake
            pass
        except OSError:
            if self._alive:
                raise

    def call_later(self, delay: float, function: Callable[[], object]) -> Timer:
        """Have the loop call a function after `delay` seconds. Loop thread only."""
        timer = Timer(function)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._order), timer))
        if self._timers[0][2] is timer:
            with contextlib.suppress(BlockingIOError):
                self._wake_byte()  # the main task waits for a later one
        return timer

    def admit(self, resident: Resident) -> None:
        """Tell it when the process ends and if the loop dies, until `dismiss`. Loop thread only."""
        self._residents.add(resident)
        if self._leaving:
            self.guard(resident.going_away)

    def dismiss(self, resident: Resident) -> None:
        """It has ended. Loop thread only."""
        self._residents.discard(resident)
        if self._leaving and not self._residents:
            self._empty.set()

    def leave(self, seconds: float) -> None:
        """The interpreter exits: let connections say goodbye, for so many seconds at the most. Blocks."""
        self.call(self._leave)
        self._empty.wait(seconds)

    def _leave(self) -> None:
        self._leaving = True
        for resident in list(self._residents):
            self.guard(resident.going_away)
        if not self._residents:
            self._empty.set()

    def guard(self, function: Callable[..., object], *args: Any) -> object:
        """Call a function whose exceptions must not reach the kernel: they are logged and counted."""
        try:
            return function(*args)
        except BaseException:
            self.errors += 1
            log.exception("a function on the wsrpc loop failed: %r", function)
            return None

    def _run(self) -> None:
        self.ident = threading.get_ident()
        cause: BaseException = StateError("the wsrpc loop has ended")
        try:
            with curio.Kernel(selector=self._selector) as kernel:
                kernel.run(self._main)
        except BaseException as error:
            log.critical("the wsrpc loop died; the next use starts a new one", exc_info=True)
            cause = error
        finally:
            self._alive = False
            self._selector.wake()
            for resident in self._residents | self._waiting_residents():
                self.guard(resident.loop_died, cause)
            self._selector.wake()
            self._empty.set()
            self._awake.close()
            self._wake.close()

    def _waiting_residents(self) -> set[Any]:
        """Those whose first call was still to be made."""
        owners = (getattr(function, "__self__", None) for function, _ in self._calls)
        return {owner for owner in owners if hasattr(owner, "loop_died")}

    async def _main(self) -> None:
        while True:
            await self._wait()
            with contextlib.suppress(BlockingIOError):
                self._awake.recv(4096)
            for _ in range(len(self._calls)):
                function, args = self._calls.popleft()
                await self._perform(function, args)
            self._fire_timers()

    async def _wait(self) -> None:
        """Until somebody calls, or the next timer is due."""
        if self._calls:
            await curio.sleep(0)
            return
        if not self._timers:
            await _read_wait(self._awake)
            return
        delay = self._timers[0][0] - time.monotonic()
        if delay <= 0:
            await curio.sleep(0)
            return
        with contextlib.suppress(OutOfTime):
            await within(min(delay, _LONGEST_WAIT), _read_wait(self._awake))

    async def _perform(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        result = self.guard(function, *args)
        if inspect.iscoroutine(result):
            await self.spawn(result)

    async def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> curio.Task:
        """A task of its own for a coroutine. Its exceptions are curio's to log. Loop thread only."""
        return await curio.spawn(coroutine, daemon=True)

    def _fire_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            self.guard(timer.function)


@coroutine
def readable(sock: socket.socket) -> Generator[Any, Any, None]:
    """Wait until there is something to read: curio's `_read_wait` in one step instead of three. Loop thread only."""
    result = yield ("trap_io", sock, selectors.EVENT_READ, "READ_WAIT")
    if isinstance(result, BaseException):
        raise result


async def wait_future(future: Any) -> Any:
    """The result of a `concurrent.futures.Future` that another thread settles. Loop thread only."""
    if not future.done():
        await _future_wait(future)
    return future.result()


class OutOfTime(TimeoutError):
    """The timeout of `within` ran out; no `TimeoutError` of the operating system."""


async def within(timeout: float | None, awaitable: Awaitable[Any]) -> Any:
    """Await with a timeout in seconds; `None`: no limit. Not within another `within`.

    Raises:
        OutOfTime: it ran out.
    """
    if timeout is None:
        return await awaitable
    # Not curio.timeout_after: it logs a warning where something succeeds a moment after its timeout.
    await _set_timeout(time.monotonic() + timeout)
    try:
        result = await awaitable
    except curio.TaskTimeout as error:
        await _unset_timeout(None)
        raise OutOfTime(f"timed out after {timeout} s") from error
    except Exception:  # not GeneratorExit: a kernel that has died answers no traps
        await _unset_timeout(None)
        raise
    await _unset_timeout(None)
    return result


async def take_lock(lock: threading.Lock) -> None:
    """Take a lock that other threads hold for moments only, without making the loop wait for it."""
    while not lock.acquire(blocking=False):
        await curio.sleep(0)


_lock = threading.Lock()
_loop: Loop | None = None  # guarded by _lock; read without


def current_loop() -> Loop:
    """The loop of this process, started if there is none. From any thread."""
    global _loop
    loop = _loop
    if loop is not None and loop.alive:
        return loop
    with _lock:
        if _loop is None or not _loop.alive:
            _loop = Loop()
        return _loop


def wake(function: Callable[[], object]) -> None:
    """Call a function that wakes a thread, and that does not raise: on the loop when it has nothing else to do."""
    loop = _loop
    if loop is not None and loop.ident == threading.get_ident():
        loop.wake_later(function)
    else:
        function()


def refuse_on_loop(what: str) -> None:
    """Raise `StateError` if called on the loop's thread, where nothing may block."""
    loop = _loop
    if loop is not None and loop.ident == threading.get_ident():
        raise StateError(f"{what} would block the wsrpc loop, on which everything depends; call it from another thread")


def _nothing() -> None:
    pass


def _say_goodbye() -> None:
    loop = _loop
    if loop is not None and loop.alive:
        loop.leave(EXIT_SECONDS)


def _after_fork_in_child() -> None:
    """The thread stayed in the parent; its sockets and selector are the parent's business."""
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_say_goodbye)
