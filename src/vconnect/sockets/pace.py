"""Limits the rate of connections, in all and per session of processes.

A plugin's processes are a session, so that it gains nothing by starting others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

# Sessions that are remembered. One that has been idle for long has its whole burst anyway.
_MAX_SESSIONS = 1024


def session_of(pid: int) -> int:
    """Return the session of a process; its PID if that cannot be told."""
    try:
        return os.getsid(pid)
    except OSError:  # it has ended, or is hidden
        return pid


class Pace:
    """A token bucket.

    Args:
        burst: How many tokens there are at most, and at first.
        per_second: The refill.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = float(burst)
        self._at = clock()

    def take(self) -> bool:
        """Take a token; return whether there was one."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Return a token that was taken."""
        self._left = min(self._burst, self._left + 1)

    def is_used_up(self) -> bool:
        """Return whether there was no further token when one was last taken."""
        return self._left < 1


class PaceOfEach:
    """A token bucket per session.

    Args:
        burst: As for `Pace`.
        per_second: As for `Pace`.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = burst, per_second, clock
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
