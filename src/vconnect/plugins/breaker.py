"""A circuit breaker: a plugin that fails and fails is left alone for a while."""

from __future__ import annotations

from time import monotonic
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Counts failures in a row, and says whether a call may be made.

    Closed, it lets every call through. After ``failures`` failures in a row it opens: calls fail
    at once for ``cooldown`` seconds. Then it is half open: one call probes the plugin, and its end
    closes the circuit or opens it again.

    Args:
        failures: How many in a row open it; 0 for never.
        cooldown: Seconds.
    """

    __slots__ = ("_cooldown", "_limit", "_probing", "_until", "failures", "is_open")

    def __init__(self, failures: int, cooldown: float) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._until = 0.0  # monotonic
        self._probing = False
        self.failures = 0
        self.is_open = False

    @property
    def state(self) -> BreakerState:
        """Where it stands now."""
        if not self.is_open:
            return "closed"
        return "half_open" if self.opens_in == 0 else "open"

    @property
    def opens_in(self) -> float:
        """Seconds until a call may probe the plugin."""
        return max(0.0, self._until - monotonic()) if self.is_open else 0.0

    def takes_probe(self) -> bool:
        """Let one call through an open circuit whose time is up; its end must be reported."""
        if self._probing or self.opens_in > 0:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Report a call that was answered."""
        self.failures = 0
        self.is_open = self._probing = False

    def failed(self) -> None:
        """Report one that was not, or with an error."""
        self.failures += 1
        if self._limit and (self.is_open or self.failures >= self._limit):
            self.is_open = True
            self._until = monotonic() + self._cooldown
        self._probing = False

    def gave_up(self) -> None:
        """Report one whose caller went away: nobody knows, so another may probe."""
        self._probing = False
