"""The dialect of endpoints that merely echo a field: most endpoints are one line of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..codec import REFLECT_ID
from .base import ID, METHOD, PARAMS, Answer, Dialect, Failure, Incoming, Invalid, Params, Push, ReflectID, Request
from .paths import MISSING, Path, Steps, fill, find, get, parse_path, put

Template = Mapping[str, Any] | list[Any] | Callable[[str, Params], Any]

_INVALID_REQUEST = -32600  # JSON-RPC 2.0's number; an endpoint of this dialect has none of its own


class Reflect(Dialect):
    """Queries carry a field that the endpoint sends back.

    Paths are dotted (`"header.msg_id"`); a number is an array position (`1`, `"d.0"`); a tuple of steps allows names
    with dots.

    Args:
        id: where the reflect ID goes in a query.
        echo: where it comes back; `None`: at the same place.
        result: where an answer has its result; `None`: the result is the whole message.
        error: where an error answer has its error. An answer is an error if something is there that is neither
            null, false, empty nor 0. `None`: there are no error answers.
        topic: where a push has its topic; `None`: there are no pushes, every other message is unmatched.
        event: where a push has its value; `None`: the event is the whole message.
        request: the form of a query that is given as a method name: a template with `wsrpc.METHOD`, `wsrpc.PARAMS`
            and `wsrpc.ID` in it, or a function of method and params. `None`: `{"method": …, "params": …}`.
        subscribe: the method that subscribes to a topic, asked with `[topic]`; `None`: nothing is sent.
        unsubscribe: likewise, for its end.
        final: where an answer says that no more answers to this query follow (by something true). `None`: each
            query has one answer.
        ids: `"int"`: 1, 2, 3 …; `"str"`: the same as strings; `"uuid"`: random UUIDs, as strings.
        strict: IDs match by type as well as by text: 7 is not "7".

    Raises:
        ValueError: a path that is none, a template without a place for the method.
        TypeError: an argument of another type.

    Example:
        >>> Reflect(id="req_id", result="result").read({"req_id": 7, "result": [1, 2]})
        Answer(id=7, result=[1, 2], final=True)
    """

    def __init__(
        self,
        id: Path,
        *,
        echo: Path | None = None,
        result: Path | None = None,
        error: Path | None = None,
        topic: Path | None = None,
        event: Path | None = None,
        request: Template | None = None,
        subscribe: str | None = None,
        unsubscribe: str | None = None,
        final: Path | None = None,
        ids: Literal["int", "str", "uuid"] = "int",
        strict: bool = False,
    ) -> None:
        if ids not in ("int", "str", "uuid"):
            raise ValueError(f"ids must be 'int', 'str' or 'uuid', not {ids!r}")
        self.strict = strict
        self._ids = ids
        self._id = parse_path(id)
        self._echo = self._id if echo is None else parse_path(echo)
        self._id_name, self._echo_name = _top_level(self._id), _top_level(self._echo)
        self._result = _optional(result)
        self._error = _optional(error)
        self._topic = _optional(topic)
        self._event = _optional(event)
        self._final = _optional(final)
        self._subscribe, self._unsubscribe = subscribe, unsubscribe
        self._template: Template = {"method": METHOD, "params": PARAMS} if request is None else request
        self._method_at = self._params_at = None
        if not callable(self._template):
            self._method_at = find(self._template, METHOD)
            self._params_at = find(self._template, PARAMS)
            if self._method_at is None:
                raise ValueError(f"the request template has no wsrpc.METHOD in it: {request!r}")

    def new_id(self, number: int) -> ReflectID:
        """The number, as `ids` says."""
        if self._ids == "int":
            return number
        return str(number) if self._ids == "str" else str(uuid.uuid4())

    def key(self, value: Any) -> ReflectID | None:
        """As `Dialect.key`, for IDs that are strings too."""
        if self._ids == "int":
            return value if type(value) is int else super().key(value)
        if type(value) is str:
            return value
        return str(value) if type(value) is int and not self.strict else None

    def request(self, method: str, params: Params) -> Any:
        """The template, filled in."""
        if callable(self._template):
            return self.stamp(self._template(method, params))
        message = self._filled(method, params, REFLECT_ID)
        return message if find(message, REFLECT_ID) is not None else self.stamp(message)

    def stamp(self, message: Any) -> Any:
        """A copy of the message with the reflect ID at the path `id`; what was there is replaced."""
        if self._id_name is not None and type(message) is dict:
            return {**message, self._id_name: REFLECT_ID}
        return put(message, self._id, REFLECT_ID)

    def notification(self, method: str, params: Params) -> Any:
        """The template without a reflect ID."""
        if callable(self._template):
            return self._template(method, params)
        return self._filled(method, params, MISSING)

    def _filled(self, method: str, params: Params, reflect_id: Any) -> Any:
        given = MISSING if params is None else params
        return fill(self._template, {id(METHOD): method, id(PARAMS): given, id(ID): reflect_id})

    def read(self, message: Any) -> Incoming | None:
        """An answer if an ID is where the echo is, else a push if there is a topic."""
        if self._echo_name is not None and type(message) is dict:
            reflected = message.get(self._echo_name)
        else:
            reflected = get(message, self._echo)
        if (type(reflected) is not int or self._ids != "int") and self.key(reflected) is None:
            return self.read_push(message)
        if self._error is not None and (error := get(message, self._error)) is not MISSING and error:
            return _failure(reflected, error)
        result = message if self._result is None else get(message, self._result)
        final = self._final is None or bool(get(message, self._final))
        return Answer(reflected, None if result is MISSING else result, final)

    def read_push(self, message: Any) -> Push | None:
        """A push, if there is a topic where pushes have theirs."""
        if self._topic is None or not isinstance(topic := get(message, self._topic), str):
            return None
        value = message if self._event is None else get(message, self._event)
        return Push(topic, None if value is MISSING else value)

    def read_request(self, message: Any) -> Incoming | None:
        """A request, as this dialect's own clients write it; without an ID a notification."""
        if self._method_at is None:
            raise NotImplementedError("a Reflect whose request is a function cannot serve; use a template")
        method = get(message, self._method_at)
        reflected = get(message, self._id)
        known = self.key(reflected) is not None
        if not isinstance(method, str):
            return Invalid(reflected if known else None, _INVALID_REQUEST, "the message names no method")
        params = None if self._params_at is None else get(message, self._params_at)
        return Request(reflected if known else None, method, None if params is MISSING else params, known)

    def answer(self, id: Any, result: Any) -> Any:
        """The result with the ID put in; where the result is the whole message and no mapping, under `result`."""
        if self._result is not None:
            message = put(MISSING, self._result, result, grow=True)
        else:
            message = result if isinstance(result, Mapping) else {"result": result}
        return put(message, self._echo, id, grow=True)

    def failure(self, id: Any, code: int, message: str, data: Any = None) -> Any:
        """The error at the path `error` (or under `error`), with the ID put in if there is one."""
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        answer = put(MISSING, self._error or ("error",), error, grow=True)
        return answer if id is None else put(answer, self._echo, id, grow=True)

    def push(self, topic: str, value: Any) -> Any:
        """The event with its topic put in (under `topic` if there is no path for it)."""
        if self._event is not None:
            message = put(MISSING, self._event, value, grow=True)
        else:
            message = value if isinstance(value, Mapping) else {"data": value}
        return put(message, self._topic or ("topic",), topic, grow=True)

    def subscribing(self, topic: str) -> tuple[str, Params] | None:
        """`subscribe` with the topic, if there is such a method."""
        return None if self._subscribe is None else (self._subscribe, [topic])

    def unsubscribing(self, topic: str) -> tuple[str, Params] | None:
        """`unsubscribe` with the topic, if there is such a method."""
        return None if self._unsubscribe is None else (self._unsubscribe, [topic])

    def __repr__(self) -> str:
        return f"Reflect(id={'.'.join(map(str, self._id))!r})"


def _top_level(steps: Steps) -> str | None:
    """The name of a field at the top of an object, which is where most endpoints have theirs."""
    return steps[0] if len(steps) == 1 and isinstance(steps[0], str) else None


def _optional(path: Path | None) -> Steps | None:
    return None if path is None else parse_path(path)


def _failure(reflected: Any, error: Any) -> Failure:
    """What an endpoint says of an error, in whatever form it does."""
    if not isinstance(error, dict):
        return Failure(reflected, None, str(error), error)
    code = error.get("code")
    return Failure(
        reflected,
        code if isinstance(code, int | str) else None,
        str(error.get("message", error)),
        error.get("data"),
    )
