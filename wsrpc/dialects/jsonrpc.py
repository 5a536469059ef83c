"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification), both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from ..codec import REFLECT_ID
from .base import Answer, Batch, Dialect, Failure, Incoming, Invalid, Params, Push, Request

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000

_NO_SUCH_METHOD = re.compile(
    r"(no such|unknown|unsupported|invalid|undefined) method|method .*not found", re.IGNORECASE
)


class JSONRPC(Dialect):
    """JSON-RPC 2.0.

    A notification from the other side is a push: its method is the topic, its params are the event. A single scalar in
    an array is undone, since params must be an array or an object and servers wrap scalars so.

    Args:
        subscribe: the method that subscribes to a topic, asked with `[topic]`; where the endpoint has no such method,
            the subscription is kept local. `None`: nothing is sent, at the end neither.
        unsubscribe: likewise, for its end.
        strict: IDs match by type as well as by text: 7 is not "7".
    """

    def __init__(
        self, *, subscribe: str | None = "rpc.on", unsubscribe: str | None = "rpc.off", strict: bool = False
    ) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe if subscribe is not None else None
        self.strict = strict

    def request(self, method: str, params: Params) -> Any:
        """A request object."""
        if params is None:
            return {"jsonrpc": "2.0", "method": method, "id": REFLECT_ID}
        return {"jsonrpc": "2.0", "method": method, "params": params, "id": REFLECT_ID}

    def stamp(self, message: Any) -> Any:
        """A copy of a whole request, with its ID; `jsonrpc` is added where it is missing."""
        if not isinstance(message, Mapping):
            raise TypeError(f"a JSON-RPC request is an object, not {type(message).__name__}")
        return {"jsonrpc": "2.0", **message, "id": REFLECT_ID}

    def notification(self, method: str, params: Params) -> Any:
        """A request object without ID."""
        return {"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params})

    def read(self, message: Any) -> Incoming | None:
        """A response, a notification, a request, or an array of them."""
        if isinstance(message, list):
            if not message:
                return None
            return Batch([self.read(item) if isinstance(item, dict) else None for item in message])
        if not isinstance(message, dict):
            return None
        method = message.get("method")
        if isinstance(method, str):
            if "id" in message:
                return Request(message["id"], method, message.get("params"))
            return Push(method, _unwrapped(message.get("params")))
        if (error := message.get("error")) is not None:
            return _failure(message.get("id"), error)
        return Answer(message.get("id"), message["result"]) if "result" in message else None

    def read_request(self, message: Any) -> Incoming | None:
        """A request, a notification, a batch, or what is wrong with it; `None` for a response."""
        if isinstance(message, list):
            if not message:
                return Invalid(None, INVALID_REQUEST, "Invalid Request: an empty batch")
            return Batch([self.read_request(item) if isinstance(item, dict) else _not_a_request() for item in message])
        if not isinstance(message, dict):
            return _not_a_request()
        if "method" not in message and ("result" in message or "error" in message):
            return None
        request_id = message.get("id")
        if isinstance(request_id, bool) or not isinstance(request_id, int | float | str | None):
            return Invalid(None, INVALID_REQUEST, "Invalid Request: id must be a string, a number or null")
        if wrong := _wrong_in(message):
            return Invalid(request_id, INVALID_REQUEST, f"Invalid Request: {wrong}")
        return Request(request_id, message["method"], message.get("params"), "id" in message)

    def answer(self, id: Any, result: Any) -> Any:
        """A response with a result."""
        return {"jsonrpc": "2.0", "result": result, "id": id}

    def failure(self, id: Any, code: int, message: str, data: Any = None) -> Any:
        """A response with an error."""
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        return {"jsonrpc": "2.0", "error": error, "id": id}

    def push(self, topic: str, value: Any) -> Any:
        """A notification; a value that is neither array nor object goes as `[value]`."""
        return {"jsonrpc": "2.0", "method": topic, "params": value if _is_structured(value) else [value]}

    def subscribing(self, topic: str) -> tuple[str, Params] | None:
        """`subscribe` with the topic, if there is such a method."""
        return None if self._subscribe is None else (self._subscribe, [topic])

    def unsubscribing(self, topic: str) -> tuple[str, Params] | None:
        """`unsubscribe` with the topic, if there is such a method."""
        return None if self._unsubscribe is None else (self._unsubscribe, [topic])

    def lacks_method(self, failure: Failure) -> bool:
        """By the standard's code, or by the text of endpoints that have codes of their own (aria2)."""
        return failure.code == METHOD_NOT_FOUND or _NO_SUCH_METHOD.search(failure.message) is not None


def _wrong_in(message: dict[str, Any]) -> str:
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if not isinstance(message.get("method"), str):
        return "method must be a string"
    if not isinstance(message.get("params", []), list | dict):
        return "params must be an array or an object"
    return ""


def _not_a_request() -> Invalid:
    return Invalid(None, INVALID_REQUEST, "Invalid Request: it must be an object")


def _failure(id: Any, error: Any) -> Failure:
    if not isinstance(error, dict):
        return Failure(id, None, str(error), error)
    code = error.get("code")
    return Failure(id, code if isinstance(code, int | str) else None, str(error.get("message", "")), error.get("data"))


def _is_structured(value: Any) -> bool:
    """Whether it is an array or an object in JSON."""
    return isinstance(value, Mapping | list | tuple) or is_dataclass(value) or getattr(value, "shape", ()) != ()


def _unwrapped(params: Any) -> Any:
    if type(params) is list and len(params) == 1 and not isinstance(params[0], list | dict):
        return params[0]
    return params
