"""The functions that a server answers with: what they are called, where they run, what becomes of their errors."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .dialects import Params, Request
from .dialects.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, SERVER_ERROR
from .errors import RemoteError

log = logging.getLogger("wsrpc")


class Place(Enum):
    """Where a method runs."""

    POOL = "pool"
    LOOP = "loop"
    ASYNCIO = "asyncio"


@dataclass(frozen=True, slots=True)
class Method:
    """A function under its name."""

    name: str
    function: Callable[..., Any]
    place: Place

    def start(self, params: Params) -> Any:
        """Call it: its result, or the coroutine that will have it.

        Raises:
            RemoteError: the params do not fit its arguments.
            Exception: whatever it raises.
        """
        try:
            args, kwargs = _arguments(params)
            return self.function(*args, **kwargs)
        except TypeError as error:
            if (misfit := self._misfit(params)) is not None:
                raise RemoteError(f"{self.name}: {misfit}", code=INVALID_PARAMS, message=f"{misfit}") from error
            raise

    def _misfit(self, params: Params) -> str | None:
        """What is wrong with the params, if the function could not even be called with them."""
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # some builtins have none
            return None
        try:
            args, kwargs = _arguments(params)
            signature.bind(*args, **kwargs)
        except TypeError as error:
            return f"Invalid params: {error}; the method is {self.name}{signature}"
        return None


def _arguments(params: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    """An array is positional arguments, an object keywords; anything else, where a dialect has it, is one argument."""
    if isinstance(params, dict):
        return (), params
    if isinstance(params, list):
        return params, {}
    return (() if params is None else (params,)), {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to."""

    result: Any = None
    error: RemoteError | None = None


def outcome_of_error(request: Request, error: BaseException) -> Outcome:
    """A method's exception as an error answer: its text and type; a `RemoteError` of its own as it is."""
    if isinstance(error, RemoteError):
        return Outcome(error=error)
    if isinstance(error, asyncio.CancelledError):
        log.debug("method %s was cancelled", request.method)
    else:
        log.error("method %s failed", request.method, exc_info=error)
    text = _text_of(error)
    return Outcome(error=RemoteError(text, code=SERVER_ERROR, message=text, data={"type": type(error).__name__}))


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # an exception of the user's may fail even at this
        text = ""
    return text or type(error).__name__


def outcome_of_unknown(request: Request) -> Outcome:
    """The answer to a method that does not exist."""
    text = f"Method not found: {request.method}"
    return Outcome(error=RemoteError(text, code=METHOD_NOT_FOUND, message=text))


class Methods:
    """The methods of one server. Adding is for any thread; looking up is one dict operation."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def add(self, function: Callable[..., Any], name: str | None, *, inline: bool) -> None:
        """Make a function a method.

        Raises:
            TypeError: it cannot be called.
            ValueError: a name of JSON-RPC's own, or a coroutine function that shall run on the loop.
        """
        if not callable(function):
            raise TypeError(f"a method must be a function, not {function!r}")
        name = name if name is not None else getattr(function, "__name__", None)
        if not isinstance(name, str) or not name or name == "<lambda>":
            raise TypeError(f'{function!r} has no name; give it one: method("name")')
        if name.startswith("rpc."):
            raise ValueError(f"{name!r}: names that begin with rpc. are the protocol's own (JSON-RPC 2.0, section 4)")
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
        if is_async and inline:
            raise ValueError(f"{name}: a coroutine function runs on asyncio's loop; it cannot be inline")
        place = Place.ASYNCIO if is_async else Place.LOOP if inline else Place.POOL
        self._methods[name] = Method(name, function, place)

    def get(self, name: str) -> Method | None:
        """The method of that name."""
        return self._methods.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._methods)


class AsyncioThread:
    """One asyncio loop in a thread of its own, started at its first coroutine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # guarded by _lock
        self._thread: threading.Thread | None = None  # guarded by _lock

    def run(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, BaseException | None], object]) -> None:
        """Run a coroutine; `done(result, error)` is called on that thread. From any thread; never blocks."""

        async def and_tell() -> None:
            try:
                result = await coroutine
            except BaseException as error:  # also CancelledError: whoever asked gets an answer
                done(None, error)
            else:
                done(result, None)

        asyncio.run_coroutine_threadsafe(and_tell(), self._running())

    def close(self, timeout: float | None) -> None:
        """Cancel what runs, and end the thread. Blocks until it has ended, at most `timeout` seconds."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join(timeout)
                if thread.is_alive():
                    log.warning("%s goes on: a method does not let itself be cancelled", self._name)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
