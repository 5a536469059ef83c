import copy
import pickle

import pytest

from wsrpc import errors
from wsrpc.errors import WsrpcError

EXAMPLES: list[WsrpcError] = [
    errors.WsrpcError("text"),
    errors.ConnectError("text", address="h:80"),
    errors.HandshakeError("text", address="h:80", status=404, headers={"server": "x"}, body=b"no"),
    errors.InvalidURL("text"),
    errors.StateError("text"),
    errors.ConnectionClosed("text", code=1001, reason="bye", initiator="peer"),
    errors.ProtocolError("text", code=1007),
    errors.EncodeError("text", path="params.rows[3]"),
    errors.DecodeError("text", message=b"{"),
    errors.MessageTooBig("text", size=11, limit=10),
    errors.QueryError("text", method="add", id=7),
    errors.RemoteError("text", method="add", id="7", code=-32000, message="no", data=[1]),
    errors.QueryTimeout("text", method="add", id=7, elapsed=1.5, may_have_run=False),
    errors.QueryLost("text", method="add", id=7, may_have_run=False),
    errors.Overflow("text", topic="ticks", limit=10, dropped=3),
]

every_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def test_examples_leave_no_error_out() -> None:
    public = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, WsrpcError)}
    assert public == {type(error) for error in EXAMPLES}


@every_error
@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_copies_keep_text_and_attributes(error: WsrpcError, copied) -> None:
    again = copied(error)
    assert type(again) is type(error)
    assert str(again) == str(error) == "text"
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidURL, ValueError),
        (errors.StateError, RuntimeError),
        (errors.EncodeError, TypeError),
        (errors.DecodeError, ValueError),
        (errors.QueryTimeout, TimeoutError),
    ],
)
def test_errors_have_the_builtin_parent_a_reader_would_look_for(error: type, builtin: type) -> None:
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (errors.HandshakeError, errors.ConnectError),
        (errors.RemoteError, errors.QueryError),
        (errors.QueryTimeout, errors.QueryError),
        (errors.QueryLost, errors.QueryError),
    ],
)
def test_errors_form_the_documented_tree(error: type, parent: type) -> None:
    assert issubclass(error, parent)


@pytest.mark.parametrize("error", {type(error) for error in EXAMPLES}, ids=lambda error: error.__name__)
def test_a_text_is_all_an_error_needs(error: type[WsrpcError]) -> None:
    assert str(error("text")) == "text"


def test_a_closed_connection_without_close_frame_is_abnormal() -> None:
    assert errors.ConnectionClosed("text").code == 1006  # RFC 6455, section 7.1.5
    assert errors.ConnectionClosed("text").initiator == "network"


def test_headers_of_two_handshake_errors_are_not_one_mapping() -> None:
    first, second = errors.HandshakeError("one"), errors.HandshakeError("two")
    first.headers["server"] = "x"
    assert second.headers == {}
