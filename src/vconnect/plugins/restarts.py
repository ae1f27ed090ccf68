"""Decides when a plugin that has ended is started again: policy, back-off, crash loop."""

# The rules are arithmetic with times that the caller passes in, so that they can be tested without
# waiting. Times are seconds of `time.monotonic()`.

from __future__ import annotations

import random
import time
from collections import deque
from enum import Enum, auto

import msgspec

from vconnect.settings.restarts import RestartPolicy

# A required plugin may need a few seconds to start, so this kind of failure is retried soon.
_TRANSIENT_DELAY_S = 2.0
# The first delay where milliseconds may be enough; each further one is twice as long.
_MOMENT_S = 0.02


class Ended(Enum):
    """The kind of an end, as far as restarts are concerned."""

    CLEANLY = auto()
    FAILED = auto()
    #: It could not start yet: a required plugin, or a resource of the machine, is missing.
    TRANSIENT = auto()
    #: The same, but that may pass within milliseconds: its program is still being written.
    MOMENTARY = auto()
    #: Needs an operator: no executable, an invalid manifest, a refused handshake.
    PERMANENT = auto()


class Decision(msgspec.Struct, frozen=True):
    """The consequence of an end.

    Attributes:
        delay: Seconds until the next start; ``None`` for no start.
        is_crash_loop: Whether the plugin is in a crash loop.
    """

    delay: float | None
    is_crash_loop: bool = False

    def in_words(self) -> str:
        """Return a text for the operator."""
        if self.delay is None:
            return "it will not be restarted"
        return f"it will be retried in {self.delay:g} s"


#: Shared by all plugins, because its state takes 2.5 KiB.
_JITTER = random.Random()  # noqa: S311 - nothing secret


class Restarts:
    """One plugin's failure history, and what follows from it.

    Args:
        policy: The rules, which may be replaced.
        jitter: Returns a number from 0 to 1, by which a back-off is multiplied (full jitter), so
            that plugins that crashed together do not restart together.
    """

    def __init__(self, policy: RestartPolicy, jitter: random.Random | None = None) -> None:
        self.policy = policy
        self._random = jitter or _JITTER
        # The last ends; full once there are enough of them for a crash loop.
        self._ends: deque[float] = deque(maxlen=policy.crash_limit)
        self._in_a_row = 0
        self._moments = 0
        self._looping = False
        #: When the next start is due, in seconds of ``time.monotonic()``; ``None`` for never.
        self.due_at: float | None = None

    def plan(self, decision: Decision, now: float) -> None:
        """Schedule the start that a decision asks for, if any."""
        self.due_at = None if decision.delay is None else now + decision.delay

    def cancel(self) -> None:
        """Cancel the scheduled start: it is happening, or another decision was made."""
        self.due_at = None

    def is_due(self) -> bool:
        """Return whether it is time for the next start."""
        return self.due_at is not None and time.monotonic() >= self.due_at

    def forget(self) -> None:
        """Clear the failure history, as after a start by an operator."""
        self._ends.clear()
        self._in_a_row = 0
        self._looping = False

    def ended(self, how: Ended, ran_for: float, now: float) -> Decision:
        """Decide what follows an end that was not requested.

        Args:
            how: The kind of end.
            ran_for: How long the plugin had been ``Running``, in seconds.
            now: The current time, in seconds of ``time.monotonic()``.
        """
        policy = self.policy
        # A long run says that the earlier failures are over.
        if ran_for >= policy.reset_after:
            self.forget()
        # Before everything else: what the operator has ruled out is not even counted.
        if policy.mode == "never" or (policy.mode == "on-failure" and how is Ended.CLEANLY):
            return Decision(None)
        # These three are not crashes: they are not counted, and do not lengthen the back-off.
        self._moments = self._moments + 1 if how is Ended.MOMENTARY else 0
        if how is Ended.MOMENTARY:
            delay = min(_MOMENT_S * 2.0 ** (self._moments - 1), _TRANSIENT_DELAY_S)
            return Decision(min(delay, policy.max_delay))
        if how is Ended.TRANSIENT:
            return Decision(min(_TRANSIENT_DELAY_S, policy.max_delay))
        if how is Ended.PERMANENT:
            return Decision(policy.hold if policy.after_crash_loop == "hold" else None)
        self._ends.append(now)
        self._in_a_row += 1
        # A crash loop lasts until the history is cleared: held retries are further apart than the
        # window, so counting them would end it.
        if self._looping or self._is_crash_loop(now):
            self._looping = True
            return Decision(policy.hold if policy.after_crash_loop == "hold" else None, True)
        return Decision(self._random.random() * self._back_off())

    def _is_crash_loop(self, now: float) -> bool:
        policy = self.policy
        return len(self._ends) == policy.crash_limit and now - self._ends[0] <= policy.crash_window

    def _back_off(self) -> float:
        # Larger exponents make no difference, and would overflow at some point.
        doublings = min(self._in_a_row - 1, 32)
        return min(self.policy.max_delay, self.policy.delay * 2.0**doublings)
