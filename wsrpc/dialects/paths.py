"""Paths into messages, as dialects write them: `"header.msg_id"`, `"d.requestId"`, `1`.

Dotted names; a number is a position in an array. A path may also be a tuple of steps, for names with a dot in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Path = str | int | tuple[str | int, ...]
Steps = tuple[str | int, ...]

_POSITION = re.compile(r"0|[1-9][0-9]{0,8}")  # "007" is a name


class Missing:
    """The value of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


#: There is nothing at that path.
MISSING = Missing()


def parse_path(path: Path) -> Steps:
    """The steps of a path.

    Raises:
        ValueError: an empty path or step, or a position below 0.
        TypeError: no path.
    """
    if isinstance(path, bool) or not isinstance(path, str | int | tuple):
        raise TypeError(f"a path is a dotted str, an int or a tuple of steps, not {path!r}")
    if isinstance(path, str):
        steps: Steps = tuple(int(step) if _POSITION.fullmatch(step) else step for step in path.split("."))
    else:
        steps = path if isinstance(path, tuple) else (path,)
    for step in steps:
        if isinstance(step, bool) or not isinstance(step, str | int):
            raise TypeError(f"{path!r} is no path: a step is a str or an int, not {step!r}")
    if not steps or "" in steps:
        raise ValueError(f"{path!r} is no path: a step is empty")
    if any(isinstance(step, int) and step < 0 for step in steps):
        raise ValueError(f"{path!r} is no path: positions count from the start")
    return steps


def get(message: Any, steps: Steps) -> Any:
    """What is at a path, or `MISSING`."""
    for step in steps:
        if isinstance(message, dict):
            message = message.get(step if isinstance(step, str) else str(step), MISSING)
        elif isinstance(message, list) and isinstance(step, int) and step < len(message):
            message = message[step]
        else:
            return MISSING
    return message


def put(message: Any, steps: Steps, value: Any, *, grow: bool = False) -> Any:
    """A copy of the message with a value put at a path; only what lies on the path is copied.

    Args:
        message: any; `MISSING` to begin anew.
        steps: the path.
        value: what to put there.
        grow: fill up arrays that end before the path's position, with `None`.

    Raises:
        TypeError: the path leads through something that is neither mapping nor array, or past an array's end.
    """
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if message is MISSING:
        message = {} if isinstance(step, str) else []
    if isinstance(message, Mapping):
        name = step if isinstance(step, str) else str(step)
        return {**message, name: put(message.get(name, MISSING), rest, value, grow=grow)}
    if isinstance(message, list | tuple) and isinstance(step, int) and (grow or step <= len(message)):
        copy = [*message, *[None] * (step - len(message))]
        copy[step : step + 1] = [put(message[step] if step < len(message) else MISSING, rest, value, grow=grow)]
        return copy
    raise TypeError(f"there is no place for {step!r} in {type(message).__name__} {message!r:.60}")


def find(template: Any, wanted: Any, at: Steps = ()) -> Steps | None:
    """Where an object stands in a template: its path, or `None`."""
    if template is wanted:
        return at
    if isinstance(template, Mapping):
        parts: Any = template.items()
    elif isinstance(template, list | tuple):
        parts = enumerate(template)
    else:
        return None
    for step, part in parts:
        if (found := find(part, wanted, (*at, step))) is not None:
            return found
    return None


def fill(template: Any, values: Mapping[int, Any]) -> Any:
    """A template with objects replaced, by their `id`; an entry whose replacement is `MISSING` is left out.

    In an array, where leaving out would move the others, it becomes `None`.
    """
    if id(template) in values:
        return values[id(template)]
    if isinstance(template, Mapping):
        filled = ((name, fill(part, values)) for name, part in template.items())
        return {name: part for name, part in filled if part is not MISSING}
    if isinstance(template, list | tuple):
        parts = [fill(part, values) for part in template]
        return [None if part is MISSING else part for part in parts]
    return template
