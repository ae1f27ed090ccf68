"""Durations and moments, for a person."""

from __future__ import annotations

import time

import pytest

from vconnect.seeing.words import ago, clock, duration, many


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 µs"),
        (0.0000042, "4.2 µs"),
        (0.00099, "990 µs"),
        (0.0009996, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.999, "999 ms"),
        (1, "1 s"),
        (59.94, "59.9 s"),
        (61, "1 min"),
        (7260, "2 h 01 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, words):
    assert duration(seconds) == words


def test_moments_are_near_or_far():
    assert ago(time.time()) == "1 s ago"
    assert clock(time.time()).count(":") == 2
    assert clock(0)[:2] in ("19", "20")
    assert (many(1, "try"), many(0, "event")) == ("1 try", "0 events")
