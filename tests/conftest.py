"""What every test stands on: none may leave a thread, a child process or a socket behind."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 5.0  # seconds for what ends by itself after a close: closing is asynchronous
POLL = 0.01

LOOP = "wsrpc-loop"  # one a process, a daemon, and it stays
IDLE = ("wsrpc-callback", "wsrpc-pool", "wsrpc-resolver")
# Threads of these names wait idle for more work and end after 10 s without, so that a test may end before them. They
# may be there, but not pile up: past MAX_IDLE the next 10 s must bring them down.
MAX_IDLE = 16
IDLE_DEADLINE = 12.0
# Wake-up pairs of event loops that live as long as the process (curio's, asyncio's) come at first use, in whichever
# test that is, so they are bounded over the whole run and not compared from test to test.
MAX_PAIRED = 16

PROC = Path("/proc/self")
ON_LINUX = (PROC / "fd").is_dir()
# Children that multiprocessing starts once and keeps for the life of the process.
KEPT_CHILDREN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def foreign_threads() -> set[threading.Thread]:
    """The threads that may not outlive a test."""
    return {thread for thread in threading.enumerate() if thread.name != LOOP and not thread.name.startswith(IDLE)}


def socket_inodes() -> set[str]:
    """Every socket that this process has open, named as in /proc: the number of a descriptor may be used again."""
    inodes = set()
    for descriptor in os.listdir(PROC / "fd"):
        try:
            target = os.readlink(PROC / "fd" / descriptor)
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target[len("socket:[") : -1])
    return inodes


def unix_inodes() -> set[str]:
    lines = (PROC / "net" / "unix").read_text(errors="replace").splitlines()[1:]
    return {line.split()[6] for line in lines}


def network_sockets() -> set[str]:
    """All sockets but the paired ones. What never connected counts too, and /proc/net/tcp would not list it."""
    if not ON_LINUX:
        return set()
    return socket_inodes() - unix_inodes()


def describe_sockets(inodes: set[str]) -> list[str]:
    """`local -> remote (state)` in the kernel's hexadecimal, where it lists them."""
    rows = {}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = PROC / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            rows[fields[9]] = f"{table} {fields[1]} -> {fields[2]} (state {fields[3]})"
    return [rows.get(inode, f"socket {inode}, not connected") for inode in sorted(inodes)]


def child_processes() -> dict[int, str]:
    """Process id -> command line of each child; a child that ended and was not waited for has none."""
    children = {}
    for listing in PROC.glob("task/*/children") if ON_LINUX else ():
        try:
            pids = listing.read_text().split()
        except OSError:  # the thread ended meanwhile
            continue
        for pid in pids:
            try:
                command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
            except OSError:
                continue
            if not any(kept in command for kept in KEPT_CHILDREN):
                children[int(pid)] = command or "(ended, but not waited for)"
    return children


def left_after(deadline: float, look: Callable[[], list[str]]) -> list[str]:
    """What `look` still finds after at most `deadline` seconds. Polls: nothing announces the end of a socket."""
    end = time.monotonic() + deadline
    while (found := look()) and time.monotonic() < end:
        time.sleep(POLL)
    return found


class Bounded:
    """Things that may be there at the end of a test, up to a bound.

    What is found beyond it becomes the bound, once it was waited for: one test fails for it, not all that follow.
    """

    def __init__(self, bound: int, look: Callable[[], list[str]]) -> None:
        self.bound = bound
        self.look = look

    def beyond_bound(self) -> list[str]:
        """All of them if there are too many, else nothing."""
        found = self.look()
        return found if len(found) > self.bound else []

    def fail_for(self, left: list[str], message: str) -> None:
        self.bound = len(left)
        pytest.fail(message, pytrace=False)


idle_threads = Bounded(MAX_IDLE, lambda: [t.name for t in threading.enumerate() if t.name.startswith(IDLE)])
paired_sockets = Bounded(MAX_PAIRED, lambda: sorted(socket_inodes() & unix_inodes()) if ON_LINUX else [])


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves something behind.

    What fixtures of a wider scope opened before the test is not the test's; ask for them by name in the signature, not
    with `getfixturevalue` in the body.
    """
    threads, sockets, children = foreign_threads(), network_sockets(), child_processes()
    yield

    def new_ones() -> list[str]:
        return [
            *(f"thread {thread.name!r}" for thread in foreign_threads() - threads),
            *describe_sockets(network_sockets() - sockets),
            *(f"child {pid}: {command}" for pid, command in child_processes().items() if pid not in children),
        ]

    if left := left_after(DEADLINE, new_ones):
        pytest.fail(f"left behind, and still there after {DEADLINE:g} s:\n  " + "\n  ".join(left), pytrace=False)
    if left := left_after(IDLE_DEADLINE, idle_threads.beyond_bound):
        idle_threads.fail_for(left, f"{len(left)} idle threads, though they end after 10 s: {', '.join(left)}")
    if left := left_after(DEADLINE, paired_sockets.beyond_bound):
        paired_sockets.fail_for(left, f"{len(left)} paired sockets: event loops leave their wake-up sockets behind")
