"""What becomes of a request's params, and of what a method does with them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest

import wsrpc
from wsrpc import RemoteError, Server
from wsrpc.dialects import Request
from wsrpc.methods import Method, Methods, Place, outcome_of_error, outcome_of_unknown


def subtract(minuend: int, subtrahend: int = 0) -> int:
    return minuend - subtrahend


async def later() -> str:
    return "later"


class Adder:
    def add(self, a: int, b: int) -> int:
        return a + b

    async def add_later(self, a: int, b: int) -> int:
        return a + b

    def __call__(self, a: int, b: int) -> int:
        return a + b


def method(function: Callable[..., Any], name: str = "probe") -> Method:
    return Method(name, function, Place.POOL)


def added(function: Any, name: str | None = None, *, inline: bool = False) -> Method:
    """The function as a method, under the one name it got."""
    methods = Methods()
    methods.add(function, name, inline=inline)
    (its_name,) = methods.names()
    found = methods.get(its_name)
    assert found is not None
    assert found.name == its_name
    return found


# Params


@pytest.mark.parametrize(
    ("params", "result"),
    [([42, 23], 19), ([42], 42), ({"minuend": 42, "subtrahend": 23}, 19), ({"subtrahend": 2, "minuend": 1}, -1)],
)
def test_arrays_are_positional_arguments_and_objects_keywords(params: Any, result: int) -> None:
    assert method(subtract).start(params) == result


@pytest.mark.parametrize("params", [None, [], {}])
def test_no_params_are_no_arguments(params: Any) -> None:
    assert method(lambda *args, **kwargs: (args, kwargs)).start(params) == ((), {})


@pytest.mark.parametrize("params", [7, 1.5, "text", True, False, 0, ""])
def test_a_scalar_is_one_argument(params: Any) -> None:
    assert method(lambda *args: args).start(params) == (params,)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ([], "missing a required argument: 'minuend'"),
        (None, "missing a required argument: 'minuend'"),
        ([1, 2, 3], "too many positional arguments"),
        ({"minuend": 1, "other": 2}, "got an unexpected keyword argument 'other'"),
        ({"subtrahend": 1}, "missing a required argument: 'minuend'"),
    ],
)
def test_params_that_do_not_fit_are_a_remote_error_that_says_why(params: Any, complaint: str) -> None:
    with pytest.raises(RemoteError) as raised:
        method(subtract, "subtract").start(params)
    assert raised.value.code == -32602
    assert raised.value.message.startswith("Invalid params")
    assert complaint in raised.value.message
    assert "subtract(minuend" in raised.value.message


def test_params_that_do_not_fit_a_coroutine_function_are_a_remote_error() -> None:
    with pytest.raises(RemoteError) as raised:
        method(later).start([1])
    assert raised.value.code == -32602


def test_a_type_error_of_the_methods_own_stays_one() -> None:
    def add_to_text(a: int) -> Any:
        return a + "text"  # type: ignore[operator]

    with pytest.raises(TypeError, match="unsupported operand"):
        method(add_to_text).start([1])


def test_a_builtin_without_a_signature_raises_what_it_raises() -> None:
    assert method(max).start([1, 3, 2]) == 3
    with pytest.raises(TypeError):
        method(max).start([])


# Errors


def test_an_exception_becomes_its_text_and_type(caplog: pytest.LogCaptureFixture) -> None:
    error = outcome_of_error(Request(1, "probe"), ValueError("no such thing")).error
    assert error is not None
    assert (error.code, error.message, error.data) == (-32000, "no such thing", {"type": "ValueError"})
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "probe" in record.getMessage()
    assert record.exc_info is not None


def test_an_exception_without_text_becomes_its_type() -> None:
    error = outcome_of_error(Request(1, "probe"), KeyboardInterrupt()).error
    assert error is not None
    assert (error.message, error.data) == ("KeyboardInterrupt", {"type": "KeyboardInterrupt"})


def test_an_exception_whose_text_cannot_be_had_becomes_its_type() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text either")

    error = outcome_of_error(Request(1, "probe"), MuteError()).error
    assert error is not None
    assert (error.code, error.data) == (-32000, {"type": "MuteError"})


def test_a_remote_error_stays_as_it_is_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    raised = RemoteError("no", code=7, message="not allowed", data=[1])
    assert outcome_of_error(Request(1, "probe"), raised).error is raised
    assert not caplog.records


def test_an_unknown_method_is_named() -> None:
    error = outcome_of_unknown(Request(1, "foobar")).error
    assert error is not None
    assert error.code == -32601
    assert "foobar" in str(error.message)


# Names and places


def test_a_method_has_its_functions_name_or_the_one_given() -> None:
    assert added(subtract).name == "subtract"
    assert added(subtract, "math.minus").name == "math.minus"
    assert added(Adder().add).name == "add"
    assert added(Adder(), "adder").start([1, 2]) == 3
    assert added(functools.partial(subtract, 10), "from_ten").start([3]) == 7
    assert added(lambda: 1, "one").start(None) == 1


@pytest.mark.parametrize(
    ("function", "inline", "place"),
    [
        (subtract, False, Place.POOL),
        (subtract, True, Place.LOOP),
        (later, False, Place.ASYNCIO),
        (Adder().add_later, False, Place.ASYNCIO),
        (functools.partial(later), False, Place.ASYNCIO),
    ],
)
def test_a_method_has_its_place(function: Any, inline: bool, place: Place) -> None:
    assert added(function, "name", inline=inline).place is place


def test_an_object_that_is_called_as_a_coroutine_runs_on_asyncio() -> None:
    class Later:
        async def __call__(self) -> str:
            return "later"

    assert added(Later(), "later").place is Place.ASYNCIO


def test_a_name_given_again_takes_the_new_function() -> None:
    methods = Methods()
    methods.add(subtract, "name", inline=False)
    methods.add(later, "name", inline=False)
    found = methods.get("name")
    assert found is not None
    assert found.function is later


def test_names_are_sorted_and_unknown_ones_are_none() -> None:
    methods = Methods()
    for name in ("b", "a.c", "a"):
        methods.add(subtract, name, inline=False)
    assert methods.names() == ["a", "a.c", "b"]
    assert methods.get("c") is None


# The decorator, on a server that is never started


def test_every_form_of_the_decorator_returns_the_function() -> None:
    server = Server()

    @server.method
    def plain() -> None: ...

    @server.method("other.name")
    def named() -> None: ...

    @server.method(inline=True)
    def quick() -> None: ...

    @server.method("quick.name", inline=True)
    def quick_and_named() -> None: ...

    @server.method()
    async def later() -> None: ...

    for name, function, place in (
        ("plain", plain, Place.POOL),
        ("other.name", named, Place.POOL),
        ("quick", quick, Place.LOOP),
        ("quick.name", quick_and_named, Place.LOOP),
        ("later", later, Place.ASYNCIO),
    ):
        found = server.find(name)
        assert found is not None
        assert (found.function, found.place) == (function, place)


def test_method_is_a_plain_call_too() -> None:
    server = Server()
    server.method(subtract)
    server.method("minus")(subtract)
    assert server.find("subtract") is not None
    assert server.find("minus") is not None


@pytest.mark.parametrize("name", ["rpc.on", "rpc.off", "rpc.anything", "rpc."])
def test_the_protocols_own_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"rpc\."):
        Server().method(name)(subtract)


def test_names_that_only_look_like_the_protocols_own_are_taken() -> None:
    server = Server()
    for name in ("rpc", "rpcx", "my.rpc.on"):
        server.method(name)(subtract)


def test_an_inline_coroutine_function_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be inline"):
        Server().method(inline=True)(later)


@pytest.mark.parametrize("function", [7, [], object()])
def test_what_cannot_be_called_is_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="function"):
        Server().method(function)


@pytest.mark.parametrize("function", [lambda: 1, functools.partial(subtract, 1), Adder()])
def test_a_function_without_a_name_needs_one(function: Any) -> None:
    with pytest.raises(TypeError, match="name"):
        Server().method(function)


def test_the_error_for_a_missing_name_says_what_can_be_written() -> None:
    server = Server()
    with pytest.raises(TypeError) as raised:
        server.method(functools.partial(subtract, 1))
    assert "name=" not in str(raised.value)  # the name is positional only


# Making a server


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65536},
        {"threads": 0},
        {"max_connections": 0},
        {"max_requests": 0},
        {"open_timeout": 0},
        {"max_message_bytes": -1},
        {"protocols": ["two words"]},
        {"protocols": ["chat", "chat"]},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Server(**options)


def test_unknown_options_are_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(TypeError, match=r"max_message_byte;.*max_message_bytes"):
        Server(max_message_byte=1)


def test_a_dialect_that_cannot_serve_is_refused() -> None:
    dialect = wsrpc.Reflect(id="id", request=lambda name, params: {"do": name, "with": params})
    with pytest.raises((TypeError, ValueError, NotImplementedError)):
        Server(dialect=dialect)


def test_what_needs_a_started_server_says_so() -> None:
    server = Server()
    with pytest.raises(wsrpc.StateError, match="start"):
        _ = server.url
    assert isinstance(wsrpc.StateError("x"), RuntimeError)
    assert "idle" in repr(server)


def test_publishing_before_the_start_reaches_nobody() -> None:
    assert Server().publish("ticks", 1) == 0


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), 2**64, {"a": [object()]}])
def test_publishing_what_cannot_be_encoded_raises(value: Any) -> None:
    with pytest.raises(wsrpc.EncodeError):
        Server().publish("ticks", value)


def test_a_server_that_was_never_started_can_be_closed_and_is_used_up() -> None:
    server = Server()
    server.close()
    server.close()
    with pytest.raises(wsrpc.StateError, match="closed"):
        server.start()
    with pytest.raises(wsrpc.StateError, match="closed"):
        server.serve_forever()
