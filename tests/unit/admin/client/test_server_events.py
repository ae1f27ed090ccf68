"""Server-sent events are parsed however the network cuts them, and tries are spaced out."""

from __future__ import annotations

import pytest

from vconnect.admin.client.server_events import BackOff, EventParser, StreamEvent

STREAM = (
    b'retry: 2000\nevent: hello\ndata: {"boot":"ab"}\n\n'
    b": \n\n"
    b'id: ab-7\nevent: plugin\ndata: {"name":"\xc3\xbc"}\n\n'
    b"retry: 5\n\n"
    b'event: gone\ndata: {"name":\ndata: "x"}\n\n'
)
EVENTS = [
    StreamEvent("hello", {"boot": "ab"}),
    StreamEvent("plugin", {"name": "ü"}, "ab-7"),
    StreamEvent("gone", {"name": "x"}),
]


@pytest.mark.parametrize("size", [1, 2, 7, len(STREAM)])
def test_it_reads_events_in_pieces_of_any_size(size: int) -> None:
    parser = EventParser()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


def test_what_is_not_complete_is_no_event() -> None:
    assert list(EventParser().feed(b"event: gone\ndata: {}\n")) == []


def test_nonsense_is_an_error() -> None:
    with pytest.raises(ValueError):
        list(EventParser().feed(b"data: hello\n\n"))


def test_tries_become_rarer_and_begin_again_after_a_success() -> None:
    back_off = BackOff()
    waits = [back_off.next() for _ in range(7)]
    for wait, middle in zip(waits, (1, 2, 4, 8, 15, 15, 15), strict=True):
        assert 0.8 * middle <= wait <= 1.2 * middle
    back_off.reset()
    assert back_off.next() <= 1.2
