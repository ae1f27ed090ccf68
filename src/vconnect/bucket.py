"""A token bucket: a burst, and a refill per second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Bucket:
    """A token bucket, full at first. Its level may become negative.

    Args:
        capacity: The most that it holds.
        per_second: The refill.
        clock: Returns monotonic seconds.
    """

    __slots__ = ("_at", "_capacity", "_clock", "_level", "_per_second")

    def __init__(
        self, capacity: float, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._clock = clock
        self._level = float(capacity)
        self._at = clock()

    def level(self) -> float:
        """Return what is in it now."""
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._at) * self._per_second)
        self._at = now
        return self._level

    def take(self, amount: float) -> None:
        """Take out what is there or not; a negative amount is put back."""
        self._level = min(self._capacity, self.level() - amount)

    def seconds_until(self, level: float) -> float:
        """Return the seconds until it has this level."""
        return max(0.0, level - self.level()) / self._per_second
