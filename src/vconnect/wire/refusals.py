"""Refused connections in the log: few lines, whatever is refused, and none in silence."""

from __future__ import annotations

import asyncio
import logging
import time

from vconnect.errors import HandshakeError

# A plugin that is refused may try again for ever, under one name or under ever new ones. So there
# is one line per name and minute, and so many lines in all.
_EVERY_S = 60.0
_LINES = 30
_NAMES = 1024

_log = logging.getLogger(__name__)


class Refusals:
    """Counts refused connections, and tells of them.

    Call it in the event loop.

    Attributes:
        count: How many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._told: dict[str, float] = {}  # by name, the oldest first
        self._lines = 0
        self._untold = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, name: str, pid: int, error: HandshakeError) -> None:
        """Count a refusal, and log it unless there were too many.

        Args:
            name: The name that was used, or empty.
            pid: The process that connected.
            error: Why it was refused.
        """
        self.count += 1
        now = time.monotonic()
        is_known = now - self._told.get(name, -_EVERY_S) < _EVERY_S
        if is_known or self._lines >= _LINES:
            # A plugin that comes back every few seconds is one line, not a line and a count.
            self._untold += not is_known
            return
        self._told.pop(name, None)
        self._told[name] = now
        if len(self._told) > _NAMES:
            del self._told[next(iter(self._told))]
        self._lines += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._next_minute)
        _log.warning(
            "refused a connection%s from PID %s: %s", f" as {name}" if name else "", pid, error
        )

    def close(self) -> None:
        """Say what has not been told."""
        if self._timer is not None:
            self._timer.cancel()
        self._next_minute()

    def _next_minute(self) -> None:
        self._timer = None
        self._lines = 0
        untold, self._untold = self._untold, 0
        if untold:
            _log.warning(
                "refused %d more connections within %g s, under other names", untold, _EVERY_S
            )
