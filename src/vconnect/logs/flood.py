"""How much of a plugin's output passes: so many lines and so many bytes a second."""

from __future__ import annotations

import time
from collections.abc import Callable

# A plugin that floods may still be read, and its lines counted, at this rate; past it the pipe
# fills and slows the plugin. Bytes per second and pipe.
COUNTED_BYTES_PER_SECOND = 8 * 1024 * 1024


class FloodControl:
    """Two buckets, of lines and of bytes, that fill up continuously.

    Each holds what may pass in one second. So a plugin may print much at once, a traceback or a
    banner, and one that goes on and on gets its share spread evenly over the second.

    Args:
        lines_per_second: What may pass.
        bytes_per_second: Likewise.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        lines_per_second: int,
        bytes_per_second: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lines_per_second = lines_per_second
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._lines = float(lines_per_second)
        self._bytes = float(bytes_per_second)
        self._filled_at = clock()

    def room(self) -> int:
        """Say how many lines may pass now."""
        now = self._clock()
        passed, self._filled_at = now - self._filled_at, now
        self._lines = min(self._lines + passed * self.lines_per_second, self.lines_per_second)
        self._bytes = min(self._bytes + passed * self.bytes_per_second, self.bytes_per_second)
        return int(self._lines) if self._bytes >= 1 else 0

    def take(self, size: int) -> None:
        """Let a line of ``size`` bytes pass; the bytes may go into debt, by one reading at most."""
        self._lines -= 1
        self._bytes -= size
