"""The way out of one connection: the caller writes; what the socket does not take, the loop drains.

Ctrl-C may strike the writing thread between any two bytecodes. So each step that matters is one store or one C call:
a frame becomes the head (one store), the socket's answer goes into the head's own list in the same C call that wrote
(`extend(map(send, …))`), and the head is done when the list adds up to the frame. Whoever holds the lock next can
therefore tell how far the head got, and goes on from there: no byte is lost, none is sent twice.

Signals only ever strike the main thread, so the loop's own steps need no such care.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable

import curio
from curio.traps import _write_wait

from .errors import ConnectionClosed
from .loop import Loop, take_lock

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_COALESCE_BYTES = 256 * 1024


class Outbound:
    """What one connection still has to write, and the lock that orders it.

    Args:
        loop: the loop that drains.
        sock: a non-blocking socket.
        on_failure: called on the loop with the error of a failed write.
        on_drained: called on the loop when everything was written that had to wait.

    Attributes:
        lock: held for every write; the order of its holders is the order on the wire. The loop only tries it.
        is_open: whether frames are still taken. Guarded by `lock`.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_failure: Callable[[OSError], object],
        on_drained: Callable[[], object],
    ) -> None:
        self.lock = threading.Lock()
        self.is_open = True
        self._loop = loop
        self._sock = sock
        self._send = sock.send
        self._begun_unseen = isinstance(sock, ssl.SSLSocket)  # OpenSSL may hold bytes of a frame it did not take
        self._on_failure = on_failure
        self._on_drained = on_drained
        self._head: tuple[bytes, list[int]] | None = None  # guarded by lock: a frame, and what each send took of it
        self._backlog: deque[bytes] = deque()  # guarded by lock
        self._backlog_bytes = 0  # guarded by lock; may be short by what Ctrl-C cut off, set right when it is empty
        self._from_loop: deque[bytes] = deque()  # loop only: what the loop writes when the lock is free
        self._drainer: curio.Task | None = None  # loop only
        self._draining = False  # set and cleared by the loop, under lock
        self._waiters: deque[LockType] = deque()  # threads that wait for room
        self.bytes_sent = 0  # guarded by lock

    @property
    def unsent_bytes(self) -> int:
        """What waits for the network. From any thread; exact under the lock."""
        head = self._head
        rest = len(head[0]) - sum(head[1]) if head is not None else 0
        return rest + max(self._backlog_bytes, 0)

    def write(self, frame: bytes) -> None:
        """Write a whole frame, or queue what the socket does not take. Never blocks; from any thread.

        Raises:
            ConnectionClosed: frames are no longer taken.
        """
        if not self._loop.is_current:
            with self.lock:
                self.write_locked(frame)
        elif self.is_open:
            self.write_on_loop(frame)
        else:
            raise _closed()

    def write_locked(self, frame: bytes) -> bool:
        """As `write`, for those who hold `lock`. Returns whether all of it is with the operating system.

        Raises:
            ConnectionClosed: frames are no longer taken.
        """
        if not self.is_open:
            raise _closed()
        return self._write(frame)

    def write_on_loop(self, frame: bytes) -> None:
        """Write a frame from the loop: now if the lock is free, else as soon as it is. Frames keep their order.

        It takes frames after `shut` too: the close frame is such a one.
        """
        self._from_loop.append(frame)
        self._flush_from_loop()

    def unwritten(self) -> set[int]:
        """The `id` of each frame of which no byte was written. Under the lock."""
        frames = {id(frame) for frame in self._backlog}
        if self._head is not None and not self._head[1] and not self._begun_unseen:
            frames.add(id(self._head[0]))
        return frames

    def wait_for_room(self, limit: int, deadline: float | None) -> bool:
        """Block until at most `limit` bytes wait, or the frames are no longer taken. Returns false at the deadline."""
        while self.unsent_bytes > limit and self.is_open:
            waiter = allocate_lock()
            waiter.acquire()
            self._waiters.append(waiter)
            if self.unsent_bytes <= limit or not self.is_open:
                return True
            remaining = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and remaining <= 0:
                return False
            waiter.acquire(timeout=remaining)
        return True

    def shut(self) -> None:
        """Take no more frames. Under the lock."""
        self.is_open = False
        self._wake_waiters()

    async def stop(self) -> None:
        """End the draining, for the socket is about to be closed. On the loop."""
        if self._drainer is not None:
            await self._drainer.cancel()

    def _write(self, frame: bytes) -> bool:
        self.bytes_sent += len(frame)
        if self._is_free():
            taken: list[int] = []
            self._head = (frame, taken)
            try:
                taken.extend(map(self._send, (frame,)))  # one C call: see the module's docstring
            except WOULD_BLOCK:
                pass
            except OSError as error:
                self._loop.call(self._on_failure, error)
                return False
            if taken and taken[0] == len(frame):
                self._head = None
                return True
        else:
            self._backlog.append(frame)
            self._backlog_bytes += len(frame)
        if not self._draining:
            self._loop.call(self._drain)
        return False

    def _is_free(self) -> bool:
        """Whether nothing waits before a new frame; finishes a head that Ctrl-C left done but in place."""
        head = self._head
        if head is None:
            return not self._backlog
        if sum(head[1]) < len(head[0]):
            return False
        self._head = None
        return not self._backlog

    def _flush_from_loop(self) -> None:
        if not self._from_loop:
            return
        if not self.lock.acquire(blocking=False):
            self._loop.call(self._flush_from_loop)  # the holder is quick; try again in the next cycle
            return
        try:
            while self._from_loop:
                frame = self._from_loop.popleft()
                if self._sock.fileno() >= 0:
                    self._write(frame)
        finally:
            self.lock.release()

    async def _drain(self) -> None:
        """Write what waits, whenever the socket is ready for more. One such task at a time."""
        if self._drainer is not None or self._sock.fileno() < 0:
            return
        self._drainer = await curio.current_task()
        try:
            while not await self._flush():
                await _write_wait(self._sock)
        except OSError as error:
            self._on_failure(error)
        else:
            self._on_drained()
        finally:
            self._draining, self._drainer = False, None

    async def _flush(self) -> bool:
        """Write what the socket takes. Returns whether that was all."""
        await take_lock(self.lock)
        try:
            done = self._flushed()
            self._draining = not done
            return done
        finally:
            self.lock.release()

    def _flushed(self) -> bool:
        """Write until the socket is full, or nothing is left: then true. On the loop, under the lock."""
        while True:
            if self._head is None:
                if not self._backlog:
                    self._backlog_bytes = 0
                    self._wake_waiters()
                    return True
                self._head = (self._next_block(), [])
            frame, counts = self._head
            done = sum(counts)
            try:
                counts.append(self._send(memoryview(frame)[done:] if done else frame))
            except WOULD_BLOCK:
                return False
            self._wake_waiters()
            if sum(counts) >= len(frame):
                self._head = None

    def _next_block(self) -> bytes:
        """The next frames of the backlog, small ones joined: one system call instead of many."""
        block = [self._backlog.popleft()]
        size = len(block[0])
        while self._backlog and size + len(self._backlog[0]) <= _COALESCE_BYTES:
            block.append(self._backlog.popleft())
            size += len(block[-1])
        self._backlog_bytes -= size
        return block[0] if len(block) == 1 else b"".join(block)

    def _wake_waiters(self) -> None:
        while self._waiters:
            self._waiters.popleft().release()


def _closed() -> ConnectionClosed:
    return ConnectionClosed("the connection is closed; nothing can be sent on it any more")
