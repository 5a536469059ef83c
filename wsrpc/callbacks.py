"""The threads on which users' functions run.

They start at the first job and end after ten seconds without one. With a limit of one thread, jobs run one at a time
and in order. Submitting never blocks, so the loop may do it; what a function raises is logged, for there is nobody else
to tell.
"""

from __future__ import annotations

import logging
import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any

from .loop import current_loop

log = logging.getLogger("wsrpc")

IDLE_SECONDS = 10.0


class CallbackThreads:
    """A few threads that run jobs.

    Args:
        name: of the threads, a number is added.
        limit: how many there may be at once.
    """

    def __init__(self, name: str, limit: int = 1) -> None:
        self._name = name
        self._limit = limit
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()  # guarded by _lock
        self._idle: list[LockType] = []  # guarded by _lock; each held by a thread that waits for a job
        self._threads: set[int] = set()  # guarded by _lock; the idents of those that run
        self._count = 0  # guarded by _lock; threads started and not ended
        self._started = 0  # guarded by _lock
        self._retired = False  # guarded by _lock

    def has(self, ident: int) -> bool:
        """Whether that is one of these threads."""
        return ident in self._threads

    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Have a thread call the function. From any thread; never blocks."""
        with self._lock:
            if self._idle:
                self._jobs.append((function, args))
                self._idle.pop().release()  # Ctrl-C between the two: the thread finds the job when it has idled enough
                return
            # The loop starts threads: Ctrl-C never strikes there. It is called first: a call too many does no harm.
            if self._count < self._limit:
                current_loop().call(self._start_thread)
            self._jobs.append((function, args))

    def _start_thread(self) -> None:
        """On the loop."""
        with self._lock:
            if not self._jobs or self._count >= self._limit:
                return
            self._count += 1
            self._started += 1
            name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # no thread starts while the interpreter shuts down
            with self._lock:
                self._count -= 1
            log.debug("%s: not started, the interpreter is shutting down", name)

    def retire(self, *, drop: bool = False) -> None:
        """From now on no thread waits for further jobs; each job that still comes starts one, if need be.

        Args:
            drop: forget the jobs that were not begun.
        """
        with self._lock:
            if drop:
                self._jobs.clear()
            self._retired = True
            for waiter in self._idle:
                waiter.release()
            self._idle.clear()

    def _work(self) -> None:
        self._threads.add(threading.get_ident())
        while (job := self._next_job()) is not None:
            function, args = job
            try:
                function(*args)
            except BaseException:  # also SystemExit: a callback ends neither this thread nor the process
                log.exception("%r failed on thread %s", function, threading.current_thread().name)
            del job, function, args  # nothing is kept alive while idle

    def _next_job(self) -> tuple[Callable[..., object], tuple[Any, ...]] | None:
        """The next job; `None` when the thread is to end."""
        timed_out = False
        while True:
            with self._lock:
                if self._jobs:
                    return self._jobs.popleft()
                if self._retired or timed_out:
                    self._count -= 1
                    self._threads.discard(threading.get_ident())
                    return None
                waiter = allocate_lock()
                waiter.acquire()
                self._idle.append(waiter)
            if not waiter.acquire(timeout=IDLE_SECONDS):
                with self._lock:
                    timed_out = waiter in self._idle
                    if timed_out:
                        self._idle.remove(waiter)
