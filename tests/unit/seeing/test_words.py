"""Durations, counts and moments, for a person."""

from __future__ import annotations

import time

import pytest

from vconnect.seeing.words import ago, clock, duration, many


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 µs"),
        (0.0000123, "12.3 µs"),
        (0.0009994, "999 µs"),
        (0.0009996, "1 ms"),
        (0.412, "412 ms"),
        (0.9999, "1000 ms"),
        (1.0, "1 s"),
        (8.44, "8.44 s"),
        (59.9, "59.9 s"),
        (60.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h 00 min"),
        (86399.0, "23 h 59 min"),
        (86400.0, "1 d 00 h"),
    ],
)
def test_a_duration_has_a_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_moment_of_today_needs_no_date() -> None:
    now = time.time()
    assert clock(now) == time.strftime("%H:%M:%S", time.localtime(now))
    assert clock(now - 400 * 86400).startswith(time.strftime("%Y-", time.localtime(now - 4e7))[:2])
    assert len(clock(now - 400 * 86400)) == 19


def test_how_long_ago_is_never_nothing() -> None:
    assert ago(time.time() + 60) == ago(time.time()) == "1 s ago"
    assert ago(time.time() - 7200) == "2 h 00 min ago"


def test_a_count_has_its_noun() -> None:
    assert [many(one, "event") for one in (0, 1, 2000)] == ["0 events", "1 event", "2,000 events"]
