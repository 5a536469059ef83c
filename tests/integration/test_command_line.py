"""The command line as a person runs it: `python -m wsrpc` in a process of its own."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

import wsrpc

from .peers import HANG, SILENCE, Peer, RawServer, RemoteFault, Wire, answer, push, requests, rpc, wait

Serve = Callable[..., Peer]
Process = subprocess.Popen[str]

ROOT = Path(wsrpc.__file__).resolve().parents[1]
BYE = 3.0  # seconds within which Ctrl-C must work, however busy the machine

SERVER_MODULE = """
import wsrpc

server = wsrpc.Server("127.0.0.1", 0)


@server.method
def add(a, b):
    return a + b


@server.method
def fail():
    raise RuntimeError("the cat is on the table")
"""


def surroundings() -> dict[str, str]:
    """The environment of a child: it finds the package that is tested, and nothing but the command flushes for it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    dropped = ("NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": path}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "wsrpc", *words]


def run(*words: str, cwd: Path | None = None, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    return subprocess.run(
        command(*words),
        input=given,
        capture_output=True,
        encoding="utf-8",
        timeout=HANG,
        cwd=cwd,
        env=surroundings(),
        check=False,
    )


@contextmanager
def started(*words: str, cwd: Path | None = None) -> Iterator[Process]:
    """A command that runs; it is killed if it still does at the end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits it if it is ignored
    try:
        process = subprocess.Popen(
            command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=cwd,
            env=surroundings(),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    hang = threading.Timer(HANG, process.kill)  # ends the reads below
    hang.start()
    try:
        yield process
    finally:
        hang.cancel()
        hang.join()
        process.kill()
        process.communicate()


def interrupted(process: Process) -> tuple[int, str, str]:
    """Ctrl-C: the exit status, and what still came on stdout and stderr."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG)
    assert time.monotonic() - began < BYE
    return process.returncode, out, err


def refuse_with_data(connection: ServerConnection, request: dict[str, Any]) -> Any:
    raise RemoteFault(7, "no such user: zoë", {"user": "zoë"})


def ticking(events: Sequence[Any] | Iterator[Any]) -> Callable[[ServerConnection], None]:
    """An endpoint that pushes events of a topic as soon as it was subscribed to."""

    def handle(connection: ServerConnection) -> None:
        for request in requests(connection):
            answer(connection, request, True)
            for event in events if request["method"] == "rpc.on" else ():
                push(connection, request["params"][0], event)

    return handle


# query


def test_query_prints_the_result(serve: Serve) -> None:
    done = run("query", serve(rpc()).url, "echo", '[2, {"text": "grüß"}]')
    assert (done.returncode, done.stdout, done.stderr) == (0, '[2,{"text":"grüß"}]\n', "")


def test_query_sends_what_stdin_holds(serve: Serve) -> None:
    done = run("query", serve(rpc()).url, "echo", "-", given='{"n":\n 1}\n')
    assert (done.returncode, done.stdout) == (0, '{"n":1}\n')


def test_query_sends_a_whole_message(serve: Serve) -> None:
    def handle(connection: ServerConnection) -> None:
        for request in requests(connection):
            connection.send(json.dumps({"channel": "noise"}))
            connection.send(json.dumps({"req_id": request["req_id"], "result": request["type"]}))

    url = serve(handle).url
    words = ("--dialect", "reflect:id=req_id,result=result,topic=channel")
    done = run("query", *words, url, '{"type": "query users"}')
    assert (done.returncode, done.stdout, done.stderr) == (0, '"query users"\n', "")


def test_query_prints_an_error_answer_to_stderr(serve: Serve) -> None:
    done = run("query", serve(rpc(find=refuse_with_data)).url, "find")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr) == {"error": {"code": 7, "message": "no such user: zoë", "data": {"user": "zoë"}}}


def test_query_with_a_mistake_opens_nothing(closed_port: int) -> None:
    done = run("query", f"ws://127.0.0.1:{closed_port}", "add", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "wsrpc query: error: argument PARAMS: must be a JSON array or object, such as [2, 3], not 2"
    )


def test_query_says_that_nothing_listens(closed_port: int) -> None:
    done = run("query", f"ws://127.0.0.1:{closed_port}", "add", "[2, 3]")
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"wsrpc: cannot connect to ws://127.0.0.1:{closed_port}")


def test_query_without_an_answer_in_time(serve: Serve) -> None:
    done = run("query", serve(rpc()).url, "silent", "--timeout", "0.3")
    assert (done.returncode, done.stdout) == (3, "")
    assert "silent (query 1) got no answer within 0.3" in done.stderr.splitlines()[-1]


def test_query_whose_connection_ends(raw_server: Callable[..., RawServer]) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        wire.read_request()
        wire.reset()

    done = run("query", raw_server(script).url, "add", "[2, 3]")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("wsrpc: add (query 1) was lost")


def test_ctrl_c_ends_a_query_quietly(serve: Serve) -> None:
    asked = threading.Event()

    def silent(connection: ServerConnection, request: dict[str, Any]) -> Any:
        asked.set()
        return SILENCE

    with started("query", serve(rpc(wait=silent)).url, "wait") as process:
        wait(asked)
        assert interrupted(process) == (130, "", "")


# subscribe


def test_subscribe_ends_after_count_events(serve: Serve) -> None:
    done = run("subscribe", serve(ticking([[n, "é"] for n in range(10)])).url, "ticks", "--count", "3")
    assert (done.returncode, done.stdout, done.stderr) == (0, '[0,"é"]\n[1,"é"]\n[2,"é"]\n', "")


def test_subscribe_loses_nothing(serve: Serve) -> None:
    done = run("subscribe", serve(ticking(range(5000))).url, "ticks", "--count", "5000")
    assert (done.returncode, done.stdout.split()) == (0, [str(n) for n in range(5000)])


def test_subscribe_prints_each_event_at_once_until_ctrl_c(serve: Serve) -> None:
    with started("subscribe", serve(ticking([{"price": 1.5}])).url, "ticks") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == '{"price":1.5}\n'
        assert interrupted(process) == (130, "", "")


def test_subscribe_stops_when_no_event_comes_in_time(serve: Serve) -> None:
    done = run("subscribe", serve(ticking([1])).url, "ticks", "--timeout", "2")
    assert (done.returncode, done.stdout) == (3, "1\n")
    assert "no event of 'ticks' within 2" in done.stderr


def test_subscribe_says_that_the_connection_ended(serve: Serve) -> None:
    def handle(connection: ServerConnection) -> None:
        request = next(requests(connection))
        answer(connection, request, True)
        push(connection, "ticks", [1, 2])
        connection.close(1001, "maintenance")

    done = run("subscribe", serve(handle).url, "ticks")
    assert (done.returncode, done.stdout) == (3, "[1,2]\n")
    assert "maintenance" in done.stderr


def test_a_reader_that_closes_the_pipe_ends_it_quietly(serve: Serve) -> None:
    with started("subscribe", serve(ticking(itertools.count())).url, "ticks") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.wait(HANG) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("words", [("--help",), ("query", "--help"), ("query", "ftp://x", "add")])
def test_nobody_reads_the_help_or_the_usage(words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command(*words), stdout=writer, stderr=writer, timeout=HANG, env=surroundings(), check=False
        )
    finally:
        os.close(writer)
    assert done.returncode in (0, 2)  # what the interpreter ends with when its own flush fails is 120


# serve


@pytest.fixture
def house(tmp_path: Path) -> Path:
    (tmp_path / "adding.py").write_text(SERVER_MODULE)
    return tmp_path


def test_serve_a_module_of_the_current_directory(house: Path) -> None:
    with started("serve", "adding:server", cwd=house) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", url)
        good, bad = run("query", url, "add", "[2, 3]"), run("query", url, "fail")
        assert (good.returncode, good.stdout) == (0, "5\n")
        assert (bad.returncode, json.loads(bad.stderr)["error"]["message"]) == (1, "the cat is on the table")
        status, out, err = interrupted(process)
    assert (status, out) == (130, "")
    assert err.startswith("method fail failed\n")  # the log of the method's failure
    assert "KeyboardInterrupt" not in err


def test_serve_in_another_dialect(house: Path) -> None:
    dialect = ("--dialect", "reflect:id=seq,result=ok")
    with started("serve", *dialect, "adding:server", cwd=house) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert run("query", *dialect, url, "add", '{"a": 2, "b": 3}').stdout == "5\n"
        assert interrupted(process) == (130, "", "")


def test_serve_on_a_port_that_is_taken(tmp_path: Path, serve: Serve) -> None:
    port = serve(rpc()).port
    (tmp_path / "late.py").write_text(f"import wsrpc\nserver = wsrpc.Server('127.0.0.1', {port})\n")
    done = run("serve", "late:server", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"wsrpc: cannot listen on 127.0.0.1:{port}: ")


# demo


@pytest.fixture(scope="module")
def demonstration() -> subprocess.CompletedProcess[str]:
    return run("demo")


def test_the_demo_fits_a_screen(demonstration: subprocess.CompletedProcess[str]) -> None:
    assert (demonstration.returncode, demonstration.stderr) == (0, "")
    lines = demonstration.stdout.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert demonstration.stdout.isascii()
    assert "\x1b" not in demonstration.stdout
    assert lines[0] == "Queries get their answers while 1,000 unrelated messages arrive on the same connection."


def test_the_demo_counts_pushes_around_each_answer(demonstration: subprocess.CompletedProcess[str]) -> None:
    rows = re.findall(r"^(\S.*?) {2,}.* (\d+) +(\d+) +(\d+)$", demonstration.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == [
        'client.query("add", [2, 3])',
        "client.api.add(a=2, b=3)",
        'client.query("forecast", {"days": 3})',
        'client.query("forecast", [99])',
        "[reply.result() for reply in replies]",
        '[client.query("add", [n, n]) for n in range(500)]',
    ]
    counts = [tuple(map(int, row[1:])) for row in rows]
    assert [before for before, _, _ in counts] == sorted(before for before, _, _ in counts)
    assert all(sum(row) <= later[0] for row, later in itertools.pairwise(counts))
    assert counts[2][1] > 0, "pushes come while the slow query runs"
    assert sum(counts[-1]) == 1000


def test_the_demo_shows_an_error_and_measured_figures(demonstration: subprocess.CompletedProcess[str]) -> None:
    assert "RemoteError 422" in demonstration.stdout
    assert "nobody knows the weather in 99 days" in demonstration.stdout
    total = "554 queries, 0 wrong answers; 1,000 of 1,000 pushes received, in order."
    found = re.search(rf"^In (\d+\.\d) s: {re.escape(total)}$", demonstration.stdout, re.MULTILINE)
    assert found is not None
    assert float(found[1]) >= 3


def test_the_demo_plays_in_another_dialect() -> None:
    done = run("demo", "--dialect", "reflect:id=req_id,result=result,error=error,topic=channel")
    assert (done.returncode, done.stderr) == (0, "")
    assert "554 queries, 0 wrong answers; 1,000 of 1,000 pushes received, in order." in done.stdout


def test_ctrl_c_ends_the_demo_quietly() -> None:
    with started("demo") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("client.query("):
            assert process.poll() is None
        status, _, err = interrupted(process)
        assert (status, err) == (130, "")


def test_a_reader_that_closes_the_pipe_ends_the_demo_quietly() -> None:
    with started("demo") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("Queries get their answers")
        process.stdout.close()
        assert process.wait(HANG) == 0
        assert process.stderr.read() == ""
