"""Ask an endpoint and get the answer as a function call, while unrelated messages keep arriving.

The face that users have of a link (the connection and what is written on it), a correlator (which answer is whose) and
subscriptions (where everything else goes).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from . import codec
from .callbacks import CallbackThreads
from .correlator import Correlator
from .deadlines import timed_out
from .dialects import JSONRPC, Dialect, Failure, Params
from .errors import ConnectionClosed, Overflow, RemoteError, WsrpcError
from .framing import TEXT, check_protocols
from .incoming import Router
from .link import Link, LinkState
from .loop import refuse_on_loop
from .naming import Api
from .options import check_positive, make_options
from .replies import Entry, Reply, Slot
from .statistics import Stats, quantiles
from .streams import DEFAULT, Subscription, make_inbox
from .subscriptions import Subscriptions, Topic
from .urls import parse_url
from .waiting import LONGEST

log = logging.getLogger("wsrpc")

_POOL_THREADS = 4


class Client:
    """Asks one endpoint. Making one does no I/O; entering `with`, or the first use, connects.

    May be used from any number of threads. Blocking calls can be interrupted by Ctrl-C, after which the client stays
    usable; on the wsrpc loop's own thread they raise `StateError`.

    Args:
        url: the endpoint, `ws://` or `wss://`.
        dialect: how the endpoint reflects; `JSONRPC()` by default.
        timeout: seconds that a blocking call waits where it is given none; `None`: no limit.
        protocols: the subprotocols to offer.
        allow_nan: send NaN and infinity as null instead of refusing them.
        options: see `wsrpc.options.Options`.

    Raises:
        InvalidURL: the URL names no WebSocket.
        ValueError, TypeError: a bad option.

    Attributes:
        api: methods spelled as calls, `client.api.Page.navigate(url="…")`.
        timeout: as given.

    Example:
        >>> with wsrpc.Client(url) as client:                            # doctest: +SKIP
        ...     client.query("add", [2, 3])
        5
    """

    def __init__(
        self,
        url: str,
        *,
        dialect: Dialect | None = None,
        timeout: float | None = 30.0,
        protocols: str | Sequence[str] = (),
        allow_nan: bool = False,
        **options: Any,
    ) -> None:
        check_positive("timeout", timeout, none="no limit")
        if dialect is not None and not isinstance(dialect, Dialect):
            raise TypeError(f"dialect must be a wsrpc.Dialect, such as wsrpc.JSONRPC(), not {dialect!r}")
        self._endpoint = parse_url(url)
        self._options = make_options(options)
        self._dialect = dialect if dialect is not None else JSONRPC()
        self._allow_nan = allow_nan
        self._correlator: Correlator[Entry] = Correlator()
        self._subscriptions = Subscriptions()  # changed by the router only
        self._router = Router(
            self._dialect, self._correlator, self._subscriptions, self._blocked, self._subscription_overflowed
        )
        self._callbacks = CallbackThreads("wsrpc-callback")
        self._pool = CallbackThreads("wsrpc-pool", _POOL_THREADS)
        self._link = Link(
            self._endpoint,
            self._options,
            check_protocols(protocols),
            self._dialect,
            self._correlator,
            self._router,
        )
        self._backpressure = self._link.backpressure
        self._routing = threading.RLock()  # held while the endpoint is told of a subscription, to keep their order
        self.timeout = timeout
        self.api = Api(self.query)

    # Asking

    def query(self, message: Any, params: Params = None, *, timeout: float | None = DEFAULT) -> Any:
        """Ask, and block until the answer is there.

        Args:
            message: a method's name; or a whole message, on a copy of which the dialect stamps the reflect ID.
            params: for a method: a list or a mapping.
            timeout: seconds, for all of it: connecting, room in the send buffer, the answer. `None`: no limit.

        Returns:
            The result, as the dialect finds it in the answer.

        Raises:
            RemoteError: the endpoint answered with an error.
            QueryTimeout: no answer within the timeout.
            QueryLost: the connection ended before the answer.
            ConnectError: no connection came about.
            ConnectionClosed: the client was closed.
            EncodeError: the message cannot be put on the wire; the connection lives on.
            Overflow: this thread is the consumer of a full `"block"` subscription: the answer could never be read.
        """
        refuse_on_loop("query()")
        now = time.monotonic()
        slot = Slot(*self._encoded(message, params), now, self._deadline(timeout, now))
        try:
            if self._backpressure.full:  # before it is sent, and after: an inbox may have become full between
                self._refuse_if_stuck()
            self._link.ask(slot)
            if self._backpressure.full:
                self._refuse_if_stuck()
            if not slot.wait():
                if self._link.give_up(slot):
                    raise timed_out(slot, time.monotonic())
                slot.wait_for_settlement()
        except BaseException:  # Ctrl-C may strike anywhere: nobody waits for the answer any more
            self._link.give_up(slot)
            raise
        if slot.error is not None:
            self._link.give_up(slot)
            raise slot.error
        return slot.result

    def _refuse_if_stuck(self) -> None:
        if (overflow := self._backpressure.stuck()) is not None:
            raise overflow

    def submit(self, message: Any, params: Params = None, *, timeout: float | None = DEFAULT) -> Reply:
        """Ask, and return at once with a `Reply`, a `concurrent.futures.Future` of the answer.

        It may wait for room in the send buffer, never for a connection: while there is none, the query waits for it.

        Args:
            message: as for `query`.
            params: as for `query`.
            timeout: seconds until the reply fails with `QueryTimeout`. `None`: no limit.

        Raises:
            QueryTimeout: no room in the send buffer within the timeout.
            ConnectionClosed: the client was closed.
            Overflow: more than `max_buffered_bytes` of submitted queries would wait for a connection.
            EncodeError: the message cannot be put on the wire; the connection lives on.
        """
        refuse_on_loop("submit()")
        now = time.monotonic()
        reply = Reply(self, *self._encoded(message, params), now, self._deadline(timeout, now))
        try:
            self._link.ask(reply)
        except BaseException:
            self._link.give_up(reply)
            raise
        return reply

    def notify(self, method: str, params: Params = None, *, timeout: float | None = DEFAULT) -> None:
        """Tell the endpoint something that it does not answer. Blocks until connected, and for room to send.

        Raises:
            ConnectError: no connection came about.
            ConnectionClosed: the client was closed, or the connection has just ended.
            TimeoutError: no connection, or no room in the send buffer, within the timeout.
            EncodeError: the message cannot be put on the wire.
        """
        refuse_on_loop("notify()")
        _check_method(method, params)
        payload = codec.encode(self._dialect.notification(method, params), allow_nan=self._allow_nan)
        deadline = self._deadline(timeout, time.monotonic())
        connection = self._link.open(deadline)
        if not connection.outbound.wait_for_room(self._options.max_buffered_bytes, deadline):
            raise TimeoutError(f"{method} was not sent: the send buffer stayed full")
        connection.outbound.write(connection.pack(TEXT, payload))

    def _encoded(self, message: Any, params: Params) -> tuple[Any, list[bytes]]:
        """What is asked, for errors, and the encoded message without its reflect ID."""
        if isinstance(message, str):
            _check_method(message, params)
            return message, codec.encode_query(self._dialect.request(message, params), allow_nan=self._allow_nan)
        if type(message) is not dict and not isinstance(message, Mapping | list | tuple):
            raise TypeError(f"ask a method by its name, or a whole message as a mapping or list, not {message!r:.80}")
        if params is not None:
            raise TypeError("params go with a method's name; a whole message has its own")
        return message, codec.encode_query(self._dialect.stamp(message), allow_nan=self._allow_nan)

    def _deadline(self, timeout: float | None, now: float) -> float | None:
        if timeout is DEFAULT:
            timeout = self.timeout
        elif timeout is not None:
            check_positive("timeout", timeout, none="no limit")
        return None if timeout is None else now + min(timeout, LONGEST)

    # Subscribing

    def subscribe(
        self,
        topic: Topic,
        callback: Callable[[Any], object] | None = None,
        *,
        buffer: int = 1024,
        overflow: str = "drop_oldest",
        decode: Callable[[Any], Any] | None = None,
    ) -> Subscription:
        """Get the events of a topic. Blocks until connected, and until the endpoint has been told where it wants to be.

        Args:
            topic: its name; or `wsrpc.UNMATCHED`: every message that answers no query and fits no other topic.
            callback: called with each event, in order, on the client's callback thread. `None`: iterate the
                subscription, or `get` from it.
            buffer: how many events may wait for the consumer.
            overflow: what happens at that bound: `"drop_oldest"`, `"drop_newest"`, `"latest"` (only the newest event
                waits), `"block"` (the socket is not read until there is room: answers wait as well), `"error"` (the
                subscription ends with `Overflow`).
            decode: applied to each event where it is consumed, not on the loop.

        Raises:
            RemoteError: the endpoint refuses the topic.
            ValueError: a bad buffer or overflow policy.
            QueryTimeout: the endpoint did not answer.
            QueryLost: the connection ended.
            ConnectError: no connection came about.
            ConnectionClosed: the client was closed.
        """
        refuse_on_loop("subscribe()")
        subscription = Subscription(self, make_inbox(topic, buffer, overflow), callback, decode)
        with self._routing:
            self._link.refuse_closed()
            is_first = self._router.add(topic, subscription)
            try:
                self._tell_of(topic, is_first)
            except BaseException:
                self._router.remove(topic, subscription)
                raise
        return subscription

    def _tell_of(self, topic: Topic, is_first: bool) -> None:
        asking = self._dialect.subscribing(topic) if isinstance(topic, str) else None
        if asking is None or not is_first:
            self.wait_open()
            return
        try:
            self.query(*asking)
        except RemoteError as error:
            if not self._dialect.lacks_method(Failure(error.id, error.code, error.message, error.data)):
                raise

    def end_subscription(self, subscription: Subscription) -> None:
        """Route no more events to a subscription; used by `Subscription.unsubscribe`."""
        with self._routing:
            if self._router.remove(subscription.topic, subscription):
                self._tell_of_end(subscription.topic)

    def _tell_of_end(self, topic: Topic) -> None:
        """The last subscription to a topic has ended; a link that is gone has no subscriptions either."""
        asking = self._dialect.unsubscribing(topic) if isinstance(topic, str) else None
        if asking is None or self._link.state is not LinkState.OPEN:
            return
        try:
            self.query(*asking)
        except WsrpcError as error:
            log.debug("the endpoint was not told of the end of %r: %s", topic, error)

    def _subscription_overflowed(self, subscription: Subscription, was_last: bool) -> None:
        """On the loop: the endpoint is told elsewhere."""
        if was_last:
            self._pool.submit(self._tell_of_overflow, subscription.topic)

    def _tell_of_overflow(self, topic: Topic) -> None:
        with self._routing:
            if not self._subscriptions.of(topic):  # nobody has subscribed again meanwhile
                self._tell_of_end(topic)

    def is_callback_thread(self, thread: int) -> bool:
        """Whether that is the client's callback thread, by its ident."""
        return self._callbacks.has(thread)

    def _blocked(self, subscription: Subscription) -> None:
        self._backpressure.block(subscription)

    def unblock(self, subscription: Subscription) -> None:
        """A full inbox has room again; used by `Subscription`."""
        self._backpressure.unblock(subscription)

    # What replies need

    def give_up(self, reply: Reply) -> bool:
        """Stop waiting for a reply; used by `Reply.cancel`."""
        return self._link.give_up(reply)

    def flush(self) -> None:
        """Write what was left for company; used by `Reply.result`."""
        self._link.flush()

    def stuck(self) -> Overflow | None:
        """The error to raise where waiting on this thread could never end; used by `Reply.result`."""
        return self._backpressure.stuck()

    def run_callback(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function on the client's callback thread."""
        self._callbacks.submit(function, *args)

    # Living

    @property
    def state(self) -> str:
        """`"idle"`, `"connecting"`, `"open"` or `"closed"`."""
        return self._link.state.value

    def wait_open(self, timeout: float | None = DEFAULT) -> None:
        """Connect if need be, and block until the connection is open.

        Raises:
            ConnectError: it did not come about.
            ConnectionClosed: the client was closed.
            TimeoutError: not within `timeout` seconds; `None`: no limit.
        """
        refuse_on_loop("wait_open()")
        self._link.open(self._deadline(timeout, time.monotonic()))

    def stats(self) -> Stats:
        """What has happened so far, in numbers."""
        bytes_sent, bytes_received = self._link.bytes
        return Stats(
            sent=self._link.sent,
            received=self._router.received,
            in_flight=len(self._correlator),
            matched=self._correlator.matched,
            unmatched=self._router.unmatched,
            late=self._correlator.late,
            reconnects=self._link.reconnects,
            bytes_sent=bytes_sent,
            bytes_received=bytes_received,
            latency=quantiles(list(self._router.latencies)),
        )

    def close(self) -> None:
        """Close the connection, and end for good. Blocks for the closing handshake, at most `close_timeout`.

        What is in flight fails with `QueryLost`; subscriptions end. Doing it twice is fine.
        """
        refuse_on_loop("close()")
        end = ConnectionClosed("the client was closed", code=1000, initiator="us")
        self._router.end_subscriptions(end)  # first: one of them may keep the socket from being read
        self._link.close()
        self._callbacks.retire()
        self._pool.retire()

    def __enter__(self) -> Self:
        self.wait_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<Client {self._endpoint.url} {self.state} dialect={type(self._dialect).__name__} "
            f"in_flight={len(self._correlator)} subscriptions={len(self._subscriptions.all())}>"
        )


def _check_method(method: str, params: Params) -> None:
    if not isinstance(method, str):
        raise TypeError(f"a method is named by a str, not {method!r:.80}")
    if params is not None and not isinstance(params, list | tuple | Mapping):
        raise TypeError(f"params of {method!r} must be a list or a mapping, not {type(params).__name__}")
