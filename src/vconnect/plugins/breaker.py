"""A circuit breaker: a plugin that fails repeatedly is not called for a while."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Literal

from vconnect.bounds import cut
from vconnect.names import LogLevel

# Bytes of a failure's words in a line of the log.
_MAX_WORDS = 200

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Counts consecutive failures, and decides whether a call may be made.

    While closed, it lets every call through. After ``failures`` failures in a row it opens: calls
    fail at once for ``cooldown`` seconds. Then it is half open: one call probes the plugin, and its
    result closes the circuit or opens it again.

    Args:
        failures: How many failures in a row open it; 0 for never.
        cooldown: Seconds that it stays open.
        say: Is told when it opens and closes: while it is open, events pass the plugin.

    Attributes:
        failures: How many failures in a row there were so far.
        is_open: Whether it is open or half open.
        opened: How often it has opened.
    """

    # Slots, and plain attributes for what the dispatcher reads with every call.
    __slots__ = (
        "_cooldown",
        "_limit",
        "_opened_at",
        "_probing",
        "_say",
        "_until",
        "failures",
        "is_open",
        "opened",
    )

    def __init__(
        self,
        failures: int,
        cooldown: float,
        say: Callable[[LogLevel, str], None] = lambda _, __: None,
    ) -> None:
        self._limit = failures
        self._say = say
        self._opened_at = 0.0  # monotonic
        self._cooldown = cooldown
        self._until = 0.0  # monotonic
        self._probing = False
        self.failures = 0
        self.is_open = False
        self.opened = 0

    def follow(self, failures: int, cooldown: float) -> None:
        """Follow other limits, with the failures so far."""
        self._limit = failures
        self._cooldown = cooldown
        if not failures:
            self.is_open = self._probing = False

    @property
    def state(self) -> BreakerState:
        """The current state."""
        if not self.is_open:
            return "closed"
        return "half_open" if self.opens_in == 0 else "open"

    @property
    def opens_in(self) -> float:
        """Seconds until a call may probe the plugin."""
        return max(0.0, self._until - monotonic()) if self.is_open else 0.0

    def takes_probe(self) -> bool:
        """Let one call through a half-open circuit. The caller must report its result."""
        # One probe at a time: a plugin that hangs must not collect callers that wait for it.
        if self._probing or self.opens_in > 0:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Report that a call was answered."""
        was_open = self.is_open
        self.failures = 0
        self.is_open = self._probing = False
        if was_open:
            self._say("info", f"its circuit is closed after {monotonic() - self._opened_at:.0f} s")

    def failed(self, why: str = "") -> None:
        """Report that a call failed, and why in words, for the log."""
        self.failures += 1
        # A probe that fails opens the circuit again, however few failures that makes in a row.
        if self._limit and (self.is_open or self.failures >= self._limit):
            self._until = monotonic() + self._cooldown
            if not self.is_open:
                self._open(why)
        self._probing = False

    def _open(self, why: str) -> None:
        self.is_open = True
        self.opened += 1
        self._opened_at = monotonic()
        self._say(
            "warn",
            f"its circuit is open after {self.failures} failures in a row: it gets no events, "
            f"but for one every {self._cooldown:g} s that tries it"
            f"{f'; the last failure: {cut(why, _MAX_WORDS)}' if why else ''}",
        )

    def gave_up(self) -> None:
        """Report that the caller of a call gave up. The result is unknown, so another may probe."""
        self._probing = False
