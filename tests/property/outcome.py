"""What a call comes to, where it may raise what is documented and nothing else; and how many examples are tried."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E", bound=Exception)


def error_of(documented: type[E], function: Callable[..., Any], *args: Any) -> E | None:
    """The documented error that a call raises, or `None`; any other goes through."""
    try:
        function(*args)
    except documented as error:
        return error
    return None


def examples() -> int:
    """How many examples a property gets, but for those that say how many times as many."""
    return int(os.environ.get("PROPERTY_EXAMPLES", "20"))
