"""The way out of one connection: the caller writes; what the socket does not take, the loop drains.

A frame may also be left for a moment (`lazy`), to go out with those that follow it in one system call: at the next
`flush`, the next frame that is not lazy, or when the loop comes round to it, whichever is first.

Ctrl-C may strike the writing thread between any two bytecodes. So each step that matters is one store or one C call:
what is to be written is one tuple, `_line`, replaced in one store; the socket's answer goes into the line's own list in
the same C call that wrote (`extend(map(send, …))`), and the line's head is done when that list adds up to it. Whoever
holds the lock next can therefore tell how far the head got, and goes on from there: no byte is lost or sent twice. The
loop is called before a frame is left to it, not after: a call too many does no harm.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable

import curio
from curio.traps import _write_wait

from .errors import ConnectionClosed
from .loop import Loop, take_lock
from .waiting import Waiters

WOULD_BLOCK = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_COALESCE_BYTES = 256 * 1024  # frames are joined up to this size
_LAZY_BYTES = 64 * 1024  # so much is not left any longer

#: The head: what is being written; what each send took of it; the frames behind it.
_Line = tuple[bytes, list[int], deque[bytes]]


class Outbound:
    """What one connection still has to write, and the lock that orders it.

    Args:
        loop: the loop that drains.
        sock: a non-blocking socket.
        on_failure: called on the loop with the error of a failed write.
        on_drained: called on the loop when everything was written that had to wait.

    Attributes:
        lock: held for every write; the order of its holders is the order on the wire. The loop only tries it.
        is_open: whether frames are still taken. Cleared by the loop, which does not wait for the lock: a holder that
            has seen it set writes its frame before the close frame.
        bytes_sent: what frames were taken, in bytes. Guarded by `lock`.
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
        self.bytes_sent = 0
        self._loop = loop
        self._sock = sock
        self._send = sock.send
        self._begun_unseen = isinstance(sock, ssl.SSLSocket)  # OpenSSL may hold bytes of a frame it did not take
        self._on_failure = on_failure
        self._on_drained = on_drained
        self._line: _Line = (b"", [], deque())  # replaced, and its parts changed, under lock
        self._behind_bytes = 0  # guarded by lock; short by what Ctrl-C cut off, set right when nothing is behind
        self._from_loop: deque[bytes] = deque()  # loop only: what the loop writes when the lock is free
        self._drainer: curio.Task | None = None  # loop only
        self._stopped = False  # loop only
        self._draining = False  # set and cleared by the loop, under lock: it waits for the socket
        self._waiters = Waiters()  # threads that wait for room
        self._held_up = False  # loop only; the lock was busy when the loop had something to write

    @property
    def unsent_bytes(self) -> int:
        """What waits for the network. From any thread; exact under the lock."""
        head, taken, behind = self._line
        rest = len(head) - sum(taken) if head else 0
        return rest + (max(self._behind_bytes, 0) if behind else 0)

    @property
    def is_drained(self) -> bool:
        """Whether nothing at all waits to be written. On the loop."""
        return not self._from_loop and not self.is_busy

    @property
    def is_busy(self) -> bool:
        """Whether something waits for the network."""
        head, _, behind = self._line
        return bool(head or behind)

    def write(self, frame: bytes) -> None:
        """Write a whole frame, or queue what the socket does not take. Never blocks; from any thread.

        Raises:
            ConnectionClosed: frames are no longer taken.
        """
        if not self._loop.is_current:
            with self.lock:
                if not self.is_open:
                    raise _closed()
                self.put(frame)
        elif self.is_open:
            self.write_on_loop(frame)
        else:
            raise _closed()

    def write_on_loop(self, frame: bytes) -> None:
        """Write a frame from the loop: now if the lock is free, else as soon as it is. Frames keep their order.

        It takes frames after `shut` too: the close frame is such a one.
        """
        self._from_loop.append(frame)
        self._flush_from_loop()

    def flush(self) -> None:
        """Write what was left for company. Never blocks; from any thread but the loop."""
        if self._line[2] and not self._draining:
            with self.lock:
                self._advance_or_call()

    def unwritten(self) -> frozenset[int]:
        """The `id` of each frame of which no byte was written, as far as that is known."""
        head, taken, behind = self._line
        frames = [*behind, head] if head and not taken and not self._begun_unseen else behind
        return frozenset(map(id, frames))

    def has_room(self, size: int, limit: int) -> bool:
        """Whether `size` more bytes keep what waits within `limit`, or nothing waits. Never blocks; from any thread.

        A frame that another thread writes just now looks as if it waited, so a no is asked again under the lock.
        """
        if self._fits(size, limit):
            return True
        if self._loop.is_current:
            return False
        with self.lock:
            return self._fits(size, limit)

    def _fits(self, size: int, limit: int) -> bool:
        unsent = self.unsent_bytes
        return not unsent or unsent + size <= limit

    def wait_for_room(self, limit: int, deadline: float | None) -> bool:
        """Block until at most `limit` bytes wait, or the frames are no longer taken. Returns false at the deadline."""
        return self._waiters.wait(lambda: self.unsent_bytes <= limit or not self.is_open, deadline)

    def shut(self) -> None:
        """Take no more frames. On the loop."""
        self.is_open = False
        self._waiters.wake()

    async def stop(self) -> None:
        """End the draining for good, for the socket is about to be closed. On the loop."""
        self._stopped = True
        if self._drainer is not None:
            await self._drainer.cancel()

    # Under the lock, by whoever holds it

    def put(self, frame: bytes, lazy: bool = False) -> bool:
        """As `write`, for those who hold `lock` and have seen `is_open`. Returns whether the system has all of it.

        Args:
            frame: a whole frame.
            lazy: it may wait a moment for company.
        """
        self.bytes_sent += len(frame)
        head, taken, behind = self._line
        if lazy or behind or (head and sum(taken) < len(head)):
            if not behind:
                self._loop.call(self._drain)
            behind.append(frame)
            self._behind_bytes += len(frame)
            if self._draining or (lazy and self._behind_bytes < _LAZY_BYTES):
                return False
            return self._advance_or_call()
        fresh: list[int] = []
        self._line = (frame, fresh, behind)
        try:
            fresh.extend(map(self._send, (frame,)))  # one C call: see the module's docstring
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self._loop.call(self._on_failure, error)
            return False
        if fresh and fresh[0] == len(frame):
            self._line = (b"", fresh, behind)
            if self._waiters.locks:  # they saw this frame as unsent
                self._waiters.wake()
            return True
        return self._advance_or_call()

    def _advance_or_call(self) -> bool:
        """Write what the socket takes; leave the rest, and errors, to the loop. Returns whether that was all."""
        try:
            if self._advance():
                if self._waiters.locks:  # they saw this frame as unsent
                    self._waiters.wake()
                return True
        except OSError as error:
            self._loop.call(self._on_failure, error)
            return False
        if not self._draining:
            self._loop.call(self._drain)
        return False

    def _advance(self) -> bool:
        """Write until the socket is full, or nothing is left: then true."""
        while True:
            head, taken, behind = self._line
            done = sum(taken) if head else 0
            if done < len(head):
                try:
                    rest = memoryview(head)[done:] if done else head
                    taken.extend(map(self._send, (rest,)))  # one C call: see the module's docstring
                except WOULD_BLOCK:
                    return False
            elif behind:
                self._line = _next_line(behind)
                self._behind_bytes -= len(self._line[0])
            else:
                self._line = (b"", [], behind)
                self._behind_bytes = 0
                return True

    # On the loop

    def _flush_from_loop(self) -> None:
        if not self._from_loop:
            return
        if not self.lock.acquire(blocking=False):
            self._held_up = True
            self._loop.call(self._flush_from_loop)  # the holder is quick; try again in the next cycle
            return
        try:
            while self._from_loop:
                frame = self._from_loop.popleft()
                if not self._stopped:
                    self.put(frame)
        finally:
            self.lock.release()
        if self._held_up:
            self._held_up = False
            if self.is_drained:
                self._on_drained()

    async def _drain(self) -> None:
        """Write what waits, whenever the socket is ready for more. One such task at a time."""
        if self._drainer is not None or self._stopped:
            return
        self._drainer = await curio.current_task()
        try:
            while not await self._drained_some():
                await _write_wait(self._sock)
        except OSError as error:
            self._on_failure(error)
        else:
            self._on_drained()
        finally:
            self._draining, self._drainer = False, None

    async def _drained_some(self) -> bool:
        """Write what the socket takes. Returns whether that was all."""
        await take_lock(self.lock)
        try:
            done = self._advance()
            self._draining = not done
            return done
        finally:
            self.lock.release()
            self._waiters.wake()


def _next_line(behind: deque[bytes]) -> _Line:
    """A line whose head is the next frames, small ones joined. What it is made from stays as it is."""
    if len(behind) == 1:
        return behind[0], [], deque()
    size, count = 0, 0
    for frame in behind:
        if count and size + len(frame) > _COALESCE_BYTES:
            break
        size, count = size + len(frame), count + 1
    frames = list(behind)
    return b"".join(frames[:count]), [], deque(frames[count:])


def _closed() -> ConnectionClosed:
    return ConnectionClosed("the connection is closed; nothing can be sent on it any more")
