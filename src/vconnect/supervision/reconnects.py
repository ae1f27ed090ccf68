"""Limits reconnects: each handshake costs time, and a line in the host's log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

MAX_CONNECTIONS = 60
WITHIN_S = 10.0
TOO_OFTEN = f"it connected {MAX_CONNECTIONS} times within {WITHIN_S:g} s"


class Reconnects:
    """Counts the connections of processes and of external plugins.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: WeakKeyDictionary[object, deque[float]] = WeakKeyDictionary()

    def allow(self, who: object) -> bool:
        """Count a connection and return whether it is within the limit; if not, do not count it."""
        times = self._times.setdefault(who, deque(maxlen=MAX_CONNECTIONS))
        now = self._clock()
        if len(times) == MAX_CONNECTIONS and now - times[0] < WITHIN_S:
            return False
        times.append(now)
        return True
