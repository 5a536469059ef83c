"""The client, against servers that are not ours: ask, and get the answer, while pushes keep arriving."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

import wsrpc
from wsrpc import UNMATCHED, Client, Reflect

from .conftest import Authority
from .peers import (
    SILENCE,
    Peer,
    RawServer,
    Recorder,
    RemoteFault,
    Wire,
    answer,
    close,
    echo,
    in_threads,
    push,
    requests,
    rpc,
    send_json,
    text,
    wait,
)

Serve = Callable[..., Peer]
Raw = Callable[..., RawServer]
Connect = Callable[..., Client]

LIMIT = 20.0


def add(connection: ServerConnection, request: dict[str, Any]) -> Any:
    params = request["params"]
    return params["a"] + params["b"] if isinstance(params, dict) else sum(params)


def params_sent(connection: ServerConnection, request: dict[str, Any]) -> Any:
    return request.get("params", "none at all")


class Gate:
    """A method that answers once `open` was called; `asked` is set when it was."""

    def __init__(self) -> None:
        self.asked, self._open = threading.Event(), threading.Event()

    def __call__(self, connection: ServerConnection, request: dict[str, Any]) -> Any:
        self.asked.set()
        wait(self._open)
        return request.get("params")

    def open(self) -> None:
        self._open.set()


class LateAnswers:
    """`hold` answers nothing; `release` answers all that was held, then itself."""

    def __init__(self) -> None:
        self.held: list[dict[str, Any]] = []
        self.asked = Recorder()

    def hold(self, connection: ServerConnection, request: dict[str, Any]) -> Any:
        self.held.append(request)
        self.asked(request["id"])
        return SILENCE

    def release(self, connection: ServerConnection, request: dict[str, Any]) -> Any:
        for held in self.held:
            answer(connection, held, "late")
        return "released"

    @property
    def handler(self) -> Callable[[ServerConnection], None]:
        return rpc(hold=self.hold, release=self.release)  # type: ignore[return-value]


# Asking


def test_making_a_client_does_no_io(closed_port: int) -> None:
    client = Client(f"ws://127.0.0.1:{closed_port}/")
    assert client.state == "idle"
    client.close()


def test_a_query_returns_the_result(serve: Serve) -> None:
    with Client(serve(rpc(add=add)).url) as client:
        assert client.state == "open"
        assert client.query("add", [2, 3]) == 5
        assert client.query("add", {"a": 2, "b": 3}) == 5
    assert client.state == "closed"


def test_the_first_use_connects(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc(add=add)).url)
    assert client.query("add", [2, 3]) == 5
    assert client.state == "open"


def test_query_works_over_tls(serve: Serve, connect: Connect, authority: Authority) -> None:
    peer = serve(rpc(add=add), ssl=authority.server)
    client = connect(f"wss://localhost:{peer.port}/", ssl=authority.client)
    assert client.query("add", [2, 3]) == 5
    assert client.query("echo", ["x" * 3_000_000]) == ["x" * 3_000_000]


@pytest.mark.parametrize(
    ("params", "seen"),
    [(None, "none at all"), ([], []), ({}, {}), ([1, [2]], [1, [2]]), ((1, 2), [1, 2]), ({"a": None}, {"a": None})],
)
def test_params_are_a_list_or_a_mapping_or_left_out(serve: Serve, connect: Connect, params: Any, seen: Any) -> None:
    assert connect(serve(rpc(what=params_sent)).url).query("what", params) == seen


@pytest.mark.parametrize(("message", "params"), [(7, None), ("what", "text"), ("what", 7), ({"method": "what"}, [1])])
def test_what_is_no_query_raises_type_error(serve: Serve, connect: Connect, message: Any, params: Any) -> None:
    client = connect(serve(rpc(what=params_sent)).url)
    with pytest.raises(TypeError):
        client.query(message, params)
    assert client.query("what") == "none at all"


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_of_nothing_raises_value_error(serve: Serve, connect: Connect, timeout: float) -> None:
    client = connect(serve(rpc()).url)
    for ask in (client.query, client.submit, client.notify):
        with pytest.raises(ValueError, match="over 0"):
            ask("echo", timeout=timeout)


def test_api_spells_queries_as_calls(serve: Serve, connect: Connect) -> None:
    def navigate(connection: ServerConnection, request: dict[str, Any]) -> Any:
        return [request["method"], request["params"]]

    client = connect(serve(rpc(add=add, what=params_sent, Page__navigate=navigate)).url)
    assert client.api.add(2, 3) == 5
    assert client.api.add(a=2, b=3) == 5
    assert client.api.what() == "none at all"
    assert client.api.Page.navigate(url="https://page.example") == ["Page.navigate", {"url": "https://page.example"}]
    with pytest.raises(TypeError, match="not both"):
        client.api.add(2, b=3)
    with pytest.raises(AttributeError):
        _ = client.api._repr_html_


def test_a_whole_message_is_stamped_with_the_reflect_id(serve: Serve, connect: Connect) -> None:
    def reflecting(connection: ServerConnection) -> None:
        for message in requests(connection):
            connection.send(json.dumps({**message, "users": ["ada", "grace"]}))

    client = connect(serve(reflecting).url, dialect=Reflect(id="meta.req_id"))
    message = {"type": "query users", "meta": {"v": 1}}
    assert client.query(message) == {
        "type": "query users",
        "meta": {"v": 1, "req_id": 1},
        "users": ["ada", "grace"],
    }
    assert message == {"type": "query users", "meta": {"v": 1}}, "the caller's message is left as it was"


def test_reflect_takes_a_result_and_topics_from_paths(serve: Serve, connect: Connect) -> None:
    def endpoint(connection: ServerConnection) -> None:
        for message in requests(connection):
            send_json(connection, {"channel": "room", "text": "hi"})
            send_json(connection, {"req_id": message["req_id"], "result": message["params"]})

    client = connect(serve(endpoint).url, dialect=Reflect(id="req_id", result="result", error="error", topic="channel"))
    room = client.subscribe("room")
    assert client.query("users", [1]) == [1]
    assert room.get() == {"channel": "room", "text": "hi"}


def test_an_array_dialect_works(serve: Serve, connect: Connect) -> None:
    def ocpp(connection: ServerConnection) -> None:
        for kind, number, method, params in requests(connection):
            assert kind == 2
            send_json(connection, [3, number, {"did": method, "with": params}])

    dialect = Reflect(id=1, request=[2, wsrpc.ID, wsrpc.METHOD, wsrpc.PARAMS], result=2, ids="str")
    client = connect(serve(ocpp).url, dialect=dialect)
    assert client.query("BootNotification", {"model": "x"}) == {"did": "BootNotification", "with": {"model": "x"}}


def test_reflect_ids_count_up_from_1_in_the_order_on_the_wire(serve: Serve, connect: Connect) -> None:
    seen: list[int] = []

    def note(connection: ServerConnection, request: dict[str, Any]) -> None:
        seen.append(request["id"])

    client = connect(serve(rpc(note=note)).url)
    in_threads(*[lambda: [client.query("note") for _ in range(50)]] * 6)
    assert seen == list(range(1, 301))


def test_a_notification_has_no_id_and_gets_no_answer(serve: Serve, connect: Connect) -> None:
    seen = Recorder()

    def log(connection: ServerConnection, request: dict[str, Any]) -> None:
        seen(request)

    client = connect(serve(rpc(log=log)).url)
    client.notify("log", {"text": "no answer wanted"})
    assert client.query("echo", [1]) == [1]
    assert seen.items == [{"jsonrpc": "2.0", "method": "log", "params": {"text": "no answer wanted"}}]
    assert client.stats().in_flight == 0


def test_eight_threads_of_500_queries_get_each_their_own_answers(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)

    def ask(name: int) -> Callable[[], None]:
        def run() -> None:
            for n in range(500):
                assert client.query("echo", [name, n]) == [name, n]

        return run

    in_threads(*(ask(name) for name in range(8)))
    stats = client.stats()
    assert (stats.sent, stats.matched, stats.in_flight, stats.late, stats.unmatched) == (4000, 4000, 0, 0, 0)


def test_answers_in_any_order_go_to_their_own_queries(serve: Serve, connect: Connect) -> None:
    def backwards(connection: ServerConnection) -> None:
        held = []
        for request in requests(connection):
            held.append(request)
            if len(held) == 20:
                for late in reversed(held):
                    answer(connection, late, late["params"])
                held.clear()

    client = connect(serve(backwards).url)
    replies = [client.submit("echo", [n]) for n in range(100)]
    assert [reply.result(LIMIT) for reply in replies] == [[n] for n in range(100)]


def test_answers_come_through_while_pushes_keep_arriving(serve: Serve, connect: Connect) -> None:
    def noisy(connection: ServerConnection) -> None:
        for request in requests(connection):
            for n in range(50):
                push(connection, "noise", [n])
            answer(connection, request, request["params"])
            for n in range(50):
                push(connection, "noise", [n])

    client = connect(serve(noisy).url)
    for n in range(40):
        assert client.query("echo", [n]) == [n]
    assert client.stats().unmatched >= 39 * 100 + 50


def test_a_batch_of_answers_settles_each_query(serve: Serve, connect: Connect) -> None:
    def batching(connection: ServerConnection) -> None:
        held = []
        for request in requests(connection):
            held.append({"jsonrpc": "2.0", "id": request["id"], "result": request["params"]})
            if len(held) == 3:
                send_json(connection, [*held, {"jsonrpc": "2.0", "method": "tick", "params": [7]}])

    client = connect(serve(batching).url, dialect=wsrpc.JSONRPC(subscribe=None))
    ticks = client.subscribe("tick")
    replies = [client.submit("echo", [n]) for n in range(3)]
    assert [reply.result(LIMIT) for reply in replies] == [[0], [1], [2]]
    assert ticks.get() == 7


@pytest.mark.parametrize("size", [10, 200, 70_000, 5_000_000])
def test_queries_of_every_size_are_answered(serve: Serve, connect: Connect, size: int) -> None:
    params = ["x" * size]
    assert connect(serve(rpc()).url).query("echo", params) == params


def test_many_big_queries_from_many_threads_with_a_small_send_buffer(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url, max_buffered_bytes=100_000)

    def ask(name: int) -> Callable[[], None]:
        def run() -> None:
            for n in range(8):
                params = [name, n, "x" * 400_000]
                assert client.query("echo", params) == params

        return run

    in_threads(*(ask(name) for name in range(6)))


def test_a_query_waits_for_room_in_the_send_buffer_within_its_timeout(raw_server: Raw, connect: Connect) -> None:
    read = threading.Event()
    seen: list[int] = []

    def script(wire: Wire) -> None:
        wire.accept()
        wait(read)
        while (request := wire.read_request())["method"] != "last":
            seen.append(request["id"])
        wire.send(text({"jsonrpc": "2.0", "id": request["id"], "result": request["id"]}))
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(script).url, max_buffered_bytes=10_000)
    client.wait_open()
    big = ["x" * 30_000_000]  # more than the system's own buffers take
    client.submit("big", big, timeout=None)
    with pytest.raises(wsrpc.QueryTimeout) as raised:
        client.query("does not fit", timeout=0.1)
    assert (raised.value.may_have_run, raised.value.id) == (False, None)
    with pytest.raises(wsrpc.QueryTimeout):
        client.submit("does not fit either", timeout=0.1)
    with pytest.raises(TimeoutError):
        client.notify("nor does this", timeout=0.1)
    assert client.stats().sent == 1
    read.set()
    assert client.query("last", timeout=LIMIT) == 2, "what timed out took no id"
    assert seen == [1]


# Replies


def test_a_reply_is_a_future_with_times(serve: Serve, connect: Connect) -> None:
    gate = Gate()
    client = connect(serve(rpc(gate=gate)).url)
    before = time.time()
    reply = client.submit("gate", [1])
    wait(gate.asked)
    assert isinstance(reply, concurrent.futures.Future)
    assert reply.id == 1
    assert not reply.done()
    with pytest.raises(TimeoutError):
        reply.result(0)
    with pytest.raises(TimeoutError):
        reply.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        reply.exception(timeout=0.01)
    gate.open()
    assert reply.result(LIMIT) == [1]
    assert reply.exception() is None
    assert reply.sent_at is not None
    assert before - 1 <= reply.sent_at <= time.time() + 1
    elapsed = reply.elapsed
    assert elapsed > 0
    assert reply.elapsed == elapsed, "the clock stands once it is settled"


def test_submit_does_not_wait_for_the_connection(raw_server: Raw, connect: Connect) -> None:
    accept = threading.Event()

    def script(wire: Wire) -> None:
        wait(accept)
        wire.accept()
        for _ in range(3):
            wire.answer("hello")
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(script).url)
    replies = [client.submit("hello") for _ in range(3)]
    assert client.state == "connecting"
    assert [reply.id for reply in replies] == [None] * 3
    assert [reply.elapsed for reply in replies] == [0.0] * 3
    accept.set()
    assert [reply.result(LIMIT) for reply in replies] == ["hello"] * 3
    assert [reply.id for reply in replies] == [1, 2, 3]


def test_wait_and_as_completed_work_on_replies(serve: Serve, connect: Connect) -> None:
    gate = Gate()
    slow, quick = connect(serve(rpc(gate=gate)).url), connect(serve(rpc()).url)
    held = slow.submit("gate", [1])
    replies = {quick.submit("echo", [n]): n for n in range(20)}
    for reply in concurrent.futures.as_completed(replies, timeout=LIMIT):
        assert reply.result() == [replies[reply]]  # type: ignore[index]
    done, waiting = concurrent.futures.wait(
        [held, *replies], timeout=LIMIT, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert waiting == {held}
    gate.open()
    assert concurrent.futures.wait([held], timeout=LIMIT).done == {held}
    assert done == set(replies)


def test_asyncio_wrap_future_works_on_replies(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)

    async def ask() -> list[Any]:
        futures = [asyncio.wrap_future(client.submit("echo", [n])) for n in range(20)]
        return await asyncio.wait_for(asyncio.gather(*futures), LIMIT)

    assert asyncio.run(ask()) == [[n] for n in range(20)]


def test_done_callbacks_run_on_the_callback_thread(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(rpc()).url)

    def done(reply: Any) -> None:
        recorder(threading.current_thread().name, reply.result(), client.query("echo", ["from a callback"]))

    reply = client.submit("echo", [1])
    reply.add_done_callback(done)
    [(name, result, answer)] = recorder.wait(1)
    assert name.startswith("wsrpc-callback")
    assert (result, answer) == ([1], ["from a callback"])
    reply.add_done_callback(done)  # settled already
    assert recorder.wait(2)[1][0].startswith("wsrpc-callback")


def test_a_done_callback_that_raises_is_logged_and_the_others_run(
    serve: Serve, connect: Connect, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    client = connect(serve(rpc(gate=gate)).url)
    reply = client.submit("gate")

    def fails(reply: Any) -> None:
        raise ValueError("mine")

    reply.add_done_callback(fails)
    reply.add_done_callback(recorder)
    gate.open()
    assert recorder.wait(1) == [reply]
    assert any(record.exc_info and "mine" in str(record.exc_info[1]) for record in caplog.records)


def test_cancel_settles_at_once_and_the_late_answer_is_dropped(serve: Serve, connect: Connect) -> None:
    late = LateAnswers()
    client = connect(serve(late.handler).url)
    unmatched = client.subscribe(UNMATCHED)
    reply = client.submit("hold")
    late.asked.wait(1)
    assert reply.cancel()
    assert reply.cancelled()
    assert reply.cancel(), "cancelling twice is fine"
    assert client.stats().in_flight == 0
    with pytest.raises(concurrent.futures.CancelledError):
        reply.result()
    assert client.query("release") == "released"
    assert client.stats().late == 1
    assert unmatched.pending == 0


def test_cancel_wakes_whoever_waits(serve: Serve, connect: Connect) -> None:
    late = LateAnswers()
    client = connect(serve(late.handler).url)
    reply = client.submit("hold", timeout=None)

    def waits() -> None:
        with pytest.raises(concurrent.futures.CancelledError):
            reply.result()

    def cancels() -> None:
        late.asked.wait(1)
        assert reply.cancel()

    in_threads(waits, waits, cancels)
    assert concurrent.futures.wait([reply], timeout=LIMIT).done == {reply}


def test_a_settled_reply_cannot_be_cancelled(serve: Serve, connect: Connect) -> None:
    reply = connect(serve(rpc()).url).submit("echo", [1])
    reply.result(LIMIT)
    assert not reply.cancel()
    assert reply.result() == [1]


def test_cancel_races_with_the_answer_and_one_of_them_wins(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    for n in range(500):
        reply = client.submit("echo", [n])
        if n % 2:
            client.query("echo", [0])
        if reply.cancel():
            with pytest.raises(concurrent.futures.CancelledError):
                reply.result()
        else:
            assert reply.result(LIMIT) == [n]
    assert client.stats().in_flight == 0


def test_a_cancelled_reply_that_was_not_written_is_never_sent(raw_server: Raw, connect: Connect) -> None:
    accept, seen = threading.Event(), []

    def script(wire: Wire) -> None:
        wait(accept)
        wire.accept()
        request = wire.read_request()
        seen.append(request["method"])
        wire.send(text({"jsonrpc": "2.0", "id": request["id"], "result": "hello"}))
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(script).url)
    reply = client.submit("unwanted")
    assert reply.cancel()
    accept.set()
    assert client.query("hello") == "hello"
    assert seen == ["hello"]


def test_a_query_times_out_with_query_timeout(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    with pytest.raises(wsrpc.QueryTimeout) as raised:
        client.query("silent", timeout=0.05)
    error = raised.value
    assert isinstance(error, TimeoutError)
    assert (error.method, error.id, error.may_have_run) == ("silent", 1, True)
    assert error.elapsed > 0
    assert client.query("echo", [1]) == [1]


def test_the_clients_timeout_counts_where_none_is_given(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url, timeout=0.2)
    with pytest.raises(wsrpc.QueryTimeout):
        client.query("silent")
    with pytest.raises(wsrpc.QueryTimeout):
        client.submit("silent").result()


def test_a_submitted_query_times_out_though_nobody_waits(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(rpc()).url)
    for timeout in (0.3, 0.1, 0.2):
        client.submit("silent", timeout=timeout).add_done_callback(recorder)
    replies = recorder.wait(3)
    assert [reply.id for reply in replies] == [2, 3, 1]
    assert all(isinstance(reply.exception(), wsrpc.QueryTimeout) for reply in replies)
    assert client.stats().in_flight == 0


def test_a_query_times_out_while_connecting(raw_server: Raw, connect: Connect) -> None:
    def silent(wire: Wire) -> None:
        wire.read_until_end()

    client = connect(raw_server(silent).url)
    with pytest.raises(wsrpc.QueryTimeout) as raised:
        client.query("hello", timeout=0.1)
    assert (raised.value.may_have_run, raised.value.id) == (False, None)
    with pytest.raises(wsrpc.QueryTimeout):
        client.submit("hello", timeout=0.1).result(LIMIT)
    with pytest.raises(TimeoutError):
        client.wait_open(0.1)
    with pytest.raises(TimeoutError):
        client.notify("hello", timeout=0.1)


# Subscriptions


def test_a_callback_gets_the_events_in_order_on_the_callback_thread(
    serve: Serve, connect: Connect, recorder: Recorder
) -> None:
    client = connect(serve(rpc()).url)
    names = set()

    def callback(event: Any) -> None:
        names.add(threading.current_thread().name)
        recorder(event)

    subscription = client.subscribe("ticks", callback)
    client.query("push", ["ticks", [[n] for n in range(500)]])
    assert recorder.wait(500) == list(range(500))
    assert len(names) == 1
    assert names.pop().startswith("wsrpc-callback")
    assert (subscription.received, subscription.dropped, subscription.pending) == (500, 0, 0)
    with pytest.raises(wsrpc.StateError):
        subscription.get(0)


def test_a_subscription_without_a_callback_is_iterated(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks")
    client.query("push", ["ticks", [{"n": n} for n in range(5)]])
    assert [event["n"] for _, event in zip(range(5), subscription, strict=False)] == list(range(5))


def test_unsubscribe_ends_the_iteration_after_what_waits(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks")
    client.query("push", ["ticks", [[1], [2]]])
    subscription.unsubscribe()
    client.query("push", ["ticks", [[3]]])
    assert list(subscription) == [1, 2]
    with pytest.raises(wsrpc.ConnectionClosed, match="unsubscribe"):
        subscription.get(0)
    subscription.unsubscribe()


def test_close_ends_an_iteration_that_waits(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks")
    events: list[Any] = []
    first = threading.Event()

    def iterate() -> None:
        for event in subscription:
            events.append(event)
            first.set()

    def closes() -> None:
        client.query("push", ["ticks", [[1]]])
        wait(first)
        client.close()

    in_threads(iterate, closes)
    assert events == [1]


def test_get_waits_and_polls(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url, timeout=0.3)
    subscription = client.subscribe("ticks")
    for timeout in (0, -1, 0.01):
        with pytest.raises(TimeoutError):
            subscription.get(timeout)
    with pytest.raises(TimeoutError):
        subscription.get()
    client.query("push", ["ticks", [[1]]])
    assert subscription.get(0) == 1


def test_several_subscriptions_of_a_topic_get_each_event(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    with client.subscribe("ticks") as first, client.subscribe("ticks") as second, client.subscribe("tocks") as other:
        client.query("push", ["ticks", [[1]]])
        assert (first.get(), second.get()) == (1, 1)
        assert other.pending == 0


def test_several_threads_share_the_events_of_a_subscription(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks")
    taken = Recorder()

    def consume() -> None:
        for event in subscription:
            taken(event)

    def produce() -> None:
        client.query("push", ["ticks", [[n] for n in range(300)]])
        taken.wait(300)
        subscription.unsubscribe()

    in_threads(consume, consume, consume, produce)
    assert sorted(taken.items) == list(range(300))


def test_decode_runs_where_the_event_is_consumed(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    threads = []

    def decode(event: Any) -> Any:
        threads.append(threading.current_thread())
        return event * 2

    subscription = client.subscribe("ticks", decode=decode)
    client.query("push", ["ticks", [[21]]])
    assert subscription.get() == 42
    assert threads == [threading.current_thread()]


def told(log: Recorder) -> Callable[[ServerConnection], None]:
    """An endpoint that knows `rpc.on` and `rpc.off`."""

    def note(connection: ServerConnection, request: dict[str, Any]) -> bool:
        log(request["method"], *request["params"])
        if request["params"] == ["secret"]:
            raise RemoteFault(-32001, "not for you")
        return True

    return rpc(rpc__on=note, rpc__off=note)  # type: ignore[return-value]


def test_the_endpoint_is_told_at_the_first_subscription_and_the_last_unsubscription(
    serve: Serve, connect: Connect, recorder: Recorder
) -> None:
    client = connect(serve(told(recorder)).url)
    first = client.subscribe("ticks")
    second = client.subscribe("ticks")
    first.unsubscribe()
    assert recorder.items == [("rpc.on", "ticks")]
    second.unsubscribe()
    assert recorder.items == [("rpc.on", "ticks"), ("rpc.off", "ticks")]
    client.subscribe("ticks")
    assert recorder.items[2:] == [("rpc.on", "ticks")]


def test_a_topic_that_the_endpoint_refuses_raises(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(told(recorder)).url)
    for _ in range(2):
        with pytest.raises(wsrpc.RemoteError, match="not for you"):
            client.subscribe("secret")
    assert recorder.items == [("rpc.on", "secret")] * 2
    assert "subscriptions=0" in repr(client)


def test_an_endpoint_without_rpc_on_keeps_the_subscription_local(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    with client.subscribe("ticks") as subscription:
        client.query("push", ["ticks", [[1]]])
        assert subscription.get() == 1


def test_reflect_tells_the_endpoint_nothing_of_subscriptions(serve: Serve, connect: Connect) -> None:
    seen: list[Any] = []

    def endpoint(connection: ServerConnection) -> None:
        for message in requests(connection):
            seen.append(message["method"])
            send_json(connection, message)

    client = connect(serve(endpoint).url, dialect=Reflect(id="id", topic="channel"))
    client.subscribe("room").unsubscribe()
    client.query("only this")
    assert seen == ["only this"]


def test_events_of_other_topics_and_odd_messages_go_to_unmatched(serve: Serve, connect: Connect) -> None:
    def odd(connection: ServerConnection, request: dict[str, Any]) -> None:
        push(connection, "unknown", [1])
        push(connection, "ticks", [2])
        send_json(connection, {"jsonrpc": "2.0", "id": 999, "result": "whose?"})
        send_json(connection, "just text")
        send_json(connection, None)
        send_json(connection, [])

    client = connect(serve(rpc(odd=odd)).url)
    unmatched, ticks = client.subscribe(UNMATCHED), client.subscribe("ticks")
    client.query("odd")
    assert [unmatched.get() for _ in range(5)] == [
        {"jsonrpc": "2.0", "method": "unknown", "params": [1]},
        {"jsonrpc": "2.0", "id": 999, "result": "whose?"},
        "just text",
        None,
        [],
    ]
    assert ticks.get() == 2
    assert unmatched.pending == ticks.pending == 0
    assert client.stats().unmatched == 5


@pytest.mark.parametrize(
    ("overflow", "kept", "dropped"),
    [
        ("drop_oldest", [7, 8, 9], 7),
        ("drop_newest", [0, 1, 2], 7),
        ("latest", [9], 9),
    ],
)
def test_overflow_policies_that_drop(
    serve: Serve, connect: Connect, overflow: str, kept: list[int], dropped: int
) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks", buffer=3, overflow=overflow)
    client.query("push", ["ticks", [[n] for n in range(10)]])
    assert (subscription.received, subscription.dropped, subscription.pending) == (10, dropped, len(kept))
    assert [subscription.get() for _ in kept] == kept
    client.query("push", ["ticks", [[10]]])
    assert subscription.get() == 10


def test_overflow_error_drains_then_raises_and_ends(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(told(recorder)).url)
    subscription = client.subscribe("ticks", buffer=3, overflow="error")
    client.query("push", ["ticks", [[n] for n in range(10)]])
    assert [subscription.get() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(wsrpc.Overflow) as raised:
        subscription.get()
    assert (raised.value.topic, raised.value.limit) == ("ticks", 3)
    with pytest.raises(wsrpc.Overflow):
        next(subscription)
    recorder.wait_for(("rpc.off", "ticks"))
    with client.subscribe("ticks") as again:
        client.query("push", ["ticks", [[1]]])
        assert again.get() == 1


def test_overflow_block_stops_reading_and_loses_nothing(raw_server: Raw, connect: Connect) -> None:
    stuck = threading.Event()
    sent: list[int] = []
    count = 3000
    events = b"".join(text({"jsonrpc": "2.0", "method": "ticks", "params": [n, "x" * 20_000]}) for n in range(count))

    def script(wire: Wire) -> None:
        wire.accept()
        wire.answer("subscribed")
        sent.append(wire.send_until_stuck(events))
        stuck.set()
        wire.send(events[sent[0] :])
        wire.answer(None)  # rpc.off
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(script).url)
    with client.subscribe("ticks", buffer=10, overflow="block") as subscription:
        wait(stuck)
        assert sent[0] < len(events)
        assert subscription.pending == 10
        assert [subscription.get()[0] for _ in range(count)] == list(range(count))
        assert (subscription.received, subscription.dropped) == (count, 0)


def test_overflow_block_with_a_callback_loses_nothing(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    go_on = threading.Event()

    def slow(event: Any) -> None:
        wait(go_on)
        recorder(event)

    client = connect(serve(rpc()).url)
    client.subscribe("ticks", slow, buffer=2, overflow="block")
    reply = client.submit("push", ["ticks", [[n] for n in range(200)]], timeout=None)
    go_on.set()
    assert recorder.wait(200) == list(range(200))
    assert reply.result(LIMIT) == 200


def test_a_slow_subscriber_does_not_delay_answers(serve: Serve, connect: Connect) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow(event: Any) -> None:
        begun.set()
        wait(go_on)

    client = connect(serve(rpc()).url)
    client.subscribe("ticks", slow, buffer=2)
    client.query("push", ["ticks", [[n] for n in range(100)]])
    wait(begun)
    assert client.query("echo", [1]) == [1]
    go_on.set()


@pytest.mark.parametrize("how", ["query", "submit"])
def test_the_consumer_of_a_full_block_inbox_gets_overflow_instead_of_waiting_for_ever(
    serve: Serve, connect: Connect, how: str
) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks", buffer=4, overflow="block")
    filling = client.submit("push", ["ticks", [[n] for n in range(100)]], timeout=None)
    assert subscription.get() == 0

    def ask() -> None:
        for _ in range(1000):  # the first ones may still be answered before the inbox is full
            if how == "query":
                client.query("echo", [1], timeout=None)
            else:
                client.submit("echo", [1], timeout=None).result()

    with pytest.raises(wsrpc.Overflow) as raised:
        ask()
    assert (raised.value.topic, raised.value.limit) == ("ticks", 4)
    assert [subscription.get() for _ in range(99)] == list(range(1, 100))
    assert filling.result(LIMIT) == 100
    assert client.query("echo", [1]) == [1]


def test_the_callback_of_a_full_block_subscription_gets_overflow_too(
    serve: Serve, connect: Connect, recorder: Recorder
) -> None:
    client = connect(serve(rpc()).url)

    def callback(event: Any) -> None:
        try:
            client.query("echo", [event], timeout=None)
        except wsrpc.Overflow:
            recorder("overflow", event)
        else:
            recorder("answer", event)

    client.subscribe("ticks", callback, buffer=4, overflow="block")
    client.query("push", ["ticks", [[n] for n in range(100)]])
    assert [event for _, event in recorder.wait(100)] == list(range(100))
    assert client.query("echo", [1]) == [1]


def test_another_thread_may_query_while_a_block_inbox_is_full(serve: Serve, connect: Connect) -> None:
    client = connect(serve(rpc()).url)
    subscription = client.subscribe("ticks", buffer=4, overflow="block")
    filling = client.submit("push", ["ticks", [[n] for n in range(100)]], timeout=None)

    def consume() -> None:
        assert [subscription.get() for _ in range(100)] == list(range(100))

    in_threads(consume, lambda: client.query("echo", [1]))
    assert filling.result(LIMIT) == 100


@pytest.mark.parametrize("options", [{"buffer": 0}, {"overflow": "nonsense"}])
def test_bad_subscription_options_raise(serve: Serve, connect: Connect, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        connect(serve(rpc()).url).subscribe("ticks", **options)


def test_a_query_asked_inside_a_callback_works(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(rpc()).url)
    client.subscribe("ticks", lambda event: recorder(client.query("echo", [event])))
    client.query("push", ["ticks", [[n] for n in range(20)]])
    assert recorder.wait(20) == [[n] for n in range(20)]


def test_subscribing_and_unsubscribing_inside_a_callback_works(
    serve: Serve, connect: Connect, recorder: Recorder
) -> None:
    client = connect(serve(told(recorder)).url)

    def callback(event: Any) -> None:
        client.subscribe(f"topic {event}").unsubscribe()
        recorder("done", event)

    client.subscribe("ticks", callback)
    client.query("push", ["ticks", [[1]]])
    assert recorder.wait_for(("done", 1))[1:] == [("rpc.on", "topic 1"), ("rpc.off", "topic 1"), ("done", 1)]


def test_subscriptions_come_and_go_in_many_threads(serve: Serve, connect: Connect, recorder: Recorder) -> None:
    client = connect(serve(told(recorder)).url)

    def come_and_go() -> None:
        for n in range(20):
            client.subscribe(f"topic {n % 3}").unsubscribe()

    in_threads(*[come_and_go] * 5)
    for topic in ("topic 0", "topic 1", "topic 2"):
        said = [method for method, name in recorder.items if name == topic]
        assert said == ["rpc.on", "rpc.off"] * (len(said) // 2)
    assert "subscriptions=0" in repr(client)


# Numbers


def test_stats_count(serve: Serve, connect: Connect) -> None:
    late = LateAnswers()
    client = connect(serve(late.handler).url)
    empty = client.stats()
    assert (empty.sent, empty.received, empty.bytes, empty.latency) == (0, 0, 0, {})
    held = [client.submit("hold") for _ in range(3)]
    late.asked.wait(3)
    assert client.stats().in_flight == 3
    assert "in_flight=3" in repr(client)
    held[0].cancel()
    client.query("push", ["nobody", [[1], [2]]])
    client.query("release")
    stats = client.stats()
    assert (stats.sent, stats.received, stats.in_flight) == (5, 7, 0)
    assert (stats.matched, stats.unmatched, stats.late, stats.reconnects) == (4, 2, 1, 0)
    assert stats.bytes_sent > 5 * 40
    assert stats.bytes_received > 7 * 30
    assert list(stats.latency) == ["p50", "p90", "p99", "max"]
    assert 0 < stats.latency["p50"] <= stats.latency["max"]


def test_stats_go_on_over_connections(raw_server: Raw, connect: Connect) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        wire.answer("hello")
        wire.send(close(1001))
        wire.read_close()

    client = connect(raw_server(script).url)
    sent = []
    for n in range(1, 4):
        assert client.query("hello") == "hello"
        sent.append(client.stats().bytes_sent)
        assert (client.stats().sent, client.stats().matched) == (n, n)
        wait_until_ended(client)
    assert sent == sorted(set(sent))


def wait_until_ended(client: Client) -> None:
    """Wait until the client knows that its connection has ended: nothing else announces it."""
    end = time.monotonic() + LIMIT
    while client.state == "open":
        assert time.monotonic() < end
        threading.Event().wait(0.002)


# Ending


def test_close_while_in_flight_loses_the_queries(serve: Serve, connect: Connect) -> None:
    gate = LateAnswers()
    client = connect(serve(gate.handler).url)
    reply = client.submit("hold", timeout=None)

    def asks() -> None:
        with pytest.raises(wsrpc.QueryLost) as raised:
            client.query("hold", timeout=None)
        assert raised.value.may_have_run
        assert isinstance(raised.value.__cause__, wsrpc.ConnectionClosed)

    def closes() -> None:
        gate.asked.wait(2)
        client.close()

    in_threads(asks, closes)
    assert isinstance(reply.exception(0), wsrpc.QueryLost)
    assert client.stats().in_flight == 0


def test_close_while_connecting_loses_what_was_not_written(raw_server: Raw) -> None:
    def silent(wire: Wire) -> None:
        wire.read_until_end()

    client = Client(raw_server(silent).url)
    reply = client.submit("hello", timeout=None)

    def waits() -> None:
        with pytest.raises(wsrpc.ConnectionClosed):
            client.wait_open(None)

    waiter = threading.Thread(target=waits)
    waiter.start()
    client.close()
    waiter.join(LIMIT)
    assert not waiter.is_alive()
    error = reply.exception(0)
    assert isinstance(error, wsrpc.QueryLost)
    assert not error.may_have_run


def test_use_after_close_raises_connection_closed(serve: Serve) -> None:
    client = Client(serve(rpc()).url)
    client.query("echo", [1])
    client.close()
    for use in (
        lambda: client.query("echo"),
        lambda: client.submit("echo"),
        lambda: client.notify("echo"),
        lambda: client.subscribe("ticks"),
        lambda: client.subscribe(UNMATCHED),
        lambda: client.wait_open(),
        lambda: client.__enter__(),
    ):
        with pytest.raises(wsrpc.ConnectionClosed, match="closed") as raised:
            use()
        assert raised.value.initiator == "us"
    assert client.state == "closed"


def test_close_twice_is_fine(serve: Serve) -> None:
    client = Client(serve(rpc()).url)
    client.close()
    client.close()
    with Client(serve(rpc()).url) as opened:
        opened.close()
    opened.close()


def test_close_says_1000_to_the_endpoint(raw_server: Raw) -> None:
    received: list[Any] = []

    def script(wire: Wire) -> None:
        wire.accept()
        received.append(wire.read_close())
        wire.send(close(1000))

    with Client(raw_server(script).url):
        pass
    assert received == [(1000, "")]


@pytest.mark.parametrize("attempt", range(20))
def test_close_at_any_moment_of_connecting_leaves_nothing(raw_server: Raw, attempt: int) -> None:
    def script(wire: Wire) -> None:
        try:
            wire.accept()
            wire.send(close(*wire.read_close()))
        except (EOFError, ConnectionError):
            pass

    client = Client(raw_server(script).url)
    reply = client.submit("never answered", timeout=None)
    threading.Event().wait(attempt / 5_000)
    client.close()
    assert isinstance(reply.exception(LIMIT), wsrpc.QueryLost)


def test_close_from_a_callback_works(serve: Serve, recorder: Recorder) -> None:
    client = Client(serve(rpc()).url)

    def callback(event: Any) -> None:
        client.close()
        recorder(client.state)

    client.subscribe("ticks", callback)
    client.submit("push", ["ticks", [[1]]])
    assert recorder.wait(1) == ["closed"]


@pytest.mark.timeout(30)
def test_close_does_not_wait_for_a_full_block_inbox(serve: Serve) -> None:
    client = Client(serve(rpc()).url, close_timeout=60)
    subscription = client.subscribe("ticks", buffer=2, overflow="block")
    client.submit("push", ["ticks", [[n] for n in range(5000)]], timeout=None)
    assert subscription.get() == 0
    client.close()
    assert client.state == "closed"


def test_a_subscription_learns_of_the_lost_connection_after_what_waits(raw_server: Raw, connect: Connect) -> None:
    def script(wire: Wire) -> None:
        wire.accept()
        wire.answer(True)
        wire.send(text({"jsonrpc": "2.0", "method": "ticks", "params": [1]}))

    subscription = connect(raw_server(script).url).subscribe("ticks")
    assert subscription.get() == 1
    with pytest.raises(wsrpc.ConnectionClosed) as raised:
        subscription.get(None)
    assert (raised.value.code, raised.value.initiator) == (1006, "network")


def test_a_topic_can_be_subscribed_to_again_after_a_lost_connection(
    raw_server: Raw, connect: Connect, recorder: Recorder
) -> None:
    def first(wire: Wire) -> None:
        wire.accept()
        recorder(wire.answer(True)["method"])

    def second(wire: Wire) -> None:
        wire.accept()
        recorder(wire.answer(True)["method"])
        wire.send(text({"jsonrpc": "2.0", "method": "ticks", "params": [1]}))
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(first, second).url, timeout=5)
    lost = client.subscribe("ticks")
    with pytest.raises(wsrpc.ConnectionClosed):
        lost.get(None)
    assert client.subscribe("ticks").get() == 1
    assert recorder.items == ["rpc.on", "rpc.on"]


def test_the_end_of_a_former_connection_loses_no_query_of_the_next(raw_server: Raw, connect: Connect) -> None:
    end_first, first_ended, asked, answer_second = (threading.Event() for _ in range(4))

    def first(wire: Wire) -> None:
        wire.accept()
        wire.answer("first")
        wire.send(close(1001, "going away"))
        wire.read_close()
        wait(end_first)
        wire.sock.close()
        first_ended.set()

    def second(wire: Wire) -> None:
        wire.accept()
        request = wire.read_request()
        asked.set()
        wait(answer_second)
        wire.send(text({"jsonrpc": "2.0", "id": request["id"], "result": "second"}))
        wire.answer("third")
        wire.send(close(*wire.read_close()))

    client = connect(raw_server(first, second).url, close_timeout=LIMIT)
    assert client.query("first") == "first"
    wait_until_ended(client)
    reply = client.submit("second")
    wait(asked)
    end_first.set()
    wait(first_ended)
    ended = concurrent.futures.wait([reply], timeout=0.3)  # the loop hears of the end; nothing announces it
    assert not ended.done, reply.exception()
    answer_second.set()
    assert reply.result(LIMIT) == "second"
    assert client.query("third") == "third"


@pytest.mark.parametrize("attempt", range(20))
def test_a_connection_that_ends_as_soon_as_it_opens_settles_what_waited_for_it(
    raw_server: Raw, connect: Connect, attempt: int
) -> None:
    def script(wire: Wire) -> None:
        wire.accept(and_then=close(1013, "try again later") if attempt % 2 else b"")

    client = connect(raw_server(script).url, timeout=10)
    replies = [client.submit("hello") for _ in range(20)]
    errors = [reply.exception(LIMIT) for reply in replies]
    assert {type(error) for error in errors} == {wsrpc.QueryLost}, errors


def test_two_connections_at_once_do_not_mix(serve: Serve, connect: Connect) -> None:
    first, second = (
        connect(serve(rpc(who=lambda connection, request, name=name: name)).url) for name in ("first", "second")
    )

    def ask(client: Client, name: str) -> Callable[[], None]:
        def run() -> None:
            for _ in range(200):
                assert client.query("who") == name

        return run

    in_threads(ask(first, "first"), ask(second, "second"))
    first.close()
    assert second.query("who") == "second"


def test_clients_and_websockets_share_one_loop_thread(serve: Serve, connect: Connect) -> None:
    peer = serve(rpc())
    clients = [connect(peer.url) for _ in range(5)]
    for client in clients:
        client.query("echo")
    with wsrpc.WebSocket(serve(echo).url):
        assert [thread.name for thread in threading.enumerate()].count("wsrpc-loop") == 1


def test_a_blocking_call_on_the_loop_raises_state_error(serve: Serve, connect: Connect) -> None:
    caught: list[BaseException] = []

    class Blocking(wsrpc.JSONRPC):
        def read(self, message: Any) -> Any:
            for blocking in (lambda: client.query("echo"), lambda: client.close(), lambda: client.wait_open()):
                try:
                    blocking()
                except wsrpc.StateError as error:
                    caught.append(error)
            return super().read(message)

    client = connect(serve(rpc()).url, dialect=Blocking())
    assert client.query("echo", [1]) == [1]
    assert len(caught) == 3


def test_nothing_is_logged_above_debug_when_all_goes_well(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsrpc")
    client = connect(serve(rpc()).url)
    client.subscribe("ticks", lambda event: None)
    client.query("push", ["ticks", [[1]]])
    client.close()
    assert [record for record in caplog.records if record.name.startswith(("wsrpc", "curio"))] == []
