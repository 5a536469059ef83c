"""The child processes of a run: the echo server, and fresh interpreters for what must be measured in one.

All of them start in the root of the repository, so that ``wsrpc`` may be the source tree or an installed package.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STOP_TIMEOUT = 5.0


def command(*arguments: str) -> list[str]:
    """Return the command line of this Python with ``arguments``."""
    return [sys.executable, *arguments]


@contextmanager
def echo_server() -> Iterator[str]:
    """Run the echo server for the length of a ``with`` block; yields its URL."""
    line = command("-m", "tests.benchmarks.echo_server")
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield f"ws://127.0.0.1:{_port(child)}/"
        finally:
            _stop(child)


def ask_child(*arguments: str, timeout: float = 600) -> dict[str, Any]:
    """Run a fresh interpreter with ``arguments`` and return the JSON object that it prints.

    Raises:
        RuntimeError: It failed; the text is the last line of what it wrote to standard error.
        subprocess.TimeoutExpired: It did not end in ``timeout`` seconds.
    """
    done = subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _port(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise RuntimeError("the echo server did not start; its error is printed above")
    return int(line)


def _stop(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
