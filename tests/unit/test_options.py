import ssl

import pytest

from wsrpc.options import MIB, Options, check_positive, make_options

TIMES = ["open_timeout", "close_timeout", "ping_interval", "ping_timeout", "max_message_bytes"]
BOUNDS = ["max_queue", "max_buffered_bytes"]


def test_the_defaults_are_those_of_the_reference() -> None:
    options = Options()
    assert (options.open_timeout, options.close_timeout) == (10, 5)
    assert (options.ping_interval, options.ping_timeout) == (20, 20)
    assert (options.max_message_bytes, options.max_queue, options.max_buffered_bytes) == (64 * MIB, 1024, 16 * MIB)


@pytest.mark.parametrize("name", TIMES)
def test_none_lifts_a_limit(name: str) -> None:
    assert getattr(make_options({name: None}), name) is None


@pytest.mark.parametrize("name", BOUNDS)
def test_what_must_have_a_bound_refuses_none(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make_options({name: None})


@pytest.mark.parametrize("name", TIMES + BOUNDS)
@pytest.mark.parametrize("value", [0, -1, -0.5, float("nan")])
def test_zero_and_less_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be over 0"):
        make_options({name: value})


@pytest.mark.parametrize("name", TIMES + BOUNDS)
@pytest.mark.parametrize("value", ["5", True, [5]])
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a number"):
        make_options({name: value})


def test_an_unknown_option_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(TypeError, match=r"unknown option pingInterval, timeout; the options are .*ping_interval"):
        make_options({"timeout": 1, "pingInterval": 2})


def test_what_the_caller_named_goes_over_the_defaults_of_its_class() -> None:
    options = make_options({"max_queue": 5}, max_queue=7, max_message_bytes=16 * MIB)
    assert (options.max_queue, options.max_message_bytes) == (5, 16 * MIB)


def test_options_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Options().max_queue = 1  # type: ignore[misc]


def test_secrets_are_not_in_the_repr() -> None:
    options = make_options(
        {"auth": ("me", "secret"), "headers": {"X-Token": "secret"}, "cookies": {"sid": "secret"}},
    )
    assert "secret" not in repr(options)


def test_a_tls_context_is_kept_as_it_is() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert make_options({"ssl": context}).ssl is context


@pytest.mark.parametrize(("value", "none"), [(1, None), (0.001, None), (None, "no limit"), (float("inf"), None)])
def test_a_positive_number_passes(value: float | None, none: str | None) -> None:
    check_positive("timeout", value, none=none)


def test_the_error_says_what_none_means() -> None:
    with pytest.raises(ValueError, match=r"timeout must be over 0 \(None: no limit\), not 0"):
        check_positive("timeout", 0, none="no limit")
