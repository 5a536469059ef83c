"""These tests open nothing. That is looked at once a module: after each test it would take longer than the tests do."""

from collections.abc import Iterator

import pytest

from ..conftest import child_processes, foreign_threads, network_sockets


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_behind() -> Iterator[None]:
    before = what_is_open()
    yield
    assert what_is_open() == before


def what_is_open() -> tuple[set[str], set[str], dict[int, str]]:
    threads = {thread.name for thread in foreign_threads() if not thread.name.startswith("pytest_timeout")}
    return threads, network_sockets(), child_processes()
