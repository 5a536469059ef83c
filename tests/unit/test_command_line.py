"""The words of the command line, and what becomes of errors; the client is a double, so nothing is opened."""

from __future__ import annotations

import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wsrpc
from wsrpc import __main__ as command_line
from wsrpc import demo
from wsrpc.__main__ import main, make_parser
from wsrpc.dialects import METHOD, REFLECT_ID

URL = "ws://127.0.0.1:8765/"
REFLECT = "reflect:id=req_id,result=result,topic=channel"


def parsed(*words: str) -> Namespace:
    return make_parser().parse_args(words)


def usage_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of a command that is wrong."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: wsrpc")
    return err.splitlines()[-1]


class ClientDouble:
    """Answers with what was set, and keeps what it was made and asked with."""

    outcome: Any = None
    made: dict[str, Any]
    asked: tuple[Any, ...]

    def __init__(self, url: str, **options: Any) -> None:
        type(self).made = {"url": url, **options}

    def query(self, *asked: Any) -> Any:
        type(self).asked = asked
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def subscribe(self, topic: str, **options: Any) -> ClientDouble:
        return self

    def get(self, timeout: float | None) -> Any:
        return self.query(timeout)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[ClientDouble]:
    class Double(ClientDouble):
        pass

    monkeypatch.setattr(command_line, "Client", Double)
    return Double


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


# Words


def test_a_query_takes_a_method_and_its_params() -> None:
    arguments = parsed("query", URL, "add", "[2, 3]")
    assert (arguments.url, arguments.method, arguments.params) == (URL, "add", [2, 3])
    assert (arguments.timeout, arguments.dialect) == (30.0, None)


@pytest.mark.parametrize(
    ("text", "message"), [('{"type": "query users"}', {"type": "query users"}), (" [1, 2]", [1, 2]), ("a{b", "a{b")]
)
def test_a_method_may_be_a_whole_message(text: str, message: Any) -> None:
    assert parsed("query", URL, text).method == message


def test_params_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"text": "grüß"}'.encode())))
    assert parsed("query", URL, "log", "-").params == {"text": "grüß"}


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("3", 3.0), ("none", None), ("None", None)])
def test_a_timeout_is_in_seconds(text: str, seconds: float | None) -> None:
    assert parsed("query", URL, "add", "--timeout", text).timeout == seconds


def test_a_subscription_goes_on_without_limit_unless_told() -> None:
    arguments = parsed("subscribe", URL, "ticks")
    assert (arguments.topic, arguments.count, arguments.timeout) == ("ticks", None, None)
    assert parsed("subscribe", URL, "ticks", "--count", "3").count == 3


@pytest.mark.parametrize(
    "words", [("--dialect", REFLECT, "query", URL, "add"), ("query", "--dialect", REFLECT, URL, "add")]
)
def test_the_dialect_may_stand_before_and_after_the_command(words: tuple[str, ...]) -> None:
    assert isinstance(parsed(*words).dialect, wsrpc.Reflect)


@pytest.mark.parametrize("words", [("demo",), ("subscribe", URL, "ticks"), ("query", URL, "add")])
def test_every_command_takes_a_dialect(words: tuple[str, ...]) -> None:
    assert isinstance(parsed(*words, "--dialect", "jsonrpc").dialect, wsrpc.JSONRPC)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wsrpc {wsrpc.__version__}\n"


def test_help_lists_the_commands_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("demo", "query", "subscribe", "serve", "reflect:id=", "exit status", "130"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "required: COMMAND"),
        (("ask",), "invalid choice: 'ask'"),
        (("query", URL), "required: METHOD"),
        (("query", "ftp://x", "add"), "must begin with ws://"),
        (("query", f"{URL}#here", "add"), "no fragment"),
        (("query", URL, "add", "5"), "must be a JSON array or object, such as [2, 3], not 5"),
        (("query", URL, "add", "null"), "must be a JSON array or object"),
        (("query", URL, "add", "[2,"), "argument PARAMS: not JSON"),
        (("query", URL, "{2"), "argument METHOD: not JSON"),
        (("query", URL, '{"a": 1}', "[]"), "a whole message has its own"),
        (("query", URL, "[1]"), "a JSON-RPC request is an object"),
        (("query", URL, "add", "--time", "3"), "unrecognized arguments"),
        (("query", URL, "add", "--timeout", "0"), "over 0, or none, not 0"),
        (("query", URL, "add", "--timeout", "-1"), "over 0"),
        (("query", URL, "add", "--timeout", "inf"), "over 0"),
        (("query", URL, "add", "--timeout", "nan"), "over 0"),
        (("query", URL, "add", "--timeout", "soon"), "over 0"),
        (("subscribe", URL), "required: TOPIC"),
        (("subscribe", URL, "ticks", "--count", "0"), "a whole number over 0, not 0"),
        (("subscribe", URL, "ticks", "--count", "1.5"), "a whole number over 0"),
        (("demo", "--dialect", "reflect:id=x"), "the demo needs a dialect with results, errors and topics"),
        (("serve", "chat"), "must be MODULE:NAME, such as chat:server"),
        (("serve", ":server"), "must be MODULE:NAME"),
        (("serve", "no_such_module:server"), "cannot import no_such_module"),
        (("serve", "json:dumps"), "json:dumps is a function, not a wsrpc.Server"),
        (("serve", "json:nothing.there"), "module json has no nothing.there"),
    ],
)
def test_a_mistake_gets_a_clear_word_and_status_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in usage_error(capsys, *words)


# Dialects


def test_reflect_takes_its_arguments_as_pairs() -> None:
    dialect = parsed("demo", "--dialect", f"{REFLECT},ids=str, strict=true").dialect
    assert dialect.stamp({"a": 1}) == {"a": 1, "req_id": REFLECT_ID}
    assert dialect.read({"req_id": "7", "result": 5}) == wsrpc.Answer("7", 5)
    assert dialect.read({"channel": "ticks"}) == wsrpc.Push("ticks", {"channel": "ticks"})
    assert (dialect.new_id(7), dialect.strict) == ("7", True)


def test_jsonrpc_takes_arguments_too_and_an_empty_one_is_none() -> None:
    dialect = parsed("demo", "--dialect", "jsonrpc:subscribe=join,unsubscribe=").dialect
    assert dialect.subscribing("ticks") == ("join", ["ticks"])
    assert dialect.unsubscribing("ticks") is None


def test_a_dialect_of_a_module_in_the_current_directory(here: Path) -> None:
    (here / "house_dialect.py").write_text("import wsrpc\nclass ours:\n    echo = wsrpc.Reflect(id='seq')\n")
    assert repr(parsed("demo", "--dialect", "house_dialect:ours.echo").dialect) == "Reflect(id='seq')"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("soap", "'soap' is none of jsonrpc, reflect, MODULE:NAME"),
        ("reflect", "reflect needs id="),
        ("reflect:", "reflect needs id="),
        ("reflect:result=x", "reflect needs id="),
        ("reflect:id", "reflect: 'id' is no key=value"),
        ("reflect:id=x,,result=y", "'' is no key=value"),
        ("reflect:id=x,id=y", "id is given twice"),
        ("reflect:id=x,colour=red", "reflect has no 'colour'; it has id, echo, result"),
        ("reflect:id=x,request=y", "give MODULE:NAME"),
        ("reflect:id=a..b", "a step is empty"),
        ("reflect:id=", "a path is"),
        ("reflect:id=x,ids=float", "ids must be 'int', 'str' or 'uuid'"),
        ("reflect:id=x,strict=maybe", "strict is true or false, not 'maybe'"),
        ("jsonrpc:id=x", "jsonrpc has no 'id'"),
        ("json:dumps", "json:dumps is a function, not a wsrpc.Dialect object"),
        ("no_such_module:x", "cannot import no_such_module"),
    ],
)
def test_a_bad_dialect_gets_a_clear_word(capsys: pytest.CaptureFixture[str], text: str, complaint: str) -> None:
    assert complaint in usage_error(capsys, "query", URL, "add", "--dialect", text)


@pytest.mark.parametrize(
    ("source", "last"),
    [("1 / 0", "division by zero"), ("import no_such_module", "No module named 'no_such_module'")],
)
def test_a_module_that_fails_shows_where(
    capsys: pytest.CaptureFixture[str], here: Path, source: str, last: str
) -> None:
    (here / "failing_module.py").write_text(source)
    assert main(["serve", "failing_module:server"]) == 2
    err = capsys.readouterr().err
    assert f'failing_module.py", line 1, in <module>\n    {source}' in err
    assert err.endswith(f"argument MODULE:SERVER: cannot import failing_module: {last}\n")


# Outcomes


def test_a_result_is_a_line_of_json(client: type[ClientDouble], capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = {"text": "grüß", "n": [1, None]}
    assert main(["query", URL, "add", "[2]", "--timeout", "5"]) == 0
    assert capsys.readouterr() == ('{"text":"grüß","n":[1,null]}\n', "")
    assert client.asked == ("add", [2])
    assert client.made["timeout"] == 5.0


def test_events_are_lines_of_json(client: type[ClientDouble], capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = {"price": 1.0}
    assert main(["subscribe", URL, "ticks", "--count", "2"]) == 0
    assert capsys.readouterr() == ('{"price":1.0}\n' * 2, "")


def test_an_error_answer_is_a_line_of_json_on_stderr(
    client: type[ClientDouble], capsys: pytest.CaptureFixture[str]
) -> None:
    client.outcome = wsrpc.RemoteError("no", code=-32601, message="Method not found")
    assert main(["query", URL, "add"]) == 1
    out, err = capsys.readouterr()
    assert (out, json.loads(err)) == ("", {"error": {"code": -32601, "message": "Method not found"}})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (wsrpc.ConnectError("nothing listens"), 3),
        (wsrpc.HandshakeError("404", status=404), 3),
        (wsrpc.ConnectionClosed("gone"), 3),
        (wsrpc.QueryLost("lost"), 3),
        (wsrpc.QueryTimeout("no answer"), 3),
        (wsrpc.Overflow("too slow"), 3),
        (TimeoutError("no event"), 3),
        (OSError(28, "No space left on device"), 3),
        (wsrpc.EncodeError("cannot encode"), 2),
        (wsrpc.StateError("it runs already"), 2),
    ],
)
def test_errors_have_their_status(
    client: type[ClientDouble], capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    client.outcome = error
    assert main(["query", URL, "add"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert "Errno" not in err
    assert err.splitlines()[-1].endswith(str(error).removeprefix("[Errno 28] "))
    assert err.startswith("wsrpc: ") or status == 2


def test_ctrl_c_ends_quietly(client: type[ClientDouble], capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = KeyboardInterrupt()
    assert main(["query", URL, "add"]) == 130
    assert capsys.readouterr() == ("", "")


def test_without_stdout_the_outcome_still_counts(client: type[ClientDouble], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["query", URL, "add"]) == 0


# The demo


@pytest.mark.parametrize(
    ("dialect", "suits"),
    [
        (wsrpc.JSONRPC(), True),
        (wsrpc.Reflect(id="req_id", result="result", error="error", topic="channel"), True),
        (wsrpc.Reflect(id="req_id", result="result", error="error"), False),
        (wsrpc.Reflect(id="req_id", result="result", topic="channel"), False),
        (wsrpc.Reflect(id="req_id", error="error", topic="channel"), False),
        (wsrpc.Reflect(id="req_id", result="result", error="error", topic="channel", request={"do": METHOD}), False),
        (wsrpc.Dialect(), False),
    ],
)
def test_the_demo_knows_which_dialects_suit_it(dialect: wsrpc.Dialect, suits: bool) -> None:
    assert demo.suits(dialect) is suits


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "styled"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),  # https://no-color.org: "not an empty string"
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_only_a_terminal_gets_escape_codes(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, environment: dict[str, str], styled: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    demo.Screen().line("hello", "bold")
    assert stream.getvalue() == ("\x1b[1mhello\x1b[0m\n" if styled else "hello\n")
