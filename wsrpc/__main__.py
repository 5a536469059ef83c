"""The command line: `wsrpc demo | query | subscribe | serve`, also as `python -m wsrpc`.

JSON comes in as arguments, JSON lines go out on stdout, everything else goes to stderr. The exit status says how it
went: see `EPILOG`. Ctrl-C ends quietly with 130, and a reader that closes the pipe (`| head -1`) with 0: it has what it
wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import itertools
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NoReturn

from . import __version__, codec, demo
from .client import Client
from .dialects import JSONRPC, Dialect, Params, Reflect
from .errors import DecodeError, EncodeError, InvalidURL, RemoteError, StateError, WsrpcError
from .server import Server
from .urls import parse_url

OK, ERROR_ANSWER, USAGE, NO_CONNECTION, INTERRUPTED = 0, 1, 2, 3, 130

TIMEOUT = 30.0
CLOSE_TIMEOUT = 1.0  # a person waits, and has the answer already

DIALECTS: dict[str, Callable[..., Dialect]] = {"jsonrpc": JSONRPC, "reflect": Reflect}
NOT_AS_TEXT = ("request",)  # a template has no short form

EPILOG = """\
dialects:
  jsonrpc                                   JSON-RPC 2.0, the default; also jsonrpc:subscribe=on,unsubscribe=off
  reflect:id=req_id,result=result,topic=channel
                                            an endpoint that echoes a field: the arguments of wsrpc.Reflect
  MODULE:NAME                               a wsrpc.Dialect object of your own, such as a Reflect with a template

exit status:
  0    all went well
  1    the endpoint answered with an error: it is on stderr, as a line of JSON
  2    a mistake in the command
  3    no connection, or it was lost, or no answer within the timeout
  130  Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its words; `None`: those that the process was started with.

    Returns:
        The exit status.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return OK
    finally:
        _flush()


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = make_parser().parse_args(argv)
        return _perform(arguments)
    except SystemExit as end:  # argparse has said what is wrong, or has printed the help
        return end.code if isinstance(end.code, int) else USAGE


def _perform(arguments: argparse.Namespace) -> int:
    """Run the command and translate its errors: the one place that knows the exit statuses."""
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except RemoteError as error:
        _complain(_json(_described(error)).decode())
        return ERROR_ANSWER
    except (EncodeError, StateError) as error:
        _refuse(arguments, str(error))
    except BrokenPipeError:
        raise
    except (WsrpcError, OSError) as error:
        _complain(f"wsrpc: {getattr(error, 'strerror', None) or error}")
        return NO_CONNECTION


# The commands


def _demo(arguments: argparse.Namespace) -> int:
    dialect = arguments.dialect or JSONRPC()
    if not demo.suits(dialect):
        _refuse(arguments, f"the demo needs a dialect with results, errors and topics, and {dialect!r} lacks some")
    return OK if demo.run(dialect) else ERROR_ANSWER


def _query(arguments: argparse.Namespace) -> int:
    _check_question(arguments)
    with contextlib.closing(_client(arguments, arguments.timeout)) as client:
        _write(client.query(arguments.method, arguments.params))
    return OK


def _subscribe(arguments: argparse.Namespace) -> int:
    with contextlib.closing(_client(arguments, arguments.timeout or TIMEOUT)) as client:
        events = client.subscribe(arguments.topic, overflow="block")
        for _ in itertools.repeat(None) if arguments.count is None else range(arguments.count):
            _write(events.get(arguments.timeout))
    return OK


def _serve(arguments: argparse.Namespace) -> int:
    server: Server = arguments.server
    if arguments.dialect is not None:
        server.dialect = arguments.dialect
    with server:
        print(server.url, flush=True)
        server.serve_forever()
    return OK


def _client(arguments: argparse.Namespace, timeout: float | None) -> Client:
    return Client(arguments.url, dialect=arguments.dialect, timeout=timeout, close_timeout=CLOSE_TIMEOUT)


def _check_question(arguments: argparse.Namespace) -> None:
    """Refuse what the dialect cannot ask, before anything is opened."""
    dialect: Dialect = arguments.dialect or JSONRPC()
    is_whole = not isinstance(arguments.method, str)
    if is_whole and arguments.params is not None:
        _refuse(arguments, "PARAMS go with a method's name; a whole message has its own")
    try:
        if is_whole:
            dialect.stamp(arguments.method)
        else:
            dialect.request(arguments.method, arguments.params)
    except (TypeError, NotImplementedError) as error:
        _refuse(arguments, str(error))


# Their words


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it ends with `SystemExit`, as argparse does."""
    parser = _with_dialect(
        argparse.ArgumentParser,
        "Ask a WebSocket endpoint and get its answer, while pushes keep arriving.",
        prog="wsrpc",
    )
    parser.set_defaults(dialect=None)
    parser.add_argument("--version", action="version", version=f"wsrpc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_demo, _add_query, _add_subscribe, _add_serve):
        add(commands)
    return parser


def _with_dialect(
    make: Callable[..., argparse.ArgumentParser], description: str, **more: Any
) -> argparse.ArgumentParser:
    """A parser with what all have; `--dialect` may stand before the command as well as after it."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = make(description=description, epilog=EPILOG, formatter_class=layout, allow_abbrev=False, **more)
    parser.add_argument(
        "--dialect", type=_dialect, default=argparse.SUPPRESS, help="how the endpoint reflects, see below"
    )
    return parser


def _add_command(commands: Any, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
    name = run.__name__.removeprefix("_")
    parser = _with_dialect(lambda **options: commands.add_parser(name, **options), description, help=description)
    parser.set_defaults(run=run, refuse=parser.error)
    return parser


def _add_demo(commands: Any) -> None:
    _add_command(commands, _demo, "show in ten seconds what this library is for")


def _add_query(commands: Any) -> None:
    parser = _add_command(commands, _query, "ask, and print the result as a line of JSON")
    parser.add_argument("url", metavar="URL", type=_url)
    parser.add_argument("method", metavar="METHOD", type=_message, help="a name; or a whole message, in JSON")
    parser.add_argument(
        "params", metavar="PARAMS", type=_params, nargs="?", help="a JSON array or object; - reads it from stdin"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=TIMEOUT, metavar="SECONDS", help="for all of it (default: 30); or none"
    )


def _add_subscribe(commands: Any) -> None:
    parser = _add_command(commands, _subscribe, "print the events of a topic, each as a line of JSON")
    parser.add_argument("url", metavar="URL", type=_url)
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("--count", type=_count, metavar="N", help="end after N events (default: never)")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="for each event (default: none, no limit), and for subscribing (default: 30)",
    )


def _add_serve(commands: Any) -> None:
    parser = _add_command(commands, _serve, "serve a wsrpc.Server of a module until Ctrl-C, and print its URL")
    parser.add_argument(
        "server", metavar="MODULE:SERVER", type=_server, help="looked for in the current directory too: chat:server"
    )


def _url(text: str) -> str:
    try:
        parse_url(text)
    except InvalidURL as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _message(text: str) -> Any:
    """A method's name as it is; a whole message decoded."""
    return _decoded(text) if text.lstrip().startswith(("{", "[")) else text


def _params(text: str) -> Params:
    params = _decoded(sys.stdin.buffer.read() if text == "-" else text)
    if not isinstance(params, list | dict):
        raise argparse.ArgumentTypeError(f"must be a JSON array or object, such as [2, 3], not {text}")
    return params


def _decoded(text: str | bytes) -> Any:
    try:
        return codec.decode(text)
    except DecodeError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float | None:
    if text.lower() == "none":
        return None
    seconds = _number(float, text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds over 0, or none, not {text}")
    return seconds


def _count(text: str) -> int:
    count = int(_number(int, text))
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number over 0, not {text}")
    return count


def _number(kind: Callable[[str], float], text: str) -> float:
    """The number, or 0, which none of the options takes."""
    try:
        return kind(text)
    except ValueError:
        return 0


def _server(text: str) -> Server:
    server = _imported(text)
    if not isinstance(server, Server):
        raise argparse.ArgumentTypeError(f"{text} is a {type(server).__name__}, not a wsrpc.Server")
    return server


def _dialect(text: str) -> Dialect:
    name, colon, pairs = text.partition(":")
    if name in DIALECTS:
        return _built_in(name, pairs)
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DIALECTS)}, MODULE:NAME")
    dialect = _imported(text)
    if not isinstance(dialect, Dialect):
        raise argparse.ArgumentTypeError(f"{text} is a {type(dialect).__name__}, not a wsrpc.Dialect object")
    return dialect


def _built_in(name: str, pairs: str) -> Dialect:
    """A dialect of ours, from its arguments as text."""
    make = DIALECTS[name]
    parameters = {key: p for key, p in inspect.signature(make).parameters.items() if key not in NOT_AS_TEXT}
    given: dict[str, Any] = {}
    for pair in pairs.split(",") if pairs else []:
        key, value = _pair(name, pair, tuple(parameters))
        if key in given:
            raise argparse.ArgumentTypeError(f"{name}: {key} is given twice")
        given[key] = value
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in given:
            raise argparse.ArgumentTypeError(f"{name} needs {key}=…, as in {name}:{key}=req_id")
    try:
        return make(**given)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from error


def _pair(name: str, pair: str, known: tuple[str, ...]) -> tuple[str, Any]:
    """One `key=value`; an empty value is `None`."""
    key, equals, value = (part.strip() for part in pair.partition("="))
    if not equals:
        raise argparse.ArgumentTypeError(f"{name}: {pair!r} is no key=value")
    if key in NOT_AS_TEXT:
        raise argparse.ArgumentTypeError(f"{name}: {key} cannot be said here; make it in Python, and give MODULE:NAME")
    if key not in known:
        raise argparse.ArgumentTypeError(f"{name} has no {key!r}; it has {', '.join(known)}")
    return key, _flag(name, key, value) if key == "strict" else value or None


def _flag(name: str, key: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{name}: {key} is true or false, not {value!r}")
    return value.lower() == "true"


def _imported(text: str) -> Any:
    """The object that `MODULE:NAME` names; the current directory counts, as for `python -m`."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be MODULE:NAME, such as chat:server")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return reduce(getattr, path.split("."), _module(module))
    except AttributeError:
        raise argparse.ArgumentTypeError(f"module {module} has no {path}") from None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}.")):
            traceback.print_exc()
        raise argparse.ArgumentTypeError(f"cannot import {name}: {error}") from error


# What goes out


def _json(value: Any) -> bytes:
    return codec.encode(value, allow_nan=True)


def _write(value: Any) -> None:
    """A line of JSON, at once; bytes, since JSON is UTF-8 wherever it is printed (RFC 8259, section 8.1)."""
    if sys.stdout is not None:  # it is None where the shell closed it: `>&-`
        sys.stdout.buffer.write(_json(value) + b"\n")
        sys.stdout.flush()


def _described(error: RemoteError) -> dict[str, Any]:
    facts = {"code": error.code, "message": error.message, "data": error.data}
    return {"error": {name: fact for name, fact in facts.items() if fact is not None}}


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(arguments: argparse.Namespace, text: str) -> NoReturn:
    """End with the command's usage, and status 2."""
    arguments.refuse(text)
    raise AssertionError("argparse's error() returned")


def _flush() -> None:
    """Lead a stream that cannot be written nowhere: the interpreter flushes it again at exit, and would complain."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
