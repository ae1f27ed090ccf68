"""Durations, counts and moments, for a person."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """Format a duration with a unit that suits it.

    >>> duration(0.00031), duration(0.412), duration(8.4), duration(3720), duration(360000)
    ('310 µs', '412 ms', '8.4 s', '1 h 02 min', '4 d 04 h')
    """
    if seconds < 1:
        micros = seconds * 1e6
        return _rounded(micros, "µs") if micros < 999.5 else _rounded(micros / 1000, "ms")
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02} h"
    return f"{hours} h {minute:02} min" if hours else f"{minute} min"


def ago(unix_seconds: float) -> str:
    """Say how long ago a moment was.

    >>> ago(time.time() - 5)
    '5 s ago'
    """
    return f"{duration(max(1.0, round(time.time() - unix_seconds)))} ago"


def clock(unix_seconds: float) -> str:
    """Format a moment of today, or with its date, in the local time zone."""
    moment = time.localtime(unix_seconds)
    is_today = moment[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", moment)


def many(count: int, noun: str) -> str:
    """Format a count with its noun.

    >>> many(1, "event"), many(1024, "event")
    ('1 event', '1,024 events')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _rounded(number: float, unit: str) -> str:
    return f"{number:.3g} {unit}" if number < 100 else f"{number:.0f} {unit}"
