"""Output cut into lines: any cut, any length, any room."""

from __future__ import annotations

import pytest

from vconnect.logs.lines import LineSplitter
from vconnect.logs.text import decode_line, escape_controls

ENDLESS = 10_000


def split(*pieces: bytes, limit: int = 8) -> list[bytes]:
    splitter = LineSplitter(limit)
    lines = []
    for piece in pieces:
        passed, skipped = splitter.feed(piece, ENDLESS)
        assert skipped == 0
        lines += passed
    rest = splitter.finish()
    return [*lines, rest] if rest else lines


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"",), []),
        ((b"a\nb\n",), [b"a", b"b"]),
        ((b"a", b"b", b"\n"), [b"ab"]),
        ((b"a\n\nb",), [b"a", b"", b"b"]),
        ((b"\n",), [b""]),
        ((b"12345678\n",), [b"12345678"]),
        ((b"12345678", b"\n"), [b"12345678"]),
        ((b"123456789\n",), [b"12345678", b"9"]),
        ((b"12345678", b"9"), [b"12345678", b"9"]),
        ((b"1" * 16 + b"\n",), [b"1" * 8, b"1" * 8]),
        ((b"1" * 20 + b"\nx",), [b"1" * 8, b"1" * 8, b"1" * 4, b"x"]),
        ((b"1" * 20, b"2"), [b"1" * 8, b"1" * 8, b"11112"]),
    ],
)
def test_lines(pieces: tuple[bytes, ...], lines: list[bytes]) -> None:
    assert split(*pieces) == lines


def test_any_cut_gives_the_same_lines() -> None:
    data = b"one\ntwo \xc3\xa9\n\nfour is too long for one line\nend"
    whole = split(data)
    for at in range(len(data)):
        assert split(data[:at], data[at:]) == whole
    assert split(*(data[at : at + 1] for at in range(len(data)))) == whole


@pytest.mark.parametrize(
    ("data", "room", "lines", "skipped"),
    [
        (b"a\nb\nc\n", 3, [b"a", b"b", b"c"], 0),
        (b"a\nb\nc\n", 2, [b"a", b"b"], 1),
        (b"a\nb\nc\nd", 1, [b"a"], 3),
        (b"a\nb\n", 0, [], 2),
        (b"a", 0, [], 1),
        (b"", 0, [], 0),
        (b"1" * 100, 2, [b"1" * 8, b"1" * 8], 1),
        (b"1" * 100 + b"\nx\n", 0, [], 2),
    ],
)
def test_what_has_no_room_is_counted(
    data: bytes, room: int, lines: list[bytes], skipped: int
) -> None:
    assert LineSplitter(8).feed(data, room) == (lines, skipped)


def test_the_rest_of_a_skipped_line_is_neither_shown_nor_counted_again() -> None:
    splitter = LineSplitter(8)
    assert splitter.feed(b"begins", 0) == ([], 1)
    assert splitter.is_skipping
    assert splitter.feed(b" goes on", ENDLESS) == ([], 0)
    assert splitter.feed(b" ends\nnew\n", ENDLESS) == ([b"new"], 0)
    assert not splitter.is_skipping


def test_lines_are_neither_lost_nor_counted_twice() -> None:
    data = b"".join(b"%d\n" % n for n in range(1000))
    for step in (1, 2, 3, 7, 100, 5000):
        splitter = LineSplitter(8)
        passed = skipped = 0
        for turn, at in enumerate(range(0, len(data), step)):
            lines, more = splitter.feed(data[at : at + step], turn % 3)
            passed += len(lines)
            skipped += more
        assert passed + skipped == 1000


def test_a_line_without_end_is_bounded() -> None:
    splitter = LineSplitter(1000)
    for _ in range(100):
        lines, _ = splitter.feed(b"x" * 999, ENDLESS)
        assert sum(map(len, lines)) <= 1998
    assert len(splitter.finish()) <= 1000


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b[1;1Hgone", "gone"),
        (b"tab\there", "tab\there"),
        (b"bell\x07\x00\x7f", "bell"),
        (b"50 %\r100 %\r", "50 % 100 %"),
        ("next\x85line".encode(), "nextline"),
        (b"not \xff UTF-8", "not \ufffd UTF-8"),
        ("grüße".encode(), "grüße"),
        (b"windows\r", "windows"),
    ],
)
def test_no_line_steers_a_terminal(data: bytes, line: str) -> None:
    assert decode_line(data) == line


def test_what_is_shown_is_inert() -> None:
    shown = escape_controls("\x1b]0;x\x07\x9b2J\u202eabc\r\nü")
    assert shown == r"\x1b]0;x\x07\x9b2J\u202eabc\r\nü"
