"""Moments and durations as people type them."""

from __future__ import annotations

import time

import pytest

from vconnect.cli.moments import parse_duration, parse_moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("50ms", 0.05),
        ("2s", 2.0),
        ("1.5m", 90.0),
        ("10min", 600.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
    ],
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert parse_moment(text) == pytest.approx(time.time() - seconds, abs=2)


@pytest.mark.parametrize("text", ["", "5", "-1s", "1 week", "ms", "nan s", "1e3s"])
def test_anything_else_is_none(text: str) -> None:
    assert parse_duration(text) is None


def test_a_time_of_day_is_the_last_one() -> None:
    moment = parse_moment("23:59")
    assert moment is not None
    assert time.time() - 86400 <= moment <= time.time()
    assert parse_moment("25:00") is None
    assert parse_moment("2023-11-14T22:13:20+00:00") == 1_700_000_000.0
    assert parse_moment("yesterday") is None
