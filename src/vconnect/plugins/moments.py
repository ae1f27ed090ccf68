"""The clock of "the last minute": numbered moments, ten seconds apart."""

# Counters only grow. What they were at each of the last moments is kept beside them, so the last
# minute is a difference, and nothing has to be reset or averaged.

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

KEPT = 8
"""How many moments are kept; as in ``_latency.pxd``."""
EVERY_S = 10.0
"""Seconds between two moments."""
# The window begins at the moment that is this far back, 60 to 70 seconds ago.
_BACK = 6


class Moments:
    """Numbers moments, and says when the window of the last minute began.

    Args:
        clock: Returns monotonic seconds.

    Attributes:
        number: The number of the present moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.number = 0
        self._times = deque([clock()], maxlen=_BACK + 1)

    def next(self) -> int:
        """Begin the next moment, and return its number."""
        self.number += 1
        self._times.append(self._clock())
        return self.number

    @property
    def first(self) -> int:
        """The moment with which the window begins."""
        return max(0, self.number - _BACK)

    @property
    def window_s(self) -> float:
        """The seconds since then; after a start it is less than a minute."""
        return self._clock() - self._times[0]
