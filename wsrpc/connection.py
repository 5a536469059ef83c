"""One open connection, of either role: read, write, keepalive, close.

It begins where the opening handshake ended, opens once, and ends once: `Sink.closed` is the last that is heard of it.
All its methods named `_…` run on the loop, which also is the only one to close the socket, under the write lock; other
threads ask it to. A socket is never closed while a task waits on it (that kills curio's kernel).

Closing (RFC 6455, section 7): the state goes OPEN, CLOSING, CLOSED and never back. After a close frame was sent nothing
else is. The server ends the TCP connection, the client waits for that until `close_timeout`.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from enum import Enum
from functools import partial
from typing import Any, Protocol

import curio
from curio.traps import _io_release, _read_wait

from .errors import ConnectionClosed, Initiator, MessageTooBig, ProtocolError, WsrpcError
from .framing import ABNORMAL, BINARY, CLOSE, NO_STATUS, PING, Framing, pack
from .loop import Loop, Timer, readable, take_lock
from .options import Options
from .outbound import WOULD_BLOCK, Outbound

log = logging.getLogger("wsrpc")

_GOING_AWAY = 1001
_EXIT_PATIENCE = 0.2  # seconds for a peer to answer our close frame when the interpreter exits

_EOF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Phase(Enum):
    """Where a connection is in its life."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Sink(Protocol):
    """Who gets what a connection receives. Called on the loop: quick, never blocking."""

    def message(self, opcode: int, payload: Any) -> None:
        """A whole message: text as bytes or str (bytes are not known to be UTF-8), binary as bytes.

        A `ProtocolError` or `MessageTooBig` that it raises fails the connection.
        """

    def drained(self) -> None:
        """What had to wait for the network was written."""

    def closing(self, end: ConnectionClosed | None) -> None:
        """The closing handshake has begun: nothing can be sent any more.

        With `end`, which says how it will have ended, nothing more will be received either.
        """

    def closed(self, end: ConnectionClosed, cause: WsrpcError | None) -> None:
        """The connection has ended; `cause` is why we ended it, if the peer or the network was at fault."""


class Connection:
    """An open connection.

    Args:
        loop: where it lives.
        sock: a connected, non-blocking socket.
        framing: what the opening handshake left.
        rest: bytes that came after the opening handshake.
        client: our role.
        options: limits and timeouts.

    Attributes:
        outbound: the way out; its lock orders writes.
        pack: `pack(opcode, payload)` makes a message a frame for `outbound`. Pure; from any thread.
        clean: whether the closing handshake was completed.
        received_close: code and reason of the peer's close frame, `None` if there was none.
        bytes_received: on the wire, without the opening handshake.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        framing: Framing,
        rest: bytes,
        *,
        client: bool,
        options: Options,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._rest = rest
        self._client = client
        self.pack = partial(pack, client=client)
        self._options = options
        self._framing = framing
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self.outbound = Outbound(loop, sock, self._write_failed, self._drained)
        self._sink: Sink | None = None
        self._phase = Phase.OPEN  # loop only
        self._initiator: Initiator = "network"
        self._cause: WsrpcError | None = None
        self._sent_code: int | None = None
        self._end_text = ""
        self._deaf = False  # we failed the connection: what comes is read and thrown away
        self._hang_up = False  # the socket's sending side is shut once all is written
        self._paused = False  # loop only
        self._reader: curio.Task | None = None  # loop only
        self._finished = False
        self._timer: Timer | None = None
        self._last_received = time.monotonic()
        self._pinged_at: float | None = None
        self.clean = False
        self.received_close: tuple[int, str] | None = None
        self.bytes_received = 0

    # What other threads may call

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Begin the closing handshake; what was sent before goes out first. From any thread; never blocks."""
        self._loop.call(self._begin_close, code, reason)

    def abort(self, text: str) -> None:
        """Drop the connection without a closing handshake. From any thread; never blocks."""
        self._loop.call(self._abort, text)

    def resume(self) -> None:
        """Have the loop `read_on`. From any thread; never blocks."""
        self._loop.call(self.read_on)

    # What the loop calls

    def start(self, sink: Sink) -> None:
        """Begin to read, and to ping. On the loop."""
        self._sink = sink
        self._loop.admit(self)
        self._loop.call(self._read)
        self._arm(self._options.ping_interval, self._keep_alive)

    def pause(self) -> None:
        """Do not read the socket until `read_on`. On the loop."""
        self._paused = True

    def read_on(self) -> None:
        """Read again after `pause`. On the loop."""
        if self._paused:
            self._paused = False
            self._last_received = time.monotonic()
            self._loop.call(self._read)

    def going_away(self) -> None:
        """The interpreter exits: a close frame goes out, and a silent peer is not waited for."""
        self._begin_close(_GOING_AWAY, "")
        self.read_on()
        self._arm(_EXIT_PATIENCE, self._close_timed_out)

    def loop_died(self, cause: BaseException) -> None:
        """The loop is gone, and with it this connection."""
        self._end_text = f"the background loop died: {cause!r}"
        with self.outbound.lock:
            self.outbound.shut()
            self._sock.close()
        self._report_end()

    async def _read(self) -> None:
        if self._reader is not None or self._finished:
            return
        self._reader = await curio.current_task()
        try:
            rest, self._rest = self._rest, b""
            self._digest(memoryview(rest))
            sock, buffer = self._sock, self._loop.buffer
            while not self._paused:
                if self._is_tls:
                    size = await self._receive_tls(buffer)
                else:
                    await readable(sock)
                    size = sock.recv_into(buffer)
                if not size:
                    break
                self._digest(buffer[:size])
        except OSError as error:
            self._end_text = self._end_text or f"the network failed: {error}"
        finally:
            self._reader = None
        if not self._paused:
            await self._finish()

    async def _receive_tls(self, buffer: memoryview) -> int:
        while True:
            await take_lock(self.outbound.lock)
            try:
                return self._sock.recv_into(buffer)
            except WOULD_BLOCK:
                pass
            except _EOF:
                return 0
            finally:
                self.outbound.lock.release()
            await _read_wait(self._sock)

    def _digest(self, received: memoryview) -> None:
        self.bytes_received += len(received)
        self._last_received = time.monotonic()
        if self._deaf:
            return
        assert self._sink is not None
        deliver = self._sink.message
        events = self._framing.receive(received)
        try:
            for opcode, content in events:
                if opcode <= BINARY:
                    deliver(opcode, content)
                    if self._paused:
                        events.close()  # type: ignore[attr-defined]  # keeps what was not read yet
                        return
                elif opcode == PING:
                    self._send_control(self._framing.pong(content))
                elif opcode == CLOSE:
                    self._peer_closes(*content)
        except (ProtocolError, MessageTooBig) as error:
            self._fail(error)
        except BaseException as error:  # also SystemExit: nothing of the user's may end the loop
            log.exception("reading failed")
            self._fail(ProtocolError(f"we failed to read a message: {error!r}", code=1011))

    # Closing

    def _begin_close(self, code: int | None, reason: str) -> None:
        if self._phase is Phase.OPEN:
            self._initiator, self._sent_code = "us", code
            self._send_close(code, reason)

    def _peer_closes(self, code: int, reason: str) -> None:
        self.received_close = (code, reason)
        self.clean = True
        if self._phase is Phase.OPEN:
            self._initiator = "peer"
            self._send_close(None if code == NO_STATUS else code, reason)
        self._hang_up_if_server()

    def _fail(self, error: ProtocolError | MessageTooBig) -> None:
        """The peer broke the rules: tell it by the close code, and hear nothing more (RFC 6455, section 7.1.7)."""
        self._deaf = True
        self._cause = error
        self._end_text = str(error)
        code = error.code if isinstance(error, ProtocolError) else 1009
        if self._phase is Phase.OPEN:
            self._initiator, self._sent_code = "us", code
            self._send_close(code, "message too big" if code == 1009 else "")
        self._hang_up = True
        self._hang_up_when_written()

    def _send_close(self, code: int | None, reason: str) -> None:
        self._phase = Phase.CLOSING
        heard_all = self._deaf or self.received_close is not None
        self.outbound.shut()
        self._loop.guard(self._sink.closing, self._end() if heard_all else None)  # type: ignore[union-attr]
        self._send_control(self._framing.close(code, reason))
        self._arm(self._options.close_timeout, self._close_timed_out)

    def _hang_up_if_server(self) -> None:
        if not self._client:
            self._hang_up = True
            self._hang_up_when_written()

    def _hang_up_when_written(self) -> None:
        """Shut the sending side only: closing with bytes unread would reset, and the close frame might be lost."""
        if self._hang_up and self.outbound.is_drained and not self._finished:
            self._shutdown(socket.SHUT_WR)

    def _drained(self) -> None:
        self._hang_up_when_written()
        if self._sink is not None:
            self._loop.guard(self._sink.drained)

    def _close_timed_out(self) -> None:
        self._abort("the peer did not complete the closing handshake in time (close_timeout)")

    def _write_failed(self, error: OSError) -> None:
        self._abort(f"the network failed: {error}")

    def _abort(self, text: str) -> None:
        """Wake whoever waits on the socket, and end."""
        if self._finished:
            return
        self._end_text = self._end_text or text
        self._deaf = True
        self._shutdown(socket.SHUT_RDWR)
        if self._reader is None:
            self._paused = False
            self._loop.call(self._finish)

    def _shutdown(self, how: int) -> None:
        try:
            socket.socket.shutdown(self._sock, how)  # not SSLSocket's own, which drops the TLS state at once
        except OSError:  # the peer was quicker
            return

    async def _finish(self) -> None:
        """Close the socket and say so; the end of this connection."""
        if self._finished:
            return
        self._finished = True
        self._arm(None, self._keep_alive)
        if self._reader is not None:  # aborted before it had come to reading
            await self._reader.cancel()
        await self.outbound.stop()
        await take_lock(self.outbound.lock)
        try:
            self.outbound.shut()
            await _io_release(self._sock)
            self._sock.close()
        finally:
            self.outbound.lock.release()
        self._loop.dismiss(self)
        self._report_end()

    def _report_end(self) -> None:
        self._phase = Phase.CLOSED
        self._finished = True
        if self._sink is not None:
            self._loop.guard(self._sink.closed, self._end(), self._cause)

    def _end(self) -> ConnectionClosed:
        """How it ended, in one error."""
        if self.received_close is not None:
            code, reason = self.received_close
        else:
            code, reason = self._sent_code if self._deaf and self._sent_code else ABNORMAL, ""
        who = {"us": "we closed it", "peer": "the peer closed it", "network": "no closing handshake"}[self._initiator]
        said = f": {reason}" if reason else ""
        why = f"; {self._end_text}" if self._end_text else ""
        end = ConnectionClosed(
            f"the connection ended ({who}, close code {code}{said}{why})",
            code=code,
            reason=reason,
            initiator=self._initiator,
        )
        end.__cause__ = self._cause
        return end

    # Keepalive

    def _arm(self, delay: float | None, function: Any) -> None:
        """The connection's one timer: while open for keepalive, then for the closing handshake."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay is None else self._loop.call_later(delay, function)

    def _keep_alive(self) -> None:
        """Ping a peer that was silent for `ping_interval`; any byte it sends is a sign of life."""
        interval, timeout = self._options.ping_interval, self._options.ping_timeout
        if self._phase is not Phase.OPEN or interval is None:
            return
        now = time.monotonic()
        silent = now - self._last_received
        if self._paused or (self._pinged_at is not None and self._last_received >= self._pinged_at):
            self._pinged_at = None
        if self._paused or silent < interval:
            self._arm(max(interval - silent, interval / 10), self._keep_alive)
            return
        if self._pinged_at is None:
            self._pinged_at = now
            self._send_control(self._framing.ping(b"wsrpc"))
        if timeout is None:
            self._arm(interval, self._keep_alive)
        elif now < self._pinged_at + timeout:
            self._arm(min(interval, self._pinged_at + timeout - now), self._keep_alive)
        else:
            self._abort(f"the peer sent nothing for {silent:.1f} s, not even a pong to our ping")

    def _send_control(self, frame: bytes) -> None:
        if frame:
            self.outbound.write_on_loop(frame)
