from typing import Any

import pytest
from wsproto import events as ws

from wsrpc.errors import MessageTooBig, ProtocolError
from wsrpc.framing import ABNORMAL, BINARY, CLOSE, NO_STATUS, PING, PONG, TEXT, pack

from ..wire import CONTINUATION, KEY, close_payload, frame, framing, receive, split, wsproto_connection, xor

both_roles = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537]  # where the length takes another form


def ending_of(client: bool, *pieces: bytes, limit: int | None = None) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        receive(framing(client=client, limit=limit), *pieces)
    return caught.value


# Sending


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_server_sends_unmasked_with_the_shortest_length(opcode: int, size: int) -> None:
    payload = b"x" * size  # RFC 6455, sections 5.1 and 5.2
    assert pack(opcode, payload, client=False) == frame(opcode, payload, masked=False)


@pytest.mark.parametrize("size", SIZES)
def test_a_client_sends_masked_with_the_shortest_length(size: int) -> None:
    payload = b"x" * size
    sent = pack(TEXT, payload, client=True)
    head, key, masked = sent[: -size - 4], sent[len(sent) - size - 4 : len(sent) - size], sent[len(sent) - size :]
    assert head == frame(TEXT, payload, masked=True)[: len(head)]
    assert xor(masked, key) == payload


def test_a_client_masks_each_frame_with_another_key() -> None:
    keys = [pack(TEXT, b"", client=True)[2:] for _ in range(3)]  # RFC 6455, section 5.3
    assert len(set(keys)) == 3


@both_roles
def test_the_other_side_understands_what_is_sent(client: bool) -> None:
    peer = wsproto_connection(client=not client)
    peer.receive_data(pack(TEXT, "grüß".encode(), client=client) + pack(BINARY, b"\xff" * 70_000, client=client))
    assert list(peer.events()) == [ws.TextMessage("grüß"), ws.BytesMessage(b"\xff" * 70_000)]


@both_roles
def test_control_frames_are_understood_by_the_other_side(client: bool) -> None:
    subject, peer = framing(client=client), wsproto_connection(client=not client)
    peer.receive_data(subject.ping(b"a") + subject.pong(b"b") + subject.close(1001, "bye"))
    assert list(peer.events()) == [ws.Ping(b"a"), ws.Pong(b"b"), ws.CloseConnection(1001, "bye")]


@pytest.mark.parametrize("code", [None, NO_STATUS])
def test_no_code_makes_an_empty_close_frame(code: int | None) -> None:
    assert framing(client=False).close(code) == frame(CLOSE, masked=False)  # RFC 6455, section 7.1.5


def test_a_long_close_reason_is_cut_between_characters() -> None:
    sent = framing(client=False).close(1000, "é" * 100)  # RFC 6455, section 5.5: 125 bytes with the code
    assert sent[2:4] == (1000).to_bytes(2, "big")
    assert sent[4:].decode() == "é" * 61


@both_roles
def test_nothing_is_sent_after_a_close_frame(client: bool) -> None:
    subject = framing(client=client)
    assert subject.close(1000)
    assert (subject.close(1000), subject.ping(b"a"), subject.pong(b"a")) == (b"", b"", b"")


@both_roles
def test_after_the_peers_close_frame_only_the_answer_to_it_is_sent(client: bool) -> None:
    subject = framing(client=client)
    receive(subject, frame(CLOSE, close_payload(1001), masked=not client))
    assert (subject.ping(b"a"), subject.pong(b"a")) == (b"", b"")
    assert subject.close(1001)  # RFC 6455, section 5.5.1
    assert subject.close(1001) == b""


@both_roles
def test_a_peer_that_broke_the_protocol_can_still_be_told(client: bool) -> None:
    subject = framing(client=client)
    with pytest.raises(ProtocolError):
        receive(subject, frame(TEXT, masked=client))
    assert subject.close(1002)  # RFC 6455, section 7.1.7


# Receiving


@both_roles
@pytest.mark.parametrize("size", SIZES)
def test_whole_messages_come_as_bytes(client: bool, size: int) -> None:
    payload = b"x" * size
    data = frame(TEXT, payload, masked=not client) + frame(BINARY, payload, masked=not client)
    assert list(framing(client=client).receive(data)) == [(TEXT, payload), (BINARY, payload)]


@both_roles
def test_what_came_is_not_a_view_of_the_receive_buffer(client: bool) -> None:
    data = frame(BINARY, b"abc", masked=not client) + frame(PING, b"abc", masked=not client)
    buffer = bytearray(data + data[:1])
    subject = framing(client=client)
    events = list(subject.receive(memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert events == [(BINARY, b"abc"), (PING, b"abc")]
    assert receive(subject, data[1:]) == events


@both_roles
@pytest.mark.parametrize("size", [0, 5, 300])
def test_a_message_may_come_byte_by_byte(client: bool, size: int) -> None:
    data = frame(TEXT, b"x" * size, masked=not client) + frame(PONG, b"p", masked=not client)
    assert receive(framing(client=client), *split(data, range(len(data)))) == [(TEXT, "x" * size), (PONG, b"p")]


@both_roles
def test_fragments_make_one_message(client: bool) -> None:
    data = (  # RFC 6455, section 5.4
        frame(TEXT, "aé".encode()[:2], fin=False, masked=not client)
        + frame(CONTINUATION, b"", fin=False, masked=not client)
        + frame(CONTINUATION, "aé".encode()[2:], masked=not client)
        + frame(BINARY, b"", fin=False, masked=not client)
        + frame(CONTINUATION, b"", masked=not client)
        + frame(TEXT, b"whole", masked=not client)
    )
    assert receive(framing(client=client), data) == [(TEXT, "aé"), (BINARY, b""), (TEXT, "whole")]


@both_roles
def test_control_frames_in_the_middle_of_fragments_come_at_once(client: bool) -> None:
    subject = framing(client=client)  # RFC 6455, section 5.4
    assert receive(subject, frame(TEXT, b"a", fin=False, masked=not client)) == []
    assert receive(subject, frame(PING, b"1", masked=not client)) == [(PING, b"1")]
    assert receive(subject, frame(PONG, b"", masked=not client)) == [(PONG, b"")]
    assert receive(subject, frame(CONTINUATION, b"b", masked=not client)) == [(TEXT, "ab")]


@both_roles
def test_a_close_frame_in_the_middle_of_fragments_ends_all(client: bool) -> None:
    subject = framing(client=client)
    data = frame(TEXT, b"a", fin=False, masked=not client) + frame(CLOSE, masked=not client)
    assert receive(subject, data, frame(CONTINUATION, b"b", masked=not client)) == [(CLOSE, (NO_STATUS, ""))]


@both_roles
def test_empty_fragments_take_no_memory(client: bool) -> None:
    subject = framing(client=client)
    receive(subject, frame(TEXT, b"", fin=False, masked=not client))
    receive(subject, frame(CONTINUATION, b"", fin=False, masked=not client) * 1000)
    assert subject._parts == []
    assert receive(subject, frame(CONTINUATION, b"x", masked=not client)) == [(TEXT, "x")]


def test_a_ping_is_answered_with_its_payload() -> None:
    assert framing(client=False).pong(b"abc") == frame(PONG, b"abc", masked=False)  # RFC 6455, section 5.5.3


# Leaving early


@both_roles
def test_leaving_early_keeps_the_rest_for_the_next_call(client: bool) -> None:
    parts = [
        frame(TEXT, b"one", masked=not client),
        frame(PING, b"two", masked=not client),
        frame(TEXT, b"th", fin=False, masked=not client) + frame(CONTINUATION, b"ree", masked=not client),
        frame(BINARY, b"four", masked=not client),
    ]
    subject, data = framing(client=client), b"".join(parts)
    events = []
    for pending in (data[:-1], b"", data[-1:], b"", b""):
        coming = subject.receive(pending)
        events += [(opcode, bytes(str(content), "ascii")) for opcode, content in [next(coming, (0, ""))] if opcode]
        coming.close()  # type: ignore[attr-defined]
    assert [opcode for opcode, _ in events] == [TEXT, PING, TEXT, BINARY]


@both_roles
def test_leaving_early_before_an_error_meets_it_at_the_next_call(client: bool) -> None:
    subject = framing(client=client)
    for _event in subject.receive(frame(TEXT, b"a", masked=not client) + frame(TEXT, b"b", masked=client)):
        break
    with pytest.raises(ProtocolError):
        receive(subject, b"")


# The limit


@both_roles
@pytest.mark.parametrize("limit", [1, 10, 125, 126, 65_535, 65_536])
def test_the_limit_is_inclusive(client: bool, limit: int) -> None:
    subject = framing(client=client, limit=limit)
    data = frame(BINARY, b"x" * limit, masked=not client)
    assert receive(subject, data, data[:-1], data[-1:]) == [(BINARY, b"x" * limit)] * 2
    with pytest.raises(MessageTooBig) as caught:
        receive(subject, frame(BINARY, b"x" * (limit + 1), masked=not client))
    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)


@both_roles
def test_the_limit_counts_all_fragments_of_a_message_and_nothing_else(client: bool) -> None:
    subject = framing(client=client, limit=10)
    first = frame(TEXT, b"x" * 5, fin=False, masked=not client)
    middle = frame(PING, b"x" * 100, masked=not client) + frame(CONTINUATION, b"x" * 5, fin=False, masked=not client)
    last = frame(CONTINUATION, b"", masked=not client)
    whole = [(PING, b"x" * 100), (TEXT, "x" * 10)]
    assert receive(subject, (first + middle + last) * 2) == whole * 2
    with pytest.raises(MessageTooBig) as caught:
        receive(subject, first, middle, frame(CONTINUATION, b"x", masked=not client))
    assert (caught.value.size, caught.value.limit) == (11, 10)


@both_roles
@pytest.mark.parametrize("size", [11, 2**16, 2**40, 2**63 - 1])
def test_a_message_over_the_limit_is_refused_by_its_header(client: bool, size: int) -> None:
    header = frame(TEXT, size=size, masked=not client)
    with pytest.raises(MessageTooBig):
        receive(framing(client=client, limit=10), header)


@both_roles
def test_what_came_before_a_message_over_the_limit_is_delivered(client: bool) -> None:
    coming = framing(client=client, limit=1).receive(
        frame(TEXT, b"a", masked=not client) + frame(TEXT, b"bc", masked=not client)
    )
    assert next(coming) == (TEXT, b"a")
    with pytest.raises(MessageTooBig):
        next(coming)


@both_roles
def test_without_a_limit_any_size_is_waited_for(client: bool) -> None:
    assert receive(framing(client=client), frame(TEXT, size=2**63 - 1, masked=not client)) == []


# Broken rules


@both_roles
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in two parts"])
@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (lambda masked: frame(TEXT, b"a", masked=not masked), "5.1: clients mask, servers do not"),
        (lambda masked: frame(PING, b"a", masked=not masked), "5.1, control frames too"),
        (lambda masked: frame(TEXT, b"a" * 125, length_bytes=2, masked=masked), "5.2: the shortest length"),
        (lambda masked: frame(TEXT, b"", length_bytes=8, masked=masked), "5.2: the shortest length"),
        (lambda masked: frame(TEXT, b"a" * 65_535, length_bytes=8, masked=masked), "5.2: the shortest length"),
        (lambda masked: frame(TEXT, size=2**63, masked=masked), "5.2: the highest bit of a length is 0"),
        (lambda masked: frame(TEXT, size=2**64 - 1, masked=masked), "5.2: the highest bit of a length is 0"),
        (lambda masked: frame(TEXT, b"a", reserved=4, masked=masked), "5.2: RSV1 without an extension"),
        (lambda masked: frame(TEXT, b"a", reserved=2, masked=masked), "5.2: RSV2"),
        (lambda masked: frame(BINARY, b"a", reserved=1, masked=masked), "5.2: RSV3"),
        (lambda masked: frame(PING, b"a", reserved=4, masked=masked), "5.2: RSV1"),
        (lambda masked: frame(CONTINUATION, b"a", masked=masked), "5.4: nothing to continue"),
        (lambda masked: frame(CONTINUATION, b"a", fin=False, masked=masked), "5.4: nothing to continue"),
        (lambda masked: frame(TEXT, b"a", fin=False, masked=masked) + frame(TEXT, b"b", masked=masked), "5.4"),
        (lambda masked: frame(BINARY, b"a", fin=False, masked=masked) + frame(TEXT, b"b", masked=masked), "5.4"),
        (lambda masked: frame(PING, b"a", fin=False, masked=masked), "5.5: control frames are not fragmented"),
        (lambda masked: frame(CLOSE, fin=False, masked=masked), "5.5: control frames are not fragmented"),
        (lambda masked: frame(PING, b"a" * 126, masked=masked), "5.5: at most 125 bytes"),
        (lambda masked: frame(PONG, size=2**16, masked=masked), "5.5: at most 125 bytes"),
        (lambda masked: frame(CLOSE, b"\x03", masked=masked), "5.5.1: a close code has 2 bytes"),
    ],
)
def test_a_broken_rule_fails_the_connection_with_1002(client: bool, whole: bool, broken: Any, rule: str) -> None:
    data = broken(not client)
    pieces = [data] if whole else split(data, [len(data) // 2])
    error = ending_of(client, *pieces)
    assert error.code == 1002, rule


@both_roles
@pytest.mark.parametrize("opcode", [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF])
def test_reserved_opcodes_fail_the_connection(client: bool, opcode: int) -> None:
    assert ending_of(client, frame(opcode, b"a", masked=not client)).code == 1002  # RFC 6455, section 5.2


@both_roles
def test_what_came_before_a_broken_rule_is_delivered_and_nothing_after_it(client: bool) -> None:
    subject = framing(client=client)
    coming = subject.receive(
        frame(TEXT, b"before", masked=not client)
        + frame(TEXT, b"broken", masked=client)
        + frame(TEXT, b"after", masked=not client)
    )
    assert next(coming) == (TEXT, b"before")
    with pytest.raises(ProtocolError):
        next(coming)
    assert receive(subject, frame(TEXT, b"later", masked=not client)) == []


# UTF-8 (RFC 6455, section 8.1)


@both_roles
@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"])
def test_text_in_fragments_that_is_not_utf8_fails_with_1007(client: bool, bad: bytes) -> None:
    data = frame(TEXT, b"ok", fin=False, masked=not client) + frame(CONTINUATION, bad, masked=not client)
    assert ending_of(client, data).code == 1007


@both_roles
def test_bad_utf8_is_noticed_before_the_message_is_whole(client: bool) -> None:
    data = frame(TEXT, b"ok \xff" + b"x" * 1000, masked=not client)
    assert ending_of(client, data[:30]).code == 1007


@both_roles
def test_a_character_that_the_end_of_a_message_cuts_fails_with_1007(client: bool) -> None:
    data = frame(TEXT, b"a", fin=False, masked=not client) + frame(CONTINUATION, b"\xc3", masked=not client)
    assert ending_of(client, data).code == 1007


@both_roles
def test_whole_text_is_not_checked_here_and_binary_never(client: bool) -> None:
    data = frame(TEXT, b"\xff", masked=not client) + frame(BINARY, b"\xff", masked=not client)
    assert list(framing(client=client).receive(data)) == [(TEXT, b"\xff"), (BINARY, b"\xff")]


# Closing


@both_roles
@pytest.mark.parametrize(
    ("payload", "content"),
    [
        (b"", (NO_STATUS, "")),
        (close_payload(1000), (1000, "")),
        (close_payload(1001, "tschüß".encode()), (1001, "tschüß")),
        (close_payload(1003), (1003, "")),
        (close_payload(1007), (1007, "")),
        (close_payload(1011), (1011, "")),
        (close_payload(3000), (3000, "")),
        (close_payload(4999, b"x" * 123), (4999, "x" * 123)),
    ],
)
def test_a_close_frame_gives_code_and_reason(client: bool, payload: bytes, content: tuple[int, str]) -> None:
    events = receive(framing(client=client), frame(CLOSE, payload, masked=not client))
    assert events == [(CLOSE, content)]
    assert type(events[0][1][0]) is int


@both_roles
@pytest.mark.parametrize("code", [0, 999, 1004, NO_STATUS, ABNORMAL, 1015, 1016, 2999, 5000, 65_535])
def test_codes_that_may_not_be_sent_fail_the_connection(client: bool, code: int) -> None:
    error = ending_of(client, frame(CLOSE, close_payload(code), masked=not client))  # RFC 6455, section 7.4
    assert error.code == 1002


@both_roles
def test_a_close_reason_that_is_not_utf8_fails_with_1007(client: bool) -> None:
    assert ending_of(client, frame(CLOSE, close_payload(1000, b"\xff"), masked=not client)).code == 1007


@both_roles
def test_bytes_after_a_close_frame_do_not_count(client: bool) -> None:
    subject = framing(client=client)
    after = frame(TEXT, b"after", masked=not client) + b"\xff" * 100
    closing = frame(CLOSE, close_payload(1000), masked=not client)
    assert receive(subject, closing + after, after) == [(CLOSE, (1000, ""))]  # RFC 6455, section 5.5.1


@both_roles
def test_messages_still_come_after_our_own_close_frame(client: bool) -> None:
    subject = framing(client=client)
    subject.close(1000)
    part = frame(TEXT, b"a", fin=False, masked=not client) + frame(CONTINUATION, b"b", masked=not client)
    data = frame(TEXT, b"whole", masked=not client) + part + frame(CLOSE, close_payload(1000), masked=not client)
    assert receive(subject, data) == [(TEXT, "whole"), (TEXT, "ab"), (CLOSE, (1000, ""))]


@both_roles
def test_a_broken_rule_after_our_own_close_frame_is_still_one(client: bool) -> None:
    subject = framing(client=client)
    subject.close(1000)
    with pytest.raises(ProtocolError):
        receive(subject, frame(TEXT, KEY, masked=client))
