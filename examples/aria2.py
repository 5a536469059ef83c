"""Drive a program that others wrote: aria2, a download manager that speaks JSON-RPC 2.0 over WebSocket.

Starts aria2c on a free port of this machine, has it download a file that is served here, waits for its push that the
download is complete, and shuts it down. Nothing is left behind. Needs aria2 (Debian, Ubuntu: `apt-get install aria2`;
macOS: `brew install aria2`); without it the example says so and exits with status 0. Takes five seconds, most of them
aria2's own pause before it stops. What aria2 can be asked: https://aria2.github.io/manual/en/html/aria2c.html#methods
"""

import contextlib
import http.server
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import wsrpc

SECRET = secrets.token_hex(16)
TOKEN = f"token:{SECRET}"  # aria2 wants it as the first parameter of everything it is asked
CONTENT = b"a small file\n" * 1000


class FileHandler(http.server.BaseHTTPRequestHandler):
    """Answers every request with the file."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args):
        """Say nothing: what is printed is the example's."""


@contextlib.contextmanager
def file_server():
    """Serve the file; gives its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FileHandler) as files:
        threading.Thread(target=files.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{files.server_port}/small.txt"
        finally:
            files.shutdown()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def aria2(folder):
    """Run aria2c, which downloads into a folder; gives the URL of its endpoint."""
    port = free_port()
    command = [
        "aria2c",
        "--enable-rpc",
        f"--rpc-listen-port={port}",
        f"--rpc-secret={SECRET}",
        f"--dir={folder}",
        "--no-conf",  # your own settings stay out of this
        "--no-proxy=127.0.0.1",
        f"--stop-with-process={os.getpid()}",  # it ends even if this script is killed
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            # It says when it can be asked; should it end instead, so does its output.
            if not any("listening on TCP port" in line for line in process.stdout):
                raise SystemExit("aria2c did not start")
            yield f"ws://127.0.0.1:{port}/jsonrpc"
            process.wait(timeout=30)
        finally:
            process.terminate()  # only if something went wrong: otherwise it has ended


def drive(client, file_url, folder):
    version = client.query("aria2.getVersion", [TOKEN])
    print(f"asked for its version: aria2 {version['version']}")

    # Subscribe first and add the download then: the push cannot be missed, however quick the download is.
    with client.subscribe("aria2.onDownloadComplete") as completed:
        gid = client.query("aria2.addUri", [TOKEN, [file_url]])
        print(f"asked for a download: its gid is {gid}")
        event = completed.get(timeout=30)
        print(f"pushed: aria2.onDownloadComplete {event}")

    if event != [{"gid": gid}]:
        raise SystemExit("that was another download")
    if (folder / "small.txt").read_bytes() != CONTENT:
        raise SystemExit("the file is not what was served")
    print(f"the file is here: {len(CONTENT)} bytes, as served")

    try:
        client.query("aria2.tellStatus", [TOKEN, "0123456789abcdef"])
    except wsrpc.RemoteError as error:
        print(f"asked for a gid that does not exist: error {error.code}, {error.message}")

    print(f"asked to shut down: {client.query('aria2.shutdown', [TOKEN])}")


def main():
    if shutil.which("aria2c") is None:
        print("This example drives aria2, and there is no aria2c here.")
        print("Get it with `apt-get install aria2` (Debian, Ubuntu) or `brew install aria2` (macOS).")
        return
    # aria2 pushes to every client, unasked, so there is no method to subscribe with.
    dialect = wsrpc.JSONRPC(subscribe=None)
    with (
        tempfile.TemporaryDirectory() as folder,
        file_server() as file_url,
        aria2(folder) as url,
        wsrpc.Client(url, dialect=dialect) as client,
    ):
        drive(client, file_url, Path(folder))
    print("aria2 has ended")


if __name__ == "__main__":
    main()
