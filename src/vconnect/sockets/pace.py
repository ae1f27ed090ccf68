"""Limits the rate of connections, in all and per session of processes.

A plugin's processes are a session, so that it gains nothing by starting others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from vconnect.bucket import Bucket

# Sessions that are remembered. One that has been idle for long has its whole burst anyway.
_MAX_SESSIONS = 1024


def session_of(pid: int) -> int:
    """Return the session of a process; its PID if that cannot be told."""
    try:
        return os.getsid(pid)
    except OSError:  # it has ended, or is hidden
        return pid


class Pace:
    """Limits a rate: each connection takes a token.

    Args:
        burst: How many tokens there are at most, and at first.
        per_second: The refill.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bucket = Bucket(burst, per_second, clock)

    def take(self) -> bool:
        """Take a token; return whether there was one."""
        if self.is_used_up():
            return False
        self._bucket.take(1)
        return True

    def give_back(self) -> None:
        """Return a token that was taken."""
        self._bucket.take(-1)

    def is_used_up(self) -> bool:
        """Return whether there is no token."""
        return self._bucket.level() < 1


class PaceOfEach:
    """A token bucket per session.

    Args:
        burst: As for `Pace`.
        per_second: As for `Pace`.
        clock: Returns monotonic seconds.

    Attributes:
        allowed: What is allowed, in words.
    """

    def __init__(
        self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = burst, per_second, clock
        self.allowed = f"{burst} at once and {per_second:g} per second are allowed"
        self._of: dict[int, Pace] = {}

    def take(self, session: int) -> bool:
        """Take a token of a session; return whether it had one."""
        pace = self._of.pop(session, None) or Pace(*self._rate)
        self._of[session] = pace  # the most recent is last
        if len(self._of) > _MAX_SESSIONS:
            del self._of[next(iter(self._of))]
        return pace.take()

    def give_back(self, session: int) -> None:
        """Return a token that a session has taken."""
        if session in self._of:
            self._of[session].give_back()
