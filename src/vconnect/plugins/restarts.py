"""When a plugin that has ended is started again: policy, back-off, crash loop.

The rules are arithmetic over a clock that the caller reads, so that each can be tested without
waiting. Times are monotonic seconds.
"""

from __future__ import annotations

import random
import time
from collections import deque
from enum import Enum, auto

import msgspec

from vconnect.settings.restarts import RestartPolicy

_TRANSIENT_DELAY_S = 2.0


class Ended(Enum):
    """How a plugin came to its end, as far as starting it again is concerned."""

    CLEANLY = auto()
    FAILED = auto()
    #: It could not begin yet: a plugin that it requires, or something of the machine's, is missing.
    TRANSIENT = auto()
    #: Only a person can mend it: no executable, a wrong manifest, a handshake that is refused.
    PERMANENT = auto()


class Decision(msgspec.Struct, frozen=True):
    """What follows an end.

    Attributes:
        delay: Seconds until the next start; ``None`` for no start.
        is_crash_loop: Whether the plugin is in a crash loop.
    """

    delay: float | None
    is_crash_loop: bool = False

    def in_words(self) -> str:
        """Say what follows to an operator."""
        if self.delay is None:
            return "it is not started again"
        return f"the next try is in {self.delay:g} s"


#: One for all plugins: each has 2.5 KiB of state.
_JITTER = random.Random()  # noqa: S311 - nothing secret


class Restarts:
    """One plugin's past, and what follows from it.

    Args:
        policy: The rules.
        jitter: Returns a number from 0 to 1, by which a back-off is multiplied (full jitter), so
            that plugins which fell together do not rise together.
    """

    def __init__(self, policy: RestartPolicy, jitter: random.Random | None = None) -> None:
        self._policy = policy
        self._random = jitter or _JITTER
        self._ends: deque[float] = deque(maxlen=policy.crash_limit)
        self._in_a_row = 0
        self._looping = False
        #: When the next start is due, by the same clock; ``None`` for never.
        self.due_at: float | None = None

    def plan(self, decision: Decision, now: float) -> None:
        """Note when a decision takes effect."""
        self.due_at = None if decision.delay is None else now + decision.delay

    def cancel(self) -> None:
        """Drop the plan: the start has come, or somebody has decided otherwise."""
        self.due_at = None

    def is_due(self) -> bool:
        """Tell whether it is time for the next start."""
        return self.due_at is not None and time.monotonic() >= self.due_at

    def forget(self) -> None:
        """Begin anew, as after an operator's start."""
        self._ends.clear()
        self._in_a_row = 0
        self._looping = False

    def ended(self, how: Ended, ran_for: float, now: float) -> Decision:
        """Decide what follows an end that nobody asked for.

        Args:
            how: How it came.
            ran_for: How long the plugin had been ``Running`` before it.
            now: The time.
        """
        policy = self._policy
        if ran_for >= policy.reset_after:
            self.forget()
        if policy.mode == "never" or (policy.mode == "on-failure" and how is Ended.CLEANLY):
            return Decision(None)
        if how is Ended.TRANSIENT:
            return Decision(min(_TRANSIENT_DELAY_S, policy.max_delay))
        if how is Ended.PERMANENT:
            return Decision(policy.hold if policy.after_crash_loop == "hold" else None)
        self._ends.append(now)
        self._in_a_row += 1
        if self._looping or self._is_crash_loop(now):
            self._looping = True
            return Decision(policy.hold if policy.after_crash_loop == "hold" else None, True)
        return Decision(self._random.random() * self._back_off())

    def _is_crash_loop(self, now: float) -> bool:
        policy = self._policy
        return len(self._ends) == policy.crash_limit and now - self._ends[0] <= policy.crash_window

    def _back_off(self) -> float:
        # Exponents beyond this are all the same, and would overflow one day.
        doublings = min(self._in_a_row - 1, 32)
        return min(self._policy.max_delay, self._policy.delay * 2.0**doublings)
