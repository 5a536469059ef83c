"""The query that every peer asks, and the check of its answer.

JSON text of about 100 bytes with an integer id, the reflect ID. Every peer encodes and decodes it with orjson, so that
what is compared is the WebSocket library and not its JSON. The server echoes it, so the id must come back.
"""

from collections.abc import Mapping
from typing import Any

import orjson

MESSAGE: Mapping[str, Any] = {"type": "query users", "room": "lobby", "text": "all who spoke in the last hour, please"}
"""The query without its id."""


class WrongAnswer(AssertionError):
    """An answer that carries another id than the query that was waited for."""


def encode(number: int) -> bytes:
    """Return the query with reflect ID ``number``, as JSON."""
    return orjson.dumps({"id": number, **MESSAGE})


def check(answer: Mapping[str, Any], number: int) -> None:
    """Raise `WrongAnswer` unless ``answer`` carries the reflect ID ``number``."""
    if answer["id"] != number:
        raise WrongAnswer(f"waited for the answer to query {number}, got the one to {answer['id']}")
