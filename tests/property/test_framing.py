"""However the network splits a stream, it means the same; and whatever it holds, only documented errors come of it."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto import events as ws
from wsproto.connection import ConnectionState

from wsrpc.errors import MessageTooBig, ProtocolError
from wsrpc.framing import BINARY, CLOSE, PING, PONG, TEXT, Framing, pack
from wsrpc.framing.masking import mask

from ..unit.wire import CONTINUATION, as_text, close_payload, frame, framing, split, wsproto_connection, xor
from .outcome import examples

Ending = tuple[Any, ...] | None
EACH_BYTE = list(range(3000))
Outcome = tuple[list[tuple[int, Any]], Ending]

roles = st.booleans()
cuts = st.lists(st.integers(0, 10**6), max_size=12)
lengths = [0, 1, 2, 3, 5, 125, 126, 127]
sizes = st.sampled_from([*lengths, *lengths, *lengths, 65_535, 65_536, 70_000])
limits = st.sampled_from([None, 1, 5, 125, 126, 65_535, 65_536])
texts = st.text(max_size=5) | st.builds(lambda size, text: (text * size)[:size], sizes, st.sampled_from("aé😀"))
binaries = st.binary(max_size=5) | sizes.map(lambda size: bytes(range(251)) * (size // 251) + bytes(size % 251))
short = st.binary(max_size=5) | st.just(b"x" * 125)


@st.composite
def messages(draw: st.DrawFn, masked: bool) -> bytes:
    """A message: mostly one frame, else fragments, with control frames among them."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(texts).encode("utf-8", "replace") if opcode == TEXT else draw(binaries)
    if draw(st.integers(0, 9)) == 0:
        payload += draw(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80"]))  # as text it is not UTF-8
    parts = split(payload, draw(cuts)) if draw(st.booleans()) else [payload]
    wire = b""
    for index, part in enumerate(parts):
        wire += frame(CONTINUATION if index else opcode, part, fin=index == len(parts) - 1, masked=masked)
        if draw(st.integers(0, 3)) == 0:
            wire += draw(controls(masked))
    return wire


def controls(masked: bool) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda opcode, payload: frame(opcode, payload, masked=masked), st.sampled_from([PING, PONG]), short
    )


def closes(masked: bool) -> st.SearchStrategy[bytes]:
    codes = st.sampled_from([1000, 1001, 3000, 4999, 999, 1005, 1006, 5000])
    reasons = st.sampled_from([b"", b"bye", "tschüß".encode(), b"\xff"])
    payloads = st.builds(close_payload, codes, reasons) | st.sampled_from([b"", b"\x03"])
    return payloads.map(lambda payload: frame(CLOSE, payload, masked=masked))


def broken(masked: bool) -> st.SearchStrategy[bytes]:
    """What breaks one rule of RFC 6455, sections 5.1 to 5.5."""
    data, control = st.sampled_from([TEXT, BINARY]), st.sampled_from([PING, PONG, CLOSE])
    reserved = st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])

    def frames(opcodes: st.SearchStrategy[int], payload: bytes = b"", **faults: Any) -> st.SearchStrategy[bytes]:
        return opcodes.map(lambda opcode: frame(opcode, payload, **{"masked": masked, **faults}))

    return st.one_of(
        frames(data, b"x", masked=not masked),
        frames(control, masked=not masked),
        frames(data | control, reserved=4),
        frames(data, b"x" * 125, length_bytes=2),
        frames(data, b"x" * 125, length_bytes=8),
        frames(data, b"x" * 300, length_bytes=8),
        frames(data, size=2**63),
        frames(data, b"x", fin=False),  # and then another message
        frames(control, b"x" * 126),
        frames(control, fin=False),
        frames(reserved, b"x"),
        frames(st.just(CONTINUATION), b"x"),
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[bool, bytes]:
    """A role, and what its peer sends: sound messages, and at times at the end a close frame or a broken rule."""
    client = draw(roles)
    masked = not client
    wire = b"".join(draw(st.lists(messages(masked), min_size=1, max_size=4)))
    if draw(st.integers(0, 3)):
        wire += draw(st.one_of(closes(masked), broken(masked), broken(masked))) + draw(messages(masked))
    return client, wire


def outcome(subject: Framing, pieces: list[bytes]) -> Outcome:
    """All that comes of the pieces, and how it ends."""
    events: list[tuple[int, Any]] = []
    try:
        for piece in pieces:
            for event in subject.receive(piece):
                events.append(as_text(event))  # noqa: PERF401  what came before an error counts
    except (ProtocolError, MessageTooBig) as error:
        return events, ending(error)
    return events, None


def ending(error: ProtocolError | MessageTooBig) -> Ending:
    if isinstance(error, ProtocolError):
        return "broken", error.code
    return "too big", error.size, error.limit


def wsproto_outcome(client: bool, wire: bytes) -> Outcome:
    """What wsproto alone makes of it."""
    subject = wsproto_connection(client=client)
    subject.receive_data(wire)
    events: list[tuple[int, Any]] = []
    parts: list[Any] = []
    for event in subject.events():
        if isinstance(event, ws.Message):
            parts.append(event.data)
            if event.message_finished:
                is_text = isinstance(event, ws.TextMessage)
                events.append((TEXT, "".join(parts)) if is_text else (BINARY, b"".join(parts)))
                parts = []
        elif isinstance(event, ws.Ping | ws.Pong):
            events.append((PING if isinstance(event, ws.Ping) else PONG, bytes(event.payload)))
        elif isinstance(event, ws.CloseConnection):
            if subject.state is ConnectionState.OPEN:
                return events, ("broken", int(event.code))
            events.append((CLOSE, (int(event.code), event.reason or "")))
    return events, None


@given(streams(), cuts | st.just(EACH_BYTE), limits)
@settings(max_examples=4 * examples())
def test_any_split_gives_the_same_messages_and_the_same_ending(
    stream: tuple[bool, bytes], cuts: list[int], limit: int | None
) -> None:
    client, wire = stream
    events, end = outcome(framing(client=client, limit=limit), [wire])
    assert outcome(framing(client=client, limit=limit), split(wire, cuts)) == (events, end)
    for opcode, content in events:
        size = len(content.encode() if isinstance(content, str) else content)
        assert limit is None or opcode > BINARY or size <= limit


@given(streams(), cuts)
@settings(max_examples=4 * examples())
def test_whole_frames_take_the_short_way_to_what_wsproto_alone_makes_of_them(
    stream: tuple[bool, bytes], cuts: list[int]
) -> None:
    client, wire = stream
    assert outcome(framing(client=client), split(wire, cuts)) == wsproto_outcome(client, wire)


@given(streams(), cuts, st.integers(0, 10**6))
def test_a_stream_that_is_cut_off_gives_the_beginning_of_the_whole(
    stream: tuple[bool, bytes], cuts: list[int], end: int
) -> None:
    client, wire = stream
    whole, _ = outcome(framing(client=client), [wire])
    beginning, _ = outcome(framing(client=client), split(wire[: end % (len(wire) + 1)], cuts))
    assert beginning == whole[: len(beginning)]


@given(streams(), cuts, st.lists(st.booleans(), max_size=30))
def test_leaving_early_and_going_on_loses_nothing(
    stream: tuple[bool, bytes], cuts: list[int], leaves: list[bool]
) -> None:
    client, wire = stream
    subject, events, end = framing(client=client), [], None
    pieces = split(wire, cuts)
    try:
        while pieces:
            coming = subject.receive(pieces.pop(0))
            for event in coming:
                events.append(as_text(event))
                if leaves and leaves.pop():
                    coming.close()  # type: ignore[attr-defined]
                    pieces.insert(0, b"")
                    break
    except ProtocolError as error:
        end = ending(error)
    assert (events, end) == outcome(framing(client=client), [wire])


@given(roles, st.lists(st.binary(max_size=40), max_size=6), limits, st.booleans())
@example(client=True, pieces=[b"\x81\x7f" + b"\xff" * 8], limit=None, closing=False)
@example(client=False, pieces=[b"\x88\xff" + b"\xff" * 12], limit=1, closing=True)
def test_random_bytes_raise_only_documented_errors(
    client: bool, pieces: list[bytes], limit: int | None, closing: bool
) -> None:
    subject = framing(client=client, limit=limit)
    if closing:
        subject.close(1000)
    for piece in pieces:
        try:
            for opcode, content in subject.receive(piece):
                assert opcode in (TEXT, BINARY, PING, PONG, CLOSE)
                if opcode == PING:
                    subject.pong(content)
        except (ProtocolError, MessageTooBig):
            subject.close(1002)
            return


@given(roles, st.lists(st.tuples(st.just(TEXT), texts.map(str.encode)) | st.tuples(st.just(BINARY), binaries)), cuts)
def test_what_one_side_packs_the_other_receives(client: bool, sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(pack(opcode, payload, client=client) for opcode, payload in sent)
    received, end = outcome(framing(client=not client), split(wire, cuts))
    assert [(opcode, content.encode() if opcode == TEXT else content) for opcode, content in received] == sent
    assert end is None


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_the_rfcs_exclusive_or(payload: bytes, key: bytes) -> None:
    assert mask(payload, key) == xor(payload, key)  # RFC 6455, section 5.3
    assert mask(mask(payload, key), key) == payload
