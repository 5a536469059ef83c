"""The third-party echo server, the same for every peer: picows on uvloop, on loopback.

Run as a child process. It prints the port that it took, echoes every frame of text or binary as it came, and ends when
its standard input closes, so it cannot outlive the benchmark. Ctrl-C is left to the parent.
"""

import asyncio
import signal
import sys

import uvloop
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

MAX_FRAME_BYTES = 64 * 1024 * 1024


class Echo(WSListener):
    """Sends each data frame back; picows answers the pings."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Echo ``frame``, or answer its close."""
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(_code(frame), frame.get_close_reason())
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), fin=frame.fin)


def _code(frame: WSFrame) -> WSCloseCode:
    """Return the close code of ``frame``; 1000 where it has none."""
    code = frame.get_close_code()
    return WSCloseCode.OK if code is WSCloseCode.NO_INFO else code


def accept(_request: WSUpgradeRequest) -> Echo:
    """Take every connection, whatever its path."""
    return Echo()


async def serve() -> None:
    """Listen on a free port, say which, and echo until standard input ends."""
    server = await ws_create_server(accept, "127.0.0.1", 0, max_frame_size=MAX_FRAME_BYTES, enable_auto_pong=True)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    uvloop.run(serve())
