"""Bytes to payloads and back, without a connection."""

from __future__ import annotations

import gc
import json
import tracemalloc

import pytest
from tests.support.heap import bytes_in_use
from tests.support.wire_kit import raw_frame

from vconnect._framing import (
    DEFAULT_MAX_FRAME_BYTES,
    HEADER_BYTES,
    Event,
    EventName,
    FrameDecoder,
    encode_frame,
    parse_message,
)
from vconnect.errors import PayloadError, RemoteProtocolError
from vconnect.wire._stream import ReadBuffer

CLASSIC = b'{"event":"e","event_type":"e","payload":'
NATIVE = b'"event":"e","payload":'
NAME = EventName(CLASSIC, NATIVE)


def broken(decoder: FrameDecoder, data: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.feed(data)
    return caught.value


def test_constants():
    assert (HEADER_BYTES, DEFAULT_MAX_FRAME_BYTES) == (4, 16 * 1024 * 1024)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_it_takes_any_bytes(kind):
    decoder = FrameDecoder()
    assert decoder.feed(kind(raw_frame(b"{}") + b"\0\0")) == [b"{}"]
    assert decoder.feed(kind(b"\0\2[]")) == [b"[]"]
    assert all(type(p) is bytes for p in FrameDecoder().feed(kind(raw_frame(b"1"))))


@pytest.mark.parametrize("bad", ["text", None, 7])
def test_what_is_no_bytes_changes_nothing(bad):
    decoder = FrameDecoder()
    decoder.feed(b"\0\0\0\2{")
    with pytest.raises(TypeError):
        decoder.feed(bad)
    assert decoder.feed(b"}") == [b"{}"]


def test_nothing_comes_of_nothing():
    decoder = FrameDecoder()
    assert decoder.feed(b"") == []
    decoder.feed(b"\0\0")
    assert decoder.feed(b"") == []
    assert decoder.buffered_bytes == 2


def test_buffered_bytes_are_those_of_the_last_frame():
    decoder = FrameDecoder()
    decoder.feed(raw_frame(b"{}") * 3 + b"\0\0\0\x09{")
    assert decoder.buffered_bytes == 5
    decoder.feed(b"12345678")
    assert decoder.buffered_bytes == 0
    decoder.finish()


def test_the_limit_itself_is_allowed():
    decoder = FrameDecoder(16)
    assert decoder.feed(raw_frame(b"x" * 16)) == [b"x" * 16]
    error = broken(decoder, raw_frame(b"x" * 17))
    assert error.code == "frame_too_large"
    assert "17 bytes" in str(error)
    assert "limit is 16" in str(error)


@pytest.mark.parametrize("length", [0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF])
def test_lengths_are_unsigned(length):
    error = broken(FrameDecoder(), length.to_bytes(4, "big"))
    assert error.code == "frame_too_large"
    assert str(length) in str(error)


def test_a_limit_of_all_32_bits():
    decoder = FrameDecoder(0xFFFF_FFFF)
    assert decoder.feed(b"\xff\xff\xff\xff{") == []
    assert decoder.buffered_bytes == 5


def test_once_broken_it_stays_broken():
    decoder = FrameDecoder()
    error = broken(decoder, b"\0\0\0\0")
    assert broken(decoder, raw_frame(b"{}")) is error
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.finish()
    assert caught.value is error


def test_a_length_allocates_nothing():
    decoder = FrameDecoder(1 << 30)
    tracemalloc.start()
    try:
        decoder.feed((1 << 30).to_bytes(4, "big"))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_large_frame_in_small_pieces_is_copied_a_bounded_number_of_times():
    # 16 MiB, 1 KiB at a time: 128 GiB of copies if each piece copied what came before.
    size, step = 16 * 1024 * 1024, 1024
    data, decoder = raw_frame(b"x" * size), FrameDecoder()
    found = [p for at in range(0, len(data), step) for p in decoder.feed(data[at : at + step])]
    assert [len(payload) for payload in found] == [size]


def test_encode_frame_and_back():
    message = {"text": "grüße", "list": [1, -1, 0.5, None, True], "deep": {"a": {}}}
    [payload] = FrameDecoder().feed(encode_frame(message))
    assert json.loads(payload) == message == parse_message(payload)


@pytest.mark.parametrize("bad", [object(), {1: 2}, {"a": {1}}, 1 << 64, -(1 << 63) - 1, "\ud800"])
def test_what_is_no_json_is_the_callers_mistake(bad):
    with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
        encode_frame(bad)
    with pytest.raises(PayloadError, match="cannot be encoded as JSON"):
        Event(NAME, bad)


def test_too_deep_to_write():
    deep: list = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(PayloadError):
        encode_frame(deep)


def test_the_limit_counts_the_whole_payload():
    assert encode_frame("x" * 8, 10)
    with pytest.raises(PayloadError, match=r"payload of 11 bytes.*limit is 10"):
        encode_frame("x" * 9, 10)


def test_an_event_is_measured_with_all_that_a_dialect_may_add():
    size = 96 + len(NATIVE) + 3 + 1
    assert Event(NAME, "x", size).classic_frame == raw_frame(CLASSIC + b'"x"}')
    with pytest.raises(PayloadError, match=f"payload of {size} bytes"):
        Event(NAME, "x", size - 1)


def test_an_event_that_waits_takes_no_more_memory_than_its_text():
    """The encoder reserves 64 bytes for an empty list, and keeps them."""
    lists: list[list[int]] = [[]] * 32_000
    before = bytes_in_use()
    waiting = [Event(NAME, lists) for _ in range(20)]
    assert bytes_in_use() - before < 1.2 * 20 * 96_000
    assert parsed(waiting[0].native_frame(1, 1))["payload"] == lists


def test_a_native_frame_has_what_differs_from_call_to_call():
    event = Event(NAME, {"a": 1}, 4096, "00-ab-cd-01")
    asked = {"id": 7, "deadline_ms": 250, "hops": 3, "trace": "00-ab-cd-01", "event": "e"}
    assert parsed(event.native_frame(7, 250, 3)) == {**asked, "payload": {"a": 1}}
    told = {"trace": "00-ab-cd-01", "event": "e", "payload": {"a": 1}}
    assert parsed(event.native_frame(0, 0)) == told
    largest = parsed(Event(NAME, None).native_frame((1 << 64) - 1, (1 << 63) - 1, (1 << 32) - 1))
    assert largest["id"] == (1 << 64) - 1
    assert largest["deadline_ms"] == (1 << 63) - 1
    assert largest["hops"] == (1 << 32) - 1


def parsed(frame: bytes):
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return json.loads(frame[4:])


def test_no_name_is_a_type_error():
    with pytest.raises(TypeError):
        Event(None, {})
    with pytest.raises(TypeError):
        EventName(CLASSIC, None)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "zero-length"),
        (b"{", "line 1 column"),
        (b'{"a":NaN}', "char 5"),
        (b'{"a":Infinity}', "char 5"),
        (b'{"a":1e999}', "infinity"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{} {}", "after document"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=str,
)
def test_what_is_not_json(payload, words):
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        parse_message(payload)
    assert caught.value.code == "bad_json"


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "99999999999999999999",
        "-10000000000000000000",
        "1" + "0" * 400,
    ],
)
@pytest.mark.parametrize("pad", range(0, 40, 7))
@pytest.mark.parametrize("fill", ["", "x" * 2000])
def test_integers_beyond_64_bits_are_refused_with_their_place(number, pad, fill):
    text = " " * pad + '{"f":"' + fill + '","a":[1,' + number + "]}"
    if len(number) > 400:
        # Beyond a double as well: the parser itself refuses it.
        place = "infinity"
    else:
        place = f"at byte {text.index(number) + number.startswith('-')}"
    with pytest.raises(RemoteProtocolError, match=place) as caught:
        parse_message(text.encode())
    assert caught.value.code == "bad_json"


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615",
        "-9223372036854775808",
        "[9223372036854775807,1234567890123456789]",
        "123456789012345678901234567890.5",
        "123456789012345678901234567890e2",
        "1E25",
        '"123456789012345678901234567890"',
        r'{"a\"123456789012345678901234567890":1}',
        r'"\\\"99999999999999999999\\"',
        "[1.00000000000000000000000000001,-0.1]",
    ],
)
def test_what_only_looks_huge_passes(text):
    assert parse_message(text.encode()) == json.loads(text)


def test_a_read_buffer_has_a_least_size():
    ReadBuffer(64 * 1024)
    with pytest.raises(ValueError, match="at least 65536"):
        ReadBuffer(64 * 1024 - 1)


# --- the garbage collector --------------------------------------------------------------------


@pytest.fixture
def collections():
    """How often the collector has run."""
    ran: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        ran.append(phase)

    gc.callbacks.append(note)
    yield ran
    gc.callbacks.remove(note)


def test_the_collector_rests_while_a_large_payload_is_parsed(collections: list[str]):
    payload = b"[" + b"[]," * 100_000 + b"0]"
    parsed = parse_message(payload)
    assert len(collections) <= 2
    assert len(parsed) == 100_001
    assert gc.isenabled()


@pytest.mark.parametrize("payload", [b"[" + b"[]," * 1000 + b"0]", b"[" + b"[]," * 1000])
def test_it_is_left_as_it_was(payload: bytes):
    gc.disable()
    try:
        if payload.endswith(b"]"):
            parse_message(payload)
        else:
            with pytest.raises(RemoteProtocolError):
                parse_message(payload)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_values_of_a_message_may_be_bounded():
    with pytest.raises(RemoteProtocolError, match=r"has 1002 JSON values; the limit is 1000 \(x\)"):
        parse_message(json.dumps([1] * 1001).encode(), 1000, "x")
