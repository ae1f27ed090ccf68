"""Moments and durations as people type them."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")


def parse_duration(text: str) -> float | None:
    """Parse a duration with its unit, such as ``50ms`` or ``10m``, into seconds.

    >>> parse_duration("50ms"), parse_duration("2h"), parse_duration("x")
    (0.05, 7200.0, None)
    """
    found = _DURATION.fullmatch(text.strip())
    return float(found[1]) * _UNITS[found[2]] if found else None


def parse_moment(text: str) -> float | None:
    """Parse a moment: how long ago (``10m``), a time of day (``14:02``), or ISO 8601."""
    ago = parse_duration(text)
    if ago is not None:
        return time.time() - ago
    try:
        if re.fullmatch(r"\d\d?:\d\d(:\d\d)?", text):
            return _today(text)
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _today(text: str) -> float:
    """Return the last moment at which a clock showed this."""
    now = datetime.now().astimezone()
    hour, minute, *second = map(int, text.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
    if moment > now:
        moment -= timedelta(days=1)
    return moment.timestamp()


def as_duration(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Turn what was typed into seconds."""
    if text is None:
        return None
    seconds = parse_duration(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is no duration; expected one such as 50ms, 2s or 10m")
    return seconds


def as_moment(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """Turn what was typed into Unix seconds."""
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        words = f"{text!r} is no moment; expected 10m (ago), 14:02, or 2026-01-31T14:02:00"
        raise click.BadParameter(words)
    return moment
