"""The last records: bounds, pages, cursors."""

from __future__ import annotations

from vconnect.logs.records import LogRecord
from vconnect.logs.ring import LogPage, LogRing
from vconnect.names import LogLevel


def ring_of(count: int, *, keeps: int = 10, max_bytes: int = 1 << 20) -> LogRing:
    ring = LogRing(keeps, max_bytes)
    for seq in range(1, count + 1):
        level: LogLevel = "error" if seq % 5 == 0 else "info"
        ring.append(LogRecord(seq, 0.0, "stdout", level, f"line {seq}"))
    return ring


def numbers(page: LogPage) -> list[int]:
    return [record.seq for record in page.records]


def test_the_newest_come_in_order() -> None:
    page = ring_of(25).newest(3)
    assert (numbers(page), page.next, page.dropped) == ([23, 24, 25], 25, 0)
    assert numbers(ring_of(25).newest(100)) == [*range(16, 26)]
    assert numbers(ring_of(0).newest(5)) == []


def test_a_level_leaves_out_what_is_below() -> None:
    assert numbers(ring_of(25).newest(2, "warn")) == [20, 25]
    page = ring_of(24).after(15, 10, "error")
    assert (numbers(page), page.next) == ([20], 24)


def test_a_cursor_goes_on_without_gap_or_duplicate() -> None:
    ring = ring_of(25)
    seen, after = [], 15
    while (page := ring.after(after, 3)).records:
        assert page.dropped == 0
        seen += numbers(page)
        after = page.next
    assert seen == [*range(16, 26)]
    assert (page.next, page.dropped) == (25, 0)


def test_a_cursor_that_is_too_old_is_told_how_many_it_missed() -> None:
    page = ring_of(25).after(4, 100)
    assert (numbers(page), page.dropped) == ([*range(16, 26)], 11)
    assert ring_of(25).after(0, 1).dropped == 15
    assert ring_of(3).after(0, 1).dropped == 0


def test_a_cursor_of_another_time_finds_nothing() -> None:
    page = ring_of(3).after(500, 10)
    assert (numbers(page), page.next, page.dropped) == ([], 3, 0)


def test_long_lines_are_fewer() -> None:
    ring = LogRing(1000, 100_000)
    for seq in range(1, 101):
        ring.append(LogRecord(seq, 0.0, "stdout", "info", "x" * 9_000))
    assert 5 < len(ring.newest(1000).records) <= 11
