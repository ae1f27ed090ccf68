"""Limits the rate of connections, in all and per process."""

from __future__ import annotations

import time
from collections.abc import Callable

# Processes that are remembered. One that has been idle for long has its whole burst anyway.
_MAX_PROCESSES = 1024


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
    """A token bucket per process.

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

    def take(self, pid: int) -> bool:
        """Take a token of a process; return whether it had one."""
        pace = self._of.pop(pid, None) or Pace(*self._rate)
        self._of[pid] = pace  # the most recent is last
        if len(self._of) > _MAX_PROCESSES:
            del self._of[next(iter(self._of))]
        return pace.take()

    def give_back(self, pid: int) -> None:
        """Return a token that a process has taken."""
        if pid in self._of:
            self._of[pid].give_back()
