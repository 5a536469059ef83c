"""What a message means on an endpoint: the base that every dialect stands on.

A dialect says how to build a query and where its reflect ID goes, how to tell an answer, an error answer, the last of
several answers, a push and its topic, and a request from the other side. Dialects are pure and quick: messages in,
messages out, no I/O and no waiting, for they run on the loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..codec import REFLECT_ID

Params = Sequence[Any] | Mapping[str, Any] | None
ReflectID = int | str


class Placeholder:
    """Stands in a request template for what each query puts there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"wsrpc.{self._name}"

    def __reduce__(self) -> str:
        return self._name


#: In a request template: where the method's name, the parameters, and the reflect ID go.
METHOD = Placeholder("METHOD")
PARAMS = Placeholder("PARAMS")
ID = Placeholder("ID")


@dataclass(slots=True)
class Answer:
    """An answer to the query `id`; `final` is false if more will follow."""

    id: Any
    result: Any
    final: bool = True


@dataclass(slots=True)
class Failure:
    """An error answer to the query `id`."""

    id: Any
    code: int | str | None = None
    message: str = ""
    data: Any = None


@dataclass(slots=True)
class Push:
    """An event of a topic, which answers no query."""

    topic: str
    value: Any


@dataclass(slots=True)
class Request:
    """Something that the other side asks; `wants_answer` is false for a notification."""

    id: Any
    method: str
    params: Params = None
    wants_answer: bool = True


@dataclass(slots=True)
class Invalid:
    """What should have been a request and is none; it is answered with this error."""

    id: Any
    code: int
    message: str


@dataclass(slots=True)
class Batch:
    """Several in one message; those of a request batch are answered in one message as well."""

    items: list[Incoming | None]


Incoming = Answer | Failure | Push | Request | Invalid | Batch


class Dialect:
    """The base of all dialects. To write one of your own, subclass it.

    A client needs `read`, and `request` (for methods by name), `stamp` (for whole messages) or both; `notification`
    for `notify`; `subscribing` and `unsubscribing` if the endpoint wants to be told. A server needs `read_request`,
    `answer`, `failure` and `push`. `wsrpc.REFLECT_ID` stands in messages where the reflect ID will be written.

    Example:
        An endpoint that echoes `seq`, and calls its answers `ok`::

            class Seq(wsrpc.Dialect):
                def request(self, method, params):
                    return {"do": method, "with": params, "seq": wsrpc.REFLECT_ID}

                def read(self, message):
                    if "seq" in message:
                        return wsrpc.Answer(message["seq"], message["ok"])
                    return None

    Attributes:
        strict: reflect IDs match by type as well as by text.
    """

    strict: bool = False

    def new_id(self, number: int) -> ReflectID:
        """The reflect ID of the client's query `number`, counted from 1. The default: the number itself."""
        return number

    def key(self, value: Any) -> ReflectID | None:
        """What an ID that came back is looked up by; `None` if it can be no reflect ID.

        IDs match by their text: `7` and `"7"` are the same, unless `strict`. A bool or a float never matches.
        """
        if type(value) is int:
            return value
        if type(value) is str and not self.strict and value.isdecimal() and value.isascii() and len(value) < 20:
            number = int(value)
            return number if str(number) == value else None
        return None

    def request(self, method: str, params: Params) -> Any:
        """The message that asks `method` for an answer, with `REFLECT_ID` in it."""
        raise NotImplementedError(f"{type(self).__name__} cannot ask by method name; give a whole message")

    def stamp(self, message: Any) -> Any:
        """A copy of a whole message, as the user wrote it, with `REFLECT_ID` put in its place.

        Raises:
            TypeError: the message has no such place.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot stamp a whole message; give a method name")

    def notification(self, method: str, params: Params) -> Any:
        """The message that tells `method` something and wants no answer."""
        raise NotImplementedError(f"{type(self).__name__} has no notifications")

    def read(self, message: Any) -> Incoming | None:
        """What a message is to a client; `None` if it is none of these."""
        raise NotImplementedError

    def read_push(self, message: Any) -> Push | None:
        """The push in a message that `read` took for an answer, but whose ID no query has."""
        return None

    def read_request(self, message: Any) -> Incoming | None:
        """What a message is to a server; `None` if it is to be passed over."""
        raise NotImplementedError(f"{type(self).__name__} cannot serve")

    def answer(self, id: Any, result: Any) -> Any:
        """The message that answers the request `id`."""
        raise NotImplementedError(f"{type(self).__name__} cannot serve")

    def failure(self, id: Any, code: int, message: str, data: Any = None) -> Any:
        """The message that answers the request `id` with an error."""
        raise NotImplementedError(f"{type(self).__name__} cannot serve")

    def push(self, topic: str, value: Any) -> Any:
        """The message that carries an event of a topic."""
        raise NotImplementedError(f"{type(self).__name__} cannot serve")

    def subscribing(self, topic: str) -> tuple[str, Params] | None:
        """The query that subscribes to a topic: method and parameters; `None`: nothing is sent."""
        return None

    def unsubscribing(self, topic: str) -> tuple[str, Params] | None:
        """The query that ends the subscription to a topic."""
        return None

    def lacks_method(self, failure: Failure) -> bool:
        """Whether an error answer says that the endpoint has no such method."""
        return False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


__all__ = [
    "ID",
    "METHOD",
    "PARAMS",
    "REFLECT_ID",
    "Answer",
    "Batch",
    "Dialect",
    "Failure",
    "Incoming",
    "Invalid",
    "Params",
    "Placeholder",
    "Push",
    "ReflectID",
    "Request",
]
