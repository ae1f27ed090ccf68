"""Rate limits for a plugin's output, in lines and in bytes per second."""

from __future__ import annotations

import time
from collections.abc import Callable

from vconnect.bucket import Bucket

# Up to this rate, output that exceeds the limits is still read and its lines are counted. Beyond
# it the pipe fills up and slows the plugin down. Bytes per second and pipe.
COUNTED_BYTES_PER_SECOND = 8 * 1024 * 1024


class FloodControl:
    """Two token buckets, for lines and for bytes, which refill continuously.

    Each holds one second's worth. So a plugin can print a lot at once, such as a traceback or a
    banner, while the output of a plugin that never stops is spread evenly over each second.

    Args:
        lines_per_second: The rate of lines.
        bytes_per_second: The rate of bytes.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        lines_per_second: int,
        bytes_per_second: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.lines_per_second = self.bytes_per_second = 0
        self.follow(lines_per_second, bytes_per_second)

    def follow(self, lines_per_second: int, bytes_per_second: int) -> None:
        """Follow other rates, unless they are the same."""
        rates = lines_per_second, bytes_per_second
        if rates == (self.lines_per_second, self.bytes_per_second):
            return
        self.lines_per_second, self.bytes_per_second = rates
        # Full at first: a plugin prints most when it starts.
        self._lines = Bucket(lines_per_second, lines_per_second, self._clock)
        self._bytes = Bucket(bytes_per_second, bytes_per_second, self._clock)

    def room(self) -> int:
        """Return how many lines may pass now."""
        lines = int(self._lines.level())
        # Bytes are not compared with a line's size, which is not known yet; see `take`.
        return lines if self._bytes.level() >= 1 else 0

    def take(self, size: int) -> None:
        """Let a line of ``size`` bytes pass. Bytes may go negative, by one read at most."""
        self._lines.take(1)
        self._bytes.take(size)
