"""Waiting for something to change, on bare locks.

`threading.Condition` cannot be interrupted at any instant: Ctrl-C in the wrong one leaves a lock that is not held to be
released. A bare lock can, and is cheaper. Waking never blocks, so the loop may do it.
"""

from __future__ import annotations

import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable

LONGEST = 1e8  # seconds, three years: longer timeouts overflow in the operating system's calls


class Waiters:
    """Threads that wait until something is so.

    Attributes:
        locks: one for each of them; empty if nobody waits.
    """

    __slots__ = ("locks",)

    def __init__(self) -> None:
        self.locks: deque[LockType] = deque()

    def wait(self, is_so: Callable[[], object], deadline: float | None) -> bool:
        """Block until `is_so()`; it is asked again whenever `wake` was called. Returns false at the deadline."""
        while not is_so():
            remaining = LONGEST if deadline is None else min(deadline - time.monotonic(), LONGEST)
            if remaining <= 0:
                return False
            lock = allocate_lock()
            lock.acquire()
            self.locks.append(lock)
            if is_so() or not lock.acquire(timeout=remaining):
                self._forget(lock)
        return True

    def wake(self) -> None:
        """Have all that wait look again. From any thread; never blocks."""
        while True:
            try:
                lock = self.locks.popleft()
            except IndexError:  # all are awake; another thread may be waking them too
                return
            lock.release()

    def _forget(self, lock: LockType) -> None:
        try:
            self.locks.remove(lock)
        except ValueError:  # woken at the last moment
            pass


class Flag:
    """Something that happens once, as `threading.Event`."""

    __slots__ = ("_set", "_waiters")

    def __init__(self) -> None:
        self._set = False
        self._waiters = Waiters()

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._set

    def set(self) -> None:
        """It has happened. From any thread; never blocks."""
        self._set = True
        self._waiters.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has happened. Returns false after `timeout` seconds; `None`: no limit."""
        return self._waiters.wait(self.is_set, None if timeout is None else time.monotonic() + timeout)
