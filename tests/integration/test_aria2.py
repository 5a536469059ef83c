"""The client against aria2, whose JSON-RPC endpoint nobody here wrote."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wsrpc

from .peers import HANG, Recorder, join

pytestmark = pytest.mark.skipif(
    shutil.which("aria2c") is None, reason="aria2c is not installed (Debian and Ubuntu: apt-get install aria2)"
)

SECRET = "sesame"
TOKEN = f"token:{SECRET}"
CONTENT = bytes(range(256)) * 40
UNKNOWN_GID = "0123456789abcdef"
COMPLETE = "aria2.onDownloadComplete"
TRIES = 5  # to start it: a port that was free may be taken a moment later

Connect = Callable[..., wsrpc.Client]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def bounded(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process that hangs, so that reading what it says ends."""
    timer = threading.Timer(HANG, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        join(timer)


def listens(process: subprocess.Popen[str]) -> bool:
    """Wait until it listens, or ends."""
    assert process.stdout is not None
    with bounded(process):
        return any("listening on TCP port" in line for line in process.stdout)


@contextmanager
def running_aria2(folder: Path, *options: str) -> Iterator[str]:
    """The URL of an aria2c that downloads into a folder."""
    fixed = [f"--dir={folder}", "--enable-rpc", "--no-conf", "--no-proxy=127.0.0.1", "--disable-ipv6"]
    quiet = ["--summary-interval=0", "--show-console-readout=false", f"--stop-with-process={os.getpid()}"]
    for _ in range(TRIES):
        port = free_port()
        command = ["aria2c", *fixed, *quiet, f"--rpc-listen-port={port}", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                if listens(process):
                    yield f"ws://127.0.0.1:{port}/jsonrpc"
                    return
            finally:
                process.kill()
    pytest.fail(f"aria2c did not start in {TRIES} tries")


@pytest.fixture(scope="module")
def aria2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an aria2 that wants its secret with everything it is asked."""
    with running_aria2(tmp_path_factory.mktemp("aria2"), f"--rpc-secret={SECRET}") as url:
        yield url


@pytest.fixture
def client(aria2: str, connect: Connect) -> wsrpc.Client:
    """aria2 pushes to everyone, so there is no method to subscribe with; one that it does not know it calls
    unauthorized, for want of the secret."""
    return connect(aria2, dialect=wsrpc.JSONRPC(subscribe=None))


class FileHandler(http.server.BaseHTTPRequestHandler):
    """Answers every request with the same file."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def file_url() -> Iterator[str]:
    """A file that is served on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FileHandler) as files:
        thread = threading.Thread(target=files.serve_forever, kwargs={"poll_interval": 0.05}, name="files")
        thread.start()
        yield f"http://127.0.0.1:{files.server_port}/file.bin"
        files.shutdown()
        join(thread)


def test_it_tells_its_version(client: wsrpc.Client) -> None:
    answer = client.query("aria2.getVersion", [TOKEN])
    assert answer["version"].split(".")[0].isdecimal()
    assert "HTTPS" in answer["enabledFeatures"]


def test_methods_spelled_as_calls(client: wsrpc.Client) -> None:
    assert client.api.aria2.getVersion(TOKEN) == client.query("aria2.getVersion", [TOKEN])
    assert COMPLETE in client.api.system.listNotifications()


def test_a_whole_message_is_stamped(client: wsrpc.Client) -> None:
    message = {"method": "aria2.getVersion", "params": [TOKEN]}
    assert client.query(message) == client.query("aria2.getVersion", [TOKEN])
    assert "id" not in message


def test_the_completion_of_a_download_is_pushed(client: wsrpc.Client, file_url: str, tmp_path: Path) -> None:
    started, completed = client.subscribe("aria2.onDownloadStart"), client.subscribe(COMPLETE)
    gid = client.query("aria2.addUri", [TOKEN, [file_url], {"dir": str(tmp_path)}])
    assert started.get(HANG) == [{"gid": gid}]
    assert completed.get(HANG) == [{"gid": gid}]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    status = client.query("aria2.tellStatus", [TOKEN, gid, ["status", "completedLength"]])
    assert status == {"status": "complete", "completedLength": str(len(CONTENT))}
    assert (started.received, completed.received) == (1, 1)


def test_a_bad_gid_is_an_error_answer(client: wsrpc.Client) -> None:
    with pytest.raises(wsrpc.RemoteError, match=UNKNOWN_GID) as raised:
        client.query("aria2.tellStatus", [TOKEN, UNKNOWN_GID])
    assert (raised.value.code, raised.value.method, raised.value.data) == (1, "aria2.tellStatus", None)
    assert UNKNOWN_GID in raised.value.message
    assert client.query("aria2.getVersion", [TOKEN])["version"], "the connection lives on"


def test_each_answer_is_its_own_while_pushes_keep_arriving(
    client: wsrpc.Client, file_url: str, tmp_path: Path, recorder: Recorder
) -> None:
    client.subscribe(COMPLETE, recorder)
    options = [{"dir": str(tmp_path), "out": f"{number}.bin"} for number in range(20)]
    adding = [client.submit("aria2.addUri", [TOKEN, [file_url], option]) for option in options]
    gids = [reply.result(HANG) for reply in adding]
    asked = gids * 10
    replies = [client.submit("aria2.tellStatus", [TOKEN, gid, ["gid"]]) for gid in asked]
    assert [reply.result(HANG)["gid"] for reply in replies] == asked
    assert sorted(event[0]["gid"] for event in recorder.wait(20)) == sorted(gids)
    assert {path.name for path in tmp_path.iterdir()} == {option["out"] for option in options}
    assert len(set(gids)) == 20
    assert client.stats().in_flight == 0


def test_pushes_that_nobody_subscribed_to_are_unmatched(
    client: wsrpc.Client, file_url: str, tmp_path: Path, recorder: Recorder
) -> None:
    client.subscribe(wsrpc.UNMATCHED, recorder)
    gid = client.query("aria2.addUri", [TOKEN, [file_url], {"dir": str(tmp_path)}])
    names = [message["method"] for message in recorder.wait(2)]
    assert names == ["aria2.onDownloadStart", COMPLETE]
    assert recorder.items[0]["params"] == [{"gid": gid}]


def test_a_subscription_stays_local_where_there_is_no_method_to_subscribe(
    connect: Connect, file_url: str, tmp_path: Path
) -> None:
    """The default dialect asks `rpc.on`; aria2 has no such method, and a code of its own to say so."""
    with running_aria2(tmp_path) as url, connect(url) as client:
        with pytest.raises(wsrpc.RemoteError, match=r"No such method: rpc\.on") as raised:
            client.query("rpc.on", [COMPLETE])
        assert raised.value.code == 1
        with client.subscribe(COMPLETE) as completed:
            gid = client.query("aria2.addUri", [[file_url]])
            assert completed.get(HANG) == [{"gid": gid}]
        assert client.state == "open"
